"""Define the rules that rows must keep as Great Expectations suites, one suite for each kind of rows."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from model.errors import UserError
from tasks.common.aspects import KNOWN_ASPECTS
from tasks.common.names import is_blank
from tasks.common.printable_text import is_printable
from tasks.data.records import STRINGS
from tasks.data.values.field_meanings import is_invisible
from tasks.data.values.removed_texts import is_removed
from tasks.validation import pii, unicode_scripts
from tasks.validation.unlearnable_answers import is_new

if TYPE_CHECKING:
    import pandas as pd

_NAMES = ("aspect", "annotator")  # single words; the other columns hold prose
_ANSWERS = ("completion", "a", "b")  # a single character is a valid answer
COMMON = ("id", "source", "group")
READABLE = "the row can be read"
IN_SCRIPT = 0.9  # of a text's letters; names and quotations may use another script
ACROSS = (
    "one person, one choice: they disagree",
    "content is not there twice",
    "held out of training",
    "nothing like it",
)


@dataclass(frozen=True)
class Limits:
    """The limits that rules compare rows with."""

    min_chars: int = 2
    """Fewest characters of a text or prompt, 1 or more."""

    max_chars: int = 1_000_000
    """Most characters of a text, prompt or answer, at least `min_chars`."""

    min_score: float = -10.0
    """Lowest score of a label."""

    max_score: float = 10.0
    """Highest score of a label, above `min_score`."""

    aspects: tuple[str, ...] = KNOWN_ASPECTS
    """Aspects that labels may have."""

    repeated_prompts: bool = False
    """Whether an answer may repeat its prompt word for word, as in pairs of corrections."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_chars <= self.max_chars:
            raise ValueError(
                f"min_chars is {self.min_chars}; it must be from 1 to max_chars, {self.max_chars}"
            )
        if self.min_score >= self.max_score:
            raise ValueError(f"min_score is {self.min_score}; it must be below max_score, {self.max_score}")
        if any(map(is_blank, self.aspects)):
            raise ValueError("aspects contains an empty name; expected a name with a letter")


@dataclass(frozen=True)
class Rules:
    """The rules that a row must keep.

    Attributes:
        limits: Limits of lengths and scores.
        allowed_scripts: The scripts that texts may use; empty allows all.
        pii: Whether rows with personal data break a rule.
        own: The preset's further rules by kind.
        benchmark: Returns whether a text overlaps a benchmark. None disables the check.
    """

    limits: Limits = field(default_factory=Limits)
    allowed_scripts: tuple[str, ...] = ()
    pii: bool = False
    own: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    benchmark: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class BrokenRule:
    """A rule that rows broke.

    Attributes:
        rule: The name of the rule.
        rows: Indices of the rows in the table.
        column: The column with the value that broke the rule.
        says: The reason why the rule could not be evaluated; empty if it was. For a rule of a whole table,
            its value and the bound.
    """

    rule: str
    rows: tuple[int, ...]
    column: str = ""
    says: str = ""


def check_table(kind: str, table: pd.DataFrame, rules: Rules) -> list[BrokenRule]:
    """Check a table of rows against the suite of its kind.

    Returns:
        The failures in the order of the rules.
    """
    return _run_suite(kind, derived_columns(kind, table, rules), build_expectations(kind, rules))


def check_across(kind: str, marks: pd.DataFrame) -> list[BrokenRule]:
    """Check the results of comparing rows with all others.

    Args:
        kind: The kind of rows.
        marks: A boolean column for each rule of ACROSS.
    """
    return _run_suite(kind, marks, across_expectations())


def across_expectations() -> list[Any]:
    """Return the suite of the rules that compare rows with each other."""
    from great_expectations import expectations as gxe

    return [
        # The comparison itself runs on digests outside Great Expectations, as its uniqueness rules need all
        # rows in one table. The expectations only report the result.
        gxe.ExpectColumnValuesToBeInSet(column=rule, value_set=[False], meta={"rule": rule, "about": ""})
        for rule in ACROSS
    ]


