"""The roofline picture of what compare.py measured: how fast each kind of step could be on this machine, and is."""
import math

# The picture, in pixels, and its axes, in powers of ten of operations a byte and operations a second.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 560, 70, 24, 56, 64
X_RANGE, Y_RANGE = (0, 4), (9.4, 12.9)

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.small { font-size: 11.5px }
.title { font-size: 16px; font-weight: 600 }
.paper { fill: #ffffff }
.grid { stroke: #d8dee4; stroke-width: 1 }
.roof { stroke: #57606a; stroke-width: 2.5; fill: none }
.lead { stroke: #8c959f; stroke-width: 1 }
.m0 { fill: #0969da } .m1 { fill: #bc4c00 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .paper { fill: #0d1117 }
  .grid { stroke: #30363d }
  .roof { stroke: #9da7b3 }
  .lead { stroke: #6e7681 }
  .m0 { fill: #58a6ff } .m1 { fill: #f0883e }
}
"""
MODELS = (("3b", "3B, Q4_0"), ("smollm2", "SmolLM2-135M, Q4_1"))


def x_of(intensity):
    share = (math.log10(intensity) - X_RANGE[0]) / (X_RANGE[1] - X_RANGE[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(operations):
    share = (math.log10(operations) - Y_RANGE[0]) / (Y_RANGE[1] - Y_RANGE[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def documents(results):
    """name: a document of `chorus bench` that some group kept."""
    found = {}
    for group in results.values():
        for row in group["rows"]:
            found |= row.get("documents", {})
    return found


def points_of(found, model):
    """(label, operations a byte, operations a second) of one model's steps."""
    points = []
    if document := found.get(f"{model} decode"):
        for key, label in (("decode", "decode 1"), ("decode_batch", "decode {rows}"),
                           ("decode_adapters", "decode {rows}, {adapters} adapters r{rank}")):
            if figure := document.get(key):
                text = label.format(rank=document["options"]["rank"], **figure)
                points.append((text, figure["operations"] / figure["bytes"], figure["operations"] / figure["seconds"]))
    if document := found.get(f"{model} prefill"):
        figure = document["prefill"]
        points.append((f"prefill {figure['tokens']}", figure["operations"] / document["work"]["step_bytes"],
                       figure["operations"] / figure["seconds"]))
    return points


def peaks(found):
    """(int8 operations a second, bytes a second): the medians of what the runs found."""
    def median(key):
        values = sorted(v for document in found.values() if (v := document["machine"][key]) > 0)
        return values[len(values) // 2] if values else None
    return median("int8_operations_per_second"), median("read_bytes_per_second")


def axes():
    parts = []
    for power in range(X_RANGE[0], X_RANGE[1] + 1):
        x = x_of(10**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="small" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10**power:,}</text>')
    for value, text in ((3e9, "3 G"), (1e10, "10 G"), (3e10, "30 G"), (1e11, "100 G"), (3e11, "300 G"), (1e12, "1 T"), (3e12, "3 T")):
        y = y_of(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text class="small" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 16}" text-anchor="middle">operations for each byte read</text>')
    parts.append(f'<text x="{LEFT - 8}" y="{TOP - 10}" text-anchor="end" class="small">op/s</text>')
    return parts


def roofs(int8, read):
    ridge, left = int8 / read, 10 ** Y_RANGE[0] / read
    start = max(left, 10 ** X_RANGE[0])
    path = (f"M{x_of(start):.1f} {y_of(start * read):.1f} L{x_of(ridge):.1f} {y_of(int8):.1f} "
            f"L{WIDTH - RIGHT} {y_of(int8):.1f}")
    x, y = x_of(ridge / 6), y_of(int8 / 6)
    slope = math.degrees(math.atan2(y_of(10) - y_of(100), x_of(100) - x_of(10)))
    return [f'<path class="roof" d="{path}"/>',
            f'<text x="{WIDTH - RIGHT - 4}" y="{y_of(int8) - 8:.1f}" text-anchor="end">int8 peak, {int8 / 1e9:,.0f} GOPS</text>',
            f'<text transform="translate({x:.1f} {y - 8:.1f}) rotate({-slope:.1f})" text-anchor="middle">'
            f"read bandwidth, {read / 1e9:.1f} GB/s</text>"]


def marks(points, style):
    """Points with their names, each lower than the one before where they would touch."""
    parts = []
    for label, intensity, rate, text_y in points:
        x, y = x_of(intensity), y_of(rate)
        parts.append(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>')
        parts.append(f'<line class="lead" x1="{x + 6:.1f}" y1="{y:.1f}" x2="{x + 16:.1f}" y2="{text_y - 4:.1f}"/>')
        parts.append(f'<text class="small" x="{x + 19:.1f}" y="{text_y:.1f}">{label}</text>')
    return parts


def placed(points, taken):
    """Adds the height of each label, away from those that stand beside it."""
    result = []
    for label, intensity, rate in points:
        x, y = x_of(intensity), y_of(rate) + 4
        while any(abs(x - other_x) < 190 and abs(y - other_y) < 14 for other_x, other_y in taken):
            y += 3
        taken.append((x, y))
        result.append((label, intensity, rate, y))
    return result


def svg(results):
    found = documents(results)
    int8, read = peaks(found)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
             f'role="img" aria-label="Roofline: measured steps against int8 peak and read bandwidth">',
             f"<style>{STYLE}</style>", f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
             f'<text class="title" x="{LEFT}" y="26">Measured steps under this machine\'s roofs</text>', *axes()]
    if int8 and read:
        parts += roofs(int8, read)
    taken = []
    for index, (model, title) in enumerate(MODELS):
        parts += marks(placed(points_of(found, model), taken), f"m{index}")
        x = WIDTH - RIGHT - 310 + 120 * index
        parts.append(f'<circle class="m{index}" cx="{x}" cy="22" r="5.5"/><text x="{x + 11}" y="26">{title}</text>')
    return "\n".join(parts) + "\n</svg>\n"
