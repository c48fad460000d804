"""Sentences about the size of a proposed model and the duration of its run."""

from __future__ import annotations

import math

from tasks.onboarding import model_sizing
from tasks.onboarding.model_sizing import Amount, Machine, Plan

# Ours: the demo's 4 million tokens, read four times, give words and grammar, and little sense.
LITTLE_TEXT = 20_000_000


def bounded_by(plan: Plan, amount: Amount) -> str:
    """Return what bounds the model, in words; for the time also how much of the text it leaves."""
    if plan.bound != "the time":
        return f"bounded by {plan.bound}"
    wanted = min(
        model_sizing.PASSES * amount.text_tokens,
        model_sizing.TOKENS_A_WEIGHT * plan.architecture.num_parameters,
    )
    if plan.trained_tokens >= wanted * 0.8:
        return "bounded by the time"
    return (
        f"bounded by the time: the run reads {plan.trained_tokens:,} tokens; a model of this size learns "
        f"best from {wanted:,}"
    )


def time_notes(plan: Plan, minutes: float) -> list[str]:
    """Return sentences about the duration of a run for the user."""
    notes = []
    if plan.minutes > minutes * 1.05:
        stage = max(plan.seconds, key=lambda name: plan.seconds[name])
        what = "what is not training" if stage == "the rest" else stage
        notes.append(
            f"--minutes {minutes:g} cannot be kept: the shortest run that makes sense takes about "
            f"{describe_duration(plan.minutes * 60)} here, "
            f"{describe_duration(plan.seconds[stage])} of them for {what}."
        )
    if plan.sensible_minutes:
        notes.append(
            "The time is too short for whole sentences: from about "
            f"{describe_duration(plan.sensible_minutes * 60)} on, as in --minutes "
            f"{math.ceil(plan.sensible_minutes)}, "
            "the model writes sentences that make sense."
        )
    return notes


def text_notes(amount: Amount) -> list[str]:
    """Return a sentence for the user if the text is too little for a model with random weights."""
    if amount.text_tokens >= LITTLE_TEXT:
        return []
    return [
        f"From {amount.text_tokens:,} tokens of text, a model with random weights learns words and grammar, "
        "and little sense. `--base` starts from an open model that can write already (docs/base-models.md)."
    ]


def describe_duration(seconds: float) -> str:
    """Return a duration in words, rounded as an estimate should be."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def device_memory(machine: Machine) -> str:
    """Return a machine's memory in words; empty if it is unknown."""
    return f", {machine.memory / 1e9:.0f} GB of memory" if machine.memory else ""
