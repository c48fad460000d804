"""The rows that a person's own answers on the label page make."""

from __future__ import annotations

from pathlib import Path

from tasks.data.records import pair_row
from tasks.labelling.page_rows import own_answers
from tasks.labelling.schema import read_label_store


def own_answer_ids(root: Path, person: str) -> set[str]:
    """Return the ids of the rows that a person's own answers make or made; without a label page, none."""
    store = read_label_store(root)
    if store is None:
        return set()
    with store:
        answers = own_answers(store, person)
    return {pair_row(row["prompt"], row["completion"], "", "", (), row["history"]).id for row in answers}
