"""Test the dry run: it gives the result of ingestion and validation, and writes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.cli.ingest_preview import print_preview
from flows.config import Preset, load_preset
from model.errors import UserError
from tasks.data.sources.source_types import Archive, DataParameters, Source
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.onboarding.source_preview import SourcePreview, dry_run, preview_source
from tasks.validate import ValidateParameters, ValidationFailed, validate
from tests.tasks.event_sink import ignore_event

CHECKS = ValidateParameters(max_bad_fraction=1.0)


def lines(path: Path, *rows: object) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@contextmanager
def tried(root: Path, *sources: Source, checks: ValidateParameters = CHECKS) -> Any:
    with dry_run(DataParameters(sources), checks, root, ignore_event) as found:
        yield found


def look(root: Path, source: Source, **archives: Archive) -> SourcePreview:
    return preview_source(source, DataParameters((source,), archives), root)


def preset_of(*sources: dict[str, Any], **sections: Any) -> Preset:
    return load_preset({"name": "mine", "data": {"sources": list(sources)}, **sections})


def shown(preset: Preset, root: Path) -> str:
    console = Console(width=200, record=True, file=StringIO())
    print_preview(preset, root, console)
    return console.export_text()


def tree(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))}


def test_dry_run_gives_format_bytes_and_first_rows(tmp_path: Path) -> None:
    size = lines(tmp_path / "a.jsonl", {"text": "one"}, {"prompt": "a b", "completion": "c"}, {"text": "two"})
    with tried(tmp_path, Source("mine", files="*.jsonl")) as found:
        (source,) = found.sources
        assert (source.format, source.files, source.bytes, source.fault) == ("rows", 1, size, "")
        assert [type(row).__name__ for row in source.first] == ["Text", "Pair", "Text"]
        assert found.rows.counts == {"text": 2, "pairs": 1, "comparisons": 0, "ratings": 0}
        assert not found.findings.rules and found.stop is None


def comparison(number: int, annotator: str, choice: str) -> dict[str, str]:
    return {"prompt": f"Q{number}?", "a": "yes", "b": "no", "choice": choice, "annotator": annotator}


def contradictions(root: Path) -> None:
    drawn = random.Random(5)
    lines(root / "a.jsonl", *({"prompt": f"Q{n}?", "completion": f"A {n}."} for n in range(40)))
    rows = [comparison(n, who, drawn.choice("ab")) for n in range(40) for who in ("ana", "ben")]
    lines(root / "b.jsonl", *rows, *(comparison(n, "ana", choice) for n in range(8) for choice in "ab"))


def twins(root: Path) -> None:
    lines(root / "a.jsonl", *({"text": f"A text of number {n}."} for n in range(20)))
    lines(root / "b.jsonl", *({"text": f"a text  of NUMBER {n}."} for n in range(5, 25)))


def same_ids(root: Path) -> None:
    for name in "ab":
        lines(root / f"{name}.jsonl", *({"id": n, "text": f"Text {name} {n}."} for n in range(4)))


def torn_groups(root: Path) -> None:
    rows = [
        {"prompt": f"Say {n}.", "completion": "It is so.", "score": 3, "group": g}
        for n in range(9)
        for g in "xy"
    ]
    lines(root / "a.jsonl", {"text": "A text that stays."}, *rows)


def unprintable(root: Path) -> None:
    lines(root / "a.jsonl", *({"text": f"Text {n}.{chr(7) if n % 3 else ''}"} for n in range(30)))


def broken_line(root: Path) -> None:
    lines(root / "a.jsonl", {"text": "one"})
    (root / "b.jsonl").write_text('{"text": "two"}\n{"text": \n')


def only_labels(root: Path) -> None:
    lines(root / "a.jsonl", *(comparison(n, "ana", "a") for n in range(9)))


def sound(root: Path) -> None:
    lines(root / "a.jsonl", *({"text": f"Text of number {n}."} for n in range(30)))
    lines(root / "b.jsonl", *({"prompt": f"Q{n}?", "completion": f"A {n}."} for n in range(30)))


@pytest.mark.parametrize(
    "write",
    [contradictions, twins, same_ids, torn_groups, unprintable, broken_line, only_labels, sound],
)
def test_dry_run_finds_what_run_finds(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    given = [{"name": "all", "files": names}]
    if write in (contradictions, twins):
        given = [{"name": name, "files": name} for name in names]
    preset = preset_of(*({**one, "format": "rows"} for one in given))
    with dry_run(preset.data, preset.validation_parameters(), tmp_path, ignore_event) as found:
        says = str(found.stop or "")
        counts = found.rows.counts if found.rows else {}
        rules, kept = dict(found.findings.rules), +found.findings.kept
    context = StageContext(tmp_path, 1, "cpu", 1)
    done: dict[str, StageOutput] = {}
    error = ""
    try:
        done["ingest"] = ingest.run(preset.data, done, context, ignore_event)
        done["validate"] = validate.run(preset.validation_parameters(), done, context, ignore_event)
    except UserError as raised:
        error = str(raised)
    assert bool(says) == bool(error)
    assert says.split(". ")[0] == error.split(". ")[0]
    if "ingest" in done:
        assert {kind: done["ingest"].metrics[kind] for kind in counts} == counts
    if "validate" in done:
        metrics = done["validate"].metrics
        assert {kind: metrics[kind] for kind in kept} == kept
        assert sum(rules.values()) == sum(n for name, n in metrics.items() if name.endswith("_quarantined"))
    if write is contradictions:
        assert (
            rules["comparisons", "one person, one choice: they disagree"] == 16
            and "16 of 88 comparisons" in says
        )


def test_print_preview_refused_data_raises_error(tmp_path: Path) -> None:
    contradictions(tmp_path)
    preset = preset_of({"name": "mine", "files": "*.jsonl", "format": "rows"})
    with pytest.raises(
        ValidationFailed, match="the data was rejected before any training: 16 of 88 comparisons"
    ) as e:
        shown(preset, tmp_path)
    assert "data/quarantine" not in str(e.value)


def test_print_preview_rejected_rows_say_why_and_where(tmp_path: Path) -> None:
    rows = [{"text": "good"}, {"text": "bad \u0000 text"}, {"text": "good"}, {"text": "x"}]
    lines(tmp_path / "a.jsonl", *rows)
    preset = preset_of({"name": "mine", "files": "a.jsonl"}, validate={"max_bad_fraction": 1.0})
    text = shown(preset, tmp_path)
    quarantined = "would be quarantined: 1 of 3 texts: the text"
    assert f"{quarantined} has characters that cannot be printed, first a.jsonl, line 2: " in text
    assert f"{quarantined} is empty, too short or too long, first a.jsonl, line 4: 'x'" in text
    assert (
        "`chatmill ingest` would succeed, but `chatmill run` would stop: the only text does not fall into the"
        in text
    )
    with pytest.raises(UserError, match="the only text does not fall into the train split"):
        print_preview(preset, tmp_path, Console(file=StringIO()), whole=True)


def test_dry_run_fault_is_error_of_ingest(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"text": "one"}, {"txet": "two"})
    lines(tmp_path / "b.jsonl", {"txet": "two"})
    for source, says in (
        (Source("mine", files="b.jsonl"), "in an unknown format"),
        (Source("mine", "rows", files="a.jsonl", strict=True), "a.jsonl, line 2"),
        (Source("mine", files="b/*.txt"), "matches no file"),
    ):
        with tried(tmp_path, source) as found:
            assert says in found.sources[0].fault and says in str(found.stop)


def test_dry_run_unknown_annotator_is_fault(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", comparison(1, "eve", "a"))
    with tried(tmp_path, Source("mine", files="a.jsonl", annotators=("ana",))) as found:
        assert "a label by 'eve', who is not among the annotators of source mine (ana)" in str(found.stop)


def test_preview_source_absent_files_are_listed(tmp_path: Path) -> None:
    archive = Archive("texts==1.0", "texts-1.0.whl", "0" * 64)
    source = Source("a", archive="x", members=("a.txt",))
    assert look(tmp_path, source, x=archive).lacking == ("texts==1.0 (texts-1.0.whl)",)
    (tmp_path / "far.txt").write_text("far away")
    (lacking,) = look(tmp_path, Source("b", urls=f"file://{tmp_path}/far.txt")).lacking
    assert lacking.endswith("far.txt (8 bytes)")
    (lacking,) = look(tmp_path, Source("c", dataset="our/stories", revision="1f3a")).lacking
    assert lacking == "the data set our/stories at revision 1f3a"


def test_print_preview_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    root, scratch = tmp_path / "project", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    datasets.Dataset.from_dict({"text": ["one", "two"]}).save_to_disk(str(root / "saved"))
    lines(root / "a.jsonl", {"text": "three"})
    preset = preset_of(
        {"name": "own", "files": "*.jsonl"},
        {"name": "far", "urls": [f"file://{root}/a.jsonl"]},
        {"name": "saved", "dataset": "saved"},
    )
    before = tree(root)
    text = shown(preset, root)
    assert tree(root) == before and not list(scratch.iterdir())
    assert "rows, 1 file, 18 bytes" in text and "would be fetched: file://" in text
    assert "2 texts" in text and "Nothing was written." in text
    assert "Remote files are not checked yet" in text and "stops a run" not in text


def test_print_preview_follows_validation_rules(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"text": "Words."}, {"text": "Слова."})
    own = {"name": "own", "files": "a.jsonl"}
    preset = preset_of(own, validate={"allowed_scripts": ["Latin"], "max_bad_fraction": 0.5})
    assert "would be quarantined: 1 of 2 texts: " in shown(preset, tmp_path)
    allowed = preset_of({**own, "max_bad_fraction": 0.6}, validate={"allowed_scripts": ["Latin"]})
    assert "would be quarantined: 1 of 2 texts: " in shown(allowed, tmp_path)


def test_print_preview_control_characters_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.jsonl").write_text('{"text": "half an emoji \\ud83d and \\u001b[31mred"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "right to left \\u202e mark"}\n')
    preset = preset_of(
        {"name": "own", "files": "*.jsonl", "format": "rows"}, validate={"max_bad_fraction": 1.0}
    )
    text = shown(preset, tmp_path)
    assert "half of a character" in text and "\\u202e" in text and "a\\x1b[2J.jsonl" in text
    assert text.isprintable() or set(filter(lambda char: not char.isprintable(), text)) == {"\n"}


def test_print_preview_fault_of_one_source_hides_no_other(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"text": "one"})
    lines(tmp_path / "c.jsonl", {"txet": "two"})
    preset = preset_of(
        {"name": "gone", "files": "no.txt"},
        {"name": "own", "files": "a.jsonl"},
        {"name": "odd", "files": "c.jsonl", "format": "rows"},
    )
    console = Console(width=200, record=True, file=StringIO())
    with pytest.raises(UserError, match=r"source gone: the file no\.txt is missing"):
        print_preview(preset, tmp_path, console)
    text = console.export_text()
    assert "stops: source gone: the file no.txt is missing" in text and "c.jsonl, line 1" in text
    assert '"text":"one"' in text


def test_dry_run_asks_about_all_keys_of_all_sources_at_once(tmp_path: Path) -> None:
    pair = {"prompt": "What turns?", "completion": "The mill."}
    lines(tmp_path / "a.jsonl", {**pair, "nota": 4, "sign_off": "yes"})
    lines(tmp_path / "b.jsonl", {**pair, "state": "rejected"})
    lines(tmp_path / "c.jsonl", {"text": "The mill turns.", "to_delete": "x"})
    lines(tmp_path / "d.jsonl", {"alpha": 1})
    sources = [Source(name, files=f"{name}.jsonl") for name in "abc"]
    with tried(tmp_path, *sources) as found:
        said = str(found.stop)
    fields = ["{nota: verdict, sign_off: review}", "{state: review}", "{to_delete: deleted}"]
    assert all(f"source {name}: " in said for name in "abc"), said
    assert all(part in said for part in fields), said
    with pytest.raises(UserError) as refused:
        ingest(DataParameters(tuple(sources)), out=tmp_path / "out", on_event=ignore_event, root=tmp_path)
    assert str(refused.value) == said
    # A source of no clear format stops reading before the others are read.
    with tried(tmp_path, *sources, Source("d", files="d.jsonl")) as found:
        said = str(found.stop)
    assert "d.jsonl is in an unknown format" in said and all(f"source {name}: " in said for name in "abcd")
