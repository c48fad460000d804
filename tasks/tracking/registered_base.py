"""A registered model as the base of another: found by its version, and named by its digest from then on."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlflow import MlflowClient

from model.errors import UserError
from model.events import EventCallback
from tasks.common.file_lock import exclusive_lock
from tasks.data.base_models.base_files import is_intact, record_sums
from tasks.data.base_models.base_model import RegisteredBase, registered_folder
from tasks.tracking.products import find_version
from tasks.tracking.reference_version import link_or_copy
from tasks.tracking.registered_model import download_model

# The tag of a pipeline run that names the registered version it began from, as NAME/NUMBER.
BASE_TAG = "base.model"


def pin_registered_base(
    base: RegisteredBase, client: MlflowClient, root: Path, on_event: EventCallback
) -> RegisteredBase:
    """Return a registered model with its version's number and digest; its files are fetched once.

    Args:
        base: The model; with its digest if it was pinned before.
        client: A client of MLflow's store.
        root: The project's folder.
        on_event: Receives an event while another process is waited for.

    Raises:
        UserError: There is no such version, its files changed, or it is not the one that was pinned.
    """
    # A reproduction has the files, and a store without the version.
    if base.digest and is_intact(registered_folder(base, root), root, on_event):
        return base
    version = find_version(client, base.address)
    digest = str(version.tags.get("digest", ""))
    if not digest:
        raise UserError(
            f"base_model: version {base.address} was registered without a digest, by an older chatmill; name "
            "the folder of its model"
        )
    if base.digest not in ("", digest):
        raise UserError(
            f"base_model: version {base.address} has the digest {digest[:20]}, and the preset names "
            f"{base.digest[:20]}; another store has another version of this number"
        )
    # By the name of the registered model, as versions are named elsewhere.
    found = RegisteredBase(str(version.name), str(version.version), digest)
    folder = registered_folder(found, root)
    lock = folder.with_name(f"{folder.name}.lock")
    with exclusive_lock(lock, on_event, f"another process is fetching {found.address}; waiting for it"):
        if not is_intact(folder, root, on_event):
            _fetch_model(version, str(client.tracking_uri), folder)
    return found


def _fetch_model(version: object, uri: str, folder: Path) -> None:
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    scratch = folder.with_name(f"{folder.name}.fetched")
    try:
        # A hard link saves the room of a second copy of the weights.
        shutil.copytree(download_model(version, uri, str(scratch)), part, copy_function=link_or_copy)
        record_sums(part, folder)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
