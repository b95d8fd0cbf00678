#!/usr/bin/env python3
"""The page's first paint, and its frames while seven voices speak: bench/page_paint.py CHORUS, with the Python of tests/server.

First paint is the browser's own first-contentful-paint, of a fresh browser context each time; frames are the times between
two calls of requestAnimationFrame, on the machine that also runs the model.
"""

import pathlib
import shutil
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "tests/server"), str(ROOT / "tests/cli")]
from harness import Server  # noqa: E402
from pages import chosen_voices, until  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

CACHE = pathlib.Path.home() / ".cache/chorus"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
FRAMES = """() => {
  window.frames_seen = [];
  let last = performance.now();
  const frame = (now) => { window.frames_seen.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""


def opened(browser, server, **options):
    page = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options}).new_page()
    page.goto(server.url)
    until(page, "document.querySelector('#status').dataset.status === 'ready'")
    return page


def main():
    server = Server(pathlib.Path(sys.argv[1]).resolve(), CACHE / "smollm2.gguf", "--adapters", ROOT / "adapters")
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
            paints = []
            for _ in range(11):
                page = opened(browser, server)
                paints.append(page.evaluate(PAINT))
                page.context.close()
            print(f"first contentful paint: median {statistics.median(paints):.0f} ms, {min(paints):.0f} to {max(paints):.0f}, of {len(paints)}")
            page = opened(browser, server)
            until(page, "document.querySelectorAll('#story-voices label').length === 7")
            chosen_voices(page, [label.inner_text() for label in page.locator("#story-voices label").all()])
            page.fill("#premise", "A lighthouse keeper finds a letter that is addressed to the sea.")
            page.evaluate(FRAMES)
            page.locator("#sing").click()
            until(page, "[...document.querySelectorAll('#columns .text')].some((e) => e.textContent.length > 20)")
            page.evaluate("window.frames_seen.length = 0")
            until(page, "!document.querySelector('#sing').disabled", 90)
            frames = sorted(page.evaluate("window.frames_seen"))
            part = lambda share: frames[int(share * (len(frames) - 1))]  # noqa: E731
            print(f"7 voices: {len(frames)} frames, median {part(0.5):.1f} ms, 95 % within {part(0.95):.1f} ms, longest {frames[-1]:.0f} ms")
    finally:
        server.close()


if __name__ == "__main__":
    main()
