"""deploy/kubernetes, deploy/systemd and deploy/Dockerfile: right in themselves, and true to the program."""

import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "chorus.service"
DOCKERFILE = DEPLOY / "Dockerfile"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def documents():
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def of_kind(kind, name="chorus"):
    return next(d for d in documents() if d["kind"] == kind and d["metadata"]["name"] == name)


def container():
    return of_kind("Deployment")["spec"]["template"]["spec"]["containers"][0]


def joined(path):
    """The file's text with continued lines made one."""
    return re.sub(r"\\\n\s*(#\s*)?", "", path.read_text())


def command_lines():
    """{where: the arguments} of every `chorus serve` in deploy/."""
    unit = re.search(r"^ExecStart=\S+/chorus (serve .*)$", UNIT.read_text(), re.M)[1]
    docker = re.search(r"docker run .* chorus (serve .*)$", joined(DOCKERFILE), re.M)[1]
    proxy = re.search(r"chorus (serve .*?) \(and keys", (DEPLOY / "haproxy" / "haproxy.cfg").read_text())[1]
    lines = {"systemd": unit, "Dockerfile": docker, "haproxy.cfg": proxy.replace("...", "127.0.0.1")}
    return {name: shlex.split(line) for name, line in lines.items()} | {"Deployment": container()["args"]}


@pytest.fixture(scope="module")
def options(run_chorus):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", run_chorus("serve", "--help").stdout))


@pytest.fixture(scope="module")
def routes(run_chorus, tiny_chat):
    """{path: who may GET it}"""
    lines = run_chorus("serve", tiny_chat, "--no-cache", "--list-routes").stdout.splitlines()
    return {path: access for method, path, access in map(str.split, lines) if method == "GET"}


def test_every_manifest_is_an_object():
    assert len(MANIFESTS) == 3 and len(documents()) == 7
    for document in documents():
        assert {"apiVersion", "kind", "metadata"} <= set(document), document
        assert re.fullmatch("[a-z0-9-]+", document["metadata"]["name"])
    for config in (d for d in documents() if d["kind"] == "ConfigMap"):
        assert all(isinstance(yaml.safe_load(text), dict) for text in config["data"].values())


