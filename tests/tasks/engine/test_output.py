"""Test stage outputs: a damaged output is not used and is made again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model.errors import UserError
from tasks.engine.output import MANIFEST, DamagedOutput, check_output, verify_output, write_manifest
from tasks.engine.stage import StageContext, stage
from tasks.project.paths import OUTPUT_DIGESTS

TEXT = "".join(
    f"line {number} of a file that is long enough to be cut and flipped\n" for number in range(200)
)


@dataclass(frozen=True)
class Nothing:
    pass


@stage()
def produce(parameters: Nothing, out: Path, on_event: Any, root: Path) -> dict[str, Any]:
    """Write three files; append a letter to `made` at each run."""
    with (root / "made").open("a") as file:
        file.write("x")
    (out / "model").mkdir()
    for name in ("model/weights", "verdict.json", "report.html"):
        (out / name).write_text(f"{name}\n{TEXT}"[: len(TEXT)])
    return {"figure": 0.5, "none": float("nan")}


@stage(inputs=("produce",))
def consume(parameters: Nothing, produce: Path, out: Path, on_event: Any) -> dict[str, Any]:
    """Copy one file of the input."""
    shutil.copy(produce / "report.html", out)
    return {}


def flip(path: Path, place: int = 100, bit: int = 128) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= bit
    path.write_bytes(data)


def keep_times(path: Path, harm: Callable[[Path], None]) -> None:
    before = path.stat()
    harm(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside), other.rename(one), aside.rename(other)


def as_link(path: Path) -> None:
    copy = path.parents[3] / "copy"
    shutil.copy(path, copy)
    path.unlink()
    path.symlink_to(copy)


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def edit_manifest(folder: Path, **values: Any) -> None:
    found = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**found, **values}, indent=1))


def folder_for(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "one bit": lambda f: flip(f / "verdict.json"),
    "a byte that is not UTF-8": lambda f: flip(f / "report.html", 0),
    "one bit, times as before": lambda f: keep_times(f / "model/weights", flip),
    "the last bit": lambda f: flip(f / "model/weights", -1, 1),
    "zeros": lambda f: (f / "model/weights").write_bytes(bytes(len(TEXT))),
    "a block of zeros": lambda f: (f / "report.html").write_text("\0" * 4096 + TEXT[4096:]),
    "cut": lambda f: os.truncate(f / "report.html", 5000),
    "cut by one byte": lambda f: os.truncate(f / "verdict.json", len(TEXT) - 1),
    "longer": lambda f: (f / "verdict.json").write_text(TEXT + "x"),
    "empty": lambda f: os.truncate(f / "report.html", 0),
    "two files in each other's place": lambda f: swap(f / "report.html", f / "verdict.json"),
    "a file too many": lambda f: (f / "model" / "more").write_text("x"),
    "an empty file too many": lambda f: (f / "more").touch(),
    "a file missing": lambda f: (f / "model/weights").unlink(),
    "a folder missing": lambda f: shutil.rmtree(f / "model"),
    "another name": lambda f: (f / "report.html").rename(f / "Report.html"),
    "a link": lambda f: as_link(f / "report.html"),
    "a pipe": lambda f: as_pipe(f / "report.html"),
    "a pipe too many": lambda f: os.mkfifo(f / "pipe"),
    "a folder": lambda f: folder_for(f / "report.html"),
    "manifest: one bit": lambda f: flip(f / MANIFEST, 60, 1),
    "manifest: another figure": lambda f: edit_manifest(f, metrics={"figure": 0.9}),
    "manifest: another digest": lambda f: edit_manifest(f, digest="0" * 64),
    "manifest: no sums": lambda f: edit_manifest(f, sums={}),
    "manifest: no digest of its own": lambda f: edit_manifest(f, manifest_digest=None),
    "manifest: a list": lambda f: (f / MANIFEST).write_text("[]"),
    "manifest: deep": lambda f: (f / MANIFEST).write_text("[" * 100_000),
    "manifest: not UTF-8": lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe{}"),
    "manifest: empty": lambda f: (f / MANIFEST).write_text(""),
    "manifest: missing": lambda f: (f / MANIFEST).unlink(),
    "manifest: a link": lambda f: as_link(f / MANIFEST),
    "manifest: a pipe": lambda f: as_pipe(f / MANIFEST),
    "no folder, a file": lambda f: (shutil.rmtree(f), f.write_text("x")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("read_before", [False, True])
def test_stage_run_damaged_output_is_made_again_with_notice(
    tmp_path: Path, damage: str, read_before: bool
) -> None:
    context, said = StageContext(tmp_path), []
    first = produce.run(Nothing(), {}, context, said.append)
    folder = Path(first.path)
    if read_before:
        # Old files, so that their checksums are remembered.
        for path in folder.rglob("*"):
            os.utime(path, (1e9, 1e9))
        assert produce.run(Nothing(), {}, context, said.append).reused
    assert not said
    DAMAGES[damage](folder)
    again = produce.run(Nothing(), {}, context, said.append)
    assert not again.reused and again.digest == first.digest
    assert (tmp_path / "made").read_text() == "xx"
    assert len(said) == 1 and "the output is recomputed" in said[0].text and first.key in said[0].text
    assert produce.run(Nothing(), {}, context, said.append).reused


def test_stage_run_damaged_input_is_refused(tmp_path: Path) -> None:
    context = StageContext(tmp_path)
    made = produce.run(Nothing(), {}, context, print)
    flip(Path(made.path) / "model" / "weights")
    with pytest.raises(
        UserError, match=r"model/weights does not match its checksum.*consume cannot use it; run again"
    ):
        consume.run(Nothing(), {"produce": made}, context, print)
    again = produce.run(Nothing(), {}, context, lambda event: None)
    assert consume.run(Nothing(), {"produce": again}, context, print).metrics == {}


def test_check_output_replaced_or_missing_output_is_refused(tmp_path: Path) -> None:
    made = produce.run(Nothing(), {}, StageContext(tmp_path), print)
    check_output(made, tmp_path)
    folder = Path(made.path)
    found = verify_output(folder, tmp_path)
    assert found is not None
    write_manifest(folder, {**found, "digest": "0" * 64})
    with pytest.raises(DamagedOutput, match="replaced by another output"):
        check_output(made, tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(DamagedOutput, match="is missing"):
        check_output(made, tmp_path)


def test_verify_output_unchanged_files_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = produce.run(Nothing(), {}, StageContext(tmp_path), print)
    monkeypatch.setattr("tasks.common.checksums.SETTLED_NS", 0)
    assert verify_output(Path(made.path), tmp_path)
    known = json.loads((tmp_path / OUTPUT_DIGESTS).read_text())
    assert len(known) == 3
    monkeypatch.setattr("tasks.common.checksums.file_sum", lambda path, algorithm: pytest.fail("it was read"))
    assert verify_output(Path(made.path), tmp_path)
