"""Measure a user's folder: the split of its rows, and the amount of each kind in tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from model.data.chat_template import example_of, prompt_key
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.errors import UserError
from tasks.common.counts import counted
from tasks.common.names import stratum_key, yaml_quoted
from tasks.data.records import TYPES, Comparison, Pair, Rating, Record, Text
from tasks.data.splits import LEAST_TEST_PROMPTS, SPLITS, SplitParameters, split_of
from tasks.onboarding import model_sizing
from tasks.onboarding.folder_scan import FolderScan
from tasks.onboarding.model_sizing import Amount

_SAMPLE = 4_000_000  # characters that a trial tokenizer is trained on
_PAIRS = 2000  # pairs whose lengths are measured
_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25)
SALTS = ("", "1", "2", "3", "4")
_LARGE = 2_000_000_000  # bytes of text, of which a hundredth is enough to hold out
LEAST_HELD_OUT = 200  # bytes of text in validation and in test
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


def measure_folder(found: FolderScan, tokenizer: Tokenizer | None = None) -> Measured:
    """Split the rows that were read, and count their tokens.

    Args:
        found: The scan of the folder.
        tokenizer: The tokenizer of an open model, which needs no text; None: a trial tokenizer is trained on
            the text.

    Raises:
        UserError: There is no text, or too little to hold any out. With an open model: there is neither text
            nor a pair.
    """
    texts = [row for row in found.of("text") if isinstance(row, Text)]
    _check_kinds(found, open_model=tokenizer is not None)
    split = choose_split(found, text_required=tokenizer is None)
    train = {kind: _rows_in_split(found.of(kind), "train", split) for kind in TYPES}
    pairs = [row for row in train["pairs"] if isinstance(row, Pair)]
    if tokenizer is None:
        spoken = [*(row.text for row in train["text"] if isinstance(row, Text)), *map(_spoken_texts, pairs)]
        floor = model_sizing.character_floor(Counter("".join(_first_texts(spoken, _SAMPLE))))
        usual = model_sizing.vocabulary_size(found.text_bytes())
        tokenizer = _trial_tokenizer(spoken, max(usual, floor))
        prompts, completions = _pair_lengths(tokenizer, pairs[:_PAIRS])
    else:
        prompts, completions = _chat_lengths(tokenizer, pairs[:_PAIRS])
    sample = _first_texts([row.text for row in texts], _SAMPLE)
    a_byte = len(tokenizer.encode_documents(sample)) / max(1, sum(len(text.encode()) for text in sample))
    whole = found.text_bytes() * a_byte
    size = max(1, sum(len(row.text.encode()) for row in texts))
    trained, held_out = (_split_bytes(texts, name, split) / size for name in ("train", "valid"))
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


def _check_kinds(found: FolderScan, open_model: bool) -> None:
    """Raise UserError if a folder lacks what a model can learn from first."""
    pairs = found.count("pairs")
    if found.of("text") or (open_model and pairs):
        return
    there = ", ".join(counted(found.count(kind), kind) for kind in TYPES if found.count(kind)) or "nothing"
    held = f"({there} in {counted(len(found.sources), 'sources')})"
    if open_model:
        raise UserError(
            f"there is neither text nor a pair to learn from {held}; add rows such as "
            '{"prompt": ..., "completion": ...}, .txt or .md files, or rows with the key text'
        )
    also = "" if pairs else ", and pairs of prompt and completion"
    raise UserError(
        f"there is no text to learn language from {held}; "
        "name an open model, which needs no text, as in `--base FOLDER`, or add .txt or .md "
        f"files, or rows with the key text{also}"
    )


def choose_split(found: FolderScan, text_required: bool = True) -> SplitParameters:
    """Return the smallest shares that hold out text, pairs, labels and test prompts, as tried on the rows.

    A split goes by digests, so it may miss few groups by chance.

    Args:
        found: The scan of the folder.
        text_required: Whether text must be held out. An open model can do without.

    Raises:
        UserError: No text can be held out, and some must be.
    """
    if found.text_bytes() > _LARGE:
        return SplitParameters(0.01, 0.01)
    kinds = [kind for kind in ("pairs", "comparisons", "ratings") if found.count(kind)]

    @cache
    def holds_text(split: SplitParameters) -> bool:
        return min(_split_bytes(found.of("text"), name, split) for name in SPLITS) >= LEAST_HELD_OUT

    @cache
    def count_held(split: SplitParameters) -> int:
        return sum(bool(_rows_in_split(found.of(kind), name, split)) for kind in kinds for name in SPLITS)

    def holds_rows(split: SplitParameters) -> bool:
        return count_held(split) == len(kinds) * len(SPLITS)

    @cache
    def holds_prompts(split: SplitParameters) -> bool:
        test = _rows_in_split(found.of("pairs"), "test", split)
        prompts = {prompt_key(vars(row)) for row in test if isinstance(row, Pair)}
        return len(prompts) >= LEAST_TEST_PROMPTS

    tried = [SplitParameters(share, share, salt) for share in _SHARES for salt in SALTS]
    wishes: list[tuple[Callable[[SplitParameters], bool], ...]] = [(holds_text, holds_rows)]
    if not text_required:
        wishes = [(holds_rows,)] if not found.of("text") else [*wishes, (holds_rows,)]
    if found.count("pairs"):
        wishes.insert(0, (*wishes[0], holds_prompts))
    for wished in wishes:
        for split in tried:
            if all(holds(split) for holds in wished):
                return split
    # A kind with too few groups must not cost the others theirs: the most of all that can be held out.
    if possible := [split for split in tried if not text_required or holds_text(split)]:
        return max(possible, key=count_held)
    documents = found.count("text")
    # A chat export may be a large file without a single blank line, and so one document.
    texts = [source for source in found.sources if source.of("text")]
    more = ""
    if any(source.document_unit == "paragraph" for source in texts):
        more = ", or blank lines: they separate the documents of a text file"
    elif pages := next((source for source in texts if source.format == "markdown"), None):
        files = ", ".join(map(yaml_quoted, pages.files))
        more = (
            ". Or let each block between blank lines be a document: write this source into a preset with a "
            "name and data.sources, and type the command again with --force, which keeps it:\n"
            f"    - {{name: {yaml_quoted(pages.name)}, files: [{files}], format: plain}}"
        )
    raise UserError(
        f"{counted(documents, 'documents')} of {found.text_bytes():,} bytes "
        f"{'is' if documents == 1 else 'are'} too little to hold out text for validation and test; "
        f"add text{more}"
    )


def _rows_in_split(rows: Iterable[Record], name: str, split: SplitParameters) -> list[Record]:
    return [row for row in rows if split_of(row.group, split) == name]


def _split_bytes(rows: Iterable[Record], name: str, split: SplitParameters) -> int:
    """Return the bytes of the documents in a split."""
    return sum(len(row.text.encode()) for row in _rows_in_split(rows, name, split) if isinstance(row, Text))


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


def _chat_lengths(tokenizer: Tokenizer, pairs: Sequence[Pair]) -> tuple[list[int], list[int]]:
    """Return the tokens of prompts and of completions in the chat format of an open model."""
    examples = [
        example_of({"prompt": row.prompt, "completion": row.completion, "history": row.history}, tokenizer)
        for row in pairs
    ]
    return [len(each.prompt) for each in examples], [len(each.completion) for each in examples]


def _rating_strata(rows: Sequence[Rating | Comparison], scale: float) -> dict[str, int]:
    counts = Counter(stratum_key(row.aspect, row.source) for row in rows)
    return {name: round(count * scale) for name, count in sorted(counts.items())}


def _opening_words(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the first words of three documents, which the report lets the model continue."""
    words = (" ".join(text.split()[:3]) for text in texts[:: max(1, len(texts) // 3)])
    return tuple(dict.fromkeys(word for word in words if word and len(word) < 60))[:3]
