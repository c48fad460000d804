"""Test keys that mean a verdict, a deletion or a refusal, and ordinary keys that do not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.records import Comparison, Pair, Rating
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
CHAT = {"messages": [{"role": "user", "content": "A bird?"}, {"role": "assistant", "content": "A robin."}]}
CHOICE = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "No."}


@pytest.mark.parametrize("row", [PAIR, CHAT, {"text": "Some words."}])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("status", ["active", "deleted"]), ("state", ["trash", "inbox"]), ("lifecycle", ["Archived"]),
        ("record_state", ["live", "withdrawn"]), ("zustand", ["aktiv", "gelöscht"]), ("stage", ["draft"]),
        ("name", ["draft", "final"]), ("version", ["WIP", "published"]),
        ("hallucinated", [False, True]), ("is_hallucination", [1]), ("hallucinations", [2]),
        ("has_error", ["yes"]), ("errors", [3]), ("error", ["timeout"]), ("archived", [True]),
        ("opt_out", [True]), ("optOut", ["true"]), ("opted_out", [1]), ("consent", [False]),
        ("consent", ["withdrawn"]), ("user_consent", ["no"]), ("consented", [0]), ("is_safe", [True, False]),
        ("enabled", [False]), ("published", ["no"]), ("is_draft", [True]), ("duplicate", [True]),
        ("no_error", [False]), ("error_free", ["no"]), ("rejected", [True]), ("is_chosen", [False]),
        ("quarantined", ["true"]), ("superseded_by", ["row 5"]), ("delete?", ["x", ""]), ("is_dup", [1]),
        ("gdpr_erasure", [True]), ("needs_edit", ["yes"]), ("customer_happy", ["no"]), ("Punkte", ["3"]),
        ("nps", [9]), ("contains_pii", [True]), ("resolved", [False]), ("nsfw", ["✓"]),
        ("meta.retracted", [True]), ("einwilligung", [False]), ("withdrawn", ["on request"]),
        ("tags", [["birds", "rejected"], ["trees"]]), ("tags", ["birds, rejected", "trees"]),
        ("Notes", ["REMOVE", ""]), ("Bemerkung", ["nicht verwenden", "passt"]),
        ("tags", ["geo;remove", "hist"]), ("remarks", ["Do not train on this", ""]),
        ("labels_", ['["birds", "do not use"]']), ("keywords", ["a|b|low-quality"]),
        ("tags", [*([f"tag {n}"] for n in range(20)), ["x", "Do not use"]]),
    ],
)  # fmt: skip
def test_skip_counts_check_key_of_exclusion_needs_meaning(
    row: dict[str, Any], key: str, values: list[Any]
) -> None:
    outer, _, inner = key.partition(".")
    rows = [{**row, outer: {inner: value} if inner else value} for value in values]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=f"the key {re.escape(key)} is .* looks like a verdict; .*fields: "):
        tally.check("mine")
    _, tally = read(*rows, fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})


@pytest.mark.parametrize("row", [PAIR, CHAT, {"text": "Some words."}])
@pytest.mark.parametrize(
    "more",
    [
        {"status": "closed"}, {"state": "Texas"}, {"stage": "final"}, {"draft": False}, {"archived": False},
        {"has_error": False}, {"hallucinated": 0}, {"consent": True}, {"opt_out": "no"}, {"active": True},
        {"no_error": True}, {"author": "[deleted]"}, {"topic": "error handling"}, {"draft": "3rd"},
        {"tags": ["bad-request", "python"]}, {"tags": "safety, consent, archives"}, {"is_duplicate": False},
        {"skip_prompt_formatting": False}, {"header": {"accept-language": "en"}}, {"safe": True},
        {"expired": False}, {"private": "Ryan"}, {"needs": "a reply"}, {"solved": 1}, {"delete?": ""},
        {"answered_by": "Ana Bell"},
        {"broken": "glass"}, {"permission": "CC-BY"}, {"truncated": False}, {"published": "2020-01-01"},
        {"chosen_by": "lottery"}, {"note": "first, accept the terms of use; then read on, page by page"},
    ],
)  # fmt: skip
def test_skip_counts_check_ordinary_key_passes(row: dict[str, Any], more: dict[str, Any]) -> None:
    _, tally = read({**row, **more})
    tally.check("mine")


@pytest.mark.parametrize(
    "key",
    [
        "\uff4c\uff41\uff42\uff45\uff4c", "l\u0430bel", "la\u200bbel", "\ufefflabel", "LABEL",
        "lab\u0435\u217c", " Label ",
    ],
)  # fmt: skip
def test_read_rows_lookalike_verdict_name_is_read(key: str) -> None:
    (found,), tally = read({**PAIR, key: False})
    tally.check("mine")
    assert isinstance(found.row, Rating) and found.row.scores == [-1.0]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"score_chosen": 2, "score_rejected": 5}, "score_chosen is 2 and score_rejected is 5"),
        ({"chosen-rating": "1 star", "rejected-rating": "4 stars"}, "chosen-rating is 1"),
        ({"meta": {"reward_chosen": -3.5, "reward_rejected": 0.25}}, "meta.reward_chosen is -3.5"),
        ({"chosenScore": 0, "rejectedScore": 0.5}, "chosenScore is 0"),
    ],
)  # fmt: skip
def test_read_rows_chosen_answer_with_lower_score_is_fault(more: dict[str, Any], says: str) -> None:
    found, tally = read({**CHOICE, **more}, CHOICE)
    assert tally.faults == 1 and says in found[0].row.fault and isinstance(found[1].row, Comparison)
    path = re_path(more)
    found, tally = read({**CHOICE, **more}, CHOICE, fields={path: "ignore"})
    tally.check("mine", {path: "ignore"})
    assert not tally.faults and len(found) == 2


def re_path(more: dict[str, Any]) -> str:
    ((key, value), *_) = more.items()
    return f"{key}.{next(iter(value))}" if isinstance(value, dict) else key


@pytest.mark.parametrize(
    "more",
    [
        {"score_chosen": 5, "score_rejected": 2}, {"score_chosen": 2, "score_rejected": 2},
        {"rank_chosen": 1, "rank_rejected": 2}, {"chosen_length": 3, "rejected_length": 9},
        {"score_chosen": 2}, {"toxicity_score_chosen": 0.1, "toxicity_score_rejected": 0.9},
    ],
)  # fmt: skip
def test_read_rows_agreeing_or_other_scores_are_no_fault(more: Any) -> None:
    (found,), tally = read({**CHOICE, **more})
    assert isinstance(found.row, Comparison) and not tally.faults


def test_read_rows_scores_in_turns_of_both_answers_are_compared() -> None:
    def turns(score: float) -> list[dict[str, Any]]:
        answer = {"role": "assistant", "content": f"A {score}.", "score": score}
        return [{"role": "user", "content": "A bird?"}, answer]

    (found,), tally = read({"chosen": turns(1), "rejected": turns(4)})
    assert tally.faults == 1 and "chosen[].score is 1 and rejected[].score is 4" in found.row.fault


@pytest.mark.parametrize("who", [True, ["ana", "ben"], {"role": "expert"}, [True]])
@pytest.mark.parametrize(
    "row",
    [{**PAIR, "score": 3}, {**PAIR, "rating": 3}, {**PAIR, "label": True}, CHOICE,
     {"prompt": "p", "a": "x", "b": "y", "choice": "a"}],
)  # fmt: skip
def test_read_rows_annotator_naming_nobody_is_fault(row: Any, who: Any) -> None:
    found, tally = read({**row, "annotator": who}, row)
    assert tally.faults == 1 and "expected the name or number of one person" in found[0].row.fault


def test_read_rows_list_of_one_annotator_is_that_person() -> None:
    for who, name in ((["3"], "3"), ([4.0], "4"), ([{"email": "ana@x.org"}], "ana@x.org")):
        (found,), _ = read({**PAIR, "rating": 3, "annotator": who})
        assert found.row.annotators == [name]  # type: ignore[union-attr]
    found, tally = read({**PAIR, "scores": [1, 2], "annotators": ["ana", True]}, {**PAIR, "scores": [1]})
    assert tally.faults == 1 and "annotators holds True" in found[0].row.fault


@pytest.mark.parametrize("scores", [{"ana": 1}, '{"ana": 1, "ben": 2}', {"clarity": 3, "depth": 4}])
def test_read_rows_scores_in_object_are_fault_with_advice(scores: Any) -> None:
    found, tally = read({**PAIR, "scores": scores}, {**PAIR, "scores": [1]})
    assert tally.faults == 1
    assert "scores is an object, whose keys may be people or questions; write" in found[0].row.fault


@pytest.mark.parametrize("key", ["user", "userName", "grader", "by"])
def test_skip_counts_lines_possible_annotator_key_is_offered(key: str) -> None:
    rows = [{**PAIR, "score": n, key: f"p{n}"} for n in range(3)]
    _, tally = read(*rows)
    assert (
        f"labels without an annotator: 3; if {key} is the annotator, add columns: {{annotator: {key}}}"
        in (" ".join(tally.lines()))
    )
    found, tally = read(*rows, columns={"annotator": key})
    assert [one.row.annotators for one in found] == [["p0"], ["p1"], ["p2"]]  # type: ignore[union-attr]
    assert not [*tally.lines()]
    _, tally = read({**PAIR, key: "p"})
    assert "annotator" not in " ".join(tally.lines())


@pytest.mark.parametrize(
    ("row", "key", "values", "meaning"),
    [
        (PAIR, "upvotes", [3, -4], "verdict"), (PAIR, "status", ["bad", "good"], "verdict"),
        (PAIR, "state", ["active", "deleted"], "{active: accept, deleted: ignore}"),
        (PAIR, "archived", [True], "deleted"), (PAIR, "consent", [False, True], "weight"),
        (PAIR, "is_valid", [True, False], "weight"), (PAIR, "no_error", [False], "weight"),
        (PAIR, "state", ["needs work", "done"], "{done: ..., needs_work: ...}"),
        (PAIR, "state", ["rejected", "accepted"], "review"), (PAIR, "toxicity", [0.3], "penalty"),
        (PAIR, "rating", [4, "very good"], "verdict"), (CHOICE, "score_a", [1], "ignore"),
        (PAIR, "label", ["good", "maybe"], "verdict"), (PAIR, "label", [1, "bad"], "verdict"),
        (PAIR, "skip_training", [True], "mask"), (PAIR, "use_for_training", [False], "weight"),
        (PAIR, "feedback", [f"fine {n}" for n in range(30)], "..."),
        ({"text": "Words."}, "edu_score", [2.5], "ignore"), ({"text": "Words."}, "liked", ["ok!"], "review"),
        (PAIR, "rank", [1, 2, 3], "penalty"), (PAIR, "downvotes", [0, 7], "penalty"),
        (PAIR, "wrong", [True, False], "penalty"), (PAIR, "is_bad", ["yes"], "penalty"),
        (PAIR, "not_wrong", [True], "verdict"), (CHOICE, "both_bad", [False, True], "deleted"),
        (CHOICE, "is_tie", [True], "deleted"), (CHOICE, "swapped", [1, 0], "deleted"),
        (CHOICE, "no_preference", [True], "deleted"), ({"text": "Words."}, "error_rate", [0.5], "ignore"),
        (CHOICE, "confidence", ["sure", "not sure"], "{not_sure: ignore, sure: accept}"),
        (CHOICE, "approved_by_lead", ["yes", "no"], "review"), (CHOICE, "verified", [True], "weight"),
    ],
)  # fmt: skip
def test_skip_counts_check_proposed_meaning_learns_nothing_refused(
    row: dict[str, Any], key: str, values: list[Any], meaning: str
) -> None:
    rows = [{**row, key: value} for value in values]
    _, tally = read(*rows)
    with pytest.raises(UserError) as told:
        tally.check("mine")
    assert f"as in fields: {{{key}: {meaning}}}" in str(told.value)


def test_read_rows_mapping_matches_normalized_values() -> None:
    rows = [{**PAIR, "state": value} for value in ("Needs work!", "deleted", "Löschen", "fine")]
    meaning = {"needs_work": "reject", "deleted": "ignore", "loschen": "ignore", "fine": "accept"}
    found, tally = read(*rows, fields={"state": meaning})
    assert [type(one.row) for one in found] == [Rating, Pair] and not tally.faults


def test_read_rows_penalty_counts_against_answer() -> None:
    rows = [{"prompt": f"Bird {n}?", "completion": "A robin.", "rank": n} for n in (1, 2, "3")]
    found, tally = read(*rows, fields={"rank": "penalty"})
    tally.check("mine", {"rank": "penalty"})
    assert [one.row.scores for one in found] == [[-1.0], [-2.0], [-3.0]]  # type: ignore[union-attr]
    rows = [
        {"prompt": f"Bird {n}?", "completion": "A robin.", "wrong": n} for n in (True, False, "yes", "no")
    ]
    found, _ = read(*rows, fields={"wrong": "penalty"})
    assert [one.row.scores for one in found] == [[-1.0], [1.0], [-1.0], [1.0]]  # type: ignore[union-attr]
    _, tally = read({**PAIR, "wrong": "maybe"}, fields={"wrong": "penalty"})
    assert tally.faults == 1


def test_skip_counts_check_penalties_beside_scores_are_two_scales() -> None:
    rows = [{**PAIR, "rank": 1}, {**PAIR, "rating": 2}]
    _, tally = read(*rows, fields={"rank": "penalty"})
    with pytest.raises(UserError, match=r"two scales.*penalties, of which fewer are better"):
        tally.check("mine", {"rank": "penalty"})


@pytest.mark.parametrize(
    ("row", "key"),
    [
        (PAIR, "correction"), (PAIR, "edited_response"),
        ({"instruction": "Who?", "output": "Me."}, "new_output"),
        (PAIR, "Korrektur"), (PAIR, "SME edit"), (PAIR, "Final answer (edited by SME)"),
        (PAIR, "suggested answer"), (PAIR, "idealResponse"), ({**PAIR, "rating": 1}, "corrected_completion"),
    ],
)  # fmt: skip
def test_skip_counts_check_correction_of_an_answer_is_asked(row: dict[str, Any], key: str) -> None:
    _, tally = read({**row, key: "A wren, of course."}, {**row, key: ""})
    with pytest.raises(
        UserError,
        match=r"(?:a correction of|a right answer beside) the answer.*: correction\}, which learns it",
    ):
        tally.check("mine")
    found, tally = read({**row, key: "A wren, of course."}, fields={key: "correction"})
    tally.check("mine", {key: "correction"})
    right = [one.row.completion for one in found if isinstance(one.row, Pair)]
    assert right == ["A wren, of course."]


@pytest.mark.parametrize(
    ("key", "value"),
    [("correction", ""), ("revision", "main"), ("edited_at", "3 May"), ("edit_reason", "too long, I think"),
     ("new_words", "two words"), ("corrected_by", "Ana Bell"), ("suggested_prompt", "Say it so.")],
)  # fmt: skip
def test_skip_counts_check_key_about_an_edit_is_not_asked(key: str, value: str) -> None:
    _, tally = read({**PAIR, key: value})
    tally.check("mine")


def test_read_rows_correction_replaces_answer_and_keeps_verdict_on_it() -> None:
    told = {"correction": "correction", "ok": "verdict"}
    rows = [
        {**PAIR, "correction": "A wren."}, {**PAIR, "prompt": "Name two.", "correction": None},
        {**PAIR, "prompt": "Name three.", "correction": "A jay.", "ok": False},
    ]  # fmt: skip
    found, tally = read(*rows, fields=told)
    assert [(type(one.row), one.row.completion) for one in found] == [  # type: ignore[union-attr]
        (Pair, "A wren."), (Pair, "A robin."), (Rating, "A robin."), (Pair, "A jay."),
    ]  # fmt: skip
    assert tally.left_out["answers that a correction replaces"] == 1
    _, tally = read({"prompt": "p", "chosen": "a", "rejected": "b", "fix": "c"}, fields={"fix": "correction"})
    assert tally.faults == 1 and "one text is right" in tally.first_fault


def test_read_rows_correction_of_a_turn_replaces_its_text() -> None:
    turns = [
        {"from": "human", "value": "A bird?"},
        {"from": "gpt", "value": "A cat.", "edited": "A robin it is."},
    ]
    fields = {"conversations[].edited": "correction"}
    _, tally = read({"conversations": turns})
    with pytest.raises(UserError, match=r'"conversations\[\]\.edited": correction'):
        tally.check("mine")
    found, tally = read({"conversations": turns}, fields=fields)
    tally.check("mine", fields)
    assert [one.row.completion for one in found] == ["A robin it is."]  # type: ignore[union-attr]
