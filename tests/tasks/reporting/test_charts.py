"""Test the charts of the report."""

from __future__ import annotations

import pytest

from tasks.reporting.charts import (
    ChartLine,
    axis_ticks,
    dot_plot,
    heat_map,
    line_chart,
    smooth_points,
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
