"""Read the settings of an Argilla data set: the types of its questions, and the fields that it shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from model.errors import UserError
from tasks.data.file_io.files import SourceFile


@dataclass(frozen=True)
class ArgillaSettings:
    """The questions of a data set with their types and options, and the fields that it shows."""

    questions: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    fields: tuple[str, ...] = ()


def is_settings(origin: str) -> bool:
    """Return whether a file has the name of Argilla's settings."""
    return origin.replace("\\", "/").rpartition("/")[2] == "settings.json"


def read_settings(file: SourceFile) -> ArgillaSettings:
    """Return the settings in a file. Raises UserError for a file without questions."""
    found = file.document()
    try:
        questions = {
            str(question["name"]): (
                str(question["settings"]["type"]),
                tuple(str(option["value"]) for option in question["settings"].get("options") or ()),
            )
            for question in found["questions"]
        }
        return ArgillaSettings(questions, tuple(str(shown["name"]) for shown in found.get("fields", ())))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file.origin}: not a settings file of Argilla; expected questions, each with name and settings"
        ) from error
