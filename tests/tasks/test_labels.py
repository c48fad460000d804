"""Test the stage `labels`: mean scores, held-out pairs, agreement and the judge's share."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.data.labels.ratings import LabelsParameters
from tasks.data.records import TYPES, Choice, Comparison, Record, comparison_row, rating_row
from tasks.data.splits import SPLITS, SplitParameters, split_of
from tasks.labels import labels
from tests.tasks.event_sink import ignore_event
from tests.tasks.record_files import write_rows
from tests.tasks.smoke_data import smoke_rows

FILE = "train.comparisons.jsonl"


def shard(root: Path, name: str, rows: Sequence[Record]) -> None:
    """Write the rows as a split with one shard for each kind."""
    for kind, record in TYPES.items():
        chosen = [row for row in rows if isinstance(row, record)]
        write_rows(root / name / kind / "00000.jsonl", chosen)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Split the smoke data."""
    root = tmp_path_factory.mktemp("split")
    rows = smoke_rows()
    for name in SPLITS:
        shard(root, name, [row for row in rows if split_of(row.group, SplitParameters(0.1, 0.1)) == name])
    return root


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_labels_are_means_choices_and_held_out_pairs(parts: Path, tmp_path: Path) -> None:
    parameters = LabelsParameters(max_eval_pairs=50, judge_share=0.0)
    figures = labels(parameters, split=parts, out=tmp_path, on_event=ignore_event, seed=1)
    ratings = lines(tmp_path / "train.ratings.jsonl")
    assert len(ratings) == figures["train_ratings"] > 400
    assert ratings[0].keys() == {"prompt", "completion", "score", "aspect", "source"}
    assert {row["chosen"][0] for row in lines(tmp_path / "train.comparisons.jsonl")} == {" "}
    held_out = lines(tmp_path / "pairs.valid.jsonl")
    tone = [row for row in held_out if row["aspect"] == "tone"]
    assert len(tone) == 50 and all(row["gap"] >= 1 for row in tone)
    score = {
        row["prompt"] + row["completion"]: row["score"] for row in lines(tmp_path / "valid.ratings.jsonl")
    }
    for row in tone:
        better, worse = (
            score[row[side]["prompt"] + row[side]["completion"]] for side in ("chosen", "rejected")
        )
        assert better - worse == pytest.approx(row["gap"])


def test_labels_say_where_each_label_went(tmp_path: Path) -> None:
    def judged(number: int, choice: Choice, who: str, aspect: str = "tone") -> Comparison:
        return comparison_row("why?", f" a {number}", f" b {number}", choice, aspect, who, "chat", "g")

    twice = [judged(number, "a", who) for number in range(4) for who in ("ana", "ben")]
    shard(tmp_path, "train", [*twice, judged(4, "tie", "ana"), judged(5, "a", "ana", "length")])
    shard(tmp_path, "valid", [judged(6, "b", "ana")])
    rated = [rating_row("why?", f" {n}", [float(n)], ["ana"], "tone", "film", "h") for n in range(3)]
    shard(tmp_path, "test", [*rated, rating_row("why?", " 0", [1.0], ["ben"], "tone", "film", "h")])
    said: list[str] = []
    figures = labels(
        LabelsParameters(aspects=("tone",), judge_share=0.0), split=tmp_path, out=tmp_path / "out",
        on_event=lambda event: said.append(event.text), seed=1,
    )  # fmt: skip
    assert figures["train_comparisons"] == 5
    assert said == [
        "11 comparisons: 5 for the reward model (1 tie), 1 for validation, 4 compare the same answers again "
        "and count with the first, 1 left out by labels.aspects or labels.sources",
        "4 ratings: 3 for the test, 1 rate the same answer again and count with the first",
    ]


def test_labels_held_out_pairs_follow_seed(parts: Path, tmp_path: Path) -> None:
    drawn = []
    for place, seed in enumerate((1, 1, 2)):
        labels(
            LabelsParameters(max_eval_pairs=50),
            split=parts,
            out=tmp_path / str(place),
            on_event=ignore_event,
            seed=seed,
        )
        drawn.append((tmp_path / str(place) / "pairs.valid.jsonl").read_bytes())
    assert drawn[0] == drawn[1] != drawn[2]


