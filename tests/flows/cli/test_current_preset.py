"""Commands without --config use the preset whose sources made data/."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from flows.cli.current_preset import DEMO, choose_preset, current_preset, preset_to_run
from flows.servers.environment import checkout_environment
from model.errors import UserError
from tasks.reproduction.known_code import _own_remotes
from tests.benchmarks.smoke import REPOSITORY
from tests.waiting import PATIENCE


def lay(root: Path, *names: str, **presets: list[str]) -> None:
    """Write a data.dvc made of these sources, and presets with their sources."""
    outs = [{"md5": "0123.dir", "path": "data"}]
    (root / "data.dvc").write_text(yaml.safe_dump({"outs": outs, "meta": {"names": sorted(names)}}))
    (root / "configs").mkdir()
    for name, sources in presets.items():
        values = {"name": name, "data": {"sources": [{"name": one, "files": "a"} for one in sources]}}
        (root / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(values))


def test_choose_preset_without_config_takes_and_names_preset_of_data(tmp_path: Path) -> None:
    lay(tmp_path, "qa", "texts", demo=["film"], press=["texts", "qa"], other=["texts"])
    console = Console(width=200, record=True, file=io.StringIO())
    assert choose_preset(None, tmp_path, console) == Path("configs/press.yaml")
    assert (
        "preset configs/press.yaml, chosen because data/ was made from its sources; --config selects"
        in console.export_text()
    )
    assert choose_preset(Path("x.yaml"), tmp_path, console) == Path("x.yaml")


def test_current_preset_without_data_or_with_demo_sources_is_demo(tmp_path: Path) -> None:
    assert current_preset(tmp_path) == DEMO
    lay(tmp_path, "film", demo=["film"], again=["film"])
    assert current_preset(tmp_path) == DEMO


@pytest.mark.parametrize(
    ("presets", "found"),
    [
        ({"demo": ["film"], "other": ["texts"], "press": ["texts", "qa", "people"]}, "press"),
        ({"exact": ["qa", "texts"], "press": ["texts", "qa", "people"]}, "exact"),
    ],
)
def test_current_preset_with_added_source_is_that_of_data(
    tmp_path: Path, presets: dict[str, list[str]], found: str
) -> None:
    lay(tmp_path, "qa", "texts", **presets)
    assert current_preset(tmp_path) == Path(f"configs/{found}.yaml")


@pytest.mark.parametrize(
    ("presets", "says"),
    [
        (
            {"one": ["qa", "a"], "two": ["qa", "b"]},
            "several presets list them: configs/one.yaml, configs/two.yaml; name",
        ),
        ({"demo": ["film"]}, "no preset in configs/ lists them; name the preset with --config"),
        (
            {"one": ["qa"], "two": ["qa"]},
            "several presets list them: configs/one.yaml, configs/two.yaml; name",
        ),
    ],
)
def test_current_preset_with_no_or_several_matches_is_refused(
    tmp_path: Path, presets: dict[str, list[str]], says: str
) -> None:
    lay(tmp_path, "qa", **presets)
    with pytest.raises(UserError, match=f"data/ was made of the sources qa, and {says}"):
        current_preset(tmp_path)


def test_current_preset_skips_invalid_presets(tmp_path: Path) -> None:
    lay(tmp_path, "qa", press=["qa"])
    for name, text in (("a", "- 1"), ("b", "x: ["), ("c", "data: {sources: [1]}"), ("d", "\x80")):
        (tmp_path / "configs" / f"{name}.yaml").write_text(text)
    assert current_preset(tmp_path) == Path("configs/press.yaml")


@pytest.mark.timeout(PATIENCE)
def test_current_preset_skips_special_files_without_blocking(tmp_path: Path) -> None:
    lay(tmp_path, "qa", press=["qa"])
    configs = tmp_path / "configs"
    os.mkfifo(configs / "pipe.yaml")
    (configs / "folder.yaml").mkdir()
    (configs / "loop.yaml").symlink_to("loop.yaml")
    (configs / "bytes.yaml").write_bytes(b"\xff\x00\x9c")
    (configs / "deep.yaml").write_text("[" * 5000)
    (configs / "list.yaml").write_text("- data\n")
    assert current_preset(tmp_path) == Path("configs/press.yaml")
    assert _own_remotes(tmp_path) == {("", "")}


@pytest.mark.parametrize(
    ("sources", "presets", "usual", "found"),
    [
        # Without data, and while the usual preset has a source of data/, the usual one runs.
        ([], {"demo": ["film"], "press": ["qa"]}, ["demo"], None),
        (["film"], {"demo": ["film", "added"]}, ["demo"], None),
        (["film", "removed"], {"demo": ["film"]}, ["demo"], None),
        (["qa"], {"demo": ["film"], "press": ["qa", "added"]}, ["demo", "press"], None),
        (["qa"], {"demo": ["film"], "press": ["qa"]}, ["demo"], "configs/press.yaml"),
        (["qa"], {"press": ["qa"]}, ["demo"], "configs/press.yaml"),
        (["film"], {"demo": ["film"], "press": ["qa"]}, ["press"], "configs/demo.yaml"),
        # Another preset that has exactly these sources made data/, though the usual one shares some.
        (["film"], {"demo": ["film", "qa"], "smoke": ["film"]}, ["demo"], "configs/smoke.yaml"),
        (["film", "qa"], {"demo": ["film"], "team": ["film", "qa"]}, ["demo"], "configs/team.yaml"),
        (["film"], {"demo": ["film"], "smoke": ["film"]}, ["demo"], None),
    ],
)
def test_preset_to_run_is_the_usual_one_or_that_of_data(
    tmp_path: Path, sources: list[str], presets: dict[str, list[str]], usual: list[str], found: str | None
) -> None:
    lay(tmp_path, *sources, **presets)
    console = Console(width=200, record=True, file=io.StringIO())
    files = [Path(f"configs/{name}.yaml") for name in usual]
    assert preset_to_run(None, tmp_path, console, files) == (Path(found) if found else None)
    assert preset_to_run(Path("x.yaml"), tmp_path, console, files) == Path("x.yaml")


@pytest.mark.parametrize(
    "command", [["run"], ["run", "--dry-run"], ["ingest"], ["up", "--host", "300.1.1.1"]]
)
@pytest.mark.parametrize(
    ("presets", "says"),
    [
        ({"demo": ["film"]}, "and no preset in configs/ lists them; name the preset with --config"),
        ({"demo": ["film"], "press": ["qa"]}, "preset configs/press.yaml, chosen because"),
        ({"demo": ["film"], "one": ["qa"], "two": ["qa"]}, "several presets list them"),
    ],
)
def test_command_without_config_never_replaces_data_with_the_demos(
    command: list[str], presets: dict[str, list[str]], says: str, tmp_path: Path
) -> None:
    lay(tmp_path, "qa", **presets)
    before = (tmp_path / "data.dvc").read_bytes()
    shutil.copy(REPOSITORY / "prefect.yaml", tmp_path)
    # The only source is missing, and the address is none: no command gets further than the choice.
    (tmp_path / "a").symlink_to("missing")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *command],
        cwd=tmp_path, env={**checkout_environment(REPOSITORY), "COLUMNS": "200"}, capture_output=True,
        text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 2 and says in " ".join((done.stdout + done.stderr).split())
    assert "film" not in done.stdout + done.stderr
    assert (tmp_path / "data.dvc").read_bytes() == before and not (tmp_path / "data").exists()
