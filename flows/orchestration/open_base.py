"""The open model that a new preset starts from: found, checked and pinned before the preset is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.common.yaml_reader import read_yaml_file
from model.data.checkpoint_check import check_model
from model.errors import UserError
from model.events import EventCallback
from tasks.common import url_secrets
from tasks.data.base_models.base_model import base_folder, parse_registered, pin_base
from tasks.data.base_models.hub_model import HUB, pin_hub_model
from tasks.data.sources.package_archive import Archive
from tasks.project.paths import STORES

if TYPE_CHECKING:
    from model.data.tokenizer import Tokenizer
    from model.nn.model_config import ModelConfig


@dataclass(frozen=True)
class OpenBase:
    """An open model on this machine.

    Attributes:
        text: The value of `base_model` in the preset.
        pinned: The same with all that is needed to find its files: a registered model has its digest.
        folder: Its files.
        architecture: Its shape, with its own context.
        tokenizer: Its tokenizer.
        archives: The archive that `text` names, by its name; empty if it names none.
    """

    text: str
    pinned: str
    folder: Path
    architecture: ModelConfig
    tokenizer: Tokenizer
    archives: Mapping[str, Archive] = field(default_factory=dict)

    @property
    def is_pinned_by_preset(self) -> bool:
        """Return whether a preset with `text` finds the files; of a registered model only a run does."""
        return parse_registered(self.text) is None


def find_open_base(text: str, root: Path, on_event: EventCallback) -> OpenBase:
    """Return the open model that a person names, with its files on this machine.

    Args:
        text: As `base_model` in a preset. A model of the hub may lack its commit; the present one is then
            taken. The archive of a member is one of a preset in configs/.
        root: The project's folder.
        on_event: Receives what is fetched.

    Raises:
        UserError: There is no such model, it cannot be fetched, or chatmill cannot use it.
    """
    from model.data.tokenizer import Tokenizer

    # HF_TOKEN and HF_ENDPOINT; no preset was read yet.
    url_secrets.use_environment(os.environ)
    if text.startswith(HUB):
        text = pin_hub_model(text)
    archives = _find_archive(text, root)
    try:
        pinned = pin_base(text, archives)
    except ValueError as error:
        raise UserError(str(error)) from error
    if parse_registered(text) is not None:
        pinned = _pin_registered(text, root, on_event)
    folder = base_folder(pinned, root, on_event)
    architecture = check_model(folder)
    return OpenBase(text, pinned, folder, architecture, Tokenizer.load(folder), archives)


def _find_archive(text: str, root: Path) -> dict[str, Archive]:
    """Return the archive before `!` in a base's name, from the presets in configs/; empty if none is named.

    Raises:
        UserError: No preset has it, or two presets have different ones of that name.
    """
    name, mark, _ = text.partition("!")
    # A file's name may have the mark too.
    if not mark or (root / text).exists():
        return {}
    found: dict[str, Archive] = {}
    for path in sorted((root / "configs").glob("*.yaml")):
        archive = _archive_of(path, name)
        if archive is None:
            continue
        if found.setdefault(name, archive) != archive:
            raise UserError(
                f"--base {text}: the presets in configs/ have different archives named {name}, as in "
                f"configs/{path.name}; rename one of them"
            )
    if not found:
        raise UserError(
            f"--base {text}: no preset in configs/ has an archive named {name} under data.archives; "
            "configs/adapt.yaml shows one"
        )
    return found


def _archive_of(path: Path, name: str) -> Archive | None:
    """Return an archive of a preset; None if it has none of that name, or is no valid preset."""
    try:
        values: Any = read_yaml_file(path)
        fields = values["data"]["archives"][name]
        return Archive(**fields)
    except (UserError, KeyError, TypeError, ValueError):
        return None


def _pin_registered(text: str, root: Path, on_event: EventCallback) -> str:
    """Return the name of a registered model with its number and its digest; its files are fetched once."""
    base = parse_registered(text)
    if base is None or not (root / STORES).exists():
        raise UserError(f"base_model: {text}: no model is registered here yet")
    # MLflow takes a second to import.
    from flows.orchestration.tracker import open_tracker
    from tasks.tracking.registered_base import pin_registered_base

    return pin_registered_base(base, open_tracker().client, root, on_event).text
