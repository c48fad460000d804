"""Charts as inline SVG: pure functions from numbers to text, with the same bytes for the same numbers.

Colors and fonts come from the page's style sheet, by class. A chart needs no network and no script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]

LEFT, _RIGHT, _TOP, BOTTOM = 46, 14, 14, 38
MOST_BARS = 3.0
_RADIUS = 6.0  # of a dot in a dot plot
_LETTER, _LARGE_LETTER = 7, 12  # units of a character, in a small chart and in a wide one on a phone
_LONGEST = 28  # characters of a label in a wide chart
_NEAR = 90  # the distance between two dots at which their names would overlap
# Charts from these widths on are scaled down on a phone.
WIDE, MEDIUM = 700, 450
DOTTED = 40  # more points than this are a curve, not points


@dataclass(frozen=True)
class ChartLine:
    """A curve of a chart.

    Attributes:
        name: The name in the legend.
        points: Pairs of x and y.
        tone: The color as a class of the style sheet.
        noisy: Whether the curve is drawn faint, with its moving average over it.
    """

    name: str
    points: Points
    tone: str
    noisy: bool = False


def axis_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers from `low` to `high`: 1, 2, 2.5 or 5 times a power of ten apart."""
    span = high - low
    # The span of huge numbers may be infinite.
    if not 0 < span < math.inf:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    # The factors 0.999 and 1e-9 absorb rounding errors, which would drop a tick at an end of the axis.
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    # Adding 0.0 turns -0.0 into 0.0, whose label has no sign.
    return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


def tick_label(value: float) -> str:
    """Return a tick's label, with commas for thousands and without needless zeros."""
    return f"{value:,.6g}" if abs(value) < 1000 else f"{value:,.0f}"


def smooth_points(points: Points, share: float = 0.06) -> list[tuple[float, float]]:
    """Return the centered moving average over a share of the points, narrower at the start.

    Curves are steep at the start, where a wide average would hide the fall.
    """
    reach = round(len(points) * share / 2)
    averaged = []
    for i in range(len(points)):
        near = min(reach, i)
        window = points[i - near : i + near + 1]
        averaged.append((_mean_value([x for x, _ in window]), _mean_value([y for _, y in window])))
    return averaged


class Axes:
    """The frame of a chart: converts numbers to positions and draws the grid."""

    def __init__(
        self, xs: Sequence[float], ys: Sequence[float], width: int, height: int, x_label: str, y_label: str
    ) -> None:
        self.width, self.height = width, height
        self.x = _padded_range(xs, 0.0)
        self.y = _padded_range(ys, 0.06)
        self.labels = (x_label, y_label)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a point in the units of the SVG."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            LEFT + across * (self.width - LEFT - _RIGHT),
            # SVG counts y downwards.
            self.height - BOTTOM - up * (self.height - _TOP - BOTTOM),
        )

    def path(self, points: Points, tone: str) -> str:
        """Return the SVG of a curve through the points."""
        # One decimal is below a pixel and keeps the page small.
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        return f'<polyline class="line {tone}" points="{places}"/>'

    def dot(self, point: tuple[float, float], tone: str, title: str, radius: float = 3.5) -> str:
        """Return the SVG of a point with a tooltip."""
        x, y = self.at(*point)
        return (
            f'<circle class="dot {tone}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">'
            f"<title>{escape(title)}</title></circle>"
        )

    def frame(self) -> str:
        """Return the SVG of the grid, its numbers and the labels of the axes."""
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
        """Return the complete SVG with its frame; the label of the y axis is its accessible name."""
        return _svg_element(self.width, self.height, self.labels[1], self.frame() + body)


def line_chart(
    lines: Sequence[ChartLine], x_label: str, y_label: str, *, width: int = 360, height: int = 230
) -> Markup | None:
    """Return curves over one axis, with a legend if there are several; None if there is no curve."""
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return None
    shown = {id(line): smooth_points(line.points) if line.noisy else line.points for line in lines}
    # Only the averages of noisy curves set the range: their noise would flatten everything else.
    ys = [y for line in lines for _, y in shown[id(line)]]
    axes = Axes([x for line in lines for x, _ in line.points], ys, width, height, x_label, y_label)
    low, high = axes.y
    parts = []
    drawn: set[tuple[float, float]] = set()
    for line in lines:
        if line.noisy:
            inside = [(x, min(max(y, low), high)) for x, y in line.points]
            parts.append(axes.path(inside, f"{line.tone} faint"))
        # Of two curves in one place, the first shows between the dashes of the second.
        hides = 2 * sum(point in drawn for point in shown[id(line)]) > len(shown[id(line)])
        parts.append(axes.path(shown[id(line)], f"{line.tone} dashed" if hides else line.tone))
        if not line.noisy and len(line.points) <= DOTTED:
            parts += [axes.dot((x, y), line.tone, f"{line.name}, {x_label} {tick_label(x)}: {y:.3f}", 2.2)
                      for x, y in line.points if (x, y) not in drawn]  # fmt: skip
        drawn.update(shown[id(line)])
    if len(lines) > 1:
        parts.append(_chart_legend([(line.name, line.tone) for line in lines]))
    return axes.svg("".join(parts))


