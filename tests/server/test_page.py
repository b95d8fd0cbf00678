"""The built-in page in a real browser: Debian's chromium, driven by Playwright."""

import json
import re

import pytest

from harness import wait_for
from pages import CONTRAST, ROOMS, button, enter, until

WIDTHS = (360, 768, 1280, 2560)


def ask(page, text, tokens):
    page.locator("summary:has([data-i18n='settings.title'])").click()
    page.fill("#temperature", "0")
    page.fill("#max-tokens", str(tokens))
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")


def test_what_is_served(open_page, real):
    page = open_page(real)
    names = page.locator("#cards h3").all_text_contents()
    assert sorted(names) == sorted(real.models())
    policy = real.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    assert page.title().startswith("Chorus")


def test_a_chat_streams(open_page, real):
    page = open_page(real)
    before = page.locator("#log").inner_text()
    ask(page, "Who rules this forest?", 40)
    until(page, "document.querySelector('#log').innerText.length > 60")
    until(page, "!document.querySelector('#send').hidden && document.querySelector('#stop').hidden")
    text = page.locator("#log").inner_text()
    assert "Who rules this forest?" in text and len(text) > len(before) + 60


def test_stop(open_page, real):
    page = open_page(real)
    ask(page, "Tell me a long story.", 4000)
    page.locator("#stop").click()
    until(page, "document.querySelector('#stop').hidden")
    real.wait_idle(20)


def test_model_text_is_never_markup(open_page, real):
    page = open_page(real)
    evil = "<img src=x onerror=alert(1)><b>bold</b>"
    ask(page, evil, 5)
    until(page, "document.querySelector('#stop').hidden")
    assert evil in page.locator("#log").inner_text()
    assert page.locator("#log img, #log b").count() == 0


def test_the_numbers_move(open_page, real):
    page = open_page(real)
    number = "Number(document.querySelector('#tile-running').textContent)"
    body = {"model": "elf", "prompt": "Hello", "max_tokens": 1500, "ignore_eos": True, "stream": True, "n": 4}
    with real.post("/v1/completions", body, stream=True) as answer:
        lines = answer.iter_lines()
        next(lines)
        until(page, f"{number} === 4")
        until(page, "parseFloat(document.querySelector('#tile-rate').textContent) > 0")
        assert "elf" in page.locator("#voices").inner_text()
    until(page, f"{number} === 0")


