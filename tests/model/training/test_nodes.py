"""Several machines in one training: two launchers on this one, which find each other over loopback."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from model.errors import UserError
from model.events import Event, EventCallback, Message
from model.training.launcher import launch_training
from model.training.nodes import NODES, Nodes, join_trainings
from model.training.process_group import ProcessGroup
from tests.model.conftest import Language
from tests.model.training.test_training_tasks import curve, quiet, stage

STEPS = {"steps": 3, "eval_every": 2, "gradient_parts": 2}


def train(root: str, sharding: str, on_event: EventCallback) -> dict[str, Any]:
    """Pretrain as a process of a group; return what the process knows of the group."""
    torch.set_num_threads(1)
    world = ProcessGroup.join_group("cpu")
    language = Language(Path(root) / f"language-{world.rank}")
    stage("pretrain", language, {}, **STEPS, sharding=sharding)(Path(root) / sharding, on_event)
    return {"size": world.size, "machines": world.machines, "local": os.environ["LOCAL_WORLD_SIZE"]}


def fail_elsewhere(on_event: EventCallback) -> dict[str, Any]:
    """Raise an error on the machine that joined, while the first one waits for it."""
    world = ProcessGroup.join_group("cpu")
    if world.rank == world.size - 1:
        raise UserError("the second machine has no GPU")
    world.wait_for_all()
    return {}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Return two machines, both of them this one, at a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = Nodes.read(f"2@127.0.0.1:{port}")
    monkeypatch.setenv(NODES, f"2@127.0.0.1:{port}")
    return found


@pytest.mark.parametrize("sharding", ["none", "full"])
def test_training_of_two_machines_follows_curve_of_one(
    sharding: str, nodes: Nodes, language: Language, tmp_path: Path
) -> None:
    stage("pretrain", language, {}, **STEPS)(tmp_path / "alone", quiet)
    said: list[str] = []
    told: list[Event] = []
    other = Thread(target=join_trainings, args=(nodes, said.append, 1))
    other.start()
    arguments = {"root": str(tmp_path), "sharding": sharding}
    group = launch_training(train, arguments, on_event=told.append, log=tmp_path / "log")
    other.join(60)
    assert not other.is_alive()
    assert group == {"size": 2, "machines": 2, "local": "1"}
    name = "tests.model.training.test_nodes:train"
    assert said == [f"machine 2 of 2 takes part in {name}", f"{name} has ended"]
    waiting = [event.text for event in told if isinstance(event, Message) and "join" in event.text]
    assert waiting == [f"waiting for 1 more of 2 machines to join at 127.0.0.1:{nodes.port}"]
    expected, found = (curve(tmp_path / folder, "loss") for folder in ("alone", sharding))
    assert len(expected) == STEPS["steps"]
    assert found == pytest.approx(expected, rel=5e-3)


def test_failure_of_joined_machine_is_reported_by_first(nodes: Nodes, tmp_path: Path) -> None:
    other = Thread(target=join_trainings, args=(nodes, lambda text: None, 1))
    other.start()
    with pytest.raises(UserError, match="the second machine has no GPU"):
        launch_training(fail_elsewhere, {}, log=tmp_path / "log")
    other.join(60)
    assert not other.is_alive()


@pytest.mark.parametrize(
    "text",
    ["2", "1@host:29500", "2@host", "2@:29500", "x@host:1", "2@host:0", "2@host:65536", "@"],
)
def test_nodes_invalid_setting_is_named(text: str) -> None:
    with pytest.raises(UserError, match=f"{NODES} is .*2@10.0.0.5:29500"):
        Nodes.read(text)


def test_nodes_valid_setting_is_read() -> None:
    assert Nodes.read("3@10.0.0.5:29500") == Nodes(3, "10.0.0.5", 29500)
    assert Nodes.read("2@[::1]:80") == Nodes(2, "::1", 80)
    assert Nodes.read("2@gpu-1.local:29500").host == "gpu-1.local"