def test_the_objects_fit_each_other():
    labels = of_kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    for selector in (
        of_kind("Deployment")["spec"]["selector"],
        of_kind("NetworkPolicy")["spec"]["podSelector"],
        of_kind("PodMonitor")["spec"]["selector"],
        of_kind("InferencePool")["spec"]["selector"],
    ):
        assert selector["matchLabels"].items() <= labels.items()
    port = container()["ports"][0]["containerPort"]
    assert f"--port={port}" in container()["args"]
    assert [p["number"] for p in of_kind("InferencePool")["spec"]["targetPorts"]] == [port]
    assert of_kind("NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"port": port}]
    syncer = yaml.safe_load(of_kind("ConfigMap", "chorus-adapters")["data"]["configmap.yaml"])["vLLMLoRAConfig"]
    assert syncer["port"] == port
    assert of_kind("HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["name"] == "chorus"
    picker = yaml.safe_load(of_kind("ConfigMap", "chorus-epp-config")["data"]["epp-config.yaml"])
    known = {plugin["type"] for plugin in picker["plugins"]}
    assert {p["pluginRef"] for profile in picker["schedulingProfiles"] for p in profile["plugins"]} <= known
    mounted = {mount["name"] for mount in container()["volumeMounts"]}
    assert mounted == {volume["name"] for volume in of_kind("Deployment")["spec"]["template"]["spec"]["volumes"]}


def test_what_is_written_has_a_volume():
    """The root is read-only: the packed model's cache needs a place, and the program must know it."""
    cache = re.search(r"^ENV CHORUS_CACHE=(\S+)$", DOCKERFILE.read_text(), re.M)[1]
    assert any(m["mountPath"] == cache and not m.get("readOnly") for m in container()["volumeMounts"])
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    user = re.search(r"^USER (\d+)$", DOCKERFILE.read_text(), re.M)[1]
    assert pod["securityContext"]["runAsUser"] == int(user)


def test_a_drain_fits_into_the_time_there_is():
    """SIGKILL must not come before the streams' time is over."""
    drain = next(int(a.partition("=")[2]) for a in container()["args"] if a.startswith("--drain-timeout="))
    assert drain < of_kind("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert "--drain-timeout" not in command_lines()["systemd"]  # 10 s then
    assert int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)[1]) > 10


@pytest.mark.parametrize("where", ["systemd", "Dockerfile", "haproxy.cfg", "Deployment"])
def test_arguments_are_those_of_the_program(where, options, run_chorus, tiny_chat, tmp_path):
    line = command_lines()[where]
    used = {a.partition("=")[0] for a in line if a.startswith("-")}
    assert line[0] == "serve" and used and used <= options, used - options
    (tmp_path / "keys").write_text("key\n")
    paths = {"--adapters": tmp_path, "--api-key-file": tmp_path / "keys"}
    words = " ".join(line[2:]).replace("=", " ").split()
    words = [str(paths.get(before, word)) for before, word in zip(["", *words], words)]
    done = run_chorus("serve", tiny_chat, "--no-cache", *words, "--list-routes")
    assert done.rc == 0, done.stderr


def test_what_is_asked_is_answered(routes):
    probes = [container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    names = {port["name"] for port in container()["ports"]}
    endpoints = of_kind("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert {probe["port"] for probe in probes} | {endpoint["port"] for endpoint in endpoints} <= names
    proxy = re.search(r"http-check send meth GET uri (\S+)", (DEPLOY / "haproxy" / "haproxy.cfg").read_text())[1]
    assert all(routes[path] == "public" for path in [proxy, *(probe["path"] for probe in probes)])
    assert all(endpoint["path"] in routes for endpoint in endpoints)


def test_the_unit(tmp_path):
    """With a program that is there: systemd-analyze wants to see it."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze")
    text = UNIT.read_text()
    assert text.count("/usr/local/bin/chorus serve") == 1
    unit = tmp_path / "chorus.service"
    unit.write_text(text.replace("/usr/local/bin/chorus serve", "/bin/true serve"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    own = [line for line in (done.stdout + done.stderr).splitlines() if "chorus" in line]
    assert done.returncode == 0 and not own, done.stdout + done.stderr
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", unit], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:] + [done.stderr]


def packages(name):
    text = (ROOT / "scripts" / "setup.sh").read_text()
    return set(re.search(rf'^{name}="([^"]*)"', text, re.M)[1].split())


def installed():
    """The packages of each stage of the Dockerfile."""
    found = re.findall(r"apt-get install -y --no-install-recommends\s+(.*?) &&", joined(DOCKERFILE))
    return [set(line.split()) for line in found]


def test_the_image_is_built_from_the_same_packages():
    build, _ = installed()
    assert build == packages("BUILD_PACKAGES")


def test_the_image_has_the_libraries(chorus):
    """Every shared library that the program needs comes from a package that is installed, or from the base's own."""
    _, run = installed()
    listed = subprocess.run(["ldd", chorus], capture_output=True, text=True, check=True).stdout
    base = {"libc6", "libgcc-s1", "libstdc++6", "zlib1g"}
    owners = set()
    for path in map(pathlib.Path, re.findall(r" => (/\S+)", listed)):
        pattern = f"*/{path.parent.name}/{path.name}"  # not the whole path: /lib may be a link to /usr/lib
        owner = subprocess.run(["dpkg-query", "-S", pattern], capture_output=True, text=True).stdout
        assert owner, f"no package has {path}"
        owners.add(owner.split(":")[0])
    assert owners - base <= run, owners - base - run
    assert run <= owners, run - owners
