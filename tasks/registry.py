"""The registry of models: versions, which of them is champion, and every move of that name with its reason.

A move is a tag of the registered model, so that it lives where the alias does. The alias is the truth: one
that something else moved, as MLflow's page can, is written down when it is next met, its time unknown.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from model.errors import UserError
from tasks import approval
from tasks.approval import (
    APPROVAL,
    APPROVED,
    LATE,
    MOMENT,
    REFUSED,
    TIME,
    WAITS,
    WHO,
    WHY,
    Question,
    standing,
)
from tasks.stage import Reference

MODEL, CHAMPION = "chatmill", "champion"
MOVE = "chatmill.move."
GATE, PERSON, ELSEWHERE = "gate", "person", "elsewhere"
LONGEST_REASON = 2000


class Alone(Protocol):
    """Keeps other processes of this project out for as long as its context lasts."""

    def __call__(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class Registered:
    """What became of the aligned model in the registry; whether it `waits` for a person."""

    version: str
    champion: bool
    says: str
    waits: bool = False


@dataclass(frozen=True)
class Move:
    """The alias went from one version to another ("": none); `time` is in UTC, "" where nobody saw it."""

    before: str
    now: str
    by: str
    who: str
    why: str
    time: str


class Registry:
    """The versions of the registered model in one MLflow store."""

    def __init__(self, client: MlflowClient, alone: Alone) -> None:
        self.client, self.alone = client, alone

    def champion(self) -> Any:
        """The version with the alias, or None."""
        try:
            return self.client.get_model_version_by_alias(MODEL, CHAMPION)
        except MlflowException:
            return None

    def opponent(self, digest: str) -> Any:
        """Return the version that a new model is compared with; None where there is none.

        That is the champion, or the champion before it where the champion is this very model: a run that is
        repeated then compares with the same version as before.
        """
        known = {_name(found): found for found in self.versions()}
        others = [found for found in known.values() if found.tags.get("digest") != digest]
        moves = self.moves()
        for version in reversed([*_trail(moves), *(move.now for move in moves[-1:])]):
            if known.get(version) in others:
                return known[version]
        return None

    def versions(self) -> list[Any]:
        """All versions, the newest first."""
        try:
            found = self.client.search_model_versions(f"name='{MODEL}'")
        except MlflowException:
            return []
        return sorted(found, key=lambda version: -int(version.version))

    def moves(self) -> list[Move]:
        """The moves of the alias, the oldest first; the last one leads to where it is now."""
        found = self._written()
        holder = _name(self.champion())
        last = found[-1].now if found else ""
        return found if holder == last else [*found, _unseen(last, holder, first=not found)]

    def _written(self) -> list[Move]:
        try:
            tags = self.client.get_registered_model(MODEL).tags
        except MlflowException:
            return []
        return [Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(MOVE)]

    def register(
        self, aligned: Reference, verdict: Reference, source: str, question: Question | None = None
    ) -> Registered:
        """Make the aligned model a version; `champion` where it passed and is better.

        With a `question` a person decides about one that would be: it waits. The same model under the same
        verdict is registered once: what is there is returned. A model that a person rolled back from, or
        refused, is not promoted by the gate, under no verdict.
        """
        with suppress(MlflowException), self.alone():
            self.client.create_registered_model(MODEL)
        with self.alone():
            versions, moves, champion = self.versions(), self.moves(), self.champion()
            same = [found for found in versions if found.tags.get("digest") == aligned.digest]
            withheld = _withheld(moves, same)
            for known in same:
                if known.tags.get("gate") == verdict.digest:
                    return self._known(known, champion, moves, withheld)
            promotes, reason = _decide(verdict, champion, withheld)
            waits = promotes and question is not None
            tags = {
                "digest": aligned.digest,
                "gate": verdict.digest,
                "score": str(verdict.metrics["score"]),
                "passed": str(bool(verdict.metrics["passed"])).lower(),
                "promote": str(promotes and not waits).lower(),
                "reason": reason,
                "figures": json.dumps(_figures(Path(verdict.path))),
                **(question.tags() if question and waits else {}),
            }
            made = self.client.create_model_version(MODEL, source, aligned.run, tags=tags)
            version = str(made.version)
            says = f"version {version} of {MODEL}"
            if waits:
                asked = self.client.get_model_version(MODEL, version)
                return Registered(version, False, f"{says}: {approval.told(asked)}", True)
            if not promotes:
                return Registered(version, False, f"{says}: not the champion: {reason}")
            self._promote(version, reason, moves)
            return Registered(version, True, f"{says}: now the champion{_ends(moves)}")

    def _known(self, known: Any, champion: Any, moves: list[Move], withheld: str) -> Registered:
        version = _name(known)
        says = f"version {version} of {MODEL}"
        holds = version == _name(champion)
        if not holds and (stands := standing(known.tags)) in (WAITS, LATE, REFUSED):
            stood = f"{says} is this model; {approval.told(known)}"
            return Registered(version, False, stood, stands == WAITS)
        written = self._written()
        seen = any(version in (move.before, move.now) for move in (written if holds else moves))
        if known.tags.get("promote") == "true" and not seen and (holds or _score(known) > _score(champion)):
            # Its process was killed before the alias was moved, or before the history had that.
            self._promote(version, known.tags.get("reason", ""), written if holds else moves)
            return Registered(version, True, f"{says}: now the champion{_ends(moves)}")
        if withheld and not holds:
            return Registered(version, False, f"{says} is this model; {withheld}")
        return Registered(version, holds, f"{says}{', the champion' if holds else ''}, is this model")

    def decide(self, version: str, yes: bool, who: str, why: str, in_time: bool = False) -> Registered:
        """A person's word on a version that waits: champion, if it is yes and beats the champion of now.

        The same word again changes nothing. `in_time`: it was given before the time ran out. Raises UserError
        for a version that waits for nobody, and where the other word was given.
        """
        wanted = APPROVED if yes else REFUSED
        why = _reason(why) or wanted
        with self.alone():
            known = {_name(found): found for found in self.versions()}
            if version not in known:
                raise UserError(f"there is no version {version} of {MODEL}; `chatmill models` shows all")
            found, moves = known[version], self.moves()
            holder = moves[-1].now if moves else ""
            stands, says = standing(found.tags), f"version {version} of {MODEL}"
            if stands == wanted:
                return Registered(version, version == holder, f"{says}: {approval.told(found)}")
            if stands != WAITS and not (stands == LATE and in_time):
                raise UserError(f"{says}: {approval.told(found)}")
            if version == holder and not yes:
                raise UserError(f"{says} is the champion already; `chatmill rollback` takes it back")
            champion = known.get(holder)
            wins = yes and version != holder and _score(found) > _score(champion)
            if wins:
                self._move(moves, Move(holder, version, PERSON, who, why, _now()))
            # The word last: killed before it, the version still waits, and the same word ends what was begun.
            for tag, value in ((WHO, who), (WHY, why), (TIME, _now()), (APPROVAL, wanted)):
                self.client.set_model_version_tag(MODEL, version, tag, value)
        if wins or version == holder:
            was = f" instead of version {holder}" if wins and holder else ""
            return Registered(version, True, f"{says} is now the champion{was}")
        if yes:
            rest = f"is not the champion: {_no_better(champion, _score(found))}; {approval.even_so(version)}"
        else:
            rest = f"was refused by {who}" + (f"; the champion stays version {holder}" if holder else "")
        return Registered(version, False, f"{says} {rest}")

    def _promote(self, version: str, reason: str, moves: list[Move]) -> None:
        before = moves[-1].now if moves else ""
        self._move(moves, Move(before, version, GATE, "", reason, _now()))

    def rollback(self, version: str, why: str, who: str, even_so: bool = False) -> Move:
        """Make `version` the champion ("": the one before this one); the move.

        Raises UserError for one that is not there, never passed the gate (unless `even_so`) or is champion
        already, for no champion before, and for no reason.
        """
        why = _reason(why)
        if not why:
            raise UserError("a rollback wants its reason: --why TEXT, as in --why 'answers are rude'")
        with self.alone():
            known = {_name(found): found for found in self.versions()}
            moves = self.moves()
            holder = moves[-1].now if moves else ""
            wanted = version or _before(moves, known.keys())
            if wanted not in known:
                there = ", ".join(reversed(known)) or "none; `chatmill run` registers what it makes"
                raise UserError(f"there is no version {wanted} of {MODEL}; there are: {there}")
            if wanted == holder:
                raise UserError(f"version {wanted} of {MODEL} is the champion already; name another")
            if not passed(known[wanted].tags) and not even_so:
                said = known[wanted].tags.get("reason", "no reason is kept")
                raise UserError(
                    f"version {wanted} of {MODEL} never passed the gate ({said}); "
                    "--even-so makes it champion all the same"
                )
            move = Move(holder, wanted, PERSON, who, why, _now())
            self._move(moves, move)
            return move

    def _move(self, moves: list[Move], move: Move) -> None:
        """The alias first: killed in between, the history lacks one move and claims none that was not."""
        written = self._written()
        self.client.set_registered_model_alias(MODEL, CHAMPION, move.now)
        for place, found in enumerate([*moves[len(written) :], move], len(written) + 1):
            # The end of the key differs, so that two machines that move at once do not overwrite each other.
            key = f"{MOVE}{place:06}.{uuid.uuid4().hex[:8]}"
            self.client.set_registered_model_tag(MODEL, key, json.dumps(asdict(found)))


def rolled_back(moves: Iterable[Move], versions: set[str]) -> Move | None:
    """The person's move away from one of these versions that still holds: none has led to one since."""
    held: Move | None = None
    for move in moves:
        if move.by == PERSON and move.before in versions and move.now not in versions:
            held = move
        elif move.now in versions:
            held = None
    return held


