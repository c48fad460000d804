"""The label page's HTML pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flows.servers.label_page.access import LabelAccess
from tasks.labelling.people import SHORTEST_PASSWORD
from tasks.labelling.review import count_reviews
from tasks.serving.label_overview import measure_labels

FOLDER = Path(__file__).parent
SIGN_IN = "/sign-in"
_TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined
)


def label_pages(access: LabelAccess) -> APIRouter:
    """Return the routes of the pages."""
    router, store = APIRouter(), access.store

    @router.get("/")
    def show_compare(request: Request) -> Response:
        return _page(request, "compare", "Compare")

    @router.get("/review")
    def show_review(request: Request) -> Response:
        return _page(request, "review", "Review", reviewer=True)

    @router.get("/overview")
    def show_overview(request: Request) -> Response:
        return _page(
            request, "overview", "Overview", reviewer=True, found=lambda: {"overview": measure_labels(store)}
        )

    @router.get("/account")
    def show_account(request: Request) -> Response:
        return _page(request, "account", "Account", found=lambda: {"shortest": SHORTEST_PASSWORD})

    @router.get(SIGN_IN)
    def show_sign_in() -> Response:
        # Everybody may see it. Its script reads the secret part of a link, which the browser keeps to itself.
        return HTMLResponse(
            _TEMPLATES.get_template("sign_in.html").render(title="Sign in"),
            headers={"cache-control": "no-store"},
        )

    @router.get("/health")
    def show_health() -> Response:
        fault = store.find_fault()
        return PlainTextResponse(fault or "ok", 503 if fault else 200)

    def _page(request: Request, name: str, title: str, reviewer: bool = False, found: Any = dict) -> Response:
        session = access.find_session(request)
        if session is None:
            return RedirectResponse(f"{SIGN_IN}?next={request.url.path}", 303)
        if reviewer and not session.person.is_reviewer:
            return RedirectResponse("/", 303)
        text = _TEMPLATES.get_template(f"{name}.html").render(
            title=title, page=name, person=session.person, token=session.token, site=access.site,
            waiting=count_reviews(store) if session.person.is_reviewer else 0, **found(),
        )  # fmt: skip
        response = HTMLResponse(text, headers={"cache-control": "no-store"})
        access.renew_cookie(request, response, session)
        return response

    return router
