"""Test the counts of what reading skips, and the check of scores on two scales."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.records import Comparison, Pair, Rating, Text
from tasks.data.values.score_values import as_score
from tests.tasks.data.parsing.row_reader import read, read_file

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
TRACE = {
    "info": {"trace_id": "t"},
    "data": {"request": '"Name a bird."', "response": '"A robin."', "spans": []},
}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["4/5", "7/10", "3/5"], r"of 5 \(a.jsonl, line 1\) and of 10 \(a.jsonl, line 2\)"),
        (["80%", "4 of 5"], "% .* and of 5"), (["3 out of 4 stars", "9/10"], "of 4 .* of 10"),
        (["2/10", 3, 4], "plain numbers to 5 .* and of 10"), ([85, "80%"], "plain numbers .* and %"),
        (["4", "good", "2"], "words .* and plain numbers to 5"),
        ([True, 3.5], "words .* plain numbers to [25]"),
        ([10, "bad"], "words .* and plain numbers"), ([0, "good"], "words .* plain numbers to [25]"),
        (["★★★", 70], "stars .* and plain numbers"), ([1, "1/5"], "of 5 .* and 1 and -1"),
        (["4 stars", "thumbs down"], "words .* plain numbers to [25]"), (["👍", "3/5"], "words .* and of 5"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["rating", "score", "meta.mark"])
def test_skip_counts_check_scores_on_two_scales_are_refused(values: list[Any], says: str, key: str) -> None:
    told = {"fields": {key: "verdict"}} if "." in key else {}
    rows = [{**PAIR, "meta": {"mark": value}} if told else {**PAIR, key: value} for value in values]
    _, tally = read(*rows, **told)
    with pytest.raises(UserError, match=f"the scores under {key} are on two scales, {says}"):
        tally.check("mine", told.get("fields"))
    meaning = {str(value): 1.0 for value in values}
    if key != "score":
        _, tally = read(*rows, fields={key: meaning})
        tally.check("mine", {key: meaning})


@pytest.mark.parametrize(
    "values",
    [
        ["80%", "7 %"], ["4/5", "3/5"], [4, "4 stars", "★★", 0], [85, 3, 12.5], ["good", "bad", True, "👎"],
        ["good", -1, 1], ["+1", "-1", 1.0], [0, -2, 7], [None, 4, ""], [0.25, 1, "0"], [-1, 0, 1],
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["rating", "score", "scores"])
def test_skip_counts_check_scores_on_one_scale_pass(values: list[Any], key: str) -> None:
    rows = [{**PAIR, key: [value] if key == "scores" else value} for value in values]
    _, tally = read(*rows)
    tally.check("mine")


@pytest.mark.parametrize(
    "rows",
    [
        [{"scores": [4, "80%"]}], [{"scores": "[4, 2]"}, {"scores": "['good']"}],
        [{"rating": 4}, {"thumbs": "down"}], [{"stars": "2/5"}, {"grade": 9}],
    ],
)  # fmt: skip
def test_skip_counts_check_two_scales_in_one_list_or_two_keys_are_refused(rows: list[dict[str, Any]]) -> None:
    _, tally = read(*({**PAIR, **row} for row in rows))
    with pytest.raises(UserError, match="on two scales"):
        tally.check("mine")


def test_skip_counts_check_votes_on_two_scales_are_refused() -> None:
    told = {"anna": "vote", "ben": "vote"}
    _, tally = read({**PAIR, "anna": 4, "ben": "bad"}, {**PAIR, "anna": 2, "ben": "good"}, fields=told)
    with pytest.raises(UserError, match="the scores under ben and anna are on two scales, words"):
        tally.check("mine", told)


def test_skip_counts_check_aspects_may_differ_in_scale() -> None:
    rows = [{**PAIR, "score": "80%", "aspect": "tone"}, {**PAIR, "score": 4, "aspect": "helpfulness"}]
    found, tally = read(*rows)
    tally.check("mine")
    assert len(found) == 2


def test_skip_counts_add_parts_on_two_scales_are_refused() -> None:
    whole = SkipCounts()
    for value in (4, 2, "90%"):
        whole.add(read({**PAIR, "rating": value})[1])
    with pytest.raises(UserError, match=r"plain numbers to 5 .* and %"):
        whole.check("mine")


@pytest.mark.parametrize("values", [[4, "no"], ["yes", 3], [1, 0.5, "80%"]])
def test_skip_counts_check_trace_feedback_on_two_scales_is_refused(values: list[Any]) -> None:
    def trace(number: int, value: Any) -> dict[str, Any]:
        made = {
            "assessment_id": f"a{number}", "assessment_name": "quality", "feedback": {"value": value},
            "source": {"source_type": "HUMAN", "source_id": "ana"},
        }  # fmt: skip
        return {"info": {"trace_id": f"t{number}", "assessments": [made]}, "data": TRACE["data"]}

    _, tally = read(*map(trace, range(len(values)), values))
    with pytest.raises(UserError, match="the scores under quality are on two scales"):
        tally.check("mine")
    _, tally = read(*map(trace, range(4), ["yes", 0, True, "no"]))
    tally.check("mine")


@pytest.mark.parametrize("value", ["1,000", "12,500", "-3,250 points", "1,000/5"])
def test_as_score_possible_thousands_separator_is_none(value: str) -> None:
    assert as_score(value) is None
    found, tally = read({**PAIR, "score": value}, {**PAIR, "score": 3})
    assert tally.faults == 1 and value in found[0].row.fault
    _, tally = read({**PAIR, "rating": value})
    with pytest.raises(UserError, match=r"the key rating is .* looks like a verdict"):
        tally.check("mine")


@pytest.mark.parametrize("values", [[1, 0, -1, 0], ["1", "-1", "0"], [0.0, -1.0, 1.0]])
@pytest.mark.parametrize("key", ["thumbs", "label"])
def test_skip_counts_check_zero_among_thumbs_is_refused(values: list[Any], key: str) -> None:
    rows = [{**PAIR, key: value} for value in values]
    _, tally = read(*rows, format="unpaired" if key == "label" else "auto")
    with pytest.raises(UserError, match=rf"{key} are on two scales, .* in the source's fields"):
        tally.check("mine")
    if key == "label":
        return
    meaning = {"1": 1.0, "-1": -1.0, "0": "ignore", "0.0": "ignore", "1.0": 1.0, "-1.0": -1.0}
    found, tally = read(*rows, fields={key: meaning})
    tally.check("mine", {key: meaning})
    assert sorted(one.row.score for one in found if isinstance(one.row, Rating)) == [-1.0, 1.0]
    read(*({**PAIR, key: value} for value in (1, 0, 1)))[1].check("mine")


@pytest.mark.parametrize(
    ("columns", "row", "kind"),
    [
        ("prompt,completion", "Why {}?,Because {}.", Pair),
        ("text,note", "A mill stands here {}.,", Text),
        ("prompt,a,b,choice,annotator", "Why {}?,One {}.,Two {}.,a,ana", Comparison),
    ],
)
def test_skip_counts_empty_rows_are_counted_in_one_line(columns: str, row: str, kind: type) -> None:
    full = "".join(row.replace("{}", str(number)) + "\n" for number in range(3))
    blank = "," * columns.count(",") + "\n"
    content = f"{columns}\n{full}{blank * 40} ,\n"
    rows, tally = read_file(SourceFile("a.csv", content.encode()))
    assert [type(one.row) for one in rows] == [kind] * 3
    assert tally.faults == 0
    assert list(tally.lines())[-1] == "left out: 41 empty rows"


def test_skip_counts_rows_of_null_are_empty_rows_too() -> None:
    rows, tally = read({"prompt": "Why?", "completion": "Because."}, {"prompt": None, "completion": " "})
    assert len(rows) == 1
    assert tally.left_out["empty rows"] == 1


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
@pytest.mark.parametrize("kind", ["messages", "conversations", "row"])
def test_read_rows_reasoning_is_listed_and_not_learned(kind: str, key: str) -> None:
    more = {key: "The user asks for a bird. No, wait: a robin is right."}
    answer = "<think>A bird.</think>A robin."
    role, text = ("role", "content") if kind == "messages" else ("from", "value")
    turns = [{role: "user", text: "A bird?"}, {role: "assistant", text: answer, **more}]
    row = {"prompt": "A bird?", "completion": answer, **more} if kind == "row" else {kind: turns}
    (found,), tally = read(row)
    tally.check("mine")
    assert isinstance(found.row, Pair) and found.row.completion == answer
    path = key if kind == "row" else f"{kind}[].{key}"
    assert f"unused keys: {path} (1, as 'The user asks" in next(tally.lines())


def test_read_rows_thinking_part_is_fault() -> None:
    parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "A robin."}]
    turns = [{"role": "user", "content": "A bird?"}, {"role": "assistant", "content": parts}]
    _, tally = read({"messages": turns})
    assert tally.faults == 1 and "its content is of type 'thinking'" in tally.first_fault


def test_skip_counts_check_names_all_keys_and_one_answer_to_all() -> None:
    rows = [{**PAIR, "nota": n, "sign_off": "yes" if n % 2 else "no", "state": "draft"} for n in (3, 4)]
    _, tally = read(*rows)
    with pytest.raises(UserError) as asked:
        tally.check("mine")
    said = str(asked.value)
    assert "the key nota is 3" in said and "2 more such keys: sign_off ('yes'), state ('draft')" in said
    assert "All of them, as in fields: {nota: verdict, sign_off: review, state: review}" in said


@pytest.mark.parametrize(
    ("row", "proposed"),
    [
        ({"helpfulness": 3, "accuracy": 4}, {"helpfulness": "verdict", "accuracy": "..."}),
        ({"nota": 3, "toxicity": 0.5}, {"nota": "verdict", "toxicity": "..."}),
        ({"sign_off": "yes", "usefulness_ok": "no"}, {"sign_off": "review", "usefulness_ok": "review"}),
        ({"ups": 3, "downs": 1, "nota": 4}, {"ups": "upvotes", "downs": "downvotes", "nota": "..."}),
        ({"rating": 3, "toxicity": 0.5}, {"toxicity": "ignore"}),
        ({"nota": 3}, {"nota": "verdict"}),
    ],
)  # fmt: skip
def test_skip_counts_propose_all_leaves_one_verdict(row: dict[str, Any], proposed: dict[str, str]) -> None:
    rows = [{**PAIR, "prompt": f"Name {n}.", **row} for n in range(3)]
    _, tally = read(*rows)
    assert tally.propose_all(tally.asks()) == proposed
    fields: dict[str, Any] = {path: "ignore" if said == "..." else said for path, said in proposed.items()}
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    assert tally.faults == 0 and len(found) + tally.left_out.total() == 3


def test_skip_counts_check_asks_about_keys_scales_and_unknown_fields_at_once() -> None:
    rows = [{**PAIR, "rating": "4/5", "state": "draft"}, {**PAIR, "rating": "80%", "state": "final"}]
    _, tally = read(*rows)
    with pytest.raises(UserError) as asked:
        tally.check("mine", {"stat": "review"})
    lines = str(asked.value).split("\n")
    assert len(lines) == 3 and all(line.startswith("source mine: ") for line in lines)
    assert "two scales" in lines[1] and "stat, which no row has" in lines[2]


@pytest.mark.parametrize(
    ("key", "values", "fields"),
    [
        ("oy", ["evet", "hayır"], {}),
        ("sign_off", ["yes", "no"], {}),
        ("note", ["gut", "schlecht"], {}),
        ("rating_ida", [1, 3], {"rating_uwe": "vote"}),
        ("text_about", ["A passage about mills. " * 12, "A passage about grain. " * 12], {}),
    ],
)
def test_lines_key_that_stops_a_run_is_not_called_unused(
    key: str, values: list[Any], fields: dict[str, Any]
) -> None:
    rows = [{**PAIR, **dict.fromkeys(fields, 2), key: value, "page": n} for n, value in enumerate(values)]
    _, tally = read(*rows, fields=fields)
    stop = ""
    try:
        tally.check("mine", fields)
    except UserError as error:
        stop = str(error)
    lines = list(tally.lines(fields))
    unused = next(line for line in lines if line.startswith("unused keys: "))
    assert "page (2, as 0)" in unused
    # What a run stops at, and what the lines before it say, is the same.
    assert (key in stop) is (key not in unused)
    assert (key in stop) is any(
        line.startswith(f"keys whose meaning must be set: {key} (2") for line in lines
    )


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"ups": 10**400, "downs": 0}, {"ups": "upvotes", "downs": "downvotes"}),
        ({"q": "meh", "state": "final"}, {"q": {"good": 1}, "state": "ignore"}),
        ({"a_mask": [1, 2, 3], "b_ok": "yes"}, {"a_mask": "mask", "b_ok": "review"}),
    ],
)
def test_skip_counts_check_key_after_unreadable_one_is_not_called_missing(
    row: dict[str, Any], fields: dict[str, Any]
) -> None:
    found, tally = read({**PAIR, **row}, {**PAIR, "prompt": "Name two.", **row}, fields=fields)
    assert tally.faults == 2 and all(one.row.fault for one in found)
    tally.check("mine", fields)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("criterion", ("helpfulness", "tone")),
        ("Dimension", ("fluency", "truthfulness")),
        ("Kriterium", ("tone",) * 2),
    ],
)
@pytest.mark.parametrize(
    "label",
    [
        {"prompt": "Bird?", "completion": "A robin.", "score": 4, "annotator": "kim"},
        {"prompt": "Bird?", "a": "A robin.", "b": "A wren.", "choice": "a", "annotator": "kim"},
    ],
)
def test_check_aspects_of_labels_under_another_name_are_asked_about(
    key: str, values: tuple[str, str], label: dict[str, Any]
) -> None:
    rows = [{**label, key: value} for value in values]
    _, tally = read(*rows, format="rows")
    with pytest.raises(UserError, match=f"{key} is .* looks like the aspect") as caught:
        tally.check("mine")
    assert f"columns: {{aspect: {key}}}" in str(caught.value)
    found, tally = read(*rows, format="rows", columns={"aspect": key})
    tally.check("mine")
    assert [one.row.aspect for one in found if isinstance(one.row, Rating | Comparison)] == list(values)
    _, tally = read(*rows, format="rows", fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})


@pytest.mark.parametrize("values", [(1, 2), ("3 x 4", "3 x 4"), ("", "")])
def test_check_other_values_under_the_name_of_an_aspect_are_listed_only(values: tuple[Any, Any]) -> None:
    label = {"prompt": "Bird?", "completion": "A robin.", "score": 4}
    _, tally = read(*({**label, "dimension": value} for value in values))
    assert not tally.aspect_keys()


def test_check_aspect_name_beside_pairs_is_listed_only() -> None:
    pair = {"prompt": "Bird?", "completion": "A robin."}
    _, tally = read({**pair, "criterion": "tone"}, {**pair, "criterion": "helpfulness"})
    tally.check("mine")
    assert "criterion" in tally.unread
