"""The preset that commands use where `--config` names none: the one that made data/."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from flows.common.terminal import Console
from flows.common.yaml_reader import read_yaml_file
from model.errors import UserError

DEMO = Path("configs/demo.yaml")


def current_preset(root: Path) -> Path:
    """Return the preset in configs/ whose sources are those of data.dvc; without data, the demo's.

    Raises:
        UserError: No preset has these sources, or several have them.
    """
    from tasks.dvc.pointer_file import read_pointer

    pointer = read_pointer(root)
    names = sorted((pointer or {}).get("meta", {}).get("names") or ())
    if not names:
        return DEMO
    fitting = [path for path in sorted((root / "configs").glob("*.yaml")) if _source_names(path) == names]
    found = [path.relative_to(root) for path in fitting]
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


def _source_names(path: Path) -> list[str]:
    """Return the sorted names of a preset's sources; an empty list for a file that is not a preset."""
    try:
        values = read_yaml_file(path)
        return sorted(str(source["name"]) for source in values["data"]["sources"])
    # A broken preset beside the right one must not stop commands that never name it.
    except (OSError, UserError, KeyError, TypeError):
        return []
