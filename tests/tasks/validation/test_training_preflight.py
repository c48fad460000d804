"""Test the check before the first training that the data is enough for every training."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from model.evaluation.evaluate_config import EvaluateParameters
from model.training.dpo_config import DPOConfig
from model.training.pretrain_config import PretrainParameters
from model.training.reward_config import RewardParameters
from model.training.rlhf_config import RLHFConfig
from model.training.sft_config import SFTParameters
from tasks.data.labels.ratings import LabelsParameters
from tasks.data.records import (
    TYPES,
    Comparison,
    Record,
    comparison_row,
    pair_row,
    rating_row,
    text_digest,
    text_row,
)
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.splits import SplitParameters, split_of
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.onboarding.source_preview import check_later_stages, dry_run
from tasks.split import split
from tasks.tokenizer import TokenizerParameters, tokenizer
from tasks.validate import ValidateParameters
from tasks.validation.training_preflight import Trainings, _describe_empty, check_trainings, describe_end
from tests.tasks.event_sink import ignore_event
from tests.tasks.record_files import write_rows

TALE = "the mill turns slowly under a grey sky while rain falls on old stone and wood near"
WORDS = TALE.split(" ")
SPLIT = SplitParameters(0.15, 0.15)
TOKENS = TokenizerParameters(300)
ASKED = Trainings(
    32,
    pretrain=PretrainParameters(batch_size=4),
    sft=SFTParameters(batch_size=4),
    reward=RewardParameters(batch_size=2, group_size=4, reference_tokens=8),
    rlhf=RLHFConfig(batch_size=8, num_mini_batches=2, max_new_tokens=12),
    evaluate=EvaluateParameters(max_new_tokens=12),
)

BY_PAIRS = RLHFConfig(method="dpo", dpo=DPOConfig(batch_size=32))


def say(number: int, words: int = 4) -> str:
    drawn = random.Random(number)
    return f"{number} " + " ".join(drawn.choice(WORDS) for _ in range(words))


def texts(count: int = 60) -> list[Record]:
    return [text_row(say(n, 30), "books") for n in range(count)]


def pairs(count: int = 60, group: str = "", words: int = 3) -> list[Record]:
    return [
        pair_row(say(n, words), say(n + 900, 2), "chat", group or text_digest("p", n)) for n in range(count)
    ]


def comparisons(count: int = 60, choice: str = "a", words: int = 3) -> list[Record]:
    return [
        comparison_row(
            say(n, words), say(n, 2), say(n + 50, 2),
            choice, "tone", "ana", "chat", text_digest("c", n),  # type: ignore[arg-type]
        )
        for n in range(count)
    ]  # fmt: skip


def ratings(count: int = 60, score: float | None = None) -> list[Record]:
    return [
        rating_row(say(n, 3), say(n, 2), [score or n % 5], ["ana"], "tone", "film", text_digest("r", n))
        for n in range(count)
    ]


def prepared(root: Path, rows: Sequence[Record]) -> tuple[Path, Path]:
    """Return the outputs of the stages `split` and `tokenizer` for the rows."""
    for kind, found in TYPES.items():
        kept = [row for row in rows if type(row) is found]
        write_rows(root / "good" / "rows" / kind / "00000.jsonl", kept)
    parts, tokens = root / "split", root / "tokenizer"
    for folder in (parts, tokens):
        folder.mkdir()
    split(SPLIT, validate=root / "good", out=parts, on_event=ignore_event)
    tokenizer(TOKENS, split=parts, out=tokens, on_event=ignore_event, root=root)
    return parts, tokens


def check(root: Path, rows: Sequence[Record], asked: Trainings = ASKED) -> tuple[str, ...]:
    return check_trainings(asked, *prepared(root, rows))


def test_check_trainings_enough_data_passes(tmp_path: Path) -> None:
    assert check(tmp_path, [*texts(), *pairs(), *comparisons(), *ratings()]) == ()


@pytest.mark.parametrize("labels", [comparisons(), ratings()])
def test_check_trainings_one_kind_of_labels_passes(tmp_path: Path, labels: list[Record]) -> None:
    assert check(tmp_path, [*texts(), *pairs(), *labels]) == ()


def held_out(rows: Sequence[Record], kept: int) -> list[Record]:
    """Return the rows with only `kept` rows of the test split."""
    test = [row for row in rows if split_of(row.group, SPLIT) == "test"]
    assert len(test) > kept
    return [row for row in rows if row not in test[kept:]]


@pytest.mark.parametrize(
    ("kept", "says"),
    [(1, "judged on 1 test prompt alone, and learn from"), (3, "judged on 3 test prompts alone"), (6, "")],
)
def test_check_trainings_few_test_prompts_are_noted(tmp_path: Path, kept: int, says: str) -> None:
    found = check(tmp_path, [*texts(), *held_out(pairs(), kept), *ratings()])
    assert (says in " ".join(found) and len(found) == 1) if says else found == ()


@pytest.mark.parametrize(("least", "is_refused"), [(5, True), (0, False), (9, True)])
def test_check_trainings_fewer_test_prompts_than_the_gate_needs_says_no_champion(
    tmp_path: Path, least: int, is_refused: bool
) -> None:
    asked = replace(ASKED, least_prompts=least, prompts_key="gate.min.win_rate_low")
    (found,) = check(tmp_path, [*texts(), *held_out(pairs(200), 4), *ratings()], asked)
    says = f"No model can become champion, as gate.min.win_rate_low needs {least} test prompts"
    assert (says in found) is is_refused
    assert f"so that there are {max(5, least)} test prompts or more" in found


@pytest.mark.parametrize(
    ("compared", "kept", "says"),
    [(60, 1, "is of 1 held-out comparison,"), (40, 2, "is of 2 held-out comparisons,"), (60, 6, "")],
)
def test_check_trainings_few_held_out_comparisons_are_noted(
    tmp_path: Path, compared: int, kept: int, says: str
) -> None:
    labels = [*held_out(comparisons(compared), kept), *ratings(90)]
    found = check(tmp_path, [*texts(), *pairs(), *labels])
    assert (says in " ".join(found) and len(found) == 1) if says else found == ()


def test_check_trainings_missing_kind_is_noted(tmp_path: Path) -> None:
    for name, rows, says in (
        ("a", texts(), "there are no pairs: the run makes the base model and ends before sft"),
        ("b", [*texts(), *pairs()], "there are no labels: the run ends after sft"),
        ("c", [*texts(), *comparisons()], "there are no pairs"),
    ):
        assert says in check(tmp_path / name, rows)[0]


@pytest.mark.parametrize(
    ("rows", "pairs_say", "labels_say"),
    [
        (texts(), "ends before sft", ""),
        ([*texts(), *comparisons()], "ends before sft", ""),
        ([*texts(), *pairs()], "", "ends after sft"),
        ([*texts(), *pairs(), *ratings()], "", ""),
    ],
)  # fmt: skip
def test_describe_end_missing_kind_names_the_finished_model(
    tmp_path: Path, rows: list[Record], pairs_say: str, labels_say: str
) -> None:
    check(tmp_path, rows)
    for kind, model, says in (("pairs", "base", pairs_say), ("labels", "sft", labels_say)):
        found = describe_end(tmp_path / "split", kind, model)
        assert (says in found and f"chat --model {model}" in found) if says else found == ""


@pytest.mark.parametrize(
    ("rows", "changes", "says"),
    [
        (texts(), {"pretrain": PretrainParameters(batch_size=640)}, "pretrain: the training text fills"),
        (pairs(), {"sft": SFTParameters(batch_size=64)}, "sft: the training pairs fill"),
        (pairs(6), {}, "sft: the training pairs fill"),
        (pairs(words=60), {}, "sft: the training pairs fill 0 rows of 32 tokens, fewer than one batch of 4"),
        (comparisons(3), {}, "reward: the training labels make"),
        (comparisons(choice="tie"), {}, r"reward: all \d+ labels are of one class"),
        (ratings(score=3), {}, r"reward: all \d+ labels are of one class"),
        (ratings(score=-1), {}, r"reward: all \d+ labels .* ignore in place of reject leaves it out"),
        (comparisons(words=60), {}, "reward: reward.reference_tokens: 8 tokens of answer leave room for 0"),
        (pairs(), {"rlhf": RLHFConfig(batch_size=64, max_new_tokens=12)}, "rlhf: .*one batch of 64"),
        (pairs(), {"rlhf": RLHFConfig(batch_size=8, max_new_tokens=32)}, "new_tokens is 32 and the"),
        (comparisons(20), {"rlhf": BY_PAIRS}, r"rlhf: .* have \d+ pairs of answers to one prompt"),
        (ratings(), {"rlhf": BY_PAIRS}, "rlhf: the training labels have 0 pairs of answers to one prompt"),
        (pairs(), {"evaluate": EvaluateParameters(max_new_tokens=1)}, "no test prompt of any source"),
        (pairs(), {"evaluate": EvaluateParameters(sources=("film",))}, "no test prompt of film"),
    ],
)  # fmt: skip
def test_check_trainings_later_failure_is_refused_first(
    tmp_path: Path, rows: list[Record], changes: dict[str, Any], says: str
) -> None:
    others = [texts(), pairs(), comparisons()]
    if type(rows[0]) is TYPES["ratings"]:
        others = others[:2]
    kept = [one for kind in others if type(kind[0]) is not type(rows[0]) for one in kind]
    with pytest.raises(UserError, match=f"nothing was trained, because a later stage would fail: .*{says}"):
        check(tmp_path, [*kept, *rows], replace(ASKED, **changes))


def repeated(people: int) -> list[Record]:
    """Return the same few comparisons, each made by several people."""
    return [
        comparison_row(
            say(n), say(n, 2), say(n + 50, 2), "a", "tone", f"person {i}", "chat", text_digest("c", n)
        )
        for n in range(4)
        for i in range(people)
    ]


@pytest.mark.parametrize("changes", [{}, {"rlhf": BY_PAIRS}])
def test_check_trainings_judgements_of_same_answers_are_one_label(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"reward: the training labels make [01] groups of 4 texts") as error:
        check(tmp_path, [*texts(), *pairs(), *repeated(30)], replace(ASKED, **changes))
    assert ("rlhf: the training labels have" in str(error.value)) is bool(changes)


@pytest.mark.parametrize(("least", "says"), [(-0.9, ""), (0.5, "labels: labels.min_agreement.tone is 0.5")])
def test_check_trainings_low_agreement_is_refused_first(tmp_path: Path, least: float, says: str) -> None:
    # Two people who always contradict each other on half of the pairs.
    other = [
        replace(row, choice="b" if n % 2 else "a", annotator="ben", id=f"{n:016x}")
        for n, row in enumerate(comparisons())
        if isinstance(row, Comparison)
    ]
    asked = replace(ASKED, labels=LabelsParameters(min_agreement={"tone": least}))
    rows = [*texts(), *pairs(), *comparisons(), *other]
    if says:
        with pytest.raises(UserError, match=says):
            check(tmp_path, rows, asked)
    else:
        assert check(tmp_path, rows, asked) == ()


def test_check_trainings_ties_count_beside_one_choice(tmp_path: Path) -> None:
    labels = [*comparisons(choice="tie")[:-1], *comparisons()[-1:]]
    train = [row for row in labels if split_of(row.group, SPLIT) == "train"]
    assert labels[-1] in train and len(train) > 20
    assert check(tmp_path, [*texts(), *pairs(), *labels]) == ()


def test_check_trainings_all_failing_stages_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        check(tmp_path, [*texts(), *pairs(4), *comparisons(3)])
    for stage in ("sft", "reward", "rlhf"):
        assert f"{stage}: " in str(error.value).lower()


@pytest.mark.parametrize(
    ("group", "says"),
    [
        (
            "control",
            "all 60 pairs are of one group ('control'), and a group is never split; if the column group "
            'means something else, set columns: {group: ""} at its source',
        ),
        (
            text_digest("same"),
            "all 60 pairs are of one group, as they share a prompt; add rows about other prompts",
        ),
    ],
)
def test_check_trainings_single_group_is_named(tmp_path: Path, group: str, says: str) -> None:
    with pytest.raises(UserError, match=r"None of the pairs fall into the .* split: " + re.escape(says)):
        check(tmp_path, [*texts(), *pairs(group=group), *comparisons()])


def test_split_texts_of_few_groups_are_refused(tmp_path: Path) -> None:
    rows = [text_row(say(n, 30), "books", f"shelf {n % 2}") for n in range(60)]
    with pytest.raises(UserError, match=r"none of the 60 texts falls .*60 texts are of 2 groups, 30 of them"):
        check(tmp_path, rows)


@pytest.mark.parametrize(
    ("rows", "advised"), [(pairs(), True), (comparisons(), False), ([*pairs(), *comparisons()], True)]
)
def test_split_without_text_is_refused_with_what_to_do(
    tmp_path: Path, rows: list[Any], advised: bool
) -> None:
    says = "there is no text to learn language from; add a source of texts"
    with pytest.raises(UserError, match=says) as refused:
        check(tmp_path, rows)
    assert "name an open model as base_model, which needs no text" in str(refused.value)
    assert ("columns: {text: completion}, fields: {prompt: ignore}" in str(refused.value)) is advised


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_ingest_ignored_group_column_is_not_used(tmp_path: Path, format: str) -> None:
    rows = [(f"Question {n}?", f"Answer {n}.", "control") for n in range(30)]
    if format == "csv":
        text = "prompt,completion,group\n" + "".join(",".join(row) + "\n" for row in rows)
    else:
        text = "".join(f'{{"prompt": "{p}", "completion": "{c}", "group": "{g}"}}\n' for p, c, g in rows)
    (tmp_path / f"a.{format}").write_text(text)
    source = Source("own", files=f"a.{format}", columns={"group": ""})
    context = StageContext(tmp_path, 1, "cpu", 1)
    made = ingest.run(DataParameters((source,)), {}, context, ignore_event)
    (shard,) = (Path(made.path) / "rows" / "pairs").glob("*.jsonl")
    assert made.metrics["pairs"] == 30 and '"group":"control"' not in shard.read_text()
    with pytest.raises(ValueError, match="columns: 'prompt' maps to no column"):
        Source("own", files="a.csv", columns={"prompt": ""})


@pytest.mark.parametrize("large", [False, True])
def test_check_later_stages_dry_run_gives_same_notes(
    tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("tasks.onboarding.source_preview.LARGE", 1000)
    lines = [f'{{"text": "{say(n, 30)}"}}\n' for n in range(80)]
    lines += [f'{{"prompt": "Q {n}?", "completion": "A {n}.", "group": "all"}}\n' for n in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    sources = DataParameters((Source("own", files="a.jsonl", format="rows"),))
    with dry_run(sources, ValidateParameters(), tmp_path, ignore_event) as found:
        notes = check_later_stages(
            found, SplitParameters(0.1, 0.1, "1"), TOKENS, ASKED, tmp_path, ignore_event
        )
    assert notes[0].startswith("there are no labels")
    assert "None of the pairs fall into the valid and test split: all 40 pairs are of one group" in notes[1]


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (
            ("train",),
            "or raise split.validation_fraction and split.test_fraction",
        ),
        (("train", "valid"), "test split: add pairs, or raise split.test_fraction"),
        (("valid", "test"), "train split: add pairs"),
    ],
)
def test_describe_empty_names_the_keys_of_the_shares(
    tmp_path: Path, there: tuple[str, ...], says: str
) -> None:
    for number, name in enumerate(there):
        rows = [pair_row(f"Q {number} {n}?", "Yes.", "mine", f"{number} {n}") for n in range(20)]
        shard = tmp_path / name / "pairs" / "00000.jsonl"
        shard.parent.mkdir(parents=True)
        shard.write_text("".join(json.dumps(vars(row)) + "\n" for row in rows))
    assert _describe_empty(tmp_path, "pairs").endswith(says)


@pytest.mark.parametrize("shared", [False, True])
def test_check_trainings_dpo_counts_rated_answers_to_one_prompt(tmp_path: Path, shared: bool) -> None:
    rated: list[Record] = [
        rating_row(
            f"the mill {n % 2}" if shared else say(n),
            say(n, 2),
            [n % 5],
            ["ana"],
            "tone",
            "film",
            text_digest("r", n),
        )
        for n in range(160)
    ]
    asked = replace(ASKED, rlhf=BY_PAIRS)
    if shared:
        check(tmp_path, [*texts(), *pairs(), *rated], asked)
    else:
        with pytest.raises(UserError, match="have 0 pairs of answers to one prompt"):
            check(tmp_path, [*texts(), *pairs(), *rated], asked)


@pytest.mark.parametrize(
    ("own", "general", "says"),
    [
        (60, 60, ""),
        (3, 60, "the validation text has 0 tokens"),
        (60, 2, "the text of pretrain.replay_sources fills .* pretrain.batch_size or base_context_length"),
        (60, 0, "the text of pretrain.replay_sources fills 0 windows"),
    ],
)
def test_check_trainings_continued_pretraining_needs_both_texts(
    tmp_path: Path, own: int, general: int, says: str
) -> None:
    rows = [*texts(own), *(text_row(f"wiki {say(n, 30)}", "wiki") for n in range(general))]
    parts, _ = prepared(tmp_path, [*rows, *pairs(), *ratings()])
    # The tokenizer of an open model; which one does not matter here.
    open_model = replace(TOKENS, base_model="tokenizer", replay_sources=("wiki",))
    (tmp_path / "again").mkdir()
    tokenizer(open_model, split=parts, out=tmp_path / "again", on_event=ignore_event, root=tmp_path)
    continued = PretrainParameters(batch_size=8, continue_steps=5, replay_sources=("wiki",), replay_share=0.5)
    asked = replace(ASKED, pretrain=continued)
    if says:
        with pytest.raises(UserError, match=says):
            check_trainings(asked, parts, tmp_path / "again")
    else:
        assert check_trainings(asked, parts, tmp_path / "again") == ()
