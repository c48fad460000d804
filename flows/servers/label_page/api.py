"""The requests that the label page's scripts make. Each change carries the session's token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from flows.servers.label_page.access import LabelAccess
from flows.servers.label_page.item_view import ScreenJudgement, item_view, review_view
from flows.servers.label_page.safe_text import safe_markdown
from tasks.labelling.batches import guide_text
from tasks.labelling.judgements import add_judgements
from tasks.labelling.people import LONGEST_PASSWORD, LONGEST_PERSON, Person, end_sessions, set_password
from tasks.labelling.queue import MOST_ITEMS, measure_progress, next_items, queued_item
from tasks.labelling.review import next_review

MOST_JUDGEMENTS = 20
_Item = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CodeBody(_Body):
    """The secret part of a one-time link."""

    code: str = Field(max_length=200)


class PasswordBody(_Body):
    """A name and a password."""

    name: str = Field(max_length=4 * LONGEST_PERSON)
    password: str = Field(max_length=4 * LONGEST_PASSWORD)


class NewPasswordBody(_Body):
    """A password that a person chooses."""

    password: str = Field(max_length=4 * LONGEST_PASSWORD)


class NextBody(_Body):
    """How many items the page needs and which it has; `since` begins the day whose progress it asks for."""

    count: int = Field(ge=0, le=MOST_ITEMS)
    without: list[_Item] = Field(default_factory=list, max_length=500)
    since: str = Field(default="", max_length=40)


class JudgementsBody(_Body):
    """Judgements of a person, the oldest first. The name is that of the person who gave them."""

    person: str = Field(max_length=4 * LONGEST_PERSON)
    judgements: list[ScreenJudgement] = Field(min_length=1, max_length=MOST_JUDGEMENTS)


class ReviewBody(_Body):
    """The item after which the next one to decide is wanted."""

    after: _Item = 0


def label_api(access: LabelAccess) -> APIRouter:
    """Return the routes of the page's requests."""
    router, store = APIRouter(), access.store

    @router.post("/api/sign-in/link")
    def sign_in_by_link(body: CodeBody, request: Request, response: Response) -> dict[str, Any]:
        session = access.start_session(request, response, access.sign_in_by_code(body.code))
        return access.describe_session(session)

    @router.post("/api/sign-in/password")
    def sign_in_by_password(body: PasswordBody, request: Request, response: Response) -> dict[str, Any]:
        person = access.sign_in_by_password(request, " ".join(body.name.split()), body.password)
        return access.describe_session(access.start_session(request, response, person))

    @router.post("/api/sign-out")
    def sign_out(request: Request, response: Response) -> dict[str, Any]:
        # On a computer that people share, a copy of the cookie must be worth nothing.
        end_sessions(store, access.require_session(request).person.name)
        response.delete_cookie(access.signer.cookie, httponly=True, samesite="strict")
        return {}

    @router.get("/api/session")
    def read_session(request: Request, response: Response) -> dict[str, Any]:
        session = access.find_session(request)
        if session is None:
            return {}
        access.renew_cookie(request, response, session)
        return access.describe_session(session)

    @router.post("/api/password")
    def change_password(body: NewPasswordBody, request: Request, response: Response) -> dict[str, Any]:
        session = access.require_session(request)
        # It ends all sessions of the person, so that this one begins anew.
        person = set_password(store, session.person.name, body.password)
        return access.describe_session(access.start_session(request, response, person))

    @router.post("/api/next")
    def give_next(body: NextBody, request: Request, response: Response) -> dict[str, Any]:
        session = access.require_session(request)
        access.renew_cookie(request, response, session)
        found = next_items(store, session.person, body.count, body.without) if body.count else []
        answer: dict[str, Any] = {"items": [item_view(item) for item in found]}
        if body.since:
            answer["progress"] = _progress(session.person, body.since)
        return answer

    def _progress(person: Person, since: str) -> dict[str, int]:
        try:
            start = datetime.fromisoformat(since).astimezone(UTC).isoformat(timespec="milliseconds")
        except (ValueError, OverflowError):
            raise HTTPException(422, "since is not a time in ISO 8601") from None
        found = measure_progress(store, person, start)
        return {
            "judged": found.judged, "skipped": found.skipped, "left": found.left, "today": found.today,
        }  # fmt: skip

    @router.get("/api/items/{number}")
    def give_item(number: _Item, request: Request) -> dict[str, Any]:
        session = access.require_session(request, change=False)
        found = queued_item(store, session.person, number)
        if found is None:
            raise HTTPException(404, f"there is no item {number}")
        return item_view(found)

    @router.post("/api/judgements")
    def store_judgements(body: JudgementsBody, request: Request) -> dict[str, Any]:
        session = access.require_session(request)
        if body.person != session.person.name:
            # Another person signed in on the same browser: theirs is another name.
            raise HTTPException(409, "these judgements are those of another person")
        found = [each.as_stored() for each in body.judgements]
        return {"stored": add_judgements(store, session.person, found)}

    @router.post("/api/review/next")
    def give_review(body: ReviewBody, request: Request, response: Response) -> dict[str, Any]:
        session = access.require_session(request, reviewer=True)
        access.renew_cookie(request, response, session)
        found = next_review(store, session.person, body.after)
        return {"item": review_view(found) if found else None}

    @router.get("/api/guides/{digest}")
    def give_guide(digest: str, request: Request) -> dict[str, Any]:
        access.require_session(request, change=False)
        text = guide_text(store, digest)
        if text is None:
            raise HTTPException(404, "there is no such guide")
        return {"html": safe_markdown(text)}

    return router
