"""Test changes of the registry that are interrupted at any request to MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.common.printable_text import escape_surrogates
from tasks.engine.output import StageOutput
from tasks.tracking.alias_changes import GATE, PENDING, PERSON
from tasks.tracking.approval import WHO, WHY, ApprovalRequest, approval_state
from tasks.tracking.products import CHAMPION, MODEL
from tasks.tracking.registry import Registered, Registry
from tests.tasks.tracking.mlflow_store import open_tracker

ASKS = ApprovalRequest(1, "run-of-mlflow")
# More requests than any change makes; each test checks that it reached the end.
MOST = 60


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """Client of MLflow that dies at its n-th request, before or after the server handled it."""

    def __init__(self, client: Any, last: int, taken: bool) -> None:
        self.client, self.left, self.taken = client, last, taken

    def __getattr__(self, name: str) -> Any:
        request = getattr(self.client, name)

        def asked(*words: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Killed
            if self.left == 0:
                if self.taken:
                    request(*words, **named)
                raise Killed
            return request(*words, **named)

        return asked


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Make a database once, as making one takes seconds: three models, and a fourth that waits."""
    root = tmp_path_factory.mktemp("store")
    registry = open_tracker(root).registry
    for digest, score in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
        register(registry, digest, score)
    register(registry, "d", 0.4, question=ASKS)
    return (root / "mlflow.db").read_bytes()


def register(
    registry: Registry, digest: str, score: float, gate: str = "", question: ApprovalRequest | None = None
) -> Registered:
    run = "0" * 32
    aligned = StageOutput("rlhf", digest, "", digest, False, 1.0, {}, run)
    metrics = {"passed": 1, "reason": "all 4 thresholds are met", "score": score}
    verdict = StageOutput("gate", "g", "", gate or f"{digest}-{score}", False, 0.1, metrics)
    return registry.register(aligned, verdict, f"file:///models/{digest}", question)


def rollback(registry: Registry) -> Any:
    return registry.rollback("", "rude", "ann")


def rollback_to_first(registry: Registry) -> Any:
    return registry.rollback("1", "rude", "ann")


def approve(registry: Registry) -> Any:
    return registry.decide("4", True, "ann", "reads well")


def refuse(registry: Registry) -> Any:
    return registry.decide("4", False, "ann", "rude")


def promote(registry: Registry) -> Any:
    return register(registry, "e", 0.5)


THREE = [("", "1", GATE), ("1", "2", GATE), ("2", "3", GATE)]


@pytest.mark.parametrize("taken", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("change", "move", "out"),
    [
        (rollback, ("3", "2", PERSON), "c"),
        (rollback_to_first, ("3", "1", PERSON), "c"),
        (approve, ("3", "4", PERSON), ""),
        (refuse, None, "d"),
        (promote, ("3", "5", GATE), ""),
    ],
)
def test_registry_interrupted_change_is_completed_by_same_command(
    template: bytes,
    tmp_path: Path,
    change: Callable[[Registry], Any],
    move: tuple[str, str, str] | None,
    out: str,
    taken: bool,
) -> None:
    """`out` is the model that a person rejected; the gate does not promote it under another verdict."""
    after = [*THREE, move] if move else THREE
    reached = 0
    for last in range(1, MOST):
        (tmp_path / "mlflow.db").write_bytes(template)
        registry = open_tracker(tmp_path).registry
        client = registry.client
        registry.client = Dying(client, last, taken)  # type: ignore[assignment]
        try:
            change(registry)
        except Killed:
            reached = last
        registry.client = client
        change(registry)
        assert [(found.before, found.now, found.by) for found in registry.moves()] == after, last
        champion = str(client.get_model_version_by_alias(MODEL, CHAMPION).version)
        assert champion == after[-1][1], last
        assert not [tag for tag in client.get_registered_model(MODEL).tags if "pending" in tag]
        if move and move[2] == PERSON:
            assert (registry.moves()[-1].who, registry.moves()[-1].why)[0] == "ann"
            assert registry.moves()[-1].why == ("reads well" if change is approve else "rude")
        if change in (approve, refuse):
            tags = client.get_model_version(MODEL, "4").tags
            assert approval_state(tags) == ("approved" if change is approve else "rejected"), last
            assert tags["approval.who"] == "ann"
        if out:
            again = register(registry, out, 0.9, gate="another verdict")
            assert not again.champion and ("not promoted again" in again.says or "rejected by" in again.says)
            assert str(client.get_model_version_by_alias(MODEL, CHAMPION).version) == champion
        if reached < last:
            break
    assert 3 < reached < MOST - 1


