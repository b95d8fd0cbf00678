"""The page's story room: a premise, a concept, voices of one batch, takes."""

import json
import re
import shlex
import subprocess

import pytest

from harness import wait_for
from pages import button, chosen_voices, column, saved, sing, texts, until


def test_a_story(open_page, real):
    """Premise, concept by the base, two voices of one batch, measured beside one by one; kept over a reload."""
    page = open_page(real, "story")
    page.locator("#premise-examples button").first.click()
    page.locator("#expand").click()
    until(page, "!document.querySelector('#expand').disabled")
    concept = page.input_value("#concept")
    assert len(concept) > 40
    steps, rows = (real.metrics().sum(f"chorus:engine_{what}_total") for what in ("steps", "rows"))
    sing(page, page.input_value("#premise"))
    together = [real.metrics().sum(f"chorus:engine_{what}_total") for what in ("steps", "rows")]
    assert together[1] - rows > 1.2 * (together[0] - steps)  # the two were in the same steps, by the server's own count
    said = texts(page)
    assert "Act 1:" in said["story"] and "," in said["image-prompt"]
    assert page.locator("#columns .facts", has_text="seed 7").count() == 2
    assert page.input_value("#image-prompt") == said["image-prompt"].strip()
    assert float(page.locator("#meter-rows").inner_text()) > 1
    page.locator("#one-by-one").click()
    until(page, "document.querySelector('#meter-text').textContent.includes('×')", 60)
    measured = page.locator("#meter-text").inner_text()
    print(f"the story flow: {measured}")
    page.reload()
    until(page, "document.querySelectorAll('#columns voice-column').length === 2")
    assert texts(page) == said and page.input_value("#concept") == concept
    assert page.locator("#meter-text").inner_text() == measured and page.locator("#takes .take").count() == 1
    page.locator("#language-button").click()
    assert page.locator("#columns .facts", has_text="種子 7").count() == 2 and page.input_value("#concept") == concept
    page.set_viewport_size({"width": 360, "height": 760})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_story_is_a_form_too(open_page, real):
    page = open_page(real, "story")
    sing(page, "A knight loses his shadow.")
    story = column(page, "story")
    assert story.locator(".parts dt").all_inner_texts() == ["Title", "Act 1", "Act 2", "Act 3", "The turn", "Ending"]
    assert all(story.locator(".parts dd").all_inner_texts())
    button(story, "As a form").click()
    assert story.locator(".parts").is_hidden() and story.locator(".text").first.is_visible()


def test_a_concept_that_is_kept(open_page, real):
    page = open_page(real, "story")
    page.fill("#concept", "The shadow is tired of him.")
    page.locator("#lock").check()
    assert page.locator("#expand").is_hidden() and page.locator("#concept").get_attribute("readonly") is not None
    page.wait_for_timeout(500)
    page.reload()
    until(page, "document.querySelector('#lock').checked")
    assert page.input_value("#concept") == "The shadow is tired of him."


def test_eight_voices(open_page, real):
    """All there are, and no more than eight, in columns that stand side by side where there is room."""
    page = open_page(real, "story", viewport={"width": 2560, "height": 1200})
    names = [label.inner_text() for label in page.locator("#story-voices label").all()]
    chosen_voices(page, names)
    sing(page, "A knight loses his shadow.", voices=len(names))
    said = texts(page)
    assert set(said) == set(names) and len(set(said.values())) == len(names)
    assert float(page.locator("#meter-rows").inner_text()) > 2


def test_takes(open_page, real):
    """Equal seeds give equal takes; each can be shown again, starred, written out and thrown away."""
    page = open_page(real, "story", accept_downloads=True)
    for premise in ("A knight loses his shadow.", "A baker finds a map in the bread.", "A knight loses his shadow."):
        sing(page, premise)
    rows = page.locator("#takes .take")
    first, again = rows.nth(0), rows.nth(2)
    said = texts(page)
    first.locator(".pick").click()
    assert texts(page) == said and page.input_value("#premise") == "A knight loses his shadow."
    first.locator("button[aria-pressed]").click()
    until(page, "document.querySelector('#takes .take button[aria-pressed]').getAttribute('aria-pressed') === 'true'")
    again.locator("summary").click()
    take = json.loads(saved(page, button(again, "JSON").click))
    told = real.post("/v1/chorus", take["body"]).json()["voices"]
    assert {voice["name"]: voice["text"] for voice in told} == {voice["name"]: voice["text"] for voice in take["voices"]}
    assert all(re.search("sha256:[0-9a-f]{8}", voice["facts"]["adapter"]) for voice in take["voices"])
    text = saved(page, button(again, "Markdown").click).decode()
    assert text.startswith("# A knight loses his shadow.") and said["story"] in text
    button(again, "Delete").click()
    until(page, "document.querySelectorAll('#takes .take').length === 2")