def check_totals(
    kind: str, totals: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]
) -> list[BrokenRule]:
    """Check metrics of the whole table against their bounds.

    Args:
        kind: The kind of rows.
        totals: Metrics by name, such as the number of rows or the largest share of an annotator.
        bounds: The least and the greatest value of each metric.
    """
    import pandas as pd
    from great_expectations import expectations as gxe

    suite = [
        gxe.ExpectColumnValuesToBeBetween(
            column=name, min_value=least, max_value=None if math.isinf(most) else most,
            meta={"rule": name, "about": name},
        )
        for name, (least, most) in bounds.items()
    ]  # fmt: skip
    failures = []
    for failed in _run_suite(kind, pd.DataFrame([{"place": 0, **totals}]), suite):
        value, (least, most) = totals[failed.rule], bounds[failed.rule]
        wanted = f"at least {least:g}" if value < least else f"at most {most:g}"
        failures.append(BrokenRule(failed.rule, (), failed.rule, f"{value:g}; {wanted} is wanted"))
    return failures


def _run_suite(kind: str, table: pd.DataFrame, suite: Sequence[Any]) -> list[BrokenRule]:
    """Return the failures of a suite, whose expectations name their rule and column in `meta`."""
    import great_expectations as gx

    batch = _data_source(kind).get_batch({"dataframe": table})
    # The default format truncates the list of rows, and every broken row must be quarantined.
    form = {"result_format": "COMPLETE", "unexpected_index_column_names": ["place"]}
    whole = gx.ExpectationSuite(name=kind, expectations=list(suite))
    # Great Expectations groups the results by column, so they are matched to the suite by rule.
    results = {
        r.expectation_config.meta["rule"]: r for r in batch.validate(whole, result_format=form).results
    }
    failures = []
    for expectation in suite:
        rule = expectation.meta["rule"]
        result = results[rule]
        if result.success:
            continue
        found = result.result.get("unexpected_index_list") or ()
        rows = tuple(sorted({int(row["place"]) for row in found}))
        says = "" if rows else _explain_result(result)
        failures.append(BrokenRule(rule, rows, expectation.meta["about"], says))
    return failures


