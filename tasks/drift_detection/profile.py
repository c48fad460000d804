"""What a version of the data looks like, in figures that are small enough to be kept with every run.

Texts are counted in a sample: the rows of a kind with the smallest ids. Ids are digests of content, so this
is as good as by chance and the same each time, and what two versions share is in the samples of both.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.data.tokenizer import Tokenizer
from tasks.common.names import stratum_key
from tasks.data.annotator_agreement import Agreement
from tasks.data.ngrams import words_of
from tasks.data.ratings import whole_ratings
from tasks.data.records import TYPES, annotators_of, list_shards, read_shards, text_digest
from tasks.data.splits import SPLITS

FILE, IDS = "profile.json", "rows.txt"
# Beside them in what a champion is compared by: which it is, and its model.
ABOUT, MODEL = "champion.json", "model"
IDS_IN_ALL = 1 << 64
_TOP = 5000  # words of a kind that are kept with their counts
_LONGEST = 40  # characters of a word: what is longer is no word, and said once
# Words a row, in bins that grow by a quarter of an octave.
_EDGES = sorted({round(2 ** (quarter / 4)) for quarter in range(81)})
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CHUNK = 1 << 24
VALUES = {"a": 1, "tie": 0, "b": -1}


@dataclass(frozen=True)
class Kind:
    """The sample of one kind of rows: what share of its rows it is, their lengths in words, and the words.

    `lengths` counts rows by the bins of EDGES, `quantiles` are at QUANTILES; `top` are the commonest words.
    """

    share: float
    rows: int
    lengths: list[int]
    quantiles: list[float]
    words: int
    distinct: int
    top: dict[str, int]
    sources: dict[str, int]


@dataclass(frozen=True)
class Pieces:
    """The sample's text in the tokens of the version's own tokenizer.

    `met` has a bit for each token, in hexadecimal digits: whether the training text holds it.
    """

    tokens: int
    bytes: int
    met: str

    @property
    def known(self) -> np.ndarray:
        """Whether each token was met, [vocabulary] or a few more."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.met), np.uint8)).astype(bool)


@dataclass(frozen=True)
class Agreed:
    """How far people agree on what several of them judged: `items` of these; alpha is Krippendorff's."""

    items: int
    annotators: int
    alpha: float | None
    same: float | None


@dataclass(frozen=True)
class Profile:
    """One version: its kinds of rows, its labels by "aspect/source", its text in tokens.

    `scores` counts single scores by their value in words, `choices` comparisons by a, b and tie.
    """

    kinds: dict[str, Kind]
    pieces: Pieces
    scores: dict[str, dict[str, int]]
    choices: dict[str, dict[str, int]]
    agreement: dict[str, Agreed]

    def write(self, folder: Path) -> None:
        """profile.json in `folder`."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """From `folder`."""
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(
            {name: Kind(**values) for name, values in found["kinds"].items()},
            Pieces(**found["pieces"]),
            found["scores"],
            found["choices"],
            {name: Agreed(**values) for name, values in found["agreement"].items()},
        )


@dataclass
class Sample:
    """The sampled rows of a kind as they are counted, nothing cut off yet."""

    share: float
    ids: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, row: Mapping[str, Any]) -> None:
        """One more row."""
        words = words_of(counted_text(kind, row))
        self.ids.append(row["id"])
        self.lengths.append(len(words))
        self.words.update(word[:_LONGEST] for word in words)
        self.sources[row["source"]] += 1

    def kind(self) -> Kind:
        """What is kept of it."""
        common = sorted(self.words.items(), key=lambda item: (-item[1], item[0]))[:_TOP]
        bins = np.searchsorted(_EDGES, self.lengths)
        return Kind(
            self.share,
            len(self.ids),
            np.bincount(bins, minlength=len(_EDGES) + 1).tolist(),
            [float(value) for value in np.quantile(self.lengths, QUANTILES)],
            self.words.total(),
            len(self.words),
            dict(common),
            dict(sorted(self.sources.items())),
        )


def counted_text(kind: str, row: Mapping[str, Any]) -> str:
    """The text of a row whose words are counted: of a label, what was judged."""
    names = {"text": ("text",), "pairs": ("prompt", "completion"), "comparisons": ("a", "b")}
    return " ".join(row[name] for name in names.get(kind, ("completion",)))


def sample_rows(split: Path, kind: str, share: float) -> Iterator[dict[str, Any]]:
    """The rows of a kind that are in the sample, of all parts of the split."""
    least = share * IDS_IN_ALL
    for part in SPLITS:
        for row in read_shards(split / part / kind):
            # Rows stand in the order of their ids.
            if int(row["id"], 16) >= least:
                break
            yield row


def share_of(split: Path, kind: str, most: int) -> float:
    """The share of a kind's rows that is about `most` bytes; 1: all of them."""
    size = sum(path.stat().st_size for part in SPLITS for path in list_shards(split / part / kind))
    return min(1.0, most / max(1, size))


