"""The tables of the label page's database, and the store that reads and writes them.

Rows of `judgements` are only ever added: an undone or changed judgement is followed by another one.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from model.atomic_file import replace_text
from model.errors import UserError
from tasks.labelling.store_files import StoreFiles
from tasks.project.database_check import (
    check_judgements_database,
    read_only_address,
    remember_judgements,
)
from tasks.project.paths import JUDGEMENTS_DATABASE, JUDGEMENTS_LOCK, LABEL_STORE
from tasks.project.private_folder import PRIVATE_FILE, make_private_folder

# Seconds that a process waits for another one's write.
WRITE_WAIT_SECONDS = 30.0
# The `kind` in the origin of a batch whose judgements decide about a model. They teach no model, as its
# prompts are held out.
VOTE_KIND = "vote"
_METADATA = MetaData()

PEOPLE_TABLE = Table(
    "people", _METADATA,
    Column("name", String(200), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password", Text, nullable=False, default=""),
    # Part of each session; a new password or a removal changes it, which ends the person's sessions.
    Column("session_epoch", Integer, nullable=False, default=0),
    Column("active", Boolean, nullable=False, default=True),
    Column("created", String(40), nullable=False),
)  # fmt: skip
# What is true of the whole page, by name.
PAGE_TABLE = Table(
    "page", _METADATA,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)  # fmt: skip
# Only the digest of a link's secret part is stored, so that the database holds no usable link.
LOGIN_CODE_TABLE = Table(
    "login_codes", _METADATA,
    Column("digest", String(64), primary_key=True),
    Column("person", ForeignKey("people.name"), nullable=False),
    Column("expires", Float, nullable=False),
)  # fmt: skip
GUIDE_TABLE = Table(
    "guides", _METADATA,
    Column("digest", String(16), primary_key=True),
    Column("text", Text, nullable=False),
    Column("created", String(40), nullable=False),
)  # fmt: skip
BATCH_TABLE = Table(
    "batches", _METADATA,
    Column("number", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created", String(40), nullable=False),
    Column("guide", ForeignKey("guides.digest"), nullable=False),
    Column("aspects", JSON, nullable=False),
    Column("needed", Integer, nullable=False),
    Column("markdown", Boolean, nullable=False, default=False),
    Column("open", Boolean, nullable=False, default=True),
    # Where its items come from: files, models and settings, for the people who run it.
    Column("origin", JSON, nullable=False),
)  # fmt: skip
ITEM_TABLE = Table(
    "items", _METADATA,
    Column("number", Integer, primary_key=True),
    Column("batch", ForeignKey("batches.number"), nullable=False),
    Column("digest", String(16), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("history", JSON, nullable=False),
    Column("a", Text, nullable=False),
    Column("b", Text, nullable=False),
    Column("a_model", String(300), nullable=False, default=""),
    Column("b_model", String(300), nullable=False, default=""),
    Column("reason", String(40), nullable=False),
    # The right choice of a known item; empty for all others.
    Column("known_choice", String(8), nullable=False, default=""),
    # Judgements that count, kept with each judgement so that finding the next item reads no history.
    Column("given", Integer, nullable=False, default=0),
    UniqueConstraint("batch", "digest"),
    Index("items_by_given", "batch", "given", "number"),
)  # fmt: skip
JUDGEMENT_TABLE = Table(
    "judgements", _METADATA,
    Column("number", Integer, primary_key=True),
    # Chosen by the browser, so that a judgement that it sends twice is stored once.
    Column("key", String(64), nullable=False, unique=True),
    Column("item", ForeignKey("items.number"), nullable=False),
    Column("person", ForeignKey("people.name"), nullable=False),
    Column("action", String(8), nullable=False),  # judge, skip, undo
    Column("review", Boolean, nullable=False, default=False),
    Column("choice", String(8), nullable=False, default=""),
    Column("steps", JSON, nullable=False),
    Column("flag", Boolean, nullable=False, default=False),
    Column("comment", Text, nullable=False, default=""),
    Column("better", Text, nullable=False, default=""),
    Column("swapped", Boolean, nullable=False, default=False),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("guide", ForeignKey("guides.digest"), nullable=False),
    Column("time", String(40), nullable=False),
    # Whether no later row of this person and item replaces it.
    Column("newest", Boolean, nullable=False, default=True),
    Index("judgements_by_item", "item", "review", "person"),
    Index("judgements_by_person", "person", "newest", "review", "item"),
)  # fmt: skip
# The event `labels.requested` of a batch. It is stored with the batch and sent afterwards, so that a process
# that is killed in between loses no event.
REQUEST_TABLE = Table(
    "requests", _METADATA,
    Column("batch", ForeignKey("batches.number"), primary_key=True),
    Column("preset", String(200), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("sent", Boolean, nullable=False, default=False),
)  # fmt: skip
# A preset's champion that has no batch yet.
WAITING_CHAMPION_TABLE = Table(
    "due_batches", _METADATA,
    Column("preset", String(200), primary_key=True),
    Column("champion", String(300), nullable=False),
    Column("config", Text, nullable=False),
    # How many runs have begun to make its batch.
    Column("attempts", Integer, nullable=False, default=0),
)  # fmt: skip
HOLD_TABLE = Table(
    "holds", _METADATA,
    Column("item", ForeignKey("items.number"), primary_key=True),
    Column("person", ForeignKey("people.name"), primary_key=True),
    Column("expires", Float, nullable=False),
    Index("holds_by_person", "person"),
)  # fmt: skip


class LabelStore:
    """The label page's database, closed at the end of its context.

    Each of its transactions is on disk when the transaction's own context ends.
    """

    def __init__(self, engine: Engine, lock: TextIO | None = None, files: StoreFiles | None = None) -> None:
        self._engine, self._lock, self._files = engine, lock, files
        # SQLite lets one connection write at a time. Its own wait is a series of sleeps; this one is not.
        self._writing = threading.Lock()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection whose transaction is committed at the end, or rolled back by an exception.

        Raises:
            StoreUnavailableError: The database's file was removed or replaced. What was committed is lost.
        """
        with self._writing:
            with self._engine.begin() as connection:
                if connection.dialect.name == "sqlite":
                    # A transaction that reads first cannot become a writing one while another process writes.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    # One writer at a time, as in SQLite: of two people who take the last place of an item
                    # only one may get it. The number is an arbitrary constant.
                    connection.execute(text("SELECT pg_advisory_xact_lock(7243011)"))
                if self._files:
                    self._files.check()
                yield connection
                if self._files:
                    _count_commit(connection)
            # Before the caller says that it is stored: the file may have gone during the commit.
            if self._files:
                self._files.check()

    def find_fault(self) -> str:
        """Return a sentence about a removed or replaced file of the open database; empty if there is none."""
        return self._files.find_fault() if self._files else ""

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection for reading one consistent state."""
        # Without these, each query would see a state of its own.
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def give_identity(self) -> None:
        """Give a SQLite file without one the number by which an overwritten file is told from it."""
        with self.write() as connection:
            if connection.exec_driver_sql("PRAGMA application_id").scalar():
                return
            connection.exec_driver_sql(f"PRAGMA application_id = {1 + secrets.randbelow(2**31 - 1)}")
        with self._engine.connect() as connection:
            # Into the file itself, where it is looked for; until then it is in the write-ahead log.
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        if self._files:
            self._files.close()
        if self._lock is not None:
            self._lock.close()


def has_label_store(root: Path) -> bool:
    """Return whether a project has the label page's store."""
    return (root / JUDGEMENTS_DATABASE).exists() or (root / LABEL_STORE).exists()


