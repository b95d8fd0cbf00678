#!/usr/bin/env python3
"""Takes the pictures of the page in docs/page/: scripts/page_shots.py CHORUS [SD_SERVER], with the Python of tests/server.

Every room on the real server with SmolLM2 and the demo adapters; with SD_SERVER (scripts/sd_server.sh) the picture comes
from that engine on random weights, which is noise. Pictures differ from run to run only in times and rates.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "tests/server"), str(ROOT / "tests/cli")]
from harness import Server  # noqa: E402
from pages import button, chosen_voices, enter, sing, until  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

OUT = ROOT / "docs/page"
CACHE = pathlib.Path.home() / ".cache/chorus"
BRIEF = "A pencil made of recycled newspaper, for students who lose their pencils."
NEWS = """The town council met on Tuesday to discuss the old bridge. Engineers said that two of its piers have shifted since the
flood in spring, and that heavy trucks should not cross it. The mayor proposed to close it at night and to build a footbridge
beside it by autumn. Shopkeepers on both banks fear for their customers. The council will vote next week."""
CAST = [("Bram", "", "angry", "You are Bram, a tired soldier."), ("Ada", "elf", "cheerful", "You are Ada, a young scout."),
        ("Old Tom", "villain", "sly", "You are Old Tom, who keeps the inn."), ("Guard", "", "afraid", "You are a guard.")]  # fmt: skip


def engine_of(program, folder):
    """Starts stable-diffusion.cpp's server on its smallest model."""
    subprocess.run(["/usr/bin/python3", ROOT / "tests/images/make_tiny_sd.py", "sd1-tiny", folder], check=True)
    command = [program, "-m", folder / "sd1-tiny.safetensors", "--taesd", folder / "taesd.safetensors", "--listen-port", "17861"]
    engine = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen("http://127.0.0.1:17861/v1/models", timeout=2)
            return engine
        except OSError:
            time.sleep(0.2)


class Studio:
    def __init__(self, browser, server):
        self.browser, self.server = browser, server

    def open(self, room, language="en", **options):
        context = self.browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        page = context.new_page()
        page.goto(f"{self.server.url}/?lang={language}")
        until(page, "document.querySelectorAll('#story-voices input').length >= 7", 60)
        enter(page, room)
        return page

    def shoot(self, page, name):
        page.wait_for_timeout(300)
        page.screenshot(path=OUT / f"{name}.png")
        print(name)
        page.context.close()


def story(studio):
    page = studio.open("story")
    chosen_voices(page, ["story", "image-prompt", "elf"])
    page.locator("#premise-examples button").first.click()
    page.locator("#expand").click()
    until(page, "!document.querySelector('#expand').disabled")
    sing(page, page.input_value("#premise"), seed=3, voices=3)
    page.locator("#one-by-one").click()
    until(page, "document.querySelector('#meter-text').textContent.includes('×')", 60)
    page.locator(".voices").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('.meter').scrollIntoView({block: 'start'})")
    studio.shoot(page, "story")


def picture(studio):
    page = studio.open("story", color_scheme="dark")
    sing(page, "A knight loses his shadow.", seed=5)
    for name in ("story", "story"):
        button(page.locator("#columns voice-column", has=page.locator("h3", has_text=name)), "Retry").click()
        page.wait_for_timeout(200)
        until(page, "!document.querySelector('#sing').disabled", 60)
    if page.locator("#image-draw").is_visible():
        page.select_option("#image-size", "512x512")
        page.fill("#image-steps", "2")
        page.locator("#image-draw").click()
        until(page, "document.querySelector('#image').naturalWidth === 512", 300)
    button(page.locator("#columns voice-column", has=page.locator("h3", has_text="story")), "Changes").click()
    page.evaluate("document.querySelector('.picture').scrollIntoView({block: 'center'})")
    studio.shoot(page, "picture")


def npc(studio):
    page = studio.open("npc")
    until(page, "document.querySelectorAll('.character').length === 2")
    for name, voice, mood, about in CAST:
        page.locator("#npc-add").click()
        row = page.locator(".character").last
        row.locator("input").fill(name)
        row.locator("select").first.select_option(voice)
        row.locator("select").last.select_option(mood)
        row.locator("textarea").fill(about)
    page.fill("#npc-line", "The king demands your oath. What do you say?")
    page.locator("#npc-speak").click()
    until(page, "!document.querySelector('#npc-speak').disabled", 60)
    studio.shoot(page, "npc")


def copy(studio):
    page = studio.open("copy", color_scheme="dark")
    page.fill("#copy-brief", BRIEF)
    page.locator("#copy-write").click()
    until(page, "!document.querySelector('#copy-write').disabled", 60)
    studio.shoot(page, "copy")


def summary(studio):
    page = studio.open("summary", "zh-Hant")
    page.fill("#summary-text", NEWS.replace("\n", " "))
    page.locator("#summary-start").click()
    until(page, "!document.querySelector('#summary-start').disabled", 60)
    studio.shoot(page, "summary")


def tune(studio, folder):
    data = (ROOT / "adapters/villain/data.jsonl").read_text().splitlines()[:120]
    (folder / "my-villain.jsonl").write_text("\n".join(data) + "\n")
    page = studio.open("tune")
    page.set_input_files("#tune-file", folder / "my-villain.jsonl")
    page.locator("#tune-start").click()
    until(page, "document.querySelectorAll('#jobs .steps li').length >= 3", 300)
    studio.shoot(page, "tune")


def server_room(studio):
    page = studio.open("server", color_scheme="dark")
    names = ["elf", "villain", "story", "marketing"]
    for seconds in range(8):
        body = {"messages": [{"role": "user", "content": "Tell me of the sea."}], "max_tokens": 150, "ignore_eos": True,
                "voices": [{"name": f"{i}", "model": names[i % 4]} for i in range(2 + 2 * (seconds % 4))]}  # fmt: skip
        request = urllib.request.Request(studio.server.url + "/v1/chorus", json.dumps(body).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=60).read()
    page.wait_for_timeout(1200)
    studio.shoot(page, "server")


def chat(studio):
    page = studio.open("chat", "zh-Hant", color_scheme="dark")
    button(page.locator(".card", has=page.locator("h3", has_text="elf")), "與 elf 對話").click()
    page.fill("#prompt", "Who rules this forest?")
    page.press("#prompt", "Enter")
    until(page, "document.querySelector('.message .facts')?.innerText.length > 0", 60)
    studio.shoot(page, "chat")


def phone(studio):
    page = studio.open("story", "zh-Hant", viewport={"width": 360, "height": 760})
    sing(page, "A knight loses his shadow.", seed=5)
    page.evaluate("document.querySelector('.meter').scrollIntoView({block: 'start'})")
    studio.shoot(page, "phone")


def main():
    chorus, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(tempfile.mkdtemp())
    OUT.mkdir(exist_ok=True)
    engine = engine_of(sys.argv[2], folder) if len(sys.argv) > 2 else None
    flags = ["--image-engine", "http://127.0.0.1:17861"] if engine else []
    server = Server(chorus, CACHE / "smollm2.gguf", "--adapters", ROOT / "adapters", "--tune-dir", folder / "jobs", *flags)
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
            studio = Studio(browser, server)
            for take in (story, picture, npc, copy, summary, chat, phone, server_room):
                take(studio)
            tune(studio, folder)
    finally:
        server.close()
        if engine:
            engine.terminate()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
