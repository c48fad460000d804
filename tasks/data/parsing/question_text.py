"""Word the questions about a key whose meaning only the preset can say."""

from __future__ import annotations

from tasks.data.parsing.key_text import shown_key, yaml_key
from tasks.data.parsing.proposed_meanings import CORRECTION, LITERAL, MASK, OTHER_CHOICE, UNKNOWN


def describe_unclear_side(path: str, where: str, sample: str) -> str:
    """Return the question about a choice that is the side of one answer, and the model of the other."""
    return (
        f"{where}: {shown_key(path)} is {sample}, which may be the side of an answer, or the name of the "
        "model that wrote the other one. If it is the side, set that in the source's fields, as in fields: "
        f"{{{yaml_key(path)}: {{A: a, B: b}}}}; if it is the name, write a or b in its place"
    )


def describe_choice(path: str, where: str, sample: str, meaning: str) -> str:
    """Return the question about a choice whose values name no answer."""
    what = f"{where}: {shown_key(path)} is {sample}, which does not say which answer is better; "
    if meaning == UNKNOWN:
        return what + "it has too many different values to map; write a, b or tie in their place"
    fields = f"fields: {{{yaml_key(path)}: {meaning}}}"
    return f"{what}map each value to a, b, tie or ignore in the source's fields, as in {fields}"


def format_example(looks: str) -> str:
    """Return the other meanings that are right for a key, in words that follow the proposal."""
    if looks == LITERAL:
        return " if it is meant literally; or write only the text to the file"
    if looks == CORRECTION:
        return ", which learns it in place of the answer; or ignore, which learns the answer as it is"
    if looks == OTHER_CHOICE:
        return (
            ", which skips it; or write a row for each choice, with the person under annotator or the "
            "question under aspect"
        )
    if looks == MASK:
        return ", or weight, mask, or ignore, which skips it"
    return (
        ", or review, verdict, penalty (lower is better), deleted, a mapping such as {good: 1, bad: -1}, or "
        "ignore, which skips it"
    )
