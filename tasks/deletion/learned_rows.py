"""The check that a run's model learned from no row that was withdrawn while it was computed."""

from __future__ import annotations

from pathlib import Path

from model.errors import UserError
from tasks.common.counts import counted
from tasks.data.splits import SPLITS
from tasks.data.withdrawals import WITHDRAWN, count_withdrawn, read_withdrawn


def refuse_withdrawn_rows(root: Path, split: Path) -> None:
    """Raise UserError if the rows that a run's models learned from are withdrawn by now.

    Ingestion leaves withdrawn rows out, so such rows were withdrawn after it.

    Args:
        root: The project's folder.
        split: The output of the stage `split`.
    """
    withdrawn = read_withdrawn(root)
    if not withdrawn:
        return
    found = sum(count_withdrawn(split / part, withdrawn).total() for part in SPLITS)
    if found:
        raise UserError(
            f"{WITHDRAWN} withdraws {counted(found, 'rows')} that this run has used, since it read the data; "
            "its model is not registered. Repeat the run: it computes again without them what used them"
        )
