"""One PostgreSQL for Prefect's and MLflow's servers, by one setting, instead of SQLite under var/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from model.errors import UserError

SETTING = "CHATMILL_DATABASE"
_RIGHT = "postgresql://USER:PASSWORD@HOST:5432/NAME is right"
# Both keep the version of their tables in one of the same name, so each has a database of its own.
OWNERS = ("prefect", "mlflow")
_ANSWER_SECONDS = 10


@dataclass(frozen=True)
class Database:
    """Where both databases are. No address holds the password, which both drivers take from PGPASSWORD."""

    user: str
    place: str
    name: str
    password: str

    @property
    def prefect_url(self) -> str:
        """For Prefect's server, which speaks through asyncpg."""
        return f"postgresql+asyncpg://{self._connection_url('prefect')}"

    @property
    def mlflow_url(self) -> str:
        """For MLflow."""
        return f"postgresql://{self._connection_url('mlflow')}"

    def _connection_url(self, owner: str) -> str:
        return f"{self.user}@{self.place}/{self.name}_{owner}"


def read_database(address: str) -> Database:
    """From CHATMILL_DATABASE. Raises UserError, without the address, for one that is not right."""
    try:
        found = urlsplit(address)
        port = found.port or 5432
    except ValueError:
        raise UserError(f"{SETTING} is not an address; {_RIGHT}") from None
    name = found.path.strip("/")
    if found.scheme not in ("postgresql", "postgres"):
        raise UserError(f"{SETTING} begins with {found.scheme or 'nothing'}://; {_RIGHT}")
    if not (found.username and found.hostname and name) or "/" in name:
        raise UserError(f"{SETTING} lacks a user, a host or a name; {_RIGHT}")
    host = f"[{found.hostname}]" if ":" in found.hostname else found.hostname
    return Database(found.username, f"{host}:{port}", name, unquote(found.password or ""))


def make_databases(database: Database) -> None:
    """Make the two that are missing. Raises UserError for a server that cannot be reached or refuses."""
    import psycopg2
    from psycopg2 import sql
    from psycopg2.errors import DuplicateDatabase, UniqueViolation

    where = f"PostgreSQL at {database.place} ({SETTING})"
    try:
        missing = [owner for owner in OWNERS if not _database_exists(database, owner)]
        if not missing:
            return
        connection = _open_connection(database, "postgres")
        try:
            # A database cannot be made inside a transaction.
            connection.autocommit = True
            with connection.cursor() as cursor:
                for owner in missing:
                    try:
                        made = sql.Identifier(f"{unquote(database.name)}_{owner}")
                        cursor.execute(sql.SQL("CREATE DATABASE {}").format(made))
                    except (DuplicateDatabase, UniqueViolation):
                        continue  # another process was first
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
