"""Prefect's and MLflow's applications behind the request guard, for uvicorn to start by name."""

from __future__ import annotations

from pathlib import Path

from flows.common.garbage_collection import collect_rarely
from flows.servers.environment import guard_environment
from flows.servers.login_links import LoginLinks
from flows.servers.request_guard import App, GuardSettings, RequestGuard
from model.file_guard import refuse_special_files


def prefect_app() -> App:
    """Return Prefect's server and its pages. It asks for the password in PREFECT_SERVER_API_AUTH_STRING."""
    collect_rarely()
    from prefect.server.api.server import create_app

    return _wrap_app(create_app(final=True))


def mlflow_app() -> App:
    """Return MLflow's server with its users, as `mlflow server --app-name basic-auth` makes it."""
    from mlflow.server.auth import create_app

    return _wrap_app(create_app())


def _wrap_app(app: App) -> App:
    refuse_special_files()
    settings, secrets, login = guard_environment()
    return RequestGuard(app, GuardSettings.load(settings), LoginLinks(Path(secrets), login))
