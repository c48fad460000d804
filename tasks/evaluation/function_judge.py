"""A function of the team's own as a judge: `score(prompt, answer, history) -> number`, higher is better."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.errors import UserError

JudgeFunction = Callable[[str, str, list[dict[str, str]]], float]
# The copy of the function's file in the output of the stage `judge`.
COPY = "judge_function.py"
# Characters of an error's text, which may hold a whole answer.
_LONGEST_REASON = 300


def split_place(place: str) -> tuple[str, str]:
    """Return the file and the name of a function, from FILE.py:NAME."""
    path, _, name = place.rpartition(":")
    return path, name


def digest_function(place: str, root: Path) -> str:
    """Return the digest of a function's file and name. Raise UserError if the file is missing."""
    path, name = split_place(place)
    file = root / path
    if not file.is_file():
        raise UserError(f"evaluate.judge_function names the file {path}, which is missing")
    return hashlib.sha256(f"{name}\n".encode() + file.read_bytes()).hexdigest()


def copy_function(place: str, root: Path, out: Path) -> None:
    """Copy a function's file to a folder, from which `load_function` reads it, and check that it loads."""
    path, name = split_place(place)
    shutil.copyfile(root / path, out / COPY)
    load_function(out, name, path)


def load_function(folder: Path, name: str, shown: str = COPY) -> JudgeFunction:
    """Return the function in a folder's copy.

    Args:
        folder: The folder with the copy.
        name: The function's name.
        shown: The file's name in messages.

    Raises:
        UserError: The file has an error, or has no such function.
    """
    spec = importlib.util.spec_from_file_location("chatmill_judge_function", folder / COPY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    # Any error of the file is the user's to see, with its line. sys.exit() would end the run without a word.
    except (Exception, SystemExit) as error:
        raise UserError(f"{shown} cannot be loaded: {_place_of(error, shown)}") from error
    found = getattr(module, name, None)
    if not callable(found):
        raise UserError(f"{shown} has no function {name}; evaluate.judge_function names it")
    return found  # type: ignore[no-any-return]


def score_rows(function: JudgeFunction, rows: Sequence[Mapping[str, Any]], shown: str) -> list[float]:
    """Return the function's score of each row with `prompt`, `completion` and perhaps `history`.

    Raises:
        UserError: The function fails, or returns something else than a finite number.
    """
    scores = []
    for row in rows:
        history = [dict(turn) for turn in row.get("history") or []]
        try:
            score = float(function(row["prompt"], row["completion"], history))
        except (Exception, SystemExit) as error:
            raise UserError(
                f"the judge function of {shown} failed on the answer {_brief(row['completion'])}: "
                f"{_place_of(error, shown)}"
            ) from error
        if not math.isfinite(score):
            raise UserError(
                f"the judge function of {shown} returned {score} for the answer {_brief(row['completion'])}; "
                "expected a finite number"
            )
        scores.append(score)
    return scores


def _place_of(error: BaseException, shown: str) -> str:
    """Return an error with the line of the judge's file in which it happened."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(COPY)
    ]
    line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
    where = f"{shown}, line {line}: " if line else ""
    text = str(error.msg if isinstance(error, SyntaxError) else error)
    shown_text = text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
    return f"{where}{type(error).__name__}: {shown_text}"


def _brief(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:60]}…")