def test_takes_branch(open_page, real):
    """Retry, pin and a second run of an old take: a tree, and what has changed is shown in words."""
    page = open_page(real, "story")
    sing(page, "A knight loses his shadow.")
    before = texts(page)
    button(column(page, "story"), "Retry").click()
    until(page, "document.querySelectorAll('#takes .take').length === 2 && !document.querySelector('#sing').disabled", 60)
    assert texts(page)["image-prompt"] == before["image-prompt"] and texts(page)["story"] != before["story"]
    button(column(page, "story"), "Changes").click()
    story = column(page, "story")
    assert story.locator("del").count() > 0 and story.locator("ins").count() > 0
    page.locator("#takes .pick").first.click()
    assert texts(page) == before
    button(column(page, "image-prompt"), "Pin").click()
    page.fill("#story-seed", "8")
    page.locator("#sing").click()
    until(page, "document.querySelectorAll('#takes .take').length === 3 && !document.querySelector('#sing').disabled", 60)
    assert texts(page)["image-prompt"] == before["image-prompt"] and texts(page)["story"] != before["story"]
    assert page.locator("#takes .branch .take").count() == 2
    button(page.locator("#takes .take").first, "Compare").click()
    shown = page.locator("#compare-parts")
    assert shown.locator("section").count() == 4 and shown.locator("del").count() > 0 and shown.locator("ins").count() > 0
    assert shown.locator("section", has_text="image-prompt").locator("del, ins").count() == 0
    page.locator("#compare-close").click()


def test_a_take_travels(open_page, real, tmp_path):
    """Out as PNG and JSON, into another browser: the same words; what is no take is refused in one line."""
    page = open_page(real, "story", accept_downloads=True)
    sing(page, "A knight loses his shadow.")
    said, row = texts(page), page.locator("#takes .take").first
    row.locator("summary").click()
    (tmp_path / "take.png").write_bytes(saved(page, button(row, "PNG").click))
    (tmp_path / "takes.json").write_bytes(saved(page, page.locator("#takes-all").click))
    (tmp_path / "other.json").write_text("{}")
    assert (tmp_path / "take.png").read_bytes()[:4] == b"\x89PNG"
    other = open_page(real, "story")
    for number, name in enumerate(("take.png", "takes.json"), 1):
        other.set_input_files("#takes-file", tmp_path / name)
        until(other, f"document.querySelectorAll('#takes .take').length === {number}")
        assert texts(other) == said and other.input_value("#premise") == "A knight loses his shadow."
    other.set_input_files("#takes-file", tmp_path / "other.json")
    until(other, "document.querySelector('#takes-note').textContent.includes('other.json')")
    assert other.locator("#takes .take").count() == 2


def printed(command):
    return subprocess.run(shlex.split(command), capture_output=True, text=True, check=True, timeout=60).stdout


def test_commands_make_a_take_again(open_page, real, chorus):
    """What "copy as" gives, run in a shell: the same words."""
    page = open_page(real, "story", permissions=["clipboard-read", "clipboard-write"])
    sing(page, "A knight's shadow says \"no\".")
    said, row = texts(page), page.locator("#takes .take").first
    row.locator("summary").click()
    button(row, "curl").click()
    command = page.evaluate("navigator.clipboard.readText()")
    assert {voice["name"]: voice["text"] for voice in json.loads(printed(command))["voices"]} == said
    button(row, "command line").click()
    command = page.evaluate("navigator.clipboard.readText()")
    parts = re.split("^== (.*) ==$", printed(command.replace("chorus", str(chorus), 1)), flags=re.MULTILINE)
    assert {name: text.strip() for name, text in zip(parts[1::2], parts[2::2])} == {name: text.strip() for name, text in said.items()}


