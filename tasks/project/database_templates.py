"""Empty databases of Prefect and MLflow, made once for an installation and copied into each new project.

Prefect and MLflow make their tables by all the migrations that they ever had, which takes seconds. An
installation without these files works as well: Prefect and MLflow then make the tables themselves.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from model.processes import child_environment

PREFECT, MLFLOW = "prefect", "mlflow"
# The arguments with which Python creates all tables in the database that follows them, or in that of the
# environment.
_CREATION = {
    PREFECT: ("-m", "prefect", "server", "database", "upgrade", "-y"),
    MLFLOW: (
        "-c",
        # With the first experiment. In a project, MLflow would put the path of the project, with its quotes
        # and colons, into a statement of SQL.
        "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore; "
        "SqlAlchemyStore(sys.argv[1], 'mlflow-artifacts:/')",
    ),
}


def template_path(program: str) -> Path:
    """Return the template for a program, PREFECT or MLFLOW, of the installed version."""
    # In the environment, so that it is removed and replaced with the programs that it belongs to.
    return Path(sys.prefix) / "share" / "chatmill" / f"{program}-{version(program)}.db"


def make_template(program: str) -> None:
    """Create the template for a program, unless it exists.

    Raises:
        RuntimeError: The program did not create its tables.
    """
    template = template_path(program)
    if template.exists():
        return
    template.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="chatmill-", dir=template.parent) as folder:
        made, whole = Path(folder) / "made.db", Path(folder) / "whole.db"
        # A project's settings must not lead to the project's own database.
        kept = {
            name: value
            for name, value in child_environment().items()
            if not name.startswith(("PREFECT_", "MLFLOW_"))
        }
        own = {
            "PREFECT_HOME": folder,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{made}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }
        address = () if program == PREFECT else (f"sqlite:///{made}",)
        command = (sys.executable, *_CREATION[program], *address)
        ended = subprocess.run(command, env={**kept, **own}, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"{program} did not create its tables: {ended.stderr.strip()}")
        # One file: Prefect leaves a write-ahead log beside the database.
        with closing(sqlite3.connect(made)) as store:
            store.execute("vacuum into ?", (str(whole),))
        whole.replace(template)


def copy_template(program: str, database: Path) -> None:
    """Create a database from the program's template; do nothing if it exists, or if there is no template.

    The caller holds the lock under which the database is created.
    """
    template = template_path(program)
    if database.exists() or not template.exists():
        return
    part = database.with_name(f"{database.name}.part")
    try:
        shutil.copyfile(template, part)
        part.replace(database)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    for each in (PREFECT, MLFLOW):
        make_template(each)
