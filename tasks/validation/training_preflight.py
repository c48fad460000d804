"""Check before training that the splits fill the batches and contexts that each training asks for."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from model.data.chat_template import Row, chat_prompt, example_of, prompt_key
from model.data.dataloader import Packing, TokenFile, WindowOrder, rows_by_source
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.evaluation.evaluate_config import EvaluateParameters
from model.inference.prompting import Chat
from model.training.pretrain_config import PretrainParameters
from model.training.reward_config import RewardParameters
from model.training.rlhf_config import RLHFConfig
from model.training.sft_config import SFTParameters, named_pairs
from tasks.common.counts import counted
from tasks.common.names import stratum_key
from tasks.common.program_call import program_call
from tasks.data.groups import describe_few_groups
from tasks.data.labels.comparisons import Comparisons, refuse_one_class
from tasks.data.labels.judgements import canonical_choice
from tasks.data.labels.label_agreement import agreement_of_split, refuse_low_agreement
from tasks.data.labels.ratings import Kept, LabelsParameters, Ratings, find_judge_share
from tasks.data.records import LABEL_KINDS, list_shards
from tasks.data.splits import LEAST_TEST_PROMPTS, SPLITS

_FEW = 5  # held-out rows; metrics on fewer are mostly noise


@dataclass(frozen=True)
class Trainings:
    """The parameters of a preset's trainings that determine how much data they need.

    Attributes:
        context: The model's context in tokens.
        adopted: Whether the base model comes from elsewhere, so that nothing is pretrained.
        pretrain: Parameters of pretraining.
        sft: Parameters of supervised fine-tuning.
        labels: Parameters of the selection of labels.
        reward: Parameters of the reward model.
        rlhf: Parameters of RLHF.
        evaluate: Parameters of evaluation.
        least_prompts: The test prompts without which the gate refuses every model; 0: there is no such bound.
        prompts_key: The threshold that needs so many.
    """

    context: int
    adopted: bool = False
    pretrain: PretrainParameters = field(default_factory=PretrainParameters)
    sft: SFTParameters = field(default_factory=SFTParameters)
    labels: LabelsParameters = field(default_factory=LabelsParameters)
    reward: RewardParameters = field(default_factory=RewardParameters)
    rlhf: RLHFConfig = field(default_factory=RLHFConfig)
    evaluate: EvaluateParameters = field(default_factory=EvaluateParameters)
    least_prompts: int = LEAST_TEST_PROMPTS
    prompts_key: str = "gate.min.prompts"


def check_trainings(asked: Trainings, split: Path, tokenizer: Path) -> tuple[str, ...]:
    """Check every training against the split and the tokenizer, before the first of them starts.

    Large data is read only until there is enough.

    Args:
        asked: The parameters of the trainings.
        split: The output of the stage split.
        tokenizer: The output of the stage tokenizer. Its token files may be missing if the text is large.

    Returns:
        Sentences for the user. The first says why the run ends before its last stage, if it does. Others name
        kinds of rows that a split lacks, or has too few of for reliable metrics.

    Raises:
        UserError: There are rows, but too few for a training. The message names each such stage.
    """
    encoder = Tokenizer.load(tokenizer)
    faults = _Faults()
    # Without token files the text is large, and taken to be enough.
    if not asked.adopted and (tokenizer / "tokens.json").exists():
        faults.note("pretrain", lambda: _check_text(asked, tokenizer))
    missing = missing_rows(split)
    if _rows_by_split(split, "pairs"):
        # All checks run even after one failed, so that the user can correct everything before the next run.
        faults.note("sft", lambda: _check_pairs(asked, split, encoder))
    if not missing:
        if asked.labels.min_agreement:
            faults.note("labels", lambda: _check_agreement(asked, split))
        faults.note("reward", lambda: _check_labels(asked, split, encoder))
        if asked.rlhf.method == "dpo":
            faults.note("rlhf", lambda: _check_answer_pairs(asked, split))
        else:
            faults.note("rlhf", lambda: _check_prompts(asked, split, encoder))
        faults.note("evaluate", lambda: _check_test_pairs(asked, split, encoder))
    uneven = tuple(filter(None, (_describe_empty(split, kind) for kind in ("pairs", *LABEL_KINDS))))
    if faults.found:
        raise UserError(
            ". ".join([f"nothing was trained, because a later stage would fail: {faults}", *uneven])
        )
    few = () if missing else tuple(filter(None, (_few_prompts(asked, split, encoder), _few_choices(split))))
    return (*([missing] if missing else []), *uneven, *few)


_ENDS = {
    "pairs": "there are no pairs: the run makes the base model and ends before sft; add pairs",
    "labels": "there are no labels: the run ends after sft; add ratings or comparisons",
}


def missing_rows(split: Path) -> str:
    """Return why a run ends before its last stage for lack of a kind of rows; empty if it does not."""
    return _ENDS.get(_missing_kind(split), "")


def describe_end(split: Path, kind: str, model: str) -> str:
    """Return the last sentence of a run that ends for lack of a kind of rows; empty if it has them.

    Args:
        split: The output of the stage split.
        kind: What the next stage learns from: pairs or labels.
        model: The name of the model that is ready.
    """
    if _missing_kind(split) != kind:
        return ""
    return f"{_ENDS[kind]}. The {model} model is ready: `{program_call()} chat --model {model}`"


def _missing_kind(split: Path) -> str:
    """Return the kind of rows for lack of which a run ends early; empty for none."""
    if not _rows_by_split(split, "pairs"):
        return "pairs"
    return "" if any(_rows_by_split(split, kind) for kind in LABEL_KINDS) else "labels"


_FRACTIONS = {"valid": "validation_fraction", "test": "test_fraction"}


def _rows_by_split(split: Path, kind: str) -> list[str]:
    """Return the splits that have rows of a kind."""
    return [name for name in SPLITS if any(path.stat().st_size for path in list_shards(split / name / kind))]


def _describe_empty(split: Path, kind: str) -> str:
    """Return a sentence about splits that lack a kind of rows; empty if every split has some, or none has."""
    there = _rows_by_split(split, kind)
    empty = [name for name in SPLITS if name not in there]
    if not there or not empty:
        return ""
    few = describe_few_groups(kind, (path for name in there for path in list_shards(split / name / kind)))
    shares = " and ".join(f"split.{_FRACTIONS[name]}" for name in empty if name in _FRACTIONS)
    advice = few or f"add {kind}" + (f", or raise {shares}" if shares else "")
    return f"None of the {kind} fall into the {' and '.join(empty)} split: {advice}"


class _Faults:
    """The stages that would stop, each with the message of its error."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def note(self, stage: str, check: Callable[[], None]) -> None:
        try:
            check()
        except UserError as error:
            self.found[stage] = str(error)

    def __str__(self) -> str:
        return "; ".join(f"{stage}: {sentence}" for stage, sentence in self.found.items())


