"""Write a preset that starts from an open model: measured sizes, with the reasons as comments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from model.training.optimizer_config import OptimizerParameters
from model.training.ppo_derivation import derive_learning_rate
from tasks.common.names import yaml_text
from tasks.data.sources.package_archive import Archive
from tasks.onboarding.base_sizing import PAIR_PASSES, TEXT_PASSES, BasePlan
from tasks.onboarding.folder_measure import Measured
from tasks.onboarding.folder_scan import FolderScan
from tasks.onboarding.preset_writer import (
    Allowed,
    comment_lines,
    describe_lengths,
    missing_parts,
    preset_data,
    preset_heading,
    preset_sections,
    product_lines,
    yaml_number,
)


def write_base_preset(
    name: str,
    device: str,
    base: str,
    archives: Mapping[str, Archive],
    found: FolderScan,
    measured: Measured,
    plan: BasePlan,
    machine: str,
    notes: Sequence[str] = (),
    allowed: Allowed | None = None,
) -> str:
    """Return the preset as YAML, with `notes` at the top and the reasons of numbers as comments.

    Args:
        name: The preset's name.
        device: The device of the run: cpu, cuda or auto.
        base: The value of `base_model`.
        archives: The archive that `base` names, by its name; empty if it names none.
        found: The scan of the folder.
        measured: The measurements of the folder, in tokens of the open model.
        plan: The numbers.
        machine: The machine in words.
        notes: Sentences for the top.
        allowed: The share of bad rows to allow.
    """
    shape = plan.architecture
    longest = shape.max_context_length or shape.context_length
    lines = [
        *preset_heading(found, plan, machine, [*notes, *missing_parts(found, measured, base=True)]),
        *product_lines(name, device),
        "",
        *comment_lines(
            f"The open model: {shape.family}, {shape.num_parameters:,} weights, {shape.num_layers} layers of "
            f"width {shape.hidden_size}, with its own tokenizer of {measured.amount.vocabulary:,} tokens."
        ),
        f"base_model: {yaml_text(base)}",
        *comment_lines(
            f"A context for nearly every row here, of the model's {longest:,} tokens; memory and time grow "
            f"with it{describe_lengths(measured.amount)}."
        ),
        f"base_context_length: {shape.context_length}",
        "",
        *comment_lines(
            "Adapters learn, and the open model's weights stay as they are: it takes less memory, and the "
            f"model forgets less. {_explain_rates(plan)}"
        ),
        "lora:",
        f"  rank: {plan.lora.rank}",
        *_quantize_lines(plan),
        "",
        *preset_data(found, measured, allowed, [*_archive_lines(archives)]),
        "",
        *_text_comment(found, plan),
        *preset_sections(plan, measured, _reasons(plan), prompts=plan.continues),
    ]
    if "evaluate" in plan.sections:
        lines += [
            "  # question_sources: [...] # questions that are not trained on: they show what is forgotten",
            "",
            *comment_lines(
                "Which model may be champion: it must gain reward over the SFT model, keep its loss on right "
                "answers, and stay near it. The judge is a second reward model with labels of its own."
            ),
            "gate:",
            "  min: {reward_gain: 0.01}",
            "  max: {loss_increase: 0.15, kl: 15.0}",
        ]
    return "\n".join(lines) + "\n"


def _quantize_lines(plan: BasePlan) -> list[str]:
    if not plan.lora.is_quantized:
        return []
    return ["  quantize: nf4 # the frozen weights in 4 bits: in 16 they do not fit the memory"]


def _archive_lines(archives: Mapping[str, Archive]) -> list[str]:
    lines = ["  archives:"] if archives else []
    for name, archive in archives.items():
        fields = {key: value for key, value in asdict(archive).items() if value}
        lines.append(f"    {yaml_text(name)}:")
        lines += [
            f"      {key}: {'true' if value is True else yaml_text(value)}" for key, value in fields.items()
        ]
    return lines


def _explain_rates(plan: BasePlan) -> str:
    """Return the learning rates that the trainings take, as the preset leaves them out."""
    shape = plan.architecture
    rate = OptimizerParameters().for_model(shape, adapter=True).learning_rate
    said = f"Learning rates that are left out follow from the width: {yaml_number(rate)}"
    section = plan.sections.get("rlhf", {})
    if "dpo" in section:
        return f"{said}, and a tenth of it in DPO."
    if section:
        answers = section["batch_size"] / section["num_mini_batches"]
        # As in PPOConfig.with_derived_values.
        policy = derive_learning_rate(shape.hidden_size, answers) * 10
        return f"{said}, and {yaml_number(policy)} in PPO."
    return f"{said}."


def _explain_sft_rate(plan: BasePlan) -> str:
    if "learning_rate" not in plan.sections.get("sft", {}):
        return ""
    return " It answers already, by a chat template of its own, so the rate is lower than usual."


def _reasons(plan: BasePlan) -> dict[str, str]:
    """Return the comment above each section."""
    reasons = {
        "sft": (
            f"Up to {PAIR_PASSES} passes over the pairs, as many as the time allows. More passes, or a "
            f"higher rate, take away what the open model knew.{_explain_sft_rate(plan)}"
        ),
        "rlhf": plan.why_method and f"{plan.why_method}.",
    }
    if plan.continues:
        reasons["pretrain"] = (
            f"Up to {TEXT_PASSES} passes over the text, as many as the time allows. `replay_sources` names "
            "sources of general text, which each batch then repeats so that the model forgets less."
        )
    return reasons


def _text_comment(found: FolderScan, plan: BasePlan) -> list[str]:
    """Return why the open model is not trained on the text that there is."""
    if plan.continues or not found.count("text"):
        return []
    return comment_lines(
        f"The open model is not trained on the text, only measured on it: {plan.why_no_text}. "
        "`pretrain.continue_steps` trains on it."
    )
