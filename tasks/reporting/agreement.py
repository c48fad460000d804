"""The report's section on how far people agree: by aspect, by two people, and by each person's errors."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tasks.common.aspects import OVERALL, UNNAMED_ASPECT
from tasks.common.counts import counted
from tasks.common.names import split_stratum
from tasks.reporting.sections import format_value

# Rows of the tables of people; the output of the stage labels has all.
_ROWS = 12
# Judgements in common below which two people's agreement is mostly noise.
_FEW = 10
# Krippendorff, Content analysis, 2004, page 241.
_RELIABLE, _TENTATIVE = 0.8, 0.667
_KINDS = (("ratings", "texts"), ("comparisons", "pairs"))


def agreement_section(
    found: Mapping[str, Mapping[str, Any]],
    people: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Return the tables of agreement and what to make of them; None without labels.

    Args:
        found: agreement.json of the stage labels.
        people: annotators.json of the stage labels; empty for an older output.
    """
    rows = [
        _table_row(name, judged, row)
        for kind, judged in _KINDS
        for name, row in sorted(found.get(kind, {}).items())
    ]
    if not rows:
        return None
    pairs, others = _lowest_pairs(people)
    strata = [each for kind, _ in _KINDS for each in people.get(kind, {}).values()]
    without = sum(each["people_without_pairs"] for each in strata)
    unpaired = f" {counted(without, 'people')} who judged least are in no pair there." if without else ""
    rates = list(_each_rate(people))
    # The least reliable first, as they are what a reader can do something about.
    rates.sort(key=lambda rate: (rate["share"], rate["annotator"]))
    return {
        "rows": rows,
        "aspects_note": _explain_two_names({row["aspect"] for row in rows}),
        "review_note": _explain_review(found.get("decided", {})),
        "advice": _advise(found),
        "pairs": pairs,
        "pairs_note": _note_rest(
            others, "pairs of people", f"agree more, or judged fewer than {_FEW} answers in common"
        )
        + unpaired,
        "people": rates[:_ROWS],
        "people_note": _note_rest(len(rates) - _ROWS, "people", "are right more often"),
    }


def _explain_two_names(aspects: Collection[str]) -> str:
    """Return what two aspects have in common that may be one question; empty if not both are there."""
    if not {OVERALL, UNNAMED_ASPECT} <= {*aspects}:
        return ""
    return (
        f"“{OVERALL}” is the choice between two answers as a whole, as on the label page. Labels of a file "
        f"that names no aspect have “{UNNAMED_ASPECT}”. If people were asked the same question, read the two "
        f"rows as one aspect; the key “aspect: {OVERALL}” at the file’s source gives them one name."
    )


def _table_row(name: str, judged: str, row: Mapping[str, Any]) -> dict[str, str]:
    """Return the agreement on one aspect and source as text."""
    forms = {
        "items": "{:,.0f}", "annotators": "{:,.0f}", "judgements": "{:,.0f}",
        "alpha": "{:.2f}", "pair_agreement": "{:.0%}",
    }  # fmt: skip
    return {
        **_stratum_names(name),
        "judged": judged,
        **{key: format_value(form, row.get(key)) for key, form in forms.items()},
        # Agreement is about texts that several people judged.
        **({"alpha": "one judgement each"} if row.get("judgements") == row["items"] else {}),
        "interval": _format_ends("{:.2f}", row.get("alpha_interval")),
        # Nobody knows how many they are.
        "some_unnamed": "1" if row.get("unnamed") else "",
    }


def _stratum_names(name: str) -> dict[str, str]:
    return dict(zip(("aspect", "source"), split_stratum(name), strict=True))


def _format_ends(form: str, ends: Sequence[float] | None) -> str:
    return " to ".join(format_value(form, end) for end in ends) if ends else ""


def _explain_review(decided: Mapping[str, int]) -> str:
    """Return that the table has the judgements before reviewers' decisions; empty without decisions."""
    if not decided:
        return ""
    said = ", ".join(
        f"{counted(count, 'pairs')} on {aspect} ({source})"
        for name, count in sorted(decided.items())
        for aspect, source in [split_stratum(name)]
    )
    return (
        f"Reviewers decided {said}. The decisions are the labels. The tables of agreement have what people "
        "judged before, as a decision hides how they disagreed."
    )


