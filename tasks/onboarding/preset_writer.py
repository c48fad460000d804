"""Write a preset for a user's folder: measured sizes, with the reasons as comments."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from model.data.tokenizer import Tokenizer, train_tokenizer
from model.errors import UserError
from tasks.common.counts import counted
from tasks.common.names import stratum_key, yaml_comment, yaml_text
from tasks.data.parsing.column_names import format_columns, format_fields
from tasks.data.parsing.key_text import yaml_key
from tasks.data.records import ASPECTS, TYPES, Comparison, Pair, Rating, Record, Text
from tasks.data.splits import SPLITS, SplitParameters, split_of
from tasks.onboarding import model_sizing
from tasks.onboarding.folder_scan import FolderScan
from tasks.onboarding.model_sizing import Amount, Plan
from tasks.onboarding.size_notes import bounded_by, describe_duration
from tasks.validation.expectations import Limits
from tasks.validation.summary import Findings

_SAMPLE = 4_000_000  # characters that a trial tokenizer is trained on
_PAIRS = 2000  # pairs whose lengths are measured
_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25)
SALTS = ("", "1", "2", "3", "4")
_LARGE = 2_000_000_000  # bytes of text, of which a hundredth is enough to hold out
LEAST_HELD_OUT = 200  # bytes of text in validation and in test
_ASKED = 12  # keys for which a comment proposes `fields`
MOST_BAD = 0.2  # of a kind's rows; if more break a rule, the data itself is wrong
SMALLEST = (300, 280, 265)  # vocabularies for text that cannot fill the smallest usual one


@dataclass(frozen=True)
class Measured:
    """Measurements for a preset besides the scan: the split, and the amount of data.

    `aspects` and `scores`, the lowest and the highest score of a person, are those of all labels. Validation
    checks them in every split.
    """

    split: SplitParameters
    amount: Amount
    aspects: tuple[str, ...]
    scores: tuple[float, float]
    openings: tuple[str, ...]


def measure_folder(found: FolderScan) -> Measured:
    """Split the rows that were read, train a trial tokenizer on them, and count its tokens.

    Raises UserError if there is no text, or too little to hold any out.
    """
    texts = [row for row in found.of("text") if isinstance(row, Text)]
    if not texts:
        there = (
            ", ".join(counted(found.count(kind), kind) for kind in TYPES if found.count(kind)) or "nothing"
        )
        also = "" if found.count("pairs") else ", and pairs of prompt and completion"
        raise UserError(
            f"there is no text to learn language from ({there} in {counted(len(found.sources), 'sources')}); "
            "write a preset whose base_model names an open model, which needs no text, or add .txt or .md "
            f"files, or rows with the key text{also}"
        )
    split = choose_split(found)
    train = {kind: _rows_in_split(found.of(kind), "train", split) for kind in TYPES}
    pairs = [row for row in train["pairs"] if isinstance(row, Pair)]
    spoken = [*(row.text for row in train["text"] if isinstance(row, Text)), *map(_spoken_texts, pairs)]
    floor = model_sizing.character_floor(Counter("".join(_first_texts(spoken, _SAMPLE))))
    usual = model_sizing.vocabulary_size(found.text_bytes())
    tokenizer = _trial_tokenizer(spoken, max(usual, floor))
    sample = _first_texts([row.text for row in texts], _SAMPLE)
    a_byte = len(tokenizer.encode_documents(sample)) / max(1, sum(len(text.encode()) for text in sample))
    whole = found.text_bytes() * a_byte
    size = max(1, sum(len(row.text.encode()) for row in texts))
    trained, held_out = (_split_bytes(texts, name, split) / size for name in ("train", "valid"))
    prompts, completions = _pair_lengths(tokenizer, pairs[:_PAIRS])
    rated = [row for row in train["ratings"] if isinstance(row, Rating)]
    compared = [row for row in train["comparisons"] if isinstance(row, Comparison) and row.choice != "tie"]
    means = [row.score for row in rated]
    labels = [
        row
        for kind in ("comparisons", "ratings")
        for row in found.of(kind)
        if isinstance(row, Rating | Comparison)
    ]
    given = [score for row in labels if isinstance(row, Rating) for score in row.scores]
    scale = {kind: found.count(kind) / max(1, len(found.of(kind))) for kind in TYPES}
    return Measured(
        split,
        Amount(
            tokenizer.vocab_size,
            round(whole * trained),
            max(1, round(whole * held_out)),
            round(len(pairs) * scale["pairs"]),
            round(len({(row.prompt, len(row.history)) for row in pairs}) * scale["pairs"]),
            model_sizing.length_quantile(prompts, 0.95),
            model_sizing.length_quantile(completions, 0.95),
            sum(completions) / max(1, len(completions)),
            _rating_strata(rated, scale["ratings"]),
            _rating_strata(compared, scale["comparisons"]),
            (min(means, default=0.0), max(means, default=0.0)),
            split.validation_fraction / (1 - split.validation_fraction - split.test_fraction),
        ),
        tuple(sorted({row.aspect for row in labels})),
        (min(given, default=0.0), max(given, default=0.0)),
        _opening_words([row.text for row in texts]),
    )


def choose_split(found: FolderScan) -> SplitParameters:
    """Return the smallest shares that hold out text, pairs and labels, as tried on the rows.

    A split goes by digests, so it may miss few groups by chance. Raises UserError if no text can be held out.
    """
    if found.text_bytes() > _LARGE:
        return SplitParameters(0.01, 0.01)
    good: SplitParameters | None = None
    for share in _SHARES:
        for salt in SALTS:
            tried = SplitParameters(share, share, salt)
            if min(_split_bytes(found.of("text"), name, tried) for name in SPLITS) < LEAST_HELD_OUT:
                continue
            good = good or tried
            kinds = [kind for kind in ("pairs", "comparisons", "ratings") if found.count(kind)]
            if all(_rows_in_split(found.of(kind), name, tried) for kind in kinds for name in SPLITS):
                return tried
    if good is None:
        documents = found.count("text")
        # A chat export may be a large file without a single blank line, and so one document.
        lines = any(source.document_unit == "paragraph" and source.of("text") for source in found.sources)
        blank = ", or blank lines: they separate the documents of a text file" if lines else ""
        raise UserError(
            f"{counted(documents, 'documents')} of {found.text_bytes():,} bytes "
            f"{'is' if documents == 1 else 'are'} too little to hold out text for validation and test; "
            f"add text{blank}"
        )
    return good


def _rows_in_split(rows: Iterable[Record], name: str, split: SplitParameters) -> list[Record]:
    return [row for row in rows if split_of(row.group, split) == name]


def _split_bytes(rows: Iterable[Record], name: str, split: SplitParameters) -> int:
    """Return the bytes of the documents in a split."""
    return sum(len(row.text.encode()) for row in _rows_in_split(rows, name, split) if isinstance(row, Text))


def _describe_lengths(amount: Amount) -> str:
    """Return how long most prompts and completions are; empty without any."""
    if not amount.prompts:
        return ""
    return f"; 95% of prompts take up to {amount.prompt}, of completions {amount.completion}"


def _trial_tokenizer(texts: Sequence[str], wanted: int) -> Tokenizer:
    """Train a tokenizer with the largest vocabulary up to `wanted` that these texts can fill."""
    sample = _first_texts(texts, _SAMPLE)
    sizes = [size for size in reversed(model_sizing.VOCABULARIES) if size < wanted]
    for size in [wanted, *sizes, *SMALLEST]:
        try:
            return train_tokenizer(sample, size)
        except UserError:
            continue
    raise UserError("hardly any word repeats, so no vocabulary can be learned; add text")


def _first_texts(texts: Iterable[str], characters: int) -> list[str]:
    chosen = []
    for text in texts:
        if characters <= 0:
            break
        chosen.append(text[:characters])
        characters -= len(text)
    return chosen


def _spoken_texts(row: Pair) -> str:
    return "".join([*(turn["content"] for turn in row.history), row.prompt, row.completion])


def _pair_lengths(tokenizer: Tokenizer, pairs: Sequence[Pair]) -> tuple[list[int], list[int]]:
    """Return the tokens of prompts with their history and the chat's marks, and of completions."""
    prompts = [
        2
        + 2 * len(row.history)
        + len(tokenizer.encode("".join([*(t["content"] for t in row.history), row.prompt])))
        for row in pairs
    ]
    return prompts, [1 + len(tokenizer.encode(row.completion)) for row in pairs]


