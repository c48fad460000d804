"""An HTML page that compares two runs: their differences, and the curves of their trainings overlaid."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from mlflow import MlflowClient
from mlflow.entities import Run

from tasks.reporting.charts import ChartLine, line_chart
from tasks.reporting.template import STYLE
from tasks.tracking.queries import artifact_text, child_runs, holder_run_id, maker_runs
from tasks.tracking.run_diff import (
    APART,
    LAST,
    MACHINE,
    Difference,
    describe_run,
    is_apart,
    is_speed,
    mark_notes,
)

_CURVES = "curves.jsonl"
# The color class of each run's curves.
TONES = ("train", "aligned")
_SHOWN, _LONGEST = 12, 60
SECTIONS = (
    ("run", "Code, data and environment"),
    ("held-out rows", "Held-out rows"),
    ("code", "Code by stage"),
    ("parameter", "Parameters"),
    ("figure", "Figures"),
)
_OWN = """
main, header, footer { max-width: 62rem; }
@media (min-width: 40.01rem) { th, td.n, .run { white-space: nowrap; } }
header h1 { font-size: 1.7rem; } h2 { margin-top: 3.2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1.2rem; }
.charts figure { margin: 1rem 0; }
.mark { display: inline-block; width: .7em; height: .7em; border-radius: 50%; }
.mark.train { background: var(--sft); } .mark.aligned { background: var(--aligned); }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ names[0] }} and {{ names[1] }}</title><style>{{ style }}</style></head>
<body>
<header><h1>What differs between two runs</h1>
<p class="lede">{% for name in names %}<span class="run"><span class="mark {{ tones[loop.index0] }}"></span> {{ name }}
<span class="small">{{ titles[loop.index0] }}</span></span>{{ ' and ' if not loop.last }}{% endfor %}</p></header>
<main>
{% if not sections %}<p>Nothing differs.</p>{% endif %}
{% for section in sections %}<h2>{{ section.title }}</h2>
{% if section.note %}<p class="note">{{ section.note }}</p>{% endif %}
<div class="scroll"><table><tr>{% if section.stages %}<th>stage{% endif %}<th>what{% for name in names %}<th{% if section.numbers %} class="n"{% endif %}>{{ name }}{% endfor %}{% if section.numbers %}<th class="n">change{% endif %}</tr>
{% for row in section.rows %}<tr>{% if section.stages %}<td>{{ row.stage }}{% endif %}<td data-name="what">{{ row.name }}{% for value in row.shown %}<td data-name="{{ names[loop.index0] }}"{% if section.numbers %} class="n"{% endif %}>{{ value }}{% endfor %}{% if section.numbers %}<td class="n" data-name="change">{{ row.change }}{% endif %}</tr>
{% endfor %}</table></div>
{% endfor %}
{% for stage in stages %}<h2>{{ stage.name }}</h2>
<div class="charts wide">{% for chart in stage.charts %}<figure><h3>{{ chart.title }}</h3>{{ chart.svg }}</figure>
{% endfor %}</div>
{% if stage.note %}<p class="note">{{ stage.note }}</p>{% endif %}
{% endfor %}
</main>
<footer class="note">One file: nothing on this page is fetched from anywhere.</footer>
</body>
</html>
"""  # noqa: E501


def diff_page(
    client: MlflowClient, runs: tuple[Run, Run], found: Sequence[Difference], names: Sequence[str]
) -> str:
    """Return the page of two pipeline runs, from their differences and the curves that MLflow keeps.

    `names` are the labels of the runs.
    """
    # Names of runs, presets and parameters come from users, so everything is escaped.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_PAGE).render(
        style=Markup(STYLE + _OWN),
        names=names,
        titles=[describe_run(run) for run in runs],
        tones=TONES,
        sections=list(_page_sections(found)),
        stages=_training_charts(client, runs, names),
    )


def _page_sections(found: Sequence[Difference]) -> list[dict[str, Any]]:
    sections = []
    for kind, title in SECTIONS:
        rows = [row for row in found if row.kind == kind and not any(is_apart(row, what) for what in APART)]
        sections.append(_page_section(title, rows, " ".join(mark_notes(rows))))
    for title, what in (("Last step", LAST), ("Speed and cost", MACHINE)):
        apart = [row for row in found if is_apart(row, what)]
        sections.append(_page_section(title, apart, f"{APART[what][:1].upper()}{APART[what][1:]}."))
    return [section for section in sections if section["rows"]]


def _page_section(title: str, rows: Sequence[Difference], note: str = "") -> dict[str, Any]:
    return {
        "title": title,
        "note": note,
        "stages": any(row.stage for row in rows),
        "numbers": any(row.kind == "figure" for row in rows),
        "rows": [
            {
                "stage": row.stage,
                "name": row.label or row.name,
                "shown": [_format_value(row.before), _format_value(row.now)],
                "change": row.change_text,
            }
            for row in rows
        ],
    }


def _format_value(value: Any) -> str:
    if value is None:
        return "none"
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    if re.fullmatch("[0-9a-f]{32,}(\\.dir)?", text):
        return text[:_SHOWN]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _training_charts(
    client: MlflowClient, runs: tuple[Run, Run], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a chart of each metric for each training; the second run's curve lies over the first's."""
    curves = [_read_curves(client, run) for run in runs]
    stages = []
    for stage in dict.fromkeys(stage for each in curves for stage in each):
        pair = [each.get(stage, {}) for each in curves]
        quantities = dict.fromkeys(name for each in pair for name in each)
        charts = []
        for quantity in quantities:
            lines = [
                ChartLine(name, each.get(quantity, []), tone)
                for name, each, tone in zip(names, pair, TONES, strict=True)
            ]
            svg = line_chart(lines, "step", quantity.replace("_", " "))
            if svg is not None:
                charts.append({"title": quantity.replace("_", " "), "svg": svg})
        note = "Both runs have the same curves here: the second is dashed." if pair[0] == pair[1] else ""
        stages.append({"name": f"Training: {stage}", "charts": charts, "note": note})
    return [stage for stage in stages if stage["charts"]]


def _read_curves(client: MlflowClient, parent: Run) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the points of each training by stage and metric, without metrics of speed."""
    found = {}
    runs = child_runs(client, parent)
    made_by = maker_runs(client, runs)
    for run in runs:
        points: dict[str, list[tuple[float, float]]] = {}
        for row in _curve_rows(client, made_by.get(holder_run_id(run))):
            for name, value in row.items():
                if name not in ("step", "learning_rate_scale") and "/" not in name and not is_speed(name):
                    points.setdefault(name, []).append((float(row["step"]), float(value)))
        if points:
            found[run.data.tags.get("chatmill.stage", "")] = points
    return found


def _curve_rows(client: MlflowClient, run: Run | None) -> list[dict[str, Any]]:
    """Return the curves of a training; empty if it has none or they are gone."""
    try:
        text = artifact_text(client, run, _CURVES) if run else None
        return [json.loads(line) for line in (text or "").splitlines()]
    except ValueError:
        return []
