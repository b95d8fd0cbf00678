"""The page's other rooms: characters, copy, summaries, tuning, the server."""

import base64
import csv
import io
import json
import re
import struct
import zlib

from pages import CONTRAST, button, saved, texts, until
from test_page import ask


def until_over(page, room, start):
    until(page, f"!document.querySelector('#{room}-{start}').disabled", 60)


def test_characters_answer_together(open_page, real):
    """One line, four characters of three voices, in the same steps; their lines stay, and can be taken along."""
    page = open_page(real, "npc", accept_downloads=True)
    until(page, "document.querySelectorAll('.character').length === 2")  # the demo adapters' own
    for name, voice, mood in (("Bram", "", "angry"), ("Old Tom", "villain", "tired")):
        page.locator("#npc-add").click()
        row = page.locator(".character").last
        row.locator("input").fill(name)
        row.locator("select").first.select_option(voice)
        row.locator("select").last.select_option(mood)
    page.fill("#npc-line", "The king demands your oath.")
    with page.expect_request("**/v1/chorus") as request:
        page.press("#npc-line", "Control+Enter")
    voices = {voice["name"]: voice for voice in json.loads(request.value.post_data)["voices"]}
    assert voices["Bram"]["model"] == "base" and voices["Old Tom"]["model"] == "villain"
    assert "You feel angry." in voices["Bram"]["system"] and "Fenwick" in voices["Fenwick"]["system"]
    until_over(page, "npc", "speak")
    said = texts(page, "#npc-columns")
    assert list(said) == ["Fenwick", "Silt", "Bram", "Old Tom"] and all(said.values())
    assert "4 voices" in page.locator("#npc-batch").inner_text()
    lines = json.loads(saved(page, page.locator("#npc-export").click))
    assert {line["character"]: line["text"] for line in lines} == said and all("seed" in line for line in lines)
    page.wait_for_timeout(500)
    page.reload()
    until(page, "document.querySelectorAll('#npc-columns voice-column').length === 4")
    assert texts(page, "#npc-columns") == said and page.locator(".character").count() == 4


def png_with(keyword, text):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    inside = chunk(b"tEXt", keyword + b"\0" + text)
    return b"\x89PNG\r\n\x1a\n" + head + inside + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def test_character_cards(open_page, real, tmp_path):
    """Cards of version 1 and 2, as JSON and inside a PNG, come in; one goes out and in again; others are refused."""
    page = open_page(real, "npc", accept_downloads=True)
    until(page, "document.querySelectorAll('.character').length === 2")
    data = {"name": "Mira", "description": "{{char}} sells maps to {{user}}.", "personality": "curt", "scenario": ""}
    (tmp_path / "v2.json").write_text(json.dumps({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}))
    (tmp_path / "v1.png").write_bytes(png_with(b"chara", base64.b64encode(json.dumps(data | {"name": "Ōka"}).encode())))
    (tmp_path / "no.json").write_text('{"name": "x"}')
    (tmp_path / "no.png").write_bytes(png_with(b"chara", b"!!"))
    page.set_input_files("#npc-file", [tmp_path / "v2.json", tmp_path / "v1.png"])
    until(page, "document.querySelectorAll('.character').length === 4")
    rows = page.locator(".character")
    assert rows.nth(2).locator("textarea").input_value() == "Mira sells maps to the player.\ncurt"
    assert rows.nth(3).locator("input").input_value() == "Ōka"
    card = json.loads(saved(page, button(rows.nth(2), "Card").click))
    assert card["spec"] == "chara_card_v2" and card["data"]["name"] == "Mira"
    for name in ("no.json", "no.png"):
        page.set_input_files("#npc-file", tmp_path / name)
        until(page, f"document.querySelector('#npc-problem').textContent.includes('{name}')")
    assert rows.count() == 4


def test_copy_in_three_tones(open_page, real):
    """A row for each tone and version, all from one batch; the file for a spreadsheet says the same."""
    page = open_page(real, "copy", accept_downloads=True)
    page.fill("#copy-brief", "A pencil made of recycled newspaper, for students.")
    page.fill("#copy-tones", 'playful, "dry", =SUM(1)')
    page.locator("#copy-write").click()
    until_over(page, "copy", "write")
    shown = [[row.locator("th").inner_text(), row.locator("td").first.inner_text()] for row in page.locator("#copy-rows tr").all()]
    assert [tone for tone, _ in shown] == ["playful", "playful", '"dry"', '"dry"', "=SUM(1)", "=SUM(1)"]
    assert all(len(text) > 20 for _, text in shown) and len({text for _, text in shown}) == 6
    rows = list(csv.reader(io.StringIO(saved(page, page.locator("#copy-csv").click).decode("utf-8-sig"))))
    assert rows[0] == ["Tone", "#", "Text", "Seed"] and [row[0] for row in rows[1:]][-1] == "'=SUM(1)"
    assert [row[2].split() for row in rows[1:]] == [text.split() for _, text in shown]


