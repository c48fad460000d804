"""The effect of a withdrawal on data/, determined row by row before anything is written."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from operator import eq
from pathlib import Path

from model.errors import UserError
from tasks.common.annotators import similarity_key, visible_name
from tasks.common.counts import counted
from tasks.common.names import shown_name
from tasks.data.records import ID, LABEL_KINDS, TYPES, list_shards, naming_row, people_of
from tasks.data.withdrawals import Withdrawal, merge_withdrawals, rated_of, read_withdrawals
from tasks.deletion.own_answers import own_answer_ids
from tasks.dvc.pointer_file import read_pointer
from tasks.ingestion.row_origins import find_origins, read_places
from tasks.labelling.page_rows import page_rows
from tasks.labelling.schema import read_label_store
from tasks.validation.quarantine import RELEASES_FILE, read_releases

_SHORTEST = 6  # characters of an id that stand for the whole of it
_NAMED = 3  # of several, as many are named in a message
GIVEN = re.compile(rf"[0-9a-f]{{{_SHORTEST},16}}")
_PLACE = re.compile(r", (line|item|row|record|task|trace|turn|paragraph) .*$")


@dataclass(frozen=True)
class DeletionRequest:
    """A signed request to withdraw people by name, and rows by id with the place where each id was given."""

    people: Sequence[str]
    ids: Mapping[str, str]
    author: str
    reason: str
    time: str


@dataclass
class DeletionPlan:
    """The effect of a request: new withdrawals, known ones, and what leaves data/.

    `gone` counts rows by kind and source file. `reduced` counts rows that stay with fewer judgements.
    `similar` counts the rows of people who stay and whose names are similar, by name and kind.
    """

    new: list[Withdrawal] = field(default_factory=list)
    known: list[Withdrawal] = field(default_factory=list)
    gone: Counter[tuple[str, str]] = field(default_factory=Counter)
    reduced: Counter[tuple[str, str]] = field(default_factory=Counter)
    similar: Counter[tuple[str, str]] = field(default_factory=Counter)


def read_ids(path: Path) -> dict[str, str]:
    """Return the row ids in a file, one a line, each with its place for messages.

    Raises:
        UserError: The file is missing, is not UTF-8 or holds no id.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file; expected a file of row ids, one per line")
    try:
        # utf-8-sig: editors on Windows may write a byte order mark before the first id.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    found = {line.strip(): f"{path}, line {number}: " for number, line in enumerate(lines, 1) if line.strip()}
    if not found:
        raise UserError(f"{path} contains no id; expected a file of row ids, one per line")
    return found


def plan_deletion(root: Path, asked: DeletionRequest, overrides: Path | str = RELEASES_FILE) -> DeletionPlan:
    """Return what a request removes from data/, and what of it is already withdrawn.

    An id may be shortened to 6 characters or more if only one id starts with them. A row that was corrected
    by hand in the file `overrides`, so that it is a person's label, is removed by its id.

    Args:
        root: The project's folder.
        asked: The request.
        overrides: The file of released rows.

    Raises:
        UserError: An id or a person is neither in data/ nor withdrawn; the message names the closest match.
    """
    if not (root / "data").is_dir():
        raise UserError("data/ does not exist yet; create it with `chatmill ingest` before withdrawing rows")
    asked = replace(asked, people=[visible_name(name) for name in asked.people])
    _check_request(asked)
    known = read_withdrawals(root)
    # A row that was corrected by hand may name another person than the row in data/.
    corrected = {
        number: set(people_of(release.row)) - {""}
        for number, release in read_releases(root, overrides).items()
        if release.row and ("choice" in release.row or "scores" in release.row)
    }
    written = {name: own_answer_ids(root, name) for name in asked.people}
    search = _Search(asked, known, corrected)
    # People are named in labels alone, and texts are much larger.
    for kind in TYPES if asked.ids else LABEL_KINDS:
        for path in list_shards(root / "data" / kind):
            with naming_row(path, f"data/{kind}/{path.name}"), path.open("rb") as lines:
                for line in lines:
                    search.check_row(kind, line)
    ids = {given: search.resolve_id(given, root) for given in asked.ids} | search.theirs
    # Whatever data/ holds now, an earlier version or that of another preset may hold these.
    ids |= {number: (number, "") for numbers in written.values() for number in sorted(numbers)}
    for name in asked.people:
        if not written[name] and name not in {*search.people, *search.withdrawn.annotators}:
            raise UserError(_explain_unknown_person(name, search.people, root))
    plan = search.make_plan(ids)
    _count_affected(root, plan)
    return plan


