"""Curves of what sizes.py has measured, as SVG: a panel for each figure, both axes logarithmic."""

import math
from html import escape

WIDTH, HEIGHT, COLUMNS = 300, 190, 3
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 30, 24
COLOURS = {"SQLite": "#0b6e8f", "PostgreSQL": "#c2571a"}
STYLE = """
text { font: 11px sans-serif; fill: #444 } .title { font-weight: bold; fill: #111 }
.grid { stroke: #ddd } .budget { stroke: #b00020; stroke-dasharray: 4 3 }
polyline { fill: none; stroke-width: 1.8 }
"""


def draw(rows, figures):
    """The text of the picture. Rows are dictionaries, figures as in sizes.py."""
    panels = [panel(rows, *figure) for figure in figures]
    lines = math.ceil(len(panels) / COLUMNS)
    body = []
    for number, text in enumerate(panels):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT + 24
        body.append(f'<g transform="translate({x} {y})">{text}</g>')
    size = f'width="{COLUMNS * WIDTH}" height="{lines * HEIGHT + 24}"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n'
            f'<rect width="100%" height="100%" fill="#fff"/>\n{legend()}\n' + "\n".join(body) + "\n</svg>\n")


def legend():
    parts, x = [], LEFT
    for name, colour in COLOURS.items():
        parts.append(f'<path d="M{x} 14h18" stroke="{colour}" stroke-width="2"/><text x="{x + 23}" y="18">{name}</text>')
        x += 110
    parts.append(f'<path d="M{x} 14h18" class="budget"/><text x="{x + 23}" y="18">budget</text>')
    return "".join(parts)


def panel(rows, name, heading, unit, budget, _):
    values = [row[name] for row in rows if row[name] > 0]
    sizes = [row["entries"] for row in rows]
    low, high = decades(values + ([budget] if budget else []))
    first, last = math.log10(min(sizes)), math.log10(max(sizes))

    def x(size):
        share = (math.log10(size) - first) / (last - first) if last > first else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value):
        share = (math.log10(max(value, 10**low)) - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [f'<text x="6" y="18" class="title">{escape(heading)} ({escape(unit)})</text>']
    for power in range(low, high + 1):
        at = y(10**power)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" class="grid"/>'
                     f'<text x="{LEFT - 4}" y="{at + 4:.1f}" text-anchor="end">{short(10**power)}</text>')
    for size in sorted(set(sizes)):
        parts.append(f'<text x="{x(size):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{short(size)}</text>')
    if budget:
        parts.append(f'<path d="M{LEFT} {y(budget):.1f}H{WIDTH - RIGHT}" class="budget"/>')
    for database, colour in COLOURS.items():
        points = [(x(row["entries"]), y(row[name])) for row in rows if row["database"] == database]
        line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{line}" stroke="{colour}"/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{colour}"/>' for px, py in points]
    return "".join(parts)


def decades(values):
    """Powers of ten around all values, two at least."""
    low = math.floor(math.log10(min(values))) if values else 0
    high = math.ceil(math.log10(max(values))) if values else 1
    return low, max(high, low + 1)


def short(number):
    for limit, end in ((1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:g}{end}"
    return f"{number:g}"
