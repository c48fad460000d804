"""Checks of DVC's own settings: .dvc/config, .dvc/config.local, the user's, and .dvcignore."""

from __future__ import annotations

from pathlib import Path

from model.errors import UserError

IGNORED = ".dvcignore"
# The levels of settings that are not in the project.
_OUTER = ("system", "global")


def explain_config(root: Path, error: Exception) -> str:
    """Return what is wrong with DVC's configuration: the file, the reason, and what to do.

    Args:
        root: The project's folder.
        error: DVC's error, which does not name the file.
    """
    from dvc.config import Config, ConfigError

    places = {str(Path(Config.get_dir(level)) / Config.CONFIG): "fix or remove it" for level in _OUTER}
    places[f".dvc/{Config.CONFIG}"] = f"fix it, or restore it with `git checkout .dvc/{Config.CONFIG}`"
    places[f".dvc/{Config.CONFIG_LOCAL}"] = "fix or remove it"
    for name, advice in places.items():
        try:
            Config.validate(Config.load_file(str(root.absolute() / name)))
        except ConfigError as fault:
            return f"{name}, which has settings of DVC, is not valid ({_first_line(fault)}); {advice}"
        except OSError:
            continue
    return (
        f"DVC's settings are not right ({_first_line(error)}); `dvc config --list --show-origin` lists them"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].removeprefix("config file error: ").rstrip(".")


def read_ignored(root: Path) -> str:
    """Return the text of .dvcignore; empty if there is none. Raises UserError if it is not UTF-8."""
    path = root / IGNORED
    if not path.exists():
        return ""
    content = path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{IGNORED}, line {line}: not UTF-8, which DVC needs; save the file as UTF-8 and run again"
        ) from error