def _count_affected(root: Path, plan: DeletionPlan) -> None:
    """Count the rows of data/ that a plan removes or reduces, by ingestion's own rule."""
    withdrawn = merge_withdrawals((*plan.new, *plan.known))
    pointer = read_pointer(root)
    origins = find_origins(root, pointer["md5"]) if pointer else None
    for kind in TYPES if withdrawn.ids else LABEL_KINDS:
        for path in list_shards(root / "data" / kind):
            places = read_places(origins / kind / path.name) if origins else repeat("")
            with naming_row(path, f"data/{kind}/{path.name}"), path.open("rb") as lines:
                # A row that was added by hand after the ingestion has no place.
                for line, place in zip(lines, chain(places, repeat("")), strict=False):
                    if not withdrawn.matches_line(kind, line):
                        continue
                    row = TYPES[kind](**json.loads(line))
                    where = _PLACE.sub("", place) if origins else f"source {row.source}"
                    kept = withdrawn.filter_row(row)
                    (plan.gone if kept is None else plan.reduced)[kind, where] += 1


def _check_request(asked: DeletionRequest) -> None:
    for name, said in (("author", asked.author), ("reason", asked.reason)):
        if not said.strip():
            raise UserError(f"{name} is empty; a withdrawal records its author and reason")
    if not asked.people and not asked.ids:
        raise UserError("nothing to withdraw; give --annotator WHO, row ids, or --ids-file FILE")
    for name in asked.people:
        if not name.strip():
            raise UserError("annotator is empty; withdraw rows without an annotator by their ids")
    for given, place in asked.ids.items():
        if not GIVEN.fullmatch(given):
            raise UserError(
                f"{place}{given!r} is not a row id; expected 16 hex digits, or the first {_SHORTEST} or more"
            )


