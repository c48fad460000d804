"""Test the stage `ingest`: rows, data versions, remotes, shards and repeated rows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from model.errors import UserError
from tasks.data import external_sort
from tasks.data.records import TYPES
from tasks.data.sources.source_types import DataParameters, Source
from tasks.data.versions.version_diff import compare_versions
from tasks.dvc import versions
from tasks.engine.output import is_undamaged
from tasks.engine.parallel import ParallelMap, process_pool, serial_map
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tests.tasks.ingest_project import OWN, everything, first, run, write
from tests.tasks.record_files import read_rows


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, {"text": "one"}, {"text": "two"}, {"prompt": "a", "completion": "b"})
    return tmp_path


def test_ingest_rows_are_canonical_and_versioned(root: Path) -> None:
    said: list[str] = []
    figures = run(root, said=said)
    assert (figures["text"], figures["pairs"]) == (2, 1)
    lines = first(root).read_text().splitlines()
    assert lines == sorted(lines) and '"text":"one"' in "".join(lines)
    assert (root / "out" / "rows" / "text" / "00000.jsonl").read_bytes() == first(root).read_bytes()
    pointer = yaml.safe_load((root / "data.dvc").read_text())
    assert pointer["outs"][0]["md5"] == figures["data_hash"]
    assert pointer["meta"]["rows"]["text"] == 2
    # The folder is in no git repository, so nothing is said about a commit.
    assert any("data.dvc has a new version" in text and "commit" not in text for text in said)


@pytest.mark.parametrize("place", ["12ab/tree", "12ab/tree/project", "34cd/tree"])
def test_ingest_in_reproduction_names_no_next_step(tmp_path: Path, place: str) -> None:
    inner = tmp_path / "var" / "cache" / "reproduce" / place
    write(inner, {"text": "one"})
    said: list[str] = []
    assert run(inner, said=said)["text"] == 1
    assert (inner / "data.dvc").exists() and not any("git add" in text for text in said)


def test_ingest_utf_16_file_is_read_with_notice(root: Path) -> None:
    (root / "texts" / "b.jsonl").write_bytes('{"text": "mühle"}\n'.encode("utf-16"))
    said: list[str] = []
    assert run(root, said=said)["text"] == 3
    assert "source mine: texts/b.jsonl read as UTF-16, as the mark in front says" in said


def test_ingest_fresh_clone_makes_same_version(root: Path, tmp_path: Path) -> None:
    figures = run(root)
    clone = tmp_path / "clone"
    shutil.copytree(root / "texts", clone / "texts")
    shutil.copy(root / "data.dvc", clone / "data.dvc")
    said: list[str] = []
    assert run(clone, said=said)["data_hash"] == figures["data_hash"]
    assert said == []
    assert first(clone).read_bytes() == first(root).read_bytes()


@pytest.mark.parametrize("lost", ["", ".dvc/cache", ".dvc/cache data", ".dvc/cache data var out"])
def test_ingest_version_that_the_cache_of_dvc_lost_is_kept_again(root: Path, lost: str) -> None:
    context, parameters = StageContext(root), DataParameters((OWN,))
    before = ingest.run(parameters, {}, context, print).metrics["data_hash"]
    for name in lost.split():
        shutil.rmtree(root / name, ignore_errors=True)
    if not lost:
        for path in (root / ".dvc" / "cache" / "files").rglob("*.*"):
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-9])
    assert ingest.run(parameters, {}, context, print).reused == ("var" not in lost)
    write(root, {"text": "three"}, name="b")
    ingest.run(parameters, {}, context, print)
    [count] = compare_versions(root, before, "working").counts
    assert (count.added, count.gone) == (1, 0)


def test_ingest_changed_sources_make_new_version(root: Path) -> None:
    before = run(root)["data_hash"]
    write(root, {"text": "three"}, name="b")
    said: list[str] = []
    assert run(root, said=said)["data_hash"] != before
    assert len(said) == 1


def test_ingest_other_rows_of_same_sources_need_accept(root: Path) -> None:
    run(root)
    pointer = yaml.safe_load((root / "data.dvc").read_text())
    pointer["outs"][0]["md5"] = "0" * 32 + ".dir"
    (root / "data.dvc").write_text(yaml.safe_dump(pointer))
    with pytest.raises(UserError, match=r"data\.accept_changes=true"):
        run(root)
    assert run(root, DataParameters((OWN,), accept_changes=True))["data_hash"] != "0" * 32 + ".dir"


def test_pull_data_version_in_remote_is_restored(root: Path, tmp_path: Path) -> None:
    remote = DataParameters((OWN,), remote=str(tmp_path / "remote"))
    figures = run(root, remote)
    clone = tmp_path / "clone"
    shutil.copytree(root / "texts", clone / "texts")
    shutil.copy(root / "data.dvc", clone / "data.dvc")
    versions.pull_data(clone, remote.remote)
    assert versions.folder_hash(clone) == figures["data_hash"]
    assert first(clone).read_bytes() == first(root).read_bytes()


def test_ingest_remote_without_version_makes_and_sends_it(root: Path, tmp_path: Path) -> None:
    figures = run(root)
    shutil.rmtree(root / "data")
    shutil.rmtree(root / ".dvc" / "cache", ignore_errors=True)
    empty = str(tmp_path / "empty")
    again = run(root, DataParameters((OWN,), remote=empty))
    assert again["data_hash"] == figures["data_hash"]
    # The version that was made again was also sent to the remote.
    shutil.rmtree(root / "data")
    shutil.rmtree(root / ".dvc" / "cache")
    assert versions.pull_data(root, empty)


def test_folder_hash_quarantined_rows_are_left_out(root: Path) -> None:
    (root / ".dvcignore").write_text("/data/quarantine\n")
    before = run(root)["data_hash"]
    (root / "data" / "quarantine").mkdir()
    (root / "data" / "quarantine" / "text.jsonl").write_text("{}\n")
    assert versions.folder_hash(root) == before


def test_ingest_unchanged_sources_are_reused(root: Path) -> None:
    context = StageContext(root)
    parameters = DataParameters((OWN,))
    assert not ingest.run(parameters, {}, context, print).reused
    assert ingest.run(parameters, {}, context, print).reused
    before = versions.folder_hash(root)
    # Without data/, as on another host, the rows are restored from the version.
    shutil.rmtree(root / "data")
    assert ingest.run(parameters, {}, context, print).reused and versions.folder_hash(root) == before
    next((root / "data" / "text").glob("*.jsonl")).unlink()
    assert not ingest.run(parameters, {}, context, print).reused
    write(root, {"text": "three"}, name="b")
    assert not ingest.run(parameters, {}, context, print).reused


def test_ingest_two_sources_same_row_keeps_first(root: Path) -> None:
    (root / "z.jsonl").write_text('{"text": "one"}\n')
    twice = DataParameters((Source("first", "rows", files="z.jsonl"), OWN))
    run(root, twice)
    rows = {row.text: row.source for row in read_rows(root / "data" / "text", "text")}
    assert rows == {"one": "first", "two": "mine"}


def test_ingest_empty_source_is_refused(root: Path) -> None:
    write(root, name="empty")
    with pytest.raises(UserError, match=r"source none: no rows in texts/empty\.jsonl"):
        run(root, DataParameters((Source("none", "rows", files="texts/empty.jsonl"),)))


def test_ingest_broken_line_in_strict_source_changes_nothing(root: Path) -> None:
    run(root)
    before = (root / "data.dvc").read_bytes(), first(root).read_bytes()
    with (root / "texts" / "a.jsonl").open("a") as file:
        file.write('{"text": \n')
    with pytest.raises(UserError, match=r"texts/a\.jsonl, line 4: broken JSON"):
        run(root, DataParameters((replace(OWN, strict=True),)))
    assert before == ((root / "data.dvc").read_bytes(), first(root).read_bytes())


def test_ingest_every_kind_has_shard_every_row_has_origin(root: Path) -> None:
    run(root)
    assert set(everything(root / "data")) == {f"{kind}/00000.jsonl" for kind in TYPES}
    for kind in TYPES:
        rows = (root / "out" / "rows" / kind / "00000.jsonl").read_bytes().splitlines()
        places = (root / "out" / "origins" / kind / "00000.jsonl").read_text().splitlines()
        assert len(rows) == len(places)
    [place] = (root / "out" / "origins" / "pairs" / "00000.jsonl").read_text().splitlines()
    assert json.loads(place) == "texts/a.jsonl, line 3"
    assert not (root / "out" / "runs").exists()


def test_ingest_unparsed_rows_have_origin_in_data(root: Path) -> None:
    run(root)
    before = everything(root / "out" / "rows")
    run(root)
    assert everything(root / "out" / "rows") == before
    places = (root / "out" / "origins" / "text" / "00000.jsonl").read_text().splitlines()
    assert [json.loads(place) for place in places] == [f"data/text/00000.jsonl, line {n}" for n in (1, 2)]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "one"}, {"text": "two"}],
        [{"prompt": "a", "completion": "b"}, {"text": "x"}],
        [{"prompt": "q", "a": "y", "b": "z", "choice": "a"}, {"text": "ä\u2028ö"}],
    ],
)
def test_ingest_fetched_or_pinned_version_has_same_digest(
    tmp_path: Path, named: bool, rows: list[dict[str, Any]]
) -> None:
    write(tmp_path, *rows)
    context, parameters = StageContext(tmp_path), DataParameters((OWN,))
    parsed = ingest.run(parameters, {}, context, lambda event: None)
    before = everything(Path(parsed.path) / "origins")
    shutil.rmtree(Path(parsed.path))
    if named:
        shutil.rmtree(tmp_path / "texts")
        parameters = replace(parameters, pinned_version=str(parsed.metrics["data_hash"]))
    fetched = ingest.run(parameters, {}, context, lambda event: None)
    assert not fetched.reused and everything(Path(fetched.path) / "origins") != before
    assert fetched.digest == parsed.digest
    # The origins are checked too: a change of them is damage.
    place = next((Path(fetched.path) / "origins" / "text").glob("*"))
    place.write_text(place.read_text().replace("0", "1"))
    assert not is_undamaged(Path(fetched.path), tmp_path)


def many(root: Path) -> DataParameters:
    """Write two sources of several files that have rows in common."""
    for number in range(4):
        lines = [{"text": f"text {n} " + "word " * 30} for n in range(100 * number, 100 * number + 150)]
        write(root, *lines, {"prompt": "same", "completion": "same"}, name=f"many-{number}")
    first_two, all_of_them = "texts/many-[01].jsonl", "texts/many-*.jsonl"
    return DataParameters((Source("some", "rows", files=first_two), Source("all", "rows", files=all_of_them)))


def test_ingest_parallelism_and_run_size_do_not_matter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = many(root)
    figures = run(root, parameters)
    assert (figures["text"], figures["pairs"]) == (450, 1)
    whole = everything(root / "out")
    sources = {row.source for row in read_rows(root / "data" / "text", "text")}
    assert sources == {"some", "all"}
    for count in (1, 2):
        shutil.rmtree(root / "data")
        with process_pool(count, patience=0.0) as parallel_map:
            assert run(root, parameters, parallel_map=parallel_map) == figures
        assert everything(root / "out") == whole
    for bytes_of_a_run in (1, 5_000, 50_000):
        shutil.rmtree(root / "data")
        monkeypatch.setattr(external_sort, "RUN_BYTES", bytes_of_a_run)
        assert run(root, parameters) == figures
        assert everything(root / "out") == whole


def test_ingest_shard_count_is_power_of_two_by_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_sort, "SHARD_BYTES", 20_000)
    parameters = many(root)
    run(root, parameters)
    found = everything(root / "data")
    text = [name for name in found if name.startswith("text/")]
    # 450 rows of about 280 bytes remain; with the repeated rows there would be twice as many shards.
    assert text and len(text) == 8 and len(found) == 8 + 3
    assert [row.id for row in read_rows(root / "data" / "text", "text")] == sorted(
        row.id for row in read_rows(root / "data" / "text", "text")
    )
    shutil.rmtree(root / "data")
    monkeypatch.setattr(external_sort, "RUN_BYTES", 3_000)
    run(root, parameters)
    assert everything(root / "data") == found


def test_ingest_one_id_for_two_rows_is_refused(root: Path) -> None:
    write(root, {"id": 7, "text": "one"}, {"id": 7, "text": "one"}, {"id": 8, "text": "more"})
    run(root)
    write(root, {"text": "between"}, {"id": 7, "text": "other"}, name="b")
    with pytest.raises(UserError) as caught:
        run(root)
    said = str(caught.value)
    assert "texts/a.jsonl, line 1" in said and "texts/b.jsonl, line 2" in said and "'7'" in said
    apart = [Source(name, "rows", files=f"texts/{name}.jsonl") for name in "ab"]
    assert run(root, DataParameters(tuple(apart)))["text"] == 4


def test_ingest_labels_of_one_item_may_share_id(root: Path) -> None:
    label = {"id": "q1", "prompt": "p", "a": "x", "b": "y", "choice": "a"}
    write(root, {**label, "annotator": "ann"}, {**label, "annotator": "bob"})
    assert run(root)["comparisons"] == 2


def test_ingest_label_by_unknown_annotator_is_refused(root: Path) -> None:
    write(root, {"prompt": "p", "a": "x", "b": "y", "choice": "a", "annotator": "eve"}, name="c")
    known = Source("mine", "rows", files="texts/*.jsonl", annotators=("ann", "bob"))
    with pytest.raises(UserError, match=r"texts/c\.jsonl, line 1: .*'eve'.*ann, bob"):
        run(root, DataParameters((known,)))


def test_ingest_interrupted_at_any_item_keeps_data(root: Path) -> None:
    run(root)
    before = everything(root / "data")
    write(root, {"text": "three"}, name="b")
    for last in range(5):
        with pytest.raises(KeyboardInterrupt):
            run(root, parallel_map=ends_after(last))
        assert everything(root / "data") == before
        assert not (root / "data.part").exists()
    assert run(root)["text"] == 3


def ends_after(count: int) -> ParallelMap:
    """Return a map that raises KeyboardInterrupt after `count` items."""
    left = [count]

    def parallel_map(function: Any, items: Any) -> Any:
        for item in items:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            yield function(item)

    return parallel_map


def test_ingest_data_without_shards_is_replaced(root: Path) -> None:
    (root / "data").mkdir()
    for kind in TYPES:
        (root / "data" / f"{kind}.jsonl").write_text('{"id":"0"}\n')
    former = {"outs": [{"md5": versions.folder_hash(root)}], "meta": {"sources": "a", "rows": {"text": 1}}}
    (root / "data.dvc").write_text(yaml.safe_dump(former))
    run(root)
    assert not (root / "data" / "text.jsonl").exists() and first(root).exists()


def test_ingest_broken_pointer_is_refused(root: Path) -> None:
    (root / "data.dvc").write_text("outs: [")
    with pytest.raises(UserError, match=r"data\.dvc is broken"):
        run(root)


def votes(root: Path, *lines: dict[str, Any], parallel_map: ParallelMap = serial_map) -> dict[str, list[Any]]:
    """Return the labels after ingestion of rows from two files."""
    write(root, *lines[::2], name="a")
    write(root, *lines[1::2], name="b")
    run(root, parallel_map=parallel_map)
    return {kind: read_rows(root / "data" / kind, kind) for kind in ("comparisons", "ratings")}


@pytest.mark.parametrize("parallel_map", [serial_map, process_pool(2)])
def test_ingest_anonymous_votes_keep_majority(tmp_path: Path, parallel_map: ParallelMap) -> None:
    asked = {"prompt": "Which?", "a": "One.", "b": "Two."}
    found = votes(tmp_path, *({**asked, "choice": choice} for choice in "aabaa"), parallel_map=parallel_map)[
        "comparisons"
    ]
    assert sorted(row.choice for row in found) == ["a", "a", "a", "a", "b"]
    assert len({row.id for row in found}) == 5 and all(row.annotator.startswith("unknown") for row in found)
    assert [row.id for row in found] == sorted(row.id for row in found)


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        ([{"score": score} for score in (4, 4, 4, 4, 1)], [1, 4, 4, 4, 4]),
        ([{"label": label} for label in (True, True, False)], [-1, 1, 1]),
        ([{"stars": "2/5", "annotator": None} for _ in range(3)], [2, 2, 2]),
        ([{"scores": [3, 2]} for _ in range(2)], [2, 2, 3, 3]),
        ([{"score": 3, "annotator": "nan"}, {"score": 3, "annotator": " "}], [3, 3]),
    ],
)
def test_ingest_anonymous_scores_are_all_kept(
    tmp_path: Path, given: list[dict[str, Any]], scores: list[float]
) -> None:
    rows = [{"prompt": "Say it.", "completion": "It.", **one} for one in given]
    found = votes(tmp_path, *rows)["ratings"]
    assert sorted(score for row in found for score in row.scores) == scores


def test_ingest_repeated_label_of_person_counts_once(tmp_path: Path) -> None:
    row = {"prompt": "Say it.", "completion": "It.", "score": 4}
    names = ("3", 3, 3.0, "3 ", "3.0")
    (found,) = votes(tmp_path, *({**row, "annotator": name} for name in names))["ratings"]
    assert found.annotators == ["3"]


@pytest.mark.parametrize("parallel_map", [serial_map, process_pool])
def test_ingest_repeated_rows_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel_map: Any
) -> None:
    monkeypatch.setattr(external_sort, "RUN_BYTES", 300)
    vote = {"prompt": "Which?", "a": "An oak.", "b": "A fir.", "choice": "a"}
    rating = {"prompt": "Which?", "completion": "An oak.", "score": 4, "annotator": "ana"}
    write(tmp_path, *[{"text": "one"}] * 3, *[{**vote, "annotator": "ana"}] * 2, *[vote] * 2)
    write(tmp_path, *[{"prompt": "a", "completion": "b"}] * 2, {"text": "one"}, name="b")
    write(tmp_path, {"prompt": "a", "completion": "b"}, {"text": "two"}, *[rating] * 2, name="c")
    said: list[str] = []
    if parallel_map is serial_map:
        figures = run(tmp_path, said=said)
    else:
        with process_pool(2) as over:
            figures = run(tmp_path, said=said, parallel_map=over)
    assert "duplicates of earlier rows, kept once: 3 texts, 2 pairs, 1 comparison, 1 rating" in said
    assert [figures.get(f"repeated_{kind}") for kind in TYPES] == [3, 2, 1, 1]
    assert figures["comparisons"] == 3
    # A pinned version keeps its metrics although no source is read.
    assert run(tmp_path, DataParameters((OWN,), pinned_version=figures["data_hash"])) == figures


@pytest.mark.parametrize("line", ['{"text":', '{"prompt": "a", "completion": 3}', '{"text": "\\ud83d"}'])
def test_ingest_strict_data_stops_at_first_unreadable_row(root: Path, line: str) -> None:
    (root / "texts" / "b.jsonl").write_text(line + "\n")
    assert "data_hash" in run(root)
    with pytest.raises(UserError, match=r"source mine is strict: texts/b.jsonl, line 1"):
        run(root, DataParameters((OWN,), strict=True, accept_changes=True))


def test_ingest_different_rows_are_not_counted_as_repeats(root: Path) -> None:
    said: list[str] = []
    figures = run(root, said=said)
    assert not [name for name in figures if name.startswith("repeated_")]
    assert not any("duplicates of earlier rows" in text for text in said)


def test_ingest_unreadable_row_is_kept_as_fault(tmp_path: Path) -> None:
    write(tmp_path, {"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": 3})
    (tmp_path / "texts" / "b.jsonl").write_text(
        '{"text": "one"}\n{"text": "\\ud83d"}\n{"text":\n{"text": "\\ud83e"}\n'
    )
    said: list[str] = []
    counts = run(tmp_path, said=said)
    assert counts["pairs"] == 2 and counts["text"] == 4
    faults = [
        row.fault
        for kind in ("text", "pairs")
        for row in read_rows(tmp_path / "data" / kind, kind)
        if row.fault
    ]
    assert len(faults) == 4 and any(
        "texts/a.jsonl, line 2: completion is a number" in fault for fault in faults
    )
    assert any("cannot be read: 4 rows" in line for line in said)


def test_ingest_source_without_readable_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"prompt": None, "completion": "b"}, {"prompt": "a", "completion": 5})
    with pytest.raises(
        UserError, match=r"source mine: none of 2 rows in texts/a\.jsonl can be read; the first"
    ):
        run(tmp_path)
    assert not (tmp_path / "data.dvc").exists()


@pytest.mark.parametrize(
    ("votes", "asked"),
    [
        ({"votes": {"anna": "a", "ben": "b"}}, "votes.anna"),
        ({"choice": {"anna": "a", "ben": "b"}}, "choice.anna"),
        ({"Anna": "a", "Ben": "tie"}, "Anna"),
    ],
)
def test_ingest_two_answers_whose_votes_are_asked_about_get_one_line(
    tmp_path: Path, votes: dict[str, Any], asked: str
) -> None:
    rows = [{"prompt": f"Bird {n}?", "a": "A robin.", "b": "A wren.", **votes} for n in range(4)]
    write(tmp_path, *rows)
    with pytest.raises(UserError, match=asked) as caught:
        run(tmp_path)
    assert "can be read" not in str(caught.value)
