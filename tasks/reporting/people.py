"""The report's section on the people behind the labels: who labelled when, how fast, and how reliably."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tasks.common.annotators import is_nobody
from tasks.common.counts import counted
from tasks.reporting.charts import count_grid
from tasks.reporting.sections import format_value

# Rows of the tables of people, and days of the chart.
_ROWS, _DAYS = 12, 28
_LONGEST_NAME = 14
# People whom a sentence names.
_NAMED = 3
# A person with more of the labels than this decides most of what the model learns.
_LARGE_SHARE = 0.5
# Known items of which fewer say too little about a person, also where the interval is clear, and the share of
# right choices that a careful person reaches.
_FEW_KNOWN, _CAREFUL = 10, 0.8
# Judgements from which a median of seconds means something, and the part of the others' median that is hasty.
_FEW_TIMED, _HASTY = 20, 1 / 3
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class LabelCounts:
    """Numbers of labels by person and day. A comparison is one label, a rating one for each of its scores."""

    def __init__(self) -> None:
        self.by_day: dict[str, Counter[str]] = defaultdict(Counter)
        self.unnamed = self.undated = 0

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add a comparison or a rating of the data."""
        if "scores" in row:
            people, times = row.get("annotators") or [], row.get("times") or []
            missing = len(row["scores"]) - len(people)
            people = [*people, *[""] * missing]
            times = [*times, *[""] * (len(people) - len(times))]
            for person, time in zip(people, times, strict=False):
                self._add_label(person, time)
        else:
            self._add_label(row.get("annotator", ""), row.get("time", ""))

    def _add_label(self, person: str, time: str) -> None:
        if is_nobody(person):
            self.unnamed += 1
            return
        day = time[:10] if _DAY.match(time) else ""
        self.undated += not day
        self.by_day[person][day] += 1


