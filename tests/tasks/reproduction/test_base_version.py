"""The registered model that a run began from is there before the run is made again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.base_models.base_model import base_folder, parse_registered
from tasks.project.paths import BASE_MODELS
from tasks.reproduction.base_version import fetch_registered_base
from tasks.tracking.registered_base import pin_registered_base
from tests.tasks.tracking.damaged_models import at, cut, place, project, registered, turn_over

__all__ = ["project", "registered"]


def fetch(project: Path, base: str) -> list[str]:
    """Fetch the base of a recorded run, and return what is said."""
    said: list[str] = []
    fetch_registered_base(at(project).client, project, "12" * 6, {"base_model": base}, said.append)
    return said


def pinned(project: Path, number: int) -> str:
    """Return the base as a run of a registered version records it; its files are fetched."""
    base = parse_registered(f"model:chatmill@{number}")
    assert base is not None
    return pin_registered_base(base, at(project).client, project, lambda event: None).text


def remove_folder(project: Path) -> None:
    for path in (project / BASE_MODELS).iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def remove_all_models(project: Path) -> None:
    shutil.rmtree(project / BASE_MODELS)


def remove_cache(project: Path) -> None:
    shutil.rmtree(project / "var" / "cache")


@pytest.mark.parametrize("remove", [remove_folder, remove_all_models, remove_cache])
@pytest.mark.parametrize("number", [1, 2])
def test_fetch_registered_base_removed_files_come_from_mlflow(
    project: Path, number: int, remove: Callable[[Path], None]
) -> None:
    base = pinned(project, number)
    assert fetch(project, base) == []
    remove(project)
    assert fetch(project, base) == [f"fetching its base, version {number} of chatmill, from MLflow"]
    expected = (place(project, number) / "model.safetensors").read_bytes()
    assert (base_folder(base, project) / "model.safetensors").read_bytes() == expected


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut, "model.safetensors differs from the registered file"),
        (turn_over, "model.safetensors differs from the registered file"),
        (shutil.rmtree, "MLflow's store lacks the folder model/"),
    ],
)
def test_fetch_registered_base_damaged_version_is_named(
    project: Path, damage: Callable[[Path], None], says: str
) -> None:
    base = pinned(project, 2)
    remove_all_models(project)
    # A fetched file may be a link to the registered one.
    damage(place(project, 2))
    with pytest.raises(UserError) as found:
        fetch(project, base)
    said = str(found.value)
    assert said.startswith(
        "run 121212121212 began from version 2 of chatmill, which cannot be had: version 2"
    )
    assert says in said and "`chatmill restore`" in said and "\n" not in said


def test_fetch_registered_base_deleted_version_is_named(project: Path) -> None:
    base = pinned(project, 1)
    remove_all_models(project)
    at(project).client.delete_model_version("chatmill", "1")
    with pytest.raises(UserError, match="which cannot be had: MLflow has no version 1"):
        fetch(project, base)


@pytest.mark.parametrize("base", ["", "models/own", "hub:org/name@" + "a" * 40])
def test_fetch_registered_base_other_bases_are_left(project: Path, base: str) -> None:
    assert fetch(project, base) == [] and not (project / BASE_MODELS).exists()
