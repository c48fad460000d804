"""The Jinja environment of chat templates: that of transformers, with a fixed day and in a sandbox."""

from __future__ import annotations

import datetime
import json
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

# Some templates state the day. A wall clock would give other tokens tomorrow; Llama 3.1 defaults to this day.
_DAY = datetime.datetime(2024, 7, 26)


def template_environment() -> ImmutableSandboxedEnvironment:
    """Return an environment with the tags, filters and functions that chat templates may use."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationTag]
    )
    environment.filters["tojson"] = _format_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": _format_day,
        "namespace": _SafeNamespace,
    }
    return environment


class _GenerationTag(Extension):
    """The tag `generation`, which marks an answer's text; here the text alone counts."""

    tags = {"generation"}  # noqa: RUF012 - the attribute of the base class

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the nodes between the tag and `endgeneration`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _SafeNamespace(Namespace):
    """A namespace without names that begin with an underscore, which lead out of the sandbox."""

    def __init__(*args: Any, **values: Any) -> None:
        # `self` is positional only, as a template may use the name.
        namespace, *rest = args
        values = dict(*rest, **values)
        for name in values:
            _refuse_underscore(name)
        Namespace.__init__(namespace, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        super().__setitem__(name, value)


def _refuse_underscore(name: Any) -> None:
    if str(name).startswith("_"):
        raise SecurityError(f"a namespace cannot have the name {name!r}, which begins with an underscore")


def _format_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    # Jinja's own filter escapes characters of HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _format_day(pattern: str) -> str:
    return _DAY.strftime(pattern)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
