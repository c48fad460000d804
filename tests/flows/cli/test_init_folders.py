"""`chatmill init`: the folders, files and names that it reads, and those that it refuses."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
import yaml

from flows.config import read_preset
from model.errors import UserError
from tasks.data.sources.source_reading import own_files
from tasks.engine.stage import StageContext
from tasks.ingest import ingest
from tasks.onboarding.folder_scan import scan_folder
from tasks.onboarding.hidden_files import HIDDEN_FILE
from tests.example_project import make_sentence, write_jsonl, write_texts
from tests.flows.cli.test_init import propose

EXPORTS = Path(__file__).parents[2] / "fixtures" / "exports"


def test_propose_preset_missing_or_empty_folder_is_refused(sample: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder"):
        propose("nowhere")
    (sample / "empty").mkdir()
    with pytest.raises(UserError, match="empty contains no files"):
        propose("empty")


@pytest.mark.parametrize("own", ["data", "var"])
@pytest.mark.parametrize(
    ("given", "relation"),
    [
        ("{own}", "is"), ("{own}/", "is"), ("./mine/../{own}", "is"), ("{root}/{own}", "is"),
        ("{own}/inner", "lies in"), ("link", "is"), ("link/inner", "lies in"), (".", "holds"),
        ("..", "holds"), ("{root}", "holds"),
    ],
)  # fmt: skip
def test_propose_preset_folder_of_chatmill_is_refused(
    sample: Path, steady_pace: None, own: str, given: str, relation: str
) -> None:
    write_jsonl(sample / own / "inner" / "a.jsonl", {"text": "Mine."})
    (sample / "link").symlink_to(sample / own, target_is_directory=True)
    folder = given.format(own=own, root=sample)
    with pytest.raises(UserError, match=rf"{relation} (data|var)/ of this project.*texts/"):
        propose(folder, name="mine")
    assert not (sample / "configs").exists()
    assert (sample / own / "inner" / "a.jsonl").read_text() == '{"text": "Mine."}\n'


def test_propose_preset_data_linked_to_other_disk_is_refused(sample: Path, tmp_path: Path) -> None:
    disk = tmp_path.parent / f"{tmp_path.name}-disk"
    write_jsonl(disk / "a.jsonl", {"text": "Mine."})
    (sample / "data").symlink_to(disk, target_is_directory=True)
    for folder in (disk, Path("data")):
        with pytest.raises(UserError, match="is data/ of this project"):
            propose(str(folder), name="mine")
    with pytest.raises(UserError, match="holds data/ of this project"):
        propose(str(disk.parent), name="mine")


@pytest.mark.parametrize("linked", ["data", "data/text", "data/text/00000.jsonl", "var/cache/artifacts"])
def test_propose_preset_folder_with_link_into_own_data_is_refused(sample: Path, linked: str) -> None:
    write_jsonl(sample / "data" / "text" / "00000.jsonl", {"text": "Made by chatmill."})
    (sample / "var" / "cache" / "artifacts").mkdir(parents=True)
    (sample / "mine" / "texts" / "more").symlink_to(sample / linked)
    with pytest.raises(UserError, match=r"mine/texts/more (is|lies in) (data|var)/ of this project"):
        propose()


def test_propose_preset_folder_with_similar_name_is_accepted(sample: Path, steady_pace: None) -> None:
    for name in ("data-2", "database", "variants", "texts/data", "mine/var"):
        shutil.copytree(sample / "mine" / "texts", sample / name, dirs_exist_ok=True)
    for name in ("data-2", "database", "variants", "texts", "mine"):
        assert propose(name).exists()


def test_propose_preset_folder_beside_project_is_accepted(
    sample: Path, steady_pace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sample / "inner").mkdir()
    monkeypatch.chdir(sample / "inner")
    preset = read_preset(propose("../mine"))
    assert {str(files) for source in preset.data.sources for files in [source.files]} >= {
        "../mine/pairs.jsonl"
    }


def test_propose_preset_unsupported_files_are_named_and_left_out(sample: Path, steady_pace: None) -> None:
    (sample / "mine" / "picture.png").write_bytes(b"\x89PNG")
    (sample / "mine" / "notes.txt").write_text("A note about mills.")
    write_jsonl(sample / "mine" / "odd.jsonl", {"width": 3, "height": 4})
    (sample / "mine" / "broken.json").write_text('[{"text": "whole"},\n{"text": \n')
    (sample / "mine" / ".hidden.jsonl").write_text("{}\n")
    with pytest.raises(
        UserError, match=r"is written without mine/broken\.json, which cannot be read: line 3"
    ):
        propose()
    text = (sample / "configs" / "mine.yaml").read_text()
    comments = [line for line in text.splitlines() if line.startswith("  #   ")]
    assert [line.split()[1].rstrip(":") for line in comments] == [
        "mine/.hidden.jsonl", "mine/broken.json", "mine/odd.jsonl", "mine/picture.png",
    ]  # fmt: skip
    assert "its keys are width, height" in text and "line 3" in text and text.count(".hidden") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.json", b'[{"prompt": "a", "completion": "b"}, {"prompt'),
        ("half.csv", b'prompt,completion\n"a,b'), ("table.parquet", b"PAR1 nothing"),
        ("odd.jsonl", b'{"colour": "red", "size": 3}\n'), ("latin.txt", b"caf\xe9 au lait"),
    ],
)  # fmt: skip
def test_propose_preset_unreadable_file_is_named(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    (sample / "alone").mkdir()
    for folder in ("alone", "mine"):
        (sample / folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"the only file in alone cannot be read, .* alone/{name}: "):
        propose("alone")
    assert not (sample / "configs").exists()
    with pytest.raises(UserError, match=rf"configs/mine\.yaml is written without mine/{name}, .*--force"):
        propose()
    assert (sample / "configs" / "mine.yaml").is_file()
    said = capsys.readouterr().out
    assert f"cannot be read: mine/{name}: " in said
    left_out = f"Not in the preset, as it cannot be read: mine/{name}. A run ignores it."
    assert " ".join(left_out.split()) in " ".join(
        line.removeprefix("# ") for line in (sample / "configs" / "mine.yaml").read_text().splitlines()
    )
    assert said.count("the reason is at the end") == 2
    (sample / "alone" / "second.json").write_text("[")
    with pytest.raises(UserError, match="none of the 2 files in alone can be read"):
        propose("alone")


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("name", ["tickets.csv", "my tickets: 1.csv", "#new.tsv"])
def test_propose_preset_unknown_columns_are_told_in_shown_preset(
    sample: Path, steady_pace: None, name: str, beside: bool
) -> None:
    rows = [f"Where is cake {n}?\tIn the oven since {n} minutes." for n in range(120)]
    lines = "\n".join(["Customer asks\tWe answered", *rows])
    (sample / "alone").mkdir()
    separated = lines if name.endswith("tsv") else lines.replace("\t", ",")
    (sample / "alone" / name).write_text(f"{separated}\n")
    if beside:
        write_jsonl(sample / "alone" / "votes.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"})
    with pytest.raises(UserError, match=r"Write them into configs/alone\.yaml, .* --force") as refused:
        propose("alone")
    shown = str(refused.value).partition("keeps them:\n")[2]
    told = shown.replace("prompt: ...", "prompt: Customer asks").replace(
        "completion: ...", "completion: We answered"
    )
    (sample / "configs").mkdir()
    (sample / "configs" / "alone.yaml").write_text(told)
    write_texts(sample / "alone", random.Random(4))
    preset = read_preset(propose("alone", force=True))
    asked = {"prompt": "Customer asks", "completion": "We answered"}
    assert asked in [dict(source.columns) for source in preset.data.sources]


def test_propose_preset_file_without_columns_gets_no_advice_to_map_them(
    sample: Path, steady_pace: None
) -> None:
    # A key with the words of the advice.
    row = {"texts": {"columns: {prompt": "Where is it now?", "told": "In the oven for now."}}
    (sample / "alone").mkdir()
    write_jsonl(sample / "alone" / "rows.jsonl", *[row] * 100)
    with pytest.raises(UserError, match=r"inside objects, as under texts\.columns: \{prompt") as refused:
        propose("alone")
    assert "Write them into" not in str(refused.value)


def test_propose_preset_common_column_names_are_mapped_and_ingested(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = "".join(f"What is {n}?,It is {n}.\n" for n in range(80))
    (sample / "mine" / "pairs.jsonl").unlink()
    (sample / "mine" / "qa.csv").write_text(f"question,answer\n{pairs}")
    (sample / "mine" / "press").mkdir()
    rows = [
        {"Query": f"Q {n}?", "Response A": "x", "Response B": "y", "Winner": "response_b"} for n in range(60)
    ]
    write_jsonl(sample / "mine" / "press" / "votes.jsonl", *rows)
    preset = read_preset(propose())
    columns = {source.name: source.columns for source in preset.data.sources}
    assert columns["qa"] == {"prompt": "question", "completion": "answer"}
    assert columns["press"] == {
        "prompt": "Query", "a": "Response A", "b": "Response B", "choice": "Winner",
    }  # fmt: skip
    assert "columns matched by name: question as prompt, answer as completion" in capsys.readouterr().out
    done = ingest.run(preset.data, {}, StageContext(sample, 1, "cpu", 1), lambda event: None)
    assert done.metrics["pairs"] == 80 and done.metrics["comparisons"] == 60


def test_propose_preset_save_to_disk_folder_is_named_as_dataset(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    texts = datasets.Dataset.from_dict({"text": ["one", "two"]})
    texts.save_to_disk(str(sample / "mine" / "saved"))
    datasets.DatasetDict({"train": texts}).save_to_disk(str(sample / "mine" / "both"))
    propose()
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("a data set of save_to_disk; add it to data.sources") == 2
    assert 'dataset: "mine/saved"}' in said and said.count("not read:") == 2


def test_propose_preset_labelling_configuration_joins_its_export(sample: Path, steady_pace: None) -> None:
    for name in ("label_studio.json", "label_studio.xml"):
        shutil.copy(EXPORTS / name, sample / "mine" / "labels" / name)
    preset = read_preset(propose())
    (source,) = [source for source in preset.data.sources if source.format == "label_studio"]
    assert source.files == ("mine/labels/label_studio.json", "mine/labels/label_studio.xml")


def test_propose_preset_quotes_special_characters_in_yaml(sample: Path, steady_pace: None) -> None:
    (sample / "mine" / "texts").rename(sample / "mine" / "Texte: 'ältere' & #1")
    values = yaml.safe_load(propose().read_text())
    names = {source["name"]: source["files"] for source in values["data"]["sources"]}
    assert names["texte-aeltere-1"] == "mine/Texte: 'ältere' & #1/*.txt"


ODD_NAMES = [
    "[a].txt", "a*b.txt", "what?.txt", "x (1)[2].txt", " blank before.txt", "tab\tin.txt", "line\nbreak.txt",
    "#comment.txt", "- dash.txt", "{x}: 1.txt", "it's \"quoted\".txt", "back\\slash.txt",
    "\u2028separator.txt", "\u0085next.txt", "😀.txt", "日本語.txt", "*anchor.txt", "&ref.txt",
    "!tag.txt", "%percent.txt",
    "@at.txt", "null.txt", "true.txt", "1e3.txt", f"{'very' * 60}.txt",
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_propose_preset_any_file_name_is_read_back(sample: Path, steady_pace: None, odd: str) -> None:
    shutil.rmtree(sample / "mine" / "texts")
    drawn = random.Random(5)
    # The other files would match the name if it were used as a glob.
    for name in (odd, "a.txt", "aXb.txt", "whatX.txt"):
        text = "\n\n".join(" ".join(make_sentence(drawn) for _ in range(5)) for _ in range(8))
        (sample / "mine" / name).write_text(f"{name}\n\n{text}")
    write_jsonl(
        sample / "mine" / "pairs" / odd.replace(".txt", ".jsonl"), {"prompt": "Why?", "completion": "So."}
    )
    found = {path for source in read_preset(propose()).data.sources for path in own_files(source, sample)}
    assert sample / "mine" / odd in found
    assert found == {path for path in (sample / "mine").rglob("*") if path.is_file()}


def test_propose_preset_odd_folder_names_get_distinct_source_names(sample: Path, steady_pace: None) -> None:
    drawn = random.Random(5)
    for name in ("d[1]", "d1", "Größe", "Grösse", "日本", "中文", "x" * 200, "x" * 201, "..."):
        if not name.startswith("."):
            write_texts(sample / "mine" / name, drawn, 2)
    preset = read_preset(propose())
    names = [source.name for source in preset.data.sources]
    assert len(set(names)) == len(names) == 11
    assert {"d-1", "d1", "groesse", "groesse-2"} <= set(names) and max(map(len, names)) < 60
    (bracketed,) = [source for source in preset.data.sources if source.name == "d-1"]
    assert {path.parent.name for path in own_files(bracketed, sample)} == {"d[1]"}


def test_propose_preset_file_name_outside_utf8_is_left_out(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = os.fsencode(sample / "mine" / "texts") + b"/caf\xe9.txt"
    Path(os.fsdecode(odd)).write_text("A text.")
    preset = read_preset(propose())
    assert "its name is not UTF-8; rename it" in capsys.readouterr().out
    (texts,) = [source for source in preset.data.sources if source.name == "texts"]
    assert len(own_files(texts, sample)) == 60


@pytest.mark.parametrize("name", [".hidden.jsonl", ".a.csv", ".notes.txt"])
def test_scan_folder_hidden_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine" / ".git").mkdir(parents=True)
    for file in (name, ".gitignore", ".git/b.jsonl"):
        (tmp_path / "mine" / file).write_text('{"text": "A text."}\n')
    found = scan_folder(tmp_path / "mine", tmp_path)
    assert not found.sources and found.whole
    assert found.others == [(f"mine/{name}", HIDDEN_FILE)]


@pytest.mark.parametrize("name", [".export", "year/.old", ".a.b"])
@pytest.mark.parametrize("files", [("pairs.jsonl",), ("a.csv.gz", "inner/b.txt"), (".c.md", "d.png")])
def test_scan_folder_hidden_folder_with_data_is_named_once(
    tmp_path: Path, name: str, files: tuple[str, ...]
) -> None:
    for file in files:
        (tmp_path / "mine" / name / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name / file).write_text('{"text": "A text."}\n')
    ((where, why),) = scan_folder(tmp_path / "mine", tmp_path).others
    count = sum(not file.endswith(".png") for file in files)
    assert where == f"mine/{name}" and f"a hidden folder with {count} data file" in why


@pytest.mark.parametrize("name", [".git", ".pytest_cache", ".venv/lib", ".pictures"])
def test_scan_folder_hidden_folder_of_a_program_is_not(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine" / name).mkdir(parents=True)
    (tmp_path / "mine" / name / ("a.png" if name == ".pictures" else "a.txt")).write_text("A text.")
    (tmp_path / "mine" / "b.jsonl").write_text('{"text": "A text."}\n')
    assert not scan_folder(tmp_path / "mine", tmp_path).others
