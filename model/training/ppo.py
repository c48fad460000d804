"""Reinforcement learning from human feedback: the reward model scores the assistant's own answers.

PPO (Schulman et al., 2017, arXiv:1707.06347) with a penalty on the divergence from the SFT model (Ziegler et
al., 2019, arXiv:1909.08593; Ouyang et al., 2022, arXiv:2203.02155). The details follow Huang et al., 2024,
arXiv:2403.17031.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.data.chat_template import read_prompts
from model.data.chunks import chunk_slices
from model.data.dataloader import Example, batch_order, each_row, seeded_rng
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.events import EventCallback, Message
from model.nn.adapter_view import AdapterView, Body
from model.nn.losses import (
    generalized_advantages,
    policy_loss,
    value_loss,
    whiten_values,
)
from model.nn.transformer import Transformer
from model.training.adapters import adapt_model, export_trained
from model.training.devices import compute_dtype
from model.training.kl_controller import BestStep, StepLimit, estimate_kl
from model.training.learner import freeze_module, load_for_training, make_learner
from model.training.ppo_config import PPOConfig
from model.training.process_group import ProcessGroup
from model.training.reward import load_scorer, shares_backbone
from model.training.right_answers import mean_completion_loss, read_right_answers
from model.training.rollouts import ActorCritic, RolloutCollector, Rollouts, ScoreFunction
from model.training.stopping import StepAbandoned
from model.training.trainer import Trainer
from model.training.training_task import TrainingTask, describe_steps

MOST_TRIES = 6  # of one step, each at half the rate of the one before
# Mean distance of the first minibatch's ratios from 1: by float32 rounding, by bfloat16 rounding, by a bug.
RATIO_NOISE, RATIO_NOISE_BFLOAT16, RATIO_BROKEN = 1e-3, 0.05, 0.5


class PPOTrainer(TrainingTask):
    """The PPO task: answers, scores, advantages, and a few clipped optimizer steps on them."""

    def __init__(
        self,
        parameters: PPOConfig,
        policy: Transformer,
        reference: Body,
        tokenizer: Tokenizer,
        score: ScoreFunction,
        prompts: list[list[int]],
        held_out: list[list[int]],
        seed: int,
        world: ProcessGroup,
        on_event: EventCallback = lambda event: None,
        right_answers: Sequence[Example] = (),
    ) -> None:
        parameters = parameters.with_derived_values(policy.architecture.hidden_size, len(prompts))
        self.parameters = parameters
        self.on_event = on_event
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.held_out = held_out
        self.right_answers = right_answers
        self.seed = seed
        self.world = world
        dtype = compute_dtype(world.device)
        self.policy = ActorCritic(policy)
        self.learner = make_learner(self.policy, parameters.optimizer, dtype, world)
        width = max(len(prompt) for prompt in [*prompts, *held_out]) + parameters.max_new_tokens
        self.collector = RolloutCollector(
            parameters,
            self.learner,
            freeze_module(reference, dtype, world),
            score,
            tokenizer.end,
            width,
            policy.architecture.context_length,
            world.device,
        )
        self.kl_coefficient = parameters.init_kl_coef
        self.reference_length = 0.0
        self.seen = [0.0, 0.0]
        self.taken = 0
        self.limit = StepLimit(parameters.max_kl, parameters.max_step_kl)
        self.best = BestStep(parameters.max_kl, parameters.max_loss_increase)
        self.ratio_off, self.warned = 0.0, False

    @torch.no_grad()
    def roll_out(self, prompts: list[list[int]], path: tuple[int, ...]) -> Rollouts:
        """Answer and score the prompts; the random numbers do not depend on the number of processes.

        Args:
            prompts: The token rows of the prompts.
            path: The key of the random numbers, as in `seeded_rng`.
        """
        count = len(prompts)
        # For all rows, then cut: a row's numbers do not depend on the number of processes.
        uniforms = seeded_rng(self.seed, *path).random((count, self.parameters.max_new_tokens))
        own = self.world.shard_parts(count)
        # A process without a part answers one prompt too, for the shapes of the results.
        parts = [
            self.collector.answer_prompts(prompts[part], torch.from_numpy(uniforms[part]))
            for part in own or [slice(0, 1)]
        ]
        fields = (torch.cat(one)[: None if own else 0] for one in zip(*parts, strict=True))
        return Rollouts(*(self.world.gather_rows(field, count) for field in fields))

    def token_rewards(self, rollouts: Rollouts) -> Tensor:
        """Return the reward of each token, [B, N]: the score at its end less the divergence penalty."""
        rewards = -self.kl_coefficient * rollouts.token_kl()
        last = (rollouts.mask.sum(1).long() - 1).clamp(min=0)
        return rewards.scatter_add(1, last.unsqueeze(1), self.final_scores(rollouts).unsqueeze(1))

    def final_scores(self, rollouts: Rollouts) -> Tensor:
        """Return each answer's score less the penalties for a missing end and for shortness, [B]."""
        settings = self.parameters
        lengths = rollouts.mask.sum(1)
        short = (1 - lengths / self.reference_length).clamp(min=0) if self.reference_length else 0.0
        return (
            rollouts.scores
            - settings.missing_eos_penalty * (1 - rollouts.ended)
            - settings.short_answer_penalty * short
        )

    def optimizer_step(self, step: int) -> dict[str, float]:
        settings = self.parameters
        chosen = batch_order(self.seed, step, settings.batch_size, len(self.prompts))
        rollouts = self.roll_out([self.prompts[i] for i in chosen], (step, 1))
        unchanged = self.state_dict()
        self.reference_length = self.reference_length or rollouts.mask.sum(1).mean().item()
        rewards = whiten_values(self.token_rewards(rollouts), rollouts.mask, keep_mean=True)
        values = rollouts.values * rollouts.mask
        advantages, returns = generalized_advantages(
            rewards, values, rollouts.mask, settings.gamma, settings.gae_lambda
        )
        advantages = whiten_values(advantages, rollouts.mask)
        before = copy.deepcopy(self.learner.state_dict())
        tries, undone = 0, True
        try:
            while undone and tries < MOST_TRIES:
                tries += 1
                learned = self._learn_all(step, rollouts, advantages, returns, values)
                moved, undone = self._undo_if_too_far(rollouts, before)
        except StepAbandoned:
            self.learner.load_state_dict(before)
            self.load_state_dict(unchanged)
            raise
        if tries > 1:
            self._say_undone(step, tries, undone, moved)
        metrics = {
            **rollouts.rollout_metrics(),
            "kl_coefficient": self.kl_coefficient,
            **learned,
            **moved,
            "undone": float(tries - 1 + undone),
            "undone_steps": float(self.limit.undone),
            "learning_rate": settings.optimizer.learning_rate * self.limit.rate,
        }
        self._adapt_kl_coefficient(rollouts.token_kl().sum(1).mean().item())
        self.seen = [self.seen[0] + rollouts.mask.sum().item(), self.seen[1] + 1]
        self.tokens_per_step = self.seen[0] / self.seen[1]
        self.taken = step + 1
        return metrics

    def _learn_all(
        self, step: int, rollouts: Rollouts, advantages: Tensor, returns: Tensor, values: Tensor
    ) -> dict[str, float]:
        """Take the optimizer steps on a step's answers; return their mean metrics."""
        settings = self.parameters
        sums: dict[str, float] = {}
        size = settings.batch_size // settings.num_mini_batches
        for epoch in range(settings.ppo_epochs):
            mixed = torch.from_numpy(seeded_rng(self.seed, step, 2, epoch).permutation(settings.batch_size))
            for start in range(0, settings.batch_size, size):
                rows = mixed[start : start + size].to(self.world.device)
                self.learner.stop.abandon_step(self.world, together=True)
                metrics = self._train_minibatch(rollouts, advantages, returns, values, rows)
                if epoch == 0 and start == 0:
                    self._check_first_ratio(metrics["ratio_off"])
                scale = settings.optimizer.lr_scale(step, settings.steps) * self.limit.rate
                metrics["gradient_norm"] = self.learner.step(scale)
                for name, value in metrics.items():
                    sums[name] = sums.get(name, 0.0) + value
        count = settings.ppo_epochs * settings.num_mini_batches
        means = {name: value / count for name, value in sums.items() if name != "ratio_off"}
        return {**means, "first_ratio_off": self.ratio_off}

    def _train_minibatch(
        self, rollouts: Rollouts, advantages: Tensor, returns: Tensor, values: Tensor, rows: Tensor
    ) -> dict[str, float]:
        settings = self.parameters
        total = rollouts.mask[rows].sum()
        part_sums = []
        for share in self.world.shard_parts(len(rows)):
            sums = torch.zeros(4, device=self.world.device)
            for part, factor in self.world.micro_batches(share, len(rows), settings.micro_batch_size):
                self.learner.stop.abandon_step(self.world)
                mine = rows[part]
                laid_out = self.collector.lay_out(rollouts, mine)
                drawn, advantage, value, goal = (
                    field[mine][laid_out.real] for field in (rollouts.logprobs, advantages, values, returns)
                )
                every = torch.ones_like(drawn)
                logprobs, predicted = self.policy(laid_out, settings.temperature)
                gain, clipped = policy_loss(logprobs, drawn, advantage, every, settings.clip_range)
                error = value_loss(predicted, value, goal, every, settings.value_clip_range)
                loss = (gain + settings.vf_coef * error) / total
                (loss if factor == 1 else loss * factor).backward()
                self.learner.accumulate_grads()
                with torch.no_grad():
                    off = ((logprobs - drawn).exp() - 1).abs().sum()
                    sums += factor * torch.stack([gain, error, clipped, off]).detach()
            self.learner.finish_part()
            part_sums.append(sums)
        sums = self.world.sum_parts(part_sums, len(rows))
        names = ("policy_loss", "value_loss", "clipped_share", "ratio_off")
        return dict(zip(names, (sums / total).tolist(), strict=True))

    def _check_first_ratio(self, off: float) -> None:
        # The learning policy is the one that answered, so its ratio is 1 except for rounding. Other shapes of
        # a pass, as on several processes, sum in another order.
        self.ratio_off = off
        noise = RATIO_NOISE_BFLOAT16 if self.learner.copies else RATIO_NOISE
        if off > RATIO_BROKEN:
            raise RuntimeError(
                f"the first probability ratio of a step differs from 1 by {off:.4f} on average, above "
                f"{RATIO_BROKEN}: sampling and learning do not compute the same probabilities"
            )
        if off > noise and not self.warned:
            self.warned = True
            self._send_message(
                f"the first probability ratio of a step differs from 1 by {off:.4f} on average; rounding "
                f"explains up to {noise}"
            )

    @torch.no_grad()
    def _undo_if_too_far(self, rollouts: Rollouts, before: dict[str, Any]) -> tuple[dict[str, float], bool]:
        """Measure the update's divergences on the step's answers; restore `before` if one is too large."""
        now, mask = self._logprobs_now(rollouts), rollouts.mask
        ratio, one = torch.exp((now - rollouts.logprobs) * mask), torch.ones_like(mask)
        kl_before = estimate_kl(rollouts.logprobs, rollouts.reference, one, mask)
        kl_after = estimate_kl(now, rollouts.reference, ratio, mask)
        step_kl = estimate_kl(rollouts.logprobs, now, one, mask)
        undone = self.world.any_process(self.limit.is_too_far(kl_before, kl_after, step_kl))
        if undone:
            self.learner.load_state_dict(before)
            self.limit.slow_down()
        return {"step_kl": step_kl, "kl_after": kl_after}, undone

    def _say_undone(self, step: int, tries: int, undone: bool, moved: dict[str, float]) -> None:
        limit, count = self.limit, tries - 1 + undone
        self._send_message(
            f"step {step + 1} was undone {count} time{'' if count == 1 else 's'}, as it moved the policy by "
            f"more than {limit.max_step_kl:.3g} nats an answer or beyond {limit.max_kl:.3g} nats from SFT; "
            + ("it is left out" if undone else f"it now moves it by {moved['step_kl']:.2g}")
            + f"; the learning rate is {limit.rate:.3g} of what it was at the start"
        )

    def _logprobs_now(self, rollouts: Rollouts) -> Tensor:
        """Return the log-probabilities of the answers under the present policy, [B, N]."""
        count = len(rollouts.tokens)
        found = torch.zeros_like(rollouts.logprobs)
        size = self.parameters.micro_batch_size or self.parameters.batch_size
        with self.learner.whole() as policy:
            for share in self.world.shard_parts(count):
                for part in chunk_slices(share, size):
                    laid_out = self.collector.lay_out(rollouts, part)
                    found[part][laid_out.real] = policy(laid_out, self.parameters.temperature)[0]
        return self.world.gather_rows(found[self.world.shard_rows(count)], count)

    def _send_message(self, text: str) -> None:
        self.on_event(Message(text))

    def _adapt_kl_coefficient(self, kl: float) -> None:
        settings = self.parameters
        if settings.kl_target:
            # The proportional controller of Ziegler et al., 2019, with its clip at 0.2.
            error = min(0.2, max(-0.2, kl / settings.kl_target - 1))
            self.kl_coefficient *= 1 + error * settings.batch_size / settings.kl_horizon

    def evaluate_model(self) -> dict[str, float]:
        """Measure the policy on held-out prompts, and keep it if it is the best until now."""
        metrics = self.evaluate_policy()
        if metrics:
            weights = self.learner.master_state()
            loss = metrics.get("valid_completion_loss", math.nan)
            score, kl = metrics["valid_score"], metrics["valid_kl"]
            self.best.keep_if_best(self.taken, score, kl, weights, loss, metrics)
        return metrics

    def evaluate_policy(self) -> dict[str, float]:
        """Return metrics on the held-out prompts, with the same random numbers at every step."""
        if not self.held_out:
            return {}
        rollouts = self.roll_out(self.held_out, (0, 3))
        metrics = rollouts.rollout_metrics()
        if not self.reference_length:
            self.reference_length = metrics["length"]
        metrics["length_ratio"] = metrics["length"] / self.reference_length
        metrics["score"] = self.final_scores(rollouts).mean().item()
        if self.right_answers:
            with self.learner.whole() as policy:
                metrics["completion_loss"] = mean_completion_loss(
                    policy.body, self.right_answers, self.tokenizer.end, self.world
                )
        return {f"valid_{name}": value for name, value in metrics.items()}

    def take_best(self) -> dict[str, float]:
        """Load the best step's weights into the policy and report which it is; return its metrics."""
        prompts, best = len(self.held_out), self.best
        if best.weights is None:
            self._send_message("there are no held-out prompts to choose a step by, so the last one is kept")
            return {"best_step": float(self.taken), "undone_steps": float(self.limit.undone)}
        self.learner.load_masters({name: value.to(self.world.device) for name, value in best.weights.items()})
        metrics = best.chosen_metrics()
        for sentence in best.describe_choice(prompts, metrics["valid_kl"], len(self.right_answers)):
            self._send_message(sentence)
        return {
            **metrics,
            "best_step": float(best.step),
            "valid_gain": best.score - best.first,
            "valid_prompts": float(prompts),
            "undone_steps": float(self.limit.undone),
            "max_kl": best.max_kl,
        }

    def describe_batch(self, step: int) -> str:
        chosen = batch_order(self.seed, step, self.parameters.batch_size, len(self.prompts))
        first = self.tokenizer.decode(self.prompts[int(chosen[0])])
        return f"the answers to {first[:60]!r} and {len(chosen) - 1} more prompts"

    def state_dict(self) -> dict[str, Any]:
        return {
            "kl_coefficient": self.kl_coefficient,
            "reference_length": self.reference_length,
            "seen": self.seen,
            "taken": self.taken,
            "rate": self.limit.rate,
            "undone": self.limit.undone,
            "best": self.best.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kl_coefficient = float(state["kl_coefficient"])
        self.reference_length = float(state["reference_length"])
        self.seen = list(state["seen"])
        self.taken = int(state["taken"])
        self.limit.rate, self.limit.undone = float(state["rate"]), int(state["undone"])
        self.best.load_state_dict(state["best"])


def train_ppo(
    parameters: dict[str, Any],
    policy: str,
    reward: str,
    prompts: str,
    folder: str,
    seed: int,
    device: str,
    on_event: EventCallback,
) -> dict[str, float]:
    """Align the assistant in `policy` with the reward model in `reward`; write it to `folder`/model.

    Args:
        parameters: As in PPOConfig.
        policy: The assistant's model folder.
        reward: The folder of the stage reward.
        prompts: The folder of the stage split.
        folder: The output; a checkpoint in it is resumed.
        seed: The seed.
        device: cpu or cuda.
        on_event: The event callback.

    Raises:
        UserError: Too few prompts fit the context, or the reward model has another tokenizer.
    """
    settings = PPOConfig.read(parameters)
    world = ProcessGroup.join_group(device, settings.batch_parts, settings.is_sharded)
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    assistant, tokenizer = load_for_training(
        Path(policy), world, frozen=settings.lora.rank > 0, quantize=settings.lora.is_quantized
    )
    context = assistant.architecture.context_length
    room = context - settings.max_new_tokens
    if room < 1:
        raise UserError(
            f"rlhf.max_new_tokens is {settings.max_new_tokens} and the context {context}: no prompt "
            "fits before it"
        )
    train_prompts, held_out = (
        read_prompts(Path(prompts) / split / "pairs", settings.sources, tokenizer, room, on_event)
        for split in ("train", "valid")
    )
    if len(train_prompts) < settings.batch_size:
        raise UserError(
            f"{len(train_prompts)} prompts fit rlhf.sources and the context of {context} tokens, fewer than "
            f"one batch of {settings.batch_size}; add pairs, or lower rlhf.batch_size or rlhf.max_new_tokens"
        )
    world.check_units(
        settings.batch_size // settings.num_mini_batches, "rlhf.batch_size / rlhf.num_mini_batches"
    )
    held_out = held_out[: settings.num_eval_prompts]
    # With adapters, one copy of the weights serves as policy, reference and reward model. Shared weights are
    # small enough for a copy of each.
    adapted = settings.lora.rank > 0 and not world.sharded
    shared = adapted and shares_backbone(Path(reward), Path(policy), settings.lora.is_quantized)
    body = assistant if shared else None
    score, reward_tokenizer = load_scorer(Path(reward), world, body)
    if reward_tokenizer.vocab_size != tokenizer.vocab_size:
        raise UserError(f"{reward} was trained with another tokenizer than {policy}; retrain it")
    reference: Body = AdapterView(assistant)
    if not adapted:
        reference, _ = load_for_training(Path(policy), world, frozen=True)
    # After the reward model's adapter, which is not trained.
    adapt_model(assistant, settings.lora, seed)
    right_answers = read_right_answers(each_row(Path(prompts) / "valid" / "pairs"), tokenizer, context)
    task = PPOTrainer(
        settings, assistant, reference, tokenizer, score, train_prompts,
        held_out, seed, world, on_event, right_answers,
    )  # fmt: skip
    chosen = task.parameters
    on_event(
        Message(
            f"{describe_steps(chosen.steps, chosen.batch_size, 'prompt')} at a learning rate of "
            f"{chosen.optimizer.learning_rate:.2g}; at most {chosen.max_step_kl:.3g} nats a step and "
            f"{chosen.max_kl:.3g} from SFT"
        )
    )
    metrics = Trainer(task, chosen, out, seed, on_event).run_training()
    held_out_metrics = task.take_best()
    export_trained(task.learner, settings.lora, assistant, tokenizer, Path(policy), out, inside="body.")
    return {**metrics, **held_out_metrics}
