"""Test that a file of decisions on a disk that is not mounted does not count as missing."""

import pytest

from model.errors import UserError
from tasks.common.link_check import is_present
from tasks.data.withdrawals import WITHDRAWN, read_withdrawn
from tasks.dvc.pointer_file import POINTER, read_pointer
from tasks.validation.quarantine import RELEASES_FILE, read_releases

READERS = ((WITHDRAWN, read_withdrawn), (RELEASES_FILE, read_releases), (POINTER, read_pointer))


@pytest.mark.parametrize("target", ["/media/gone/file", "missing.jsonl", "itself"])
@pytest.mark.parametrize(("name", "read"), READERS, ids=lambda value: str(value)[:20])
def test_reader_of_decisions_refuses_link_to_nothing(tmp_path, name, read, target):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(path.name if target == "itself" else target)
    with pytest.raises(UserError, match=f"^{name} is a link to .*mount its disk, or repair the link"):
        read(tmp_path)
    assert path.is_symlink()


@pytest.mark.parametrize(("name", "read"), READERS, ids=lambda value: str(value)[:20])
def test_reader_of_decisions_takes_missing_file_for_none(tmp_path, name, read):
    found = read(tmp_path)
    assert not getattr(found, "ids", found)


def test_is_present_follows_a_right_link(tmp_path):
    (tmp_path / "there").write_text("")
    (tmp_path / "link").symlink_to("there")
    assert is_present(tmp_path / "link", "link") and not is_present(tmp_path / "other", "other")
