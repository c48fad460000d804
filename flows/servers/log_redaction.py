"""Prefect's server's log without the addresses that it asked: that of a webhook is a secret."""

from __future__ import annotations

import logging
import re

from prefect.logging.formatters import PrefectFormatter

# How httpx's errors name an address; whose it is may be read.
_ASKED = re.compile(r"(for url '\w+://[^/'?]+)[^']*'")


class RedactingFormatter(PrefectFormatter):
    """Prefect's own lines, addresses cut behind the host."""

    def format(self, record: logging.LogRecord) -> str:
        """A line, and the traceback under it."""
        return _ASKED.sub(r"\1/…'", super().format(record))
