"""A hint that personal data is in the rows where nobody asked to look for it."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.common.counts import counted
from tasks.data.records import TYPES, list_shards
from tasks.validation.expectations import column_texts, personal_columns
from tasks.validation.pii import has_email

# Bytes of each kind that are looked at. Rows are in the order of digests, so the first are a fair sample.
_SAMPLE = 1 << 20


def describe_unsought_pii(rows: Path) -> str:
    """Return a sentence if texts in a sample of the rows have what looks like e-mail addresses; else empty.

    Args:
        rows: The folder with the shards of each kind.
    """
    looked = found = 0
    for kind in TYPES:
        for path in list_shards(rows / kind)[:1]:
            with path.open("rb") as file:
                for line in file.readlines(_SAMPLE):
                    looked += 1
                    found += b"@" in line and _learned_text_has_email(line, kind)
    if not found:
        return ""
    return (
        f"{found:,} of {counted(looked, 'rows')} looked at have what looks like an e-mail address. "
        "validate.pii is off, so personal data stays in; `mask` or `quarantine` takes it out"
    )


def _learned_text_has_email(line: bytes, kind: str) -> bool:
    # The columns that `validate.pii` reads. The name of an annotator is often an address, and is not learned.
    row = json.loads(line)
    texts = (text for column in personal_columns(kind) for text in column_texts(row.get(column)))
    return any(map(has_email, texts))
