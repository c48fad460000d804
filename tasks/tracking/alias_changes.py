"""Moves of the champion alias: their history in tags of the registered model, and unfinished changes.

A change of the registry takes several writes, and MLflow has no transactions. So all writes are first
recorded in one tag. The next reader of the registry makes those that are missing, and removes the tag.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

from model.errors import UserError
from tasks.common.metric_labels import reason_words
from tasks.common.printable_text import escape_surrogates, is_utf8
from tasks.tracking.products import CHAMPION
from tasks.tracking.tag_records import read_record

MOVE, PENDING = "chatmill.move.", "chatmill.pending"
GATE, PERSON, ELSEWHERE = "gate", "person", "elsewhere"
ALIAS, HISTORY, VERSION = "alias", "history", "version"
LONGEST_REASON = 2000


@dataclass(frozen=True)
class AliasChange:
    """One move of the alias from one version to another.

    Attributes:
        before: The version that had the alias; empty if none had it.
        now: The version that got it.
        by: `GATE`, `PERSON` or `ELSEWHERE`.
        who: The person, if one moved it.
        why: The reason.
        time: The time in UTC; empty if the move was not observed.
    """

    before: str
    now: str
    by: str
    who: str
    why: str
    time: str


@dataclass(frozen=True)
class PendingChange:
    """Writes that belong together, in order; making one twice has the same effect as making it once.

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
        """Return the change that makes the last of `moves`.

        Args:
            moves: All moves, the oldest first.
            recorded: The number of moves at the start that are in the history already.
            decided: Tags with a person's decision.
            version: The version that gets these tags.
        """
        steps: list[tuple[str, ...]] = []
        if moves[recorded:]:
            steps.append((ALIAS, moves[-1].before, moves[-1].now))
        for index, move in enumerate(moves[recorded:], recorded + 1):
            # The random end of the key keeps two hosts that move at once from overwriting each other's
            # record.
            key = f"{MOVE}{index:06}.{uuid.uuid4().hex[:8]}"
            steps.append((HISTORY, key, json.dumps(asdict(move))))
        steps += [(VERSION, version, tag, value) for tag, value in (decided or {}).items()]
        return cls(tuple(steps))


def begin_change(client: MlflowClient, model: str, change: PendingChange) -> None:
    """Record a change, make it, and remove the record. The caller excludes other processes."""
    change = _storable(change)
    client.set_registered_model_tag(model, PENDING, json.dumps(change.steps))
    finish_change(client, model, change)


def pending_change(tags: Mapping[str, str]) -> PendingChange | None:
    """Return the change that was recorded but not finished; None if there is none."""
    if PENDING not in tags:
        return None
    try:
        return _storable(PendingChange(tuple(tuple(map(str, step)) for step in json.loads(tags[PENDING]))))
    except (ValueError, TypeError, RecursionError):
        # chatmill writes the tag in one request, so a broken one is not its own. It is removed without a
        # write.
        return PendingChange(())


def _storable(change: PendingChange) -> PendingChange:
    """Return a change without lone surrogates, which no store takes.

    The record is JSON, which can hold them, so such a change would be recorded and never made.
    """
    return PendingChange(tuple(tuple(map(escape_surrogates, step)) for step in change.steps))


def finish_change(client: MlflowClient, model: str, change: PendingChange) -> None:
    """Make all writes of a change, and remove its record.

    A write that MLflow refuses for its content is left out with a warning: repeated, it would be refused
    again, and no command could use the product.
    """
    for step in change.steps:
        try:
            _apply_write(client, model, step)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(INVALID_PARAMETER_VALUE):
                raise
            logging.getLogger(__name__).warning(
                "%s: a write of an unfinished change was left out, as MLflow refuses it: %s (%s)",
                model, " ".join(step)[:200], " ".join(str(error).split())[:200],
            )  # fmt: skip
    with _ignore_missing():
        # Last, so that a kill before this line leaves the change to the next reader.
        client.delete_registered_model_tag(model, PENDING)


def _apply_write(client: MlflowClient, model: str, step: Sequence[str]) -> None:
    match step:
        case (kind, before, now) if kind == ALIAS:
            holder = str(client.get_registered_model(model).aliases.get(CHAMPION, ""))
            # Otherwise the alias was moved by other means meanwhile, which is newer than this change.
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
    """Ignore that an entity is missing, such as a deleted version; raise every other error."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise


def recorded_moves(tags: Mapping[str, str]) -> list[AliasChange]:
    """Return the moves in the history, the oldest first."""
    # The number in the key has leading zeros, so the order of the text is the order of the moves.
    return [_read_move(tags, key) for key in sorted(tags) if key.startswith(MOVE)]


def _read_move(tags: Mapping[str, str], key: str) -> AliasChange:
    names = [field.name for field in fields(AliasChange)]
    found = read_record(tags, key, names)
    return AliasChange(*(str(found[name]) for name in names))


def all_moves(tags: Mapping[str, str], holder: str) -> list[AliasChange]:
    """Return the recorded moves, and one more if the alias is not where the last of them led."""
    found = recorded_moves(tags)
    last = found[-1].now if found else ""
    return found if holder == last else [*found, _unseen_moves(last, holder, first=not found)]


def _unseen_moves(before: str, now: str, first: bool) -> AliasChange:
    why = (
        "champion before the history began"
        if first
        else "changed outside chatmill, for example on MLflow's page"
    )
    return AliasChange(before, now, ELSEWHERE, "", why, "")


def rolled_back(moves: Iterable[AliasChange], versions: set[str]) -> AliasChange | None:
    """Return the move away from one of these versions that still holds, or None.

    A move holds until another one leads back to one of the versions. Only a move by a person counts, made
    here or by other means. The gate's promotion of a better model is not a rollback.
    """
    held: AliasChange | None = None
    for move in moves:
        if move.by != GATE and move.before in versions and move.now not in versions:
            held = move
        elif move.now in versions:
            held = None
    return held


def champion_trail(moves: Iterable[AliasChange]) -> list[str]:
    """Return the former champions, the newest last; a rollback shortens the list."""
    found: list[str] = []
    for move in moves:
        if move.now in found:
            # Back to a former champion: it and its successors are no longer "before" the present one.
            found = found[: found.index(move.now)]
        elif move.before:
            found.append(move.before)
    return found


def describe_change(move: AliasChange) -> str:
    """Return a description of who moved the alias and why."""
    by = {GATE: "the gate", PERSON: move.who or "a person"}.get(move.by, "not by chatmill")
    why = reason_words(move.why) if move.by == GATE else move.why
    return f"{by}: {why}"


def check_reason(reason: str) -> str:
    """Return a person's reason without outer spaces.

    Raises:
        UserError: It is longer than what is kept, or not valid UTF-8.
    """
    reason = reason.strip()
    if not is_utf8(reason):
        raise UserError(f"the reason is {reason!a}, which is not valid UTF-8; type it in UTF-8")
    if len(reason) > LONGEST_REASON:
        raise UserError(
            f"the reason has {len(reason):,} characters; --reason takes at most {LONGEST_REASON:,}"
        )
    return reason
