"""The label page's application."""

from __future__ import annotations

import secrets
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DatabaseError
from starlette.staticfiles import StaticFiles

from flows.servers.label_page.access import LabelAccess, PageSite
from flows.servers.label_page.api import label_api
from flows.servers.label_page.guard import LabelGuard
from flows.servers.label_page.pages import FOLDER, label_pages
from flows.servers.label_page.sessions import SessionSigner
from flows.servers.label_page.storage_log import StorageLog
from flows.servers.origin_check import App, OriginCheck
from model.errors import UserError
from tasks.labelling.page_identity import page_site
from tasks.labelling.schema import LabelStore
from tasks.labelling.store_files import StoreUnavailableError
from tasks.project.label_site import derive_site
from tasks.project.paths import LABEL_SESSION_KEY
from tasks.project.private_folder import read_or_create

CANNOT_STORE = "the server cannot store anything now; its log says why"


def build_label_app(store: LabelStore, key: str, check: OriginCheck, first_site: str = "") -> App:
    """Return the application of a project's label page.

    Args:
        store: The people, batches and judgements.
        key: The secret that signs the sessions.
        check: Which hosts and origins may ask it.
        first_site: The page's name if its store has none; empty: the one of earlier versions.
    """
    # No pages that describe the API: they load scripts of another host.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    former = derive_site(key)
    name = page_site(store, first_site or former)
    access = LabelAccess(store, SessionSigner(store, key), PageSite(name, former if former != name else ""))
    app.include_router(label_api(access))
    app.include_router(label_pages(access))
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))

    @app.exception_handler(UserError)
    def refuse(_: Request, error: UserError) -> Response:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    def name_fault(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"detail": f"{where}: {first['msg']}"}, 422)

    faults = StorageLog()

    @app.exception_handler(StoreUnavailableError)
    @app.exception_handler(DatabaseError)
    def ask_again(_: Request, error: StoreUnavailableError | DatabaseError) -> Response:
        # The browser keeps what it could not send, and tries again. The cause is for whoever runs the page.
        faults.log(str(error.orig if isinstance(error, DatabaseError) else error))
        return JSONResponse({"detail": CANNOT_STORE}, 503)

    @app.exception_handler(HTTPException)
    def say(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)

    return LabelGuard(app, check)


def session_key(folder: Path) -> str:
    """Return the secret that signs the sessions of a project; it is created if there is none."""
    return read_or_create(folder / LABEL_SESSION_KEY.name, lambda: secrets.token_hex(32))
