"""One-time login links for a browser, and the sessions that they open.

A link's secret part follows `#`, which a browser sends to no server, so no log has it. The page that it opens
exchanges it for a session: a user and password of its own that both servers accept for 30 days. The browser
never holds the real password.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.servers.credentials import Credentials
from tasks.project.private_folder import make_private_folder, read_or_create

LOGIN_PAGE = "/chatmill-login"
SESSION_USER = "chatmill-session"
LINK_SECONDS = 15 * 60.0
SESSION_SECONDS = 30 * 86400.0


@dataclass(frozen=True)
class LoginLinks:
    """The links and sessions of one project's servers.

    Attributes:
        folder: The private folder that holds the key of sessions and a file for each unused link.
        login: The login that a session stands for. A new password ends all sessions.
    """

    folder: Path
    login: Credentials

    def create_link(self, address: str) -> str:
        """Return a link that logs a browser in at the server at `address`, once."""
        return f"{address}{LOGIN_PAGE}#{self.create_code()}"

    def create_code(self) -> str:
        """Return the secret part of a new link."""
        links = self.folder / "links"
        make_private_folder(links)
        self._remove_expired(links)
        code = secrets.token_urlsafe(32)
        # Only the digest is stored, so that reading the folder gives no usable link.
        path = links / _text_digest(code)
        path.touch(mode=0o600)
        return code

    def redeem_code(self, code: str) -> Credentials | None:
        """Return a new session for a link's secret part; None if it was used, has expired or is unknown."""
        path = self.folder / "links" / _text_digest(code)
        try:
            made = path.stat().st_mtime
            # Removing the file is atomic: only one of several simultaneous requests succeeds.
            path.unlink()
        except OSError:
            return None
        age = time.time() - made
        # A file system's clock may differ from this machine's by some seconds.
        return self._open_session() if -60 <= age <= LINK_SECONDS else None

    def _open_session(self) -> Credentials:
        text = f"{time.time() + SESSION_SECONDS:.0f}.{secrets.token_urlsafe(16)}"
        return Credentials(SESSION_USER, f"{text}.{self._sign_text(text)}")

    def is_session(self, password: str) -> bool:
        """Return whether a password of SESSION_USER belongs to an open session."""
        text, _, signature = password.rpartition(".")
        expiry = text.partition(".")[0]
        # In constant time, so that the answer's time tells nothing about the signature.
        if not hmac.compare_digest(self._sign_text(text).encode(), signature.encode()):
            return False
        return time.time() < float(expiry)

    def _sign_text(self, text: str) -> str:
        key = read_or_create(self.folder / "session-key", lambda: secrets.token_hex(32))
        # The password's digest is signed too: a new password ends all sessions.
        signed = f"{text}\n{_text_digest(self.login.text)}"
        return hmac.new(key.encode(), signed.encode(), "sha256").hexdigest()

    def _remove_expired(self, links: Path) -> None:
        for path in links.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > LINK_SECONDS:
                    path.unlink()


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
