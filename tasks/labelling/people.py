"""The people of the label page: their roles, one-time login links and passwords."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from model.errors import UserError
from tasks.common.annotators import is_nobody, similarity_key, visible_name
from tasks.common.names import name_fault
from tasks.labelling.schema import LOGIN_CODE_TABLE, PEOPLE_TABLE, LabelStore
from tasks.labelling.times import iso_now

Role = Literal["labeller", "reviewer"]
ROLES: tuple[str, ...] = get_args(Role)
LOGIN_CODE_SECONDS = 7 * 86_400.0
SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 200
LONGEST_PERSON = 100
_HASHER = PasswordHasher()


@dataclass(frozen=True)
class Person:
    """A person of the label page. `session_epoch` changes when their sessions must end."""

    name: str
    role: Role
    active: bool
    session_epoch: int
    has_password: bool
    created: str

    @property
    def is_reviewer(self) -> bool:
        """Return whether the person may review judgements and see the overview."""
        return self.role == "reviewer"


def add_person(store: LabelStore, name: str, role: Role = "labeller") -> tuple[Person, bool]:
    """Add a person, or give one who is there this role.

    Returns:
        The person, and whether they are new.

    Raises:
        UserError: The name is not valid, or nearly equal to that of another person.
    """
    name = check_person_name(name)
    with store.write() as connection:
        known = {row["name"]: row for row in connection.execute(select(PEOPLE_TABLE)).mappings()}
        if name in known:
            connection.execute(
                update(PEOPLE_TABLE).where(PEOPLE_TABLE.c.name == name).values(role=role, active=True)
            )
            return _person_named(connection, name), False
        similar = [other for other in known if similarity_key(other) == similarity_key(name)]
        if similar:
            # Labels name people by this text, so one person under two names would count as two.
            raise UserError(
                f"the label page has {similar[0]!r}, who is nearly {name!r}; use that name, or one that "
                "differs in a letter"
            )
        connection.execute(insert(PEOPLE_TABLE).values(name=name, role=role, created=iso_now()))
        return _person_named(connection, name), True


def check_person_name(name: str) -> str:
    """Return a person's name as labels have it. Raise UserError if it is not a valid name."""
    cleaned = " ".join(visible_name(name).split())
    if fault := name_fault(cleaned):
        raise UserError(f"the name is {name!a}, {fault}")
    if is_nobody(cleaned):
        raise UserError(
            f"the name is {cleaned!r}, which labels use for people without a name; choose another"
        )
    if len(cleaned) > LONGEST_PERSON:
        raise UserError(f"the name has {len(cleaned)} characters; expected at most {LONGEST_PERSON}")
    return cleaned


def remove_person(store: LabelStore, name: str) -> Person:
    """End a person's sessions and refuse their login. Their judgements stay.

    Raises:
        UserError: Nobody has that name.
    """
    with store.write() as connection:
        person = _end_sessions_with(connection, name, active=False)
        connection.execute(delete(LOGIN_CODE_TABLE).where(LOGIN_CODE_TABLE.c.person == name))
        return person


def list_people(store: LabelStore) -> list[Person]:
    """Return all people by name, those who were removed among them."""
    with store.read() as connection:
        return [
            _as_person(row)
            for row in connection.execute(select(PEOPLE_TABLE).order_by(PEOPLE_TABLE.c.name)).mappings()
        ]


def find_person(store: LabelStore, name: str) -> Person | None:
    """Return the person of that name; None if there is none."""
    with store.read() as connection:
        row = connection.execute(select(PEOPLE_TABLE).where(PEOPLE_TABLE.c.name == name)).mappings().first()
    return _as_person(row) if row else None


def create_login_code(store: LabelStore, name: str) -> str:
    """Return the secret part of a link that logs a person in, once.

    Raises:
        UserError: Nobody has that name, or the person was removed.
    """
    code = secrets.token_urlsafe(32)
    with store.write() as connection:
        if not _person_named(connection, name).active:
            raise UserError(
                f"{name!r} was removed from the label page; `chatmill people add` adds them again"
            )
        connection.execute(delete(LOGIN_CODE_TABLE).where(LOGIN_CODE_TABLE.c.expires < time.time()))
        connection.execute(
            insert(LOGIN_CODE_TABLE).values(
                digest=_code_digest(code), person=name, expires=time.time() + LOGIN_CODE_SECONDS
            )
        )
    return code


def redeem_login_code(store: LabelStore, code: str) -> Person | None:
    """Return the person whom a link logs in; None if it was used, has expired or is unknown."""
    with store.write() as connection:
        mine = LOGIN_CODE_TABLE.c.digest == _code_digest(code)
        found = connection.execute(select(LOGIN_CODE_TABLE).where(mine)).mappings().first()
        if found is None:
            return None
        connection.execute(delete(LOGIN_CODE_TABLE).where(mine))
        if found["expires"] < time.time():
            return None
        person = _person_named(connection, found["person"])
        return person if person.active else None


def set_password(store: LabelStore, name: str, password: str) -> Person:
    """Give a person a password, and end all of their sessions.

    Raises:
        UserError: The password is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UserError(
            f"the password has {len(password)} characters; expected {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}"
        )
    # Hashing takes a tenth of a second, so it happens before the transaction.
    hashed = _HASHER.hash(password.encode("utf-8", "surrogatepass"))
    with store.write() as connection:
        return _end_sessions_with(connection, name, password=hashed)


def end_sessions(store: LabelStore, name: str) -> None:
    """End all sessions of a person, on every device. Raise UserError if nobody has that name."""
    with store.write() as connection:
        _end_sessions_with(connection, name)


def forget_logins(path: Path) -> None:
    """Remove passwords and unused links from a copy of the database: a backup holds no secret."""
    with closing(sqlite3.connect(path)) as copy:
        copy.execute(f"UPDATE {PEOPLE_TABLE.name} SET password = ''")
        copy.execute(f"DELETE FROM {LOGIN_CODE_TABLE.name}")
        copy.commit()
        # Removed rows stay in the file's free pages until it is rewritten.
        copy.execute("VACUUM")


@cache
def _unused_hash() -> str:
    """Return a hash to compare for unknown names: an answer's time must not tell which names exist."""
    return _HASHER.hash(secrets.token_hex(16))


def check_password(store: LabelStore, name: str, password: str) -> Person | None:
    """Return the active person with this name and password; None for anything else."""
    with store.read() as connection:
        row = connection.execute(select(PEOPLE_TABLE).where(PEOPLE_TABLE.c.name == name)).mappings().first()
    hashed = (row["password"] if row else "") or _unused_hash()
    try:
        _HASHER.verify(hashed, password[:LONGEST_PASSWORD].encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return None
    return _as_person(row) if row and row["active"] else None


def _end_sessions_with(connection: Connection, name: str, **values: object) -> Person:
    """End a person's sessions together with a change of their columns; return the person as changed."""
    epoch = _person_named(connection, name).session_epoch + 1
    mine = PEOPLE_TABLE.c.name == name
    connection.execute(update(PEOPLE_TABLE).where(mine).values(session_epoch=epoch, **values))
    return _person_named(connection, name)


def _person_named(connection: Connection, name: str) -> Person:
    row = connection.execute(select(PEOPLE_TABLE).where(PEOPLE_TABLE.c.name == name)).mappings().first()
    if row is None:
        raise UserError(f"the label page has nobody named {name!r}; `chatmill people list` shows the names")
    return _as_person(row)


def _as_person(row: RowMapping) -> Person:
    return Person(
        row["name"], row["role"], row["active"], row["session_epoch"], bool(row["password"]), row["created"]
    )


def _code_digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
