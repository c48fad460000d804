"""The sessions of the label page: signed cookies, and the token that each change must carry."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeTimedSerializer

from tasks.labelling.people import Person, find_person
from tasks.labelling.schema import LabelStore
from tasks.project.label_site import derive_site

# A session that is not used for so long has ended.
IDLE_SECONDS = 7 * 86_400
# A cookie older than this is replaced with the next answer, so that a session in use does not end.
_RENEW_SECONDS = 3600


@dataclass(frozen=True)
class LabelSession:
    """A person's session.

    Attributes:
        person: Who is signed in.
        name: A random text that names the session.
        token: The token that every change must carry, which pages of other origins cannot read.
        renew: Whether the cookie should be replaced by a new one.
    """

    person: Person
    name: str
    token: str
    renew: bool = False


class SessionSigner:
    """Makes and reads the cookies of one project's label page."""

    def __init__(self, store: LabelStore, key: str) -> None:
        self.store, self._key = store, key.encode()
        self._signer = URLSafeTimedSerializer(
            key, salt="label-session", signer_kwargs={"digest_method": hashlib.sha256}
        )
        # Not secret. It names the project, as browsers share cookies between the ports of a host.
        self.cookie = f"chatmill-label-{derive_site(key)}"

    def open_session(self, person: Person) -> tuple[str, LabelSession]:
        """Return the cookie of a new session, and the session."""
        name = secrets.token_urlsafe(16)
        return self.cookie_of(person, name), LabelSession(person, name, self._token(name))

    def cookie_of(self, person: Person, name: str) -> str:
        """Return a cookie, signed now."""
        return str(self._signer.dumps([person.name, person.session_epoch, name]))

    def read_cookie(self, cookie: str) -> LabelSession | None:
        """Return the session of a cookie; None if it is not ours, has expired, or was ended."""
        try:
            (who, epoch, name), signed = self._signer.loads(
                cookie, max_age=IDLE_SECONDS, return_timestamp=True
            )
        except (BadSignature, ValueError, TypeError):
            return None
        person = find_person(self.store, who)
        if person is None or not person.active or person.session_epoch != epoch:
            return None
        renew = time.time() - signed.timestamp() > _RENEW_SECONDS
        return LabelSession(person, name, self._token(name), renew)

    def is_token(self, session: LabelSession, token: str) -> bool:
        """Return whether a token is that of the session."""
        # In constant time, so that the answer's time tells nothing about the token.
        return hmac.compare_digest(session.token.encode(), token.encode("utf-8", "replace"))

    def _token(self, name: str) -> str:
        return self._sign_text(f"token\n{name}")

    def _sign_text(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()
