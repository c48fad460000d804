"""Figures as inline SVG: small pure functions from numbers to text, the same bytes for the same numbers.

Colours and type are those of the page's style sheet, by class; nothing is fetched and nothing runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]

LEFT, _RIGHT, _TOP, BOTTOM = 46, 14, 14, 38
MOST_BARS = 3.0
WIDE = 700
DOTTED = 40  # more points than this are a curve, not points


@dataclass(frozen=True)
class Line:
    """A curve: its points, its colour as a class of the style sheet, and whether it is drawn with its noise.

    A `noisy` curve is drawn faint, with its moving average over it.
    """

    name: str
    points: Points
    tone: str
    noisy: bool = False


def axis_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2, 2.5 or 5 times a power of ten apart) from `low` to `high`."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


def tick_label(value: float) -> str:
    """A tick's label: thousands by commas, no needless zeros."""
    return f"{value:,.6g}" if abs(value) < 1000 else f"{value:,.0f}"


def smooth_points(points: Points, share: float = 0.06) -> list[tuple[float, float]]:
    """Moving average over a share of the points: centred, narrower at the start, where curves are steep."""
    reach = round(len(points) * share / 2)
    averaged = []
    for i in range(len(points)):
        near = min(reach, i)
        window = points[i - near : i + near + 1]
        averaged.append((_mean_value([x for x, _ in window]), _mean_value([y for _, y in window])))
    return averaged


