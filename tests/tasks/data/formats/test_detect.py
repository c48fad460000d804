"""Test the detection of formats, and the error where it is ambiguous."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.formats.detect import detect_format
from tasks.data.formats.registry import formats

EXPORTS = Path(__file__).parents[3] / "fixtures" / "exports"


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def found(*files: tuple[str, bytes], wanted: str = "auto") -> str:
    return detect_format([SourceFile(name, content) for name, content in files], "mine", wanted).name


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.txt", b"Some words.", "plain"),
        ("a.txt.gz", gzip.compress(b"Some words.", mtime=0), "plain"),
        ("a.md", b"# Title\n\nSome words.", "markdown"),
        ("a.jsonl", lines({"text": "a"}, {"prompt": "a", "completion": "b"}), "rows"),
        ("a.ndjson", lines({"text": "a"}), "rows"),
        ("a.json", b'[{"instruction": "a", "input": "", "output": "b"}]', "alpaca"),
        ("a.csv", b"prompt,completion\na,b\n", "rows"),
        ("a.tsv", b"passage\tquestion\nSome words.\twhy\n", "passages"),
        ("a", lines({"text": "a"}), "rows"),
        (
            "a.jsonl.gz",
            gzip.compress(lines({"messages": [{"role": "user", "content": "a"},
                                              {"role": "assistant", "content": "b"}]}), mtime=0),
            "messages",
        ),
    ],
)  # fmt: skip
def test_detect_format_only_match_is_returned(name: str, content: bytes, format: str) -> None:
    assert found((name, content)) == format


def test_detect_format_samples_match_own_format_or_are_refused() -> None:
    """No sample is detected as another format."""
    wrong = []
    for path in sorted(path for path in EXPORTS.iterdir() if path.is_file() and path.suffix != ".py"):
        own = [name for name in formats() if path.name.startswith(name)]
        try:
            taken = detect_format([SourceFile(path.name, path=path)], "mine", "auto").name
        except UserError:
            continue
        # One file of the pair alone looks like plain text.
        if own and taken not in own and path.name != "rated_snippets_anonDataRatings.txt":
            wrong.append((path.name, taken))
    assert wrong == []


def test_detect_format_wanted_format_skips_detection() -> None:
    assert found(("a.jsonl", lines({"text": "a"})), wanted="plain") == "plain"
    with pytest.raises(UserError, match="unknown format 'plian'; expected one of plain,"):
        found(("a.jsonl", b""), wanted="plian")


def test_detect_format_unknown_keys_are_named() -> None:
    with pytest.raises(UserError) as caught:
        found(("labels.jsonl", lines({"verdict": "good"})))
    says = str(caught.value)
    assert says.startswith("source mine: labels.jsonl is in an unknown format; its keys are verdict. ")
    assert "columns: {prompt: ..., completion: ...}" in says and len(says) < 240


def test_detect_format_two_matches_are_refused() -> None:
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
    row = {"messages": turns, "conversations": turns}
    with pytest.raises(UserError, match=r"a\.jsonl may be sharegpt or messages; set the format"):
        found(("a.jsonl", lines(row)))


def test_detect_format_rated_snippet_files_are_ambiguous() -> None:
    files = [("x_GroundTruth.txt", b"1\t2.0\tGood."), ("x_anonDataRatings.txt", b"1\t2.0\t0.5\t[2]")]
    with pytest.raises(
        UserError, match="may be plain or rated_snippets; set the format, as in format: plain"
    ):
        found(*files)


def test_detect_format_files_of_two_formats_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"a\.txt is plain and b\.jsonl is rows; a source has files of one format"
    ):
        found(("a.txt", b"words"), ("b.jsonl", lines({"text": "a"})))


def test_detect_format_empty_file_fits_any_format() -> None:
    assert found(("a.jsonl", b"\n"), ("b.jsonl", lines({"text": "a"}))) == "rows"
    with pytest.raises(UserError, match=r"source mine: a\.jsonl is empty, and 1 more files"):
        found(("a.jsonl", b""), ("b.jsonl", b" \n"))


def test_detect_format_broken_line_is_named() -> None:
    assert found(("a.jsonl", b'{"text": \n' + lines({"text": "a"}))) == "rows"
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: "):
        found(("a.jsonl", b'{"text": \n{"text"\n'))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", lines({"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}), r"\.jsonl"),
        ("a.md", b"prompt,completion,label\nWho?,Nobody.,bad\n", r"\.csv"),
        ("a.txt", b'prompt\tcompletion\tlabel\n"Who?\nYou?"\tNobody.\tbad\n', r"\.tsv"),
        ("a.txt.gz", gzip.compress(b"Frage;Antwort\nWer?;Niemand.\n", mtime=0), r"\.csv, with commas"),
        ("a.md", b"| question | rating |\n|---|---|\n| Who? | 1 |\n", r"\.csv, with commas"),
        ("a.txt", b'[\n  {"prompt": "a", "completion": "b"}]', r"\.json "),
    ],
)  # fmt: skip
def test_detect_format_text_file_of_rows_is_refused(name: str, content: bytes, what: str) -> None:
    with pytest.raises(UserError, match=rf"end its name in {what}.*add format: plain"):
        found((name, content))
    assert found((name, content), wanted="plain") == "plain"


@pytest.mark.parametrize(
    "text",
    [
        "Dear reader, this text begins with commas, as many do.\nSo does this, and that.",
        "A prompt, once given, is answered.\nLines follow.",
        "{not JSON}\n{nor this}",
        "[1] A note.\n[2] Another.",
        "Title | Author\n\nWords.",
        "Question\n\nAnswer",
    ],
)
def test_detect_format_text_with_commas_or_brackets_is_plain(text: str) -> None:
    assert found(("a.txt", text.encode())) == "plain"


def test_detect_format_choices_of_prodigy_are_refused() -> None:
    row = {"text": "Who?", "options": [{"id": "A", "text": "Me."}], "accept": ["A"], "answer": "accept"}
    with pytest.raises(UserError, match=r"Prodigy's choices.*prompt, a, b and choice"):
        found(("a.jsonl", lines(row)))


def test_detect_format_unknown_keys_beyond_limit_are_counted() -> None:
    with pytest.raises(UserError, match=r"key29 and 5 more\. Map"):
        found(("a.jsonl", lines({f"key{n}": "x" for n in range(35)})))
