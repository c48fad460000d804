"""Preset keys of the version before, with their present names.

Presets, and the records of earlier runs, still hold the old names. Each record is renamed once, where it
enters the program; everything behind that place knows the present names only. The old names are read for one
more version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from model.errors import UserError

_Value = TypeVar("_Value")

# The keys that every training had, and those of every training's optimizer.
_TRAINING = {
    "batch": "batch_size",
    "micro_batch": "micro_batch_size",
    "evaluate_every": "eval_every",
    "checkpoint_every": "save_every",
    "checkpoint_seconds": "max_save_interval_seconds",
    "patience": "early_stopping_patience",
    "optimizer.clip": "optimizer.max_grad_norm",
    "optimizer.warmup": "optimizer.warmup_ratio",
    "optimizer.decay": "optimizer.decay_ratio",
    "optimizer.final": "optimizer.final_lr_ratio",
}
_SECTIONS: dict[str, dict[str, str]] = {
    "data": {
        "accept": "accept_changes",
        "version": "pinned_version",
        "sources.labelling": "sources.label_config",
        "sources.documents": "sources.document_unit",
        "sources.quarantine": "sources.max_bad_fraction",
    },
    "validate": {
        "quarantine": "max_bad_fraction",
        "sources": "max_bad_fraction_by_source",
        "shrink": "max_row_drop",
        "limits.shortest": "limits.min_chars",
        "limits.longest": "limits.max_chars",
        "limits.lowest": "limits.min_score",
        "limits.highest": "limits.max_score",
        "scripts": "allowed_scripts",
        "personal": "pii",
        "near": "near_duplicate_threshold",
        "benchmarks": "decontaminate_against",
        "balance": "max_label_share",
        "rules": "expectations",
        "admitted": "overrides_file",
    },
    "split": {"valid": "validation_fraction", "test": "test_fraction"},
    "tokenizer": {"vocabulary": "vocab_size", "base": "base_model"},
    "drift": {
        "lengths": "max_length_shift",
        "vocabulary": "max_vocab_shift",
        "new_words": "max_oov_increase",
        "sources": "max_source_shift",
        "unknown_pieces": "max_unseen_tokens",
        "bytes_per_token": "max_bytes_per_token_change",
        "labels": "max_label_shift",
        "agreement": "max_agreement_decrease",
        "loss": "max_loss_increase",
        "rows": "min_rows",
        "reference": "reference_output",
    },
    "architecture": {
        "layers": "num_layers",
        "width": "hidden_size",
        "heads": "num_heads",
        "kv_heads": "num_kv_heads",
        "hidden": "intermediate_size",
        "context": "context_length",
        "norm_eps": "rms_norm_eps",
        "tied": "tie_embeddings",
    },
    "pretrain": {**_TRAINING, "evaluate_tokens": "max_eval_tokens"},
    "sft": _TRAINING,
    "labels": {"annotators": "min_annotators", "pairs": "max_eval_pairs"},
    "reward": {
        **_TRAINING,
        "group": "group_size",
        "reference": "num_reference_samples",
        "headline": "headline_sources",
    },
    "rlhf": {
        **_TRAINING,
        "new_tokens": "max_new_tokens",
        "epochs": "ppo_epochs",
        "minibatches": "num_mini_batches",
        "clip": "clip_range",
        "value_clip": "value_clip_range",
        "value_weight": "vf_coef",
        "discount": "gamma",
        "trace": "gae_lambda",
        "kl_coefficient": "init_kl_coef",
        "missing_end": "missing_eos_penalty",
        "length_weight": "short_answer_penalty",
        "held_out": "num_eval_prompts",
    },
    "evaluate": {
        "prompts": "num_prompts",
        "new_tokens": "max_new_tokens",
        "questions": "num_questions",
        "completions": "num_completions",
        "few_shot": "num_few_shot",
        "shown": "num_shown",
        "headline": "headline_sources",
        "words": "probe_words",
        "neighbours": "num_neighbors",
        "sentence": "attention_sentence",
    },
    "gate": {"least": "min", "most": "max", "score": "ranking_metric"},
    "report": {"answers": "num_answers"},
    "promote": {"hours": "approval_timeout_hours"},
}
# Old key -> present key, both with dots. A segment that leads through a list, as in data.sources, stands for
# each of its items. Old and present name are equally deep, so one segment after the other can be renamed.
OLD_KEYS: dict[str, str] = {
    "base": "base_model",
    "processes": "num_processes",
    **{
        f"{section}.{old}": f"{section}.{new}"
        for section, names in _SECTIONS.items()
        for old, new in names.items()
    },
    "spread": "parallel",
    "spread.workers": "parallel.workers",
    "spread.dask": "parallel.dask_address",
    "share": "remote_cache",
    "share.outputs": "remote_cache.enabled",
    "placement": "execution",
    "placement.train": "execution.gpu_work_pool",
}
_PRESENT = {new: old for old, new in OLD_KEYS.items()}
# A prefix of a stage's parameters -> where these are in a preset. Other stages have the section of the
# same name.
_STAGE_KEYS = {
    "ingest": {"": "data."},
    "pretrain": {"architecture.": "architecture.", "training.": "pretrain.", "": ""},
    "judge": {"reward.": "reward.", "": "judge."},
}


def rename_old_keys(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Rename the old keys of a preset.

    Args:
        values: The preset's plain values; they are not changed.

    Returns:
        The values under their present keys, in the same order; and the present name of each old key found.

    Raises:
        UserError: A key is given under its old and under its present name.
    """
    found: dict[str, str] = {}
    renamed = _rename_inside(values, "", found)
    # A renamed section is named by its renamed keys, if it has any.
    sections = {old.rpartition(".")[0] for old in found}
    return renamed, {old: new for old, new in found.items() if old not in sections}


