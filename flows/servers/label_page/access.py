"""Who may do what on the label page: sessions, roles and the token of changes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from starlette.responses import Response

from flows.servers.label_page.login_attempts import LoginAttempts
from flows.servers.label_page.sessions import IDLE_SECONDS, LabelSession, SessionSigner
from tasks.labelling.people import Person, check_password, redeem_login_code
from tasks.labelling.schema import LabelStore

# A check of a password takes 64 MB and a tenth of a second; many at once would take the machine's memory.
_CHECKS_AT_ONCE = 2
TOKEN_HEADER = "x-chatmill-token"


@dataclass(frozen=True)
class PageSite:
    """The names under which browsers keep what they could not send: the present one, and an earlier one."""

    name: str
    former: str


class LabelAccess:
    """Checks the requests of one project's label page."""

    def __init__(self, store: LabelStore, signer: SessionSigner, site: PageSite) -> None:
        self.store, self.signer, self.site = store, signer, site
        self.attempts = LoginAttempts()
        self._checks = threading.BoundedSemaphore(_CHECKS_AT_ONCE)

    def find_session(self, request: Request) -> LabelSession | None:
        """Return the session of a request; None if nobody is signed in."""
        cookie = request.cookies.get(self.signer.cookie)
        return self.signer.read_cookie(cookie) if cookie else None

    def require_session(self, request: Request, change: bool = True, reviewer: bool = False) -> LabelSession:
        """Return the session of a request.

        Args:
            request: The request.
            change: Whether it changes something, so that it must carry the session's token.
            reviewer: Whether only reviewers may ask.

        Raises:
            HTTPException: Nobody is signed in, the token is missing, or the person may not do this.
        """
        session = self.find_session(request)
        if session is None:
            raise HTTPException(401, "your session has ended; sign in again")
        if change and not self.signer.is_token(session, request.headers.get(TOKEN_HEADER, "")):
            raise HTTPException(403, "the request does not carry the session's token; reload the page")
        if reviewer and not session.person.is_reviewer:
            raise HTTPException(403, "only reviewers see this")
        return session

    def sign_in_by_code(self, code: str) -> Person:
        """Return the person whom a one-time link signs in. Raise HTTPException if it is not valid."""
        person = redeem_login_code(self.store, code)
        if person is None:
            raise HTTPException(403, "this link was used already, or it is too old; ask for a new one")
        return person

    def sign_in_by_password(self, request: Request, name: str, password: str) -> Person:
        """Return the person with a name and password.

        Raises:
            HTTPException: There is none, or one must wait before the next attempt.
        """
        address = request.client.host if request.client else ""
        if wait := self.attempts.begin(name, address):
            seconds = int(wait) + 1
            raise HTTPException(
                429, f"too many attempts; try again in {seconds} s", {"Retry-After": str(seconds)}
            )
        with self._checks:
            person = check_password(self.store, name, password)
        if person is None:
            raise HTTPException(403, "the name or the password is wrong")
        self.attempts.succeed(name, address)
        return person

    def start_session(self, request: Request, response: Response, person: Person) -> LabelSession:
        """Open a session of a person, and give it to the browser with the answer."""
        cookie, session = self.signer.open_session(person)
        self.set_cookie(request, response, cookie)
        return session

    def renew_cookie(self, request: Request, response: Response, session: LabelSession) -> None:
        """Sign the cookie anew if the session's was signed long ago."""
        if session.renew:
            self.set_cookie(request, response, self.signer.cookie_of(session.person, session.name))

    def set_cookie(self, request: Request, response: Response, cookie: str) -> None:
        """Give the browser a session's cookie."""
        # Behind a TLS proxy the server itself sees plain HTTP; the page's origin tells what the browser uses.
        secure = request.headers.get("origin", "").startswith("https://")
        response.set_cookie(
            self.signer.cookie, cookie, max_age=IDLE_SECONDS, secure=secure, httponly=True, samesite="strict"
        )

    def describe_session(self, session: LabelSession) -> dict[str, Any]:
        """Return what the page needs to know about a session."""
        person = session.person
        return {
            "person": person.name, "reviewer": person.is_reviewer, "has_password": person.has_password,
            "token": session.token,
        }  # fmt: skip
