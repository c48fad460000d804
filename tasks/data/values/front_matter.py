"""Read the front matter of a Markdown file: keys about the document, as YAML or TOML."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

from model.errors import UserError

# YAML between lines of ---, or TOML between lines of +++. A first line of --- that is followed by anything
# but a key or a comment is a horizontal rule, and text follows.
_FRONT = re.compile(
    r"\A---[ \t]*\n(?=---|[\w\"'-]+[ \t]*:|#)((?:.*\n)*?)(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
    r"|\A\+\+\+[ \t]*\n((?:.*\n)*?)\+\+\+[ \t]*(?:\n|\Z)"
)
_LINE = re.compile(r"^([\w\"'-]+)[ \t]*[:=][ \t]*(.*?)[ \t]*$", re.MULTILINE)
LARGEST_FRONT = 65_536  # characters of front matter that are parsed; longer ones are read line by line
_DEEPEST = 8
# The place and the layout of a page in Hugo, Jekyll and Docusaurus: no mask and no removal.
_PAGE = frozenset((
    "weight", "nav_order", "order", "sidebar_position", "hide_title", "hide_table_of_contents", "hidetoc",
    "hidemeta", "hidesummary",
))  # fmt: skip


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return the keys of the front matter, and the text after it; the whole text if there is none.

    Values of YAML are texts, as in a table: `no` is a word and a date is not converted. Front matter that is
    not valid is read line by line, because a title with a colon must not hide the keys beside it.
    """
    found = _FRONT.match(text)
    if found is None:
        return {}, text
    yaml_text, toml_text = found.groups()
    held = (yaml_text if yaml_text is not None else toml_text) or ""
    values: Any = None
    if len(held) <= LARGEST_FRONT:
        try:
            values = tomllib.loads(held) if yaml_text is None else yaml.load(held, _TextLoader)
        except (yaml.YAMLError, ValueError, RecursionError, UserError):
            values = None
    if not isinstance(values, dict):
        values = {key.strip("\"'"): value.strip("\"'") for key, value in _LINE.findall(held)}
    kept = {str(key): _plain(value, 0) for key, value in values.items() if str(key).lower() not in _PAGE}
    return kept, text[found.end() :]


class _TextLoader(yaml.BaseLoader):
    """A loader whose scalars are all texts. It refuses aliases: a few can stand for millions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UserError("front matter with an alias")
        return super().compose_node(parent, index)


def _plain(value: Any, depth: int) -> Any:
    """Return a value as JSON has it: dates of TOML become texts."""
    if depth > _DEEPEST:
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, depth + 1) for inner in value]
    return value if isinstance(value, str | bool | int | float) or value is None else str(value)
