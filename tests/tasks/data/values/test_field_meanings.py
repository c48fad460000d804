"""Test keys beside the texts: verdicts, training masks, deletions, and keys that nothing reads."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.questions.question_text import format_example
from tasks.data.records import Comparison, Pair, Rating, Text
from tasks.data.values.field_checks import check_fields
from tasks.data.values.field_meanings import (
    ANNOTATOR,
    FIELD_MEANINGS,
    as_flag,
    as_review,
    as_verdict,
    flatten_name,
)
from tasks.data.values.score_values import as_score, is_date, number_advice
from tasks.data.values.verdict_scales import scale_of
from tasks.data.verdicts.verdict_names import looks_like_verdict
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
ALPACA = {"instruction": "Name a bird.", "input": "", "output": "A robin."}
TURNS = [{"role": "user", "content": "Name a bird."}, {"role": "assistant", "content": "A robin."}]
CHAT = {"messages": TURNS}
SHARE = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]}


@pytest.mark.parametrize("row", [PAIR, ALPACA, CHAT, SHARE])
@pytest.mark.parametrize(
    ("key", "value", "score"),
    [
        ("label", False, -1.0), ("kto_tag", "false", -1.0), ("kto_tag", 0, -1.0),
        ("thumbs_down", True, -1.0),
        ("thumbs_up", 1, 1.0), ("feedback", "👎", -1.0),
        ("feedback", "Thumbs up", 1.0), ("label", "Good.", 1.0), ("verdict", "BAD!", -1.0),
        ("rating", "2/5", 2.0),
        ("stars", "★★☆☆☆", 2.0), ("stars", "1 star", 1.0), ("score", 0, 0.0), ("quality", "bad", -1.0),
        ("liked", "no", -1.0), ("desirable", True, 1.0), ("answer", "reject", -1.0), ("approved", "No", -1.0),
    ],
)  # fmt: skip
def test_read_rows_pair_with_verdict_is_rating(
    row: dict[str, Any], key: str, value: Any, score: float
) -> None:
    (found,), tally = read({**row, key: value, "annotator": "ana"})
    assert isinstance(found.row, Rating)
    assert (found.row.scores, found.row.annotators) == ([score], ["ana"])
    tally.check("mine")


@pytest.mark.parametrize(
    ("more", "left_out"),
    [
        ({"deleted": True}, "deleted"), ({"is_deleted": "yes"}, "deleted"), ({"removed": 1}, "deleted"),
        ({"answer": "ignore"}, "skipped"), ({"train": False}, "not to be learned"),
        ({"loss_mask": "0"}, "not to be learned"), ({"weight": "0.0"}, "not to be learned"),
        ({"masked": "True"}, "not to be learned"), ({"trainable": "no"}, "not to be learned"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("row", [PAIR, ALPACA, CHAT, {"text": "Some words."}])
def test_read_rows_deleted_or_untrained_row_is_skipped_and_counted(
    row: dict[str, Any], more: dict[str, Any], left_out: str
) -> None:
    found, tally = read({**row, **more}, row)
    assert len(found) == 1 and len(tally.left_out) == 1
    ((reason, count),) = tally.left_out.items()
    assert left_out in reason and count == 1


@pytest.mark.parametrize(
    "mask",
    [
        {"weight": 0}, {"weight": "0"}, {"weight": 0.0}, {"train": False}, {"training": "false"},
        {"trainable": "No"}, {"loss": False}, {"loss_mask": 0}, {"mask": True}, {"masked": "1"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("chat", [CHAT, SHARE])
def test_read_rows_masked_turn_is_history_only(chat: dict[str, Any], mask: dict[str, Any]) -> None:
    ((key, turns),) = chat.items()
    again = [turns[0], {**turns[1], **mask}, turns[0], turns[1]]
    (found,), tally = read({key: again})
    assert isinstance(found.row, Pair) and len(found.row.history) == 2
    assert tally.left_out == {"answers marked as not to be learned": 1}


def test_read_rows_mask_that_allows_training_changes_nothing() -> None:
    for mask in ({"weight": 1}, {"train": "true"}, {"mask": 0}, {"loss": None}):
        (found,), tally = read({"messages": [TURNS[0], {**TURNS[1], **mask}]})
        assert isinstance(found.row, Pair) and not tally.left_out and not tally.unread


def test_read_rows_accepted_row_is_kept_rejected_text_is_skipped() -> None:
    (pair,), _ = read({**PAIR, "answer": "accept"})
    assert isinstance(pair.row, Pair)
    (text,), tally = read({"text": "one", "answer": "accept"}, {"text": "two", "answer": "reject"})
    assert isinstance(text.row, Text) and tally.left_out == {"rows that a reviewer rejected": 1}


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({**PAIR, "label": 3}, "label"), ({**PAIR, "metadata": {"quality": "so so"}}, "metadata.quality"),
        ({**CHAT, "upvotes": -4}, "upvotes"), ({"text": "a b", "label": 2}, "label"),
        ({"text": "a b", "score": 0.2}, "score"), ({**ALPACA, "state": "rejected"}, "state"),
        ({"text": "a b", "annotations": [{"label": 7}]}, "annotations[].label"),
        ({"messages": [TURNS[0], {**TURNS[1], "score": 1}]}, "messages[].score"),
        ({**PAIR, "weight": 0.5}, "weight"), ({**PAIR, "tokenMask": [0, 1]}, "tokenMask"),
        ({"prompt": "p", "chosen": "a", "rejected": "b", "is_valid": False}, "is_valid"),
        ({"prompt": "p", "completion": "c", "label": True, "score": 3}, "score"),
    ],
)  # fmt: skip
def test_skip_counts_check_possible_verdict_needs_meaning(row: dict[str, Any], path: str) -> None:
    _, tally = read(row)
    assert list(tally.asked) == [path]
    with pytest.raises(
        UserError, match=r"source mine: a\.jsonl, line 1: the key .* fields: \{.*: (\w+|\.\.\.|\{.*\})\}"
    ) as told:
        tally.check("mine")
    assert f"the key {path} is" in str(told.value)
    _, tally = read(row, fields={path: "ignore"})
    tally.check("mine", {path: "ignore"})


@pytest.mark.parametrize(
    ("row", "who"),
    [
        ({**PAIR, "rating": 4.0, "annotator_id": 7.0}, "7"),
        ({**ALPACA, "stars": 2, "voter": " Björn "}, "Björn"),
        ({**CHAT, "thumbs": "down", "reviewed_by": "chen", "timestamp": "2026-03-01T10:00:00Z"}, "chen"),
        ({**PAIR, "review_result": "reject", "labeller_id": 3}, "3"),
    ],
)
def test_read_rows_annotator_of_verdict_is_read(row: dict[str, Any], who: str) -> None:
    (found,), tally = read(row)
    assert isinstance(found.row, Rating)
    assert found.row.annotators == [who]
    assert list(tally.lines()) == []


def test_read_rows_reviewer_without_verdict_is_unread() -> None:
    _, tally = read({**PAIR, "reviewer": "chen"})
    assert list(tally.lines()) == ["unused keys: reviewer (1, as 'chen')"]


def test_skip_counts_lines_unread_keys_have_count_and_sample() -> None:
    rows = [{**PAIR, "topic": "bi\x1b[2Jrds", "meta": {"page": n}, "empty": None} for n in range(3)]
    found, tally = read(*rows)
    assert len(found) == 3
    tally.check("mine")
    (line,) = tally.lines()
    assert line == r"unused keys: topic (3, as 'bi\x1b[2Jrds'); meta.page (3, as 0)"


@pytest.mark.parametrize(
    ("meaning", "value", "kind", "scores"),
    [
        ({"good": 1, "bad": -1}, "bad", Rating, [-1.0]), ({"good": 1, "bad": -1}, "GOOD", Rating, [1.0]),
        ({"1": 4.5}, 1.0, Rating, [4.5]), ({"ok": "accept"}, "ok", Pair, None),
        ({"no": "reject"}, "no", Rating, [-1.0]), ({"hm": "ignore"}, "hm", None, None),
        ("verdict", 7, Rating, [7.0]), ("review", "approved", Pair, None), ("weight", 0, None, None),
        ("mask", 0, Pair, None), ("deleted", "true", None, None), ("ignore", "bad", Pair, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("nested", [False, True])
def test_read_rows_meaning_in_fields_is_applied(
    meaning: Any, value: Any, kind: Any, scores: Any, nested: bool
) -> None:
    row, path = ({"meta": {"q": value}}, "meta.q") if nested else ({"q": value}, "q")
    found, tally = read({**PAIR, **row}, fields={path: meaning})
    assert [type(one.row) for one in found] == ([kind] if kind else [])
    if scores:
        assert found[0].row.scores == scores  # type: ignore[union-attr]
    assert not tally.asked and sum(tally.left_out.values()) == (kind is None)


def test_read_rows_value_missing_in_fields_is_fault() -> None:
    found, tally = read({**PAIR, "q": "meh"}, {**PAIR, "q": "good"}, fields={"q": {"good": 1}})
    assert found[0].row.fault.startswith("a.jsonl, line 1: q is 'meh', a value without a meaning in fields")
    assert tally.faults == 1 and isinstance(found[1].row, Rating)


def test_skip_counts_check_unknown_key_in_fields_is_refused() -> None:
    _, tally = read(PAIR, fields={"qualty": "ignore"})
    with pytest.raises(UserError, match="fields has the key qualty, which no row has"):
        tally.check("mine", {"qualty": "ignore"})


def test_read_rows_two_different_verdicts_are_fault() -> None:
    found, _ = read({**CHAT, "score": 1, "quality": "bad"}, CHAT)
    assert "score and quality are two verdicts" in found[0].row.fault
    found, _ = read({**CHAT, "score": 1, "quality": "bad"}, fields={"quality": "ignore"})
    assert found[0].row.scores == [1.0]  # type: ignore[union-attr]


def test_read_rows_thumbs_up_and_down_give_one_score() -> None:
    for up, down, score in ((True, False, 1.0), (False, True, -1.0), (1, 0, 1.0), (None, True, -1.0)):
        (found,), _ = read({**PAIR, "thumbs_up": up, "thumbs_down": down})
        assert found.row.scores == [score]  # type: ignore[union-attr]
    for row in (
        {"thumbs_up": 0, "thumbs_down": 0},
        {"thumbs_down": False},
        {"liked": "no", "disliked": "no"},
    ):
        found, tally = read({**PAIR, **row})
        assert not found and "nobody rated" in next(iter(tally.left_out))


def test_read_rows_scores_of_both_answers_are_no_verdict() -> None:
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 8.5, "rejected_score": 2}
    (found,), tally = read(row)
    assert isinstance(found.row, Comparison) and not tally.asks() and len(tally.unread) == 2


def test_read_rows_input_joins_prompt_system_prompt_joins_history() -> None:
    row = {"prompt": "Sum up:", "input": "A long story.", "system_prompt": "Be kind."}
    (pair,), _ = read({**row, "completion": "Short."})
    (rating,), _ = read({**row, "completion": "Short.", "label": False})
    (choice,), _ = read({**row, "chosen": "Short.", "rejected": "No."})
    for found in (pair, rating, choice):
        assert found.row.prompt == "Sum up:\n\nA long story."  # type: ignore[union-attr]
        assert found.row.history == [{"role": "system", "content": "Be kind."}]  # type: ignore[union-attr]


@pytest.mark.parametrize("key", ["images", "tools", "functions", "audios"])
def test_read_rows_images_or_tools_are_fault(key: str) -> None:
    found, tally = read({**CHAT, key: ["x"]}, CHAT)
    assert f"{key} is not supported" in found[0].row.fault and tally.faults == 1
    found, tally = read({**CHAT, key: []}, CHAT)
    assert not tally.faults and len(found) == 2


def test_read_rows_null_words_are_counted_and_empty_in_optional_keys() -> None:
    rows = [{**ALPACA, "input": word} for word in ("nan", "None", "N/A", "<NA>", "NaT", "null")]
    found, tally = read(*rows)
    assert all("Input" not in one.row.prompt for one in found)  # type: ignore[union-attr]
    assert tally.words["input"].count == 6 and tally.words["input"].where == "a.jsonl, line 1"
    (one,), tally = read({**PAIR, "completion": "None"})
    assert one.row.completion == "None" and tally.words["completion"].count == 1  # type: ignore[union-attr]


def test_as_flag_score_verdict_and_review_read_usual_spellings() -> None:
    assert [as_flag(v) for v in (True, 0, 1.0, "YES", "0.0", "off", 2, "maybe", None)] == [
        True, False, True, True, False, False, None, None, None,
    ]  # fmt: skip
    numbers = ("4", "4,5", "4/5", "4 out of 5", "1 star", "⭐️⭐️", "-2", 3, True, "x", "nan")
    assert [as_score(v) for v in numbers] == [
        4.0, 4.5, 4.0, 4.0, 1.0, 2.0, -2.0, 3.0, None, None, None,
    ]  # fmt: skip
    assert [as_verdict(v) for v in ("+1", "-1", "Thumbs-Down", "👍", "so so", 1)] == [
        1,
        -1,
        -1,
        1,
        None,
        None,
    ]
    assert [as_review(v) for v in ("Accepted", False, "skip", "x")] == ["accept", "reject", "ignore", None]


def test_looks_like_verdict_long_text_or_topic_is_none() -> None:
    long = "The answer was a little short, but it named the bird well. " * 2
    assert not looks_like_verdict("feedback_comment", long) and not looks_like_verdict("best_answer", long)
    assert looks_like_verdict("feedback", long) == "a verdict"
    assert not looks_like_verdict("topic", "birds") and not looks_like_verdict("language", "en")
    assert looks_like_verdict("isGood", True) == "a verdict" == looks_like_verdict("n", "thumbs_down")
    assert looks_like_verdict("m.lossWeights", [1.0]) == "a training mask"


def test_check_fields_invalid_meanings_are_named() -> None:
    wrong: dict[str, Any] = {"a": "verdikt", "b": {}, "c": {"x": "maybe"}, "d": {"x": True}, "e": "weight"}
    said = list(check_fields(wrong))
    assert [line.split()[1] for line in said] == ["a", "b", "c", "d"]
    # All meanings are named, and each of them is right.
    assert all(meaning in line for line in said[:2] for meaning in FIELD_MEANINGS)
    paths = {meaning: "ratings[].by" if meaning == ANNOTATOR else meaning for meaning in FIELD_MEANINGS}
    assert not list(check_fields({path: meaning for meaning, path in paths.items()}))
    assert all(meaning in format_example("a verdict") for meaning in FIELD_MEANINGS)


@pytest.mark.parametrize(
    ("row", "scores"),
    [
        ({"👍": True, "👎": False}, [1.0]), ({"👍": 0, "👎": 1}, [-1.0]), ({"👎🏿": "yes"}, [-1.0]),
        ({"feedback": "👎🏽"}, [-1.0]), ({"vote": "👍\ufe0f"}, [1.0]), ({"👍🏻": "no"}, [-1.0]),
    ],
)  # fmt: skip
def test_read_rows_thumb_emoji_of_any_skin_tone_is_verdict(row: dict[str, Any], scores: list[float]) -> None:
    (found,), tally = read({**PAIR, **row})
    assert isinstance(found.row, Rating) and found.row.scores == scores
    tally.check("mine")


@pytest.mark.parametrize(
    "row",
    [
        {"feedback": {"value": "meh"}}, {"labels": {"spam": {"value": 0.9, "count": 3}}},
        {"ratings": {"anna": 2}}, {"votes": [{"by": "ana", "is": "no"}]},
        {"review": {"scores": {"overall": "4"}}}, {"loss": {"assistant": False}},
    ],
)  # fmt: skip
def test_skip_counts_check_nested_verdict_needs_meaning(row: dict[str, Any]) -> None:
    _, tally = read({**PAIR, **row})
    with pytest.raises(UserError, match="looks like a"):
        tally.check("mine")
    (key,) = row
    _, tally = read({**PAIR, **row}, fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})


@pytest.mark.parametrize(
    "row", [{"meta": {"page": 3}}, {"rating_source": {"id": 3}}, {"kind": {"name": "x"}}]
)
def test_skip_counts_check_other_nested_key_passes(row: dict[str, Any]) -> None:
    _, tally = read(
        {**PAIR, **row}, **({"fields": {"rating_source": "ignore"}} if "rating" in str(row) else {})
    )
    tally.check("mine")


@pytest.mark.parametrize(
    "text",
    [
        '["A robin.", "A wren."]', "['A robin.' 'A wren.']", "['A robin.', \"It's a wren.\"]",
        '{"reply": "A robin."}', "{'answer': 'A robin.', 'sure': True}", ' [\n "A robin." ]\n',
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["completion", "prompt"])
def test_skip_counts_check_list_written_as_text_needs_meaning(text: str, key: str) -> None:
    rows = [{**PAIR, key: text}, PAIR]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=rf"the key {key} is .* written as text; .*{key}: text"):
        tally.check("mine")
    found, tally = read(*rows, fields={key: "text"})
    tally.check("mine", {key: "text"})
    assert getattr(found[0].row, key).strip() == text.strip()


@pytest.mark.parametrize(
    "text",
    ["[1] is the first.", "[link](x)", "{ x for x in y }", "[]", "[3, 4]", '["open', "[see 'here']", "{}"],
)
def test_read_rows_text_with_brackets_is_text(text: str) -> None:
    (found,), tally = read({**PAIR, "completion": text})
    tally.check("mine")
    assert isinstance(found.row, Pair) and found.row.completion == text


def test_skip_counts_check_list_in_other_key_passes() -> None:
    _, tally = read({**PAIR, "tags": '["a", "b"]', "references": ["A robin."]})
    tally.check("mine")
    assert any("tags (1, as" in line for line in tally.lines())


def test_skip_counts_lines_spreadsheet_errors_are_counted() -> None:
    found, tally = read(*({**PAIR, "completion": word} for word in ("#REF!", "#DIV/0!", "#Name?")))
    assert len(found) == 3 and "3 under completion, as '#REF!'" in next(tally.lines())


@pytest.mark.parametrize("value", ["10/5", "6 of 5", "５,5 von 5", "4/0", "101 / 100 points"])
def test_as_score_beyond_its_own_scale_is_none_and_named(value: str) -> None:
    assert as_score(value) is None and "beyond the end of its own scale" in number_advice(value)
    rows = [{"prompt": f"Q{n}?", "completion": "A.", "rating": said} for n, said in enumerate(("4/5", value))]
    found, _ = read(*rows)
    assert [one.row.scores for one in found if isinstance(one.row, Rating)] == [[4.0], []]
    assert f"rating is {value!r}, which is beyond the end of its own scale" in found[1].row.fault


@pytest.mark.parametrize("value", ["5/5", "0/5", "4,5/5", "100/100", "-1/5"])
def test_as_score_within_its_own_scale_is_read(value: str) -> None:
    assert as_score(value) is not None and number_advice(value) == ""


def test_as_score_decimal_comma_is_read() -> None:
    assert [as_score(value) for value in ("4,5", "0,125", "12,75", "3,5/5")] == [4.5, 0.125, 12.75, 3.5]


def test_as_score_percentages_are_read() -> None:
    assert [as_score(v) for v in ("85%", "7 %", "12.5%", "%", "5%%")] == [85.0, 7.0, 12.5, None, None]


@pytest.mark.parametrize("value", ["²", "5¹", "⁴/5", "⁻1", "3₂", "4 ⁺"])
def test_read_rows_score_with_raised_digit_is_fault(value: str) -> None:
    assert as_score(value) is None
    _, tally = read({"prompt": "A?", "completion": "B.", "score": value})
    assert tally.faults == 1
    _, tally = read(
        {"prompt": "A?", "completion": "B.", "grade_now": value},
        fields={"grade_now": {"2": 1, "5": 2, "51": 3, "32": 4, "4": 5, "4/5": 6, "-1": 7}},
    )
    assert "a value without a meaning in fields" in tally.first_fault


def test_flatten_name_other_scripts_are_kept() -> None:
    assert flatten_name("\u0441\u043e\u0440\u0442") == "\u0441\u043e\u0440\u0442"
    assert (
        flatten_name("r\u0430ting") == "rating" == flatten_name("\uff32ating")
        and flatten_name("s\u0441\u043ere") == "score"
    )


@pytest.mark.parametrize(
    ("value", "score", "scale"),
    [
        ("4 Sterne", 4.0, "plain numbers to 5"), ("3 von 5", 3.0, "of 5"), ("2 sur 10", 2.0, "of 10"),
        ("4,5 étoiles", 4.5, "plain numbers to 5"), ("3 de 5 estrellas", 3.0, "of 5"),
        ("4½", 4.5, "plain numbers to 5"), ("−2", -2.0, "negative numbers"),
        ("③", 3.0, "plain numbers to 5"), ("4 звезды", 4.0, "plain numbers to 5"),
    ],
)  # fmt: skip
def test_as_score_in_other_languages(value: str, score: float, scale: str) -> None:
    assert as_score(value) == score and not is_date(value)
    assert scale_of(value, "number") == scale


@pytest.mark.parametrize("value", ["4-Mai", "5. Oct", "4 avr.", "3-Sep-24", "12 Dez", "2024-05-05T10:00:00Z"])
def test_is_date_of_spreadsheets(value: str) -> None:
    assert is_date(value)


@pytest.mark.parametrize("value", ["1 000", "1.000,50", "1,000.5", "12\u202f500", "1'000"])
def test_separator_of_thousands_is_no_score_and_gets_advice(value: str) -> None:
    assert as_score(value) is None and "separator of thousands" in number_advice(value)


@pytest.mark.parametrize(
    ("value", "flag"),
    [("WAHR", True), ("Vrai", True), ("FALSO", False), ("onwaar", False), ("1,0", True), ("0.00", False)],
)
def test_as_flag_as_spreadsheets_write_it(value: str, flag: bool) -> None:
    assert as_flag(value) is flag
