"""Write a preset for a user's folder: measured sizes, with the reasons as comments."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.common.aspects import KNOWN_ASPECTS
from tasks.common.counts import counted
from tasks.common.names import yaml_comment, yaml_text
from tasks.data.records import TYPES
from tasks.data.splits import LEAST_TEST_PROMPTS
from tasks.data.values.column_names import format_columns, format_fields, yaml_meaning
from tasks.data.values.key_text import shown_key, yaml_key
from tasks.onboarding import model_sizing
from tasks.onboarding.folder_measure import Measured
from tasks.onboarding.folder_scan import FolderScan
from tasks.onboarding.model_sizing import Amount, Plan
from tasks.onboarding.size_notes import bounded_by, describe_duration
from tasks.project.preset_file import WRITTEN_BY_INIT
from tasks.validation.expectations import Limits
from tasks.validation.failure_words import describe_failure
from tasks.validation.summary import Findings

_ASKED = 200  # keys for which a comment proposes `fields`
MOST_BAD = 0.2  # of a kind's rows; if more break a rule, the data itself is wrong


def describe_lengths(amount: Amount) -> str:
    """Return how long most prompts and completions are; empty without any."""
    if not amount.prompts:
        return ""
    return f"; 95% of prompts take up to {amount.prompt}, of completions {amount.completion}"


def missing_parts(found: FolderScan, measured: Measured, base: bool = False) -> list[str]:
    """Return sentences about what a chain of trainings lacks in this folder.

    Args:
        found: The scan of the folder.
        measured: The measurements.
        base: Whether the preset starts from an open model.
    """
    said = []
    if not found.count("pairs"):
        made = "trains the open model on the text" if base else "makes the base model"
        said.append(
            f"There are no pairs of prompt and completion: the run {made} and ends before sft; add "
            'rows such as {"prompt": ..., "completion": ...}.'
        )
    amount = measured.amount
    if not amount.rated and not amount.compared:
        # A run without pairs ends earlier.
        ends = "the run ends after sft" if said == [] else "with pairs alone, a run would end after sft"
        said.append(
            f"There are no labels: {ends}, as the reward model has nothing to learn from; "
            'add rows such as {"prompt": ..., "a": ..., "b": ..., "choice": "a"}, or with a score.'
        )
    elif not amount.compared and measured.scores[0] == measured.scores[1]:
        said.append(
            "All scores are the same, so no preference can be learned from them; add others. A pair that "
            "fields rejects has such a score; ignore in place of reject leaves it out."
        )
    elif model_sizing.label_groups(amount, 2) < 2:
        said.append("The labels are too few for one step of the reward model; add labels.")
    return said


def write_preset(
    name: str,
    device: str,
    found: FolderScan,
    measured: Measured,
    plan: Plan,
    machine: str,
    notes: Sequence[str] = (),
    allowed: Allowed | None = None,
) -> str:
    """Return the preset as YAML, with `notes` at the top and the reasons of numbers as comments."""
    amount, shape = measured.amount, plan.architecture
    about = "" if found.whole else "about "
    lines = [
        *preset_heading(found, plan, machine, [*notes, *missing_parts(found, measured)]),
        *product_lines(name, device),
        "",
        *preset_data(found, measured, allowed),
        "",
        f"tokenizer: # {_why_so_many(amount.vocabulary, found)}",
        f"  vocab_size: {amount.vocabulary}",
        "",
        *comment_lines(
            f"{shape.num_parameters:,} weights, {bounded_by(plan, amount)}. Hoffmann et al. (2022, "
            f"arXiv:2203.15556): about {model_sizing.TOKENS_A_WEIGHT} tokens a weight are right. "
            f"Muennighoff et "
            f"al. (2023, arXiv:2305.16264): {model_sizing.PASSES} passes over a text are worth "
            f"nearly as much as "
            f"fresh text. Here are {about}{amount.text_tokens:,} tokens to train on, and "
            f"the run reads {plan.trained_tokens:,}."
        ),
        "architecture:",
        f"  num_layers: {shape.num_layers}",
        f"  hidden_size: {shape.hidden_size}",
        f"  num_heads: {shape.num_heads}",
        f"  context_length: {shape.context_length} # tokens{describe_lengths(amount)}",
        "",
        *preset_sections(plan, measured),
        "",
        *comment_lines(
            "Which model may be champion: it must gain reward over the SFT model, keep its loss on right "
            "answers, and stay near it. The judge is a second reward model with labels of its own."
        ),
        "gate:",
        "  min: {reward_gain: 0.01, aligned_ends_by_itself: 0.8, aligned_distinct: 0.8, length_ratio: 0.5}",
        "  max: {loss_increase: 0.15, kl: 15.0}",
    ]
    return "\n".join(lines) + "\n"


def preset_heading(found: FolderScan, plan: Plan, machine: str, notes: Sequence[str]) -> list[str]:
    """Return the comment at the top: what was found, how long a run takes, and `notes`."""
    about = "" if found.whole else "about "
    counts = ", ".join(f"{about}{counted(found.count(kind), kind)}" for kind in TYPES)
    stages = ", ".join(f"{stage} {describe_duration(value)}" for stage, value in plan.seconds.items())
    return [
        *comment_lines(
            f"{WRITTEN_BY_INIT.removeprefix('# ')} from a look at the files; every number may be changed. "
            f"It found {counts}; {about}{found.text_bytes():,} bytes of text."
        ),
        *comment_lines(
            f"A run takes about {describe_duration(sum(plan.seconds.values()))} here ({machine}): {stages}."
        ),
        *(line for text in notes for line in comment_lines(text)),
    ]


def product_lines(name: str, device: str) -> list[str]:
    """Return the first keys of a preset."""
    return [f"name: {yaml_text(name)}", "seed: 1", f"device: {device}"]


def preset_data(
    found: FolderScan, measured: Measured, allowed: Allowed | None, archives: Sequence[str] = ()
) -> list[str]:
    """Return the sources, the limits of validation and the split; `archives` are lines before the sources."""
    return [
        "data:",
        *archives,
        "  sources:",
        *(line for source in found.sources for line in _source_section(source)),
        *_other_files(found),
        *_validation_section(measured, allowed),
        "",
        "split: # shares of the groups that are held out: the smallest that leave some of each kind there,",
        f"  # and {LEAST_TEST_PROMPTS} test prompts, the fewest that the gate accepts, if there are enough",
        f"  validation_fraction: {measured.split.validation_fraction}",
        f"  test_fraction: {measured.split.test_fraction}",
        *([f"  salt: {yaml_text(measured.split.salt)}"] if measured.split.salt else []),
    ]


def _why_so_many(vocabulary: int, found: FolderScan) -> str:
    """Return the reason for the size of the vocabulary."""
    if vocabulary > model_sizing.vocabulary_size(found.text_bytes()):
        return "as many as the frequent characters of this script take"
    return f"{model_sizing.BYTES_A_TOKEN:,} bytes of text for each token, where there is as much"


def comment_lines(text: str) -> list[str]:
    """Return a text as lines of a YAML comment; none if it is empty."""
    return textwrap.wrap(text, 108, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _source_section(source: Any) -> list[str]:
    holds = (
        ", ".join(counted(source.count(kind), kind) for kind in TYPES if source.count(kind)) or "no new row"
    )
    names = [yaml_text(name) for name in source.files]
    files = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
    excluded = f"exclude: [{', '.join(map(yaml_text, source.exclude))}]" if source.exclude else ""
    extra = f", {format_columns(source.columns)}" if source.columns else ""
    extra += format_fields(source.fields)
    extra += f", document_unit: {source.document_unit}" if source.document_unit != "file" else ""
    extra += f", marked_texts: {source.marked_texts}" if source.marked_texts else ""
    told = ", if the keys mean what is proposed below" if source.proposed else ""
    heading = [f"    # {'' if source.share == 1 else 'about '}{holds}{told}"]
    for reason in source.reasons.values():
        heading += [f"    {line}" for line in comment_lines(yaml_comment(reason))]
    if source.asked or source.has_marks:
        return [*heading, *_asked_section(source, files, excluded)]
    files += f", {excluded}" if excluded else ""
    return [
        *heading,
        f"    - {{name: {yaml_text(source.name)}, files: {files}, format: {source.format}{extra}}}",
    ]


def _asked_section(source: Any, files: str, excluded: str) -> list[str]:
    """Return a source with a comment that proposes the meanings of its keys, which a run must know.

    Each key has a line of its own, so that the proposal is valid YAML where only `# ` is removed from it.
    """
    lines = [
        f"    - name: {yaml_text(source.name)}",
        f"      files: {files}",
        *([f"      {excluded}"] if excluded else []),
        f"      format: {source.format}",
    ]
    lines += [f"      {format_columns(source.columns)}"] if source.columns else []
    lines += [f"      document_unit: {source.document_unit}"] if source.document_unit != "file" else []
    lines += [f"      marked_texts: {source.marked_texts}"] if source.marked_texts else []
    if source.has_marks:
        lines += [
            "      # A run stops until this source says what happens to rows with a mark such as [DELETED]",
            "      # on a text: leave_out, as in the next line, or keep.",
            "      # marked_texts: leave_out",
        ]
    if not source.asked:
        meanings = format_fields(source.fields).removeprefix(", ")
        return [*lines, *([f"      {meanings}"] if meanings else [])]
    if source.unknown:
        held = "; ".join(f"{shown_key(path)} ({values})" for path, values in source.unknown.items())
        said = (
            f"chatmill does not know what these say of the answers: {held}. ignore learns every row, "
            "whatever they say. If one says that a row is wrong, write accept, reject or ignore for each of "
            "its values."
        )
        lines += [f"      {line}" for line in comment_lines(yaml_comment(said))]
    lines += [
        "      # A run stops until this source says what these keys mean, as in the next line. Right are",
        "      # verdict, vote, review, weight, mask, deleted, ignore, text, or a mapping: {bad: -1}.",
        "      # Values of a choice map to a, b, tie or ignore. Replace each `...` by the right value.",
    ]
    asked = [f"{yaml_key(path)}: {meaning}" for path, meaning in source.asked.items()]
    more = f" # and {len(asked) - _ASKED} more keys" if len(asked) > _ASKED else ""
    if not source.fields:
        return [*lines, f"      # fields: {{{', '.join(asked[:_ASKED])}}}{more}"]
    told = [f"        {yaml_key(path)}: {yaml_meaning(said)}" for path, said in source.fields.items()]
    proposed = [f"        # {one}" for one in asked[:_ASKED]]
    return [*lines, "      fields:", *told, *proposed[:-1], proposed[-1] + more]


def _other_files(found: FolderScan) -> list[str]:
    if not found.others:
        return []
    shown = [f"  #   {yaml_comment(name)}: {yaml_comment(why)}" for name, why in found.others[:20]]
    more = len(found.others) - len(shown)
    return ["  # Not read:", *shown, *([f"  #   and {more} more"] if more else [])]


@dataclass(frozen=True)
class Allowed:
    """The share of rows that may be quarantined, and the rules they break, a sentence each."""

    share: float
    reasons: tuple[str, ...]


def allowed_share(findings: Findings) -> Allowed | None:
    """Return the share of quarantined rows with which a run passes; None if it is above MOST_BAD."""
    shares = []
    for kind in TYPES:
        total = sum(findings.total[kind, name] for name in findings.sources(kind))
        broken = sum(findings.broken[kind, name] for name in findings.sources(kind))
        shares.append(broken / max(1, total))
    share = max(shares)
    if not 0 < share <= MOST_BAD:
        return None
    # A margin, as the next rows may be a little worse.
    rounded = math.ceil(share * 1.25 * 100) / 100
    reasons = (
        f"{counted(row.count, row.kind)}: {describe_failure(row.rule)}"
        for row in findings.table()
        if row.count
    )
    return Allowed(max(rounded, 0.02), tuple(reasons))


def _validation_section(measured: Measured, allowed: Allowed | None) -> list[str]:
    """Return the limits of validation that these rows would exceed."""
    limits, (low, high) = Limits(), measured.scores
    lines = []
    if low < limits.min_score or high > limits.max_score:
        lines += [
            f"    min_score: {min(low, limits.min_score):g}",
            f"    max_score: {max(high, limits.max_score):g}",
        ]
    if set(measured.aspects) - set(KNOWN_ASPECTS):
        every = sorted({*KNOWN_ASPECTS, *measured.aspects})
        lines.append(f"    aspects: [{', '.join(map(yaml_text, every))}]")
    lines = ["  limits: # as far as these labels go", *lines] if lines else []
    if allowed:
        lines += [
            f"  # A run goes on without these rows: {yaml_comment(reason)}" for reason in allowed.reasons
        ]
        lines.append(
            f"  max_bad_fraction: {allowed.share:g} # the share of a kind's rows that may be quarantined"
        )
    return ["", "validate:", *lines] if lines else []


def preset_sections(
    plan: Plan, measured: Measured, reasons: Mapping[str, str] | None = None, prompts: bool = True
) -> list[str]:
    """Return the sections of the trainings.

    Args:
        plan: The numbers.
        measured: The measurements of the folder.
        reasons: The comment above a section, by its name.
        prompts: Whether pretraining continues the first words of documents, for the report.
    """
    lines: list[str] = []
    for stage, section in plan.sections.items():
        values = dict(section)
        if stage == "reward":
            lines += [
                "labels:",
                f"  margin: {yaml_number(values['margin'])} # an eighth of the scale of the scores",
                "",
            ]
        lines += comment_lines((reasons or {}).get(stage, ""))
        lines.append(f"{stage}:")
        lines += _key_lines(stage, values, "  ")
        if stage == "pretrain" and measured.openings and prompts:
            lines.append(f"  prompts: [{', '.join(map(yaml_text, measured.openings))}]")
        if stage == "evaluate" and measured.openings:
            lines.append(
                f"  attention_sentence: {yaml_text(measured.openings[0])} # cut into tokens in the report"
            )
        lines.append("")
    return lines[:-1]


def _key_lines(stage: str, values: Mapping[str, Any], indent: str) -> list[str]:
    """Return the keys of a section, the learning rates last."""
    units = {
        "pretrain": "windows of the context", "sft": "rows of the context, packed with several pairs each",
        "reward": "groups of texts that are compared with each other", "rlhf": "prompts answered a step",
        "dpo": "pairs of answers to one prompt",
    }  # fmt: skip
    notes = {
        "num_prompts": "test prompts that are answered, or as many as there are",
        "micro_batch_size": "of these at once",
        "sampling_batch_size": "prompts answered at once",
        "activation_checkpointing": "a third more work for less memory",
        "short_answer_penalty": "else short answers are the easy way out",
        "max_kl": "nats an answer from the SFT model: a step beyond is undone",
    }
    lines, rates = [], []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_key_lines(key, value, f"{indent}  ")]
        elif key in ("learning_rate", "muon_learning_rate"):
            rates.append(f"{key}: {yaml_number(value)}")
        elif value or key not in ("micro_batch_size", "sampling_batch_size"):
            said = units[stage] if key == "batch_size" else notes.get(key, "")
            lines.append(f"{indent}{key}: {yaml_number(value)}{f' # {said}' if said else ''}")
    return [*lines, *([f"{indent}optimizer: {{{', '.join(rates)}}}"] if rates else [])]


def yaml_number(value: float | str) -> str:
    """Return a value of a section as YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    # YAML reads 3e-05 as a string.
    return str(value) if isinstance(value, int | str) else f"{value:.10f}".rstrip("0").rstrip(".")
