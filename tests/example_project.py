"""Make a small project of texts, pairs and ratings from a seed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

STORY = (
    "the a river mill stone grain flour water wheel turns slowly under old bridge while miller counts sacks"
)
WORDS = STORY.split()


def make_sentence(drawn: random.Random) -> str:
    """Return a sentence of six to fourteen words."""
    return " ".join(drawn.choice(WORDS) for _ in range(drawn.randint(6, 14))).capitalize() + "."


def write_jsonl(path: Path, *rows: dict[str, Any]) -> None:
    """Write the rows as JSON lines, and the folder of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_texts(folder: Path, drawn: random.Random, count: int = 60) -> None:
    """Write text files of four paragraphs each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        text = "\n\n".join(" ".join(make_sentence(drawn) for _ in range(5)) for _ in range(4))
        (folder / f"{number}.txt").write_text(text)


def write_project(root: Path) -> None:
    """Write `mine/` with all kinds of rows that a run needs: 60 texts, 200 pairs and 200 ratings."""
    drawn = random.Random(7)
    write_texts(root / "mine" / "texts", drawn)
    pairs = (
        {"prompt": f"What does the {drawn.choice(WORDS)} do {n}?", "completion": make_sentence(drawn)}
        for n in range(200)
    )
    write_jsonl(root / "mine" / "pairs.jsonl", *pairs)
    rated = [(n, make_sentence(drawn), drawn.randint(1, 5)) for n in range(200)]
    write_jsonl(
        root / "mine" / "labels" / "film.jsonl",
        *({"prompt": f"Say something {n}.", "completion": said, "score": score} for n, said, score in rated),
    )
