"""One at a time on a device: two runs that were started at once train in turn.

A GPU is one for all folders of a machine, so its lock stands where every run of this user finds it. A CPU is
one for each project's folder: how many of those share its cores is left to whoever starts them.
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
    """The files to be locked for `processes` devices of a kind, "cpu" or "cuda", in one order for all."""
    if device != "cuda":
        return [root / DEVICE_LOCKS / "cpu.lock"]
    import torch

    folder = _own_folder(Path(tempfile.gettempdir()) / f"chatmill-devices-{os.getuid()}")
    count = min(processes, torch.cuda.device_count())
    uuids = [str(torch.cuda.get_device_properties(place).uuid) for place in range(count)]
    return [folder / f"{uuid}.lock" for uuid in sorted(uuids)]


def _own_folder(folder: Path) -> Path:
    """A folder that is this user's and nobody else's; all may write where it stands, so that is looked at."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(
            f"{folder} is not a folder of yours alone; remove it, it holds locks and nothing else"
        )
    return folder


@contextmanager
def hold_devices(device: str, processes: int, root: Path, report: EventCallback) -> Iterator[None]:
    """Have the devices for as long as the context lasts; whoever has them now is waited for."""
    with ExitStack() as held:
        for path in device_locks(device, processes, root):
            held.enter_context(exclusive_lock(path, report, WAITS))
        yield
