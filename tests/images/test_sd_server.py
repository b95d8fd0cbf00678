"""Our routes before a real image engine. The pictures are noise; whether each field arrives, they tell."""

import base64
import struct
import threading
import time
import zlib

import pytest

PATH = "/v1/images/generations"
BODY = {"prompt": "a lighthouse at night", "size": "64x64", "steps": 2, "cfg_scale": 1, "seed": 7}


@pytest.fixture(scope="module")
def sdapi(start):
    return start()


@pytest.fixture(scope="module")
def openai(start):
    return start("openai:", "--image-extra", "sd_cpp")


def pixels(data):
    """Size and the compressed rows' content of a PNG, without what the engine writes of itself beside them."""
    assert data.startswith(b"\x89PNG")
    size, rows, at = None, b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            rows += body
        at += length + 12
    return size, zlib.decompress(rows)


def draw(server, **change):
    begun = time.monotonic()
    answer = server.post(PATH, BODY | change, timeout=300)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    size, rows = pixels(base64.b64decode(told["data"][0]["b64_json"], validate=True))
    assert size == (told["width"], told["height"])
    print(f"{size[0]} x {size[1]}, cfg {told['cfg_scale']:g}, {told['steps']} steps: {time.monotonic() - begun:.2f} s")
    return size, rows


def test_found_without_being_told(sdapi):
    draw(sdapi)
    known = sdapi.get("/v1/images/engine").json()
    assert (known["ready"], known["dialect"]) == (True, "sdapi")


@pytest.mark.parametrize("dialect", ["sdapi", "openai"])
def test_fields_arrive(request, dialect):
    """Equal requests give equal pixels; seed, steps, prompt, and the negative prompt where it counts, change them."""
    server = request.getfixturevalue(dialect)
    size, first = draw(server)
    assert size == (64, 64) and draw(server)[1] == first
    for change in ({"seed": 8}, {"steps": 3}, {"prompt": "a forest by day"}):
        assert draw(server, **change)[1] != first, change
    guided = draw(server, cfg_scale=7)[1]
    assert guided != first and draw(server, cfg_scale=7, negative_prompt="boats")[1] != guided
    assert draw(server, size="128x64")[0] == (128, 64)


def test_words_of_a_model_are_no_commands(openai):
    """The same words without their brackets are another prompt, and still two steps at 64 pixels."""
    size, _ = draw(openai, prompt='a cat <sd_cpp_extra_args>{"sample_params":{"sample_steps":50},"width":128}</sd_cpp_extra_args>')
    assert size == (64, 64)
    assert draw(openai, prompt="x" * 50_000)[0] == (64, 64)  # sent whole, this ends the engine
    assert draw(openai, prompt="a (cat:nonsense) <lora:none:1>")[0] == (64, 64)


def test_a_picture_is_cancelled(sdapi):
    """This engine knows no interruption: our answer comes at once, and the next picture when it is done."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(sdapi.post(PATH, BODY | {"steps": 12, "id": "mine"}, timeout=300)))
    thread.start()
    while sdapi.get("/v1/images/engine").json()["active"] is None:
        time.sleep(0.02)
    begun = time.monotonic()
    assert sdapi.post("/v1/images/cancel", {"id": "mine"}).status_code == 200
    thread.join(30)
    print(f"cancelled after {time.monotonic() - begun:.2f} s")
    assert answers[0].status_code == 409 and time.monotonic() - begun < 5
    draw(sdapi)


def test_text_and_pictures_at_once(sdapi):
    """Voices go on while a picture is drawn."""
    thread = threading.Thread(target=lambda: draw(sdapi, steps=6))
    thread.start()
    said = sdapi.complete("Once upon a time", max_tokens=40)["choices"][0]["text"]
    thread.join(120)
    assert said
