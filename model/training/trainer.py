"""The training loop: steps, evaluations, checkpoints, and the handling of failures.

A TrainingTask defines what is learned, and from which batches. A step is a function of the weights and of
(seed, step) alone, so a resumed run sees the same batches as an uninterrupted one.
"""

from __future__ import annotations

import fcntl
import math
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import torch

from model.errors import UserError
from model.events import Evaluation, EventCallback, Message, Resumed, Step, Usage
from model.nn.transformer import Transformer
from model.processes import return_free_memory
from model.training.checkpoint import (
    DamagedFile,
    load_checkpoint,
    load_file,
    write_synced,
)
from model.training.checkpoint_writer import CheckpointWriter
from model.training.curve_file import CurveFile
from model.training.loop_config import LoopParameters
from model.training.sharded_checkpoint import ShardedWriter, load_sharded_checkpoint, load_shards, save_shards
from model.training.step_pace import StepPace
from model.training.stopping import StepAbandoned
from model.training.training_task import TrainingTask
from model.training.utilization import flops_utilization

# Points of a curve, however long the training: the report draws each of them.
CURVE_POINTS = 400
SAVING_SHARE = 0.1
TRAINING_LOCK = "training.lock"
BEST = "best.pt"
SHARDED_BEST = "checkpoints/best"
# Files that only a resumption needs.
RESUME_FILES = ("checkpoints", BEST, TRAINING_LOCK)
SKIPS_ALLOWED = 10


class Interrupted(SystemExit):
    """The exit after a signal asked the training to stop; its checkpoint is written."""


