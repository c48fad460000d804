"""The memory that a preset's trainings and its evaluation need: estimated once, kept in the project's cache.

An estimate imports PyTorch and traces a step of each training, which takes seconds. A run that reuses every
output needs neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.atomic_file import replace_text
from model.nn.model_config import ModelConfig
from model.training.devices import compute_dtype, count_processes, describe_processor
from tasks.data.base_models.base_model import base_folder
from tasks.engine.cache_key import lock_digest, named_code_digest
from tasks.project.dry_run import may_write
from tasks.project.paths import MEMORY_ESTIMATES, RECORDS

if TYPE_CHECKING:
    from flows.config import Preset
    from model.training.memory_estimate import Training

# Estimates of earlier presets and earlier code. The file is read at each start, so it must stay small.
_KEPT = 100
EVALUATION = "evaluate"


@dataclass(frozen=True)
class StageMemory:
    """The memory of a training or the evaluation on one device, or on the CPU by all of its processes.

    Attributes:
        section: The section of the preset.
        needed: The bytes at the peak.
        least: The bytes that no data can lower: those of the weights and their optimizer.
    """

    section: str
    needed: int
    least: int


def estimate_stages(preset: Preset, root: Path, device: str) -> list[StageMemory]:
    """Return the memory of each training of a preset and of its evaluation, as kept or estimated now.

    Args:
        preset: The preset.
        root: The project's folder, with the base model if there is one.
        device: "cpu" or "cuda".
    """
    sections = _sections(preset)
    key = _estimate_key(preset, sections, root, device)
    kept = _read_kept(root / MEMORY_ESTIMATES)
    if found := _read_stages(kept.get(key), sections):
        return found
    stages = _estimate(preset, sections, root, device)
    # `init` must not make a project of a folder.
    if may_write() and (root / RECORDS).is_dir():
        kept[key] = {stage.section: [stage.needed, stage.least] for stage in stages}
        _write_kept(root / MEMORY_ESTIMATES, dict([*kept.items()][-_KEPT:]))
    return stages


def _sections(preset: Preset) -> dict[str, Any]:
    """Return the parameters of each training and the evaluation by section, in the order of the stages."""
    rlhf = preset.rlhf
    aligned = ("rlhf.dpo", rlhf.dpo) if rlhf.method == "dpo" else ("rlhf", rlhf.ppo)
    sections = {
        "sft": preset.sft,
        "reward": preset.reward,
        aligned[0]: aligned[1],
        EVALUATION: preset.evaluate,
    }
    return {"pretrain": preset.pretrain, **sections} if preset.pretrains else sections


def _estimate_key(preset: Preset, sections: Mapping[str, Any], root: Path, device: str) -> str:
    """Return a digest of all that the estimates depend on."""
    whole = {
        "code": [
            named_code_digest("model.training.memory_estimate", "estimate_memory"),
            named_code_digest("model.evaluation.memory_estimate", "estimate_evaluation"),
        ],
        "lock": lock_digest(),
        "trainings": {name: asdict(parameters) for name, parameters in sections.items()},
        "model": _describe_model(preset, root),
        # On a CPU the type of the arithmetic follows from the instructions, which need no PyTorch to read.
        "device": [device, str(compute_dtype(device)) if device == "cuda" else describe_processor()],
        "processes": preset.training_processes(device),
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def _describe_model(preset: Preset, root: Path) -> Any:
    """Return what the shape of the model follows from, without reading a weight."""
    if not preset.base_model:
        return [preset.tokenizer.vocab_size, asdict(preset.architecture)]
    folder = base_folder(preset.pinned_base, root)
    states = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    return [preset.base_context_length, *([name, at.st_size, at.st_mtime_ns] for name, at in states)]


def _estimate(preset: Preset, sections: Mapping[str, Any], root: Path, device: str) -> list[StageMemory]:
    from model.training.memory_estimate import estimate_memory

    found = []
    for section, training in _trainings(preset, sections, root, device).items():
        estimate = estimate_memory(training)
        needed, least = estimate.total, estimate.least
        if device == "cpu":
            needed = estimate.machine_total(training.processes)
            least = needed - (estimate.total - estimate.least) * training.processes
        found.append(StageMemory(section, needed, least))
    return [*found, _estimate_evaluation(preset, root, device)]


def _estimate_evaluation(preset: Preset, root: Path, device: str) -> StageMemory:
    from model.evaluation.evaluate import PARTS
    from model.evaluation.memory_estimate import estimate_evaluation

    # As in tasks/evaluate.py.
    processes = 1 if device == "cuda" else count_processes(device, preset.num_processes, PARTS)
    found = estimate_evaluation(
        preset.evaluate, _architecture(preset, root), device, processes, compute_dtype(device)
    )
    return StageMemory(EVALUATION, found.needed, found.least)


def _architecture(preset: Preset, root: Path) -> ModelConfig:
    if not preset.base_model:
        return ModelConfig(vocab_size=preset.tokenizer.vocab_size, **asdict(preset.architecture))
    from model.data.stored_weights import StoredWeights

    folder = base_folder(preset.pinned_base, root)
    return StoredWeights(folder, preset.base_context_length).architecture


def _trainings(preset: Preset, sections: Mapping[str, Any], root: Path, device: str) -> dict[str, Training]:
    from model.training.memory_estimate import Training

    architecture = _architecture(preset, root)
    scorer, policy = preset.reward.lora, preset.rlhf.ppo.lora
    shares = scorer.rank > 0 and scorer.quantize == policy.quantize
    return {
        name: Training(
            parameters, architecture, device, preset.training_processes(device), compute_dtype(device),
            reads_model=name != "pretrain" or bool(preset.base_model), shares_scorer=shares,
        )
        for name, parameters in sections.items() if name != EVALUATION
    }  # fmt: skip


def _read_stages(entry: Any, sections: Mapping[str, Any]) -> list[StageMemory]:
    """Return the stages of an entry; none if it is not whole."""
    try:
        return [StageMemory(name, *(int(size) for size in entry[name])) for name in sections]
    except (TypeError, KeyError, ValueError):
        return []


def _read_kept(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_kept(path: Path, entries: Mapping[str, Any]) -> None:
    # Two runs at once may each lose the other's entry, which costs the next run an estimate. The same holds
    # for a read-only project and a full disk.
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        replace_text(path, json.dumps(entries, indent=0))
