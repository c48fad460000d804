"""Every key of a preset refuses values of a wrong type or range, and the error names the key."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from flows.config import Preset, load_preset
from model.errors import UserError
from model.training.devices import find_device
from tasks.common.names import name_fault

SMALLEST = {"name": "mine", "data": {"sources": [{"name": "tales", "files": "*.txt", "format": "plain"}]}}
SUM = "0" * 64
ARCHIVE = {"package": "mill==1.0", "file": "mill-1.0.whl", "sha256": SUM}
# Keys whose numbers may be negative.
SIGNED = {"validate.limits.min_score", "validate.limits.max_score", "gate.min.kl", "gate.max.kl"}
NAMES = (
    "name", "registry.model", "registry.compare_with", "tracking.experiment", "execution.gpu_work_pool",
    "drift.reference_output", "data.sources.0.name", "data.sources.0.aspect",
)  # fmt: skip
REQUIRED = (
    "name", "data.sources.0.name", "data.sources.0.aspect", "data.sources.0.format", "tracking.experiment",
    "report.title", "device", "evaluate.judge", "validate.overrides_file",
)  # fmt: skip


def leaves(kind: Any, where: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield each key that is no section, with its type, and one entry of each list and mapping."""
    if isinstance(kind, type) and hasattr(kind, "model_fields"):
        for name, field in kind.model_fields.items():
            yield from leaves(field.annotation, (*where, field.alias or name))
    elif is_dataclass(kind):
        hints = get_type_hints(kind)
        for field in fields(kind):
            yield from leaves(hints[field.name], (*where, field.name))
    elif get_origin(kind) is tuple and is_dataclass(get_args(kind)[0]):
        yield from leaves(get_args(kind)[0], (*where, 0))
    elif get_origin(kind) is dict and is_dataclass(get_args(kind)[1]):
        yield from leaves(get_args(kind)[1], (*where, "mill"))
    else:
        yield where, kind


KEYS = [(".".join(map(str, path)), path, kind) for path, kind in leaves(Preset)]


def kinds(kind: Any) -> set[Any]:
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return {get_origin(part) or part for part in parts}


