"""The databases of Prefect, MLflow and the label page: SQLite in var/, or one PostgreSQL by one setting."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from model.errors import UserError
from tasks.project.database_check import replace_prefect_database
from tasks.project.database_templates import PREFECT, copy_template
from tasks.project.paths import PREFECT_HOME

DATABASE_SETTING = "CHATMILL_DATABASE"
PREFECT_DATABASE_SETTING = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_RIGHT = "expected postgresql://USER:PASSWORD@HOST:5432/NAME"
# Prefect and MLflow store their schema version in a table of the same name, so each has its own database.
OWNERS = ("prefect", "mlflow", "labels")
_ANSWER_SECONDS = 10


@dataclass(frozen=True)
class Database:
    """The address of the databases. It never holds the password, which both drivers read from PGPASSWORD."""

    user: str
    place: str
    name: str
    password: str

    @property
    def prefect_url(self) -> str:
        """Return the address for Prefect's server, which connects through asyncpg."""
        return f"postgresql+asyncpg://{self._connection_url('prefect')}"

    @property
    def mlflow_url(self) -> str:
        """Return the address for MLflow."""
        return f"postgresql://{self._connection_url('mlflow')}"

    @property
    def labels_url(self) -> str:
        """Return the address for the label page's judgements."""
        return f"postgresql://{self._connection_url('labels')}"

    def _connection_url(self, owner: str) -> str:
        return f"{self.user}@{self.place}/{self.name}_{owner}"


def prepare_prefect_database(root: Path) -> str:
    """Rename the project's Prefect database if it is damaged; create a missing one from the template.

    The caller holds the lock of a server's start.

    Returns:
        A sentence about the damaged database; empty if there was none.
    """
    notice = replace_prefect_database(root)
    home = root / PREFECT_HOME
    if os.environ.get("PREFECT_HOME") == str(home) and PREFECT_DATABASE_SETTING not in os.environ:
        copy_template(PREFECT, home / "prefect.db")
    return notice


def read_database(address: str) -> Database:
    """Return the database in CHATMILL_DATABASE.

    Raises:
        UserError: The address is not right; the message does not hold it.
    """
    try:
        found = urlsplit(address)
        port = found.port or 5432
    except ValueError:
        raise UserError(f"{DATABASE_SETTING} is not an address; {_RIGHT}") from None
    name = found.path.strip("/")
    if found.scheme not in ("postgresql", "postgres"):
        raise UserError(f"{DATABASE_SETTING} begins with {found.scheme or 'nothing'}://; {_RIGHT}")
    if not (found.username and found.hostname and name) or "/" in name:
        raise UserError(f"{DATABASE_SETTING} lacks a user, a host or a name; {_RIGHT}")
    host = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    return Database(found.username, f"{host}:{port}", name, unquote(found.password or ""))


def make_databases(database: Database) -> None:
    """Create the missing databases. Raise UserError if the server refuses or cannot be reached."""
    import psycopg2
    from psycopg2 import sql
    from psycopg2.errors import DuplicateDatabase, UniqueViolation

    where = f"PostgreSQL at {database.place} ({DATABASE_SETTING})"
    try:
        missing = [owner for owner in OWNERS if not _database_exists(database, owner)]
        if not missing:
            return
        # The maintenance database, as the missing ones cannot be connected to.
        connection = _open_connection(database, "postgres")
        try:
            # CREATE DATABASE cannot run inside a transaction.
            connection.autocommit = True
            with connection.cursor() as cursor:
                for owner in missing:
                    try:
                        # An identifier cannot be a bound parameter, so psycopg2 quotes it.
                        made = sql.Identifier(f"{unquote(database.name)}_{owner}")
                        cursor.execute(sql.SQL("CREATE DATABASE {}").format(made))
                    except (DuplicateDatabase, UniqueViolation):
                        # Another process was first.
                        continue
        finally:
            connection.close()
    except psycopg2.Error as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{where}: {said.removeprefix('ERROR:').strip()}") from None


def _database_exists(database: Database, owner: str) -> bool:
    import psycopg2

    try:
        _open_connection(database, f"{database.name}_{owner}").close()
    except psycopg2.OperationalError as error:
        if "does not exist" in str(error) and "database" in str(error):
            return False
        raise
    return True


def _open_connection(database: Database, name: str) -> Any:
    import psycopg2

    address = f"postgresql://{database.user}@{database.place}/{name}"
    return psycopg2.connect(address, password=database.password, connect_timeout=_ANSWER_SECONDS)
