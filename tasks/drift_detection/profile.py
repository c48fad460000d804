"""The profile of a version of the data: statistics that are small enough to be kept with every run.

Texts are counted in a sample: the rows of a kind with the smallest ids. Ids are digests of content, so the
sample is as good as a random one and the same each time. Rows that two versions share are in the samples of
both.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.data.dataloader import map_tokens
from model.data.tokenizer import Tokenizer
from tasks.common.annotators import count_named
from tasks.common.names import stratum_key
from tasks.data.labels.annotator_agreement import Agreement
from tasks.data.labels.judgements import Judgements, measure_agreement, tabulate_first_judgements
from tasks.data.labels.ratings import whole_ratings
from tasks.data.ngrams import words_of
from tasks.data.records import TYPES, list_shards, read_shards
from tasks.data.splits import SPLITS

FILE, IDS = "profile.json", "rows.txt"
# Further files of a reference version: its description, and its model.
ABOUT, MODEL = "champion.json", "model"
IDS_IN_ALL = 1 << 64
_TOP = 5000  # words of a kind that are kept with their counts
_LONGEST = 40  # characters of a word: what is longer is no word, and said once
# Edges of the bins for words per row; each is a quarter of an octave wide.
_EDGES = sorted({round(2 ** (quarter / 4)) for quarter in range(81)})
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CHUNK = 1 << 24


@dataclass(frozen=True)
class KindProfile:
    """The sample of one kind of rows.

    Attributes:
        share: The share of the kind's rows that was sampled.
        rows: The number of sampled rows.
        lengths: The number of rows in each bin of `_EDGES`.
        quantiles: Words per row at `QUANTILES`.
        words: The number of words.
        distinct: The number of different words.
        top: The counts of the most common words.
        sources: The number of rows by source.
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
    """The sample's text in tokens of the version's own tokenizer.

    `met` has one bit for each token, as hexadecimal digits: whether the training text contains it.
    """

    tokens: int
    bytes: int
    met: str

    @property
    def known(self) -> np.ndarray:
        """A mask of the tokens that were met, [vocabulary] with up to 7 more entries."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.met), np.uint8)).astype(bool)


@dataclass(frozen=True)
class Agreed:
    """The agreement of annotators on `items` that several of them judged; alpha is Krippendorff's.

    `annotators` counts those with a name.
    """

    items: int
    annotators: int
    alpha: float | None
    same: float | None


@dataclass(frozen=True)
class Profile:
    """The profile of one version: its kinds of rows, its labels by "aspect/source", its text in tokens.

    `scores` counts single scores by their value as text, `choices` comparisons by a, b and tie.
    """

    kinds: dict[str, KindProfile]
    pieces: Pieces
    scores: dict[str, dict[str, int]]
    choices: dict[str, dict[str, int]]
    agreement: dict[str, Agreed]

    def write(self, folder: Path) -> None:
        """Write profile.json in `folder`."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """Read profile.json from `folder`."""
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(
            {name: KindProfile(**values) for name, values in found["kinds"].items()},
            Pieces(**found["pieces"]),
            found["scores"],
            found["choices"],
            {name: Agreed(**values) for name, values in found["agreement"].items()},
        )


@dataclass
class Sample:
    """The sampled rows of a kind with all counts, before rare words are cut off."""

    share: float
    ids: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, row: Mapping[str, Any]) -> None:
        """Add one row."""
        words = words_of(counted_text(kind, row))
        self.ids.append(row["id"])
        self.lengths.append(len(words))
        self.words.update(word[:_LONGEST] for word in words)
        self.sources[row["source"]] += 1

    def kind(self) -> KindProfile:
        """Return the part that the profile keeps."""
        # Ties by name: the order of a Counter depends on the order of the rows.
        common = sorted(self.words.items(), key=lambda item: (-item[1], item[0]))[:_TOP]
        bins = np.searchsorted(_EDGES, self.lengths)
        return KindProfile(
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
    """Return the text of a row whose words are counted; for a label, the text that was judged."""
    names = {"text": ("text",), "pairs": ("prompt", "completion"), "comparisons": ("a", "b")}
    return " ".join(row[name] for name in names.get(kind, ("completion",)))


def sample_rows(split: Path, kind: str, share: float) -> Iterator[dict[str, Any]]:
    """Yield the sampled rows of a kind, from all parts of the split."""
    least = share * IDS_IN_ALL
    for part in SPLITS:
        for row in read_shards(split / part / kind):
            # Rows are sorted by id, so the rest of the part is not in the sample.
            if int(row["id"], 16) >= least:
                break
            yield row


def share_of(split: Path, kind: str, most: int) -> float:
    """Return the share of a kind's rows that makes up about `most` bytes; at most 1."""
    size = sum(path.stat().st_size for part in SPLITS for path in list_shards(split / part / kind))
    return min(1.0, most / max(1, size))