def _rename_inside(value: Any, path: str, found: dict[str, str]) -> Any:
    if isinstance(value, list | tuple):
        return [_rename_inside(each, path, found) for each in value]
    if not isinstance(value, Mapping):
        return value
    renamed: dict[Any, Any] = {}
    for key, inner in value.items():
        old = f"{path}{key}"
        new = OLD_KEYS.get(old) if isinstance(key, str) else None
        name = key if new is None else new.rpartition(".")[2]
        if new is not None:
            if name != key and name in value:
                raise UserError(f"{old} is the old name of {new}, and both are given; leave one out")
            found[old] = new
        deeper = isinstance(key, str) and any(known.startswith(f"{old}.") for known in OLD_KEYS)
        renamed[name] = _rename_inside(inner, f"{old}.", found) if deeper else inner
    return renamed


def present_key(key: str) -> str:
    """Return the present name of a dotted key, which may lead through lists: `data.sources.0.documents`."""
    segments, path = key.split("."), ""
    for place, segment in enumerate(segments):
        if segment.isdecimal():
            continue
        path = f"{path}.{segment}" if path else segment
        if new := OLD_KEYS.get(path):
            segments[place] = new.rpartition(".")[2]
    return ".".join(segments)


def recorded_key(preset: Mapping[str, Any], key: str) -> str:
    """Return the name that a key has in a recorded preset: the old one if the preset is in old keys.

    An old checkout knows the old names only, so a preset for it must be changed under them.
    """
    is_old = bool(rename_old_keys(preset)[1])
    return _PRESENT.get(key, key) if is_old else key


def rename_stage_parameters(stage: str, parameters: Mapping[str, _Value]) -> dict[str, _Value]:
    """Rename the old keys among a stage's recorded parameters.

    Args:
        stage: The stage's name.
        parameters: The parameters by dotted name, as MLflow has them.
    """
    return {_present_parameter(stage, name): value for name, value in parameters.items()}


def _present_parameter(stage: str, name: str) -> str:
    prefixes = _STAGE_KEYS.get(stage, {"": f"{stage}."})
    own = next(prefix for prefix in prefixes if name.startswith(prefix))
    section = prefixes[own]
    return own + present_key(section + name.removeprefix(own)).removeprefix(section)