def test_a_summary_beside_the_base(open_page, real, tmp_path):
    page = open_page(real, "summary")
    text = "The council met on Tuesday about the old bridge. Two piers have shifted since the flood. " * 6
    page.fill("#summary-text", text)
    assert page.locator("#summary-length").inner_text() == "96 words"
    page.locator("#summary-start").click()
    until_over(page, "summary", "start")
    said = texts(page, "#summary-columns")
    assert set(said) == {"summary", "base"} and all(said.values())
    assert "% of the text" in page.locator("#summary-shares").inner_text()
    page.wait_for_timeout(500)
    page.reload()
    until(page, "document.querySelectorAll('#summary-columns voice-column').length === 2")
    assert texts(page, "#summary-columns") == said and page.input_value("#summary-text") == text


def test_the_servers_numbers(open_page, real):
    """The same as /metrics says."""
    page = open_page(real, "server")
    body = {"model": "elf", "prompt": "Hello", "max_tokens": 1500, "ignore_eos": True, "stream": True, "n": 4}
    with real.post("/v1/completions", body, stream=True) as answer:
        lines = answer.iter_lines()
        next(lines)
        until(page, "document.querySelector('#server-tiles dd').textContent === '4'")
        assert page.locator("#server-charts svg").count() == 3
    until(page, "document.querySelector('#server-tiles dd').textContent === '0'")
    real.wait_idle(20)
    written = int(real.metrics().sum("chorus:adapter_generation_tokens_total", adapter="elf"))
    row = page.locator("#server-voices tr", has=page.locator("th", has_text=re.compile("^elf$")))
    until(page, f"document.querySelector('#server-voices').innerText.includes('{written:,}')")
    assert f"{written:,}" in row.inner_text() and "Ready" in row.inner_text()


def test_tuning(open_page, start_server, smollm2, tmp_path):
    """Data dropped into the page become a voice that answers in the same page, while the job still runs."""
    server = start_server(smollm2, "--kv-memory", "64", "--tune-dir", tmp_path / "jobs", "--adapters", tmp_path)
    examples = [{"messages": [{"role": "user", "content": f"What is {i}?"}, {"role": "assistant", "content": f"{i} is a pie, sailor."}]} for i in range(30)]
    (tmp_path / "my pirate (2).jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))
    page = open_page(server, "tune", cards=0)
    until(page, "!document.querySelector('#jobs-none').hidden")
    page.set_input_files("#tune-file", tmp_path / "my pirate (2).jsonl")
    assert page.input_value("#tune-name") == "my-pirate-2"
    page.fill("#tune-epochs", "2")
    page.locator("#tune-start").click()
    assert page.input_value("#tune-prompt") == "What is 0?"
    until(page, "document.querySelectorAll('#jobs .steps li').length >= 2", 180)
    page.locator(".doctor > summary").click()
    until(page, "document.querySelector('.doctor').open")
    told = page.locator(".doctor").inner_text()
    assert "27 sequences, 3 held out" in told and "0 is a pie, sailor." in page.locator(".doctor mark").first.inner_text()
    drawn, place = page.evaluate("['.lengths svg', '.lengths'].map((part) => document.querySelector(`.doctor ${part}`).getBoundingClientRect().width)")
    assert drawn == place > 100
    until(page, "document.querySelectorAll('.samples dt').length >= 3", 60)
    said = dict(zip(page.locator(".samples dt").all_inner_texts(), page.locator(".samples dd").all_inner_texts()))
    assert "sailor" not in said["base"] and all(said.values())
    assert "held-out loss" in page.locator("#jobs").inner_text() and page.locator("#jobs .loss svg").count() == 1
    assert page.evaluate(CONTRAST) == []
    until(page, "document.querySelector('#jobs').innerText.includes('Done')", 60)
    page.get_by_role("button", name="Talk to my-pirate-2", exact=True).click()
    ask(page, "What is 7?", 12)
    until(page, "document.querySelector('#stop').hidden && document.querySelector('.message .facts').innerText.length > 0")
    assert page.locator(".message .by").inner_text() == "my-pirate-2"
    page.close()
    assert server.stop() == 0


def test_a_server_that_does_not_tune_says_so(open_page, server):
    page = open_page(server, "tune", expected=["501"])
    until(page, "document.querySelector('#tune-note').textContent.includes('--tune-dir')")
    assert page.locator("#tune-form").is_hidden()
