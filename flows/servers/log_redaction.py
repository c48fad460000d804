"""Redaction of addresses in the log of Prefect's server: a webhook's address is a secret."""

from __future__ import annotations

import logging
import re

from prefect.logging.formatters import PrefectFormatter

# The form of an address in httpx's errors. The host may be shown, the rest may not.
_ASKED = re.compile(r"(for url '\w+://[^/'?]+)[^']*'")


class RedactingFormatter(PrefectFormatter):
    """Prefect's formatter with addresses cut after the host."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line and traceback, redacted."""
        return _ASKED.sub(r"\1/…'", super().format(record))
