"""Write counts with the right number of their noun, as in `1 pair` and `2 pairs`."""

from __future__ import annotations

_SINGULAR = {
    "people": "person", "replies": "reply", "choices": "choice", "responses": "response", "traces": "trace",
    "files": "file", "sources": "source", "stages": "stage",
    **{
        f"{noun}s": noun
        for noun in (
            "answer", "annotation", "annotator", "assessment", "choice", "comparison", "conversation",
            "definition", "document", "group", "item", "judgement", "key", "label", "metric", "model", "pair",
            "prompt", "rating", "record", "row", "rule", "run", "task", "text", "tie", "token", "turn",
            "verdict", "version", "vote",
        )
    },
}  # fmt: skip
_FIRST = 3  # words among which the counted noun is, as in `earlier answers of conversations`


def counted(count: float, what: str) -> str:
    """Return a count and its noun: `counted(1, "empty rows")` is "1 empty row".

    Args:
        count: The count.
        what: A phrase with the noun in the plural among its first words.
    """
    # Kinds of rows are named as their folders are: `text` stands beside `pairs`.
    words = ("texts" if what == "text" else what).split(" ")
    place = next((n for n, word in enumerate(words[:_FIRST]) if word.rstrip(",") in _SINGULAR), None)
    if count == 1 and place is not None:
        bare = words[place].rstrip(",")
        words[place] = _SINGULAR[bare] + words[place][len(bare) :]
    return f"{count:,} {' '.join(words)}"
