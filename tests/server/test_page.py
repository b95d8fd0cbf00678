"""The built-in page in a real browser: Debian's chromium, driven by Playwright."""

import json
import re
import shutil

import pytest

from harness import wait_for

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
WIDTHS = (360, 768, 1280, 2560)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Opens the page of a server; what goes wrong in it fails the test at its end."""
    contexts, troubles = [], []

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # a stream that the page or its end has stopped
            troubles.append(f"{request.url}: {request.failure}")

    def opened(server, path="/", cards=2, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", failed)
        page.on("request", lambda request: request.url.startswith((server.url, "data:")) or troubles.append(request.url))
        page.on("response", lambda answer: answer.status < 400 or troubles.append(f"{answer.url}: {answer.status}"))
        page.goto(server.url + path)
        playwright.expect(page.locator("#status")).to_have_attribute("data-status", "ready")
        until(page, f"document.querySelectorAll('#cards .card').length >= {cards}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def until(page, condition, seconds=30):
    """Polls from outside: the page's policy lets nothing be evaluated in it for long."""
    wait_for(lambda: page.evaluate(condition), seconds, condition)


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
    for view in ("adapters", "story", "chat", "live"):
        button = page.locator(f".views button[data-view={view}]")
        room = page.locator(f".rooms button[data-room={view}]")
        for one in (button, room):
            if one.count() and one.is_visible():
                one.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view


