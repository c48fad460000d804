"""A project whose MLflow store a former version of chatmill wrote, kept as one small archive.

`python -m tests.integration.recorded_store PROJECT` records the project that lies in PROJECT.
"""

from __future__ import annotations

import io
import sqlite3
import sys
import tarfile
from contextlib import closing
from pathlib import Path

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "recorded_store.tar.xz"
_DATABASE, _DUMP = "var/mlflow.db", "var/mlflow.sql"
_ARTIFACTS = "var/mlflow/artifacts"
# Pictures, pages and samples are large, and no command reads them.
_LEFT_OUT = (".png", ".html", ".md", ".lock", "samples.json", "answers.json")
_KEPT = ("data.dvc", "var/stores.json")


def record(project: Path, archive: Path = ARCHIVE) -> None:
    """Write the store of a project to an archive: the database as SQL, and the files that commands read."""
    with closing(sqlite3.connect(project / _DATABASE)) as database:
        dump = "\n".join(database.iterdump())
        [(folder,)] = database.execute(
            "select artifact_location from experiments where name = 'Default'"
        ).fetchall()
        used = {run for (run,) in database.execute("select run_id from model_versions")}
    # MLflow's default experiment names the folder that the store was made in.
    dump = dump.replace(str(folder), "/project/mlruns/0")
    with tarfile.open(archive, "w:xz") as packed:
        _add(packed, _DUMP, dump.encode())
        for name in _KEPT:
            _add(packed, name, (project / name).read_bytes())
        for path in sorted((project / _ARTIFACTS).rglob("*")):
            name = path.relative_to(project).as_posix()
            # A stage's weights are kept only where they are a registered version's.
            is_weights = path.suffix == ".safetensors" and not used & set(path.parts)
            if path.is_file() and not name.endswith(_LEFT_OUT) and not is_weights:
                _add(packed, name, path.read_bytes())


def _add(packed: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    packed.addfile(entry, io.BytesIO(content))


def unpack(root: Path, replacements: dict[str, str] | None = None, archive: Path = ARCHIVE) -> None:
    """Lay the recorded project in a folder.

    Args:
        root: The folder.
        replacements: Texts of the database to replace, such as the commit of its runs.
        archive: The archive that `record` wrote.
    """
    with tarfile.open(archive) as packed:
        packed.extractall(root, filter="data")
    dump = (root / _DUMP).read_text(encoding="utf-8")
    for old, new in (replacements or {}).items():
        dump = dump.replace(old, new)
    with closing(sqlite3.connect(root / _DATABASE)) as database:
        database.executescript(dump)
    (root / _DUMP).unlink()


if __name__ == "__main__":
    record(Path(sys.argv[1]))