def trail_chart(
    points: Points, x_label: str, y_label: str, *, width: int = 720, height: int = 380
) -> Markup | None:
    """Return one quantity against another during a training, as a path; None for fewer than two points."""
    if len(points) < 2:
        return None
    way = smooth_points(points, 0.2)
    axes = Axes([x for x, _ in way], [y for _, y in way], width, height, x_label, y_label)
    names = {0: "start", len(way) - 1: "end"}
    parts = [axes.path(way, "quiet")]
    for i, point in enumerate(way):
        title = f"{x_label} {point[0]:.2f}, {y_label} {point[1]:.2f}"
        # The style sheet has five shades, age0 to age4, from the first step to the last.
        parts.append(axes.dot(point, f"age{min(4, 5 * i // len(way))}", title, 6 if i in names else 3.5))
    places = {i: axes.at(*way[i]) for i in names}
    near = math.dist(places[0], places[len(way) - 1]) < _NEAR
    for i, name in names.items():
        x, y = places[i]
        anchor, side = ("end", -8) if x > width / 2 else ("start", 8)
        # The end's name goes below its dot where the start's name is above.
        y += 26 if near and i else -12
        parts.append(
            f'<text class="name" x="{x + side:.1f}" y="{y:.1f}" text-anchor="{anchor}">{name}</text>'
        )
    return axes.svg("".join(parts))


