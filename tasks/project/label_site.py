"""The name of a project's label page, under which browsers keep what they could not send.

It is not secret. The page's store has it, so that a backup does. Pages of earlier versions had the one that
`derive_site` makes of the session key, which a restoration removes.
"""

from __future__ import annotations

import hmac
import re
from contextlib import suppress
from pathlib import Path

from tasks.project.paths import LABEL_SESSION_KEY, LABEL_SITE
from tasks.project.private_folder import read_or_create

# It is a part of names in the browser.
_SITE = re.compile("[0-9a-f]{16}")


def derive_site(key: str) -> str:
    """Return the name of the page that a session key made in earlier versions."""
    return hmac.new(key.encode(), b"site", "sha256").hexdigest()[:16]


def keep_site(root: Path) -> None:
    """Keep the name that a session key makes, before the key is removed."""
    with suppress(OSError, UnicodeDecodeError):
        key = (root / LABEL_SESSION_KEY).read_text(encoding="utf-8").strip()
        if key:
            read_or_create(root / LABEL_SITE, lambda: derive_site(key))


def first_site(secrets: Path, key: str) -> str:
    """Return the name for a page whose store has none yet: the one that browsers know, if there is one."""
    with suppress(OSError, UnicodeDecodeError):
        kept = (secrets / LABEL_SITE.name).read_text(encoding="utf-8").strip()
        if _SITE.fullmatch(kept):
            return kept
    return derive_site(key)
