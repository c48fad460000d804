"""`chatmill config migrate`: old keys are renamed in the file, and nothing else in it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from flows.cli.config import config
from flows.cli.config_reference import field_docstrings, key_tables, update_meanings, update_page
from flows.cli.key_migration import migrate_keys
from flows.config import Preset
from model.errors import UserError
from tasks.common.old_keys import rename_old_keys
from tasks.data.values.field_meanings import FIELD_MEANINGS
from tests.flows.cli_runner import call

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
HEAD = "name: mine\ndata: {sources: [{name: tales, files: '*.txt', format: plain}]}\n"


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD + "rlhf: {clip: 0.1} # small\n")
    return path


def test_migrate_of_every_old_key_gives_present_file() -> None:
    old = (FIXTURES / "old_keys.yaml").read_text()
    found, changes = migrate_keys(old, "x")
    present = (FIXTURES / "present_keys.yaml").read_text()
    assert found.splitlines()[1:] == present.splitlines()[1:] and len(changes) > 90
    assert migrate_keys(present, "x") == (present, [])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "sft: {batch: 4, optimizer: {clip: 0.2, warmup: 0.1}}",
            "sft: {batch_size: 4, optimizer: {max_grad_norm: 0.2, warmup_ratio: 0.1}}",
        ),
        ('"rlhf": {"clip": 0.2, \'trace\': 0.5}', '"rlhf": {"clip_range": 0.2, \'gae_lambda\': 0.5}'),
        (
            "rlhf:\n    clip :  0.2   # of the ratio\n\n    # next\n    epochs: 2\n",
            "rlhf:\n    clip_range :  0.2   # of the ratio\n\n    # next\n    ppo_epochs: 2\n",
        ),
        ("? rlhf\n: {? clip : 0.2}", "? rlhf\n: {? clip_range : 0.2}"),
        ("rlhf: {&k clip: 0.2, !!str trace: 0.4}", "rlhf: {&k clip_range: 0.2, !!str gae_lambda: 0.4}"),
        (
            "sft: &t\n  batch: 4\nreward:\n  <<: *t\n  group: 4\n",
            "sft: &t\n  batch_size: 4\nreward:\n  <<: *t\n  group_size: 4\n",
        ),
        ("sft: &t {batch: 4}\nreward: *t\n", "sft: &t {batch_size: 4}\nreward: *t\n"),
        (
            "sft: &a {batch: 4}\npretrain: &b {batch: 1}\nreward: {<<: [*a, *b], steps: 2}\n",
            "sft: &a {batch_size: 4}\npretrain: &b {batch_size: 1}\nreward: {<<: [*a, *b], steps: 2}\n",
        ),
        ("spread: # workers\n  dask: local\n", "parallel: # workers\n  dask_address: local\n"),
        (
            "gate:\n  least: {kl: 1, base_length: 2} # least: kl\n",
            "gate:\n  min: {kl: 1, base_length: 2} # least: kl\n",
        ),
        (
            "rlhf: {clip: 0.2}\r\nseed: 3\r\nsft: {batch: 4}\r\n",
            "rlhf: {clip_range: 0.2}\r\nseed: 3\r\nsft: {batch_size: 4}\r\n",
        ),
        (
            "evaluate: {sentence: 'prompts: clip', words: [batch, clip]}",
            "evaluate: {attention_sentence: 'prompts: clip', probe_words: [batch, clip]}",
        ),
        (
            "validate: {sources: {sources: 0.1}, limits: {aspects: [lowest]}}",
            "validate: {max_bad_fraction_by_source: {sources: 0.1}, limits: {aspects: [lowest]}}",
        ),
        (
            "evaluate: {sentence: Größe 磨坊 🌾, words: [é]} # ü\nrlhf: {clip: 1}",
            "evaluate: {attention_sentence: Größe 磨坊 🌾, probe_words: [é]} # ü\nrlhf: {clip_range: 1}",
        ),
    ],
)
def test_migrate_renames_keys_and_keeps_rest(old: str, new: str) -> None:
    found, changes = migrate_keys(HEAD + old, "x")
    assert found == HEAD + new and changes
    assert yaml.safe_load(found) == rename_old_keys(yaml.safe_load(HEAD + old))[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sft:\n  steps: 3\n  # batch: 4\n", "sft:\n  steps: 3\n  # batch_size: 4\n"),
        ("sft:\n  steps: 3\n  #batch: 4 # rows\n", "sft:\n  steps: 3\n  #batch_size: 4 # rows\n"),
        ("sft:\n  steps: 3\n#  batch: 4\n", "sft:\n  steps: 3\n#  batch_size: 4\n"),
        (
            "sft:\n  optimizer:\n    lr: 1.0e-3\n    # clip: 1\n  # patience: 2\n",
            "sft:\n  optimizer:\n    lr: 1.0e-3\n    # max_grad_norm: 1\n  # early_stopping_patience: 2\n",
        ),
        ("# rlhf:\n#   clip: 0.1\n#   epochs: 2\n", "# rlhf:\n#   clip_range: 0.1\n#   ppo_epochs: 2\n"),
        ("# rlhf: {clip: 0.1, steps: 3}\r\n", "# rlhf: {clip_range: 0.1, steps: 3}\r\n"),
        ("# spread:\n#   dask: local\n", "# parallel:\n#   dask_address: local\n"),
        ("# base: var/llama\nseed: 3\n", "# base_model: var/llama\nseed: 3\n"),
        (
            "gate:\n  # least: {kl: 1}\n  score: reward_gain\n",
            "gate:\n  # min: {kl: 1}\n  ranking_metric: reward_gain\n",
        ),
    ],
)
def test_migrate_renames_keys_of_commented_settings(old: str, new: str) -> None:
    found, changes = migrate_keys(HEAD + old, "x")
    assert found == HEAD + new and any(change.commented for change in changes)
    assert migrate_keys(found, "x") == (found, [])


@pytest.mark.parametrize(
    "text",
    [
        "sft:\n  steps: 3\n  # batch: rows of one step\n",
        "# clip and epochs are those of rlhf\nsft:\n  steps: 3\n",
        "sft:\n  # see batch: 4\n  steps: 3\n",
        "evaluate:\n  attention_sentence: |\n    rain\n    # words: [mill]\n  # few\n  seed: 1\n",
        "registry:\n  # clip: 4\n  model: x\n",
        "sft:\n  # batch: [4\n  steps: 3\n",
    ],
)
def test_migrate_keeps_prose_and_texts(text: str) -> None:
    assert migrate_keys(HEAD + text, "x") == (HEAD + text, [])


def test_migrate_of_list_items_renames_commented_keys() -> None:
    head = "name: mine\ndata:\n  sources:\n    - name: a\n      files: x\n"
    old = head + "      # documents: paragraph\n    # - name: b\n    #   labelling: c.xml\n"
    new = head + "      # document_unit: paragraph\n    # - name: b\n    #   label_config: c.xml\n"
    assert migrate_keys(old, "x")[0] == new


def test_migrate_reports_commented_settings(preset: Path) -> None:
    preset.write_text(HEAD + "sft:\n  steps: 3\n  # batch: 4\n")
    said = call(config, "migrate", "--dry-run", str(preset)).stdout
    assert "-  # batch: 4" in said and "+  # batch_size: 4" in said
    said = call(config, "migrate", str(preset)).stdout
    assert "line 5: sft.batch is now sft.batch_size (commented out)" in said and "1 key renamed" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "rlhf: &r {clip: 0.2}\nsft: {optimizer: *r}\n",
            r"x, line 3: an alias makes this key both rlhf\.clip and",
        ),
        ("promote: {approval: &k clip}\nrlhf: {*k : 0.2}\n", r"x: the old keys in lines 3 cannot be renamed"),
        ("rlhf: {clip: 1, clip_range: 1}\n", r"x: rlhf\.clip is the old name of rlhf\.clip_range, and both"),
        ("sft: {<<: {batch: 4}, batch_size: 2}\n", r"x: sft\.batch is the old name"),
        ("rlhf: {clip: 1\n", r"x, line \d: not YAML"),
        ("--- \nrlhf: {clip: 1}\n", r"x, line 3: not YAML"),
    ],
)
def test_migrate_refuses_what_it_cannot_rename(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        migrate_keys(HEAD + text, "x")


@pytest.mark.parametrize(
    "text",
    ["", "- a\n", "just words", "name: chatmill\ndeployments: []\n", "data: 3\nname: x\n", "clip: 1\n"],
)
def test_migrate_refuses_files_that_are_no_presets(preset: Path, text: str) -> None:
    preset.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml is not a preset: a preset has a `name`, and `data`"):
        call(config, "migrate", str(preset))
    assert preset.read_text() == text


def test_migrate_writes_file_and_prints_each_change(preset: Path) -> None:
    preset.chmod(0o640)
    said = call(config, "migrate", str(preset)).stdout
    assert "line 3: rlhf.clip is now rlhf.clip_range" in said and "1 key renamed" in said
    assert preset.read_text() == HEAD + "rlhf: {clip_range: 0.1} # small\n"
    assert preset.stat().st_mode & 0o777 == 0o640 and os.listdir(preset.parent) == ["mine.yaml"]
    assert "has no old keys; there is nothing to do" in call(config, "migrate", str(preset)).stdout


def test_migrate_leftover_of_killed_migration_is_removed(preset: Path) -> None:
    (preset.parent / "mine.yaml.7.part").write_text(HEAD + "rlhf: {clip_range")
    (preset.parent / "mine.yaml.8.part").write_text("name: another\n")
    call(config, "migrate", str(preset))
    assert sorted(os.listdir(preset.parent)) == ["mine.yaml", "mine.yaml.8.part"]


def test_migrate_with_dry_run_shows_a_diff_and_writes_nothing(preset: Path) -> None:
    before = preset.read_text()
    said = call(config, "migrate", "--dry-run", str(preset)).stdout
    assert "-rlhf: {clip: 0.1} # small" in said and "+rlhf: {clip_range: 0.1} # small" in said
    assert preset.read_text() == before


def test_migrate_of_a_link_writes_its_target(preset: Path) -> None:
    link = preset.with_name("link.yaml")
    link.symlink_to(preset.name)
    call(config, "migrate", str(link))
    assert link.is_symlink() and "clip_range" in preset.read_text()


@pytest.mark.parametrize(("name", "says"), [("gone.yaml", "does not exist"), (".", "is a folder")])
def test_migrate_names_files_that_cannot_be_read(
    preset: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    monkeypatch.chdir(preset.parent)
    with pytest.raises(UserError, match=says):
        call(config, "migrate", name)


def test_migrate_keeps_line_ends_and_byte_order_mark(preset: Path) -> None:
    text = "\ufeff" + HEAD.replace("\n", "\r\n") + "rlhf: {clip: 0.1}\r\n"
    preset.write_bytes(text.encode())
    call(config, "migrate", str(preset))
    assert preset.read_bytes().decode() == text.replace("clip", "clip_range")


def test_configuration_page_has_present_tables() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert update_page(page) == page, "run `make reference`"
    assert all(f"<!-- keys: {name} -->" in page for name in key_tables())


def test_verdicts_page_lists_the_meanings_that_fields_takes() -> None:
    page = (ROOT / "docs" / "verdicts.md").read_text("utf-8")
    assert update_meanings(page) == page, "run `make reference`"
    assert all(f"| `{meaning}` |" in page for meaning in FIELD_MEANINGS)
    # A meaning that is missing in the page is written into it.
    assert update_meanings(page.replace("| `penalty_vote` |", "| `other` |")) == page


def test_every_key_has_a_docstring() -> None:
    empty = [
        (name, each.key) for name, entries in key_tables().items() for each in entries if not each.meaning
    ]
    assert empty == [] and "seed" in field_docstrings(Preset)