def test_languages(open_page, real):
    english = open_page(real, locale="en-GB")
    chinese = open_page(real, locale="zh-TW")
    assert english.locator("#send").inner_text() == "Send"
    assert re.search("[\u4e00-\u9fff]", chinese.locator("#send").inner_text())
    assert chinese.evaluate("document.documentElement.lang") == "zh-Hant"
    english.locator("#language-button").click()
    assert english.locator("#send").inner_text() == chinese.locator("#send").inner_text()
    keys = "import('/web/{}.js').then((texts) => Object.keys(texts.default).sort())"
    assert english.evaluate(keys.format("en")) == english.evaluate(keys.format("zh-hant"))
    used = english.evaluate("[...document.querySelectorAll('[data-i18n]')].map((e) => e.dataset.i18n)")
    assert set(used) <= set(english.evaluate(keys.format("en")))


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows(open_page, real, width):
    page = open_page(real, viewport={"width": width, "height": 800})
    fits = f"document.documentElement.scrollWidth <= {width} && document.documentElement.scrollHeight <= 800"
    for room in ROOMS:
        enter(page, room)
        assert page.evaluate(fits), room
    for view in ("adapters", "live") if width < 760 else ():
        page.locator(f".views button[data-view={view}]").click()
        assert page.evaluate(fits), view


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(open_page, real, scheme):
    page = open_page(real, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    for room in ROOMS:
        enter(page, room)
        assert page.evaluate(CONTRAST) == [], room


@pytest.mark.parametrize("room", ROOMS)
def test_by_keyboard(open_page, real, room):
    """Everything is reached by Tab, whatever room is seen."""
    page = open_page(real, room)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    controls = """[...document.querySelectorAll("button, input, textarea, select, a[href]")]
        .filter((e) => e.id && e.checkVisibility() && !e.disabled).map((e) => e.id)"""
    wanted, reached = set(page.evaluate(controls)), set()
    for _ in range(200):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
        if wanted <= reached:
            break
    assert len(wanted) > 8 and wanted - reached == set()


def test_enter_sends(open_page, real):
    page = open_page(real)
    page.focus("#prompt")
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#log').innerText.includes('Hello')")
    page.keyboard.press("Escape")
    until(page, "document.querySelector('#stop').hidden")


def test_a_conversation_stays(open_page, real):
    page = open_page(real)
    ask(page, "Who rules this forest?", 20)
    until(page, "document.querySelector('.message .facts').innerText.length > 0")
    said = page.locator("#log").inner_text()
    page.reload()
    until(page, "document.querySelectorAll('.message').length === 2")
    assert page.locator("#log").inner_text() == said
    page.locator("#clear").click()
    page.reload()
    until(page, "document.querySelector('#log .empty') !== null")
    assert page.locator(".message").count() == 0


def card(page, name):
    return page.locator(".card", has=page.locator("h3", has_text=re.compile(f"^{name}$")))


def test_an_adapter_is_loaded_and_unloaded(open_page, start_tiny, fleet_directory):
    server = start_tiny("--adapters", fleet_directory)
    wait_for(lambda: server.get("/ready").status_code == 200, 30)
    page = open_page(server)
    card(page, "voice03").get_by_role("button", name=re.compile("^Unload")).click()
    wait_for(lambda: "voice03" not in server.models(), 10)
    until(page, "![...document.querySelectorAll('.card h3')].some((e) => e.textContent === 'voice03')")
    assert json.loads(server.get("/v1/models").text)["data"]
    page.close()
    assert server.stop() == 0


def asked_models(page, act):
    """The models of the requests that `act` leads to."""
    with page.expect_request(lambda request: request.method == "POST" and "/v1/" in request.url) as request:
        act()
    body = json.loads(request.value.post_data)
    return [voice.get("model", body.get("model")) for voice in body.get("voices", [body])]


def test_a_strength_is_kept_to(open_page, real):
    """The slider of an adapter's card holds for every room."""
    page = open_page(real)
    card(page, "elf").locator("input[type=range]").fill("0.4")
    button(card(page, "elf"), "Chat with elf").click()
    page.fill("#prompt", "Hello")
    assert asked_models(page, lambda: page.press("#prompt", "Enter")) == ["elf@0.4"]
    page.keyboard.press("Escape")
    enter(page, "summary")
    page.fill("#summary-text", "A long text.")
    page.select_option("#summary-model", "elf")
    assert asked_models(page, lambda: page.locator("#summary-start").click()) == ["elf@0.4", "base"]
    page.keyboard.press("Escape")
    real.wait_idle(20)


def test_one_card_on_another_is_a_mix(open_page, real):
    page = open_page(real, "story")
    start, end = (card(page, name).locator("h3").bounding_box() for name in ("elf", "marketing"))
    page.mouse.move(start["x"] + 5, start["y"] + 5)
    page.mouse.down()
    for share in range(11):
        page.mouse.move(start["x"] + 5, start["y"] + 5 + (end["y"] - start["y"]) * share / 10)
    page.mouse.up()
    until(page, "document.body.dataset.room === 'chat'")
    page.fill("#prompt", "Hello")
    assert asked_models(page, lambda: page.press("#prompt", "Enter")) == ["elf@0.5+marketing@0.5"]
    page.keyboard.press("Escape")
    real.wait_idle(20)


def upload_files(page, folder):
    page.locator(".load > summary").click()
    page.set_input_files("#upload-files", [path for path in sorted(folder.iterdir()) if path.is_file()])


def test_files_become_an_adapter(open_page, start_tiny, tiny_adapters, tmp_path):
    """Chosen: tried first, then kept and loaded; what is wrong with them is said."""
    server = start_tiny("--adapters", tmp_path)
    page = open_page(server, cards=1, expected=["400"])
    upload_files(page, tiny_adapters["qv"])
    page.fill("#upload-name", "mine")
    page.locator("#upload-check").click()
    until(page, "document.querySelector('#upload-result').textContent.includes('fits this base')")
    assert "mine" not in server.models()
    page.locator("#upload-form button[type=submit]").click()
    until(page, "[...document.querySelectorAll('.card h3')].some((e) => e.textContent === 'mine')")
    page.set_input_files("#upload-files", tiny_adapters["qv"] / "adapter_config.json")
    page.fill("#upload-name", "half")
    page.locator("#upload-form button[type=submit]").click()
    until(page, "document.querySelector('#upload-result').textContent.includes('adapter_model.safetensors')")
    page.close()
    assert server.stop() == 0


def test_files_are_dropped(open_page, start_tiny, tiny_adapters, tmp_path):
    server = start_tiny("--adapters", tmp_path)
    page = open_page(server, cards=1)
    files = {path.name: list(path.read_bytes()) for path in tiny_adapters["qv"].iterdir() if path.is_file()}
    dropped = page.evaluate_handle("""(files) => {
      const data = new DataTransfer();
      for (const [name, bytes] of Object.entries(files)) data.items.add(new File([new Uint8Array(bytes)], name));
      return data;
    }""", files)  # fmt: skip
    page.dispatch_event("#adapters", "drop", {"dataTransfer": dropped})
    until(page, "document.querySelector('#upload-result').textContent.includes('is loaded')")
    assert len(server.models()) == 2
    page.close()
    assert server.stop() == 0
