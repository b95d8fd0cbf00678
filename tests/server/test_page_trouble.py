"""The page when something is in its way, and for those who do not see it."""

import json

from axe_playwright_python.sync_playwright import Axe
import pytest

from pages import ROOMS, chosen_voices, enter, sing, texts, until

LONG = "A lighthouse keeper finds a letter that is addressed to the sea."
SPEAKING = "[...document.querySelectorAll('#columns .text')].some((e) => e.textContent.length > 20)"


def test_a_story_that_is_stopped(open_page, real):
    """What had come by then is there again, and said to be broken off."""
    page = open_page(real, "story")
    page.fill("#premise", LONG)
    page.locator("#sing").click()
    until(page, SPEAKING)
    page.locator("#story-stop").click()
    until(page, "!document.querySelector('#sing').disabled")
    kept = texts(page)
    page.reload()
    until(page, "document.querySelectorAll('#columns voice-column').length === 2")
    assert texts(page) == kept and page.locator("#columns .facts", has_text="broken off").count() > 0
    real.wait_idle(20)


def test_a_reload_amid_the_voices(open_page, real):
    """Nothing that was written a second before is lost, and the server does not go on for nobody."""
    page = open_page(real, "story")
    chosen_voices(page, ["base", "elf", "story", "summary"])
    page.fill("#premise", LONG)
    page.locator("#sing").click()
    until(page, SPEAKING)
    page.wait_for_timeout(1200)
    page.reload()
    until(page, "document.querySelectorAll('#columns voice-column').length === 4")
    assert any(len(text) > 20 for text in texts(page).values()) and page.input_value("#premise") == LONG
    real.wait_idle(20)


def test_a_server_that_dies_and_comes_back(open_page, start_server, smollm2, demo_adapters):
    """The page says so, keeps what it has, and goes on when the server is there again."""
    flags = ["--kv-memory", "64", "--adapter", f"story={demo_adapters['story']}", "--adapter", f"elf={demo_adapters['elf']}"]
    server = start_server(smollm2, *flags)
    page = open_page(server, "story", expected=["ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY", "ERR_NETWORK", "503"])  # while it loads
    chosen_voices(page, ["base", "elf", "story"])
    page.fill("#premise", LONG)
    page.locator("#sing").click()
    until(page, SPEAKING)
    server.process.kill()
    until(page, "document.querySelector('#story-problem').textContent.includes('connection ended')")
    until(page, "document.querySelector('#status').dataset.status === 'lost'")
    kept = texts(page)
    assert any(len(text) > 20 for text in kept.values())
    page.fill("#concept", "Typed while nobody was there.")
    again = start_server(smollm2, *flags, port=server.port)
    until(page, "document.querySelector('#status').dataset.status === 'ready'", 60)
    assert texts(page) == kept and page.input_value("#concept") == "Typed while nobody was there."
    sing(page, LONG, voices=3)
    assert all(texts(page).values())
    page.close()
    assert again.stop() == 0


def test_a_slow_network(open_page, real):
    """Text comes as it can; nothing is lost, and the page can be used meanwhile."""
    page = open_page(real, "story")
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", {"offline": False, "latency": 300, "downloadThroughput": 6000, "uploadThroughput": 6000})
    page.fill("#premise", LONG)
    page.fill("#story-seed", "3")
    page.locator("#sing").click()
    until(page, SPEAKING)
    enter(page, "chat")
    enter(page, "story")
    until(page, "!document.querySelector('#sing').disabled", 90)
    slow = texts(page)
    network.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
    sing(page, LONG, seed=3)
    assert texts(page) == slow


def test_two_pages_at_once(open_page, real):
    """Of one browser: each has its own story, both are kept."""
    first = open_page(real, "story")
    second = open_page(real, "story", context=first.context)
    first.fill("#premise", LONG)
    second.fill("#premise", "A baker finds a map in the bread.")
    for page in (first, second):
        page.fill("#story-seed", "5")
        page.locator("#sing").click()
    for page in (first, second):
        until(page, "!document.querySelector('#sing').disabled", 90)
    told = [texts(first), texts(second)]
    assert told[0] != told[1] and all(all(said.values()) for said in told)
    first.reload()
    until(first, "document.querySelectorAll('#takes .take').length === 2")
    for place, said in enumerate(told):
        premise = (LONG, "A baker finds a map in the bread.")[place]
        first.locator("#takes .pick", has_text=premise).click()
        assert texts(first) == said


def test_composing_never_sends(open_page, real):
    """Enter that ends a composition of an input method is the input method's."""
    page = open_page(real, "story")
    page.focus("#premise")
    input_method = page.context.new_cdp_session(page)
    input_method.send("Input.imeSetComposition", {"text": "ㄍㄨˋ", "selectionStart": 3, "selectionEnd": 3})
    enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229, "modifiers": 2}
    input_method.send("Input.dispatchKeyEvent", {"type": "keyDown", **enter})
    input_method.send("Input.insertText", {"text": "故事"})
    assert page.input_value("#premise") == "故事" and page.locator("#columns voice-column").count() == 0
    assert not page.locator("#sing").is_disabled()


SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) {
        window.shifts.push([entry.value, ...entry.sources.map(({node}) => node?.id || node?.className || node?.nodeName)]);
      }
    }
  }).observe({type: "layout-shift", buffered: false});
}"""


def shifts(page, start, sign="true"):
    """What moves while voices speak; the click is not the user's, whose own would excuse what follows."""
    page.wait_for_timeout(700)
    page.evaluate("window.shifts.length = 0")
    page.locator(start).evaluate("(button) => button.click()")
    until(page, sign)
    until(page, f"!document.querySelector('{start}').disabled", 90)
    page.wait_for_timeout(100)
    return page.evaluate("window.shifts")


@pytest.mark.parametrize("width", [360, 1400])
def test_nothing_moves_while_voices_speak(open_page, real, width):
    page = open_page(real, "story", viewport={"width": width, "height": 900})
    page.evaluate(SHIFTS)
    sing(page, LONG)
    page.locator("#columns").scroll_into_view_if_needed()
    assert shifts(page, "#sing", SPEAKING) == []
    enter(page, "npc")
    page.fill("#npc-line", "Who goes there?")
    page.locator("#npc-speak").click()
    until(page, "!document.querySelector('#npc-speak').disabled", 60)
    assert shifts(page, "#npc-speak") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_no_accessibility_violation(open_page, real, scheme, width):
    """By axe, of serious or critical grade, with something in each room."""
    page = open_page(real, "story", color_scheme=scheme, viewport={"width": width, "height": 900})
    sing(page, "A knight loses his shadow.")
    found = []
    for room in ROOMS:
        enter(page, room)
        for violation in Axe().run(page).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found.append((room, violation["id"], [node["html"][:120] for node in violation["nodes"]][:3]))
    assert found == []
