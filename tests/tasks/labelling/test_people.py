"""People of the label page: names, roles, links and passwords."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlalchemy import update

from model.errors import UserError
from tasks.labelling.people import (
    add_person,
    check_password,
    create_login_code,
    find_person,
    list_people,
    redeem_login_code,
    remove_person,
    set_password,
)
from tasks.labelling.schema import LOGIN_CODE_TABLE, LabelStore
from tasks.project.paths import JUDGEMENTS_DATABASE

PASSWORD = "a long password"


def test_add_person_new_and_known_gives_the_role(store: LabelStore) -> None:
    assert add_person(store, " Ada  Lovelace ")[1]
    again, is_new = add_person(store, "Ada Lovelace", "reviewer")
    assert not is_new
    assert again.is_reviewer
    assert [one.name for one in list_people(store)] == ["Ada Lovelace"]


@pytest.mark.parametrize("name", ["", " ", "\u200b", "unknown-3", "a/../b", "x" * 101, "two\x07bells"])
def test_add_person_invalid_name_is_refused(store: LabelStore, name: str) -> None:
    with pytest.raises(UserError, match="name"):
        add_person(store, name)
    assert not list_people(store)


@pytest.mark.parametrize("name", ["ada", "ADA ", "Adá", "A.d.a", "\u0410da", "Ad\u0430"])
def test_add_person_similar_name_is_refused(store: LabelStore, name: str) -> None:
    add_person(store, "Ada")
    with pytest.raises(UserError, match="nearly"):
        add_person(store, name)


def test_login_code_works_once(store: LabelStore) -> None:
    add_person(store, "Ada")
    code = create_login_code(store, "Ada")
    found = redeem_login_code(store, code)
    assert found is not None and found.name == "Ada"
    assert redeem_login_code(store, code) is None
    assert redeem_login_code(store, "\ud800") is None


def test_login_code_expired_or_of_a_removed_person_is_refused(store: LabelStore) -> None:
    add_person(store, "Ada")
    old = create_login_code(store, "Ada")
    with store.write() as connection:
        connection.execute(update(LOGIN_CODE_TABLE).values(expires=1.0))
    assert redeem_login_code(store, old) is None
    code = create_login_code(store, "Ada")
    epoch = find_person(store, "Ada")
    removed = remove_person(store, "Ada")
    assert epoch is not None and removed.session_epoch > epoch.session_epoch
    assert redeem_login_code(store, code) is None
    with pytest.raises(UserError, match="people add"):
        create_login_code(store, "Ada")


def test_check_password_right_wrong_and_unknown_person(store: LabelStore) -> None:
    add_person(store, "Ada")
    assert check_password(store, "Ada", "") is None
    before = set_password(store, "Ada", PASSWORD)
    assert check_password(store, "Ada", PASSWORD) == before
    assert check_password(store, "Ada", PASSWORD + "x") is None
    assert check_password(store, "Bob", PASSWORD) is None
    assert set_password(store, "Ada", PASSWORD).session_epoch > before.session_epoch
    remove_person(store, "Ada")
    assert check_password(store, "Ada", PASSWORD) is None


@pytest.mark.parametrize("password", ["", "short", "x" * 201])
def test_set_password_wrong_length_is_refused(store: LabelStore, password: str) -> None:
    add_person(store, "Ada")
    with pytest.raises(UserError, match="characters"):
        set_password(store, "Ada", password)


def test_store_holds_no_readable_secret(store: LabelStore, tmp_path: Path) -> None:
    add_person(store, "Ada")
    code = create_login_code(store, "Ada")
    set_password(store, "Ada", PASSWORD)
    store.close()
    files = list((tmp_path / JUDGEMENTS_DATABASE).parent.glob("judgements*"))
    content = b"".join(path.read_bytes() for path in files)
    assert b"Ada" in content
    assert code.encode() not in content
    assert PASSWORD.encode() not in content
    assert all(
        not stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files if path.name.startswith("judgements")
    )
