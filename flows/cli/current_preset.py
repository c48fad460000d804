"""The options of commands that use a preset, and the one used where `--config` names none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.common.terminal import Console
from flows.common.yaml_reader import read_yaml_file
from model.errors import UserError

DEMO = Path("configs/demo.yaml")
PresetOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The preset: a YAML file. Default: the demo's, or the one that made data/ if it was another.",
    ),
]
ChangesOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override a preset key, as in rlhf.steps=60. Repeatable."),
]


def current_preset(root: Path) -> Path:
    """Return the preset in configs/ whose sources are those of data.dvc; without data, the demo's.

    If there is none, it is the preset that has these sources and others: a source, as the label page, was
    added to it since data/ was made.

    Raises:
        UserError: No preset has these sources, or several have them.
    """
    names = _names_in_data(root)
    if not names:
        return DEMO
    found = _presets_of(root, names) or _presets_beyond(root, names)
    # Copies of the demo's preset with the same sources must not make the demo ambiguous.
    if len(found) == 1 or DEMO in found:
        return DEMO if DEMO in found else found[0]
    said = (
        f"several presets list them: {', '.join(map(str, found))}"
        if found
        else "no preset in configs/ lists them"
    )
    raise UserError(
        f"data/ was made of the sources {', '.join(names[:5])}{', …' if len(names) > 5 else ''}, and {said}; "
        "name the preset with --config"
    )


def choose_preset(config: Path | None, root: Path, console: Console) -> Path:
    """Return `config`, or the current preset if it is None. Print its name unless it is the demo's."""
    if config is not None:
        return config
    found = current_preset(root)
    if found != DEMO:
        console.print(
            f"[dim]preset {escape(str(found))}, chosen because data/ was made from its sources; "
            "--config selects another[/dim]",
            soft_wrap=True,
        )
    return found


def preset_to_run(
    config: Path | None, root: Path, console: Console, usual: Sequence[Path] = (DEMO,)
) -> Path | None:
    """Return the preset to run: `config`, or None if a usual one may run, or else that of data/.

    A usual preset may run if data/ was not made yet, or of a source that it has too: a preset keeps its data
    when sources are added to it. Another one would replace data/ with other sources that nobody named. So
    would a usual one if another preset has exactly the sources of data/.

    Args:
        config: The preset that the user named.
        root: The project's folder.
        console: Gets a note that names the preset of data/.
        usual: The presets that run if none is named.

    Raises:
        UserError: No preset has the sources of data/, or several have them.
    """
    if config is not None:
        return config
    names = _names_in_data(root)
    own = [_source_names(root / path) for path in usual]
    if not names or names in own:
        return None
    if any({*names} & {*each} for each in own) and not _presets_of(root, names):
        return None
    return choose_preset(None, root, console)


def _presets_of(root: Path, names: list[str]) -> list[Path]:
    """Return the presets in configs/ with exactly these sources, by name."""
    fitting = [path for path in sorted((root / "configs").glob("*.yaml")) if _source_names(path) == names]
    return [path.relative_to(root) for path in fitting]


def _presets_beyond(root: Path, names: list[str]) -> list[Path]:
    """Return the presets in configs/ with these sources and others, by name."""
    paths = sorted((root / "configs").glob("*.yaml"))
    return [path.relative_to(root) for path in paths if {*names} < {*_source_names(path)}]


def _names_in_data(root: Path) -> list[str]:
    """Return the sorted names of the sources that data/ was made of."""
    from tasks.dvc.pointer_file import read_pointer

    names = (read_pointer(root) or {}).get("meta", {}).get("names")
    return sorted(map(str, names)) if isinstance(names, list) else []


def _source_names(path: Path) -> list[str]:
    """Return the sorted names of a preset's sources; an empty list for a file that is not a preset."""
    try:
        values = read_yaml_file(path)
        return sorted(str(source["name"]) for source in values["data"]["sources"])
    # A broken preset beside the right one must not stop commands that never name it.
    except (OSError, UserError, KeyError, TypeError):
        return []
