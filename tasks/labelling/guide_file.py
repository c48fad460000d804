"""A batch's guide from a file."""

from __future__ import annotations

from pathlib import Path

from model.errors import UserError, error_reason
from tasks.labelling.batches import LONGEST_GUIDE

# A character has at most four bytes in UTF-8.
_MOST_BYTES = 4 * LONGEST_GUIDE


def read_guide_file(path: Path) -> str:
    """Return the text of a guide. Raise UserError if it cannot be read, or is too long to be one."""
    try:
        with path.open("rb") as file:
            # One byte more shows that there is more, also of a device that never ends.
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UserError(
                f"the guide {path} has more than {_MOST_BYTES:,} bytes; expected a text of at most "
                f"{LONGEST_GUIDE:,} characters"
            )
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error_reason(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"the guide {path} cannot be read: {reason}; expected a Markdown file") from None
