"""Read Label Studio's labelling configuration: which control is about which of a task's keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from model.errors import UserError

# The kinds of controls that are read, and the key of a result's value for each.
KINDS = {
    "pairwise": "selected", "rating": "rating", "number": "number", "ranker": "ranker", "choices": "choices",
    "textarea": "text",
}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """A control: its kind, the keys of the task's data that it is about, in order, and its options.

    `shown` has the key that the tag with a name shows.
    """

    kind: str
    targets: tuple[str, ...]
    options: tuple[str, ...]
    shown: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Labelling:
    """The controls by name, and the keys of the task's data that were shown, in order."""

    controls: dict[str, Control]
    shown: tuple[str, ...]


def read_labelling(text: str, origin: str) -> Labelling:
    """Return a configuration from its XML. Raise UserError with the line for invalid XML or a DTD.

    Without a DTD there are no entities, so nothing can expand or be fetched.
    """
    controls: dict[str, tuple[str, list[str], list[str]]] = {}
    shown: dict[str, str] = {}
    keys: dict[str, None] = {}
    within: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        name, kind = attributes.get("name", ""), tag.lower()
        if name and "toName" in attributes:
            targets = [target.strip() for target in attributes["toName"].split(",")]
            controls[name] = (kind, targets, [])
        elif attributes.get("value", "").startswith("$"):
            key = attributes["value"][1:]
            keys[key] = None
            if name:
                shown[name] = key
        within.append(name if name in controls else "")
        # A choice may be nested in views and groups within its control.
        parent = next((name for name in reversed(within) if name), "")
        # An export has a choice's alias if there is one.
        option = attributes.get("alias") or attributes.get("value")
        if kind == "choice" and parent and option:
            controls[parent][2].append(option)

    def end(tag: str) -> None:
        within.pop()

    def declared(*parts: object) -> None:
        raise UserError(f"{origin}: a DTD is not supported; remove it from the labelling configuration")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(text.strip().encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise UserError(
            f"{origin}, line {error.lineno}: broken XML ({expat.errors.messages[error.code]})"
        ) from error
    return Labelling(
        {
            name: Control(kind, tuple(shown[t] for t in targets if t in shown), tuple(options), shown)
            for name, (kind, targets, options) in controls.items() if kind in KINDS
        },
        tuple(keys),
    )  # fmt: skip
