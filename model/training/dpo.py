"""Alignment by direct preference optimization: the policy learns from pairs of answers.

Rafailov et al., Direct preference optimization, 2023, arXiv:2305.18290; with the loss `ipo`, Azar et al., A
general theoretical paradigm to understand learning from human preferences, 2023, arXiv:2310.12036. The loss
on the chosen answers beside it is that of Pang et al., Iterative reasoning preference optimization, 2024,
arXiv:2404.19733, with the weight of Grattafiori et al., The Llama 3 herd of models, 2024, arXiv:2407.21783.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from model.data.answer_pairs import AnswerPair, read_answer_pairs
from model.data.dataloader import Example, batch_order, each_row
from model.data.preference_dataset import probabilities_or_none
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.events import EventCallback, Message
from model.inference.scoring import sum_logprobs
from model.nn.losses import preference_loss
from model.nn.transformer import Transformer
from model.training.adapters import adapt_model, export_trained
from model.training.devices import compute_dtype
from model.training.dpo_config import DPOConfig
from model.training.kl_controller import BestStep, describe_increase
from model.training.learner import load_for_training, make_learner
from model.training.process_group import ProcessGroup
from model.training.reference_margins import measure_margins, read_margins
from model.training.right_answers import mean_completion_loss, read_right_answers
from model.training.supervised import supervised_update
from model.training.trainer import Trainer
from model.training.training_task import TrainingTask, describe_steps


class DPOTrainer(TrainingTask):
    """The task of DPO.

    The SFT model's margins on the same pairs are the reference. They are measured once, before this training,
    so that no second model is kept.
    """

    def __init__(
        self,
        parameters: DPOConfig,
        policy: Transformer,
        tokenizer: Tokenizer,
        train: Sequence[AnswerPair],
        valid: Sequence[AnswerPair],
        reference: Path,
        right_answers: Sequence[Example],
        seed: int,
        world: ProcessGroup,
    ) -> None:
        self.parameters = parameters.with_derived_values(policy.architecture, len(train))
        self.policy, self.tokenizer, self.seed, self.world = policy, tokenizer, seed, world
        adapt_model(policy, parameters.lora, seed)
        self.train, self.valid, self.right_answers = train, valid, right_answers
        self.learner = make_learner(policy, self.parameters.optimizer, compute_dtype(world.device), world)
        self.reference = read_margins(reference, "train", train)
        self.valid_reference = read_margins(reference, "valid", valid)
        tokens = sum(len(pair.chosen.tokens) + len(pair.rejected.tokens) for pair in train)
        self.tokens_per_step = tokens * self.parameters.batch_size / len(train)
        self.taken = 0
        # A divergence needs answers of the policy; the gate measures it.
        self.best = BestStep(math.inf, self.parameters.max_loss_increase)

    def optimizer_step(self, step: int) -> dict[str, float]:
        chosen = batch_order(self.seed, step, self.parameters.batch_size, len(self.train))
        metrics = supervised_update(
            self.learner, self.parameters, step, len(chosen), len(chosen),
            lambda part: self._pair_loss(chosen[part].tolist()),
        )  # fmt: skip
        self.taken = step + 1
        return metrics

    def _pair_loss(self, chosen: list[int]) -> Tensor:
        pairs = [self.train[i] for i in chosen]
        examples = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
        better, worse = sum_logprobs(self.policy, examples, self.tokenizer.end).view(2, -1)
        reference = self.reference[chosen].to(better.device, better.dtype)
        loss = self._loss(better - worse - reference, pairs)
        if coefficient := self.parameters.chosen_loss_coef:
            # By the token, so that long answers count no more. A pair that is nearly a tie teaches little.
            weights = [(2 * pair.probability - 1) / len(pair.chosen.completion) for pair in pairs]
            loss = loss - coefficient * (better * better.new_tensor(weights)).sum()
        return loss

    def _loss(self, margins: Tensor, pairs: Sequence[AnswerPair]) -> Tensor:
        settings = self.parameters
        probabilities = probabilities_or_none([pair.probability for pair in pairs])
        return preference_loss(margins, settings.beta, settings.loss, settings.label_smoothing, probabilities)

    def describe_batch(self, step: int) -> str:
        chosen = batch_order(self.seed, step, self.parameters.batch_size, len(self.train))
        first = self.tokenizer.decode(self.train[int(chosen[0])].chosen.prompt)
        return f"the answers to {first[:60]!r} and {len(chosen) - 1} more pairs"

    def evaluate_model(self) -> dict[str, float]:
        """Measure the policy on held-out pairs, and keep it if it is the best until now."""
        metrics = self.measure_policy()
        if metrics:
            loss = metrics.get("valid_completion_loss", math.nan)
            weights = self.learner.master_state()
            self.best.keep_if_best(self.taken, -metrics["valid_loss"], 0.0, weights, loss, metrics)
        return metrics

    def measure_policy(self) -> dict[str, float]:
        """Return metrics on the held-out pairs and right answers; empty without pairs."""
        if not self.valid:
            return {}
        with self.learner.whole() as policy:
            margins = measure_margins(policy, self.valid, self.tokenizer.end, self.world)
        margins -= self.valid_reference
        metrics = {
            "valid_loss": self._loss(margins, self.valid).item() / len(margins),
            # DPO's reward of an answer is its log-probability over the reference's, so this is the share of
            # pairs whose chosen answer has the higher reward.
            "valid_accuracy": ((margins > 0).double() + 0.5 * (margins == 0).double()).mean().item(),
            "valid_margin": margins.mean().item(),
        }
        if self.right_answers:
            with self.learner.whole() as policy:
                metrics["valid_completion_loss"] = mean_completion_loss(
                    policy, self.right_answers, self.tokenizer.end, self.world
                )
        return metrics

    def take_best(self, on_event: EventCallback) -> dict[str, float]:
        """Load the best step's weights into the policy and report which it is; return its metrics."""
        best = self.best
        if best.weights is None:
            on_event(Message("there are no held-out pairs to choose a step by, so the last one is kept"))
            return {"best_step": float(self.taken)}
        self.learner.load_masters({name: value.to(self.world.device) for name, value in best.weights.items()})
        metrics = best.chosen_metrics()
        if best.passed_over:
            on_event(
                Message(
                    f"{best.passed_over} steps with a lower loss were skipped, as their loss on "
                    f"{len(self.right_answers)} held-out right answers is more than "
                    f"{describe_increase(best.max_loss_increase)} SFT's (rlhf.dpo.max_loss_increase)"
                )
            )
        return {**metrics, "best_step": float(best.step), "valid_pairs": float(len(self.valid))}

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "best": self.best.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = int(state["taken"])
        self.best.load_state_dict(state["best"])


