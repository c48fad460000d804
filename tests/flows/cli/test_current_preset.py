"""Commands without --config use the preset whose sources made data/."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from flows.cli.current_preset import DEMO, choose_preset, current_preset
from model.errors import UserError
from tasks.reproduction.known_code import _own_remotes


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
    ("presets", "says"),
    [
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


@pytest.mark.timeout(30)
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