class Axes:
    """A frame with axes: places numbers on the page and draws the grid."""

    def __init__(
        self, xs: Sequence[float], ys: Sequence[float], width: int, height: int, x_label: str, y_label: str
    ) -> None:
        self.width, self.height = width, height
        self.x = _padded_range(xs, 0.0)
        self.y = _padded_range(ys, 0.06)
        self.labels = (x_label, y_label)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point stands, in the units of the picture."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            LEFT + across * (self.width - LEFT - _RIGHT),
            self.height - BOTTOM - up * (self.height - _TOP - BOTTOM),
        )

    def path(self, points: Points, tone: str) -> str:
        """A curve through the points."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        return f'<polyline class="line {tone}" points="{places}"/>'

    def dot(self, point: tuple[float, float], tone: str, title: str, radius: float = 3.5) -> str:
        """A point with the words that show when it is pointed at."""
        x, y = self.at(*point)
        return (
            f'<circle class="dot {tone}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">'
            f"<title>{escape(title)}</title></circle>"
        )

    def frame(self) -> str:
        """The grid, its numbers, and the names of the axes."""
        parts = []
        for value in axis_ticks(*self.y):
            _, y = self.at(self.x[0], value)
            parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{self.width - _RIGHT}"/>')
            parts.append(
                f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" '
                f'text-anchor="end">{tick_label(value)}</text>'
            )
        for value in axis_ticks(*self.x, count=max(2, self.width // 110)):
            x, _ = self.at(value, self.y[0])
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{self.height - BOTTOM + 16}" text-anchor="middle">'
                f"{tick_label(value)}</text>"
            )
        floor = self.height - BOTTOM
        parts.append(f'<path class="axis" d="M{LEFT} {floor}H{self.width - _RIGHT}"/>')
        parts.append(
            f'<text class="label" x="{self.width - _RIGHT}" y="{self.height - 5}" text-anchor="end">'
            f"{escape(self.labels[0])}</text>"
        )
        return "".join(parts)

    def svg(self, body: str) -> Markup:
        """The whole picture, with its frame; the y axis names what it shows."""
        return _svg_element(self.width, self.height, self.labels[1], self.frame() + body)


def line_chart(
    lines: Sequence[Line], x_label: str, y_label: str, *, width: int = 360, height: int = 230
) -> Markup | None:
    """Curves over the same axis, named in a legend where there are several; None where there is no curve."""
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return None
    shown = {id(line): smooth_points(line.points) if line.noisy else line.points for line in lines}
    # The noise is cut off where it would flatten everything else.
    ys = [y for line in lines for _, y in shown[id(line)]]
    axes = Axes([x for line in lines for x, _ in line.points], ys, width, height, x_label, y_label)
    low, high = axes.y
    parts = []
    for line in lines:
        if line.noisy:
            inside = [(x, min(max(y, low), high)) for x, y in line.points]
            parts.append(axes.path(inside, f"{line.tone} faint"))
        parts.append(axes.path(shown[id(line)], line.tone))
        if not line.noisy and len(line.points) <= DOTTED:
            parts += [axes.dot((x, y), line.tone, f"{line.name}, {x_label} {tick_label(x)}: {y:.3f}", 2.2)
                      for x, y in line.points]  # fmt: skip
    if len(lines) > 1:
        parts.append(_chart_legend([(line.name, line.tone) for line in lines]))
    return axes.svg("".join(parts))


def trail_chart(
    points: Points, x_label: str, y_label: str, *, width: int = 720, height: int = 380
) -> Markup | None:
    """One quantity against another through a training: a path from its first point to its last."""
    if len(points) < 2:
        return None
    way = smooth_points(points, 0.2)
    axes = Axes([x for x, _ in way], [y for _, y in way], width, height, x_label, y_label)
    names = {0: "start", len(way) - 1: "end"}
    parts = [axes.path(way, "quiet")]
    for i, point in enumerate(way):
        title = f"{x_label} {point[0]:.2f}, {y_label} {point[1]:.2f}"
        parts.append(axes.dot(point, f"age{min(4, 5 * i // len(way))}", title, 6 if i in names else 3.5))
    for i, name in names.items():
        x, y = axes.at(*way[i])
        anchor = "end" if x > width / 2 else "start"
        parts.append(f'<text class="name" x="{x:.1f}" y="{y - 12:.1f}" text-anchor="{anchor}">{name}</text>')
    return axes.svg("".join(parts))


def dot_plot(
    rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]],
    reference: float,
    reference_name: str,
    *,
    width: int = 720,
) -> Markup | None:
    """Shares, a line a row: dots of (name, tone, share) and a vertical line at `reference`."""
    if not rows:
        return None
    left, step, top = 190, 30, 44
    height = top + step * len(rows) + 26
    least = min([reference, *(share for _, dots in rows for *_, share in dots)])
    low = math.floor(least * 10 - 0.5) / 10

    def across(share: float) -> float:
        return left + (share - low) / (1 - low) * (width - left - 24)

    parts = [_chart_legend([(name, tone) for name, tone, _ in max((dots for _, dots in rows), key=len)])]
    for share in axis_ticks(low, 1.0):
        x = across(share)
        parts.append(f'<path class="grid" d="M{x:.1f} {top - 6}V{height - 24}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{share:.0%}</text>'
        )
    x = across(reference)
    parts.append(f'<path class="reference" d="M{x:.1f} {top - 6}V{height - 24}"/>')
    parts.append(f'<text class="tick" x="{x + 5:.1f}" y="{top - 8}">{escape(reference_name)}</text>')
    for i, (label, dots) in enumerate(rows):
        y = top + step * i + step / 2
        places = [across(share) for *_, share in dots]
        parts.append(
            f'<text class="name" x="{left - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
        parts.append(f'<path class="grid strong" d="M{min(places):.1f} {y:.1f}H{max(places):.1f}"/>')
        for (name, tone, share), place in zip(dots, places, strict=True):
            parts.append(
                f'<circle class="dot {tone}" cx="{place:.1f}" cy="{y:.1f}" r="6">'
                f"<title>{escape(name)}: {share:.1%}</title></circle>"
            )
    return _svg_element(width, height, "accuracy", "".join(parts))


def heat_map(names: Sequence[str], weights: Sequence[Sequence[float]], *, cell: int = 30) -> Markup:
    """A square of weights from 0 to 1: from the word at the left to the word above. Small ones are raised."""
    left, top = 96, 84
    width, height = left + cell * len(names) + 40, top + cell * len(names) + 6
    parts = []
    for i, name in enumerate(names):
        shown = escape(name.strip() or "␣")
        y = top + cell * i + cell / 2 + 4
        x = left + cell * i + cell / 2 + 3
        parts.append(f'<text class="name" x="{left - 8}" y="{y:.1f}" text-anchor="end">{shown}</text>')
        parts.append(
            f'<text class="name" transform="translate({x:.1f} {top - 8}) rotate(-55)">{shown}</text>'
        )
        for j, weight in enumerate(weights[i][: i + 1]):
            parts.append(
                f'<rect class="cell" x="{left + cell * j}" y="{top + cell * i}" width="{cell - 1}" '
                f'height="{cell - 1}" style="--w:{weight**0.6:.3f}"><title>{shown} looks at '
                f"{escape(names[j].strip())}: {weight:.0%}</title></rect>"
            )
    return _svg_element(width, height, "attention", "".join(parts))


def interval_chart(share: float, low: float, high: float, name: str, *, width: int = 720) -> Markup:
    """A share on a line from 0 to 100%, with its interval and a mark at one half."""
    left, right, y = 14, width - 14, 26

    def across(value: float) -> float:
        return left + value * (right - left)

    half = across(0.5)
    marks = "".join(
        f'<text class="tick" x="{across(value):.1f}" y="62" text-anchor="middle">{value:.0%}</text>'
        for value in (0, 0.25, 0.5, 0.75, 1)
    )
    return _svg_element(
        width,
        68,
        name,
        f'<path class="axis" d="M{left} {y}H{right}"/>'
        f'<path class="reference" d="M{half:.1f} 12V44"/>{marks}'
        f'<path class="band aligned" d="M{across(low):.1f} {y}H{across(high):.1f}"/>'
        f'<circle class="dot aligned" cx="{across(share):.1f}" cy="{y}" r="7"/>',
    )


def against_bars(rows: Sequence[tuple[str, float, bool]], *, width: int = 720) -> Markup | None:
    """Distances as multiples of their thresholds, a line a row (name, multiple, whether it is past it).

    What is further than three thresholds is drawn at three.
    """
    if not rows:
        return None
    left, step, top = 210, 24, 30
    height = top + step * len(rows) + 26

    def across(multiple: float) -> float:
        return left + min(multiple, MOST_BARS) / MOST_BARS * (width - left - 24)

    parts = []
    for multiple in axis_ticks(0, MOST_BARS, 6):
        x = across(multiple)
        parts.append(f'<path class="grid" d="M{x:.1f} {top - 6}V{height - 24}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{height - 8}" '
            f'text-anchor="middle">{tick_label(multiple)}</text>'
        )
    x = across(1)
    parts.append(f'<path class="reference" d="M{x:.1f} {top - 6}V{height - 24}"/>')
    parts.append(f'<text class="tick" x="{x + 5:.1f}" y="{top - 10}">threshold</text>')
    for i, (label, multiple, past) in enumerate(rows):
        y = top + step * i + step / 2
        tone = "aligned" if past else "train"
        parts.append(
            f'<text class="name" x="{left - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
        parts.append(f'<path class="grid strong" d="M{left} {y:.1f}H{across(multiple):.1f}"/>')
        parts.append(
            f'<circle class="dot {tone}" cx="{across(multiple):.1f}" cy="{y:.1f}" r="5">'
            f"<title>{escape(label)}: {multiple:.2f} of its threshold</title></circle>"
        )
    return _svg_element(width, height, "distance as a multiple of its threshold", "".join(parts))


def standalone_svg(picture: Markup, style: str) -> str:
    """A picture as a file of its own, with the page's style in it."""
    inside = picture.removeprefix("<svg ")
    head, _, body = inside.partition(">")
    return f'<svg xmlns="http://www.w3.org/2000/svg" {head}><style>{style}</style>{body}\n'


def _chart_legend(names: Sequence[tuple[str, str]]) -> str:
    parts, x = [], float(LEFT)
    for name, tone in names:
        parts.append(f'<circle class="dot {tone}" cx="{x + 4:.1f}" cy="6" r="4"/>')
        parts.append(f'<text class="tick" x="{x + 13:.1f}" y="10">{escape(name)}</text>')
        x += 7 * len(name) + 34
    return "".join(parts)


def _mean_value(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _padded_range(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = (high - low) * share
    return low - room, high + room


def _svg_element(width: int, height: int, name: str, body: str) -> Markup:
    # On a phone a wide picture is scaled down; the page's style gives its text a larger size there.
    large = ' class="large"' if width >= WIDE else ""
    return Markup(
        f'<svg{large} viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(name)}">{body}</svg>'
    )