def _advise(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what the lowest alpha means, and what to do about it."""
    measured = [
        (row["alpha"], name, judged, row)
        for kind, judged in _KINDS
        for name, row in sorted(found.get(kind, {}).items())
        if row.get("alpha") is not None and not math.isnan(row["alpha"])
    ]
    if not measured:
        return (
            "Nothing was judged by two people, so nobody knows how far they agree. If several people judge "
            "some of the same answers, this page can tell."
        )
    alpha, name, judged, row = min(measured, key=lambda each: each[:3])
    rule = (
        f"Krippendorff advises to rely on labels from an alpha of {_RELIABLE:g}, and to draw only tentative "
        f"conclusions from {_TENTATIVE:g}."
    )
    if alpha >= _RELIABLE:
        return f"{rule} All labels here are above the first bound."
    number = counted(row["shared_items"], judged) if "shared_items" in row else ""
    interval = _format_ends("{:.2f}", row.get("alpha_interval"))
    beside = "; ".join(filter(None, (interval and f"95%: {interval}", number)))
    lowest = f"The lowest here is {format_value('{:.2f}', alpha)}" + (f" ({beside})" if beside else "")
    aspect, source = split_stratum(name)
    if alpha >= _TENTATIVE:
        return f"{rule} {lowest}, on {aspect} of {source}, which is between the two."
    return (
        f"{rule} {lowest}, on {aspect} of {source}. A reward model cannot order these {judged} much better "
        "than people agree on them. Clearer guidelines, several people for each answer, and a talk between "
        "those who agree least help more than a longer training."
    )


def _lowest_pairs(people: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Return the pairs of people who agree least, as text, and how many others there are."""
    every = [
        (pair["alpha"], kind, stratum, pair)
        for kind, _ in _KINDS
        for stratum, found in sorted(people.get(kind, {}).items())
        for pair in found["pairs"]
        if not math.isnan(pair["alpha"])
    ]
    # Those with little in common only if there are no others.
    enough = [each for each in every if each[3]["items"] >= _FEW] or every
    lowest = sorted(enough, key=lambda each: (each[0], each[1:3], each[3]["people"]))[:_ROWS]
    shown = [
        {
            **_stratum_names(stratum),
            "people": pair["people"],
            "items": format_value("{:,.0f}", pair["items"]),
            "same": format_value("{:.0%}", pair["same"]),
            "interval": _format_ends("{:.0%}", pair["interval"]),
            "alpha": format_value("{:.2f}", alpha),
        }
        for alpha, _, stratum, pair in lowest
    ]
    return shown, len(every) - len(shown)


def _each_rate(people: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each person's error rates as text, with the share of right judgements as a number."""
    for stratum, found in sorted(people.get("ratings", {}).items()):
        for rate in found["error_rates"]:
            above = rate["above"]
            side = "above" if above > 0 else "below"
            otherwise = f"{format_value('{:.2f}', abs(above))} {side} the estimated score on average"
            yield _rate_row(stratum, rate, rate["same"], otherwise)
    for stratum, found in sorted(people.get("comparisons", {}).items()):
        for rate in found["error_rates"]:
            otherwise = f"the worse answer {rate['worse']:.0%}, a tie {rate['tie']:.0%}"
            yield _rate_row(stratum, rate, rate["better"], otherwise)


def _rate_row(stratum: str, rate: Mapping[str, Any], share: float, otherwise: str) -> dict[str, Any]:
    return {
        **_stratum_names(stratum),
        "annotator": rate["annotator"],
        "judgements": format_value("{:,.0f}", rate["judgements"]),
        "share": share,
        "right": format_value("{:.0%}", share),
        "otherwise": otherwise,
    }


def _note_rest(count: int, what: str, why: str) -> str:
    """Return how many rows a table leaves out, and where they are."""
    if count <= 0:
        return ""
    return f"Not shown: {counted(count, what)} who {why}. annotators.json of the stage labels has all."
