"""Pictures: our routes before an image engine, which is a stub of both dialects here."""

import base64
import json
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from harness import error_of, wait_for
from image_stub import ImageEngine

PATH = "/v1/images/generations"


@pytest.fixture
def openai_engine():
    engine = ImageEngine("openai")
    yield engine
    engine.close()


@pytest.fixture
def server_with(start_tiny):
    """Starts a server before an image engine."""
    servers = []

    def start(engine, *flags):
        servers.append(start_tiny("--image-engine", engine if isinstance(engine, str) else engine.url, *flags))
        return servers[-1]

    yield start
    for server in servers:
        if server.alive():
            assert server.stop() == 0
        server.close()


def state(server):
    return server.get("/v1/images/engine").json()


def size_of(answer):
    """Of the PNG in an answer, by its own head."""
    data = base64.b64decode(answer["data"][0]["b64_json"], validate=True)
    assert data.startswith(b"\x89PNG")
    return struct.unpack(">II", data[16:24])


def begun(server, body):
    """A request on a thread of its own, and what will be its answer."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.post(PATH, body)))
    thread.start()
    return thread, answers


def test_without_an_engine(server):
    assert state(server) == {"configured": False}
    assert "--image-engine" in error_of(server.post(PATH, {"prompt": "a cat"}), 503)["message"]


def test_every_field_arrives(engine, server_with):
    server = server_with(engine)
    body = {"prompt": "a cat", "negative_prompt": "hats", "style": "ink", "size": "768x512", "seed": 4294967295, "steps": 12,
            "cfg_scale": 4.5, "sampler": "DPM++ 2M", "n": 1, "response_format": "b64_json", "model": "any", "user": "me"}  # fmt: skip
    answer = server.post(PATH, body).json()
    sent = engine.requests[0]
    assert sent["prompt"] == answer["data"][0]["revised_prompt"] == "ink drawing, a cat, black and white, fine lines"
    assert sent["negative_prompt"].startswith("hats, blurry") and sent["negative_prompt"] == answer["negative_prompt"]
    assert (sent["width"], sent["height"]) == size_of(answer) == (answer["width"], answer["height"]) == (768, 512)
    assert (sent["seed"], sent["steps"], sent["cfg_scale"], sent["sampler_name"]) == (4294967295, 12, 4.5, "DPM++ 2M")
    assert sent["scheduler"] == "karras" and answer["seed"] == 4294967295 and answer["elapsed"] > 0
    again = server.post(PATH, body).json()
    other = server.post(PATH, body | {"seed": 1}).json()
    assert again["data"] == answer["data"] and other["data"][0]["b64_json"] != answer["data"][0]["b64_json"]
    drawn = server.post(PATH, {"prompt": "a dog"}).json()
    assert size_of(drawn) == (1024, 1024) and engine.requests[-1]["seed"] == drawn["seed"]


def test_openai_engines(openai_engine, server_with):
    server = server_with(openai_engine, "--image-extra", "steps=num_inference_steps", "--image-extra", "seed=seed")
    answer = server.post(PATH, {"prompt": "a cat", "size": "512x512", "seed": 5, "steps": 9}).json()
    expected = {"prompt": "a cat", "n": 1, "size": "512x512", "response_format": "b64_json", "num_inference_steps": 9, "seed": 5}
    assert openai_engine.requests == [expected] and size_of(answer) == (512, 512)
    known = state(server)
    assert (known["dialect"], known["model"], known["ready"], known["active"]) == ("openai", "stub-ai", True, None)


def test_words_of_a_model_are_no_commands(engine, server_with):
    server = server_with(engine)
    evil = 'a (cat:9) <lora:x:1>\n<sd_cpp_extra_args>{"seed":1}</sd_cpp_extra_args> [b] BREAK\x00 ' + "word " * 20000
    answer = server.post(PATH, {"prompt": evil[:50000]}).json()
    sent = engine.requests[0]["prompt"]
    assert not set("<>()[]{}|\\:\n\x00") & set(sent) and len(sent) <= 600 and sent.startswith("a cat 9 lora x 1")
    assert answer["data"][0]["revised_prompt"] == sent


REFUSED = [
    ({"prompt": ""}, "prompt"),
    ({"prompt": " <> "}, "prompt"),
    ({"prompt": 7}, "prompt"),
    ({"prompt": "x" * 50001}, "prompt"),
    ({"size": "1000x1000"}, "size"),
    ({"size": "64"}, "size"),
    ({"size": "64x64x64"}, "size"),
    ({"size": "99999999999x64"}, "size"),
    ({"size": "4096x4096"}, "size"),
    ({"seed": -1}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"seed": "1"}, "seed"),
    ({"steps": 0}, "steps"),
    ({"steps": 151}, "steps"),
    ({"cfg_scale": 31}, "cfg_scale"),
    ({"cfg_scale": "7"}, "cfg_scale"),
    ({"style": "oil"}, "style"),
    ({"n": 2}, "n"),
    ({"response_format": "url"}, "response_format"),
    ({"id": "x" * 65}, "id"),
    ({"frobnicate": 1}, "frobnicate"),
]


@pytest.fixture(scope="module")
def strict(start_tiny):
    """A server before an engine that is asked for nothing."""
    engine = ImageEngine()
    yield start_tiny("--image-engine", engine.url), engine
    engine.close()


@pytest.mark.parametrize("change, param", REFUSED)
def test_refused(strict, change, param):
    server, engine = strict
    assert error_of(server.post(PATH, {"prompt": "a cat"} | change), 400)["param"] == param
    assert engine.requests == []


TROUBLES = {
    "error": (502, "out of"),
    "validation": (502, "steps: too many"),
    "page": (502, "no JSON"),
    "none": (502, "no picture"),
    "base64": (502, "base64"),
    "text": (502, "no PNG"),
    "huge": (502, "8192"),
    "cut": (502, ""),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_troubles_of_an_engine(engine, server_with, trouble):
    """One line that says what it was; the next picture is drawn as if nothing had been."""
    server = server_with(engine)
    engine.trouble = trouble
    status, words = TROUBLES[trouble]
    error = error_of(server.post(PATH, {"prompt": "a cat", "size": "64x64"}), status)
    assert words in error["message"] and "\n" not in error["message"] and len(error["message"]) < 400
    assert error["type"] == "image_engine_error"
    engine.trouble = None
    assert size_of(server.post(PATH, {"prompt": "a cat", "size": "64x64"}).json()) == (64, 64)


def test_an_address_in_place_of_a_picture(openai_engine, server_with):
    """Nothing is fetched from where an engine says."""
    server = server_with(openai_engine)
    openai_engine.trouble = "address"
    assert "b64_json" in error_of(server.post(PATH, {"prompt": "a cat"}), 502)["message"]


def test_an_engine_that_is_away_and_comes(server_with):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = server_with(f"http://127.0.0.1:{port}")
    assert error_of(server.post(PATH, {"prompt": "a cat"}), 502)["type"] == "image_engine_error"
    assert state(server)["ready"] is False and state(server)["error"]
    engine = ImageEngine(port=port)
    try:
        assert size_of(server.post(PATH, {"prompt": "a cat", "size": "64x64"}).json()) == (64, 64)
        assert state(server)["ready"] is True and state(server)["model"] == "stub-xl"
    finally:
        engine.close()


def test_a_silent_engine(engine, server_with):
    server = server_with(engine, "--image-timeout", "1")
    engine.seconds = 30
    error = error_of(server.post(PATH, {"prompt": "a cat"}), 504)
    assert error["type"] == "image_engine_error"


def test_text_goes_on_meanwhile(engine, server_with):
    server = server_with(engine)
    engine.seconds = 2
    thread, answers = begun(server, {"prompt": "a cat", "size": "64x64"})
    wait_for(lambda: engine.drawing == 1)
    before = time.monotonic()
    assert server.text("Hello") and server.get("/health").status_code == 200
    assert time.monotonic() - before < 1.5 and engine.drawing == 1
    thread.join()
    assert answers[0].status_code == 200


def test_progress(engine, server_with):
    server = server_with(engine)
    engine.seconds = 3
    thread, answers = begun(server, {"prompt": "a cat", "size": "64x64", "id": "mine"})
    seen = wait_for(lambda: (active := state(server)["active"]) and active["progress"] and active, 5)
    assert seen["id"] == "mine" and 0 < seen["progress"] <= 1 and 0 < seen["step"] <= seen["steps"] == 10 and seen["elapsed"] > 0
    thread.join()
    assert state(server)["active"] is None and answers[0].status_code == 200


def test_an_engine_without_progress(engine, server_with):
    server = server_with(engine)
    engine.seconds, engine.tells_progress = 1.5, False
    thread, answers = begun(server, {"prompt": "a cat", "size": "64x64"})
    active = wait_for(lambda: (now := state(server)["active"]) and now["elapsed"] > 1 and now, 5)
    assert active["progress"] is None
    thread.join()
    assert answers[0].status_code == 200


def test_one_after_the_other(engine, server_with):
    server = server_with(engine)
    engine.seconds = 0.3
    running = []
    for number in range(5):
        running.append(begun(server, {"prompt": f"cat {number}", "size": "64x64", "seed": number}))
        wait_for(lambda: state(server)["queue"] + (state(server)["active"] is not None) == number + 1 or engine.requests, 5)
        time.sleep(0.05)
    most = 0
    while any(thread.is_alive() for thread, _ in running):
        most = max(most, engine.drawing)
        time.sleep(0.01)
    assert most == 1 and [request["seed"] for request in engine.requests] == [0, 1, 2, 3, 4]
    assert all(answers[0].status_code == 200 for _, answers in running)


def test_a_full_queue(engine, server_with):
    server = server_with(engine)
    engine.seconds = 60
    running = [begun(server, {"prompt": "a cat", "id": f"p{i}"}) for i in range(17)]
    wait_for(lambda: state(server)["queue"] == 16)
    answer = server.post(PATH, {"prompt": "a cat"})
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert error_of(server.post(PATH, {"prompt": "a cat", "id": "p0"}), 400)["param"] == "id"
    for i in range(17):
        server.post("/v1/images/cancel", {"id": f"p{i}"})
    for thread, answers in running:
        thread.join(10)
        assert answers[0].status_code == 409


def test_cancel(engine, server_with):
    """One that waits never reaches the engine; the one that is drawn is interrupted."""
    server = server_with(engine)
    engine.seconds = 60
    drawn = begun(server, {"prompt": "a cat", "id": "drawn"})
    wait_for(lambda: engine.drawing == 1)
    waits = begun(server, {"prompt": "a dog", "id": "waits"})
    wait_for(lambda: state(server)["queue"] == 1)
    for id, (thread, answers) in (("waits", waits), ("drawn", drawn)):
        assert server.post("/v1/images/cancel", {"id": id}).json() == {"id": id, "cancelled": True}
        thread.join(10)
        assert error_of(answers[0], 409)["type"] == "cancelled_error"
    wait_for(lambda: engine.interrupts == 1 and engine.drawing == 0)
    assert len(engine.requests) == 1
    assert error_of(server.post("/v1/images/cancel", {"id": "drawn"}), 404)["param"] == "id"
    engine.seconds = 0
    assert server.post(PATH, {"prompt": "a cat", "size": "64x64"}).status_code == 200


def test_a_client_that_leaves(engine, server_with):
    server = server_with(engine)
    engine.seconds = 60
    body = json.dumps({"prompt": "a cat"}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + body)
        wait_for(lambda: engine.drawing == 1)
    wait_for(lambda: engine.interrupts == 1 and state(server)["active"] is None)


def test_keys_have_their_own(engine, server_with, tmp_path):
    (tmp_path / "keys").write_text("sesame\nfig\n")
    server = server_with(engine, "--api-key-file", tmp_path / "keys")
    keys = [{"Authorization": f"Bearer {key}"} for key in ("sesame", "fig")]
    assert server.get("/v1/images/engine").status_code == 401
    engine.seconds = 60
    thread = threading.Thread(target=lambda: server.post(PATH, {"prompt": "a cat", "id": "mine"}, headers=keys[0]))
    thread.start()
    wait_for(lambda: engine.drawing == 1)
    assert error_of(server.post("/v1/images/cancel", {"id": "mine"}, headers=keys[1]), 404)
    seen = [server.get("/v1/images/engine", headers=key).json()["active"]["id"] for key in keys]
    assert seen == ["mine", None]
    assert server.post("/v1/images/cancel", {"id": "mine"}, headers=keys[0]).status_code == 200
    thread.join(10)


def test_a_password_goes_along_and_is_not_shown(engine, server_with):
    server = server_with(f"http://me:secret@127.0.0.1:{engine.port}")
    assert server.post(PATH, {"prompt": "a cat", "size": "64x64"}).status_code == 200
    assert base64.b64decode(engine.headers[0]["Authorization"].removeprefix("Basic ")) == b"me:secret"
    engine.trouble = "key"
    engine.close()
    assert "secret" not in server.post(PATH, {"prompt": "a cat"}).text + json.dumps(state(server)) + server.errors()


def test_a_server_that_ends_amid_a_picture(engine, start_tiny):
    server = start_tiny("--image-engine", engine.url)
    engine.seconds = 60
    drawn, waits = begun(server, {"prompt": "a cat"}), None
    wait_for(lambda: engine.drawing == 1)
    waits = begun(server, {"prompt": "a dog"})
    wait_for(lambda: state(server)["queue"] == 1)
    server.process.send_signal(signal.SIGTERM)
    for thread, answers in (drawn, waits):
        thread.join(10)
        assert answers[0].status_code == 503
    assert server.process.wait(10) == 0
    wait_for(lambda: engine.interrupts == 1)


FLAGS = {
    "http://192.0.2.1:7860": "--image-remote",
    "http://example.com": "--image-remote",
    "ftp://127.0.0.1": "http://127.0.0.1:8080",
    "sdapi:127.0.0.1": "http://127.0.0.1:8080",
}


@pytest.mark.parametrize("url", FLAGS)
def test_flags(chorus, tiny_chat, url):
    told = subprocess.run([chorus, "serve", tiny_chat, "--port", "0", "--image-engine", url], capture_output=True, text=True, timeout=30)
    assert told.returncode == 1 and FLAGS[url] in told.stderr and told.stderr.count("\n") == 1


@pytest.mark.parametrize("extra", ["step=x", "steps", "sd_cpp=x", "steps="])
def test_extras(chorus, tiny_chat, extra):
    command = [chorus, "serve", tiny_chat, "--port", "0", "--image-engine", "http://127.0.0.1:1", "--image-extra", extra]
    told = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert told.returncode == 1 and "extra" in told.stderr and told.stderr.count("\n") == 1
