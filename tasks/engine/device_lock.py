"""File locks on devices, so that two runs that start at once train one after the other.

A GPU is shared by all folders of a machine, so its lock lies where every run of this user finds it. The CPU
has one lock for each project's folder: how many projects share its cores is left to the user.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from model.errors import UserError
from model.events import EventCallback
from tasks.common.file_lock import exclusive_lock
from tasks.project.paths import DEVICE_LOCKS

WAITS = "another run is using this device; waiting for it"


def device_locks(device: str, processes: int, root: Path) -> list[Path]:
    """Return the paths of the file locks of `processes` devices of a kind.

    Args:
        device: "cpu" or "cuda".
        processes: The number of processes; each uses one GPU.
        root: The project's folder.
    """
    if device != "cuda":
        return [root / DEVICE_LOCKS / "cpu.lock"]
    import torch

    folder = _own_folder(Path(tempfile.gettempdir()) / f"chatmill-devices-{os.getuid()}")
    count = min(processes, torch.cuda.device_count())
    # The index of a GPU depends on CUDA_VISIBLE_DEVICES; its UUID is the same for every process.
    uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]
    # Every run locks in the same order, so that two runs never wait for each other.
    return [folder / f"{uuid}.lock" for uuid in sorted(uuids)]


def _own_folder(folder: Path) -> Path:
    """Create or reuse a folder that only this user can write to.

    It lies in a folder that everybody may write to, so its owner and mode are checked.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    # Not stat(): another user may have placed a link to a folder of ours.
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(f"{folder} is accessible to other users; remove it, it contains only locks")
    return folder


@contextmanager
def hold_devices(device: str, processes: int, root: Path, on_event: EventCallback) -> Iterator[None]:
    """Hold the locks of the devices while the context lasts; wait until other runs release them."""
    with ExitStack() as held:
        for path in device_locks(device, processes, root):
            held.enter_context(exclusive_lock(path, on_event, WAITS))
        yield
