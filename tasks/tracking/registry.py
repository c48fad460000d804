"""The model registry: the versions of one product, its champion, and every move of the alias.

A move is a tag of the registered model, beside the alias. The alias is authoritative: a move by other means,
such as MLflow's page, is recorded when it is next noticed, without its time. The next reader of the registry
finishes an interrupted change (tasks/tracking/alias_changes.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from model.errors import UserError
from tasks.engine.output import StageOutput
from tasks.evaluation.scores import BEYOND_CHANCE, score_tags
from tasks.tracking import approval
from tasks.tracking.alias_changes import (
    GATE,
    PERSON,
    AliasChange,
    PendingChange,
    all_moves,
    begin_change,
    champion_trail,
    check_reason,
    finish_change,
    pending_change,
    recorded_moves,
)
from tasks.tracking.approval import (
    APPROVAL,
    APPROVED,
    EXPIRED,
    MOMENT,
    OPPONENT,
    PENDING,
    REJECTED,
    TIME,
    WHO,
    WHY,
    ApprovalRequest,
    approval_state,
)
from tasks.tracking.products import CHAMPION, MODEL, PRODUCT, Product, product_of
from tasks.tracking.promotion import (
    beats_champion,
    decide_promotion,
    ended_rollback,
    gate_figures,
    passed_gate,
    people_may_decide,
    read_scores,
    withheld_by_person,
)

# A function that raises UserError for a version that must not become champion.
Check = Callable[[Any], None]


class Alone(Protocol):
    """A function that returns a context which excludes other processes of this project."""

    def __call__(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class Registered:
    """The result of a registration or decision; `pending_approval` is true if a person must decide."""

    version: str
    champion: bool
    says: str
    pending_approval: bool = False


class Registry:
    """The versions of one product in one MLflow store."""

    def __init__(self, client: MlflowClient, alone: Alone, product: Product | None = None) -> None:
        self.client, self.alone = client, alone
        self.product = product or Product(MODEL, MODEL)
        self.model = self.product.model

    def champion(self) -> Any:
        """Return the version with the alias, or None."""
        self._settle()
        return self._champion()

    def _champion(self) -> Any:
        try:
            return self.client.get_model_version_by_alias(self.model, CHAMPION)
        except MlflowException:
            return None

    def opponent(self, digest: str) -> Any:
        """Return the version that a new model is compared with; None if there is none.

        That is the champion. If the champion is this model itself, it is the champion before it, so that a
        repeated run compares with the same version as before.
        """
        moves, known = self.moves(), {_version_name(found): found for found in self.versions()}
        others = {name: found for name, found in known.items() if found.tags.get("digest") != digest}
        for version in reversed([*champion_trail(moves), *(move.now for move in moves[-1:])]):
            if version in others:
                return others[version]
        return None

    def versions(self) -> list[Any]:
        """Return all versions, the newest first."""
        self._settle()
        return self._versions()

    def _versions(self) -> list[Any]:
        found, token = [], None
        while True:
            try:
                page = self.client.search_model_versions(f"name='{self.model}'", page_token=token)
            except MlflowException:
                return []
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda version: -int(version.version))

    def moves(self) -> list[AliasChange]:
        """Return the moves of the alias, the oldest first; the last one leads to the present champion."""
        self._settle()
        return self._moves()[0]

    def _moves(self) -> tuple[list[AliasChange], int]:
        """Return all moves, and the number of them that the history records."""
        tags, holder = self._state()
        return all_moves(tags, holder), len(recorded_moves(tags))

    def _state(self) -> tuple[Mapping[str, str], str]:
        """Return the tags of the registered model, and the version with the alias."""
        try:
            found = self.client.get_registered_model(self.model)
        except MlflowException:
            return {}, ""
        return found.tags, str(found.aliases.get(CHAMPION, ""))

    def _settle(self) -> None:
        """Finish the change of a process that was killed."""
        if pending_change(self._state()[0]) is not None:
            # Read again under the lock: the process that had begun the change may have finished it.
            with self.alone():
                self._finish()

    def _finish(self) -> None:
        change = pending_change(self._state()[0])
        if change is not None:
            finish_change(self.client, self.model, change)

    def check(self) -> None:
        """Raise UserError if another program has a registered model of this product's name."""
        try:
            found = self.client.get_registered_model(self.model)
        except MlflowException:
            return
        if product_of(found) is None:
            raise UserError(
                f"MLflow's registered model {self.model} was not created by chatmill; choose "
                "another registry.model in the preset"
            )

    def _prepare(self) -> None:
        """Create the registered model if it is missing."""
        with suppress(MlflowException):
            self.client.get_registered_model(self.model)
            return
        try:
            self.client.create_registered_model(self.model, tags={PRODUCT: self.product.name})
        except MlflowException as error:
            # Another host may have created it meanwhile.
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    def register(
        self,
        aligned: StageOutput,
        verdict: StageOutput,
        source: str,
        question: ApprovalRequest | None = None,
        preset: str = "",
        unscored_reason: str = "",
        beyond_chance: bool = False,
    ) -> Registered:
        """Register the aligned model as a version; make it champion if it passed and is better.

        The same model under the same verdict is registered once; the existing version is returned. The gate
        never promotes a model that a person rolled back from or refused, under any verdict.

        Args:
            aligned: The model.
            verdict: The gate's output.
            source: The address of the model in MLflow.
            question: The question to a person, who decides about a version that would be promoted; None asks
                nobody.
            preset: The name of the preset, shown by `chatmill models`.
            unscored_reason: The reason why the champion was not scored in this run, if known.
            beyond_chance: Whether it must be better by more than chance, also when it is approved later.

        Raises:
            UserError: Another program has a registered model of this name.
        """
        with self.alone():
            self._prepare()
            self.check()
            self._finish()
            versions, champion = self._versions(), self._champion()
            moves, recorded = self._moves()
            same = [found for found in versions if found.tags.get("digest") == aligned.digest]
            withheld = withheld_by_person(moves, same) or self._withheld_before(aligned.digest)
            for known in same:
                # A repeated run has the same model and verdict; it must not add a version each time.
                if known.tags.get("gate") == verdict.digest:
                    return self._known(known, champion, moves, recorded, withheld)
            comparison = read_scores(verdict)
            tags = {
                "digest": aligned.digest,
                "gate": verdict.digest,
                "product": self.product.name,
                "preset": preset or self.product.name,
                **(score_tags(comparison.candidate, comparison) if comparison else {"score": "None"}),
                "passed": str(bool(verdict.metrics["passed"])).lower(),
                **({BEYOND_CHANCE: "true"} if beyond_chance else {}),
            }
            promotes, reason = decide_promotion(
                verdict, tags, champion, withheld, comparison, unscored_reason
            )
            waits = promotes and question is not None
            if question and question.by_people and not promotes:
                waits = people_may_decide(verdict, champion, withheld, comparison)
                reason = f"people decide, as {reason}" if waits else reason
            tags |= {
                "promote": str(promotes and not waits).lower(),
                "reason": reason,
                "figures": json.dumps(gate_figures(Path(verdict.path))),
                **(question.tags(_version_name(champion)) if question and waits else {}),
            }
            made = self.client.create_model_version(self.model, source, aligned.run, tags=tags)
            version = str(made.version)
            says = f"version {version} of {self.product.name}"
            if waits:
                asked = self.client.get_model_version(self.model, version)
                return Registered(version, False, f"{says}: {approval.describe_approval(asked)}", True)
            if not promotes:
                return Registered(version, False, f"{says}: not the champion: {reason}")
            self._promote(version, reason, moves, recorded)
            return Registered(version, True, f"{says}: now the champion{ended_rollback(moves)}")

    def _withheld_before(self, digest: str) -> str:
        """Return the reason why a decision in a store without products prevents this model's promotion."""
        # The product `chatmill` is that former registered model itself.
        if self.model == MODEL:
            return ""
        before = Registry(self.client, self.alone)
        tags, holder = before._state()
        if not tags and not holder:
            return ""
        same = [found for found in before._versions() if found.tags.get("digest") == digest]
        return withheld_by_person(all_moves(tags, holder), same) if same else ""

    def _known(
        self, known: Any, champion: Any, moves: list[AliasChange], recorded: int, withheld: str
    ) -> Registered:
        version = _version_name(known)
        says = f"version {version} of {self.product.name}"
        holds = version == _version_name(champion)
        if not holds and (stands := approval_state(known.tags)) in (PENDING, EXPIRED, REJECTED):
            stood = f"{says} is this model; {approval.describe_approval(known)}"
            return Registered(version, False, stood, stands == PENDING)
        if withheld and not holds:
            return Registered(version, False, f"{says} is this model; {withheld}")
        # The history decides: a version that was champion once lost that place to a decision, which stays.
        seen = any(version in (move.before, move.now) for move in (moves[:recorded] if holds else moves))
        if known.tags.get("promote") == "true" and not seen and (holds or beats_champion(known, champion)[0]):
            # The process that registered it was killed before it moved the alias, or before the history
            # recorded the move.
            before = moves[:recorded] if holds else moves
            self._promote(version, known.tags.get("reason", ""), before, recorded)
            return Registered(version, True, f"{says}: now the champion{ended_rollback(before)}")
        return Registered(version, holds, f"{says}{', the champion' if holds else ''}, is this model")

    def decide(
        self,
        version: str,
        yes: bool,
        author: str,
        reason: str,
        in_time: bool = False,
        check: Check | None = None,
    ) -> Registered:
        """Record a person's decision on a version that waits.

        An approved version is promoted if it is better than the champion. The same decision again changes
        nothing.

        Args:
            version: The version's number.
            yes: Whether the person approves.
            author: The person.
            reason: The person's reason.
            in_time: The decision was made before the deadline, although it arrives later.
            check: Called with a version that would be promoted; may raise UserError.

        Raises:
            UserError: The version does not wait, or was decided otherwise.
        """
        wanted = APPROVED if yes else REJECTED
        reason = check_reason(reason) or wanted
        with self.alone():
            self._finish()
            known = {_version_name(found): found for found in self._versions()}
            if version not in known:
                raise UserError(
                    f"there is no version {version} of {self.product.name}; `chatmill models` shows all"
                )
            found, (moves, recorded) = known[version], self._moves()
            holder = moves[-1].now if moves else ""
            stands, says = approval_state(found.tags), f"version {version} of {self.product.name}"
            if stands == wanted:
                return Registered(version, version == holder, f"{says}: {approval.describe_approval(found)}")
            if stands != PENDING and not (stands == EXPIRED and in_time):
                raise UserError(f"{says}: {approval.describe_approval(found)}")
            if version == holder and not yes:
                raise UserError(f"{says} is already the champion; `chatmill rollback` reverts that")
            # Compared again: the champion may have changed while the version waited.
            wins, comparison = beats_champion(found, known.get(holder))
            # People who compared the two decide, whatever the judge's scores are.
            wins = (wins or holder == found.tags.get(OPPONENT)) and yes and version != holder
            if wins and check:
                check(found)
            after = (
                [*moves, AliasChange(holder, version, PERSON, author, reason, _current_time())]
                if wins
                else moves[:recorded]
            )
            decided = {WHO: author, WHY: reason, TIME: _current_time(), APPROVAL: wanted}
            begin_change(self.client, self.model, PendingChange.of(after, recorded, decided, version))
        if wins or version == holder:
            was = f" instead of version {holder}" if wins and holder else ""
            return Registered(version, True, f"{says} is now the champion{was}")
        if yes:
            rest = f"is not the champion: {comparison}; {approval.override_hint(found)}"
        else:
            rest = f"was rejected by {author}" + (f"; the champion stays version {holder}" if holder else "")
        return Registered(version, False, f"{says} {rest}")

    def _promote(self, version: str, reason: str, moves: Sequence[AliasChange], recorded: int) -> None:
        before = moves[-1].now if moves else ""
        move = AliasChange(before, version, GATE, "", reason, _current_time())
        begin_change(self.client, self.model, PendingChange.of([*moves, move], recorded))

    def rollback(
        self, version: str, reason: str, author: str, force: bool = False, check: Check | None = None
    ) -> AliasChange:
        """Make a version the champion, and return the move.

        The same rollback again, by the same person for the same reason, changes nothing.

        Args:
            version: The version's number; empty means the champion before this one.
            reason: The reason, which is required.
            author: The person.
            force: Accept a version that never passed the gate.
            check: Called with the version; may raise UserError.

        Raises:
            UserError: The version is missing, never passed the gate or is champion already; there was no
                champion before; or no reason is given.
        """
        reason = check_reason(reason)
        if not reason:
            raise UserError("a rollback needs --reason TEXT, as in --reason 'answers are rude'")
        with self.alone():
            self._finish()
            known = {_version_name(found): found for found in self._versions()}
            moves, recorded = self._moves()
            holder = moves[-1].now if moves else ""
            if moves and _is_repeated(moves[-1], version, reason, author):
                return moves[-1]
            wanted = version or self._before(moves, known.keys())
            if wanted not in known:
                there = ", ".join(reversed(known)) or "none; `chatmill run` registers one"
                raise UserError(f"there is no version {wanted} of {self.product.name}; there are: {there}")
            if wanted == holder:
                raise UserError(
                    f"version {wanted} of {self.product.name} is already the champion; name another"
                )
            if not passed_gate(known[wanted].tags) and not force:
                said = known[wanted].tags.get("reason", "no reason is kept")
                raise UserError(
                    f"version {wanted} of {self.product.name} never passed the gate ({said}); "
                    "--force makes it champion anyway"
                )
            if check:
                check(known[wanted])
            move = AliasChange(holder, wanted, PERSON, author, reason, _current_time())
            begin_change(self.client, self.model, PendingChange.of([*moves, move], recorded))
            return move

    def _before(self, moves: list[AliasChange], known: Iterable[str]) -> str:
        """Return the champion before the present one; after a rollback, the one before that."""
        there = set(known)
        left = [version for version in champion_trail(moves) if version in there]
        if not left:
            raise UserError(
                f"there is no champion before {f'version {moves[-1].now}' if moves else 'the first'} of "
                f"{self.product.name}; name a version: `chatmill models` shows them"
            )
        return left[-1]


def _is_repeated(last: AliasChange, version: str, reason: str, author: str) -> bool:
    """Return whether a rollback equals the last one: the process that made it may have been killed."""
    same = (last.by, last.who, last.why) == (PERSON, author, reason) and bool(last.before)
    return same and version in ("", last.now)


def _version_name(version: Any) -> str:
    return str(version.version) if version else ""


def _current_time() -> str:
    return time.strftime(MOMENT, time.gmtime())