def people_section(counts: LabelCounts, summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the tables on people and what to make of them; None without labels of named people.

    Args:
        counts: The labels of the data.
        summaries: What each person of the label page has done; empty without a label page.
    """
    if not counts.by_day and not summaries:
        return None
    order = sorted(counts.by_day, key=lambda person: (-counts.by_day[person].total(), person))
    total = sum(found.total() for found in counts.by_day.values())
    chart, caption = _day_chart(counts, order)
    return {
        "lead": _describe_labels(counts, total),
        "rows": [_person_row(person, counts.by_day[person], total) for person in order[:_ROWS]],
        "note": _note_fewer(len(order) - _ROWS),
        "chart": chart,
        "caption": caption,
        "page": [_summary_row(person) for person in _least_reliable(summaries)[:_ROWS]],
        "page_note": _note_fewer(len(summaries) - _ROWS, "are more often right on known items"),
        "advice": _advise_people(counts, order, total, summaries),
    }


def _describe_labels(counts: LabelCounts, total: int) -> str:
    if not total:
        return ""
    days = sorted({day for found in counts.by_day.values() for day in found if day})
    said = f"{counted(len(counts.by_day), 'people')} gave {counted(total, 'labels')}"
    if days:
        when = f"from {days[0]} to {days[-1]}" if len(days) > 1 else f"on {days[0]}"
        # Another tool may tell no time, beside the label page, which does.
        if counts.undated:
            said += f", {total - counts.undated:,} of them {when} and {counts.undated:,} without a date"
        else:
            said += f", {when}" if len(days) > 1 else f", all {when}"
    more = f"; {counts.unnamed:,} more without a name" if counts.unnamed else ""
    return f"{said}{more}."


def _person_row(person: str, found: Counter[str], total: int) -> dict[str, str]:
    days = sorted(day for day in found if day)
    most = max(days, key=lambda day: (found[day], day), default="")
    return {
        "person": person,
        "labels": format_value("{:,.0f}", found.total()),
        "share": format_value("{:.0%}", found.total() / total),
        "days": f"{len(days):,}" if days else "",
        "between": f"{days[0]} to {days[-1]}" if len(days) > 1 else "".join(days),
        "most": f"{found[most]:,} on {most}" if len(days) > 1 else "",
    }


def _day_chart(counts: LabelCounts, order: Sequence[str]) -> tuple[Markup | None, str]:
    """Return squares of labels by person and day, and their caption; None for fewer than two days."""
    days = sorted({day for found in counts.by_day.values() for day in found if day})
    shown = days[-_DAYS:]
    if len(shown) < 2:
        return None, ""
    rows = [
        (_shorten_name(person), [counts.by_day[person][day] for day in shown])
        for person in order[:_ROWS]
        if any(counts.by_day[person][day] for day in shown)
    ]
    most = max(number for _, row in rows for number in row)
    which = f"the newest {_DAYS} of {len(days):,} days" if len(days) > _DAYS else f"the {len(days)} days"
    caption = (
        f"Labels by person on {which} with labels. The darkest square has {counted(most, 'labels')}; days "
        "without labels are left out."
    )
    return count_grid(rows, shown, "labels by person and day"), caption


def _shorten_name(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _least_reliable(summaries: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(
        summaries, key=lambda each: (each["known"]["share"] if each["known"] else math.inf, each["person"])
    )


def _summary_row(found: Mapping[str, Any]) -> dict[str, str]:
    known = found["known"]
    return {
        "person": found["person"],
        "judgements": f"{found['judgements']:,}",
        "seconds": format_value("{:.1f}", found["median_seconds"]) if found["median_seconds"] else "",
        "right": format_value("{:.0%}", known["share"]) if known else "",
        "interval": _format_known(known) if known else "",
    }


def _format_known(known: Mapping[str, Any]) -> str:
    return f"95%: {known['low']:.0%} to {known['high']:.0%}; n = {known['count']:,}"


def _note_fewer(count: int, why: str = "gave fewer labels") -> str:
    return f"Not shown: {counted(count, 'people')} who {why}." if count > 0 else ""


def _advise_people(
    counts: LabelCounts, order: Sequence[str], total: int, summaries: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return sentences about what to make of the figures; the first person of `order` has most labels."""
    said = []
    if order and len(order) == 1:
        said.append(
            f"All labels that name somebody are by {order[0]}, so the model learns one person’s taste. "
            "Nobody can tell how far others would agree."
        )
    elif order and (share := counts.by_day[order[0]].total() / total) > _LARGE_SHARE:
        said.append(
            f"{order[0]} gave {share:.0%} of the {total:,} labels, so the model learns mostly that person’s "
            "taste. Labels by more people would balance it."
        )
    return said + _advise_known(summaries) + _advise_seconds(summaries)


def _advise_known(summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    measured = [each for each in summaries if each["known"]]
    if not summaries:
        return []
    if not measured:
        return ["No known items were judged. About one in twenty shows who judges with care."]
    few = [each for each in measured if each["known"]["count"] < _FEW_KNOWN]
    if len(few) == len(measured):
        return [f"Nobody judged {_FEW_KNOWN} known items yet, so these shares say little about a person."]
    below = [each for each in measured if each not in few and each["known"]["high"] < _CAREFUL]
    if below:
        named = _name_some([f"{each['person']} ({_format_known(each['known'])})" for each in below])
        said = [
            f"Clearly right on fewer than {_CAREFUL:.0%} of known items: {named}. Talk with them about the "
            "guide first. The key min_known_accuracy of the source leaves such labels out."
        ]
    else:
        said = [f"Nobody is clearly right on fewer than {_CAREFUL:.0%} of known items."]
    if few:
        named = _name_some([f"{each['person']} (n = {each['known']['count']:,})" for each in few])
        said.append(f"Fewer than {_FEW_KNOWN} known items say little about a person: {named}.")
    return said


def _name_some(names: Sequence[str]) -> str:
    more = f"; and {counted(len(names) - _NAMED, 'more people')}" if len(names) > _NAMED else ""
    return f"{'; '.join(names[:_NAMED])}{more}"


def _advise_seconds(summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    # Other tools may not tell the time.
    timed = {
        each["person"]: each["median_seconds"]
        for each in summaries
        if each["judgements"] >= _FEW_TIMED and each["median_seconds"]
    }
    hasty = []
    for person, seconds in timed.items():
        others = statistics.median([spent for other, spent in timed.items() if other != person] or [0.0])
        if seconds < _HASTY * others:
            hasty.append(f"{person} {seconds:.1f} seconds, the others {others:.1f}")
    if not hasty:
        return []
    return [
        f"Much faster than the others, by the median of an item: {_name_some(hasty)}. That is hardly time to "
        "read both answers."
    ]