def spread_dots(places: Sequence[float]) -> list[float]:
    """Return for each dot of a row how far it is moved up, so that none hides another one.

    Args:
        places: The positions of the dots along the row.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [0.0] * len(places)
    start = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and places[order[end]] - places[order[end - 1]] < 2 * _RADIUS:
            continue
        cluster = sorted(order[start:end])
        # Two dots touch each other; more of them overlap, and each still shows.
        step = 2 * _RADIUS / max(1, len(cluster) - 1)
        for number, i in enumerate(cluster if len(cluster) > 1 else ()):
            moved[i] = _RADIUS - step * number
        start = end
    return moved


def dot_plot(
    rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]],
    reference: float,
    reference_name: str,
    *,
    width: int = 720,
) -> Markup | None:
    """Return shares as dots, one line for each row, with a vertical line at `reference`; None without rows.

    Args:
        rows: For each row its label and its dots as (name, tone, share).
        reference: The share of the vertical line.
        reference_name: The label of that line.
        width: The width in units of the SVG.
    """
    if not rows:
        return None
    left, labels = _label_column([label for label, _ in rows])
    step, top = 30, 44
    height = top + step * len(rows) + 26
    least = min([reference, *(share for _, dots in rows for *_, share in dots)])
    # The axis begins at a multiple of 10%, at least 5% below the smallest share.
    low = math.floor(least * 10 - 0.5) / 10

    def across(share: float) -> float:
        return left + (share - low) / (1 - low) * (width - left - 24)

    # A row may lack a dot, so the legend follows the row with the most.
    longest = max((dots for _, dots in rows), key=len)
    parts = [_chart_legend([(name, tone) for name, tone, _ in longest], _LARGE_LETTER)]
    for share in axis_ticks(low, 1.0):
        x = across(share)
        parts.append(f'<path class="grid" d="M{x:.1f} {top - 6}V{height - 24}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{share:.0%}</text>'
        )
    x = across(reference)
    parts.append(f'<path class="reference" d="M{x:.1f} {top - 6}V{height - 24}"/>')
    parts.append(f'<text class="tick" x="{x + 5:.1f}" y="{top - 8}">{escape(reference_name)}</text>')
    for i, (_, dots) in enumerate(rows):
        y = top + step * i + step / 2
        places = [across(share) for *_, share in dots]
        parts.append(
            f'<text class="name" x="{left - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(labels[i])}</text>'
        )
        parts.append(f'<path class="grid strong" d="M{min(places):.1f} {y:.1f}H{max(places):.1f}"/>')
        for (name, tone, share), place, up in zip(dots, places, spread_dots(places), strict=True):
            parts.append(
                f'<circle class="dot {tone}" cx="{place:.1f}" cy="{y - up:.1f}" r="{_RADIUS:g}">'
                f"<title>{escape(name)}: {share:.1%}</title></circle>"
            )
    return _svg_element(width, height, "accuracy", "".join(parts))


def heat_map(names: Sequence[str], weights: Sequence[Sequence[float]], *, cell: int = 30) -> Markup:
    """Return a square of weights from 0 to 1: from the word at the left to the word above.

    Small weights are raised, so that they can be seen.
    """
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
        # Above the diagonal, attention is always 0.
        for j, weight in enumerate(weights[i][: i + 1]):
            parts.append(
                f'<rect class="cell" x="{left + cell * j}" y="{top + cell * i}" width="{cell - 1}" '
                f'height="{cell - 1}" style="--w:{weight**0.6:.3f}"><title>{shown} looks at '
                f"{escape(names[j].strip())}: {weight:.0%}</title></rect>"
            )
    return _svg_element(width, height, "attention", "".join(parts))


def count_grid(
    rows: Sequence[tuple[str, Sequence[int]]], columns: Sequence[str], name: str, *, width: int = 720
) -> Markup:
    """Return counts as squares, one line for each row; a larger count has a darker square.

    Args:
        rows: For each row its label and a count for each column.
        columns: The columns' names; the chart shows the first and the last.
        name: The chart's accessible name.
        width: The width in units of the SVG.
    """
    left, top, step = 190, 8, 26
    height = top + step * len(rows) + 26
    # Few columns make no wide squares.
    across = min(48.0, (width - left - 4) / len(columns))
    most = max(1, *(count for _, counts in rows for count in counts))
    parts = []
    for i, (label, counts) in enumerate(rows):
        y = top + step * i
        parts.append(
            f'<text class="name" x="{left - 14}" y="{y + step / 2 + 4:.1f}" text-anchor="end">'
            f"{escape(label)}</text>"
        )
        # Small counts are raised, so that they can be seen.
        parts += [
            f'<rect class="cell" x="{left + across * j:.1f}" y="{y}" width="{across - 2:.1f}" '
            f'height="{step - 2}" style="--w:{(count / most) ** 0.6:.3f}"><title>{escape(label)}, '
            f"{escape(columns[j])}: {count:,}</title></rect>"
            for j, count in enumerate(counts)
        ]
    ends = ((left, "start", columns[0]), (left + across * len(columns) - 2, "end", columns[-1]))
    # Two dates under few squares would overlap on a phone.
    for x, anchor, column in ends if across * len(columns) > 24 * _LARGE_LETTER else ends[:1]:
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{height - 4}" text-anchor="{anchor}">{escape(column)}</text>'
        )
    return _svg_element(width, height, name, "".join(parts))


def interval_chart(share: float, low: float, high: float, name: str, *, width: int = 720) -> Markup:
    """Return a share on a line from 0 to 100%, with its interval and a mark at one half."""
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
    """Return distances as multiples of their thresholds, one line for each row; None without rows.

    Args:
        rows: For each row its label, the multiple, and whether the threshold is exceeded. A multiple above 3
            is drawn at 3.
        width: The width in units of the SVG.
    """
    if not rows:
        return None
    left, labels = _label_column([label for label, *_ in rows])
    step, top = 24, 30
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
            f'<text class="name" x="{left - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(labels[i])}</text>'
        )
        parts.append(f'<path class="grid strong" d="M{left} {y:.1f}H{across(multiple):.1f}"/>')
        parts.append(
            f'<circle class="dot {tone}" cx="{across(multiple):.1f}" cy="{y:.1f}" r="5">'
            f"<title>{escape(label)}: {multiple:.2f} of its threshold</title></circle>"
        )
    return _svg_element(width, height, "distance as a multiple of its threshold", "".join(parts))


def standalone_svg(picture: Markup, style: str) -> str:
    """Return a chart as a separate SVG file that contains the page's style."""
    # Inline SVG needs no namespace; a file of its own does.
    inside = picture.removeprefix("<svg ")
    head, _, body = inside.partition(">")
    return f'<svg xmlns="http://www.w3.org/2000/svg" {head}><style>{style}</style>{body}\n'


def _label_column(labels: Sequence[str]) -> tuple[float, list[str]]:
    """Return the width of a wide chart's column of labels on a phone, and the labels, those too long cut."""
    short = [label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…" for label in labels]
    return max(map(len, short)) * _LARGE_LETTER + 14, short


def _chart_legend(names: Sequence[tuple[str, str]], letter: float = _LETTER) -> str:
    parts, x = [], float(LEFT)
    for name, tone in names:
        parts.append(f'<circle class="dot {tone}" cx="{x + 4:.1f}" cy="6" r="4"/>')
        parts.append(f'<text class="tick" x="{x + 13:.1f}" y="10">{escape(name)}</text>')
        # The width of a text is not known before a browser draws it.
        x += letter * len(name) + 34
    return "".join(parts)


def _mean_value(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _padded_range(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        # A range of 0 would divide by zero.
        low, high = low - 0.5, high + 0.5
    room = (high - low) * share
    return low - room, high + room


def _svg_element(width: int, height: int, name: str, body: str) -> Markup:
    # On a phone a wide chart is scaled down, so the page's style gives its text a larger size there.
    size = "large" if width >= WIDE else "medium" if width >= MEDIUM else ""
    large = f' class="{size}"' if size else ""
    return Markup(
        f'<svg{large} viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(name)}">{body}</svg>'
    )
