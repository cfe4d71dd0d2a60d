"""Draws curves as SVG: small, the same bytes for the same numbers, readable in light and dark.

Colours follow the reader's `prefers-color-scheme`; the background is drawn as well, so that a
picture shown on a page of the other scheme stays readable. Lines differ in dash and mark too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 56, 56
LINE_HEIGHT = 18
LEGEND_ROW = 20
DASHES = ("", "7 4", "2 4", "10 3 2 3", "1 3 6 3", "12 5")
LIGHT = ("#0b62a8", "#b34700", "#2f7d32", "#8b2f8b", "#5b5b00", "#a3123a")
DARK = ("#6cb6ff", "#ffa657", "#7ee787", "#e2a6f5", "#e3d26f", "#ff9bb0")


@dataclass(frozen=True)
class Line:
    """One curve: its name and its points, by x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart; y runs from 0 to `top`, in the unit that `y_name` says."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    top: float = 100.0
    logarithmic: bool = False  # the x axis; an x of 0 stands at its left end
    ticks: Sequence[float] = ()  # of x; all x that occur where empty

    @property
    def xs(self) -> list[float]:
        """Every x that occurs, in order."""
        return sorted({x for line in self.lines for x, _ in line.points})


def draw(chart: Chart) -> str:
    """Return the chart as SVG."""
    legend = _legend_rows(chart)
    height = HEIGHT + LEGEND_ROW * len(legend)
    low = HEIGHT - BOTTOM
    parts = [
        _head(chart, height),
        _style(),
        f'<rect width="{WIDTH}" height="{height}" class="back"/>',
        f'<text x="{LEFT}" y="22" class="title">{escape(chart.title)}</text>',
        f'<text x="{LEFT}" y="42" class="soft">{escape(chart.y_name)}</text>',
        *_y_axis(chart, low),
        *_x_axis(chart, low),
        *(_curve(chart, number, line, low) for number, line in enumerate(chart.lines)),
        *_legend(legend),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _head(chart: Chart, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(chart.title)}" font-family="system-ui, sans-serif" font-size="13">'
    )


def _style() -> str:
    light = "".join(f".c{n}{{stroke:{c}}}.m{n}{{fill:{c}}}" for n, c in enumerate(LIGHT))
    dark = "".join(f".c{n}{{stroke:{c}}}.m{n}{{fill:{c}}}" for n, c in enumerate(DARK))
    return (
        "<style>.back{fill:#fff}text{fill:#1f2328}.soft{fill:#57606a}.title{font-weight:600;"
        "font-size:15px}.grid{stroke:#d0d7de}.curve{fill:none;stroke-width:2.2}"
        f"{light}@media (prefers-color-scheme:dark){{.back{{fill:#0d1117}}text{{fill:#e6edf3}}"
        f".soft{{fill:#9da7b3}}.grid{{stroke:#30363d}}{dark}}}</style>"
    )


def _y_axis(chart: Chart, low: float) -> list[str]:
    steps = 5
    lines = []
    for step in range(steps + 1):
        value = chart.top * step / steps
        y = _y(chart, value, low)
        said = _number(value)
        lines += [
            f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" class="grid"/>',
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end" class="soft">{said}</text>',
        ]
    return lines


def _x_axis(chart: Chart, low: float) -> list[str]:
    place = _x(chart)
    texts = [
        f'<text x="{place(x)}" y="{low + 20}" text-anchor="middle" class="soft">{_number(x)}</text>'
        for x in chart.ticks or chart.xs
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [
        *texts,
        f'<text x="{middle:g}" y="{low + 42}" text-anchor="middle">{escape(chart.x_name)}</text>',
    ]


def _curve(chart: Chart, number: int, line: Line, low: float) -> str:
    place, colour = _x(chart), number % len(LIGHT)
    points = [(place(x), _y(chart, y, low)) for x, y in line.points]
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    dash = f' stroke-dasharray="{DASHES[number % len(DASHES)]}"' if number else ""
    marks = "".join(_mark(number, x, y) for x, y in points)
    return f'<path d="{path}" class="curve c{colour}"{dash}/>{marks}'


def _mark(number: int, x: float, y: float) -> str:
    name = f'class="m{number % len(LIGHT)}"'
    match number % 3:
        case 0:
            return f'<circle cx="{x}" cy="{y}" r="3.6" {name}/>'
        case 1:
            return f'<rect x="{x - 3.4:.1f}" y="{y - 3.4:.1f}" width="6.8" height="6.8" {name}/>'
        case _:
            return f'<path d="M{x} {y - 4.6:.1f}l4.4 7.8h-8.8z" {name}/>'


def _legend_rows(chart: Chart) -> list[list[tuple[int, str]]]:
    """Return the names in rows that fit the width, by a guess of their width."""
    rows: list[list[tuple[int, str]]] = [[]]
    used = 0.0
    for number, line in enumerate(chart.lines):
        width = _legend_width(line.name)
        if rows[-1] and used + width > WIDTH - LEFT - RIGHT:
            rows.append([])
            used = 0
        rows[-1].append((number, line.name))
        used += width
    return rows


def _legend_width(name: str) -> float:
    return 52 + 7.0 * len(name)


def _legend(rows: Sequence[Sequence[tuple[int, str]]]) -> list[str]:
    parts = []
    for place, row in enumerate(rows):
        x, y = float(LEFT), HEIGHT + 4 + LEGEND_ROW * place
        for number, name in row:
            dash = f' stroke-dasharray="{DASHES[number % len(DASHES)]}"' if number else ""
            parts.append(
                f'<path d="M{x:g} {y - 4}h28" class="curve c{number % len(LIGHT)}"{dash}/>'
                f"{_mark(number, x + 14, y - 4)}"
                f'<text x="{x + 36:g}" y="{y}">{escape(name)}</text>'
            )
            x += _legend_width(name)
    return parts


def _x(chart: Chart) -> Callable[[float], float]:
    """Return where an x stands."""
    xs = chart.xs
    span = WIDTH - LEFT - RIGHT - 40
    if not chart.logarithmic:
        low, high = xs[0], xs[-1]
        return lambda x: round(LEFT + 20 + span * (x - low) / ((high - low) or 1), 1)
    positive = [x for x in xs if x > 0]
    shift = 1 if xs[0] <= 0 else 0  # room for 0 at the left end
    first, last = math.log10(positive[0]), math.log10(positive[-1])
    zero = 0.1 * shift
    scale = (1 - zero) / ((last - first) or 1)
    return lambda x: round(
        LEFT + 20 + span * (zero + scale * (math.log10(x) - first) if x > 0 else 0), 1
    )


def _y(chart: Chart, value: float, low: float) -> float:
    return round(low - (low - TOP) * min(value, chart.top) / chart.top, 1)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"
