"""The judgements that two presets of one project read from the label page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.main import app
from flows.config import Preset, load_preset
from flows.orchestration.label_batches import add_made_batch
from flows.orchestration.page_products import ingest_parameters
from tasks.data.sources.page_source import forget_pages, read_page
from tasks.data.sources.source_types import IngestParameters
from tasks.labelling.schema import open_label_store
from tests.flows.cli_runner import call
from tests.flows.orchestration.test_label_batches import leave_output
from tests.tasks.labelling.label_project import judge, person

PAGE = {"sources": [{"name": "people", "labels": "page"}]}


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    forget_pages()
    yield
    forget_pages()


def page_preset(name: str, model: str = "", products: list[str] | None = None) -> Preset:
    source = {**PAGE["sources"][0], **({"products": products} if products else {})}
    return load_preset({"name": name, "registry": {"model": model}, "data": {"sources": [source]}})


def read_prompts(preset: Preset, root: Path) -> tuple[list[str], str]:
    """Return the prompts that a preset's page has, in one process with all others, and the notices."""
    parameters = ingest_parameters(preset, root)
    page = read_page(parameters.sources[0], parameters, root)
    lines = page.content.decode().splitlines()
    return [line.split('"prompt": "')[1].split('"')[0] for line in lines], " | ".join(page.notices)


def judge_batches(root: Path, *presets: Preset) -> None:
    """Add a batch of each preset with two items, and judge its items."""
    with open_label_store(root) as store:
        ada = person(store, "Ada")
        for number, preset in enumerate(presets):
            add_made_batch(preset, leave_output(root, f"{number}", 2), root)
            for item in (1, 2):
                judge(store, ada, 2 * number + item)


def test_ingest_parameters_two_products_read_their_own_judgements(tmp_path: Path) -> None:
    team, demo = page_preset("team"), page_preset("copy", "demo")
    judge_batches(tmp_path, team, demo)
    prompts, said = read_prompts(team, tmp_path)
    assert sorted(prompts) == ["Question 0.0?", "Question 0.1?"]
    assert "left out: 2 judgements of demo" in said and 'products: ["team", "demo"]' in said
    prompts, said = read_prompts(demo, tmp_path)
    assert sorted(prompts) == ["Question 1.0?", "Question 1.1?"] and "2 judgements of team" in said
    prompts, said = read_prompts(page_preset("team", products=["team", "demo"]), tmp_path)
    assert (len(prompts), said) == (4, "")


def test_ingest_parameters_presets_of_one_product_share_their_judgements(tmp_path: Path) -> None:
    small, large = page_preset("small", "chat"), page_preset("large", "chat")
    judge_batches(tmp_path, small, large)
    assert len(read_prompts(small, tmp_path)[0]) == len(read_prompts(large, tmp_path)[0]) == 4


def test_ingest_parameters_earlier_batches_belong_to_the_product_of_their_preset(tmp_path: Path) -> None:
    small, large, other = page_preset("small", "chat"), page_preset("large", "chat"), page_preset("other")
    judge_batches(tmp_path, small, large, other)
    with open_label_store(tmp_path) as store, store.write() as connection:
        connection.exec_driver_sql("UPDATE batches SET origin = json_remove(origin, '$.product')")
    # Before the preset is in configs/, its batch is that of another product.
    prompts, said = read_prompts(large, tmp_path)
    assert len(prompts) == 2 and "2 judgements of other" in said and "2 judgements of small" in said
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "small.yaml").write_text("name: small\nregistry: {model: chat}\n")
    prompts, said = read_prompts(large, tmp_path)
    assert len(prompts) == 4 and "2 judgements of other" in said and "small" not in said


def test_ingest_parameters_without_page_have_no_product(tmp_path: Path) -> None:
    values = {"name": "team", "data": {"sources": [{"name": "mine", "files": "mine/*.jsonl"}]}}
    preset = load_preset(values)
    assert ingest_parameters(preset, tmp_path) is preset.data
    assert isinstance(ingest_parameters(page_preset("team"), tmp_path), IngestParameters)


def test_ingest_dry_run_names_judgements_of_another_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    judge_batches(tmp_path, page_preset("team"), page_preset("demo"))
    Path("mine.jsonl").write_text(
        "".join(f'{{"prompt": "Question {n}?", "completion": "Answer {n} is here."}}\n' for n in range(600))
    )
    Path("x.yaml").write_text(
        "name: team\ndata:\n  sources:\n    - {name: mine, files: mine.jsonl}\n"
        "    - {name: people, labels: page}\n"
    )
    said = " ".join(call(app, "ingest", "--config", "x.yaml", "--dry-run").output.split())
    assert "source people: left out: 2 judgements of demo" in said and "2 comparisons" in said
