"""The registry of models: the versions of one product, its champion, and every move of the alias.

A move is a tag of the registered model, beside the alias. The alias is the truth: a move that something else
made, as MLflow's page can, is written down when it is next met, its time unknown. A change of several writes
is finished by whoever reads the registry next (tasks/tracking/alias_changes.py).
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
from tasks.evaluation.scores import score_tags
from tasks.tracking import approval
from tasks.tracking.alias_changes import (
    GATE,
    PERSON,
    AliasChange,
    PendingChange,
    all_moves,
    begin_change,
    champion_trail,
    finish_change,
    pending_change,
    recorded_moves,
)
from tasks.tracking.approval import (
    APPROVAL,
    APPROVED,
    LATE,
    MOMENT,
    REFUSED,
    TIME,
    WAITS,
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
    read_scores,
    withheld_by_person,
)

LONGEST_REASON = 2000
# Raises UserError for a version that must not become champion.
Check = Callable[[Any], None]


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


class Registry:
    """The versions of one product in one MLflow store."""

    def __init__(self, client: MlflowClient, alone: Alone, product: Product | None = None) -> None:
        self.client, self.alone = client, alone
        self.product = product or Product(MODEL, MODEL)
        self.model = self.product.model

    def champion(self) -> Any:
        """The version with the alias, or None."""
        self._settle()
        return self._champion()

    def _champion(self) -> Any:
        try:
            return self.client.get_model_version_by_alias(self.model, CHAMPION)
        except MlflowException:
            return None

    def opponent(self, digest: str) -> Any:
        """Return the version that a new model is compared with; None where there is none.

        That is the champion, or the champion before it where the champion is this very model: a run that is
        repeated then compares with the same version as before.
        """
        moves, known = self.moves(), {_version_name(found): found for found in self.versions()}
        others = {name: found for name, found in known.items() if found.tags.get("digest") != digest}
        for version in reversed([*champion_trail(moves), *(move.now for move in moves[-1:])]):
            if version in others:
                return others[version]
        return None

    def versions(self) -> list[Any]:
        """All versions, the newest first."""
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
        """The moves of the alias, the oldest first; the last one leads to where it is now."""
        self._settle()
        return self._moves()[0]

    def _moves(self) -> tuple[list[AliasChange], int]:
        """All moves, and how many of them are in the history."""
        tags, holder = self._state()
        return all_moves(tags, holder), len(recorded_moves(tags))

    def _state(self) -> tuple[Mapping[str, str], str]:
        """The tags of the registered model, and the version with the alias."""
        try:
            found = self.client.get_registered_model(self.model)
        except MlflowException:
            return {}, ""
        return found.tags, str(found.aliases.get(CHAMPION, ""))

    def _settle(self) -> None:
        """Finish what a process that was killed had begun to change."""
        if pending_change(self._state()[0]) is not None:
            with self.alone():
                self._finish()

    def _finish(self) -> None:
        change = pending_change(self._state()[0])
        if change is not None:
            finish_change(self.client, self.model, change)

    def check(self) -> None:
        """Raises UserError where another program has a registered model of this product's name."""
        try:
            found = self.client.get_registered_model(self.model)
        except MlflowException:
            return
        if product_of(found) is None:
            raise UserError(
                f"MLflow has a registered model {self.model} that chatmill did not make; "
                "set registry.model in the preset to another name"
            )

    def _prepare(self) -> None:
        """Make the registered model where there is none."""
        with suppress(MlflowException):
            self.client.get_registered_model(self.model)
            return
        try:
            self.client.create_registered_model(self.model, tags={PRODUCT: self.product.name})
        except MlflowException as error:
            # Another host made it meanwhile.
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise

    def register(
        self,
        aligned: StageOutput,
        verdict: StageOutput,
        source: str,
        question: ApprovalRequest | None = None,
        preset: str = "",
        why: str = "",
    ) -> Registered:
        """Make the aligned model a version; `champion` where it passed and is better.

        With a `question` a person decides about one that would be: it waits. The same model under the same
        verdict is registered once: what is there is returned. A model that a person rolled back from, or
        refused, is not promoted by the gate, under no verdict.

        Args:
            aligned: the model.
            verdict: the gate's output.
            source: where MLflow has the model.
            question: what a person is asked; None: nobody is.
            preset: the name of the preset, which `chatmill models` shows.
            why: why the champion was not scored in this run, if that is known.
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
            }
            promotes, reason = decide_promotion(verdict, tags, champion, withheld, comparison, why)
            waits = promotes and question is not None
            tags |= {
                "promote": str(promotes and not waits).lower(),
                "reason": reason,
                "figures": json.dumps(gate_figures(Path(verdict.path))),
                **(question.tags() if question and waits else {}),
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
        """Why a person's word in a store of before there were products keeps this model from promotion."""
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
        if not holds and (stands := approval_state(known.tags)) in (WAITS, LATE, REFUSED):
            stood = f"{says} is this model; {approval.describe_approval(known)}"
            return Registered(version, False, stood, stands == WAITS)
        if withheld and not holds:
            return Registered(version, False, f"{says} is this model; {withheld}")
        seen = any(version in (move.before, move.now) for move in (moves[:recorded] if holds else moves))
        if known.tags.get("promote") == "true" and not seen and (holds or beats_champion(known, champion)[0]):
            # Its process was killed before the alias was moved, or before the history had that.
            before = moves[:recorded] if holds else moves
            self._promote(version, known.tags.get("reason", ""), before, recorded)
            return Registered(version, True, f"{says}: now the champion{ended_rollback(before)}")
        return Registered(version, holds, f"{says}{', the champion' if holds else ''}, is this model")

    def decide(
        self, version: str, yes: bool, who: str, why: str, in_time: bool = False, check: Check | None = None
    ) -> Registered:
        """A person's word on a version that waits: champion, if it is yes and beats the champion of now.

        The same word again changes nothing. `in_time`: it was given before the time ran out. Raises UserError
        for a version that waits for nobody, and where the other word was given. `check` may refuse a version
        that would become champion.
        """
        wanted = APPROVED if yes else REFUSED
        why = _check_reason(why) or wanted
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
            if stands != WAITS and not (stands == LATE and in_time):
                raise UserError(f"{says}: {approval.describe_approval(found)}")
            if version == holder and not yes:
                raise UserError(f"{says} is the champion already; `chatmill rollback` takes it back")
            wins, reason = beats_champion(found, known.get(holder))
            wins = wins and yes and version != holder
            if wins and check:
                check(found)
            after = (
                [*moves, AliasChange(holder, version, PERSON, who, why, _current_time())]
                if wins
                else moves[:recorded]
            )
            decided = {WHO: who, WHY: why, TIME: _current_time(), APPROVAL: wanted}
            begin_change(self.client, self.model, PendingChange.of(after, recorded, decided, version))
        if wins or version == holder:
            was = f" instead of version {holder}" if wins and holder else ""
            return Registered(version, True, f"{says} is now the champion{was}")
        if yes:
            rest = f"is not the champion: {reason}; {approval.override_hint(found)}"
        else:
            rest = f"was refused by {who}" + (f"; the champion stays version {holder}" if holder else "")
        return Registered(version, False, f"{says} {rest}")

    def _promote(self, version: str, reason: str, moves: Sequence[AliasChange], recorded: int) -> None:
        before = moves[-1].now if moves else ""
        move = AliasChange(before, version, GATE, "", reason, _current_time())
        begin_change(self.client, self.model, PendingChange.of([*moves, move], recorded))

    def rollback(
        self, version: str, why: str, who: str, even_so: bool = False, check: Check | None = None
    ) -> AliasChange:
        """Make `version` the champion ("": the one before this one); the move.

        The same rollback again, by the same person for the same reason, changes nothing. Raises UserError for
        a version that is not there, never passed the gate (unless `even_so`) or is champion already, for no
        champion before, and for no reason. `check` may refuse the version too.
        """
        why = _check_reason(why)
        if not why:
            raise UserError("a rollback wants its reason: --why TEXT, as in --why 'answers are rude'")
        with self.alone():
            self._finish()
            known = {_version_name(found): found for found in self._versions()}
            moves, recorded = self._moves()
            holder = moves[-1].now if moves else ""
            if moves and _is_repeated(moves[-1], version, why, who):
                return moves[-1]
            wanted = version or self._before(moves, known.keys())
            if wanted not in known:
                there = ", ".join(reversed(known)) or "none; `chatmill run` registers what it makes"
                raise UserError(f"there is no version {wanted} of {self.product.name}; there are: {there}")
            if wanted == holder:
                raise UserError(
                    f"version {wanted} of {self.product.name} is the champion already; name another"
                )
            if not passed_gate(known[wanted].tags) and not even_so:
                said = known[wanted].tags.get("reason", "no reason is kept")
                raise UserError(
                    f"version {wanted} of {self.product.name} never passed the gate ({said}); "
                    "--even-so makes it champion all the same"
                )
            if check:
                check(known[wanted])
            move = AliasChange(holder, wanted, PERSON, who, why, _current_time())
            begin_change(self.client, self.model, PendingChange.of([*moves, move], recorded))
            return move

    def _before(self, moves: list[AliasChange], known: Iterable[str]) -> str:
        """The champion before the present one; after a rollback the one before that, not the one left."""
        there = set(known)
        left = [version for version in champion_trail(moves) if version in there]
        if not left:
            raise UserError(
                f"there is no champion before {f'version {moves[-1].now}' if moves else 'the first'} of "
                f"{self.product.name}; name a version: `chatmill models` shows them"
            )
        return left[-1]


def _is_repeated(last: AliasChange, version: str, why: str, who: str) -> bool:
    """Whether a rollback is the one that was made last: the process that made it may have been killed."""
    same = (last.by, last.who, last.why) == (PERSON, who, why) and bool(last.before)
    return same and version in ("", last.now)


def _check_reason(why: str) -> str:
    """What a person gives as their reason. Raises UserError where it is longer than what is kept."""
    why = why.strip()
    if len(why) > LONGEST_REASON:
        raise UserError(
            f"the reason has {len(why):,} characters; at most {LONGEST_REASON:,} are kept in --why"
        )
    return why


def _version_name(version: Any) -> str:
    return str(version.version) if version else ""


def _current_time() -> str:
    return time.strftime(MOMENT, time.gmtime())