def take_samples(split: Path, most: int) -> dict[str, Sample]:
    """The samples of all kinds that have rows, about `most` bytes of each."""
    found = {kind: Sample(share_of(split, kind, most)) for kind in TYPES}
    for kind, sample in found.items():
        for row in sample_rows(split, kind, sample.share):
            sample.add(kind, row)
    return {kind: sample for kind, sample in found.items() if sample.ids}


def write_ids(samples: Mapping[str, Sample], folder: Path) -> None:
    """rows.txt in `folder`: kind and id of each sampled row."""
    lines = (f"{kind} {number}\n" for kind, sample in samples.items() for number in sample.ids)
    (folder / IDS).write_text("".join(lines), encoding="utf-8")


def read_ids(folder: Path) -> dict[str, set[str]]:
    """The ids by kind of `write_ids`."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in (folder / IDS).read_text(encoding="utf-8").splitlines():
        kind, number = line.split(" ")
        found[kind].add(number)
    return found


def make_profile(split: Path, tokenizer: Path, samples: Mapping[str, Sample]) -> Profile:
    """The profile of a split version and its tokenizer, of samples of it."""
    encoder = Tokenizer.load(tokenizer)
    counts, size = count_tokens(encoder, split, samples["text"].share)
    met = np.packbits(_met_tokens(tokenizer, encoder.vocabulary)).tobytes().hex()
    scores, agreed = _profile_ratings(split)
    choices, compared = _profile_comparisons(split)
    return Profile(
        {kind: sample.kind() for kind, sample in samples.items()},
        Pieces(int(counts.sum()), size, met),
        scores,
        choices,
        dict(sorted((agreed | compared).items())),
    )


def count_tokens(encoder: Tokenizer, split: Path, share: float) -> tuple[np.ndarray, int]:
    """How often each token stands in the sampled text, [vocabulary], and the bytes of that text."""
    counts = np.zeros(encoder.vocabulary, np.int64)
    size = 0
    for row in sample_rows(split, "text", share):
        counts += np.bincount(encoder.encode_documents([row["text"]]), minlength=encoder.vocabulary)
        size += len(row["text"].encode())
    # An end after each text is none of it.
    counts[encoder.end] = 0
    return counts, size


def _met_tokens(tokenizer: Path, vocabulary: int) -> np.ndarray:
    """Which tokens stand in the training text."""
    described = json.loads((tokenizer / "tokens.json").read_text())
    tokens = np.memmap(tokenizer / "train.bin", described["dtype"], mode="r")
    met = np.zeros(vocabulary, bool)
    for start in range(0, len(tokens), CHUNK):
        met[np.unique(tokens[start : start + CHUNK])] = True
    return met


def _profile_ratings(split: Path) -> tuple[dict[str, dict[str, int]], dict[str, Agreed]]:
    """Single scores by value, and agreement, of all ratings."""
    scores: dict[str, Counter[str]] = defaultdict(Counter)
    agreed: dict[str, Agreement] = defaultdict(Agreement)
    for part in SPLITS:
        for row in whole_ratings(split / part / "ratings"):
            stratum = stratum_key(row.aspect, row.source)
            # Two digits: a scale with any number of steps gives a table of bounded size.
            scores[stratum].update(f"{float(f'{score:.2g}'):g}" for score in row.scores)
            if len(row.scores) > 1:
                agreed[stratum].add_item(row.scores, row.annotators)
    return _sort_counts(scores), {stratum: _agreement_values(found) for stratum, found in agreed.items()}


def _profile_comparisons(split: Path) -> tuple[dict[str, dict[str, int]], dict[str, Agreed]]:
    """Choices, and agreement of those who compared the same two answers, whichever stood first."""
    choices: dict[str, Counter[str]] = defaultdict(Counter)
    people: dict[str, set[str]] = defaultdict(set)
    subjects: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    values: dict[str, array[int]] = defaultdict(lambda: array("b"))
    for part in SPLITS:
        for row in read_shards(split / part / "comparisons"):
            stratum = stratum_key(row["aspect"], row["source"])
            choices[stratum][row["choice"]] += 1
            people[stratum].update(annotators_of(row))
            first, second = sorted((row["a"], row["b"]))
            subject = text_digest(row.get("history") or "", row["prompt"], first, second)
            subjects[stratum].append(int(subject, 16))
            values[stratum].append(VALUES[row["choice"]] * (1 if row["a"] == first else -1))
    agreed = {}
    for stratum, found in subjects.items():
        agreement = Agreement()
        _, places, counts = np.unique(np.array(found), return_inverse=True, return_counts=True)
        given = np.array(values[stratum])[np.argsort(places, kind="stable")]
        for judged in np.split(given, np.cumsum(counts)[:-1]):
            if len(judged) > 1:
                agreement.add_item(judged.tolist())
        agreement.annotators = people[stratum]
        agreed[stratum] = _agreement_values(agreement)
    return _sort_counts(choices), agreed


def _agreement_values(found: Agreement) -> Agreed:
    several = found.items > 0
    # Of no item that several people judged there is no agreement; NaN is no JSON.
    return Agreed(
        found.items,
        len(found.annotators),
        found.krippendorff_alpha if several else None,
        found.of_pairs if several else None,
    )


def _sort_counts(counts: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {name: dict(sorted(found.items())) for name, found in sorted(counts.items())}
