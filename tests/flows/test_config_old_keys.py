"""Presets in the keys of the version before: they are read with a notice."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows.config import dump_preset, read_preset
from model.errors import UserError
from tasks.common.old_keys import OLD_KEYS, rename_old_keys

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALLEST = "name: mine\ndata: {sources: [{name: tales, files: '*.txt', format: plain}]}\n"


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALLEST)
    return path


def test_read_preset_in_old_keys_gives_same_preset(capsys: pytest.CaptureFixture[str]) -> None:
    old = read_preset(FIXTURES / "old_keys.yaml")
    said = capsys.readouterr().err
    assert all(f"{key} is now {OLD_KEYS[key]}" in said for key in ("rlhf.clip", "base", "spread.dask"))
    assert f"`chatmill config migrate {FIXTURES / 'old_keys.yaml'}`" in said and said.count("\n") == 1
    present = read_preset(FIXTURES / "present_keys.yaml")
    assert old == present and capsys.readouterr().err == ""


def test_presets_record_present_keys_alone() -> None:
    recorded = dump_preset(read_preset(FIXTURES / "old_keys.yaml"))
    assert rename_old_keys(recorded) == (recorded, {})


def test_present_names_are_keys_of_a_preset() -> None:
    recorded = dump_preset(read_preset(FIXTURES / "present_keys.yaml"))
    for key in OLD_KEYS.values():
        place = recorded
        for segment in key.split("."):
            place = place[0] if isinstance(place, list) else place
            assert segment in place, key
            place = place[segment]


def test_read_preset_tells_of_old_keys_once(preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset.write_text(SMALLEST + "sft: {batch: 4}\nrlhf: {clip: 0.3}\n")
    assert read_preset(preset).sft.batch_size == 4
    said = capsys.readouterr().err
    assert "sft.batch is now sft.batch_size" in said and "rlhf.clip is now rlhf.clip_range" in said
    read_preset(preset)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("rlhf: {clip: 0.3, clip_range: 0.3}", "rlhf.clip", "rlhf.clip_range"),
        ("processes: 1\nnum_processes: 1", "processes", "num_processes"),
        ("share: {outputs: true}\nremote_cache: {enabled: true}", "share", "remote_cache"),
    ],
)
def test_read_preset_with_both_names_is_refused(preset: Path, text: str, old: str, new: str) -> None:
    preset.write_text(SMALLEST + text + "\n")
    with pytest.raises(UserError, match=rf"mine\.yaml: {old} is the old name of {new}, and both are given"):
        read_preset(preset)


def test_changes_in_old_keys_are_applied(preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset.write_text(SMALLEST + "rlhf: {clip_range: 0.4, epochs: 3}\nspread: {workers: 3}\n")
    found = read_preset(
        preset, ["rlhf.clip=0.3", "sft={batch: 4, steps: 5}", "spread.dask=local", "parallel.workers=2"]
    )
    assert (found.rlhf.clip_range, found.rlhf.ppo_epochs) == (0.3, 3)
    assert (found.sft.batch_size, found.sft.steps) == (4, 5)
    assert (found.parallel.workers, found.parallel.dask_address) == (2, "local")
    assert "sft.batch is now sft.batch_size" in capsys.readouterr().err


def test_read_preset_changes_in_old_keys_name_no_migration(
    preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_preset(preset, ["seed=7", "labels.pairs=9"]).labels.max_eval_pairs == 9
    said = capsys.readouterr().err
    assert "labels.pairs is now labels.max_eval_pairs" in said and "migrate" not in said


def test_changes_of_one_key_under_both_names_are_refused(preset: Path) -> None:
    with pytest.raises(UserError, match=r"--set rlhf\.clip and --set rlhf\.clip_range change one key"):
        read_preset(preset, ["rlhf.clip=0.3", "rlhf.clip_range=0.2"])
    assert read_preset(preset, ["rlhf.clip=0.3", "rlhf.clip=0.2"]).rlhf.clip_range == 0.2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("heads=4", r"^heads: unknown key; did you mean architecture\.num_heads\?$"),
        ("rlhf.clipp=1", r"^rlhf\.clipp: unknown key; did you mean rlhf\."),
        ("rlhf.clip=-1", r"^rlhf\.clip_range is -1"),
        ("spread.wrokers=1", r"^parallel\.wrokers: unknown key; did you mean parallel\.workers\?$"),
    ],
)
def test_wrong_old_keys_are_named_by_their_present_names(preset: Path, change: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_preset(preset, [change])


def test_fixture_in_old_keys_has_every_old_key() -> None:
    values = yaml.safe_load((FIXTURES / "old_keys.yaml").read_text())
    sections = {old for old in OLD_KEYS if any(other.startswith(f"{old}.") for other in OLD_KEYS)}
    assert set(rename_old_keys(values)[1]) == set(OLD_KEYS) - sections
