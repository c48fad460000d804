"""Invalid presets and YAML: one sentence, quickly, and with bounded reading."""

import os
import socket
import time

import pytest

from flows.common.yaml_reader import LARGEST_BYTES, parse_yaml, read_yaml_file
from flows.config import read_preset
from model.errors import UserError

DATA = "name: x\ndata: {sources: [{name: s, files: a.txt}]}\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("# nothing\n---\n", "is empty"),
        ("- name: x\n", "is a list"),
        ("just words", "is a value"),
        ("name: x\n\tdata: y\n", "line 2"),
        ("name: a\x00b\n", r"line 1: not YAML \(the character U\+0000"),
        ("name: x\nseed: \x1b\n", r"line 2: not YAML \(the character U\+001B"),
        ("a: " + "[" * 5000, "nested more than 50"),
        ("a: " + "{b: " * 4000, "nested more than 50"),
        ("".join(f"{' ' * n}k:\n" for n in range(900)), "nested more than 50"),
        ("name: x\nseed: " + "9" * 5000, "line 2.*is not a valid value"),
        ("name: x\nseed: 0x" + "f" * 5000, "line 2.*too large"),
        ("name: x\nseed: .inf\n", "line 2.*finite"),
        (
            "name: x\nseed: 1:20\n",
            "line 2.*1:20 is not a valid value: YAML reads it as 80, in base 60",
        ),
        (DATA + "sft:\n  steps: -2:30:00\n", "line 4.*YAML reads it as -9000, in base 60"),
        (DATA + "sft: {loss: 1:20.5}\n", "line 3.*YAML reads it as 80.5, in base 60"),
        (DATA + "12:30: x\n", "line 3.*12:30 is not a valid value: YAML reads it as 750"),
        ("name: x\nseed: 2024-99-99\n", "line 2.*is not a valid value"),
        (BOMB, "aliases expand to more than"),
        ("a: &a [*a]\n", "contains itself"),
        ("a: &a {b: *a}\n", "contains itself"),
        ("name: x\nseed: 1\nseed: 2\n", "line 3: not YAML .the key seed is given twice, first in line 2"),
        (DATA + "sft:\n  steps: 1\n  batch_size: 2\n  steps: 3\n", "line 6.*steps is given twice"),
        (DATA + "sft:\n  steps: 017\n", "line 4.*017 is not a valid value: YAML reads it as 15, in base 8"),
        (DATA + "seed: -0_10\n", "line 3.*reads it as -8, in base 8; write -10 or -8"),
        (DATA + "0777: 1\n", "line 3.*reads it as 511"),
        (DATA + "1: a\n1.0: b\n", "line 4.*the key 1.0 is given twice, first in line 3"),
        (DATA + "no: a\n'no': b\n", "line 4.*the key no is given twice, first in line 3"),
        (DATA + "sft: {<<: {steps: 1, steps: 2}}\n", "line 3.*the key steps is given twice"),
        (DATA + "<<: {seed: 1}\n<<: {seed: 2}\n", "line 4.*the key << is given twice.*write one with a list"),
        ("? [a]\n: b\n", "unhashable"),
        ("name: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        ("a: b\n---\nc: d\n", "line 2"),
        ("<<<<<<< HEAD\nname: x\n=======\nname: y\n>>>>>>> other\n", "line 1: a merge conflict; resolve it"),
        (DATA + "<<<<<<< a\nseed: 1\n=======\nseed: 2\n>>>>>>> b\n", "line 3: a merge conflict; resolve it"),
        (DATA + "sft:\n<<<<<<<\n  steps: 1\n=======\n>>>>>>>\n", "line 4: a merge conflict; resolve it"),
        ("k" * 100_000 + ": 1\n", "not"),
        (DATA + "q" * 1000 + ": 1\n", "unknown key"),
        (DATA + "seed: " + "w" * 100_000, "seed"),
        (DATA + "1: 2\n", "1: unknown key"),
        (DATA + "~: 2\n", "None: unknown key"),
    ],
)
def test_read_preset_invalid_yaml_is_refused_with_one_sentence(tmp_path, text, says):
    path = tmp_path / "preset.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.monotonic()
    with pytest.raises(UserError, match=says) as found:
        read_preset(path)
    assert time.monotonic() - began < 10 and len(str(found.value)) < 600 and "\n" not in str(found.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_read_preset_other_encoding_is_refused(tmp_path, encoding):
    path = tmp_path / "preset.yaml"
    path.write_bytes(("\ufeff" * encoding.endswith("e") + DATA.replace("x", "\u00fc")).encode(encoding))
    with pytest.raises(UserError, match="UTF-8") as found:
        read_preset(path)
    assert ("save the file as UTF-8" in str(found.value)) == encoding.startswith("utf")


def test_read_preset_special_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "large").write_bytes(b"#" * (LARGEST_BYTES + 1))
    (tmp_path / "latin").write_bytes("name: x\nbase_model: caf\xe9\n".encode("latin-1"))
    wanted = {
        tmp_path: "is a folder", tmp_path / "pipe": "is a pipe", tmp_path / "socket": "is a socket",
        tmp_path / "loop": "cannot be read", tmp_path / "nowhere": "cannot be read",
        tmp_path / "large": "larger than 1 MB", tmp_path / "latin": "line 2: not UTF-8",
    }  # fmt: skip
    for path, says in wanted.items():
        with pytest.raises(UserError, match=says):
            read_preset(path)
    for name in ("/dev/zero", "/dev/null"):
        with pytest.raises(UserError, match="is a device"):
            read_preset(type(tmp_path)(name))


def test_parse_yaml_keeps_anchors_and_merges():
    found = parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n", "here")
    assert found == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{yes: 1, no: -1}", {"yes": 1, "no": -1}),
        ("{on: a, Off: b, =: tie}", {"on": "a", "Off": "b", "=": "tie"}),
        ("{<<: {no: 1}, Yes: no}", {"no": 1, "Yes": False}), ("{true: 1}", {"true": 1}),
        ("[07, 1_000, 0x1F, 1.5e+3]", [7, 1000, 31, 1500.0]),
    ],
)  # fmt: skip
def test_parse_yaml_values_of_yaml_1_1_are_what_a_reader_expects(text, wanted):
    assert parse_yaml(text, "here") == wanted


@pytest.mark.parametrize(
    "change", ["seed=[", "seed=\x00", "a=" + "[" * 99, "seed: 3", "=1", "seed=1e", "..=1"]
)
def test_read_preset_malformed_change_is_refused(tmp_path, change):
    path = tmp_path / "preset.yaml"
    path.write_text(DATA)
    with pytest.raises(UserError):
        read_preset(path, [change])
    assert read_yaml_file(path)["name"] == "x"
