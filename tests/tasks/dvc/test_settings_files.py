"""Test that damaged settings of DVC are one sentence with the file and what to do."""

import pytest

from model.errors import UserError
from tasks.dvc import versions
from tests.tasks.dvc_project import meta, three_texts


@pytest.fixture
def root(tmp_path):
    project = three_texts(tmp_path / "project")
    versions.add_version(project, "", meta("a", text=3))
    return project


@pytest.mark.parametrize("name", [".dvc/config", ".dvc/config.local"])
@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe[core]",
        b'[\'remote "store"\n',
        b"unheard_of = 1\n",
        b"<<<<<<< HEAD\n[core]\n=======\n>>>>>>> other\n",
        b"[cache]\n    type = telepathy\n",
        b"[core]\n    autostage = perhaps\n",
    ],
)
def test_add_version_damaged_config_is_named(root, name, content):
    (root / name).write_bytes(content)
    before = (root / "data.dvc").read_bytes()
    with pytest.raises(UserError, match=rf"^{name}, which has settings of DVC, is not valid \(.+\); fix"):
        versions.add_version(root, "", meta("b", text=3))
    assert (root / "data.dvc").read_bytes() == before


def test_open_repository_damaged_config_of_user_is_named(root, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config").write_text("[core")
    with (
        pytest.raises(UserError, match=f"^{tmp_path}/home/config, which has settings of DVC, is not valid"),
        versions.open_repository(root),
    ):
        pass


@pytest.mark.parametrize("content", [b"# caf\xe9\n", b"a\nb\n\xff\xfe", "ü".encode("utf-16")])
def test_open_repository_dvcignore_in_other_encoding_is_named_and_kept(root, content):
    (root / ".dvcignore").write_bytes(content)
    with pytest.raises(UserError, match=r"^\.dvcignore, line \d: not UTF-8"), versions.open_repository(root):
        pass
    assert (root / ".dvcignore").read_bytes() == content
