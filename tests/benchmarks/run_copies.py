"""Copy pipeline runs inside MLflow's SQLite database, in one transaction instead of thousands of calls."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

# Tables with a row for each run, or several, and the column that names the run.
TABLES = {
    "runs": "run_uuid", "tags": "run_uuid", "params": "run_uuid", "metrics": "run_uuid",
    "latest_metrics": "run_uuid", "inputs": "destination_id",
}  # fmt: skip
TIMES = ("start_time", "end_time", "timestamp")
Row = dict[str, Any]


class Template:
    """Pipeline runs with their stages' runs, as MLflow's database and its folder of files hold them.

    Args:
        database: MLflow's database.
        files: The folder with a folder for each run that kept files.
        runs: The ids of the pipeline runs; they must name no run besides these and their stages.
    """

    def __init__(self, database: Path, files: Path, runs: Sequence[str]) -> None:
        self.database = database
        with self._connection() as store:
            marks = ",".join("?" * len(runs))
            children = store.execute(
                f"select run_uuid from tags where key = 'mlflow.parentRunId' and value in ({marks})", runs
            )
            self.ids = [*runs, *(row["run_uuid"] for row in children)]
            marks = ",".join("?" * len(self.ids))
            self.rows: dict[str, list[Row]] = {
                table: [
                    dict(row)
                    for row in store.execute(f"select * from {table} where {column} in ({marks})", self.ids)
                ]
                for table, column in TABLES.items()
            }
            inputs = [row["input_uuid"] for row in self.rows["inputs"]]
            marks = ",".join("?" * len(inputs))
            self.rows["input_tags"] = [
                dict(row)
                for row in store.execute(f"select * from input_tags where input_uuid in ({marks})", inputs)
            ]
        self.named = [*self.ids, *inputs]
        self.gates = {
            row["run_uuid"]
            for row in self.rows["tags"]
            if (row["key"], row["value"]) == ("chatmill.stage", "gate")
        }
        known = set(self.ids)
        self.folders = {
            path.name: path for path in (*files.glob("*"), *files.glob("*/*")) if path.name in known
        }
        begun = [row["start_time"] for row in self.rows["runs"]]
        self.span = max(row["end_time"] for row in self.rows["runs"]) - min(begun) + 1

    def copy(
        self, store: sqlite3.Connection, texts: Mapping[str, str], score: float, later: int
    ) -> dict[str, str]:
        """Add the runs once more under new ids; return the new id of each.

        Args:
            store: The connection of `open_store`.
            texts: Replacements of texts, such as keys and digests of outputs.
            score: The gate's score.
            later: The copy's delay, in durations of the template.
        """
        ids = {old: uuid.uuid4().hex for old in self.named}
        replaced = {**texts, **ids}
        pattern = re.compile("|".join(map(re.escape, replaced)))

        def value_of(column: str, value: Any) -> Any:
            if isinstance(value, str):
                return pattern.sub(lambda match: replaced[match[0]], value)
            return value + later * self.span if column in TIMES and value is not None else value

        for table, rows in self.rows.items():
            for row in rows:
                copied = {column: value_of(column, value) for column, value in row.items()}
                if row.get("key") == "score" and row.get("run_uuid") in self.gates and "step" in row:
                    copied["value"] = score
                columns, marks = ", ".join(f'"{name}"' for name in copied), ",".join("?" * len(copied))
                store.execute(f"insert into {table} ({columns}) values ({marks})", list(copied.values()))
        for old, folder in self.folders.items():
            shutil.copytree(folder, folder.with_name(ids[old]), copy_function=os.link)
        return ids

    @contextmanager
    def open_store(self) -> Iterator[sqlite3.Connection]:
        """Open the database in one transaction, which is committed if the context ends without an error."""
        with self._connection() as store, store:
            yield store

    def move_times(self, spans: int) -> None:
        """Move all recorded times back by a number of the template's durations."""
        with self.open_store() as store:
            for table in TABLES:
                there = [row["name"] for row in store.execute(f"pragma table_info({table})")]
                for column in (name for name in TIMES if name in there):
                    store.execute(f"update {table} set {column} = {column} - ?", [spans * self.span])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.database, timeout=60)) as store:
            store.row_factory = sqlite3.Row
            yield store