def passed(tags: Mapping[str, str]) -> bool:
    """Whether a version met the gate's thresholds; older versions say it by their reason."""
    if "passed" in tags:
        return tags["passed"] == "true"
    reason = tags.get("reason", "")
    return reason.endswith("thresholds are met") or reason.startswith("the champion, version")


def told(move: Move) -> str:
    """Who moved the alias and why, in words."""
    by = {GATE: "the gate", PERSON: move.who or "a person"}.get(move.by, "not by chatmill")
    return f"{by}: {move.why}"


def _before(moves: list[Move], known: Iterable[str]) -> str:
    """The champion before the present one. After a rollback: the one before that, not the one left behind."""
    there = set(known)
    left = [version for version in _trail(moves) if version in there]
    if not left:
        raise UserError(
            f"there is no champion before {f'version {moves[-1].now}' if moves else 'the first'} of {MODEL}; "
            "name a version: `chatmill models` shows them"
        )
    return left[-1]


def _trail(moves: Iterable[Move]) -> list[str]:
    """Return the champions before the present one, the newest last; a rollback shortens the list."""
    trail: list[str] = []
    for move in moves:
        if move.now in trail:
            trail = trail[: trail.index(move.now)]
        elif move.before:
            trail.append(move.before)
    return trail


def _reason(why: str) -> str:
    """What a person gives as their reason. Raises UserError where it is longer than what is kept."""
    why = why.strip()
    if len(why) > LONGEST_REASON:
        raise UserError(
            f"the reason has {len(why):,} characters; at most {LONGEST_REASON:,} are kept in --why"
        )
    return why