def _check_text(asked: Trainings, tokenizer: Path) -> None:
    vocabulary = int(json.loads((tokenizer / "tokens.json").read_text())["vocabulary"])
    # Only the number of windows matters here, for which no token needs a length.
    lengths = np.zeros(vocabulary, np.int64)
    batch, general = asked.pretrain.batch_size, asked.pretrain.replayed_windows
    parts = [("", "training text", batch - general)]
    if general:
        parts.append((".replay", "text of pretrain.replay_sources", general))
    keys = "base_context_length" if asked.pretrain.continue_steps else "architecture.context_length"
    for ending, what, windows in parts:
        train = TokenFile(tokenizer, f"train{ending}", lengths)
        WindowOrder(train, asked.context, windows, 0, what, f"pretrain.batch_size or {keys}")
        held_out = TokenFile(tokenizer, f"valid{ending}", lengths)
        if not held_out.num_windows(asked.context):
            raise UserError(
                f"the validation {what.removeprefix('training ')} has {len(held_out.tokens)} tokens, fewer "
                f"than one window of {asked.context}; add text, or raise split.validation_fraction"
            )


def _check_pairs(asked: Trainings, split: Path, tokenizer: Tokenizer) -> None:
    """Raise UserError where the training pairs fill fewer rows than a batch of SFT."""
    context, batch = asked.context, asked.sft.batch_size
    lengths: list[int] = []
    filled = 0
    for row in rows_by_source(split / "train" / "pairs", asked.sft.sources):
        length = len(example_of(row, tokenizer, context + 1).tokens) - 1
        # A row holds at most `context` tokens, so this many tokens fill at least `batch` rows.
        lengths.append(length)
        filled += length if length <= context else 0
        if filled >= batch * context:
            return
    rows = len(Packing.pack_examples(lengths, context).rows)
    if rows < batch:
        raise UserError(
            f"{named_pairs(asked.sft.sources)} fill {rows} rows of {context} tokens, fewer than one batch of "
            f"{batch}; add pairs, or lower sft.batch_size"
        )


