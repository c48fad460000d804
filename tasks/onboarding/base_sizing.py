"""Choose the numbers of a preset that starts from an open model, from the data and the speed of the machine.

Pure arithmetic, as in `model_sizing`. Numbers of our own are marked "ours".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model.nn.model_config import ModelConfig
from model.training.lora_config import LoRAParameters, Quantization
from model.training.optimizer_config import OptimizerParameters
from tasks.data.labels.ratings import LEAST_JUDGE_TEXTS, LabelsParameters
from tasks.engine.catalog import load_stages
from tasks.onboarding.model_sizing import (
    ANSWER_COST,
    EVALUATE_COST,
    FORWARD_COST,
    LEAST_ANSWERS,
    SHORTER,
    START,
    Amount,
    Plan,
    label_groups,
    rating_margin,
)

# Ours, from `make adapt`: the rank that learned a tone.
RANK = 16
# Ours, from `make adapt`: the cost of a token in PPO with adapters, in tokens of an SFT step. Sampling reads
# all weights for each token.
ADAPTED_RLHF_COST = 8.0
# Ours: seconds outside training, and bytes a second at which a training reads and writes its models.
_OUTSIDE, _DISK = 30.0, 3e8
# Ours: the shortest context. A longer one than the data needs would take memory and time.
_LEAST_CONTEXT, _TEXT_CONTEXT = 64, {"cpu": 128, "cuda": 1024}
# Passes over the text and the pairs, ours: an open model knows language, and more passes forget more of it.
TEXT_PASSES, PAIR_PASSES, LABEL_PASSES = 2, 2, 3
# The highest rate of SFT for a model that answers already, ours, from the trials of `make adapt` in
# docs/RESULTS.md: 40 steps at 0.0014 more than doubled the loss on its own answers.
MOST_RATE = 3e-4
# Steps below which Adam's moments have not settled, ours; and windows below which text is not worth training
# on, as a batch would repeat the same few.
FEWEST_STEPS, LEAST_WINDOWS = 10, 16
# The judge's share of the training labels, if it has enough of them.
_JUDGE_SHARE = LabelsParameters().judge_share
# The models that answer in evaluation: the open model with and without examples, SFT's and the aligned one.
_SPEAKERS = 4
_MODELS = 3

Section = dict[str, Any]


@dataclass(frozen=True)
class BasePlan(Plan):
    """The numbers of a preset that starts from an open model.

    Attributes:
        lora: The adapters.
        why_no_text: Why the text is only measured; empty if it is trained on.
        why_method: Why the alignment is by PPO or by DPO; empty without an alignment.
    """

    lora: LoRAParameters = field(default_factory=lambda: LoRAParameters(rank=RANK))
    why_no_text: str = ""
    why_method: str = ""

    @property
    def continues(self) -> bool:
        """Return whether the open model is trained on the text before SFT."""
        return "continue_steps" in self.sections.get("pretrain", {})


def base_adapter(width: int, quantize: Quantization = "none") -> LoRAParameters:
    """Return adapters for a width: of `RANK`, or of less in a model hardly wider than that."""
    return LoRAParameters(rank=max(1, min(RANK, width // 4)), quantize=quantize)


def base_context(amount: Amount, longest: int, device: str) -> int:
    """Return a context for nearly every pair and for text, of at most the model's own.

    Args:
        amount: The amount of data.
        longest: The model's own context.
        device: The device of the trainings.
    """
    wanted = max(_LEAST_CONTEXT, amount.prompt + amount.completion + 8 if amount.pairs else 0)
    found = 1 << math.ceil(math.log2(wanted))
    # Text alone does not ask for more than it fills.
    most = _TEXT_CONTEXT.get(device, _TEXT_CONTEXT["cpu"])
    while found < most and _fills(amount, 2 * found):
        found *= 2
    return min(found, longest)


def _fills(amount: Amount, context: int) -> bool:
    """Return whether the text fills windows of a context several times, in training and held out."""
    return amount.text_tokens // context > 4 * LEAST_WINDOWS and amount.valid_tokens // context > 1


def plan_base_run(
    amount: Amount,
    shape: ModelConfig,
    pace: float,
    minutes: float,
    device: str = "cpu",
    answers: bool = False,
    quantize: Quantization = "none",
) -> BasePlan:
    """Return numbers for a run of at most so many minutes that starts from an open model.

    If even the fewest sensible steps take longer, the shortest plan is returned.

    Args:
        amount: The amount of data in the tokens of the model.
        shape: The model, with the context of the trainings.
        pace: The tokens a second of a training step of this model with adapters.
        minutes: The longest time of the run.
        device: The device of the trainings.
        answers: Whether the model answers already, by a chat template of its own.
        quantize: How the frozen weights are kept; see LoRAParameters.
    """
    start = START + 16 * shape.num_parameters / _DISK
    for share in SHORTER:
        planner = _Planner(amount, shape, pace, start, device, answers, quantize)
        found = planner.plan(max(20.0, minutes * 60 - _OUTSIDE) * share)
        if found.minutes <= minutes:
            break
    return found


class _Planner:
    """The stages of one plan; `seconds` fills up as they are planned."""

    def __init__(
        self,
        amount: Amount,
        shape: ModelConfig,
        pace: float,
        start: float,
        device: str,
        answers: bool,
        quantize: Quantization,
    ) -> None:
        self.amount, self.shape, self.pace, self.start = amount, shape, pace, start
        self.answers = answers
        self.lora = base_adapter(shape.hidden_size, quantize)
        self.largest_batch = 64 if device == "cuda" else 16
        context = shape.context_length
        self.a_prompt = min(amount.prompt, context // 2)
        self.answer_room = max(4, min(context // 2, amount.completion + 8))
        self.an_answer = self.a_prompt + min(self.answer_room, max(1.0, amount.answer) * 1.5)
        self.aligns = bool(amount.pairs and (amount.rated or amount.compared))
        self.sections: dict[str, Section] = {}
        self.seconds: dict[str, float] = {}
        self.trained = 0

    def plan(self, budget: float) -> BasePlan:
        """Return numbers for trainings that together take about `budget` seconds."""
        why_no_text = self._explain_no_text()
        names = [
            *([] if why_no_text else ["pretrain"]),
            *(["sft"] if self.amount.pairs else []),
            *(["reward", "rlhf", "evaluate"] if self.aligns else []),
        ]
        shares = {name: load_stages()[name].declaration.time_share for name in names}
        whole = sum(shares.values()) or 1.0
        seconds = {name: budget * share / whole - self.start for name, share in shares.items()}
        self._measure_text()
        if "pretrain" in names:
            self._continue_text(seconds["pretrain"])
        if "sft" in names:
            self._fine_tune(seconds["sft"])
        why_method = ""
        if self.aligns:
            self._score(seconds["reward"])
            self._evaluate(seconds["evaluate"])
            # What the others leave: their data may ask for less than their share.
            taken = sum(self.start + value for value in self.seconds.values())
            why_method = self._align(max(seconds["rlhf"], budget - taken - self.start))
            self.sections["evaluate"] = self.sections.pop("evaluate")
            self.seconds["evaluate"] = self.seconds.pop("evaluate")
        timed = {stage: self.start + value for stage, value in self.seconds.items()}
        return BasePlan(
            self.shape, "the open model", self.sections, timed | {"the rest": _OUTSIDE}, self.pace,
            self.trained, lora=self.lora, why_no_text=why_no_text,
            why_method=why_method,
        )  # fmt: skip

    def _explain_no_text(self) -> str:
        amount, context = self.amount, self.shape.context_length
        windows = amount.text_tokens // context
        if windows >= LEAST_WINDOWS and amount.valid_tokens > context:
            return ""
        return (
            f"the text has {amount.text_tokens:,} tokens to train on and {amount.valid_tokens:,} held out, "
            f"too few for windows of {context}"
        )

    def _measure_text(self) -> None:
        """Bound the held-out text that is measured: at most about as much as 20 seconds read."""
        if not self.amount.text_tokens:
            return
        most = max(2 * self.shape.context_length, min(60_000, round(20 * self.pace / FORWARD_COST)))
        evaluated = max(1, min(self.amount.valid_tokens, most))
        self.sections["pretrain"] = {"max_eval_tokens": evaluated}
        self.seconds["pretrain"] = FORWARD_COST * evaluated / self.pace

    def _continue_text(self, seconds: float) -> None:
        """Plan two passes over the text, or less if the time is short."""
        context = self.shape.context_length
        windows = self.amount.text_tokens // context
        evaluated = self.sections["pretrain"]["max_eval_tokens"]
        # Before, after, and in between.
        evaluations = 3 + 4
        held_out = FORWARD_COST * evaluated * evaluations
        affordable = max(0.0, seconds * self.pace - held_out) / context
        batch = self._batch(TEXT_PASSES * windows, affordable, windows // 4)
        steps = _steps(TEXT_PASSES * windows / batch, affordable / batch)
        self.trained = steps * batch * context
        self.sections["pretrain"] = {
            "continue_steps": steps, "batch_size": batch, "micro_batch_size": 0,
            "eval_every": max(1, steps // 4), "save_every": max(1, steps // 10),
            "max_eval_tokens": evaluated, "early_stopping_patience": 2,
        }  # fmt: skip
        self.seconds["pretrain"] = (self.trained + held_out) / self.pace

    def _fine_tune(self, seconds: float) -> None:
        """Plan two passes over the packed pairs, or less if the time is short."""
        amount, context = self.amount, self.shape.context_length
        a_pair = min(self.a_prompt + max(1.0, amount.answer), context)
        rows = max(1, int(amount.pairs * a_pair / context))
        held_out = FORWARD_COST * rows * amount.held_out
        affordable = max(0.0, seconds * self.pace / context - 4 * held_out)
        batch = self._batch(PAIR_PASSES * rows, affordable, rows // 2)
        steps = _steps(PAIR_PASSES * rows / batch, affordable / batch)
        parts = 2 if held_out * 4 <= steps * batch else 1
        self.sections["sft"] = {
            "steps": steps, "batch_size": batch, "micro_batch_size": 0,
            "eval_every": max(1, steps // parts), "save_every": max(1, steps // 5),
            "early_stopping_patience": 2,
        }  # fmt: skip
        usual = OptimizerParameters().for_model(self.shape, adapter=True).learning_rate
        if self.answers and usual > MOST_RATE:
            self.sections["sft"]["learning_rate"] = MOST_RATE
        self.seconds["sft"] = (steps * batch + (2 + parts) * held_out) * context / self.pace

    def _score(self, seconds: float) -> None:
        """Plan three passes over the labels, or less if the time is short, and the answers of the reference.

        The judge is a second reward model, trained in the same way.
        """
        amount = self.amount
        texts = 2 * sum(amount.compared.values()) + sum(amount.rated.values())
        judged = texts * _JUDGE_SHARE >= LEAST_JUDGE_TEXTS
        models = 2 if judged else 1
        kept = 1 - _JUDGE_SHARE if judged else 1.0
        group = next((size for size in (8, 4, 2) if label_groups(amount, size) * kept >= 8), 2)
        groups = max(1, int(label_groups(amount, group) * kept))
        a_text = min(self.shape.context_length, self.a_prompt + max(1.0, amount.answer))
        # A quarter of the time, as these answers only normalise the scores.
        fitting = 0.25 * seconds * self.pace / models / (ADAPTED_RLHF_COST * ANSWER_COST * self.an_answer)
        samples = max(16, min(96, round(fitting)))
        sampled = ADAPTED_RLHF_COST * ANSWER_COST * samples * self.an_answer
        held_out = FORWARD_COST * texts * amount.held_out * a_text
        affordable = max(0.0, seconds * self.pace / models - sampled - 3 * held_out) / (group * a_text)
        batch = self._batch(LABEL_PASSES * groups, affordable, groups // 4, most=8)
        # The judge learns from fewer labels than the reward model, and needs a batch of them too.
        if judged:
            judge_groups = int(label_groups(amount, group) * _JUDGE_SHARE)
            batch = max(1, min(batch, judge_groups // 2))
        steps = _steps(LABEL_PASSES * groups / batch, affordable / batch)
        low, high = amount.scores
        self.sections["reward"] = {
            "steps": steps, "batch_size": batch, "micro_batch_size": 0, "group_size": group,
            "margin": rating_margin(low, high), "eval_every": max(1, steps // 2),
            "save_every": max(1, steps // 4), "early_stopping_patience": 2,
            "num_reference_samples": samples, "reference_tokens": self.answer_room,
        }  # fmt: skip
        one = (steps * batch * group * a_text + 4 * held_out + sampled) / self.pace
        self.seconds["reward"] = one
        if judged:
            self.seconds["judge"] = one

    def _align(self, seconds: float) -> str:
        """Plan PPO; or DPO where PPO would take too long and people compared answers. Return the reason."""
        amount = self.amount
        evaluated = min(32, max(1, round(amount.prompts * amount.held_out)))
        answers = seconds * self.pace / (ADAPTED_RLHF_COST * self.an_answer)
        # An evaluation answers and scores, and does not learn.
        affordable = max(0.0, answers - ANSWER_COST * evaluated * 4)
        # Some prompts are too long to leave room for an answer.
        usable = max(1, int(amount.prompts * 0.7))
        compared = sum(amount.compared.values())
        if affordable < FEWEST_STEPS * LEAST_ANSWERS and compared * (1 - _JUDGE_SHARE) >= LEAST_ANSWERS:
            return self._align_by_labels(seconds, compared, affordable)
        batch = 1 << int(math.log2(max(1.0, min(64, usable, affordable / FEWEST_STEPS))))
        minibatches = max(1, min(4, batch // LEAST_ANSWERS))
        steps = max(FEWEST_STEPS, min(100, round(affordable / batch)))
        self.sections["rlhf"] = {
            "steps": steps, "batch_size": batch, "num_mini_batches": minibatches, "ppo_epochs": 2,
            "max_new_tokens": self.answer_room, "micro_batch_size": 0, "sampling_batch_size": 0,
            "eval_every": max(1, steps // 3), "save_every": max(1, steps // 3),
            "num_eval_prompts": evaluated, "short_answer_penalty": 1.0,
        }  # fmt: skip
        asked = steps * batch + ANSWER_COST * evaluated * 5
        self.seconds["rlhf"] = ADAPTED_RLHF_COST * asked * self.an_answer / self.pace
        return (
            f"PPO: {steps} steps of {batch} answers fit the time. It raises the scores of the reward model, "
            "which learned from all labels"
        )

    def _align_by_labels(self, seconds: float, compared: int, affordable: float) -> str:
        """Plan DPO on two passes over the comparisons, or less if the time is short."""
        a_pair = 2 * min(self.shape.context_length, self.a_prompt + max(1.0, self.amount.answer))
        pairs = int(compared * (1 - _JUDGE_SHARE))
        held_out = FORWARD_COST * compared * self.amount.held_out
        # The reference is measured once, without gradients.
        once = FORWARD_COST * pairs
        fitting = max(0.0, seconds * self.pace / a_pair - 3 * held_out - once)
        batch = self._batch(2 * pairs, fitting, pairs // 2)
        steps = _steps(2 * pairs / batch, fitting / batch)
        self.sections["rlhf"] = {
            "method": "dpo",
            "dpo": {
                "steps": steps, "batch_size": batch, "micro_batch_size": 0,
                "eval_every": max(1, steps // 2), "save_every": max(1, steps // 4),
            },
        }  # fmt: skip
        self.seconds["rlhf"] = (steps * batch + 4 * held_out + once) * a_pair / self.pace
        return (
            f"DPO: the time is enough for {int(affordable):,} answers of PPO, and {FEWEST_STEPS} steps of "
            f"{LEAST_ANSWERS} are the fewest that are not mostly noise. DPO learns from the comparisons "
            "themselves"
        )

    def _evaluate(self, seconds: float) -> None:
        """Plan the evaluation: answers to test prompts, and the loss on test pairs and on text."""
        amount, context = self.amount, self.shape.context_length
        an_answer = _SPEAKERS * (self.a_prompt + max(1.0, amount.answer))
        prompts = max(8, min(256, round(seconds * self.pace / (EVALUATE_COST * an_answer))))
        rows = max(32, min(512, round(0.1 * seconds * self.pace / (FORWARD_COST * an_answer))))
        text = max(2 * context, min(65_536, round(0.1 * seconds * self.pace / (FORWARD_COST * _MODELS))))
        self.sections["evaluate"] = {
            "num_prompts": prompts, "max_new_tokens": self.answer_room, "num_completions": rows,
            "text_tokens": text,
        }  # fmt: skip
        there = amount.pairs * amount.held_out
        asked = EVALUATE_COST * min(prompts, amount.prompts * amount.held_out + 1) * an_answer
        read = FORWARD_COST * (
            min(rows, there) * an_answer
            + _MODELS * min(text, amount.valid_tokens if amount.text_tokens else 0)
        )
        self.seconds["evaluate"] = (asked + read) / self.pace

    def _batch(self, wanted: float, affordable: float, most_units: int, most: int = 0) -> int:
        """Return a batch that leaves at least `FEWEST_STEPS` steps of all units and of the time."""
        fewest = min(wanted, affordable) / FEWEST_STEPS
        limit = min(most or self.largest_batch, max(1, most_units), max(1.0, fewest))
        return 1 << int(math.log2(limit))


def _steps(wanted: float, affordable: float) -> int:
    return max(FEWEST_STEPS, round(min(wanted, affordable)))


def lower_memory(sections: Mapping[str, Section], name: str) -> bool:
    """Halve what a training computes at once, in place; return False if nothing is left to lower.

    The result of a training changes by rounding only.

    Args:
        sections: The sections of a plan.
        name: The training's section, such as `sft` or `rlhf.dpo`.
    """
    outer, _, inner = name.partition(".")
    section = sections[outer][inner] if inner else sections[outer]
    if "batch_size" not in section:
        return False
    at_once = section["micro_batch_size"] or section["batch_size"] // section.get("num_mini_batches", 1)
    lowered = False
    if at_once > 1:
        section["micro_batch_size"] = at_once // 2
        lowered = True
    if "sampling_batch_size" in section:
        sampled = section["sampling_batch_size"] or section["batch_size"]
        if sampled > 1:
            section["sampling_batch_size"] = sampled // 2
            lowered = True
    if not lowered and not section.get("activation_checkpointing"):
        section["activation_checkpointing"] = lowered = True
    return lowered
