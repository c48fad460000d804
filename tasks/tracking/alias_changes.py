"""Moves of the champion's alias: their record in tags of the registered model, and unfinished changes.

A change of the registry takes several writes, and MLflow has no transactions. So all writes are noted first
in one tag. Whoever reads the registry next makes those that are missing, and removes the note.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from tasks.tracking.products import CHAMPION

MOVE, PENDING = "chatmill.move.", "chatmill.pending"
GATE, PERSON, ELSEWHERE = "gate", "person", "elsewhere"
ALIAS, HISTORY, VERSION = "alias", "history", "version"


@dataclass(frozen=True)
class AliasChange:
    """The alias went from one version to another ("": none); `time` is in UTC, "" where nobody saw it."""

    before: str
    now: str
    by: str
    who: str
    why: str
    time: str


@dataclass(frozen=True)
class PendingChange:
    """The writes that belong together, in their order; making one twice has the effect of making it once.

    A step is ("alias", BEFORE, NOW), ("history", KEY, MOVE) or ("version", VERSION, TAG, VALUE).
    """

    steps: tuple[tuple[str, ...], ...]

    @classmethod
    def of(
        cls,
        moves: Sequence[AliasChange],
        recorded: int,
        decided: Mapping[str, str] | None = None,
        version: str = "",
    ) -> PendingChange:
        """Return the change that makes the last of `moves`, of which the first `recorded` are in the history.

        `decided` are tags of `version` that hold a person's decision.
        """
        steps: list[tuple[str, ...]] = []
        if moves[recorded:]:
            steps.append((ALIAS, moves[-1].before, moves[-1].now))
        for place, move in enumerate(moves[recorded:], recorded + 1):
            # The end of the key differs, so that two hosts that move at once do not overwrite each other.
            key = f"{MOVE}{place:06}.{uuid.uuid4().hex[:8]}"
            steps.append((HISTORY, key, json.dumps(asdict(move))))
        steps += [(VERSION, version, tag, value) for tag, value in (decided or {}).items()]
        return cls(tuple(steps))


def begin_change(client: MlflowClient, model: str, change: PendingChange) -> None:
    """Note a change, make it, and remove the note. The caller keeps other processes out."""
    client.set_registered_model_tag(model, PENDING, json.dumps(change.steps))
    finish_change(client, model, change)


def pending_change(tags: Mapping[str, str]) -> PendingChange | None:
    """Return the change that was noted and not finished; None: there is none."""
    if PENDING not in tags:
        return None
    try:
        return PendingChange(tuple(tuple(map(str, step)) for step in json.loads(tags[PENDING])))
    except (ValueError, TypeError, RecursionError):
        # Not chatmill's: it writes the whole note at once.
        return PendingChange(())


def finish_change(client: MlflowClient, model: str, change: PendingChange) -> None:
    """Make all writes of a change, and remove its note."""
    for step in change.steps:
        _apply_write(client, model, step)
    with _ignore_missing():
        client.delete_registered_model_tag(model, PENDING)


def _apply_write(client: MlflowClient, model: str, step: Sequence[str]) -> None:
    match step:
        case (kind, before, now) if kind == ALIAS:
            holder = str(client.get_registered_model(model).aliases.get(CHAMPION, ""))
            # Moved by other means meanwhile: that is newer than this change.
            if holder == before:
                with _ignore_missing():
                    client.set_registered_model_alias(model, CHAMPION, now)
        case (kind, key, value) if kind == HISTORY:
            client.set_registered_model_tag(model, key, value)
        case (kind, version, key, value) if kind == VERSION:
            with _ignore_missing():
                client.set_model_version_tag(model, version, key, value)


@contextmanager
def _ignore_missing() -> Iterator[None]:
    """Pass over what is no longer there, as a version that was deleted; raise every other error."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise


def recorded_moves(tags: Mapping[str, str]) -> list[AliasChange]:
    """Return the moves in the history, the oldest first."""
    return [AliasChange(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(MOVE)]


def all_moves(tags: Mapping[str, str], holder: str) -> list[AliasChange]:
    """Return the moves, and one more where the alias is not where the last of them led."""
    found = recorded_moves(tags)
    last = found[-1].now if found else ""
    return found if holder == last else [*found, _unseen_moves(last, holder, first=not found)]


def _unseen_moves(before: str, now: str, first: bool) -> AliasChange:
    why = "champion before moves were kept" if first else "moved by other means, such as MLflow's page"
    return AliasChange(before, now, ELSEWHERE, "", why, "")


def rolled_back(moves: Iterable[AliasChange], versions: set[str]) -> AliasChange | None:
    """Return the move away from one of these versions that still holds: none has led to one since.

    A person made it, here or by other means; the gate's own promotion of a better model is none.
    """
    held: AliasChange | None = None
    for move in moves:
        if move.by != GATE and move.before in versions and move.now not in versions:
            held = move
        elif move.now in versions:
            held = None
    return held


def champion_trail(moves: Iterable[AliasChange]) -> list[str]:
    """Return the champions before the present one, the newest last; a rollback shortens the list."""
    found: list[str] = []
    for move in moves:
        if move.now in found:
            found = found[: found.index(move.now)]
        elif move.before:
            found.append(move.before)
    return found


def describe_change(move: AliasChange) -> str:
    """Return who moved the alias and why, in words."""
    by = {GATE: "the gate", PERSON: move.who or "a person"}.get(move.by, "not by chatmill")
    return f"{by}: {move.why}"