def choose_label_database(root: Path, address: str) -> None:
    """Let a project without a label page keep its judgements in a PostgreSQL database from now on.

    Args:
        root: The project's folder.
        address: The database's address without a password, which the driver reads from PGPASSWORD.
    """
    # Judgements that are in a file already must not vanish from the page when the setting appears.
    if not has_label_store(root):
        # Nor must those of a file that was removed: the setting would hide that they are missing.
        check_judgements_database(root)
        make_private_folder((root / LABEL_STORE).parent)
        replace_text(root / LABEL_STORE, json.dumps({"address": address}))


def _stored_address(root: Path) -> str:
    """Return the address of the project's PostgreSQL database; empty if its judgements are in a file."""
    try:
        return str(json.loads((root / LABEL_STORE).read_text(encoding="utf-8"))["address"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{LABEL_STORE}, which names the database of the label page, is damaged; restore a backup with "
            "`chatmill restore BACKUP`"
        ) from None


def _connect_server(address: str) -> Engine:
    """Return an engine of a PostgreSQL database. Raise UserError if it is unreachable."""
    engine = create_engine(address, pool_pre_ping=True)
    try:
        engine.connect().close()
    except OperationalError as error:
        said = str(error.orig).strip().splitlines()[0]
        raise UserError(
            f"the label page's database, which {LABEL_STORE} names, is unreachable ({said}); set "
            "CHATMILL_DATABASE as before, and start the server"
        ) from None
    return engine


def open_label_store(root: Path) -> LabelStore:
    """Return the label page's store, with its tables created if they are missing.

    Raises:
        UserError: The database is damaged or unreachable, or held judgements and is missing now.
    """
    address = _stored_address(root)
    store = LabelStore(_connect_server(address)) if address else _open_file(root)
    with store.write() as connection:
        _METADATA.create_all(connection)
    if not address:
        store.give_identity()
        remember_judgements(root)
    return store


def _open_file(root: Path) -> LabelStore:
    make_private_folder((root / JUDGEMENTS_DATABASE).parent)
    # Held while the store is open: a restoration must not replace the file meanwhile.
    (root / JUDGEMENTS_LOCK).touch(mode=PRIVATE_FILE)
    lock = (root / JUDGEMENTS_LOCK).open("a")
    fcntl.flock(lock, fcntl.LOCK_SH)
    check_judgements_database(root)
    # Created here, as SQLite would let others read it.
    path = root / JUDGEMENTS_DATABASE
    path.touch(mode=PRIVATE_FILE)
    files = StoreFiles(path, JUDGEMENTS_DATABASE)
    # A later connection must not create a file in place of one that was removed meanwhile.
    engine = create_engine(f"sqlite:///{path.absolute().as_uri()}?mode=rw&uri=true")
    event.listen(engine, "connect", _prepare_connection)
    return LabelStore(engine, lock, files)


def read_label_store(root: Path) -> LabelStore | None:
    """Return the label page's store for reading only; None if the project has none.

    Nothing is written, not even by SQLite. Raises UserError as `open_label_store` does.
    """
    if address := _stored_address(root):
        return LabelStore(_connect_server(address))
    path = root / JUDGEMENTS_DATABASE
    check_judgements_database(root)
    if not path.is_file() or not path.stat().st_size:
        return None
    return LabelStore(create_engine(f"sqlite:///{read_only_address(path)}&uri=true"))


def _count_commit(connection: Connection) -> None:
    """Raise the number of commits in the file's header, by which an older copy of the file is recognised."""
    count = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    # The field has 32 bits with a sign.
    connection.exec_driver_sql(f"PRAGMA user_version = {min(count + 1, 2**31 - 1)}")


def _prepare_connection(connection: Any, _record: Any) -> None:
    # The driver's own transactions begin only at the first write; `write` begins them itself.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(WRITE_WAIT_SECONDS * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # Each commit is on the disk before it is acknowledged. Without it, a power cut loses the last ones.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