# Each text's colour against the nearest background behind it, as WCAG computes contrast.
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const parse = (colour) => {  // of any form
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => { const v = c / 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const element of document.querySelectorAll("h1, h2, h3, p, button, label, dt, dd, summary, th, textarea")) {
    if (!element.checkVisibility() || element.disabled || !(element.textContent.trim() || element.value)) continue;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${element.tagName} ${element.textContent.trim().slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(open_page, real, scheme):
    page = open_page(real, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    for room in ("chat", "story"):
        page.locator(f".rooms button[data-room={room}]").click()
        assert page.evaluate(CONTRAST) == []


def test_by_keyboard(open_page, real):
    """Everything is reached by Tab, in sight while it has the focus; Enter sends."""
    page = open_page(real, viewport={"width": 1280, "height": 900})
    controls = """[...document.querySelectorAll("button, input, textarea, select, a[href]")]
        .filter((e) => e.id && e.checkVisibility() && !e.disabled).map((e) => e.id)"""
    reached = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"prompt", "send"} <= set(page.evaluate(controls)) <= reached
    page.focus("#prompt")
    page.keyboard.type("Hello")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#log').innerText.includes('Hello')")
    page.locator("#stop").click(timeout=5000) if page.locator("#stop").is_visible() else None


def test_an_adapter_is_loaded_and_unloaded(open_page, start_tiny, fleet_directory):
    server = start_tiny("--adapters", fleet_directory)
    wait_for(lambda: server.get("/ready").status_code == 200, 30)
    page = open_page(server)
    card = page.locator(".card", has=page.locator("h3", has_text=re.compile("^voice03$")))
    card.get_by_role("button", name=re.compile("^Unload")).click()
    wait_for(lambda: "voice03" not in server.models(), 10)
    playwright.expect(card).to_have_count(0)
    assert json.loads(server.get("/v1/models").text)["data"]
    page.close()
    assert server.stop() == 0


def open_story(page):
    page.locator(".rooms button[data-room=story]").click()
    until(page, "document.querySelectorAll('#story-voices input:checked').length === 2")


def sing(page, premise, seed=7):
    page.fill("#premise", premise)
    page.fill("#story-seed", str(seed))
    page.press("#premise", "Control+Enter")
    until(page, "document.querySelectorAll('#columns .column').length === 2")
    until(page, "!document.querySelector('#sing').disabled", 90)


def column_texts(page):
    return page.locator("#columns .column").all_inner_texts()


def test_a_story(open_page, real):
    """Premise, concept by the base, two voices of one batch, measured beside one by one; kept over a reload."""
    page = open_page(real, viewport={"width": 1400, "height": 900})
    open_story(page)
    page.locator("#premise-examples button").first.click()
    page.locator("#expand").click()
    until(page, "!document.querySelector('#expand').disabled")
    concept = page.input_value("#concept")
    assert len(concept) > 40
    steps, rows = (real.metrics().sum(f"chorus:engine_{what}_total") for what in ("steps", "rows"))
    sing(page, page.input_value("#premise"))
    together = [real.metrics().sum(f"chorus:engine_{what}_total") for what in ("steps", "rows")]
    assert together[1] - rows > 1.2 * (together[0] - steps)  # the two were in the same steps, by the server's own count
    story, picture = column_texts(page)
    assert re.search("Act 1\n", story) and "seed 7" in story and "," in picture and "seed 8" in picture
    assert float(page.locator("#meter-rows").inner_text()) > 1
    page.locator("#one-by-one").click()
    until(page, "document.querySelector('#meter-text').textContent.includes('×')", 60)
    page.reload()
    until(page, "document.querySelectorAll('#columns .column').length === 2")
    assert column_texts(page) == [story, picture] and page.input_value("#concept") == concept
    assert "×" in page.locator("#meter-text").inner_text() and page.locator("#takes li").count() == 1
    page.locator("#language-button").click()
    assert "種子 7" in column_texts(page)[0] and page.input_value("#concept") == concept
    page.set_viewport_size({"width": 360, "height": 760})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_takes(open_page, real):
    """Equal seeds give equal takes; each can be shown again, starred, written out and thrown away."""
    page = open_page(real, viewport={"width": 1400, "height": 900}, accept_downloads=True)
    open_story(page)
    for premise in ("A knight loses his shadow.", "A baker finds a map in the bread.", "A knight loses his shadow."):
        sing(page, premise)
    first, again = page.locator("#takes li").nth(2), page.locator("#takes li").nth(0)
    said = page.locator("#columns .text").all_text_contents()
    first.locator(".pick").click()
    assert page.locator("#columns .text").all_text_contents() == said and page.input_value("#premise") == "A knight loses his shadow."
    first.locator("button[aria-pressed]").click()
    playwright.expect(first.locator("button[aria-pressed]")).to_have_attribute("aria-pressed", "true")
    with page.expect_download() as download:
        again.get_by_role("button", name="JSON").click()
    take = json.loads(open(download.value.path()).read())
    said = real.post("/v1/chorus", take["body"]).json()["voices"]
    assert [voice["text"] for voice in said] == [voice["text"] for voice in take["voices"]]
    again.get_by_role("button", name="Delete").click()
    playwright.expect(page.locator("#takes li")).to_have_count(2)


def test_a_story_that_is_cut(open_page, real):
    """The page closes amid the voices: what had come by then is there again, and said to be broken off."""
    page = open_page(real, viewport={"width": 1400, "height": 900})
    open_story(page)
    page.fill("#premise", "A lighthouse keeper finds a letter that is addressed to the sea.")
    page.locator("#sing").click()
    until(page, "[...document.querySelectorAll('#columns .text')].some((e) => e.textContent.length > 20)")
    page.locator("#story-stop").click()
    until(page, "!document.querySelector('#sing').disabled")
    kept = column_texts(page)
    page.reload()
    until(page, "document.querySelectorAll('#columns .column').length === 2")
    assert column_texts(page) == kept and any("broken off" in text for text in kept)
    real.wait_idle(20)


def test_composing_never_sends(open_page, real):
    """Enter that ends a composition of an input method is the input method's."""
    page = open_page(real)
    open_story(page)
    page.focus("#premise")
    input_method = page.context.new_cdp_session(page)
    input_method.send("Input.imeSetComposition", {"text": "ㄍㄨˋ", "selectionStart": 3, "selectionEnd": 3})
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229, "modifiers": 2}
    input_method.send("Input.dispatchKeyEvent", {"type": "keyDown", **enter})
    input_method.send("Input.insertText", {"text": "故事"})
    assert page.input_value("#premise") == "故事" and page.locator("#columns .column").count() == 0
    assert not page.locator("#sing").is_disabled()


def test_tuning(open_page, start_server, smollm2, tmp_path):
    """Data dropped into the page become a voice that answers in the same page, while the job still runs."""
    server = start_server(smollm2, "--kv-memory", "64", "--tune-dir", tmp_path / "jobs", "--adapters", tmp_path)
    examples = [{"messages": [{"role": "user", "content": f"What is {i}?"}, {"role": "assistant", "content": f"{i} is a pie, sailor."}]} for i in range(30)]
    (tmp_path / "my pirate (2).jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    page = open_page(server, cards=0, viewport={"width": 1400, "height": 900})
    page.locator(".rooms button[data-room=tune]").click()
    playwright.expect(page.locator("#jobs-none")).to_be_visible()
    page.set_input_files("#tune-file", tmp_path / "my pirate (2).jsonl")
    assert page.input_value("#tune-name") == "my-pirate-2"
    page.fill("#tune-epochs", "2")
    page.locator("#tune-start").click()
    until(page, "document.querySelectorAll('#jobs .steps li').length >= 2", 180)
    assert "held-out loss" in page.locator("#jobs").inner_text() and page.locator("#jobs .loss svg").count() == 1
    assert page.evaluate(CONTRAST) == []
    until(page, "document.querySelector('#jobs').innerText.includes('Done')", 60)
    page.get_by_role("button", name="Talk to my-pirate-2", exact=True).click()
    ask(page, "What is 7?", 12)
    until(page, "document.querySelector('#stop').hidden && document.querySelector('.message .facts').innerText.length > 0")
    assert page.locator(".message .by").inner_text() == "my-pirate-2"
    page.close()
    assert server.stop() == 0


def test_a_server_that_does_not_tune_says_so(browser, real):
    page = browser.new_page()
    page.goto(real.url)
    page.locator(".rooms button[data-room=tune]").click()
    playwright.expect(page.locator("#tune-note")).to_contain_text("--tune-dir")
    playwright.expect(page.locator("#tune-form")).to_be_hidden()
    page.close()