class _Search:
    """The state of a search through data/."""

    def __init__(
        self,
        asked: DeletionRequest,
        known: Sequence[Withdrawal],
        corrected: Mapping[str, set[str]],
    ) -> None:
        self.asked, self.known, self.corrected_people = asked, known, corrected
        self.withdrawn = merge_withdrawals(known)
        self.wanted = frozenset(asked.people)
        self.people: set[str] = set()
        self.labels: Counter[tuple[str, str]] = Counter()
        self.lengths = sorted({len(given) for given in asked.ids})
        # By the given text: the full ids that start with it, each with the answer that it rates.
        self.found: dict[str, dict[str, str]] = {given: {} for given in asked.ids}
        for number in self.withdrawn.ids:
            for given in self._given(number):
                self.found[given].setdefault(number, "")
        # Rows of the people that are withdrawn by id, as data/ does not name the person in them.
        self.theirs: dict[str, tuple[str, str]] = {}

    def _given(self, number: str) -> set[str]:
        # One look-up for each length rather than a comparison with each given id, of which there may be many.
        return {number[:length] for length in self.lengths} & self.found.keys()

    def check_row(self, kind: str, line: bytes) -> None:
        """Record the people of a row of data/, and its id if the request means it."""
        # A canonical row has its id at a fixed place. Parsing each row of the data would take many times as
        # long.
        number = line[ID].decode()
        asked_for = self._given(number)
        row = json.loads(line) if kind in LABEL_KINDS and (self.wanted or asked_for) else {}
        rated = rated_of(row) if kind == "ratings" and row else ""
        for given in asked_for:
            # More ids than a message names are not kept. The full id is, however many other ids start with
            # it.
            if len(self.found[given]) <= _NAMED or number == given:
                self.found[given][number] = rated
        people = set(people_of(row)) if row and self.wanted else set()
        now = self.corrected_people.get(number, people) if row else people
        self.people |= (people | now) - {""}
        self.labels.update((name, kind) for name in now - {""})
        if now & self.wanted and not people & self.wanted:
            self.theirs[number] = (number, rated)

    def resolve_id(self, given: str, root: Path) -> tuple[str, str]:
        """Return the one row that is meant, and the answer that it rates."""
        matches, place = self.found[given], self.asked.ids[given]
        if given in matches:
            return given, matches[given]
        if not matches:
            near = _similar_id(given, root)
            hint = f"did you mean {near}?" if near else "`chatmill data diff --rows 3` shows examples of rows"
            raise UserError(f"{place}{given} is not a row of data/; {hint}")
        if len(matches) > 1:
            begun = ", ".join(list(matches)[:_NAMED])
            raise UserError(f"{place}{given} matches several ids ({begun}); give more characters")
        return next(iter(matches.items()))

    def make_plan(self, ids: Mapping[str, tuple[str, str]]) -> DeletionPlan:
        """Return the result as withdrawals to record and as counts."""
        author, reason, time = self.asked.author.strip(), self.asked.reason.strip(), self.asked.time
        rows, people = dict(ids.values()), dict.fromkeys(self.asked.people)
        known = [each for each in self.known if each.id in rows or each.annotator in people]
        new = [Withdrawal(author, reason, time, annotator=name) for name in people]
        new += [Withdrawal(author, reason, time, id=number, rated=rated) for number, rated in rows.items()]
        new = [
            each
            for each in new
            if each.annotator not in self.withdrawn.annotators and each.id not in self.withdrawn.ids
        ]
        return DeletionPlan(new, known, similar=self._count_similar())

    def _count_similar(self) -> Counter[tuple[str, str]]:
        """Return the rows of people who stay and whose names are similar to those of the request."""
        leaving = self.wanted | self.withdrawn.annotators
        keys = {similarity_key(name) for name in self.wanted}
        return Counter(
            {
                (name, kind): count
                for (name, kind), count in self.labels.items()
                if name not in leaving and similarity_key(name) in keys
            }
        )


def _explain_unknown_person(name: str, people: set[str], root: Path) -> str:
    """Return why nothing of a person can be withdrawn, and where their labels may be."""
    if waiting := _count_page_labels(root, name):
        return (
            f"no label in data/ is by {name!r}; {counted(waiting, 'labels')} of theirs "
            f"{'is' if waiting == 1 else 'are'} on the label page. `chatmill ingest` reads them, where a "
            "source has `labels: page`; withdraw them after that"
        )
    near = difflib.get_close_matches(name, sorted(people), n=1, cutoff=0.4)
    there = ", ".join(map(shown_name, sorted(people)[:9])) or "none"
    hint = f"did you mean {shown_name(near[0])}?" if near else f"there are {there}"
    return f"no label in data/ is by {name!r}; {hint} (what came since is read by `chatmill ingest`)"


def _count_page_labels(root: Path, name: str) -> int:
    """Return how many labels of a person the label page would give to an ingestion."""
    store = read_label_store(root)
    if store is None:
        return 0
    with store:
        return sum(row.get("annotator") == name for row in page_rows(store).rows)


def _similar_id(given: str, root: Path) -> str:
    """Return the id in data/ that agrees with the given one in most positions, and in over half; else ""."""
    best, most = "", len(given) // 2
    for kind in TYPES:
        for path in list_shards(root / "data" / kind):
            with naming_row(path, f"data/{kind}/{path.name}"), path.open("rb") as lines:
                for line in lines:
                    number = line[ID].decode()
                    alike = sum(map(eq, given, number))
                    if alike > most:
                        best, most = number, alike
    return best
