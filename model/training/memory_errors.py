"""The sentence that tells a user which keys to lower when a training has too little memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The section of a preset, by the module of its training.
_SECTIONS = {
    "model.training.pretrain": "pretrain",
    "model.training.sft": "sft",
    "model.training.reward": "reward",
    "model.training.ppo": "rlhf",
    "model.training.dpo": "rlhf.dpo",
    "model.evaluation.evaluate": "evaluate",
}
# What torch says of memory that it cannot get, on a GPU and on a CPU.
_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+) ?(\w+)")


def describe_lack_of_memory(error: BaseException | None, job: dict[str, Any]) -> str:
    """Return which keys of a training to change, if an error is a lack of memory; else an empty text.

    Args:
        error: The error, with those that led to it.
        job: The job of a process group: `function` and `arguments`.
    """
    while error is not None and not _lacks_memory(error):
        error = error.__cause__ or error.__context__
    if error is None:
        return ""
    where = "memory" if _is_on_host(error) else "GPU memory"
    amount = _describe_amount(str(error))
    section = _SECTIONS.get(job["function"].partition(":")[0])
    if section is None:
        return f"there is too little {where}{amount}; end other programs that use it"
    ways = ways_to_save(section, job["arguments"].get("parameters", {}))
    return f"{section}: there is too little {where}{amount}: {'; '.join(ways)}"


def ways_to_save(section: str, settings: Mapping[str, Any], of_weights: bool = False) -> list[str]:
    """Return the changes of a preset that lower the memory of a training.

    Args:
        section: The section of the training, such as `sft` or `rlhf.dpo`.
        settings: Its keys.
        of_weights: Whether the weights with their optimizer are too large, and not the passes alone.
    """
    units, batch = int(settings.get("micro_batch_size", 0)), int(settings.get("batch_size", 0))
    now = (
        f"now {units}" if units else f"now 0: the whole batch of {batch}" if batch else "now the whole batch"
    )
    ways = []
    if section == "evaluate":
        # It holds a model in each process of a CPU.
        ways = (
            ["take a smaller model (architecture, or base_model)"]
            if of_weights
            else [
                f"lower evaluate.num_prompts (now {settings['num_prompts']})",
                "lower architecture.context_length, or base_context_length of an open model",
            ]
        )
        return ["set num_processes: 1, on a CPU (the result stays)", *ways]
    if of_weights:
        # Random weights all learn.
        adaptable = section != "pretrain" or settings.get("continue_steps")
        if adaptable and not settings.get("lora", {"rank": 1}).get("rank"):
            ways.append("set lora.rank: 16, so that adapters learn in place of all weights")
        lora = settings.get("lora", {})
        if lora.get("rank") and lora.get("quantize") == "none" and settings.get("sharding") == "none":
            ways.append("set lora.quantize: nf4, which keeps the frozen weights in 4 bits")
        if settings.get("optimizer", {}).get("adamw_bits") == 32 and not lora.get("rank"):
            ways.append(f"set {section}.optimizer.adamw_bits: 8, which takes 6 bytes less a weight")
        if settings.get("sharding") == "none":
            ways.append(f"set {section}.sharding: full and num_processes to the number of GPUs")
        ways.append("take a smaller model (architecture, or base_model)")
        return ways
    if units != 1:
        ways.append(f"lower {section}.micro_batch_size ({now}; the result stays)")
    if not settings.get("activation_checkpointing"):
        ways.append(f"set {section}.activation_checkpointing: true (the result stays)")
    if "sampling_batch_size" in settings:
        sampled = settings["sampling_batch_size"]
        ways.append(
            f"lower {section}.sampling_batch_size (now {sampled or '0: the whole share of the batch'})"
        )
    ways.append("lower architecture.context_length, or base_context_length of an open model")
    return ways


def _describe_amount(text: str) -> str:
    asked = _ASKED.search(text)
    if asked is None:
        return ""
    number, unit = asked.groups()
    number, unit = (f"{int(number) / 1e9:,.1f}", "GB") if unit == "bytes" else (number, unit)
    return f" (it asked for {number} {unit} more)"


def _lacks_memory(error: BaseException) -> bool:
    # By name: this module must not import torch.
    return type(error).__name__ == "OutOfMemoryError" or _is_on_host(error)


def _is_on_host(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "you tried to allocate" in str(error)
    )