def _rating_strata(rows: Sequence[Rating | Comparison], scale: float) -> dict[str, int]:
    counts = Counter(stratum_key(row.aspect, row.source) for row in rows)
    return {name: round(count * scale) for name, count in sorted(counts.items())}


def _opening_words(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the first words of three documents, which the report lets the model continue."""
    words = (" ".join(text.split()[:3]) for text in texts[:: max(1, len(texts) // 3)])
    return tuple(dict.fromkeys(word for word in words if word and len(word) < 60))[:3]


def missing_parts(found: FolderScan, measured: Measured) -> list[str]:
    """Return sentences about what a chain of trainings lacks in this folder."""
    said = []
    if not found.count("pairs"):
        said.append(
            "There are no pairs of prompt and completion: the run makes the base model and stops at sft; add "
            'rows such as {"prompt": ..., "completion": ...}.'
        )
    amount = measured.amount
    if not amount.rated and not amount.compared:
        said.append(
            "There are no labels: the run stops after sft, as the reward model has nothing to learn from; "
            'add rows such as {"prompt": ..., "a": ..., "b": ..., "choice": "a"}, or with a score.'
        )
    elif not amount.compared and measured.scores[0] == measured.scores[1]:
        said.append("All scores are the same, so no preference can be learned from them; add others.")
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
    counts = ", ".join(f"{about}{counted(found.count(kind), kind)}" for kind in TYPES)
    stages = ", ".join(f"{stage} {describe_duration(value)}" for stage, value in plan.seconds.items())
    lines = [
        *_yaml_comment(
            "Written by `chatmill init` from a look at the files; every number may be changed. It found "
            f"{counts}; {about}{found.text_bytes():,} bytes of text."
        ),
        *_yaml_comment(
            f"A run takes about {describe_duration(sum(plan.seconds.values()))} here ({machine}): {stages}."
        ),
        *(line for text in [*notes, *missing_parts(found, measured)] for line in _yaml_comment(text)),
        f"name: {yaml_text(name)}",
        "seed: 1",
        f"device: {device}",
        "",
        "data:",
        "  sources:",
        *(line for source in found.sources for line in _source_section(source)),
        *_other_files(found),
        *_validation_section(measured, allowed),
        "",
        "split: # shares of the groups that are held out: the smallest that leave some of each kind there",
        f"  validation_fraction: {measured.split.validation_fraction}",
        f"  test_fraction: {measured.split.test_fraction}",
        *([f"  salt: {yaml_text(measured.split.salt)}"] if measured.split.salt else []),
        "",
        f"tokenizer: # {_why_so_many(amount.vocabulary, found)}",
        f"  vocab_size: {amount.vocabulary}",
        "",
        *_yaml_comment(
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
        f"  context_length: {shape.context_length} # tokens{_describe_lengths(amount)}",
        "",
        *_preset_sections(plan, measured),
        "",
        *_yaml_comment(
            "Which model may be champion: it must gain reward over the SFT model, keep its loss on right "
            "answers, and stay near it. The judge is a second reward model with labels of its own."
        ),
        "gate:",
        "  min: {reward_gain: 0.01, aligned_ends_by_itself: 0.8, aligned_distinct: 0.8, length_ratio: 0.5}",
        "  max: {loss_increase: 0.15, kl: 15.0}",
    ]
    return "\n".join(lines) + "\n"


def _why_so_many(vocabulary: int, found: FolderScan) -> str:
    """Return the reason for the size of the vocabulary."""
    if vocabulary > model_sizing.vocabulary_size(found.text_bytes()):
        return "as many as the frequent characters of this script take"
    return f"{model_sizing.BYTES_A_TOKEN:,} bytes of text for each token, where there is as much"


def _yaml_comment(text: str) -> list[str]:
    return textwrap.wrap(text, 108, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _source_section(source: Any) -> list[str]:
    holds = (
        ", ".join(counted(source.count(kind), kind) for kind in TYPES if source.count(kind)) or "no new row"
    )
    names = [yaml_text(name) for name in source.files]
    files = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
    extra = f", {format_columns(source.columns)}" if source.columns else ""
    extra += format_fields(source.fields)
    extra += ", document_unit: paragraph" if source.document_unit == "paragraph" else ""
    return [
        f"    # {'' if source.share == 1 else 'about '}{holds}",
        *_fields_comment(source),
        f"    - {{name: {yaml_text(source.name)}, files: {files}, format: {source.format}{extra}}}",
    ]


def _fields_comment(source: Any) -> list[str]:
    """Return the comment that proposes `fields` for keys whose meaning a run must know."""
    if not source.asked:
        return []
    asked = [*source.fields.items(), *source.asked.items()]
    shown = ", ".join(f"{yaml_key(path)}: {meaning}" for path, meaning in asked[:_ASKED])
    more = f" ({len(asked) - _ASKED} more keys)" if len(asked) > _ASKED else ""
    return [
        "    # A run stops until this source says what these keys mean, as in the next line. Right are",
        "    # verdict, vote, review, weight, mask, deleted, ignore, text, or a mapping: {good: 1, bad: -1}.",
        "    # Values of a choice map to a, b, tie or ignore. Replace each `...` by the right value.",
        f"    # fields: {{{shown}}}{more}",
    ]


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
    reasons = (f"{counted(row.count, row.kind)}: {row.rule}" for row in findings.table() if row.count)
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
    if set(measured.aspects) - set(ASPECTS):
        every = sorted({*ASPECTS, *measured.aspects})
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


def _preset_sections(plan: Plan, measured: Measured) -> list[str]:
    units = {
        "pretrain": "windows of the context", "sft": "rows of the context, packed with several pairs each",
        "reward": "groups of texts that are compared with each other", "rlhf": "prompts answered a step",
    }  # fmt: skip
    notes = {
        "num_prompts": "test prompts that are answered, or as many as there are",
        "micro_batch_size": "of these at once",
        "short_answer_penalty": "else short answers are the easy way out",
        "max_kl": "nats an answer from the SFT model: a step beyond is undone",
    }
    lines: list[str] = []
    for stage, section in plan.sections.items():
        values = dict(section)
        rates = [name for name in ("learning_rate", "muon_learning_rate") if name in values]
        optimizer = ", ".join(f"{name}: {_format_number(values.pop(name))}" for name in rates)
        if stage == "reward":
            lines += [
                "labels:",
                f"  margin: {_format_number(values['margin'])} # an eighth of the scale of the scores",
                "",
            ]
        lines.append(f"{stage}:")
        for key, value in values.items():
            said = units[stage] if key == "batch_size" else notes.get(key, "")
            note = f" # {said}" if said else ""
            if value or key != "micro_batch_size":
                lines.append(f"  {key}: {_format_number(value)}{note}")
        if stage == "pretrain" and measured.openings:
            lines.append(f"  prompts: [{', '.join(map(yaml_text, measured.openings))}]")
        if stage == "evaluate" and measured.openings:
            lines.append(
                f"  attention_sentence: {yaml_text(measured.openings[0])} # cut into tokens in the report"
            )
        lines += [f"  optimizer: {{{optimizer}}}"] if optimizer else []
        lines.append("")
    return lines[:-1]


def _format_number(value: float) -> str:
    # YAML reads 3e-05 as a string.
    return str(value) if isinstance(value, int) else f"{value:.10f}".rstrip("0").rstrip(".")