def _check_agreement(asked: Trainings, split: Path) -> None:
    """Raise UserError where people agree less on an aspect than the preset asks for."""
    refuse_low_agreement(asked.labels, agreement_of_split(split, asked.labels))


def _check_labels(asked: Trainings, split: Path, tokenizer: Tokenizer) -> None:
    """Raise UserError where the training labels make fewer groups than a batch, or are all of one class."""
    settings = asked.reward
    compared, strata, apart = Counter[str](), Counter[str](), False
    prompts: dict[tuple[str, str], Row] = {}
    share = find_judge_share(split / "train", asked.labels)
    comparisons = Comparisons(split / "train", asked.labels, Kept(share))
    groups = 0
    seen: set[int] = set()
    for choice in comparisons.judged():
        # Any decided comparison is a preference, so no two scores need to differ.
        apart = apart or choice.choice != "tie"
        subject = canonical_choice(vars(choice)).subject
        # Several judgements of the same answers become one label.
        if subject in seen:
            continue
        seen.add(subject)
        compared[stratum_key(choice.aspect, choice.source)] += 1
        _remember_prompt(prompts, {"prompt": choice.prompt, "history": choice.history}, asked, tokenizer)
        groups = sum(count // (settings.group_size // 2) for count in compared.values())
        # Comparisons alone are enough here, so the ratings, which may be far more, are not read.
        if groups >= settings.batch_size and len(prompts) > 1 and apart:
            return
    ratings = Ratings(split / "train", asked.labels, Kept(share))
    for rating in ratings.read():
        strata[stratum_key(rating.aspect, rating.source)] += 1
        _remember_prompt(prompts, {"prompt": rating.prompt, "history": rating.history}, asked, tokenizer)
    refuse_one_class(ratings, comparisons, asked.labels.margin)
    groups += sum(count // settings.group_size for count in strata.values())
    if groups < settings.batch_size:
        raise UserError(
            f"the training labels make {groups} groups of {settings.group_size} texts, fewer than one "
            "batch of "
            f"{settings.batch_size}; add labels, or lower reward.batch_size or reward.group_size"
            + (f"; labels.judge_share keeps {share:.0%} of them for the judge" if share else "")
        )
    if not apart and all(high - low < settings.margin for low, high in ratings.ends.values()):
        raise UserError(
            f"all {ratings.count} labels are of one class: no two scores of one aspect and source are "
            f"{settings.margin} apart; add other labels, or lower reward.margin"
        )
    if len(prompts) < 2:
        raise UserError(
            f"reward.reference_tokens: {settings.reference_tokens} tokens of answer leave room for "
            f"{len(prompts)} of the labels' prompts in a context of {asked.context}, and at least 2 are "
            "needed; lower it, or add labels about other prompts"
        )


def _remember_prompt(
    prompts: dict[tuple[str, str], Row], row: Row, asked: Trainings, tokenizer: Tokenizer
) -> None:
    """Note a prompt that leaves room for a reference answer, as long as fewer than two are known."""
    room = asked.context - asked.reward.reference_tokens
    if len(prompts) < 2 and len(chat_prompt(row, tokenizer, room)[0]) <= room:
        prompts.setdefault(prompt_key(row), row)


def _check_prompts(asked: Trainings, split: Path, tokenizer: Tokenizer) -> None:
    """Raise UserError where fewer training prompts than a batch of RLHF leave room for an answer."""
    settings = asked.rlhf
    room = asked.context - settings.max_new_tokens
    if room < 1:
        raise UserError(
            f"rlhf.max_new_tokens is {settings.max_new_tokens} and the context {asked.context}: no "
            "prompt fits "
            "before it"
        )
    rows = rows_by_source(split / "train" / "pairs", settings.sources)
    fitting = (row for row in rows if len(chat_prompt(row, tokenizer, room)[0]) <= room)
    count = sum(1 for _ in islice(fitting, settings.batch_size))
    if count < settings.batch_size:
        raise UserError(
            f"{count} prompts fit rlhf.sources and the context of {asked.context} tokens, fewer than one "
            f"batch of {settings.batch_size}; add pairs, or lower rlhf.batch_size or rlhf.max_new_tokens"
        )


def _check_answer_pairs(asked: Trainings, split: Path) -> None:
    """Raise UserError where the training labels have fewer pairs of answers to one prompt than a batch."""
    settings = asked.rlhf.dpo
    kept = Kept(find_judge_share(split / "train", asked.labels))
    comparisons = Comparisons(split / "train", asked.labels, kept)
    decided = (canonical_choice(vars(row)).subject for row in comparisons.judged() if row.choice != "tie")
    subjects: set[int] = set()
    for subject in decided:
        subjects.add(subject)
        if len(subjects) >= settings.batch_size:
            return
    count = len(subjects)
    scores: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for rating in Ratings(split / "train", asked.labels, kept).read():
        key = prompt_key({"prompt": rating.prompt, "history": rating.history})
        scores[(stratum_key(rating.aspect, rating.source), *key)].append(rating.score)
    for values in scores.values():
        values.sort()
        count += sum(high - low >= settings.margin for low, high in zip(values, values[::-1], strict=True))
    if count < settings.batch_size:
        raise UserError(
            f"the training labels have {count} pairs of answers to one prompt, fewer than one batch of "
            f"{settings.batch_size}; add comparisons, lower rlhf.dpo.batch_size, or set rlhf.method: ppo"
        )


def _few_prompts(asked: Trainings, split: Path, tokenizer: Tokenizer) -> str:
    """Return a sentence if the models are evaluated on few prompts; empty if there are enough."""
    settings = asked.evaluate
    room = asked.context - settings.max_new_tokens
    enough = max(_FEW, asked.least_prompts)
    prompts: set[tuple[str, str]] = set()
    for row in rows_by_source(split / "test" / "pairs", settings.sources):
        if len(chat_prompt(row, tokenizer, room)[0]) <= room:
            prompts.add(prompt_key(row))
        if len(prompts) >= enough:
            return ""
    count = counted(len(prompts), "test prompts")
    refused = ""
    if len(prompts) < asked.least_prompts:
        needs = f"{asked.prompts_key} needs {asked.least_prompts:,} test prompts"
        refused = f". No model can become champion, as {needs}"
    labels = sum(_count(split / "train" / kind) for kind in LABEL_KINDS)
    return (
        f"The models are judged on {count} alone, and learn from {labels:,} labels: the prompts are those of "
        f"pairs{refused}. Add pairs, or raise split.test_fraction, so that there are {enough} test prompts "
        "or more"
    )


def _few_choices(split: Path) -> str:
    """Return a sentence if few comparisons are held out beside many ratings; empty if there is no need."""
    held_out = _count(split / "test" / "comparisons")
    if held_out >= _FEW:
        return ""
    trained, ratings = (_count(split / "train" / kind) for kind in LABEL_KINDS)
    if not 0 < trained + held_out <= ratings:
        return ""
    figure = counted(held_out, "held-out comparisons")
    return (
        f"The reward model learns from {trained:,} comparisons beside {ratings:,} ratings, and its figure on "
        f"comparisons is of {figure}, which is unreliable. Add comparisons"
    )


def _count(folder: Path) -> int:
    """Return the number of rows in the shards of a folder."""
    return sum(path.read_bytes().count(b"\n") for path in list_shards(folder))


def _check_test_pairs(asked: Trainings, split: Path, tokenizer: Tokenizer) -> None:
    """Raise UserError where no test pair leaves room for an answer in evaluation."""
    settings = asked.evaluate
    # The same encoding as in evaluation, so that what fits here fits there.
    chat = Chat(tokenizer, asked.context - settings.max_new_tokens)
    for row in rows_by_source(split / "test" / "pairs", settings.sources):
        example = chat.encode_example(row)
        fits = len(example.prompt) + settings.max_new_tokens <= asked.context
        if fits and len(example.completion) <= settings.max_new_tokens:
            return
    raise UserError(
        f"no test prompt of {', '.join(settings.sources) or 'any source'} leaves room for an answer in a "
        f"context of {asked.context} tokens; add pairs, or change evaluate.sources or "
        "evaluate.max_new_tokens "
        f"({settings.max_new_tokens})"
    )
