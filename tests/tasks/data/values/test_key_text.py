"""Test keys and values in proposals: YAML that is read back as the same words, and that people can read."""

from __future__ import annotations

import csv
import io

import pytest
import yaml

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.registry import find_format
from tasks.data.parsing.base import ParseOptions
from tasks.data.parsing.reader import read_rows
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.values.column_names import yaml_value
from tasks.data.values.field_meanings import plain_word
from tasks.data.values.key_text import yaml_key

KEYS = [
    "Comment", "messages[].score", 'see "log"', "it's", "it's \"so\"", "C:\\path", "two\nlines", "no", "null",
    "2024", "1e3", "Größe", "a: b", "#x", "- y", "Would you recommend our product to your family?!",
    "a  b", " outer ", "\u2028", "{x}", "😀", "metadata.quality",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_yaml_key_is_read_back_as_the_same_key(key: str) -> None:
    written = yaml_key(key)
    assert yaml.safe_load(f"fields: {{{written}: ignore}}") == {"fields": {key: "ignore"}}
    assert "\n" not in written and ("\\" not in written or "\\" in key or not key.isprintable())


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("ok", "ok"), ("not ok", "not_ok"), ('see "log"', "'see \"log\"'"), ("it's fine", '"it\'s fine"'),
        ("yes", '"yes"'), ("-1", '"-1"'), ("C:\\x", "'c:\\x'"), ("50 %", '"50 %"'),
    ],
)  # fmt: skip
def test_yaml_value_is_readable_and_matches_its_value(value: str, written: str) -> None:
    assert yaml_value(plain_word(value)) == written
    (found,) = yaml.safe_load(f"{{{written}: accept}}")
    assert plain_word(found) == plain_word(value)


@pytest.mark.parametrize(
    ("key", "other"),
    [("Comment", 'see "log"'), ("Comment", "don't know"), ('see "log"', "not ok"), ("it's ok?", "C:\\logs")],
)
def test_check_proposal_with_quotes_is_accepted_by_reading(key: str, other: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(
        [["prompt", "completion", key], ["Why?", "So.", "ok"], ["How?", "Thus.", other]]
    )
    file = SourceFile("a.csv", text.getvalue().encode())
    tally = SkipCounts()
    list(read_rows(find_format("rows"), [file], ParseOptions("mine"), tally))
    with pytest.raises(UserError, match="looks like a verdict") as asked:
        tally.check("mine", {})
    said = str(asked.value).partition("as in ")[2].partition("}}")[0] + "}}"
    fields = yaml.safe_load(said.replace("...", "reject"))["fields"]
    again = SkipCounts()
    rows = list(read_rows(find_format("rows"), [file], ParseOptions("mine", fields=fields), again))
    again.check("mine", fields)
    assert len(rows) == 2 and not again.faults and not again.unread
