"""`chatmill label`: batches from files, and the page that it serves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from flows.cli.label import label
from flows.cli.people import people
from flows.servers.environment import checkout_environment, free_port, health_problem
from flows.servers.state_file import read_served
from model.errors import UserError
from tasks.labelling.batches import guide_text, list_batches
from tasks.labelling.schema import open_label_store
from tests.flows.cli_runner import call
from tests.tasks.labelling.label_project import judge, opened, person
from tests.waiting import PATIENCE, until

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # What a project has, without which most commands refuse to run.
    (tmp_path / "configs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(root: Path, count: int, name: str = "items.jsonl") -> str:
    rows = [{"prompt": f"Q{number}", "a": "good", "b": f"poor {number}"} for number in range(count)]
    (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def test_label_import_adds_a_batch_and_names_the_next_step(root: Path) -> None:
    (root / "guide.md").write_text("# Prefer the short one", encoding="utf-8")
    words = ("--name", "first", "--guide", "guide.md", "--aspect", "truth", "--needed", "3", "--markdown")
    said = call(label, "import", written(root, 2), *words).output
    assert "batch first: 2 items, each for 3 people" in said and "next: chatmill people add NAME adds" in said
    [store] = opened(root)
    [batch] = list_batches(store)
    assert (batch.name, batch.aspects, batch.needed, batch.markdown) == ("first", ("truth",), 3, True)
    assert guide_text(store, batch.guide) == "# Prefer the short one"
    said = call(label, "import", written(root, 3), "--name", "second", "--needed", "1").output
    assert "batch second: 1 item, each for 1 person" in said
    assert "2 items left out, as an earlier batch has them" in said
    call(people, "add", "Anna")
    said = call(label, "import", written(root, 4), "--name", "third").output
    assert "next: chatmill label serves the page; chatmill people add NAME adds somebody else" in said


def test_label_import_errors_name_what_is_wrong(root: Path) -> None:
    file = written(root, 1)
    with pytest.raises(UserError, match=r"missing\.md cannot be read"):
        call(label, "import", file, "--name", "x", "--guide", "missing.md")
    with pytest.raises(UserError, match=r"missing\.jsonl cannot be read"):
        call(label, "import", "missing.jsonl", "--name", "x")
    call(label, "import", file, "--name", "x")
    with pytest.raises(UserError, match="there is a batch named 'x'"):
        call(label, "import", written(root, 2), "--name", "x")


KILLED = """
import os, signal
from flows.cli import label
label.counted = lambda *words: os.kill(os.getpid(), signal.SIGKILL)
label.label(["import", "items.jsonl", "--name", "x", "--needed", "1"])
"""


def test_label_import_killed_after_its_commit_ends_well_at_the_second_try(root: Path) -> None:
    written(root, 3)
    done = subprocess.run([sys.executable, "-c", KILLED], env=checkout_environment(REPOSITORY), check=False)
    assert done.returncode == -9
    said = call(label, "import", "items.jsonl", "--name", "x", "--needed", "1").output
    assert "batch x was added before, from the same items: 3 items, each for 1 person" in said
    assert "next: chatmill people add NAME adds" in said
    [store] = opened(root)
    assert [(batch.name, batch.items) for batch in list_batches(store)] == [("x", 3)]


def test_label_batches_close_and_reopen(root: Path) -> None:
    said = call(label, "batches").output
    assert said.index("`chatmill label batch` makes one") < said.index("`chatmill label import FILE")
    call(label, "import", written(root, 2), "--name", "a batch")
    assert re.search(r"a batch +all +\S+ +2 +2 +0 of 4 +0 +open", call(label, "batches").output)
    with open_label_store(root) as store:
        for name, numbers in (("Ana", (1, 2)), ("Ben", (1,))):
            for number in numbers:
                judge(store, person(store, name), number)
    assert re.search(r"a batch +all +\S+ +2 +2 +3 of 4 +1 +open", call(label, "batches").output)
    said = call(label, "close", "a batch").output
    assert "closed a batch" in said and "chatmill label reopen 'a batch'" in said
    assert re.search(r"a batch .* closed", call(label, "batches").output)
    assert "opened a batch" in call(label, "reopen", "a batch").output
    with pytest.raises(UserError, match="no batch named 'b'"):
        call(label, "close", "b")


def test_label_product_is_recorded_and_shown(root: Path) -> None:
    call(label, "import", written(root, 2), "--name", "first", "--product", "team")
    assert re.search(r"first +team ", call(label, "batches").output)
    assert "first is of the product demo" in call(label, "product", "first", "demo").output
    assert re.search(r"first +demo ", call(label, "batches").output)
    with pytest.raises(UserError, match="no batch named 'second'"):
        call(label, "product", "second", "demo")
    with pytest.raises(UserError, match="the product's name is empty"):
        call(label, "import", written(root, 1), "--name", "x", "--product", " ")


def test_label_guide_changes_the_guide_of_a_batch(root: Path) -> None:
    call(label, "import", written(root, 2), "--name", "first")
    (root / "guide.md").write_text("# Prefer the true one", encoding="utf-8")
    assert "judgements from now on follow it" in call(label, "guide", "first", "guide.md").output
    [store] = opened(root)
    [batch] = list_batches(store)
    assert guide_text(store, batch.guide) == "# Prefer the true one"
    with pytest.raises(UserError, match="no batch named 'second'"):
        call(label, "guide", "second", "guide.md")


def test_people_add_list_and_remove(root: Path) -> None:
    assert "there is nobody" in call(people, "list").output
    said = call(people, "add", "Anna", "--reviewer").output
    assert "Anna, reviewer: added" in said and "the page is not running here" in said
    assert "serves it at port 4300. `--address http://HOST:PORT` gives another address" in said
    [link] = re.findall(r"link  (\S+)", said)
    assert re.fullmatch(r"http://127\.0\.0\.1:4300/sign-in#[\w-]{43}", link)
    said = call(people, "add", "Anna", "--address", "https://labels.example/").output
    # A new link changes no role.
    assert "https://labels.example/sign-in#" in said and "Anna, reviewer: is there already" in said
    assert "Anna, labeller: is there already" in call(people, "add", "Anna", "--labeller").output
    assert re.search(r"Anna +labeller +link", call(people, "list").output)
    assert "can sign in no more; their judgements stay" in call(people, "remove", "Anna").output
    assert re.search(r"Anna +labeller +removed", call(people, "list").output)
    with pytest.raises(UserError, match="nobody named 'Bob'"):
        call(people, "remove", "Bob")
    with pytest.raises(UserError, match="expected http"):
        call(people, "add", "Anna", "--address", "labels.example")


@pytest.mark.parametrize(
    "address",
    ["http://[fe80::1]:4300", "https://labels.example/team/", "http://[::1]", "https://größer.example:8443"],
)
def test_people_add_address_is_printed_as_it_is(root: Path, address: str) -> None:
    said = call(people, "add", "Anna", "--address", address).output
    assert f"link  {address.rstrip('/')}/sign-in#" in said


@pytest.mark.parametrize(
    "address",
    [
        "http://", "http:///x", "http://h/[/bold]", "http://h/?q", "http://h/#x", "http://h:99999", "http://h:x",
        "http://max:secret@h", "http://h /a", "http://h/a\nb", "http://[fe80::1", "ftp://h", "h", "http://[bold]",
        "http://h/\x1b[31m",
    ],
)  # fmt: skip
def test_people_add_address_that_makes_no_link_is_refused_and_adds_nobody(root: Path, address: str) -> None:
    with pytest.raises(UserError, match="--address"):
        call(people, "add", "Anna", "--address", address)
    assert "there is nobody" in call(people, "list").output


def test_label_serves_until_stopped_and_people_add_finds_it(root: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "flows.cli.main", "label", "--port", str(port)]
    environment = {**checkout_environment(REPOSITORY), "COLUMNS": "120"}
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            until(lambda: (found := read_served(root)) is not None and found.ready, "the page", process)
            address = f"http://127.0.0.1:{port}"
            assert health_problem(address) == ""
            assert f"{address}/sign-in#" in call(people, "add", "Anna").output
            with urllib.request.urlopen(f"{address}/") as page:
                assert b"Sign in to label" in page.read()
        finally:
            os.kill(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    assert "nobody can sign in yet" in said and address in said and said.rstrip().endswith("stopped")
    assert health_problem(address) != "" and read_served(root) is None