@cache
def _data_source(kind: str) -> Any:
    """Return Great Expectations' batch definition for data frames, created once for each process and kind."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    # An ephemeral context writes no project folder.
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return (
        context.data_sources.add_pandas(kind)
        .add_dataframe_asset(kind)
        .add_batch_definition_whole_dataframe(kind)
    )


def _explain_result(result: Any) -> str:
    info = result.exception_info or {}
    # Errors of single metrics are nested one level deeper, under the id of the metric.
    inner = next((value for value in info.values() if isinstance(value, dict)), info)
    return str(inner.get("exception_message") or result.result.get("observed_value") or "it does not hold")


def build_expectations(kind: str, rules: Rules) -> list[Any]:
    """Return the suite of a kind: the rules that each row is checked against on its own."""
    from great_expectations import expectations as gxe

    limits = rules.limits

    def named(rule: str, about: str, make: Any, **settings: Any) -> Any:
        return make(meta={"rule": rule, "about": about}, **settings)

    def true(rule: str, about: str, column: str) -> Any:
        return named(rule, about, gxe.ExpectColumnValuesToBeInSet, column=column, value_set=[True])

    # A row gets the first rule it breaks, so rules are ordered from the cause to its effects: a row that
    # cannot be read also lacks every column.
    suite: list[Any] = [true(READABLE, "fault", "fault:none")]
    for column in (*COMMON, *STRINGS[kind]):
        suite += [
            named(f"{column} is there", column, gxe.ExpectColumnValuesToNotBeNull, column=column),
            true(f"{column} is a string", column, f"{column}:string"),
        ]
    for column in STRINGS[kind]:
        bounds = {"min_value": _shortest_length(column, limits), "max_value": limits.max_chars}
        lengths = gxe.ExpectColumnValuesToBeBetween
        suite += [
            named(f"{column} has a fit length", column, lengths, column=f"{column}:length", **bounds),
            true(f"{column} is printable", column, f"{column}:printable"),
        ]
    if kind == "pairs" and not limits.repeated_prompts:
        suite.append(true("completion does not repeat the prompt", "completion", "completion:new"))
    for column in written_columns(kind):
        suite.append(true(f"{column} was not removed", column, f"{column}:left"))
        if rules.allowed_scripts:
            suite.append(
                true(f"{column} is in {' or '.join(rules.allowed_scripts)}", column, f"{column}:script")
            )
        if rules.benchmark:
            suite.append(true(f"{column} is in no benchmark", column, f"{column}:benchmark"))
    if rules.pii:
        suite += [
            true(f"{column} is free of personal data", column, f"{column}:personal")
            for column in personal_columns(kind)
        ]
    if kind in ("comparisons", "ratings"):
        known = {"column": "aspect", "value_set": list(limits.aspects)}
        suite.append(named("aspect is known", "aspect", gxe.ExpectColumnValuesToBeInSet, **known))
    if kind == "comparisons":
        choices = {"column": "choice", "value_set": ["a", "b", "tie"]}
        suite.append(named("choice is known", "choice", gxe.ExpectColumnValuesToBeInSet, **choices))
        suite.append(true("each first judgement is a choice of somebody", "first_choices", "first:paired"))
    if kind == "ratings":
        between, low, high = gxe.ExpectColumnValuesToBeBetween, limits.min_score, limits.max_score
        least, most = {"column": "lowest", "min_value": low}, {"column": "highest", "max_value": high}
        suite += [
            named("scores are there", "scores", between, column="count", min_value=1),
            true("each score has its annotator", "annotators", "paired"),
            named(f"score not below {low:g} (validate.limits.min_score)", "scores", between, **least),
            named(f"score not above {high:g} (validate.limits.max_score)", "scores", between, **most),
        ]
    never = named(
        "id is unique", "id", gxe.ExpectColumnValuesToBeInSet, column="id repeats", value_set=[False]
    )
    suite.append(never)
    taken = [*ACROSS, *(expectation.meta["rule"] for expectation in suite)]
    return [*suite, *own_expectations(kind, rules.own.get(kind, ()), taken)]


def own_expectations(
    kind: str, rules: Sequence[Mapping[str, Any]], taken: Collection[str] = ACROSS
) -> list[Any]:
    """Return the preset's own rules of a kind as expectations.

    Args:
        kind: The kind of rows.
        rules: Names of Great Expectations' column map expectations, with their arguments.
        taken: Names of rules that are already in use.

    Raises:
        UserError: An expectation, an argument or a column is unknown. The message suggests the nearest name.
    """
    from great_expectations import expectations as gxe
    from great_expectations.expectations.expectation import ColumnMapExpectation

    kinds: dict[str, Any] = {
        name: found
        for name, found in vars(gxe).items()
        if isinstance(found, type) and issubclass(found, ColumnMapExpectation)
    }
    # Only columns that `derived_columns` passes on can be checked.
    columns = (*COMMON, *STRINGS[kind], *(("choice",) if kind == "comparisons" else ()))
    made, taken = [], set(taken)
    for number, rule in enumerate(rules):
        where = f"validate.expectations.{kind}.{number}"
        arguments = dict(rule)
        name, column = str(arguments.pop("expectation", "")), arguments.get("column")
        if name not in kinds:
            raise UserError(
                f"{where}: {name or 'expectation'!r} is not a rule for single rows; "
                f"{_nearest_name(name, kinds)}"
            )
        if column not in columns:
            raise UserError(f"{where}: column is {column!r}; {kind} has {', '.join(columns)}")
        says = str(arguments.pop("rule", f"{name} of {column}, rule {number + 1}"))
        if says in taken:
            raise UserError(
                f"{where}: a rule named {says!r} is there already; give this one a name of its own"
            )
        taken.add(says)
        # pydantic 1 names the fields of a model `__fields__`, pydantic 2 `model_fields`.
        known: dict[str, Any] = getattr(kinds[name], "model_fields", None) or getattr(
            kinds[name], "__fields__", {}
        )
        for argument in arguments:
            if argument not in known:
                raise UserError(f"{where}: {name} has no {argument}; {_nearest_name(argument, known)}")
        try:
            made.append(kinds[name](**arguments, meta={"rule": says, "about": column}))
        except (ValueError, TypeError) as error:
            first = str(error).strip().splitlines()[-1].strip()
            raise UserError(f"{where}: {name} does not take these arguments ({first})") from error
    return made


def _nearest_name(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)[:8])}, …"


def written_columns(kind: str) -> tuple[str, ...]:
    """Return the columns that hold prose."""
    return tuple(column for column in STRINGS[kind] if column not in _NAMES)


def personal_columns(kind: str) -> tuple[str, ...]:
    """Return the columns that may contain personal data: prose, references and earlier turns."""
    beside = {"text": (), "pairs": ("references", "history")}
    return (*written_columns(kind), *beside.get(kind, ("history",)))


def column_texts(value: Any) -> list[str]:
    """Return the texts in a column's value: a text, a list of texts, or the turns of a conversation."""
    if isinstance(value, str):
        return [value]
    listed = value if isinstance(value, list) else []
    return [str(part.get("content")) if isinstance(part, dict) else str(part) for part in listed]