def test_labels_single_and_joined_ratings_are_equal(tmp_path: Path) -> None:
    given = {" is lovely.": [3.0, 2.0, 1.0], " is dull.": [-2.0, -3.0], " is long.": [0.0]}

    def rated(answer: str, scores: list[float], people: list[str]) -> Record:
        return rating_row("The film", answer, scores, people, "tone", "film", answer)

    whole = [rated(answer, scores, list("abc")[: len(scores)]) for answer, scores in given.items()]
    single = [
        rated(answer, [score], [who])
        for answer, scores in given.items()
        for score, who in zip(scores, "abc", strict=False)
    ]
    found = []
    for name, rows in (("whole", whole), ("single", single)):
        for part in SPLITS:
            shard(tmp_path / name, part, rows)
        out = tmp_path / f"{name}-out"
        out.mkdir()
        figures = labels(
            LabelsParameters(min_annotators=2), split=tmp_path / name, out=out, on_event=ignore_event, seed=1
        )
        rows_out = sorted(lines(out / "train.ratings.jsonl"), key=json.dumps)
        found.append((figures, rows_out, (out / "agreement.json").read_text()))
    assert found[0] == found[1]
    assert {row["completion"]: row["score"] for row in found[0][1]} == {" is lovely.": 2.0, " is dull.": -2.5}


def test_labels_agreement_is_by_aspect_and_source(parts: Path, tmp_path: Path) -> None:
    labels(LabelsParameters(), split=parts, out=tmp_path, on_event=ignore_event, seed=1)
    agreement = json.loads((tmp_path / "agreement.json").read_text())["ratings"]["tone/film"]
    assert agreement["annotators"] == 5 and agreement["items"] == 700 and not agreement["unnamed"]
    assert 0.8 < agreement["alpha"] < 1 and 0.7 < agreement["pair_agreement"] <= 1


def test_labels_agreement_on_comparisons_joins_both_orders(tmp_path: Path) -> None:
    def chosen(
        number: int, choice: Choice, who: str, turned: bool = False, source: str = "chat"
    ) -> Comparison:
        sides = (f" bad {number}", f" good {number}") if turned else (f" good {number}", f" bad {number}")
        text = f"question {number}"
        return comparison_row(text, *sides, choice, "helpfulness", who, source, text)

    # ana and ben agree on four of five pairs, of which ben saw all in the other order.
    rows = [chosen(number, "a", "ana") for number in range(5)]
    rows += [chosen(number, "b" if number else "a", "ben", turned=True) for number in range(5)]
    rows += [chosen(9, "tie", "cleo", source="mail"), chosen(10, "a", "", source="mail")]
    for part in SPLITS:
        shard(tmp_path / "split", part, rows)
    figures = labels(
        LabelsParameters(), split=tmp_path / "split", out=tmp_path, on_event=ignore_event, seed=1
    )
    found = json.loads((tmp_path / "agreement.json").read_text())
    assert found["ratings"] == {}
    chat, mail = (found["comparisons"][f"helpfulness/{name}"] for name in ("chat", "mail"))
    # The three splits hold the same rows here.
    assert (chat["items"], chat["judgements"], chat["annotators"], chat["unnamed"]) == (5, 30, 2, False)
    # Of the 30 ordered pairs of six choices, 6 + 6 agree where ana and ben do not, and all where they do.
    assert chat["pair_agreement"] == pytest.approx((4 * 30 + 12) / 150)
    assert (mail["items"], mail["judgements"], mail["annotators"], mail["unnamed"]) == (2, 6, 1, True)
    assert figures["comparison_alpha/helpfulness/chat"] == chat["alpha"]
    # Krippendorff's alpha by its definition, with both orders of each pair: 30 choices of each sign.
    observed, expected = 18 * 4 / 5 / 30, 2 * 30 * 30 * 4 / (60 * 59)
    assert chat["alpha"] == pytest.approx(1 - observed / expected)


def test_labels_agreement_counts_no_unnamed_annotator(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "split")
    for path in (tmp_path / "split").glob("*/ratings/*.jsonl"):
        path.write_text(re.sub(r'"annotators":\["[^"]*"', '"annotators":["unknown-0"', path.read_text()))
    out = tmp_path / "out"
    out.mkdir()
    labels(LabelsParameters(), split=tmp_path / "split", out=out, on_event=ignore_event, seed=1)
    agreement = json.loads((out / "agreement.json").read_text())["ratings"]["tone/film"]
    assert agreement["annotators"] == 4 and agreement["unnamed"]


