"""Who may ask: Host, Origin, keys on every path, the admin's key, TLS, and what is never written down."""

import json
import socket
import ssl
import subprocess

import pytest
import requests

from harness import error_of, wait_for
from raw import exchange, http_request
from variants import write_variant

USER, ADMIN = "user-key-0123456789", "admin-key-9876543210"
SECRET = "purple elephants conspire at midnight"


@pytest.fixture(scope="module")
def routes(chorus, tiny_chat):
    """[(method, path, access)] of every path that the server knows."""
    command = [chorus, "serve", str(tiny_chat), "--no-cache", "--port", "0", "--list-routes"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert listed.returncode == 0, listed.stderr
    found = [tuple(line.split()) for line in listed.stdout.splitlines()]
    assert len(found) > 12 and all(len(route) == 3 for route in found), found
    assert {access for _, _, access in found} == {"public", "user", "admin"}
    return found


@pytest.fixture(scope="module")
def locked(start_tiny, tmp_path_factory, tiny_adapters):
    """A server with keys and an access log."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "user").write_text(f"# users\n{USER}\n")
    (folder / "admin").write_text(f"{ADMIN}\n")
    write_variant(tiny_adapters["qv"], folder / "adapters" / "voice", 1)
    flags = ("--api-key-file", folder / "user", "--admin-key-file", folder / "admin", "--access-log")
    server = start_tiny(*flags, "--adapters", folder / "adapters", key=USER)
    wait_for(lambda: "voice" in server.models())
    return server


def ask(server, method, path, key=None, header="Authorization", headers=(), **options):
    """One request; a POST has an empty object as its body."""
    sent = {"Content-Type": "application/json", **dict(headers)}
    if key is not None:
        sent[header] = f"Bearer {key}" if header == "Authorization" else key
    body = {"data": "{}"} if method == "POST" else {}
    url = server.url + path.replace("*", "thing")
    return requests.request(method, url, headers=sent, timeout=30, **body, **options)


BAD_KEYS = {
    "none": None,
    "wrong": "user-key-0123456780",
    "prefix": USER[:-1],
    "longer": USER + "0",
    "10 KB": "k" * 10240,
    "blank": " ",
    "comment": "# users",
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_no_path_without_a_key(locked, routes, name):
    for method, path, access in routes:
        answer = ask(locked, method, path, BAD_KEYS[name])
        if access == "public":
            assert answer.status_code == (404 if path == "/web/*" else 200), (method, path)  # no file is called "*"
        else:
            error_of(answer, 401, "authentication_error")
    error_of(ask(locked, "GET", "/no/such/path", BAD_KEYS[name]), 401)  # nor does it tell what there is


def test_what_is_public(routes):
    public = {path for _, path, access in routes if access == "public"}
    assert "/health" in public and public <= {"/health", "/ready", "/"} | {"/web/*"}


def test_both_forms_of_a_key(locked):
    for header in ("Authorization", "X-Api-Key"):
        assert ask(locked, "GET", "/v1/models", USER, header).status_code == 200
        error_of(ask(locked, "GET", "/v1/models", USER[::-1], header), 401)
    two = [("Host", "127.0.0.1"), ("Authorization", f"Bearer {USER}"), ("Authorization", "Bearer x")]
    assert exchange(locked, http_request("GET", "/v1/models", two)).status == 400


def test_the_admin_key_is_apart(locked, routes):
    admin = [(method, path) for method, path, access in routes if access == "admin"]
    assert {("POST", "/v1/load_lora_adapter"), ("POST", "/v1/unload_lora_adapter")} <= set(admin)
    for method, path in admin:
        error_of(ask(locked, method, path, USER), 403, "permission_error")
        assert ask(locked, method, path, ADMIN).status_code not in (401, 403), path
    for method, path, access in routes:
        if access == "user":
            assert ask(locked, method, path, USER).status_code not in (401, 403), path
            assert ask(locked, method, path, ADMIN).status_code not in (401, 403), path
    assert "voice" in locked.models()


HOSTS = {
    "127.0.0.1": 200, "localhost": 200, "LOCALHOST:80": 200, "127.0.0.1:1": 200, "[::1]:8080": 200,
    "evil.example": 421, "": 421, ":11434": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421,
    "evil.example:80": 421, "localhost@evil.example": 421, "127.0.0.1, evil.example": 421, "0.0.0.0": 421,
}  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_host(server, host):
    assert exchange(server, http_request("GET", "/health", [("Host", host)])).status == HOSTS[host]


def test_no_host_and_two_hosts(server):
    assert exchange(server, http_request("GET", "/health", [])).status == 421
    two = [("Host", "localhost"), ("Host", "evil.example")]
    assert exchange(server, http_request("GET", "/health", two)).status == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost.evil.example", "file://", "http://127.0.0.1:1"])
def test_other_origins(server, origin):
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/completions"), ("OPTIONS", "/v1/completions")):
        answer = ask(server, method, path, headers={"Origin": origin})
        assert answer.status_code == 403, (method, answer.status_code)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_no_cors_headers_by_default(server):
    answer = ask(server, "GET", "/v1/models", headers={"Origin": server.url})  # the page's own
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_allowed_names_and_origins(start_tiny):
    server = start_tiny("--allowed-host", "chorus.example", "--allowed-origin", "https://app.example")
    assert exchange(server, http_request("GET", "/health", [("Host", "chorus.example:80")])).status == 200
    answer = ask(server, "GET", "/v1/models", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert ask(server, "OPTIONS", "/v1/chat/completions", headers=preflight).status_code == 204
    assert ask(server, "GET", "/v1/models", headers={"Origin": "https://other.example"}).status_code == 403
    assert server.stop() == 0


FORMS = ("/v1/files", "/v1/adapters/upload")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_only_json_is_taken(server, routes, kind):
    """A page of another origin can send these forms without being asked about. Files are the one thing that
    comes in one: their pages are known by Origin alone."""
    for method, path, _ in routes:
        if method == "POST" and not (path in FORMS and kind == "multipart/form-data"):
            assert ask(server, method, path, headers={"Content-Type": kind}).status_code == 415, path


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_not_beyond_loopback_without_keys(chorus, tiny_chat, host):
    command = [chorus, "serve", str(tiny_chat), "--no-cache", "--port", "0", "--host", host]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and not run.stdout
    (line,) = run.stderr.splitlines()
    assert host in line and "--insecure" in line


BAD_STARTS = {
    "no key file": ("--api-key-file", "/no/such/file"),
    "empty key file": ("--api-key-file", "/dev/null"),
    "certificate without key": ("--tls-cert", "/no/such/file"),
    "port": ("--port", "70000"),
    "adapters": ("--adapters", "/no/such/directory"),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_refuses_to_start(chorus, tiny_chat, name):
    command = [chorus, "serve", str(tiny_chat), "--no-cache", "--port", "0", *BAD_STARTS[name]]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode in (1, 2) and run.stderr and not run.stdout


def test_a_port_that_is_taken(chorus, tiny_chat, server):
    command = [chorus, "serve", str(tiny_chat), "--no-cache", "--port", str(server.port)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and str(server.port) in run.stderr


def test_nothing_of_a_request_is_written_down(locked):
    """Neither prompts nor keys nor queries, in answers that succeed, fail, or are refused."""
    key = {"Authorization": f"Bearer {USER}"}
    good = {"model": "base", "prompt": SECRET, "max_tokens": 3}
    for body in (good, good | {"temperature": -1}, good | {"model": SECRET}, good | {SECRET: 1}):
        requests.post(f"{locked.url}/v1/completions?{SECRET}", json=body, headers=key, timeout=30)
    requests.post(f"{locked.url}/v1/completions", data=SECRET, headers=key, timeout=30)
    requests.post(f"{locked.url}/v1/completions", data=f'{{"{SECRET}', timeout=30, headers={**key, "Content-Type": "application/json"})
    ask(locked, "GET", "/v1/models", "wrong" + SECRET)
    ask(locked, "GET", "/v1/models", USER, headers={"X-Request-Id": "my-id-77"})
    wait_for(lambda: "my-id-77" in locked.errors())
    log = locked.errors()
    for word in (SECRET, "elephants", USER, ADMIN, USER[:12]):
        assert word not in log, word
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {line["status"] for line in lines if "status" in line} >= {200, 400, 401, 404, 415}
    assert all(line["path"].startswith("/") for line in lines if "path" in line)


def test_request_ids(server):
    assert ask(server, "GET", "/health", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {ask(server, "GET", "/health", headers={"X-Request-Id": bad}).headers["x-request-id"] for bad in ("a b", "x" * 129)}
    assert len(made) == 2 and not made & {"a b", "x" * 129}


def test_errors_hold_no_paths(locked):
    key = {"Authorization": f"Bearer {ADMIN}"}
    for path in ("../../etc", "/etc/passwd", "voice/../../x", "nowhere", "/dev/zero"):
        for route, body in (("/v1/load_lora_adapter", {"lora_name": "x", "lora_path": path}), ("/v1/adapters/validate", {"path": path})):
            answer = requests.post(locked.url + route, json=body, headers=key, timeout=30)
            assert 400 <= answer.status_code < 500 or answer.json().get("valid") is False, answer.text
            assert "/tmp" not in answer.text and "root:" not in answer.text


@pytest.fixture(scope="module")
def secure(start_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    server = start_tiny("--tls-cert", folder / "cert.pem", "--tls-key", folder / "key.pem")
    server.session.verify = str(folder / "cert.pem")
    return server


def test_tls(secure):
    assert secure.scheme == "https"
    assert secure.text(max_tokens=5) == secure.text(max_tokens=5)
    body = {"model": "base", "prompt": "Hello", "max_tokens": 50, "stream": True, "ignore_eos": True, "temperature": 0}
    with secure.post("/v1/completions", body, stream=True) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == b"data: [DONE]" and len(lines) > 20


def test_only_tls_and_no_old_one(secure):
    with socket.create_connection(("127.0.0.1", secure.port), 10) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        plain.settimeout(15)
        try:
            assert b"200" not in plain.recv(4096)
        except ConnectionResetError:
            pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", secure.port), 10) as old, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(old)
    assert secure.health_seconds() < 1
