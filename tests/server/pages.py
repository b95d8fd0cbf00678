"""The page of a server in a browser, driven by Playwright."""

from harness import wait_for

ROOMS = ("story", "npc", "copy", "summary", "tune", "chat", "server")


class Pages:
    """Opened pages, each in a context of its own, and what went wrong in them."""

    def __init__(self, browser):
        self.browser, self.contexts, self.troubles = browser, [], []

    def close(self):
        for context in self.contexts:
            context.close()

    def _watch(self, page, server, expected):
        def trouble(text):
            if not any(part in text for part in expected):
                self.troubles.append(text)

        def failed(request):
            if request.failure != "net::ERR_ABORTED":  # a stream that the page or its end has stopped
                trouble(f"{request.url}: {request.failure}")

        page.on("console", lambda message: trouble(f"{message.text} {message.location}") if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: trouble(str(error)))
        page.on("requestfailed", failed)
        page.on("request", lambda request: request.url.startswith((server.url, "data:", f"blob:{server.url}")) or trouble(request.url))
        page.on("response", lambda answer: answer.status < 400 or trouble(f"{answer.url}: {answer.status}"))

    def open(self, server, room="chat", path="/", cards=2, expected=(), context=None, **options):
        """Opens the page in one of its rooms. `expected`: parts of troubles that the test is about."""
        if context is None:
            context = self.browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
            self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        self._watch(page, server, expected)
        page.goto(server.url + path)
        until(page, "document.querySelector('#status').dataset.status === 'ready'")
        until(page, f"document.querySelectorAll('#cards .card').length >= {cards}")
        enter(page, room)
        return page


def until(page, condition, seconds=30):
    """Polls from outside: the page's policy lets nothing be evaluated in it for long."""
    wait_for(lambda: page.evaluate(condition), seconds, condition)


def enter(page, room):
    page.locator(f".rooms button[data-room={room}]").click()


def chosen_voices(page, names):
    """Ticks these voices of the story room, and no others."""
    for label in page.locator("#story-voices label").all():
        label.locator("input").set_checked(label.inner_text() in names)


def sing(page, premise, seed=7, voices=2):
    """Has the story room's voices answer, to the end."""
    until(page, "document.querySelectorAll('#story-voices input:checked').length > 0")
    page.fill("#premise", premise)
    page.fill("#story-seed", str(seed))
    page.press("#premise", "Control+Enter")
    until(page, f"document.querySelectorAll('#columns voice-column').length === {voices}")
    until(page, "!document.querySelector('#sing').disabled", 90)


def texts(page, where="#columns"):
    """What the voices have said, by name."""
    columns = page.locator(f"{where} voice-column").all()
    return {column.locator("h3").inner_text(): column.locator(".text").first.text_content() for column in columns}


def column(page, name, where="#columns"):
    return page.locator(f"{where} voice-column", has=page.locator("h3", has_text=name))


def button(scope, name):
    return scope.get_by_role("button", name=name, exact=True)


def saved(page, click):
    """The bytes of the file that a click gives."""
    with page.expect_download() as download:
        click()
    with open(download.value.path(), "rb") as file:
        return file.read()


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
