"""Test what is asked about keys of votes, failed requests and words in any language, and what is proposed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data.questions.proposed_meanings import MASK, UNKNOWN, propose_meaning
from tasks.data.records import Comparison, Pair, Rating
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}


def asked(*more: dict[str, Any]) -> str:
    _, tally = read(*({**PAIR, "prompt": f"Name bird {n}.", **row} for n, row in enumerate(more)))
    with pytest.raises(UserError) as error:
        tally.check("mine")
    return str(error.value)


@pytest.mark.parametrize(
    ("rows", "fields"),
    [
        ([{"rating_ana": 4, "rating_ben": 2}] * 2, "rating_ana: vote, rating_ben: vote"),
        ([{"carla_score": "1", "dmitri_score": "3"}], "carla_score: vote, dmitri_score: vote"),
        ([{"verdict_eve": "good", "verdict_kim": "bad"}], "verdict_eve: vote, verdict_kim: vote"),
        ([{"bewertung_uwe": 3, "bewertung_ida": 1}], "bewertung_uwe: vote, bewertung_ida: vote"),
        ([{"maria_ok": "yes", "tom_ok": "no"}] * 2, "maria_ok: vote, tom_ok: vote"),
        ([{"lgtm_bo": "y", "lgtm_di": "n"}] * 2, "lgtm_bo: vote, lgtm_di: vote"),
    ],
)  # fmt: skip
def test_propose_meaning_columns_of_one_person_each_are_votes(
    rows: list[dict[str, Any]], fields: str
) -> None:
    assert f"If each is a person, set that in the source's fields, as in fields: {{{fields}}}" in asked(*rows)


@pytest.mark.parametrize(
    "row", [{"rating_helpfulness": 3, "rating_accuracy": 4}, {"score_total": 3, "score_mean": 1.5}]
)
def test_propose_meaning_columns_of_questions_or_sums_are_no_votes(row: dict[str, Any]) -> None:
    assert ": vote" not in asked(row)


@pytest.mark.parametrize(
    ("key", "values", "proposal"),
    [
        ("finish_reason", ["stop", "length"], "{length: ignore, stop: accept}"),
        ("stop_reason", ["end_turn", "max_tokens"], "{end_turn: accept, max_tokens: ignore}"),
        ("done_reason", ["length"], "{length: ignore}"),
        ("http_status", [200, 503], '{"200": accept, "503": ignore}'),
        ("status_code", ["429", "200"], '{"200": accept, "429": ignore}'),
        ("error", ["The connection was lost after thirty seconds, and nothing came back at all."], "deleted"),
        ("exception", ["Timeout"], "deleted"),
    ],
)  # fmt: skip
def test_propose_meaning_failed_or_cut_answer_is_left_out(key: str, values: list[Any], proposal: str) -> None:
    assert f"as in fields: {{{key}: {proposal}}}" in asked(*({key: value} for value in values))


def test_read_rows_error_of_any_text_marks_its_row_as_deleted() -> None:
    rows = [{**PAIR, "error": None}, {**PAIR, "error": "Timeout"}, {**PAIR, "error": {"code": 429}}]
    found, tally = read(*rows, fields={"error": "deleted"})
    tally.check("mine", {"error": "deleted"})
    assert len(found) == 1 and isinstance(found[0].row, Pair)
    assert tally.left_out["rows marked as deleted"] == 2


@pytest.mark.parametrize(
    "row",
    [{"finish_reason": "stop"}, {"status_code": 200}, {"error": ""}, {"length": 500}, {"status": "open"}],
)
def test_read_rows_whole_answer_is_not_asked_about(row: dict[str, Any]) -> None:
    _, tally = read({**PAIR, **row})
    tally.check("mine")


@pytest.mark.parametrize(
    ("key", "values", "proposal"),
    [
        ("Bewertung", ["spitze", "naja", "grausig"], "{grausig: ..., naja: ..., spitze: ...}"),
        ("verdict", ["ekscelente", "mizera"], "{ekscelente: ..., mizera: ...}"),
        ("calificación", ["chido", "feo"], "{chido: ..., feo: ...}"),
        ("quality", ["A", "B", "C"], "{a: ..., b: ..., c: ...}"),
    ],
)
def test_propose_meaning_unknown_words_are_left_to_the_person(
    key: str, values: list[str], proposal: str
) -> None:
    assert f"as in fields: {{{key}: {proposal}}}" in asked(*({key: value} for value in values))


@pytest.mark.parametrize(
    ("key", "date"),
    [("rating", "2024-05-04"), ("stars", "4. Mai"), ("grade", "04-May"), ("score", "05/04/2024")],
)
def test_read_rows_date_as_score_costs_its_row_with_line_and_value(key: str, date: str) -> None:
    rows = [{**PAIR, "prompt": f"Name bird {n}.", key: score} for n, score in enumerate((4, date, 5))]
    found, tally = read(*rows)
    tally.check("mine")
    assert [type(one.row) for one in found] == [Rating] * 3
    assert tally.faults == 1
    assert tally.first_fault.startswith("a.jsonl, line 2: ") and repr(date) in tally.first_fault


def test_propose_meaning_word_among_numbers_names_line_value_and_others() -> None:
    said = asked({"stars": 4}, {"stars": 5}, {"stars": "see the note"})
    assert "a.jsonl, line 3: the key stars is 'see the note'" in said
    assert "fields: {stars: verdict}, which quarantines rows with such a value (2 rows with another)" in said
    assert "fields: {Bewertung: verdict}" in asked(*({"Bewertung": n} for n in ("1", "2", "3. Mai")))


@pytest.mark.parametrize("names", [("score_chosen", "score_rejected"), ("chosen_rating", "rejected_rating")])
@pytest.mark.parametrize("equal", [3, "4.5", 0.25])
def test_read_rows_equal_scores_of_both_answers_are_a_tie(names: tuple[str, str], equal: object) -> None:
    row = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "An oak."}
    found, tally = read({**row, **dict.fromkeys(names, equal)}, {**row, names[0]: 5, names[1]: 1})
    assert isinstance(found[0].row, Comparison) and isinstance(found[1].row, Comparison)
    assert found[0].row.choice == "tie" and found[1].row.choice in ("a", "b")
    assert tally.left_out["choices between answers with equal scores, which are ties"] == 1


@pytest.mark.parametrize("key", ["Schulnote", "rank"])
def test_propose_meaning_lower_is_better_is_a_penalty(key: str) -> None:
    # Followed as a verdict, the advice would make the worst answer the best one.
    assert f"fields: {{{key}: penalty}}" in asked({key: 1}, {key: 3}, {key: 6})


TEXT = {"text": "Some words"}
SIDES = {"prompt": "Name a tree", "a": "An oak.", "b": "A stone.", "choice": "a"}


@pytest.mark.parametrize("row", [PAIR, TEXT, SIDES])
@pytest.mark.parametrize(
    ("key", "values", "kept"),
    [
        ("cats.usable", ["1.0", "0.0", "1.0"], 2), ("labels", [["good"], ["bad"], ["good"]], 2),
        ("Ausschließen", ["WAHR", "FALSCH", "FALSCH"], 2), ("supprimer", ["FAUX", "VRAI", "FAUX"], 2),
        ("Nicht löschen", ["true", "false", "true"], 2), ("verwenden", ["WAHR", "FALSCH", "WAHR"], 2),
        ("deleted_at", ["2024-05-05 10:00:00", "", ""], 2), ("removed on", ["", "03/04/2025", ""], 2),
        ("archived_at", ["", "1714900000", "1714900000123"], 1), ("reviewed", [True, False, True], 2),
        ("checked", [1, 0, 1], 2), ("qualité ok", ["VRAI", "FAUX", "VRAI"], 2), ("Fehler", ["x", "", ""], 2),
    ],
)  # fmt: skip
def test_propose_meaning_reads_each_row_and_learns_nothing_refused(
    row: dict[str, Any], key: str, values: list[Any], kept: int
) -> None:
    outer, _, inner = key.partition(".")
    first = next(iter(row))
    rows = [
        {**row, first: f"{row[first]} {n}", outer: {inner: value} if inner else value}
        for n, value in enumerate(values)
    ]
    _, tally = read(*rows)
    proposals = tally.propose_all(tally.asks())
    assert "..." not in "".join(proposals.values()), proposals
    fields = {path: yaml.safe_load(said) for path, said in proposals.items()}
    found, tally = read(*rows, fields=fields)
    tally.check("mine", fields)
    assert not tally.faults
    learned = [one.row for one in found if not isinstance(one.row, Rating) or one.row.scores[0] > 0]
    assert len(learned) == kept


@pytest.mark.parametrize("names", [("Anna", "Ben"), ("rater 1", "rater 2"), ("note_ida", "note_uwe")])
@pytest.mark.parametrize(
    ("scale", "meaning", "scores"),
    [
        (" (1 = best)", "penalty_vote", [-1.0, -4.0]),
        (" [1 = sehr gut, 6 = ungenügend]", "penalty_vote", [-1.0, -4.0]),
        (": lower is better", "penalty_vote", [-1.0, -4.0]),
        (" (5 = excellent)", "vote", [1.0, 4.0]),
    ],
)
def test_propose_meaning_of_votes_follows_the_scale_in_the_name(
    names: tuple[str, str], scale: str, meaning: str, scores: list[float]
) -> None:
    one, other = (f"{name}{scale}" for name in names)
    rows = [{**PAIR, "prompt": f"Name bird {n}.", one: 1, other: 4 + n % 2} for n in range(4)]
    _, tally = read(*rows)
    assert tally.propose_all(tally.asks()) == {one: meaning, other: meaning}
    found, tally = read(*rows, fields={one: meaning, other: meaning})
    tally.check("mine", {one: meaning, other: meaning})
    first = found[0].row
    assert isinstance(first, Rating) and first.scores == scores


def test_penalty_vote_beside_vote_is_two_scales() -> None:
    fields = {"ann": "vote", "bob": "penalty_vote"}
    _, tally = read({**PAIR, "ann": 1, "bob": 2}, fields=fields)
    with pytest.raises(UserError, match="on two scales"):
        tally.check("mine", fields)


def test_propose_meaning_origin_of_a_row_is_left_to_a_person() -> None:
    assert "{in_gsm8k_train: ...}" in asked(*({"in_gsm8k_train": False} for _ in range(3)))


@pytest.mark.parametrize("tags", ["birds, rejected", ["rejected", "birds"], "rejected; birds", "rejected"])
def test_mapping_of_tags_reads_each_tag_of_a_list(tags: Any) -> None:
    meaning = {"tags": {"birds": "accept", "fish": "accept", "rejected": "reject"}}
    rows = [
        {**PAIR, "tags": tags},
        {"prompt": "Name a fish.", "completion": "A carp.", "tags": "birds, fish"},
    ]
    found, tally = read(*rows, fields=meaning)
    assert [type(one.row) for one in found] == [Rating, Pair] and not tally.faults


@pytest.mark.parametrize("row", [PAIR, TEXT])
@pytest.mark.parametrize(
    ("key", "values", "proposal"),
    [
        (
            "notes",
            ["do not use this", "wrong answer", ""],
            "{do_not_use_this: ignore, wrong_answer: reject}",
        ),
        ("notes", ["do not use", "bad answer", ""], "{bad_answer: reject, do_not_use: ignore}"),
        ("remark", ["do not use", "Incorrect answer"], "{do_not_use: ignore, incorrect_answer: reject}"),
        ("memo", ["do not use", "false statement"], "{do_not_use: ignore, false_statement: reject}"),
        ("memo", ["do not use", "poor answer"], "{do_not_use: ignore, poor_answer: reject}"),
        ("hint", ["nicht lernen", "falsche Antwort"], "{falsche_antwort: reject, nicht_lernen: ignore}"),
        ("state", ["deleted", "see Ben", "live"], "{deleted: ignore, live: accept, see_ben: ...}"),
        ("state", ["on hold", "has errors", "open"], "{has_errors: reject, on_hold: ignore, open: ...}"),
        ("memo", ["do not use", "no errors", "wrong but useful"],
         "{do_not_use: ignore, no_errors: ..., wrong_but_useful: ...}"),
        ("finish_reason", ["length", "stop", "moderated"], "{length: ignore, moderated: ..., stop: accept}"),
        ("http_status", [200, 302, 500], '{"200": accept, "302": ..., "500": ignore}'),
    ],
)  # fmt: skip
def test_propose_meaning_accepts_only_clear_acceptances(
    row: dict[str, Any], key: str, values: list[str], proposal: str
) -> None:
    rows = [{**row, next(iter(row)): f"Number {n}", key: value} for n, value in enumerate(values)]
    _, tally = read(*rows)
    assert tally.propose_all(tally.asks()) == {key: proposal}


@pytest.mark.parametrize(
    "value", ["incorrect answer", "False statement.", "very poor response", "bad example"]
)
def test_skip_counts_asks_judgement_of_a_thing_is_a_verdict(value: str) -> None:
    _, tally = read({**PAIR, "memo": value}, {**PAIR, "prompt": "And you?", "memo": "see page 2"})
    assert [*tally.asks()] == ["memo"]


@pytest.mark.parametrize("values", [["open question", "answer key"], ["facts", "fiction"], ["first reply"]])
def test_skip_counts_asks_thing_without_a_judgement_passes(values: list[str]) -> None:
    _, tally = read(*({**PAIR, "memo": value} for value in values))
    assert not tally.asks()


def test_propose_meaning_many_words_beside_texts_are_left_to_the_person() -> None:
    rows = [{**TEXT, "text": f"Text {n}", "notes": f"remark {n}"} for n in range(20)]
    _, tally = read(*rows, {**TEXT, "notes": "do not use"})
    assert tally.propose_all(tally.asks()) == {"notes": "..."}


@pytest.mark.parametrize(
    ("row", "proposal"),
    [
        ({"usefulness": 4}, {"usefulness": "verdict"}), ({"mark": "3"}, {"mark": "verdict"}),
        ({"mark": "B"}, {"mark": "{b: ...}"}),
        ({"tone": 5, "safety": 2}, {"tone": "verdict", "safety": "..."}),
        ({"accuracy": 4, "tone": 5, "safety": 2}, {"accuracy": "verdict", "tone": "...", "safety": "..."}),
        ({"overall": 4.5}, {"overall": "verdict"}), ({"answer_clarity": 3}, {"answer_clarity": "verdict"}),
    ],
)  # fmt: skip
def test_propose_meaning_number_under_a_quality_is_a_verdict(
    row: dict[str, Any], proposal: dict[str, str]
) -> None:
    _, tally = read({**PAIR, **row})
    assert tally.propose_all(tally.asks()) == proposal


@pytest.mark.parametrize("row", [{"tone": "formal"}, {"style": "terse"}, {"mark": "see 4"}, {"style_id": 4}])
def test_skip_counts_asks_quality_in_words_passes(row: dict[str, Any]) -> None:
    _, tally = read({**PAIR, **row})
    assert not tally.asks()


def test_skip_counts_check_right_answer_may_be_a_correction() -> None:
    assert "correct_answer: correction}, which learns it in place" in asked(
        {"correct_answer": "It is a wren, of course."}
    )


@pytest.mark.parametrize(("given", "kept"), [([3, None, 5], "ac"), ([None, 2, ""], "b"), ([1, 2, 4], "abc")])
def test_read_rows_empty_score_of_a_named_person_is_no_vote(given: list[Any], kept: str) -> None:
    row = {**PAIR, "scores": given}
    times = ["2024-01-01", "2024-01-02", "2024-01-03"]
    (found,), tally = read({**row, "annotators": ["a", "b", "c"], "times": times})
    assert isinstance(found.row, Rating) and not tally.faults
    assert found.row.annotators == list(kept) and found.row.scores == [one for one in given if one]
    assert found.row.times == [times["abc".index(name)] for name in kept]


def test_read_rows_empty_score_of_nobody_says_what_to_do() -> None:
    (found, _), tally = read({**PAIR, "scores": [3, None]}, {**PAIR, "scores": [3, 4]})
    assert "leave it out, or name all people in the same order under annotators" in found.row.fault
    found, tally = read({**PAIR, "scores": [None, None], "annotators": ["a", "b"]}, {**PAIR, "scores": [3]})
    assert len(found) == 1 and any("pairs that nobody rated" in reason for reason in tally.left_out)


@pytest.mark.parametrize(
    ("key", "proposal"),
    [
        *(
            (key, "mask")
            for key in ("excluded_from_training", "opt_out_of_training", "skip_loss", "mask_loss")
        ),
        *((key, "weight") for key in ("trainable", "use_for_training", "loss_mask", "train_on_turn")),
        # A word that is not known may turn the meaning round.
        *((key, UNKNOWN) for key in ("nolearn", "training_embargo", "learn_quarantined", "free_to_train")),
    ],
)
def test_propose_meaning_flag_about_training_is_not_turned_round(key: str, proposal: str) -> None:
    assert propose_meaning(key, MASK, {"true", "false"}, True) == proposal


@pytest.mark.parametrize("values", [{"true", "false"}, {"0", "1"}])
@pytest.mark.parametrize(
    ("key", "proposal"),
    [
        *((key, "verdict") for key in ("helpful", "high_quality", "reactions.👍")),
        *((key, UNKNOWN) for key in ("not_helpful", "low_quality", "reactions.❌", "reactions.👎")),
        *((key, "penalty") for key in ("unhelpful", "bad")),
    ],
)
def test_propose_meaning_flag_against_an_answer_is_no_verdict_for_it(
    key: str, proposal: str, values: set[str]
) -> None:
    assert propose_meaning(key, "a verdict", values, True) == proposal


@pytest.mark.parametrize(
    ("key", "proposal"),
    [
        *((key, "deleted") for key in ("dont_use", "denied", "ignore", "never_reviewed", "restricted")),
        *((key, "weight") for key in ("usable", "not_hidden", "never_flagged", "error_free_and_valid")),
    ],
)
def test_propose_meaning_flag_of_a_row_is_not_turned_round(key: str, proposal: str) -> None:
    assert propose_meaning(key, "a verdict", {"true", "false"}, True) == proposal


@pytest.mark.parametrize("key", ["train_turns", "learned_turns", "masked_turns"])
@pytest.mark.parametrize("turns", [[1], [], [0]])
def test_propose_all_list_under_the_name_of_a_mask_is_left_to_the_person(key: str, turns: list[int]) -> None:
    rows = [{**PAIR, key: turns}, {**PAIR, "prompt": "Name another.", key: [1]}]
    _, tally = read(*rows)
    assert tally.propose_all(tally.asks()) == {key: UNKNOWN}


@pytest.mark.parametrize("key", ["accepted_answer_id", "best_reply_id", "approved_ids"])
@pytest.mark.parametrize("values", [{"5", "7"}, {str(n) for n in range(100, 160)}])
def test_propose_meaning_of_an_id_is_left_to_people(key: str, values: set[str]) -> None:
    assert propose_meaning(key, "a verdict", values, has_pairs=True) == UNKNOWN
