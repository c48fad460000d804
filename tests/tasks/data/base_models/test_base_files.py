"""Fetched and converted base models: a damaged one is set aside, and never used or deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from model.events import Event
from tasks.data.base_models.base_files import is_intact, record_sums
from tests.tasks.event_sink import ignore_event

Damage = Callable[[Path], object]
DAMAGES: list[tuple[Damage, str]] = [
    (lambda model: (model / "weights").write_bytes(b"1235"), "weights"),
    (lambda model: (model / "weights").write_bytes(b""), "weights"),
    (lambda model: (model / "config.json").unlink(), "config.json"),
    (lambda model: (model / "chat_template.jinja").write_text("{{ x }}"), "chat_template.jinja"),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    part = tmp_path / "temporary" / "part"
    part.mkdir(parents=True)
    (part / "weights").write_bytes(b"1234")
    (part / "config.json").write_text("{}")
    place = tmp_path / "model"
    record_sums(part, place)
    part.rename(place)
    return place


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_is_intact_damaged_model_is_set_aside(model: Path, tmp_path: Path, damage: Damage, name: str) -> None:
    assert is_intact(model, tmp_path, ignore_event)
    damage(model)
    left = sorted(path.name for path in model.iterdir())
    said: list[Event] = []
    assert not is_intact(model, tmp_path, said.append)
    assert f"{model / name} is damaged" in str(said) and not model.exists()
    assert sorted(path.name for path in (tmp_path / "model.damaged").iterdir()) == left


def test_is_intact_second_damaged_model_does_not_replace_first(model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.damaged").mkdir()
    DAMAGES[0][0](model)
    assert not is_intact(model, tmp_path, ignore_event)
    assert (tmp_path / "model.damaged-2" / "weights").exists()


def test_is_intact_absent_model_and_model_without_sums(model: Path, tmp_path: Path) -> None:
    assert not is_intact(tmp_path / "other", tmp_path, ignore_event)
    (tmp_path / "model.sums").unlink()
    assert is_intact(model, tmp_path, ignore_event)


@pytest.mark.parametrize("content", [b"", b"123", b"12345"])
def test_is_intact_single_file_is_compared(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"1234")
    record_sums(file, file)
    assert is_intact(file, tmp_path, ignore_event)
    file.write_bytes(content)
    assert not is_intact(file, tmp_path, ignore_event)
    assert (tmp_path / "model.gguf.damaged").read_bytes() == content
