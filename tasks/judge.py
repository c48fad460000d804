"""Judge: makes the scorer that compares the aligned model with SFT and takes no part in RLHF's reward.

By default it is a second reward model, trained on labels that are kept from RLHF's. A judge from the same
labels would share their faults, and would praise what RLHF learned to exploit.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from model.data.dataloader import each_row
from model.errors import UserError
from model.evaluation.evaluate_config import ENDPOINT, FUNCTION, LEXICON, NONE, REWARD_MODEL
from model.events import EventCallback, Message
from model.training.reward_config import RewardParameters
from tasks.common.names import stratum_key
from tasks.data.labels.label_aggregation import JUDGE
from tasks.data.labels.ratings import LEAST_JUDGE_TEXTS
from tasks.data.records import LABEL_KINDS
from tasks.engine.declaration import Tolerance
from tasks.engine.stage import stage
from tasks.engine.training_launcher import TrainingLauncher
from tasks.evaluation.endpoint_judge import EndpointJudge
from tasks.evaluation.function_judge import copy_function, digest_function
from tasks.evaluation.lexicon import digest_lexicon

RECORD = "judge.json"


@dataclass(frozen=True)
class JudgeParameters:
    """The kind of judge, as in `evaluate.judge`, and the training of a reward model that judges."""

    kind: str = REWARD_MODEL
    reward: RewardParameters = field(default_factory=RewardParameters)
    function: str = ""
    endpoint: str = ""
    model: str = ""
    question: str = ""
    max_seconds: float = 120.0


@dataclass(frozen=True)
class Scorer:
    """The identity of a scorer, so that scores of different scorers are not compared.

    Attributes:
        kind: As in `evaluate.judge`.
        digest: The digest of the weights or rules; empty for none.
        data: The digest of the labels that it learned from; empty if it learned from none.
        why: The reason if there is none, in words.
    """

    kind: str
    digest: str = ""
    data: str = ""
    why: str = ""


def _describe_judge(metrics: Mapping[str, Any]) -> str:
    kind, why = str(metrics.get("judge", "")), metrics.get("why")
    if kind == NONE:
        return f"no judge: {why}" if why else "no judge"
    named = {
        REWARD_MODEL: "a second reward model", LEXICON: "a lexicon of tone",
        FUNCTION: "a function of your own", ENDPOINT: "the model at an address",
    }  # fmt: skip
    return named.get(kind, kind)


def _function_digest(parameters: JudgeParameters, root: Path) -> str:
    return digest_function(parameters.function, root) if parameters.kind == FUNCTION else ""


@stage(
    inputs=("sft", "labels"),
    external_inputs=_function_digest,
    resumable=True,
    learns_from=LABEL_KINDS,
    headline=_describe_judge,
    tolerances=(
        Tolerance(("loss",), relative=0.02),
        Tolerance(("accuracy", "judge"), absolute=0.05),
        Tolerance(("mean", "deviation"), relative=0.1),
    ),
)
def judge(
    parameters: JudgeParameters,
    sft: Path,
    labels: Path,
    out: Path,
    on_event: EventCallback,
    root: Path,
    seed: int,
    device: str,
    processes: int,
) -> dict[str, Any]:
    """Write judge.json, which describes the judge, and a reward model that judges to out/model.

    Too few labels for a second reward model are no error: there is no judge then, and the reason is kept.
    """
    if parameters.kind != REWARD_MODEL:
        if parameters.kind == FUNCTION:
            copy_function(parameters.function, root, out, parameters.max_seconds, on_event)
        why = "evaluate.judge is none" if parameters.kind == NONE else ""
        return _keep_scorer(out, Scorer(parameters.kind, _digest_rules(parameters, root), why=why))
    kept = labels / JUDGE
    if not kept.exists():
        why = f"fewer than {LEAST_JUDGE_TEXTS} labelled texts are available for a judge"
        return _keep_scorer(out, Scorer(NONE, why=why))
    from model.training.reward import train_reward

    try:
        settings = fit_to_labels(parameters.reward, labels, kept)
        start = TrainingLauncher(out, on_event, seed, device, processes)
        figures = start(train_reward, settings, base=sft / "model", labels=kept)
    # The labels may fail the training's own checks, such as holding one class.
    except UserError as error:
        on_event(Message(f"no judge was trained: {error}"))
        return _keep_scorer(out, Scorer(NONE, why=str(error)))
    # The judge has no held-out pairs, so the file would be empty.
    (out / "accuracy.json").unlink(missing_ok=True)
    figures = {name: value for name, value in figures.items() if not name.startswith("pair_accuracy")}
    return {**figures, **_keep_scorer(out, describe_reward_model(out, kept))}


def _digest_rules(parameters: JudgeParameters, root: Path) -> str:
    """Return the digest of a judge that is not trained here; empty for none."""
    if parameters.kind == LEXICON:
        return digest_lexicon()
    if parameters.kind == ENDPOINT:
        return EndpointJudge(parameters.endpoint, parameters.model, parameters.question).digest
    return _function_digest(parameters, root)


def _keep_scorer(out: Path, scorer: Scorer) -> dict[str, Any]:
    (out / RECORD).write_text(json.dumps(asdict(scorer), indent=1), encoding="utf-8")
    return {"judge": scorer.kind, **({"why": scorer.why} if scorer.why else {})}


def read_judge(folder: Path) -> Scorer:
    """Return the judge that the stage left in `folder`."""
    return Scorer(**json.loads((folder / RECORD).read_text(encoding="utf-8")))


def describe_reward_model(folder: Path, labels: Path) -> Scorer:
    """Return a trained reward model as a scorer.

    Args:
        folder: The output of the stage that trained it, with its model in `model`.
        labels: The folder with its training labels.
    """
    names = ("train.ratings.jsonl", "train.comparisons.jsonl")
    # Sorted: the order of a directory listing differs between file systems.
    weights = (path for path in sorted((folder / "model").rglob("*")) if path.is_file())
    return Scorer(REWARD_MODEL, _files_digest(weights), _files_digest(labels / name for name in names))


def _files_digest(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            # With the names, so that two files cannot change places unnoticed.
            found.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def fit_to_labels(reward: RewardParameters, labels: Path, kept: Path) -> RewardParameters:
    """Return the reward model's parameters for the judge's fewer labels, with as many passes over them.

    Groups and batches shrink if the labels do not fill them. Early stopping is off, as there are no held-out
    pairs.
    """
    group = next((size for size in (reward.group_size, 4, 2) if _count_groups(kept, size) >= 4), 2)
    groups = max(1, _count_groups(kept, group))
    batch = min(reward.batch_size, groups)
    # As many passes: more would learn the few labels by heart, fewer would learn less from them.
    passes = reward.steps * reward.batch_size / max(1, _count_groups(labels, reward.group_size))
    steps = max(1, min(reward.steps, round(passes * groups / batch)))
    return replace(
        reward, group_size=group, batch_size=batch, steps=steps, eval_every=0, early_stopping_patience=0
    )


def _count_groups(folder: Path, size: int) -> int:
    """Return the number of groups that the training labels make, counted as the training counts them."""
    count = 0
    for name, texts in (("ratings", 1), ("comparisons", 2)):
        strata = Counter(
            stratum_key(row["aspect"], row["source"]) for row in each_row(folder / f"train.{name}.jsonl")
        )
        count += sum(rows // (size // texts) for rows in strata.values())
    return count
