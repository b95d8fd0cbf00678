"""What compare.py measured, as a table in Markdown."""
import os
import re

HEAD = "| work | measured | against what is asked | clean rounds |\n|---|---|---|---|\n"
BEGIN, END = "<!-- measured: written by bench/compare.py -->", "<!-- end of measured -->"


def machine():
    """The processor and how many of it."""
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*: (.*)", file.read()).group(1)
    return f"{os.cpu_count()} x {model}"


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def met(check):
    return check["value"] >= check["bound"] if check["kind"] == "least" else check["value"] <= check["bound"]


def check_text(check, clean):
    """A disturbed figure says nothing about what is asked."""
    value, bound = number(check["value"]), f"{check['bound']:.3g}"
    sign = "≥" if check["kind"] == "least" else "≤"
    text = f"**{value}** {check['what']} ({sign} {bound})"
    if not clean:
        return f"{text} *disturbed*"
    return text if met(check) else f"{text} *not met*"


def line(row):
    clean = f"{row['clean']} of {row['rounds']}"
    cells = [row["work"], "; ".join(row["figures"]), "; ".join(check_text(check, row["clean"]) for check in row["checks"]), clean]
    return "| " + " | ".join(cells) + " |\n"


def table(results):
    """`results`: group: {"rows", "measured", "machine"}."""
    lines = "".join(line(row) for group in results.values() for row in group["rows"])
    notes = sorted({f"{group['machine']}, {group['measured'].split()[0]}" for group in results.values()})
    return HEAD + lines + "\nMeasured on " + "; ".join(notes) + ".\n"


def insert(path, text):
    """Puts the table between the marks of a document."""
    document = path.read_text()
    before, rest = document.split(BEGIN)
    path.write_text(f"{before}{BEGIN}\n{text}{END}{rest.split(END)[1]}")
