"""Test parallel work: equal results in a fixed order, and no process left behind."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from model.errors import UserError
from tasks.engine.parallel import AHEAD, ParallelMap, process_pool, report_pace, serial_map
from tests.waiting import PATIENCE, until

HERE = Path(__file__).resolve().parents[3]


def square(number: int) -> int:
    return number * number


def process_of(number: int) -> int:
    return os.getpid()


def late_at_first(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0.0)
    return number


def late(number: int) -> int:
    time.sleep(0.3)
    return number


def refuse(number: int) -> int:
    if number >= 3:
        raise UserError(f"row {number} is wrong")
    return number


def fill(number: int) -> int:
    with Path("/dev/full").open("wb") as file:
        return file.write(b"rows")


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def mark(path: Path) -> Path:
    path.touch()
    return path


def wait(path: Path) -> None:
    path.touch()
    time.sleep(600)


@pytest.fixture(scope="module")
def cores() -> Any:
    with process_pool(2, patience=0.0) as parallel_map:
        yield parallel_map


def test_process_pool_results_keep_order(cores: ParallelMap) -> None:
    assert list(cores(late_at_first, range(6))) == list(range(6))
    assert list(cores(square, range(9))) == list(serial_map(square, range(9)))


def test_process_pool_processes_are_reused(cores: ParallelMap) -> None:
    both = set(cores(process_of, range(8))) | set(cores(process_of, range(8)))
    assert os.getpid() not in both and len(both) <= 2


def test_process_pool_little_work_stays_in_process() -> None:
    before = multiprocessing.active_children()
    with process_pool(2) as parallel_map:
        assert set(parallel_map(process_of, range(20))) == {os.getpid()}
        assert multiprocessing.active_children() == before


def test_process_pool_slow_work_starts_processes() -> None:
    with process_pool(2, patience=0.2) as parallel_map:
        assert list(parallel_map(late, range(4))) == [0, 1, 2, 3]
        assert parallel_map.pool is not None


def test_process_pool_one_slow_item_starts_no_processes() -> None:
    with process_pool(2, patience=0.2) as parallel_map:
        assert list(parallel_map(late_at_first, range(4))) == [0, 1, 2, 3]
        assert parallel_map.pool is None


def test_process_pool_first_error_is_raised_unchanged(cores: ParallelMap) -> None:
    came = []
    with pytest.raises(UserError, match=r"^row 3 is wrong$"):
        for number in cores(refuse, range(9)):
            came.append(number)
    assert came == [0, 1, 2]
    with pytest.raises(OSError) as caught:
        list(cores(fill, [1, 2]))
    assert caught.value.errno == errno.ENOSPC
    assert list(cores(square, [2, 3])) == [4, 9]


def test_process_pool_killed_worker_is_one_error() -> None:
    with (
        process_pool(2, patience=0.0) as parallel_map,
        pytest.raises(UserError, match=r"parallel\.workers lower"),
    ):
        list(parallel_map(die, [1, 2]))


def test_process_pool_items_are_handed_out_lazily(cores: ParallelMap, tmp_path: Path) -> None:
    paths = [tmp_path / f"{n:02}" for n in range(40)]
    results = cores(mark, paths)
    assert next(results) == paths[0]
    time.sleep(0.3)
    assert len(list(tmp_path.iterdir())) <= 2 * AHEAD
    assert list(results) == paths[1:]


def test_process_pool_interrupted_work_ends(tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    with process_pool(2, patience=0.0) as parallel_map:
        results = parallel_map(wait, [tmp_path / "a", tmp_path / "b"])
        with pytest.raises(KeyboardInterrupt):
            interrupt_at(tmp_path / "a")
            next(results)
        del results
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE
    assert set(multiprocessing.active_children()) <= before


def interrupt_at(path: Path) -> None:
    """Send SIGINT to this process when the file exists."""
    command = (
        "import os, pathlib, signal, time\n"
        f"while not pathlib.Path({str(path)!r}).exists(): time.sleep(0.05)\n"
        f"os.kill({os.getpid()}, signal.SIGINT)"
    )
    subprocess.Popen([sys.executable, "-c", command])


def test_process_pool_workers_die_with_parent(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\n"
        "from tasks.engine.parallel import process_pool\n"
        "from tests.tasks.engine.test_parallel import wait\n"
        "if __name__ == '__main__':\n"
        f"    list(process_pool(2, patience=0.0)(wait, [Path({str(tmp_path)!r}) / n for n in 'ab']))\n"
    )
    with subprocess.Popen([sys.executable, str(program)], env={**os.environ, "PYTHONPATH": str(HERE)}) as run:
        until(lambda: all((tmp_path / name).exists() for name in "ab"), "the start of two workers", run)
        children = psutil.Process(run.pid).children(recursive=True)
        assert len(children) >= 2
        run.kill()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive


def test_report_pace_gives_rows_and_megabytes() -> None:
    said: list[Any] = []
    assert list(report_pace([1, 2, 3], 3, said.append, lambda n: (n, n * 1_000_000))) == [1, 2, 3]
    assert [(event.step, event.rows) for event in said] == [(1, 1), (2, 3), (3, 6)]
    assert all(event.megabytes_per_second > 0 for event in said) and said[-1].seconds_left == 0
