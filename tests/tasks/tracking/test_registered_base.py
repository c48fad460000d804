"""Registered models as bases: found, pinned by digest, fetched once, refused in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.base_models.base_model import RegisteredBase, base_folder, parse_registered, registered_folder
from tasks.tracking.registered_base import pin_registered_base
from tasks.tracking.registered_model import DamagedModel
from tests.tasks.event_sink import ignore_event
from tests.tasks.tracking.test_registered_model import at, cut, place, project, registered

__all__ = ["project", "registered"]


def pin(base: str, project: Path) -> RegisteredBase:
    found = parse_registered(base)
    assert found is not None
    return pin_registered_base(found, at(project).client, project, ignore_event)


@pytest.mark.parametrize(
    ("base", "number", "weights"),
    [
        ("model:chatmill@champion", "2", b"b"),
        ("model:chatmill@1", "1", b"a"),
        ("model:chatmill/2", "2", b"b"),
    ],
)  # fmt: skip
def test_pin_registered_base_names_version_and_digest(
    project: Path, base: str, number: str, weights: bytes
) -> None:
    found = pin(base, project)
    assert (found.product, found.version) == ("chatmill", number)
    version = next(each for each in at(project).registry.versions() if str(each.version) == number)
    assert found.digest == version.tags["digest"] and len(found.digest) == 64
    folder = base_folder(found.text, project)
    assert (folder / "model.safetensors").read_bytes() == weights * 100
    assert (folder / "extra" / "notes.txt").exists()
    # Pinned again, also in a store without the version, it is the same.
    shutil.rmtree(project / "var" / "mlflow")
    (project / "var" / "mlflow.db").unlink()
    assert pin(found.text, project) == found
    assert not list(folder.parent.glob("*.part")) and not list(folder.parent.glob("*.fetched"))


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("model:chatmill@7", "MLflow has no version 7 of chatmill"),
        ("model:other@champion", "there is no product 'other'; there are: chatmill"),
        (f"model:chatmill@1#sha256={'a' * 64}", "has the digest .* and the preset names aaaa"),
        ("model:chatmill", "is not a registered model; expected model:PRODUCT@NUMBER"),
        ("model:@3", "is not a registered model"),
        ("model:chatmill@newest", "is not a registered model"),
        ("model:chatmill@3#sha256=abc", "is not a registered model"),
    ],
)
def test_pin_registered_base_unknown_version_is_refused(project: Path, base: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        pin(base, project)
    assert not list(project.glob("var/cache/base_models/registered-*/"))


def test_pin_registered_base_damaged_files_are_refused(project: Path) -> None:
    cut(place(project, 2))
    with pytest.raises(DamagedModel, match=r"model\.safetensors differs from the registered file"):
        pin("model:chatmill@champion", project)
    found = pin("model:chatmill@1", project)
    # A damaged copy is fetched again, by a pinned name too.
    weights = registered_folder(found, project) / "model.safetensors"
    # It may be a hard link to the store's file, which stays whole here.
    weights.unlink()
    weights.write_bytes(b"x")
    assert pin(found.text, project) == found and weights.read_bytes() == b"a" * 100
    # What was fetched is no part of the records: it is fetched again after it was removed.
    shutil.rmtree(registered_folder(found, project))
    with pytest.raises(UserError, match="the files of chatmill/1 are not in"):
        base_folder(found.text, project)
    assert base_folder(pin(found.text, project).text, project).is_dir()


@pytest.mark.parametrize("base", ["", "models/model:x", "hub:org/name@main", "archive!file.gguf"])
def test_parse_registered_other_names_are_none(base: str) -> None:
    assert parse_registered(base) is None