def _decide(verdict: Reference, champion: Any, withheld: str) -> tuple[bool, str]:
    """Whether the gate promotes a new version, and the reason for either."""
    score, reason = verdict.metrics["score"], str(verdict.metrics["reason"])
    if not verdict.metrics["passed"]:
        return False, reason
    if withheld:
        return False, withheld
    if score is None:
        return False, "it has no score to be compared by"
    best = _score(champion)
    if score > best:
        beats = f"; {score:.4g} beats version {_name(champion)}'s {best:.4g}" if champion else ""
        return True, f"{reason}{beats}"
    return False, _no_better(champion, score)


def _no_better(champion: Any, score: float) -> str:
    return f"the champion, version {_name(champion)}, has {_score(champion):.4g}; this has {score:.4g}"


def _withheld(moves: list[Move], same: list[Any]) -> str:
    """Why a person's word keeps this model from being promoted, under whatever verdict; "": none does."""
    names = {_name(found) for found in same}
    if move := rolled_back(moves, names):
        return _not_again(move)
    refused = [found for found in same if standing(found.tags) == REFUSED]
    if refused and not any(move.now in names for move in moves):
        return f"it is version {_name(refused[0])}, which was {approval.told(refused[0])}"
    return ""


def _not_again(move: Move) -> str:
    return (
        f"it is not promoted again: version {move.before} was rolled back from at {move.time} "
        f"({told(move)}); `chatmill rollback {move.before}` takes it back"
    )


def _ends(moves: list[Move]) -> str:
    """A word about the rollback that a promotion goes over; nothing where the last move was none."""
    if not moves or moves[-1].by != PERSON:
        return ""
    last = moves[-1]
    return f"; it beats version {last.now}, which was made champion at {last.time} by {told(last)}"


def _unseen(before: str, now: str, first: bool) -> Move:
    why = "champion before moves were kept" if first else "moved by other means, such as MLflow's page"
    return Move(before, now, ELSEWHERE, "", why, "")


def _score(version: Any) -> float:
    try:
        found = float(version.tags.get("score", "")) if version else math.nan
    except ValueError:
        found = math.nan
    return -math.inf if math.isnan(found) else found


def _figures(folder: Path) -> dict[str, float]:
    """What the gate looked at, by name; nothing where its file is gone."""
    try:
        found = json.loads((folder / "verdict.json").read_text())
    except OSError:
        return {}
    values = {check["name"]: check["value"] for check in found["checks"]} | {found["by"]: found["score"]}
    return {name: value for name, value in values.items() if value is not None}


def _name(version: Any) -> str:
    return str(version.version) if version else ""


def _now() -> str:
    return time.strftime(MOMENT, time.gmtime())