def train_dpo(
    parameters: dict[str, Any],
    policy: str,
    labels: str,
    reference: str,
    pairs: str,
    folder: str,
    seed: int,
    device: str,
    on_event: EventCallback,
) -> dict[str, float]:
    """Align the assistant in `policy` with the labels' pairs of answers; write it to `folder`/model.

    Args:
        parameters: As in DPOConfig.
        policy: The assistant's model folder.
        labels: The folder of the stage labels.
        reference: The folder of the stage reference.
        pairs: The folder of the stage split, for held-out right answers.
        folder: The output; a checkpoint in it is resumed.
        seed: The seed.
        device: cpu or cuda.
        on_event: The event callback.

    Raises:
        UserError: There are fewer pairs of answers than a batch, or the reference is of other pairs.
    """
    settings = DPOConfig.read(parameters)
    world = ProcessGroup.join_group(device, settings.batch_parts, settings.is_sharded)
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    assistant, tokenizer = load_for_training(
        Path(policy), world, frozen=settings.lora.rank > 0, quantize=settings.lora.is_quantized
    )
    context = assistant.architecture.context_length
    train, valid = (
        read_answer_pairs(Path(labels), split, tokenizer, context, settings.margin, on_event)
        for split in ("train", "valid")
    )
    if len(train) < settings.batch_size:
        raise UserError(
            f"the labels have {len(train)} pairs of answers to one prompt that fit the context, fewer than "
            f"one batch of {settings.batch_size}; add comparisons, lower rlhf.dpo.batch_size, or set "
            "rlhf.method: ppo, which needs no two answers to one prompt"
        )
    world.check_units(settings.batch_size, "rlhf.dpo.batch_size")
    right_answers = read_right_answers(each_row(Path(pairs) / "valid" / "pairs"), tokenizer, context)
    task = DPOTrainer(
        settings, assistant, tokenizer, train, valid, Path(reference), right_answers, seed, world
    )
    chosen = task.parameters
    on_event(
        Message(
            f"{describe_steps(chosen.steps, chosen.batch_size, 'pair')}, of {len(train)}, "
            f"at a learning rate of {chosen.optimizer.learning_rate:.2g}"
        )
    )
    metrics = Trainer(task, chosen, out, seed, on_event).run_training()
    held_out = task.take_best(on_event)
    export_trained(task.learner, settings.lora, assistant, tokenizer, Path(policy), out)
    return {**metrics, **held_out}