def prepared(root: Path, rows: Sequence[Record]) -> Path:
    for name in SPLITS:
        shard(root, name, rows)
    return root


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "there are no labels"),
        ([rating_row("a", f"b{i}", [2.0], ["x"], "tone", "s", f"{i}") for i in range(9)], "all 9 labels"),
        ([comparison_row("a", "b", "c", "tie", "tone", "x", "s", "g")], "every comparison is a tie"),
    ],
)
def test_labels_one_class_is_refused(rows: Sequence[Record], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        labels(
            LabelsParameters(),
            split=prepared(tmp_path, rows),
            out=tmp_path / "out",
            on_event=ignore_event,
            seed=1,
        )


def test_labels_unwanted_aspects_and_few_annotators_are_dropped(tmp_path: Path) -> None:
    rows = [
        rating_row("a", "b", [2.0, 2.0], ["x", "y"], "tone", "s", "1"),
        rating_row("a", "c", [-2.0, -1.0], ["x", "y"], "tone", "s", "2"),
        rating_row("a", "d", [-2.0], ["x"], "tone", "s", "3"),
        rating_row("a", "e", [1.0, 1.0], ["x", "y"], "helpfulness", "s", "4"),
    ]
    wanted = LabelsParameters(aspects=("tone",), min_annotators=2)
    figures = labels(
        wanted, split=prepared(tmp_path, rows), out=tmp_path / "out", on_event=ignore_event, seed=1
    )
    assert figures["train_ratings"] == 2


def test_labels_other_sources_are_not_used(tmp_path: Path) -> None:
    rows = [
        *(rating_row("a", f"b{i}", [float(i)], ["x"], "tone", "films", str(i)) for i in range(4)),
        rating_row("a", "c", [-2.0], ["x"], "tone", "tweets", "5"),
        comparison_row("a", "d", "e", "b", "tone", "x", "tweets", "6"),
        comparison_row("a", "f", "g", "a", "tone", "x", "films", "7"),
        comparison_row("a", "h", "i", "a", "tone", "x", "letters", "8"),
    ]
    split, wanted = prepared(tmp_path, rows), LabelsParameters(sources=("films", "letters"))
    figures = labels(wanted, split=split, out=tmp_path / "out", on_event=ignore_event, seed=1)
    assert (figures["train_ratings"], figures["train_comparisons"]) == (4, 2)
    assert {row["source"] for row in lines(tmp_path / "out" / FILE)} == {"films", "letters"}
    nobody = LabelsParameters(sources=("posts",), aspects=("tone",))
    with pytest.raises(UserError, match=r"no labels .* change labels\.aspects or labels\.sources"):
        labels(nobody, split=split, out=tmp_path / "none", on_event=ignore_event, seed=1)


def test_labels_history_is_kept(tmp_path: Path) -> None:
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    rows = [
        rating_row("a", "b", [2.0], ["x"], "tone", "s", "1", history=history),
        rating_row("a", "b", [-2.0], ["x"], "tone", "s", "2"),
        comparison_row("a", "b", "c", "b", "tone", "x", "t", "3", history=history),
    ]
    out = tmp_path / "out"
    labels(LabelsParameters(), split=prepared(tmp_path, rows), out=out, on_event=ignore_event, seed=1)
    after, plain = ({"history": history, "prompt": "a"}, {"prompt": "a"})
    common = {"aspect": "tone", "source": "s"}
    rated = lines(out / "train.ratings.jsonl")
    assert {row["score"]: row for row in rated} == {
        2.0: {**after, "completion": "b", "score": 2.0, **common},
        -2.0: {**plain, "completion": "b", "score": -2.0, **common},
    }
    assert lines(out / "train.comparisons.jsonl") == [
        {**after, "chosen": "c", "rejected": "b", "aspect": "tone", "source": "t"}
    ]
    by_rating, by_choice = lines(out / "pairs.test.jsonl")
    assert by_rating["chosen"] == {**after, "completion": "b"}
    assert by_rating["rejected"] == {**plain, "completion": "b"}
    assert by_choice["chosen"] == {**after, "completion": "c"}
    assert by_choice["rejected"] == {**after, "completion": "b"}


def test_labels_of_many_texts_pair_only_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.labels.ratings.PAIRED", 4)
    rows = [rating_row("a", f"{i}", [float(i)], ["x"], "tone", "s", f"{i}") for i in range(40)]
    labels(
        LabelsParameters(),
        split=prepared(tmp_path, rows),
        out=tmp_path / "out",
        on_event=ignore_event,
        seed=1,
    )
    held_out = lines(tmp_path / "out" / "pairs.valid.jsonl")
    first = [row["completion"] for row in lines(tmp_path / "out" / "valid.ratings.jsonl")[:4]]
    assert len(held_out) == 6
    assert {row[side]["completion"] for row in held_out for side in ("chosen", "rejected")} == set(first)


def comparisons(count: int, source: str = "chat", groups: int = 0) -> list[Record]:
    return [
        comparison_row(
            f"question {i}", f" good {i}", f" bad {i}", "a", "helpfulness", "ana", source,
            f"group {i % groups if groups else i}",
        )
        for i in range(count)
    ]  # fmt: skip


def keep(tmp_path: Path, rows: Sequence[Record], **settings: Any) -> tuple[dict[str, float], Path, list[str]]:
    said: list[str] = []
    out = tmp_path / "out"
    out.mkdir(parents=True)
    figures = labels(
        LabelsParameters(**settings), split=prepared(tmp_path / "split", rows), out=out,
        on_event=lambda event: said.append(event.text), seed=1,
    )  # fmt: skip
    # The last sentence says where the labels went; each test has labels of one kind.
    count = figures["train_comparisons"] or figures["train_ratings"]
    assert f": {count:,} for the reward model" in said[-1]
    return figures, out, said[:-1]


@pytest.mark.parametrize("rows", [comparisons(400), comparisons(400, groups=90), comparisons(900, "press")])
def test_labels_judge_and_reward_model_share_no_group(tmp_path: Path, rows: list[Record]) -> None:
    figures, out, said = keep(tmp_path, rows)
    mine, judges = (lines(folder / "train.comparisons.jsonl") for folder in (out, out / "judge"))
    assert len(mine) + len(judges) == len(rows) and not said
    assert figures["judge_comparisons"] == len(judges) and 0.2 < len(judges) / len(rows) < 0.4
    group = {row.prompt: row.group for row in rows if isinstance(row, Comparison)}
    assert not {group[row["prompt"]] for row in mine} & {group[row["prompt"]] for row in judges}
    assert lines(out / "judge" / "pairs.valid.jsonl") == []


def test_labels_new_labels_keep_old_ones_with_judge(tmp_path: Path) -> None:
    few, many = (
        {row["prompt"] for row in lines(keep(tmp_path / str(n), comparisons(n))[1] / "judge" / FILE)}
        for n in (400, 800)
    )
    assert few < many


def test_labels_agreement_counts_both_parts(tmp_path: Path) -> None:
    rows = [
        rating_row(f"p {i}", f" c {i}", [2.0 * (i % 2), 2.0 * (i % 2)], ["a", "b"], "tone", "film", f"g{i}")
        for i in range(500)
    ]
    figures, out, _ = keep(tmp_path, rows)
    assert figures["judge_ratings"] + figures["train_ratings"] == 500 and figures["judge_ratings"] > 100
    assert json.loads((out / "agreement.json").read_text())["ratings"]["tone/film"]["items"] == 1500


@pytest.mark.parametrize(
    ("rows", "settings", "says"),
    [
        (comparisons(120), {}, True),
        (comparisons(400, groups=1), {"judge_share": 0.1}, True),
        (comparisons(400), {"judge_share": 0.0}, False),
    ],
)
def test_labels_too_few_all_go_to_reward_model(
    tmp_path: Path, rows: list[Record], settings: dict[str, float], says: bool
) -> None:
    figures, out, said = keep(tmp_path, rows, **settings)
    assert figures["train_comparisons"] == len(rows)
    assert not (out / "judge").exists() and "judge_comparisons" not in figures
    assert bool(said) is says and all("too few labels for a judge" in text for text in said)


@pytest.mark.parametrize("share", [-0.1, 0.6, 1.0])
def test_labels_parameters_judge_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="judge_share"):
        LabelsParameters(judge_share=share)
