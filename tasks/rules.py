"""The rules that data must keep, as Great Expectations suites: one a record type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Control characters but tab and line ends, the replacement character, and what is no character at all.
UNPRINTABLE = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ufffe\uffff]"
ASPECTS = ("truthfulness", "helpfulness", "harmlessness", "tone")
STRINGS = {
    "text": ("text",),
    "pairs": ("prompt", "completion"),
    "comparisons": ("prompt", "a", "b", "aspect", "annotator"),
    "ratings": ("prompt", "completion", "aspect"),
}
COMMON = ("id", "source", "group")


@dataclass(frozen=True)
class Limits:
    """What the rules measure against: lengths in characters, scores, the aspects there are."""

    shortest: int = 2
    longest: int = 1_000_000
    lowest: float = -10.0
    highest: float = 10.0
    aspects: tuple[str, ...] = ASPECTS

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise ValueError(f"shortest is {self.shortest}; it must be from 1 to longest, {self.longest}")
        if self.lowest >= self.highest:
            raise ValueError(f"lowest is {self.lowest}; it must be below highest, {self.highest}")


@dataclass(frozen=True)
class Failure:
    """A rule that was broken: by which rows (places in the table), or by the table as a whole."""

    rule: str
    rows: tuple[int, ...]
    says: str = ""


def check(kind: str, table: pd.DataFrame, limits: Limits, least: int, most: int) -> list[Failure]:
    """Hold a table of records against its suite; the failures in the order of the rules.

    `least` and `most` bound the count of rows. A rule's name stands in its expectation's `meta`.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas(kind).add_dataframe_asset(kind)
    batch = asset.add_batch_definition_whole_dataframe(kind).get_batch({"dataframe": derived(kind, table)})
    suite = context.suites.add(gx.ExpectationSuite(name=kind))
    rules = expectations(kind, limits, least, most)
    for expectation in rules:
        suite.add_expectation(expectation)
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["place"]}
    results = {
        r.expectation_config.meta["rule"]: r for r in batch.validate(suite, result_format=form).results
    }
    failures = []
    for expectation in rules:
        rule = expectation.meta["rule"]
        result = results[rule]
        if result.success:
            continue
        rows = tuple(
            sorted({int(found["place"]) for found in result.result.get("unexpected_index_list") or ()})
        )
        says = "" if rows else str(result.result.get("observed_value", result.exception_info))
        failures.append(Failure(rule, rows, says))
    return failures


def expectations(kind: str, limits: Limits, least: int, most: int) -> list[Any]:
    """The suite of a record type: rules of rows, then the rule of the whole table."""
    from great_expectations import expectations as gxe

    def named(rule: str, make: Any, **settings: Any) -> Any:
        return make(meta={"rule": rule}, **settings)

    suite: list[Any] = []
    for column in (*COMMON, *STRINGS[kind]):
        suite += [
            named(f"{column} is there", gxe.ExpectColumnValuesToNotBeNull, column=column),
            named(
                f"{column} is a string",
                gxe.ExpectColumnValuesToBeInSet,
                column=f"{column}:type",
                value_set=["str"],
            ),
        ]
    for column in STRINGS[kind]:
        shortest = 1 if column in ("aspect", "annotator", "a", "b", "completion") else limits.shortest
        bounds = {"min_value": shortest, "max_value": limits.longest}
        suite += [
            named(
                f"{column} has a fit length", gxe.ExpectColumnValueLengthsToBeBetween, column=column, **bounds
            ),
            named(
                f"{column} is printable",
                gxe.ExpectColumnValuesToNotMatchRegex,
                column=column,
                regex=UNPRINTABLE,
            ),
        ]
    if kind in ("comparisons", "ratings"):
        aspects = list(limits.aspects)
        suite.append(
            named("aspect is known", gxe.ExpectColumnValuesToBeInSet, column="aspect", value_set=aspects)
        )
    if kind == "comparisons":
        choices = ["a", "b", "tie"]
        suite.append(
            named("choice is known", gxe.ExpectColumnValuesToBeInSet, column="choice", value_set=choices)
        )
    if kind == "ratings":
        scores = {"min_value": limits.lowest, "max_value": limits.highest}
        suite += [
            named("scores are there", gxe.ExpectColumnValuesToBeBetween, column="count", min_value=1),
            named(
                "each score has its annotator",
                gxe.ExpectColumnValuesToBeInSet,
                column="paired",
                value_set=[True],
            ),
            named("lowest score in range", gxe.ExpectColumnValuesToBeBetween, column="lowest", **scores),
            named("highest score in range", gxe.ExpectColumnValuesToBeBetween, column="highest", **scores),
        ]
    never = {"value_set": [False]}
    return [
        *suite,
        named("id is unique", gxe.ExpectColumnValuesToBeInSet, column="id repeats", **never),
        named("content is not there twice", gxe.ExpectColumnValuesToBeInSet, column="repeats", **never),
        named("held out of training", gxe.ExpectColumnValuesToBeInSet, column="torn", **never),
        named("count of rows", gxe.ExpectTableRowCountToBeBetween, min_value=least, max_value=most),
    ]


def derived(kind: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table with what the rules look at besides its own columns.

    `repeats`: the same content, but for case and white space, stands in an earlier row of the group.
    `torn`: it stands in an earlier row of another group, so that a split could train on what it holds out.
    """
    out = table.copy()
    out["place"] = range(len(out))
    for column in (*COMMON, *STRINGS[kind]):
        if column not in out:
            out[column] = None
        out[f"{column}:type"] = [type(value).__name__ for value in out[column]]
        out[column] = [value if isinstance(value, str) else None for value in out[column]]
    if kind == "ratings":
        lists = [value if isinstance(value, list) else [] for value in out["scores"]]
        numbers = [[float(v) for v in values if isinstance(v, int | float)] for values in lists]
        out["count"] = [len(values) for values in lists]
        out["paired"] = [
            isinstance(who, list) and len(who) == len(values) == len(kept)
            for who, values, kept in zip(out["annotators"], lists, numbers, strict=True)
        ]
        out["lowest"] = [min(values, default=0.0) for values in numbers]
        out["highest"] = [max(values, default=0.0) for values in numbers]
    content = _content(kind, out)
    out["id repeats"] = out["id"].duplicated() & out["id"].notna()
    again = content.duplicated()
    first = out["group"].groupby(content).transform("first") if len(out) else out["group"]
    out["repeats"] = again & (out["group"] == first)
    out["torn"] = again & (out["group"] != first)
    return out


def _content(kind: str, table: pd.DataFrame) -> pd.Series:
    columns: Sequence[str] = STRINGS[kind]
    whole = table[columns[0]].fillna("")
    for column in columns[1:]:
        whole = whole + "\n" + table[column].fillna("")
    return whole.str.casefold().str.split().str.join(" ")