def test_one_voice_is_stopped(open_page, real):
    """The others go on."""
    page = open_page(real, "story")
    chosen_voices(page, ["story", "base"])
    page.fill("#premise", "Tell all you know about the sea, in many chapters.")
    page.locator("#sing").click()
    until(page, "document.querySelector('#columns voice-column:last-child .text')?.textContent.length > 20")
    button(column(page, "base"), "Stop").click()
    until(page, "!document.querySelector('#sing').disabled", 60)
    assert "stopped" in column(page, "base").locator(".facts").inner_text().lower()
    assert "stopped" not in column(page, "story").locator(".facts").inner_text().lower()
    assert "Act" in texts(page)["story"]


@pytest.fixture
def painter(engine, start_server, smollm2, demo_adapters):
    """A server on SmolLM2 before a stub of an image engine."""
    flags = [part for name in ("story", "image-prompt") for part in ("--adapter", f"{name}={demo_adapters[name]}")]
    server = start_server(smollm2, "--kv-memory", "64", "--image-engine", engine.url, *flags)
    yield server
    assert server.stop() == 0


IS_DRAWN = "document.querySelector('#image').complete && document.querySelector('#image').naturalWidth"


def test_a_story_with_a_picture(painter, open_page, engine, tmp_path):
    """From one premise to a told and illustrated story; the picture is kept, goes along, and can be stopped."""
    page = open_page(painter, "story", accept_downloads=True)
    until(page, "document.querySelector('#image-engine').textContent.includes('stub-xl')")
    page.fill("#premise", "A lighthouse keeper finds a door under the tide line.")
    page.locator("#expand").click()
    until(page, "!document.querySelector('#expand').disabled")
    sing(page, page.input_value("#premise"))
    prompt = texts(page)["image-prompt"].strip()
    assert page.input_value("#image-prompt") == prompt
    page.fill("#image-prompt", f"{prompt}, (gold:1.4)")
    page.select_option("#image-style", "watercolor")
    page.select_option("#image-size", "1152x896")
    page.fill("#image-seed", "11")
    engine.seconds = 2
    page.locator("#image-draw").click()
    until(page, "document.querySelector('#image-progress').value > 0.2 && !document.querySelector('#image-progress').hidden")
    until(page, f"{IS_DRAWN} === 1152")
    sent = engine.requests[0]
    assert sent["prompt"].startswith("watercolor painting, ") and "(" not in sent["prompt"] and sent["seed"] == 11
    assert "1152 × 896" in page.locator("#image-facts").inner_text() and "seed 11" in page.locator("#image-facts").inner_text()
    engine.seconds = 0
    page.fill("#image-seed", "12")
    page.locator("#image-draw").click()
    until(page, "document.querySelectorAll('#gallery button').length === 2")
    page.locator("#gallery button").first.click()
    assert "seed 11" in page.locator("#image-facts").inner_text()
    assert saved(page, page.locator("#image-save").click).startswith(b"\x89PNG")
    row = page.locator("#takes .take").first
    row.locator("summary").click()
    (tmp_path / "take.png").write_bytes(saved(page, button(row, "PNG").click))
    page.reload()
    until(page, f"{IS_DRAWN} === 1152")
    assert page.locator("#gallery button").count() == 2
    other = open_page(painter, "story")
    other.set_input_files("#takes-file", tmp_path / "take.png")
    until(other, f"{IS_DRAWN} === 1152")
    engine.seconds = 60
    page.locator("#image-draw").click()
    wait_for(lambda: engine.drawing == 1)
    page.locator("#image-stop").click()
    wait_for(lambda: engine.interrupts == 1)
    until(page, "document.querySelector('#image-note').textContent === 'Stopped' && !document.querySelector('#image-draw').disabled")


def test_a_picture_that_does_not_come(painter, open_page, engine):
    """The engine's words are shown, the story stays, and the next try goes well."""
    page = open_page(painter, "story", expected=["502"])
    sing(page, "A knight loses his shadow.")
    engine.trouble = "error"
    page.locator("#image-draw").click()
    until(page, "document.querySelector('#image-note').textContent.includes('memory')")
    assert all(texts(page).values())
    engine.trouble = None
    page.locator("#image-draw").click()
    until(page, f"{IS_DRAWN} === 1024")


def test_no_image_engine_is_no_error(open_page, real):
    page = open_page(real, "story", permissions=["clipboard-read", "clipboard-write"])
    sing(page, "A knight loses his shadow.")
    assert page.locator("#image-draw").is_hidden() and "--image-engine" in page.locator("#image-engine").inner_text()
    button(page.locator(".picture"), "Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == texts(page)["image-prompt"].strip()