def take_samples(split: Path, most: int) -> dict[str, Sample]:
    """Return the samples of all kinds that have rows, about `most` bytes of each."""
    found = {kind: Sample(share_of(split, kind, most)) for kind in TYPES}
    for kind, sample in found.items():
        for row in sample_rows(split, kind, sample.share):
            sample.add(kind, row)
    return {kind: sample for kind, sample in found.items() if sample.ids}


def write_ids(samples: Mapping[str, Sample], folder: Path) -> None:
    """Write the kind and id of each sampled row to rows.txt in `folder`."""
    lines = (f"{kind} {number}\n" for kind, sample in samples.items() for number in sample.ids)
    (folder / IDS).write_text("".join(lines), encoding="utf-8")


def read_sample_ids(folder: Path) -> dict[str, set[str]]:
    """Return the ids that `write_ids` wrote, by kind."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in (folder / IDS).read_text(encoding="utf-8").splitlines():
        kind, number = line.split(" ")
        found[kind].add(number)
    return found


def make_profile(split: Path, tokenizer: Path, samples: Mapping[str, Sample]) -> Profile:
    """Return the profile of a split and its tokenizer.

    Args:
        split: The output of split.
        tokenizer: The output of tokenizer.
        samples: The samples from `take_samples`.
    """
    encoder = Tokenizer.load(tokenizer)
    counts, size = count_tokens(encoder, split, text_share(samples))
    met = np.packbits(_met_tokens(tokenizer, encoder.vocab_size)).tobytes().hex()
    scores, agreed = _profile_ratings(split)
    choices, compared = _profile_comparisons(split)
    return Profile(
        {kind: sample.kind() for kind, sample in samples.items()},
        Pieces(int(counts.sum()), size, met),
        scores,
        choices,
        dict(sorted((agreed | compared).items())),
    )


def text_share(samples: Mapping[str, Sample]) -> float:
    """Return the share of the text that is sampled; 1 without text."""
    return samples["text"].share if "text" in samples else 1.0


def count_tokens(encoder: Tokenizer, split: Path, share: float) -> tuple[np.ndarray, int]:
    """Return the count of each token in the sampled text, [vocabulary], and the size of the text in bytes."""
    counts = np.zeros(encoder.vocab_size, np.int64)
    size = 0
    for row in sample_rows(split, "text", share):
        counts += np.bincount(encoder.encode_documents([row["text"]]), minlength=encoder.vocab_size)
        size += len(row["text"].encode())
    # The tokens at the beginning and the end of each text are not part of it.
    counts[[*encoder.begin, encoder.document_end]] = 0
    return counts, size


def _met_tokens(tokenizer: Path, vocabulary: int) -> np.ndarray:
    """Return whether each token occurs in the training text, [vocabulary]."""
    tokens = map_tokens(tokenizer, "train")
    met = np.zeros(vocabulary, bool)
    # In chunks, because the training text may be larger than the memory.
    for start in range(0, len(tokens), CHUNK):
        met[np.unique(tokens[start : start + CHUNK])] = True
    return met


def _profile_ratings(split: Path) -> tuple[dict[str, dict[str, int]], dict[str, Agreed]]:
    """Return the counts of single scores by value, and the agreement, of all ratings by stratum."""
    scores: dict[str, Counter[str]] = defaultdict(Counter)
    agreed: dict[str, Agreement] = defaultdict(Agreement)
    for part in SPLITS:
        for row in whole_ratings(split / part / "ratings"):
            stratum = stratum_key(row.aspect, row.source)
            # Two significant digits bound the size of the table, whatever the number of steps of the scale.
            scores[stratum].update(f"{float(f'{score:.2g}'):g}" for score in row.scores)
            if len(row.scores) > 1:
                agreed[stratum].add_item(row.scores, row.annotators)
    return _sort_counts(scores), {stratum: _agreement_values(found) for stratum, found in agreed.items()}


def _profile_comparisons(split: Path) -> tuple[dict[str, dict[str, int]], dict[str, Agreed]]:
    """Return the counts of choices, and the agreement of annotators, of all comparisons by stratum."""
    choices: dict[str, Counter[str]] = defaultdict(Counter)
    judgements = Judgements()
    for part in SPLITS:
        for row in read_shards(split / part / "comparisons"):
            choices[stratum_key(row["aspect"], row["source"])][row["choice"]] += 1
            judgements.add_comparison(row)
    tables = {stratum: tabulate_first_judgements(stratum, [judgements]) for stratum in choices}
    found = {stratum: measure_agreement(table, least=2) for stratum, table in tables.items()}
    return _sort_counts(choices), {name: _agreement_values(each) for name, each in found.items()}


def _agreement_values(found: Agreement) -> Agreed:
    several = found.items > 0
    # Without an item that several people judged, the agreement would be NaN, which JSON does not have.
    return Agreed(
        found.items,
        count_named(found.annotators),
        found.krippendorff_alpha if several else None,
        found.of_pairs if several else None,
    )


def _sort_counts(counts: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {name: dict(sorted(found.items())) for name, found in sorted(counts.items())}
