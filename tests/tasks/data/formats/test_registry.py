"""Test the registry of formats: their names, and which of them a file fits."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceRecord
from tasks.data.formats.registry import find_format, formats
from tasks.data.parsing.base import FileSample
from tests.tasks.data.formats.export_reader import EXPORTS, file_sample, rows, sample
from tests.tasks.data.formats.test_argilla import SETTINGS
from tests.tasks.data.formats.test_label_studio import XML


def test_find_format_unknown_name_lists_formats() -> None:
    with pytest.raises(UserError, match="unknown format 'parquet'; expected one of plain, markdown, rows"):
        find_format("parquet")


@pytest.mark.parametrize(
    ("name", "format_"),
    [("a.txt", "plain"), ("a.TXT.gz", "plain"), ("a.md", "markdown"), ("b/a.markdown.zst", "markdown")],
)
def test_fits_file_suffix_selects_plain_or_markdown(name: str, format_: str) -> None:
    fitting = [found.name for found in formats().values() if not found.fits(FileSample(name, "A text."))]
    assert fitting == [format_]


SAMPLES = {
    "alpaca": "alpaca", "sharegpt": "sharegpt", "messages": "messages",
    "preferences": "preferences", "preferences_messages": "preferences", "hh_rlhf": "hh_rlhf",
    "openai_preference": "openai_preference", "unpaired": "unpaired",
}  # fmt: skip


@pytest.mark.parametrize(("sample", "name"), SAMPLES.items())
def test_fits_sample_matches_only_its_format(sample: str, name: str) -> None:
    looked_at = file_sample(sample)
    assert [known for known, form in formats().items() if not form.fits(looked_at)] == [name]


@pytest.mark.parametrize(
    ("name", "file", "told"),
    [
        ("label_studio", "label_studio.json", {"labelling": XML}),
        ("label_studio", "label_studio_min.json", {"labelling": XML}),
        ("argilla", "argilla.jsonl", {"labelling": SETTINGS}),
        ("argilla", "argilla_1.jsonl", {"columns": {"completion": "corrected"}}),
        ("argilla", "argilla_server.jsonl", {}),
    ],
)
def test_fits_label_tool_export_matches_one_format(name: str, file: str, told: dict[str, Any]) -> None:
    items = tuple(sample(file).items())
    look = FileSample(file, (EXPORTS / file).read_text(), items)
    for other in ("label_studio", "argilla", "mlflow_feedback"):
        assert (find_format(other).fits(look) == "") == (other == name)
    assert rows(name, sample(file), **told) == rows(name, sample(file), **told)


def test_fits_own_row_matches_no_label_tool() -> None:
    look = FileSample(
        "rows.jsonl", "", (SourceRecord({"prompt": "a", "completion": "b", "score": 1}, "line 1"),)
    )
    for name in ("label_studio", "argilla", "mlflow_feedback"):
        assert find_format(name).fits(look)
