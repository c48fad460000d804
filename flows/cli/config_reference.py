"""Generate the tables of docs/configuration.md from the docstrings below the fields of a preset.

`python -m flows.cli.config_reference` rewrites the tables in the page; `make reference` does the same. A
table stands between two comments of HTML, of which the first names it: `<!-- keys: rlhf -->`. The meanings of
a source's `fields` get a table in docs/verdicts.md.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from flows.config import Preset
from model.parameter_bounds import NO_KEY
from model.training.loop_config import LoopParameters
from model.training.lora_config import AdaptableParameters
from tasks.data.values.field_meanings import FIELD_MEANINGS

PAGE = Path("docs/configuration.md")
# The tables of the run's own keys, and of the keys that every training has.
RUN, TRAINING = "run", "training"
# The meanings of a source's `fields` are listed where the page on verdicts explains them.
MEANINGS_PAGE = Path("docs/verdicts.md")
_MEANINGS = re.compile(r"(<!-- meanings of fields -->\n).*?(<!-- end of meanings -->)", re.DOTALL)
_TABLE = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


@dataclass(frozen=True)
class KeyEntry:
    """One row of a table: the key below its section, its default as YAML (empty: none), and its meaning."""

    key: str
    default: str
    meaning: str


def update_page(page: str) -> str:
    """Return the page with every table regenerated. Raise KeyError if a table names no section."""
    tables = key_tables()
    return _TABLE.sub(lambda found: found[1] + _markdown_table(tables[found[2]]) + found[3], page)


def update_meanings(page: str) -> str:
    """Return the page with the table of the meanings that `fields` takes."""
    rows = [f"| `{meaning}` | {does} |" for meaning, does in FIELD_MEANINGS.items()]
    table = "\n".join(["| meaning | what it does |", "|---|---|", *rows, ""])
    return _MEANINGS.sub(lambda found: found[1] + table + found[2], page)


def key_tables() -> dict[str, list[KeyEntry]]:
    """Return the entries of every table by its name: the section's, or RUN or TRAINING."""
    tables = {RUN: [], TRAINING: list(_entries(LoopParameters, ""))}
    # The adapters of single trainings have the keys of the section `lora`.
    shared = {entry.key for entry in _entries(AdaptableParameters, "")}
    for name, kind in _field_types(Preset).items():
        if not _is_section(kind):
            tables[RUN] += _field_entries(Preset, name, kind, "")
            continue
        found = list(_entries(kind, ""))
        if issubclass(kind, LoopParameters):
            found = [entry for entry in found if entry.key not in shared]
        tables[Preset.model_fields[name].alias or name] = found
    return tables


def field_docstrings(kind: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class and of its bases, each on one line."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not (is_dataclass(each) or (issubclass(each, BaseModel) and each is not BaseModel)):
            continue
        module = ast.parse(inspect.getsource(sys.modules[each.__module__]))
        body = next(
            node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == each.__name__
        )
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                name, said = ast.unparse(field.target), ast.literal_eval(text.value)
                found[name] = " ".join(said.split())
    return found


def _entries(kind: type, prefix: str) -> Iterator[KeyEntry]:
    for name, own in _field_types(kind).items():
        yield from _field_entries(kind, name, own, prefix)


def _field_entries(kind: type, name: str, own: Any, prefix: str) -> Iterator[KeyEntry]:
    """Yield the entry of a field, and those of the section that it is or that its items are."""
    if not _is_section(own):
        yield KeyEntry(f"{prefix}{name}", _default_text(kind, name), field_docstrings(kind).get(name, ""))
    for part in (own, *get_args(own)):
        if _is_section(part):
            yield from _entries(part, f"{prefix}{name}.")


def _field_types(kind: Any) -> dict[str, Any]:
    # The annotations are postponed, so they are strings.
    hints = get_type_hints(kind)
    names = kind.model_fields if issubclass(kind, BaseModel) else _key_fields(kind)
    return {name: hints[name] for name in names}


def _key_fields(kind: Any) -> list[str]:
    """Return the fields of a dataclass that are keys of a preset."""
    return [each.name for each in fields(kind) if not each.metadata.get(NO_KEY)]


def _is_section(kind: Any) -> bool:
    return (
        get_origin(kind) is None
        and isinstance(kind, type)
        and (is_dataclass(kind) or issubclass(kind, BaseModel))
    )


def _default_text(kind: Any, name: str) -> str:
    """Return a field's default as YAML has it. Empty values have no text; a required key says so."""
    if issubclass(kind, BaseModel):
        value = kind.model_fields[name].get_default(call_default_factory=True)
    else:
        field = next(each for each in fields(kind) if each.name == name)
        value = field.default if field.default_factory is MISSING else field.default_factory()
    if value is MISSING or value is PydanticUndefined:
        return "required"
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, str):
        return f"`{value}`" if " " not in value else value
    return f"`{json.dumps(value)}`"


def _markdown_table(entries: list[KeyEntry]) -> str:
    rows = [f"| `{each.key}` | {each.default} | {each.meaning.replace('|', '&#124;')} |" for each in entries]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows, ""])


def main() -> None:
    """Rewrite the tables of the pages in the current folder."""
    for path, update in ((PAGE, update_page), (MEANINGS_PAGE, update_meanings)):
        before = path.read_text(encoding="utf-8")
        after = update(before)
        path.write_text(after, encoding="utf-8")
        print(f"{path}: {'the tables were out of date' if after != before else 'the tables are current'}")


if __name__ == "__main__":
    main()