@pytest.mark.parametrize("taken", [False, True], ids=["before", "after"])
def test_register_after_interrupted_rollback_finishes_it(
    template: bytes, tmp_path: Path, taken: bool
) -> None:
    """A rollback from version 3 is killed; then a run makes version 3's model again."""
    for last in range(1, MOST):
        (tmp_path / "mlflow.db").write_bytes(template)
        registry = open_tracker(tmp_path).registry
        client = registry.client
        registry.client = Dying(client, last, taken)  # type: ignore[assignment]
        try:
            rollback(registry)
        except Killed:
            registry.client = client
        else:
            break
        again = register(registry, "c", 0.9, gate="another verdict")
        holder = str(client.get_model_version_by_alias(MODEL, CHAMPION).version)
        found = [(move.before, move.now) for move in registry.moves()]
        # The rollback is either undone, and the model competes, or complete.
        if ("3", "2") in found:
            assert holder == "2" and not again.champion and registry.moves()[-1].why == "rude"
        else:
            assert found == [("", "1"), ("1", "2"), ("2", "3"), ("3", "5")] and holder == "5"


def roll_back_halfway(template: bytes, root: Path) -> Registry:
    """Return a registry whose rollback was killed before the alias was moved."""
    (root / "mlflow.db").write_bytes(template)
    registry = open_tracker(root).registry

    def dies(*words: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(registry.client, "set_registered_model_alias", dies)
        rollback(registry)
    return registry


def test_champion_after_interrupted_rollback_finishes_it(template: bytes, tmp_path: Path) -> None:
    registry = roll_back_halfway(template, tmp_path)
    client = registry.client
    assert str(client.get_model_version_by_alias(MODEL, CHAMPION).version) == "3"
    champion = registry.champion()
    assert champion and str(champion.version) == "2" and registry.moves()[-1].why == "rude"


def test_champion_alias_moved_during_interruption_is_kept(template: bytes, tmp_path: Path) -> None:
    registry = roll_back_halfway(template, tmp_path)
    client = registry.client
    client.set_registered_model_alias(MODEL, CHAMPION, "1")
    assert str(registry.champion().version) == "1"
    assert [(move.before, move.now) for move in registry.moves()][3:] == [("3", "2"), ("2", "1")]
    # Version 3 is rejected anyway.
    assert not register(registry, "c", 0.9, gate="another verdict").champion


def test_register_model_replaced_by_other_means_is_not_promoted(template: bytes, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(template)
    registry = open_tracker(tmp_path).registry
    registry.client.set_registered_model_alias(MODEL, CHAMPION, "1")
    again = register(registry, "c", 0.9, gate="another verdict")
    assert not again.champion and "changed outside chatmill" in again.says


@pytest.mark.parametrize("why", ["caf\udce9", "\ud83d", "Zo\udceb \udcff"])
def test_decide_reason_not_utf8_is_refused_and_leaves_no_pending_change(
    template: bytes, tmp_path: Path, why: str
) -> None:
    (tmp_path / "mlflow.db").write_bytes(template)
    registry = open_tracker(tmp_path).registry
    for action in (lambda: registry.decide("4", True, "ann", why), lambda: registry.rollback("", why, "ann")):
        with pytest.raises(UserError, match="not valid UTF-8"):
            action()
    assert PENDING not in registry.client.get_registered_model(MODEL).tags
    # An author is not typed but read from the system, so it is kept with an escape.
    assert registry.decide("4", True, why, "reads well").champion
    assert registry.champion().tags[WHO] == escape_surrogates(why)


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (["version", "4", WHY, "caf\udce9"], r"caf\udce9"),
        (["version", "4", WHY, "\udcff\ud800"], r"\udcff\ud800"),
        (["version", "no number", WHY, "reads well"], None),
        (["version", "4", "a=b\x00/../c", "reads well"], None),
    ],
)
def test_champion_pending_change_that_mlflow_refuses_is_repaired_or_left_out(
    template: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture, step: list[str], kept: str | None
) -> None:
    (tmp_path / "mlflow.db").write_bytes(template)
    registry = open_tracker(tmp_path).registry
    steps = [["alias", "3", "4"], step, ["version", "4", "last", "made"]]
    registry.client.set_registered_model_tag(MODEL, PENDING, json.dumps(steps))
    champion = registry.champion()
    assert (str(champion.version), champion.tags["last"]) == ("4", "made")
    assert champion.tags.get(WHY) == kept
    assert PENDING not in registry.client.get_registered_model(MODEL).tags
    assert ("was left out, as MLflow refuses it" in caplog.text) == (kept is None)
