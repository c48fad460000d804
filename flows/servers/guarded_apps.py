"""The servers' applications behind their guards, for uvicorn to start by name."""

from __future__ import annotations

import os
from pathlib import Path

from flows.common.garbage_collection import collect_rarely
from flows.servers.environment import GUARD, GUARD_SECRETS, SERVER_PARENT, guard_environment
from flows.servers.login_links import LoginLinks
from flows.servers.origin_check import App, OriginCheck
from flows.servers.request_guard import GuardSettings, RequestGuard
from model.file_guard import refuse_special_files
from model.processes import die_with_parent


def prefect_app() -> App:
    """Return Prefect's server and its pages. It asks for the password in PREFECT_SERVER_API_AUTH_STRING."""
    collect_rarely()
    from prefect.server.api.server import create_app

    return _wrap_app(create_app(final=True))


def mlflow_app() -> App:
    """Return MLflow's server with its users, as `mlflow server --app-name basic-auth` makes it."""
    # Killed, MLflow's first process would leave this one, which holds the port.
    if parent := os.environ.get(SERVER_PARENT):
        die_with_parent(int(parent))
    from mlflow.server.auth import create_app

    return _wrap_app(create_app())


def label_app() -> App:
    """Return the label page of the project in the current folder."""
    collect_rarely()
    refuse_special_files()
    from flows.servers.label_page.app import build_label_app, session_key
    from tasks.labelling.schema import open_label_store
    from tasks.project.label_site import first_site

    settings = GuardSettings.load(os.environ[GUARD])
    check = OriginCheck(settings.hosts, settings.origins)
    secrets = Path(os.environ[GUARD_SECRETS])
    key = session_key(secrets)
    return build_label_app(open_label_store(Path.cwd()), key, check, first_site(secrets, key))


def _wrap_app(app: App) -> App:
    refuse_special_files()
    settings, secrets, login = guard_environment()
    return RequestGuard(app, GuardSettings.load(settings), LoginLinks(Path(secrets), login))