def derived_columns(kind: str, table: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Return the table that expectations are evaluated on: string columns, and values derived from them.

    Great Expectations compares columns with values; lengths, scripts and the like are computed here.
    """
    import pandas as pd

    faults = table["fault"].tolist() if "fault" in table else [""] * len(table)
    found: dict[str, Any] = {
        "place": range(len(table)),
        "fault:none": [not is_fault(value) for value in faults],
    }
    for column in (*COMMON, *STRINGS[kind]):
        values = table[column].tolist() if column in table else [None] * len(table)
        found[f"{column}:string"] = [isinstance(value, str) or _is_missing(value) for value in values]
        # Rules on strings cannot be evaluated on other types, which the column `:string` reports.
        found[column] = [value if isinstance(value, str) else None for value in values]
    for column in STRINGS[kind]:
        texts = [value or "" for value in found[column]]
        there = [value is not None for value in found[column]]
        # A text of blanks prints nothing, so it counts as empty.
        lengths = [0 if is_invisible(text) else len(text) for text in texts]
        found[f"{column}:length"] = [n if is_ else None for n, is_ in zip(lengths, there, strict=True)]
        found[f"{column}:printable"] = [is_printable(text) for text in texts]
        if column in _NAMES:
            continue
        found[f"{column}:left"] = [not is_removed(text) for text in texts]
        if rules.allowed_scripts:
            found[f"{column}:script"] = [
                unicode_scripts.share_in(t, rules.allowed_scripts) >= IN_SCRIPT for t in texts
            ]
        if rules.benchmark:
            found[f"{column}:benchmark"] = [not rules.benchmark(text) for text in texts]
    if rules.pii:
        for column in personal_columns(kind):
            values = table[column].tolist() if column in table else [None] * len(table)
            found[f"{column}:personal"] = [
                not pii.find_pii("\n".join(column_texts(value))) for value in values
            ]
    if kind == "pairs":
        found["completion:new"] = list(map(is_new, found["prompt"], found["completion"]))
    if kind == "comparisons":
        found["choice"] = table["choice"].tolist() if "choice" in table else [None] * len(table)
        found["first:paired"] = _first_paired(table)
    if kind == "ratings":
        found |= _score_columns(table)
    out = pd.DataFrame(found)
    out["id repeats"] = out["id"].duplicated() & out["id"].notna()
    return out


def _first_paired(table: pd.DataFrame) -> list[bool]:
    """Return for each comparison whether the judgements that a decision replaced are whole."""
    names = ("first_choices", "first_annotators")
    columns = [table[name] if name in table else [None] * len(table) for name in names]
    # A row without a decision has no value in these columns.
    lists = [[value if isinstance(value, list) else [] for value in column] for column in columns]
    return [len(a) == len(b) and {*a} <= {"a", "b", "tie"} for a, b in zip(*lists, strict=True)]


def _score_columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    lists = [value if isinstance(value, list) else [] for value in table["scores"]]
    numbers = [
        [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)] for values in lists
    ]
    return {
        "count": [len(values) for values in lists],
        "paired": [
            isinstance(annotators, list) and len(annotators) == len(values) == len(kept)
            for annotators, values, kept in zip(table["annotators"], lists, numbers, strict=True)
        ],
        "lowest": [min(values, default=0.0) for values in numbers],
        "highest": [max(values, default=0.0) for values in numbers],
    }


def is_fault(value: Any) -> bool:
    """Return whether a row's `fault` is a non-empty text, which means that the row could not be read."""
    return isinstance(value, str) and bool(value)


def _shortest_length(column: str, limits: Limits) -> int:
    return 1 if column in (*_NAMES, *_ANSWERS) else limits.min_chars


def _is_missing(value: Any) -> bool:
    # pandas fills the missing values of a column with NaN, which is not equal to itself.
    return value is None or (isinstance(value, float) and value != value)