def preset_with(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    values: Any = copy.deepcopy(SMALLEST)
    if path[:2] == ("data", "archives"):
        values["data"]["archives"] = {"mill": dict(ARCHIVE)}
    if path[:2] == ("label_batch", "answers"):
        values["label_batch"] = {"answers": [{"model": "sft"}, {"model": "aligned"}]}
    place = values
    for part in path[:-1]:
        place = place[part] if isinstance(part, int) else place.setdefault(part, {})
    place[path[-1]] = value
    return values


def wrong_values(name: str, kind: Any) -> list[Any]:
    """Return values that a key of this type must refuse."""
    known = kinds(kind)
    wrong: list[Any] = [b"bytes", {1, 2}, object]
    wrong += [] if type(None) in known else [None]
    wrong += [] if bool in known else [True, False]
    if known & {int, float}:
        wrong += [
            "",
            "many",
            "nan",
            "-inf",
            "Infinity",
            "1e999",
            float("nan"),
            float("inf"),
            [1],
            {"a": 1},
            "true",
        ]
        wrong += [1e300, "9" * 400] if name != "seed" else []
        wrong += [] if name in SIGNED else [-1, -0.5, -(10**18)]
        if name != "seed":
            wrong.append(10**18)
        if float not in known:
            wrong += [2.5, "2.5", "1e3", "０"]
    if bool in known:
        wrong += [0, 1, 1.0, "true", "yes", "", [], {}, [True]]
    if known <= {str, Literal}:
        wrong += [1, 2.5, [], ["a"], {"a": "b"}, "nul\0", "\ud800"]
    if tuple in known and dict not in known:
        wrong += [1, 2.5, {"a": "b"}, [""], [None], [True], [1], ["a", ["b"]], ["nul\0"]]
        wrong += [] if str in known else ["text", ""]
    if dict in known:
        wrong += [1, [], ["a"], "", "text", {"x": None} if "gate" not in name else {"kl": True}, {1: 1}]
    return wrong


@pytest.mark.parametrize(("name", "path", "kind"), KEYS, ids=[name for name, _, _ in KEYS])
def test_check_preset_wrong_value_of_key_is_refused(
    name: str, path: tuple[str | int, ...], kind: Any
) -> None:
    for value in wrong_values(name, kind):
        with pytest.raises(UserError) as found:
            load_preset(preset_with(path, value))
        said = str(found.value)
        assert str(path[-1]) in said, (value, said)
        assert said.startswith(str(path[0])) and "\n" not in said and len(said) < 600, (value, said)


@pytest.mark.parametrize("name", [*NAMES, "data.sources.0.split"])
def test_preset_keys_include_checked_names(name: str) -> None:
    assert name in {key for key, _, _ in KEYS}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "wrong",
    ["../../x", "..", ".", "/etc/passwd", "a/../b", "a//b", "~root/x", "C:\\x", "two\nlines", "\x1b[2J"],
)
def test_check_preset_path_as_name_is_refused(name: str, wrong: str) -> None:
    path = next(path for key, path, _ in KEYS if key == name)
    # An error about a source's key names the source.
    said = r"data\.sources\.0: source .*: aspect" if path[-1] == "aspect" else name.replace(".", "[.]")
    with pytest.raises(UserError, match=rf"^{said} is "):
        load_preset(preset_with(path, wrong))


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("wrong", ["", " ", "\u200b"])
def test_check_preset_empty_name_is_refused(name: str, wrong: str) -> None:
    if name == "validate.overrides_file" and wrong == "\u200b":
        return
    path = next(path for key, path, _ in KEYS if key == name)
    with pytest.raises(UserError, match=path[-1] if isinstance(path[-1], str) else ""):
        load_preset(preset_with(path, wrong))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            ("gate", "judge"),
            r"^gate\.judge: unknown key; `evaluate\.judge` says .* `promote: {approval: people}`",
        ),
        (
            ("evaluate", "judge"),
            r"^evaluate\.judge is 'people'; .*, none; `promote: {approval: people}` lets",
        ),
    ],
)
def test_check_preset_people_as_judge_names_the_key_that_is_meant(
    path: tuple[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_preset(preset_with(path, "people"))


@pytest.mark.parametrize("device", ["cuda:99", "cuda:0", "CPU", "mps", "gpu", "auto ", "cpu\n"])
def test_check_preset_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(UserError, match=r"^device is .*; expected auto, cpu, cuda"):
        load_preset({**SMALLEST, "device": device})
    with pytest.raises(UserError, match=r"^device"):
        find_device(device)


@pytest.mark.parametrize(
    "name", ["press/films", "映画のレビュー", "a:b", "it's", "3", "x.y", "chat & replies (2024)"]
)
def test_check_preset_name_with_any_other_characters_is_accepted(name: str) -> None:
    assert name_fault(name) == ""
    assert load_preset(preset_with(("registry", "model"), name)).product == name


def test_check_preset_numbers_as_text_are_accepted() -> None:
    found = load_preset({**SMALLEST, "rlhf": {"optimizer": {"learning_rate": "1e-4"}, "steps": 40.0}})
    assert (found.rlhf.optimizer.learning_rate, found.rlhf.steps) == (1e-4, 40)


@pytest.mark.parametrize(
    "section", ["rlhf", "data", "pretrain.optimizer", "validate.limits", "parallel", "data.sources.0"]
)
@pytest.mark.parametrize("value", [None, 3, True, "text", [], [{}]])
def test_check_preset_value_in_place_of_section_is_refused(section: str, value: Any) -> None:
    path = tuple(int(part) if part.isdigit() else part for part in section.split("."))
    with pytest.raises(
        UserError, match=rf"^{section.replace('.', '[.]')} is .*expected a mapping of keys to values"
    ):
        load_preset(preset_with(path, value))


@pytest.mark.parametrize("how", [["run", "--dry-run"], ["ingest", "--dry-run"], ["run"]])
@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("pretrain.steps=true", "pretrain.steps"),
        ("name=../../x", "name"),
        ("device=cuda:99", "device"),
        ("data.strict=1", "data.strict"),
        ("architecture.num_kv_heads=-2", "architecture.num_kv_heads"),
        ("validate.max_label_share={annotator: 7}", "validate.max_label_share.annotator"),
    ],
)
def test_commands_wrong_preset_value_is_refused_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: list[str], change: str, key: str
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\ndata: {sources: [{name: tales, files: '*.txt'}]}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"^{key.replace('.', '[.]')} is "):
        CliRunner().invoke(app, [*how, "--config", "mine.yaml", "--set", change], catch_exceptions=False)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("sft", "steps"), "1e3", "sft.steps is '1e3'; .*; 1e3 is a text in YAML, so write 1000"),
        (("seed",), "2.50e2", "seed is '2.50e2'; .*so write 250"),
        (("sft", "steps"), "1_000", "so write 1000"),
        (
            ("report", "title"),
            True,
            "YAML reads yes, no, on and off as true or false, so put a text in quotes",
        ),
        (("report", "title"), date(2024, 1, 2), 'put a text in quotes, as in "2024-01-02"'),
        (("labels", "aspects"), [7], "labels.aspects.0 is 7; .*put a text in quotes"),
        (("data", "sources", 0, "fields"), {"vote": {"good": "1e2"}}, "1e2 is a text in YAML, so write 100"),
    ],
)
def test_load_preset_surprise_of_yaml_says_what_to_write(
    path: tuple[str | int, ...], value: Any, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        load_preset(preset_with(path, value))
