"""Writes tests/exports/smoke: a tiny language with feelings, by a grammar of our own and a seed.

`python tests/exports/make.py`; the files are committed, so the tests do not depend on it.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

FOLDER = Path(__file__).parent / "smoke"
SUBJECTS = (
    "the film", "this film", "the story", "this camera", "the actor", "a quiet scene", "the ending",
    "the music", "the battery", "the first half", "her voice", "the long road", "the second book",
    "that dinner", "our guide",
)  # fmt: skip
GOOD = ("wonderful", "warm and funny", "a great joy", "lovely", "excellent", "moving", "the best of the year")
BAD = ("terrible", "dull and cold", "a sad waste", "ugly", "awful", "boring", "the worst of the year")
PLAIN = ("long", "as expected", "about a family", "set in winter", "made in two parts")
ENDS = (
    "from start to end.", "and I would say so again.", "as anyone can see.", "for the whole evening.",
    "and my sister agrees.", "even on a second look.", "when you know the town.", "in every small detail.",
)  # fmt: skip
PLACES = (
    "the harbour",
    "the old mill",
    "the northern valley",
    "a small island",
    "the market square",
    "the station",
)
THINGS = ("grain", "letters", "boats", "clocks", "maps", "bread", "songs", "lamps", "stones", "apples")
PEOPLE = (
    "the miller",
    "a teacher",
    "two brothers",
    "the captain",
    "an old painter",
    "the mayor",
    "a young nurse",
)
DEEDS = (
    "carried",
    "sold",
    "mended",
    "counted",
    "painted",
    "lost",
    "found",
    "gave away",
    "wrote about",
    "kept",
)


def passage(draw: random.Random) -> str:
    """Some sentences about people, things and places."""
    years = [str(draw.randint(1700, 1999)) for _ in range(8)]
    return " ".join(
        f"In {year} {draw.choice(PEOPLE)} {draw.choice(DEEDS)} {draw.choice(THINGS)} "
        f"near {draw.choice(PLACES)}, and {draw.choice(PEOPLE)} {draw.choice(DEEDS)} "
        f"{draw.randint(2, 90)} {draw.choice(THINGS)}."
        for year in years[: draw.randint(3, 8)]
    )


def review(draw: random.Random) -> tuple[str, str, float]:
    """First words, the rest, and how good the subject is said to be, from -3 to 3."""
    words, mood = draw.choice(((GOOD, 3.0), (BAD, -3.0), (PLAIN, 0.0)))
    return draw.choice(SUBJECTS), f" is {draw.choice(words)} {draw.choice(ENDS)}", mood


def rows() -> dict[str, list[dict[str, object]]]:
    """The rows of each file."""
    draw = random.Random(20)
    found: dict[str, list[dict[str, object]]] = {"text": [], "pairs": [], "ratings": [], "comparisons": []}
    found["text"] = [{"text": passage(draw)} for _ in range(500)]
    seen: set[str] = set()
    while len(seen) < 700:
        subject, rest, mood = review(draw)
        if subject + rest in seen:
            continue
        seen.add(subject + rest)
        group = f"review {len(seen)}"
        prompt = f"Finish this review: {subject}"
        found["pairs"].append({"prompt": prompt, "completion": rest, "group": group})
        scores = [max(-4, min(4, round(mood + draw.gauss(0, 0.8)))) for _ in range(5)]
        people = [f"person-{i + 1}" for i in range(5)]
        found["ratings"].append(
            {"prompt": prompt, "completion": rest, "scores": scores, "annotators": people, "aspect": "tone",
             "group": group}
        )  # fmt: skip
    for number in range(300):
        who, thing, place = draw.choice(PEOPLE), draw.choice(THINGS), draw.choice(PLACES)
        prompt = f"What did {who} keep near {place}, in case {number}?"
        right, wrong = f" {who.capitalize()} kept {thing}.", f" {draw.choice(THINGS)} {draw.choice(THINGS)}?"
        first = draw.random() < 0.5
        found["comparisons"].append(
            {"prompt": prompt, "a": right if first else wrong, "b": wrong if first else right,
             "choice": "a" if first else "b", "aspect": "helpfulness",
             "annotator": f"person-{number % 3 + 1}"}
        )  # fmt: skip
        found["pairs"].append({"prompt": prompt, "completion": right})
    return found


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for kind, made in rows().items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        (FOLDER / f"{kind}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
