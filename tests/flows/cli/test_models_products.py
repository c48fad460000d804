"""Commands on several products in one store: each product has its own versions and champion."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flows.cli import approve, lineage, models
from model.errors import UserError
from tasks.engine.stage import StageOutput
from tasks.tracking.approval import ApprovalRequest
from tasks.tracking.products import CHAMPION, MODEL, product_named
from tasks.tracking.run_diff import find_run
from tasks.tracking.tracker import Tracker
from tests.flows.cli_runner import call, of

ODD = 'Größe: "50%/year" & it\'s [red] (2024)'


def say(*words: str) -> str:
    commands = of(models.models, models.rollback, approve.approve, lineage.lineage)
    return call(commands, *words).output


@pytest.fixture
def project(tmp_path: Path, empty_database: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mlflow.db").write_bytes(empty_database)
    return tmp_path


def at(root: Path, product: str = MODEL) -> Tracker:
    (root / "var").mkdir(exist_ok=True)
    return Tracker(f"sqlite:///{root / 'var' / 'mlflow.db'}", "chatmill", root / "var" / "mlflow", product)


def made(
    root: Path,
    product: str,
    digest: str,
    score: float,
    question: ApprovalRequest | None = None,
    preset: str = "",
) -> str:
    """Register a model of a product and return its version."""
    tracker = at(root, product)
    name = f"{preset or product} · rlhf"
    run = tracker.client.create_run(tracker.experiment, run_name=name).info.run_id
    tracker.client.log_text(run, json.dumps({"weights": digest}), "model/config.json")
    aligned = StageOutput("rlhf", digest, "", digest, False, 1.0, {}, run)
    verdict = StageOutput(
        "gate", "g", "", f"{digest}{score}", False, 0.1, {"passed": 1, "reason": "good", "score": score}
    )
    return tracker.register(aligned, verdict, question, preset or product).version


def champions(root: Path) -> dict[str, str]:
    found = at(root).client.search_registered_models()
    return {model.name: str(model.aliases.get(CHAMPION, "")) for model in found}


def test_models_several_products_have_own_versions_and_champions(project: Path) -> None:
    assert [made(project, "demo", "a", 0.9), made(project, "press", "b", 0.1)] == ["1", "1"]
    assert made(project, "press", "c", 0.2) == "2"
    # Scores of other products are not compared.
    assert champions(project) == {"demo": "1", "press": "2"}
    shown = say("models")
    assert re.search(r"demo +1 +demo .*champion", shown) and re.search(r"press +2 +press .*champion", shown)
    assert "champion of demo: version 1" in shown and "champion of press: version 2" in shown
    for words in (("models", "press"), ("models", "--product", "press")):
        assert "demo" not in say(*words) and "press" in say(*words)
    assert "press" in say("models", "--history") and "demo" not in say("models", "press", "--history")
    with pytest.raises(UserError, match="there is no product 'pres'; there are: demo, press"):
        say("models", "pres")


def test_commands_ambiguous_product_is_refused_and_named_product_is_used(project: Path) -> None:
    for product, digest in (("demo", "a"), ("demo", "b"), ("press", "c"), ("press", "d")):
        made(project, product, digest, ord(digest) / 1000)
    asks = "several products: demo, press; name one, as in demo/"
    for words in (("rollback", "--reason", "x"), ("rollback", "1", "--reason", "x"), ("lineage", CHAMPION)):
        with pytest.raises(UserError, match=asks):
            say(*words)
    with pytest.raises(UserError, match=asks):
        at(project).version_folder("")
    folder = at(project).version_folder("", "press/champion")
    assert json.loads((folder / "config.json").read_text()) == {"weights": "d"}
    folder = at(project).version_folder("", "press/1")
    assert json.loads((folder / "config.json").read_text()) == {"weights": "c"}
    assert "version 1 of press is now the champion" in say("rollback", "press/1", "--reason", "rude")
    assert champions(project) == {"demo": "2", "press": "1"}
    assert "version 1 of demo is now" in say("rollback", "--product", "demo", "--reason", "rude")
    assert "version 2 of demo is now" in say("rollback", "2", "--product", "demo", "--reason", "no, 2")
    assert "version 1 of demo is now" in say("rollback", "demo/", "--reason", "rude anyway")
    with pytest.raises(UserError, match="name different products"):
        say("rollback", "press/1", "--product", "demo", "--reason", "rude")
    assert "version 1 of press" in say("lineage", "press/champion")
    client = at(project).client
    for address in ("press/1", "press/champion", "press/2"):
        run = client.get_model_version("press", "2" if address.endswith("2") else "1").run_id
        assert find_run(client, address).info.run_id == run


def test_approve_decides_about_version_of_one_product(project: Path) -> None:
    made(project, "demo", "a", 0.1)
    for product, digest in (("demo", "b"), ("press", "c")):
        made(project, product, digest, 0.2, ApprovalRequest(1, f"run-of-{product}"))
    with pytest.raises(UserError, match=r"several versions match \(.*demo/2.*"):
        say("approve")
    assert "version 1 of press is now the champion" in say("approve", "press/1", "--reason", "reads well")
    assert "chat --model press/champion" in say("approve", "press/1")
    assert "version 2 of demo was rejected" in say("approve", "run-of-demo", "--reject", "--reason", "rude")
    assert champions(project) == {"demo": "1", "press": "1"}
    with pytest.raises(UserError, match="press/2 is not a version"):
        say("approve", "press/2")


def test_register_store_without_products_is_continued(project: Path) -> None:
    """An old store has versions of two presets in the registered model chatmill, without newer tags."""
    client = at(project).client
    client.create_registered_model(MODEL)
    model = project / "model"
    model.mkdir()
    for number, (preset, score) in enumerate((("demo", "0.1"), ("press", "0.2")), 1):
        run = client.create_run("0", run_name=f"{preset} · rlhf", tags={"chatmill.stage": "rlhf"}).info.run_id
        tags = {"score": score, "passed": "true", "digest": f"old{number}", "reason": "good"}
        client.create_model_version(MODEL, model.as_uri(), run, tags=tags)
    client.set_registered_model_alias(MODEL, CHAMPION, "2")
    shown = say("models")
    assert re.search(r"chatmill +1 +demo ", shown) and re.search(r"chatmill +2 +press .*champion", shown)
    assert "version 2 of chatmill" in say("lineage", CHAMPION)
    assert "version 1 of chatmill is now the champion" in say("rollback", "1", "--reason", "rude")
    # The first version of a product becomes champion, but not a model that was rolled back before.
    made(project, "press", "old2", 0.9)
    assert champions(project) == {MODEL: "1", "press": ""}
    assert "not promoted again" in say("models", "press")
    made(project, "press", "new", 0.1)
    assert champions(project) == {MODEL: "1", "press": "2"}
    # The old store does not record what its scores measure.
    made(project, MODEL, "newer", 9.0, preset="demo")
    assert champions(project)[MODEL] == "1"
    assert "does not record what its score measures" in say("models", MODEL)


@pytest.mark.parametrize(
    "name", [ODD, "映画のレビュー", "a/b:c", "%2F", "..", "x" * 200, "tab\there", "\u202eevil"]
)
def test_register_any_preset_name_becomes_product(project: Path, name: str) -> None:
    if name == "..":
        with pytest.raises(UserError, match=r"set registry.model"):
            product_named(name)
        return
    assert made(project, name, "a", 0.1) == made(project, "other", "b", 0.1) == "1"
    model = product_named(name).model
    assert not set(model) & set("/:'\"\u202e\t")
    assert champions(project) == {model: "1", "other": "1"}
    made(project, name, "c", 0.2)
    assert say("rollback", "--product", name, "--reason", "rude") and champions(project)[model] == "1"
    assert say("rollback", f"{model}/2", "--reason", "not rude") and champions(project)[model] == "2"
    assert say("rollback", f"{name}/1", "--reason", "rude after all") and champions(project)[model] == "1"


def test_register_foreign_registered_model_is_refused(project: Path) -> None:
    client = at(project).client
    client.create_registered_model("taken")
    client.create_model_version("taken", "file:///other", tags={"score": "1"})
    assert "No model is registered yet" in say("models")
    with pytest.raises(
        UserError, match=r"registered model taken was not created by chatmill.*registry.model"
    ):
        made(project, "taken", "a", 0.1)
    assert len(client.search_model_versions("name='taken'")) == 1


def test_models_product_named_as_an_address_is_the_product(project: Path) -> None:
    made(project, "demo", "a", 0.9)
    made(project, "demo/1", "b", 0.1)
    assert [line.split()[0] for line in say("models", "demo/1").splitlines()[:2]] == ["product", "demo/1"]
    assert "demo/1" not in say("models", "demo/champion")