class Trainer:
    """A runner of a TrainingTask in a folder. It appends to `curves.jsonl` and keeps two checkpoints."""

    def __init__(
        self,
        task: TrainingTask,
        parameters: LoopParameters,
        folder: Path,
        seed: int,
        on_event: EventCallback,
    ) -> None:
        self.task = task
        self.parameters = parameters
        self.folder = folder
        self.seed = seed
        self.on_event = on_event
        self.world = task.learner.world
        # Of the weights as they were read, in float32.
        return_free_memory()
        self.world.check_units(parameters.batch_size, "batch_size")
        for module in task.learner.module.modules():
            if isinstance(module, Transformer):
                module.recomputes = parameters.activation_checkpointing
        self.step = 0
        self.skipped: list[int] = []
        self.best, self.best_step = math.inf, 0
        self.stale = 0
        self.stop = task.learner.stop
        self.step_metrics: dict[str, float] = {}
        self.seconds = 0.0
        self.taken = 0
        # Seconds of the training before it was resumed, until the checkpoint.
        self.wall = self.restored_wall = 0.0
        self.began = time.monotonic()
        self.pace = StepPace()
        self.curves = CurveFile(folder / "curves.jsonl")
        self.evaluation_seconds, self.evaluations = 0.0, 0
        # The last evaluation, and the step whose weights it measured.
        self.held_out: dict[str, float] = {}
        self.evaluated = -1
        checkpoints = folder / "checkpoints"
        self.writer = (
            ShardedWriter(checkpoints, task.learner.row_counts, self.world)
            if self.world.sharded
            else CheckpointWriter(checkpoints, self.world.device)
        )
        self.saved = time.monotonic()
        # What the newest checkpoint of this process is of; None: there is none.
        self.saved_state: tuple[int, list[int]] | None = None

    @property
    def is_main_process(self) -> bool:
        """Return whether this process writes the files."""
        return self.world.rank == 0

    def run_training(self) -> dict[str, float]:
        """Train to the end, from the newest checkpoint if there is one; return the last metrics.

        Raises:
            UserError: More than ten batches gave a loss that is not finite.
            Interrupted: A signal asked for the end.
        """
        with self._lock_folder(), self._stop_on_signal(), closing(self.writer):
            self.began = time.monotonic()
            if self._restore_checkpoint():
                self.wall = self.restored_wall
                self.on_event(Resumed(step=self.step))
            else:
                self.task.on_checkpoint_sample(0)
                self._run_evaluation()
                self._save_checkpoint()
            while self.step < self.parameters.steps and not self._is_stale():
                # The clock decides when a checkpoint is written, but not what is learned. The request may
                # come after the step has ended.
                with suppress(StepAbandoned):
                    self._take_step()
                self.writer.raise_error()
                if self.world.any_process(self.stop.asked or self._is_checkpoint_due()):
                    self._save_checkpoint()
                    if self.world.any_process(self.stop.asked):
                        self._wait_for_checkpoint()
                        # 128 + SIGTERM, as a shell reports it.
                        raise Interrupted(143)
            self._wait_for_checkpoint()
            return {**self.step_metrics, **self._finish_training()}

    def final_evaluation(self) -> dict[str, float]:
        """Return the held-out metrics of the final weights. They are computed only if the loop did not."""
        if self.evaluated != self.step:
            self.held_out, self.evaluated = self.task.evaluate_model(), self.step
        return self.held_out

    def _take_step(self) -> None:
        if self.step not in self.skipped:
            self.pace.begin_step()
            try:
                self.step_metrics = self.task.optimizer_step(self.step)
            except FloatingPointError as error:
                self._skip_batch(self.step, error)
                return
            self.seconds += self.pace.end_step()
            self.taken += 1
        self.step += 1
        self._report_step(self.step_metrics)
        parameters = self.parameters
        last = self.step == parameters.steps
        if last or (parameters.eval_every and self.step % parameters.eval_every == 0):
            self._run_evaluation()
        if last or self._is_stale() or self.step == parameters.steps // 2:
            self.task.on_checkpoint_sample(self.step)
        if last or (parameters.save_every and self.step % parameters.save_every == 0):
            self._save_checkpoint()

    def _skip_batch(self, step: int, error: FloatingPointError) -> None:
        rows = self.task.describe_batch(step)
        self._send_message(
            f"step {step}: {error} is not finite on {rows}; resuming from the last checkpoint "
            "without this batch"
        )
        skipped = [*self.skipped, step]
        if len(skipped) > SKIPS_ALLOWED:
            raise UserError(
                f"{len(skipped)} batches gave a loss that is not finite, the last at step {step} ({rows}); "
                "lower optimizer.learning_rate, or look at these rows"
            )
        if not self._restore_checkpoint():
            raise UserError(
                f"step {step}: {error} is not finite on {rows}, and no checkpoint is left; run again"
            )
        # After the restore, which loads the list of the checkpoint.
        self.skipped = sorted({*self.skipped, *skipped})

    def _run_evaluation(self) -> None:
        began = time.monotonic()
        metrics = self.task.evaluate_model()
        self.evaluation_seconds += time.monotonic() - began
        self.evaluations += 1
        self.held_out, self.evaluated = metrics, self.step
        if not metrics:
            return
        value = metrics.get(self.task.best_by, math.inf)
        if value < self.best:
            self.best, self.best_step, self.stale = value, self.step, 0
            if self.parameters.early_stopping_patience:
                self._save_best()
        else:
            self.stale += 1
        self._report_metrics(metrics)
        self.on_event(Evaluation(step=self.step, metrics=metrics))

    def _is_stale(self) -> bool:
        return 0 < self.parameters.early_stopping_patience <= self.stale

    def _learned_nothing(self) -> bool:
        patience = self.parameters.early_stopping_patience
        return bool(patience and self.best < math.inf and self.step and not self.best_step)

    def _finish_training(self) -> dict[str, float]:
        if self._is_stale():
            self._send_message(
                f"stopped after step {self.step}: no better {self.task.best_by} than {self.best:.4f} "
                f"in {self.stale} evaluations"
            )
        # The export reads the model that the training began with.
        return_free_memory()
        if self.parameters.early_stopping_patience and self.best < math.inf:
            if self._learned_nothing():
                self._send_message(
                    f"no step improved {self.task.best_by} on the held-out rows, so the weights from before "
                    "the training are kept: this model has learned nothing; it needs more data, more steps, "
                    "or a lower learning rate"
                )
            self._load_best()
            # Other weights than those of the last evaluation.
            self.evaluated = -1
        self.world.wait_for_all()
        self.on_event(Usage(tokens=round(self.task.tokens_per_step * self.taken)))
        pace = self.task.tokens_per_step * self.taken / max(self.seconds, 1e-9)
        metrics = {
            "steps": float(self.step),
            "tokens_per_second": pace,
            "skipped_batches": float(len(self.skipped)),
            # The rest are evaluations, samples, checkpoints, and steps that were taken again.
            "goodput": self.seconds / max(self._wall_seconds(), 1e-9),
        }
        metrics |= {"learned_nothing": 1.0} if self._learned_nothing() else {}
        if self.task.flops_per_token and self.world.device == "cuda":
            speed = pace * self.task.flops_per_token / self.world.size
            used = flops_utilization(speed, torch.cuda.get_device_name())
            metrics |= {"flops_utilization": used} if used is not None else {}
        return metrics

    def _save_best(self) -> None:
        learner = self.task.learner
        if self.world.sharded:
            save_shards(self.folder / SHARDED_BEST, learner.master_state(), learner.row_counts, self.world)
        elif self.is_main_process:
            write_synced(self.folder / BEST, dict(learner.master_state()))

    def _load_best(self) -> None:
        """Load the weights of the best evaluation. Raise UserError if their file is lost."""
        sharded = self.world.sharded
        best = self.folder / (SHARDED_BEST if sharded else BEST)
        try:
            self.task.learner.load_masters(load_shards(best, self.world) if sharded else load_file(best))
        except (FileNotFoundError, DamagedFile) as error:
            what = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
            raise UserError(
                f"{best} {what}, and it contained the best weights; remove {self.folder} to train again"
            ) from error

    def _report_step(self, metrics: dict[str, float]) -> None:
        steps = self.parameters.steps
        if not metrics or (self.step % max(1, steps // CURVE_POINTS) and self.step not in (1, steps)):
            return
        self._report_metrics(metrics)
        pace = self.pace.seconds_per_step
        # On a GPU, and with several threads, the processor's time does not say how busy the machine is.
        if self.world.device == "cpu" and torch.get_num_threads() == 1 and (text := self.pace.busy_notice()):
            self._send_message(text)
        self.on_event(
            Step(
                step=self.step,
                steps=steps,
                metrics=metrics,
                tokens_per_second=self.task.tokens_per_step / pace if pace else 0.0,
                seconds_left=pace * (steps - self.step) + self._evaluation_seconds_left(),
            )
        )

    def _evaluation_seconds_left(self) -> float:
        """Return the estimated seconds of the evaluations to come, from the mean of those so far."""
        every, steps = self.parameters.eval_every, self.parameters.steps
        coming = steps // every - self.step // every if every else 0
        if self.step < steps and (not every or steps % every):
            coming += 1
        return coming * self.evaluation_seconds / max(1, self.evaluations)

    def _report_metrics(self, metrics: dict[str, float]) -> None:
        if self.is_main_process:
            self.curves.append(self.step, metrics)

    def _send_message(self, text: str) -> None:
        self.on_event(Message(text))

    def _wall_seconds(self) -> float:
        return self.wall + time.monotonic() - self.began

    def _is_checkpoint_due(self) -> bool:
        wanted, passed = self.parameters.max_save_interval_seconds, time.monotonic() - self.saved
        return (
            0 < wanted <= passed and not self.writer.is_busy and passed >= self.writer.seconds / SAVING_SHARE
        )

    def _save_checkpoint(self) -> None:
        if self.saved_state == (self.step, self.skipped):
            return
        self.saved_state = self.step, list(self.skipped)
        if self.is_main_process or self.world.sharded:
            state = {
                "seed": self.seed,
                "learner": self.task.learner.state_dict(),
                "task": self.task.state_dict(),
                "loop": {
                    "skipped": self.skipped,
                    "best": self.best,
                    "best_step": self.best_step,
                    "stale": self.stale,
                },
                "step_metrics": self.step_metrics,
                "pace": [self.seconds, self.taken, self._wall_seconds()],
                "random": torch.get_rng_state(),
            }
            self.writer.save(self.step, state)
        self.saved = time.monotonic()

    def _wait_for_checkpoint(self) -> None:
        """Return on every process once the last checkpoint is written."""
        self.writer.wait()
        self.world.wait_for_all()

    def _restore_checkpoint(self) -> bool:
        self._wait_for_checkpoint()
        self.saved_state = None
        load = load_sharded_checkpoint if self.world.sharded else load_checkpoint
        state = load(self.folder / "checkpoints", self._send_message, self.world)
        self.step = int(state["step"]) if state else 0
        if self.is_main_process:
            # Points after the checkpoint belong to steps that are taken again.
            self.curves.truncate(self.step if state else -1)
        if state is None:
            return False
        self.task.learner.load_state_dict(state["learner"])
        self.task.load_state_dict(state["task"])
        self.skipped = [int(step) for step in state["loop"]["skipped"]]
        self.best, self.stale = float(state["loop"]["best"]), int(state["loop"]["stale"])
        # Checkpoints of earlier versions do not have it.
        self.best_step = int(state["loop"].get("best_step", self.step))
        self.step_metrics = dict(state["step_metrics"])
        self.seconds, self.taken = float(state["pace"][0]), int(state["pace"][1])
        # Checkpoints of earlier versions have no third number.
        self.restored_wall = float(state["pace"][2]) if len(state["pace"]) > 2 else self.seconds
        torch.set_rng_state(state["random"])
        if self.step:
            self._send_message(
                f"resuming from the checkpoint after step {self.step} of {self.parameters.steps}"
            )
        return True

    @contextmanager
    def _lock_folder(self) -> Iterator[None]:
        """Lock the folder for one training at a time; the lock ends with the process, however it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.is_main_process:
            yield
            return
        # The training of a killed flow may still be writing its last checkpoint here.
        with (self.folder / TRAINING_LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.writer.remove_unfinished()
            yield

    @contextmanager
    def _stop_on_signal(self) -> Iterator[None]:
        def stop(number: int, frame: object) -> None:
            # Only a flag: a checkpoint in the middle of a step would hold half of it.
            self.stop.asked = True

        before = [(number, signal.signal(number, stop)) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)
