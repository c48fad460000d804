"""Test the charts of the report."""

from __future__ import annotations

import math
import re

import pytest

from tasks.reporting.charts import (
    ChartLine,
    against_bars,
    axis_ticks,
    dot_plot,
    heat_map,
    line_chart,
    smooth_points,
    spread_dots,
    tick_label,
    trail_chart,
)


def test_axis_ticks_are_round_and_inside() -> None:
    assert axis_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert axis_ticks(1.93, 3.83) == [2.0, 2.5, 3.0, 3.5]
    assert axis_ticks(-0.3, 2.4) == [0, 1, 2] or axis_ticks(-0.3, 2.4) == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert axis_ticks(2, 2) == [2]


@pytest.mark.parametrize(("low", "high"), [(-1e308, 1e308), (-1.7e308, 1.7e308), (0, 1e308)])
def test_axis_ticks_huge_numbers_are_finite(low: float, high: float) -> None:
    ticks = axis_ticks(low, high)
    assert ticks and all(low <= tick <= high for tick in ticks)
    assert tick_label(1200) == "1,200" and tick_label(0.15) == "0.15" and tick_label(-2) == "-2"


def test_smooth_points_straight_line_is_kept() -> None:
    straight = [(float(x), 2.0 * x) for x in range(200)]
    assert all(y == pytest.approx(2 * x) for x, y in smooth_points(straight))
    assert len(smooth_points(straight[:3])) == 3


def test_charts_of_little_data_are_none_or_valid() -> None:
    assert line_chart([ChartLine("a", [], "train"), ChartLine("b", [(1, 5.0)], "held")], "x", "y") is None
    assert trail_chart([(1, 1)], "x", "y") is None
    assert dot_plot([], 0.5, "guessing") is None
    for svg in (
        line_chart(
            [ChartLine("a", [(1, 5.0), (2, 5.0)], "train"), ChartLine("b", [(1, 5.0), (1, 5.0)], "held")],
            "x",
            "y",
        ),
        heat_map(["a"], [[1.0]]),
        dot_plot([("film", [("model", "train", 1.0)])], 0.5, "guessing"),
    ):
        assert svg is not None and "nan" not in svg and svg.startswith("<svg")


@pytest.mark.parametrize(
    "places",
    [
        [500.0, 500.0],
        [500.0, 505.0],
        [500.0, 500.0, 500.0],
        [300.0, 311.0, 322.0, 600.0],
        [80.0, 500.0, 81.0],
    ],
)
def test_spread_dots_no_dot_hides_another(places: list[float]) -> None:
    centers = list(zip(places, spread_dots(places), strict=True))
    # Dots of a radius of 6 show at least a crescent if their centers are 6 apart.
    apart = [math.dist(one, two) for i, one in enumerate(centers) for two in centers[:i]]
    assert min(apart) >= 6


@pytest.mark.parametrize("places", [[], [500.0], [300.0, 320.0], [300.0, 400.0, 500.0]])
def test_spread_dots_that_do_not_touch_stay_on_their_line(places: list[float]) -> None:
    assert spread_dots(places) == [0.0] * len(places)


def test_dot_plot_equal_shares_show_both_dots() -> None:
    plot = str(dot_plot([("film", [("model", "train", 1.0), ("words", "quiet", 1.0)])], 0.5, "guessing"))
    dots = re.findall(r'<circle class="dot \w+" cx="([\d.]+)" cy="([\d.]+)" r="6">', plot)
    assert len(dots) == len(set(dots)) == 2


@pytest.mark.parametrize(
    ("second", "dashed"),
    [
        ([(0, 1), (1, 2), (2, 3)], True),
        ([(0, 1), (1, 2), (2, 4)], True),
        ([(0, 1), (1, 5), (2, 4)], False),
        ([(0, 0), (1, 5), (2, 4)], False),
    ],
)
def test_line_chart_curve_over_another_is_dashed(second: list[tuple[float, float]], dashed: bool) -> None:
    first = [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]
    chart = str(line_chart([ChartLine("a", first, "train"), ChartLine("b", second, "aligned")], "step", "y"))
    assert ('class="line aligned dashed"' in chart) == dashed
    assert "line train dashed" not in chart
    # The dots in one place are those of the first curve.
    assert chart.count("<title>") == 3 + sum(point not in first for point in second)


@pytest.mark.parametrize("end", [(0.0, 0.0), (0.02, 0.01), (1.0, 1.0)])
def test_trail_chart_names_of_the_ends_do_not_overlap(end: tuple[float, float]) -> None:
    points = [(0.0, 0.0), *([(0.5, -0.5)] * 4), *([(1.0, 0.5)] * 4), *([end] * 5)]
    chart = str(trail_chart(points, "KL", "reward"))
    places = re.findall(r'<text class="name" x="([\d.]+)" y="([\d.]+)"', chart)
    (x, y), (other_x, other_y) = [(float(left), float(top)) for left, top in places]
    assert abs(y - other_y) > 14 or abs(x - other_x) > 60


@pytest.mark.parametrize("label", ["vocabulary/comparisons", "labels/helpfulness/a source of the team", "x"])
def test_wide_charts_labels_lie_inside_on_a_phone(label: str) -> None:
    charts = (
        against_bars([(label, 0.5, False), ("kl", 2.0, True)]),
        dot_plot([(label, [("model", "train", 0.8)]), ("kl", [("model", "train", 0.9)])], 0.5, "guessing"),
    )
    for chart in map(str, charts):
        names = re.findall(r'<text class="name" x="([\d.]+)"[^>]*>([^<]+)</text>', chart)
        assert len(names) == 2
        # On a phone a wide chart's letters are 21 units high, and about 12 wide.
        assert all(float(right) >= 12 * len(name) for right, name in names)
        assert all(float(right) < 360 for right, _ in names)
