"""Test verdicts by opposite values, and yes and no under a name that means an approval."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.records import Rating
from tests.tasks.data.parsing.row_reader import read, read_file

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}


@pytest.mark.parametrize("end", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("stand", ["OK", "n.OK", "NOK"]), ("ergebnis", ["OK", "KO"]), ("line3", ["OK", "NG"]),
        ("todo", ["ok", "fix"]), ("action", ["publish", "do not publish"]), ("status", ["ok", "timeout"]),
        ("avis", ["conforme", "non conforme"]), ("decisión", ["publicar", "no publicar"]),
        ("colour", ["suitable", "unsuitable"]), ("x1", ["verwendbar", "nicht verwendbar"]),
        ("marca", ["apto", "no apto"]), ("wynik", ["zgodny", "nie zgodny"]), ("memo", ["ja", "überarbeiten"]),
        ("lead", ["send", "don\u2019t send"]), ("col_7", ["yes", "rework"]), ("qc", ["released", "held"]),
        ("sign_off", ["Y", "N"]), ("Freigabe", ["ja", "nein"]), ("Freigabe", ["J", "N"]),
        ("approval", ["si", "no"]), ("QC", ["1", "0"]), ("check", ["True", "False"]),
        ("is_refusal", ["True", "False"]), ("outcome", ["1", "0"]), ("audit", ["Y", "N"]),
        ("review", ["ja", "nee"]), ("passed", ["n", "y"]), ("Geprüft", ["x", "-1"][:1]),
        ("signedOff", ["no"]),
        ("contrôle", ["oui", "non"]), ("LGTM", ["t", "f"]), ("last_check", ["no", "yes"]),
        ("audit", ["success", "failure"]), ("bolt", ["IO", "NIO"]), ("go_live", ["go", "no-go"]),
        ("Hilfreich", ["ja", "nein"]), ("Utile", ["oui", "non"]), ("役に立った", ["はい", "いいえ"]),
        ("Полезно", ["да", "нет"]), ("Usage", ["training", "not for training"]),
        ("checked_by_legal", ["Yes", "No"]), ("approval at HQ", ["nein"]), ("passed_on_review", ["y", "n"]),
    ],
)  # fmt: skip
def test_skip_counts_check_opposite_values_need_meaning(end: str, key: str, values: list[str]) -> None:
    def told(**fields: Any) -> Any:
        if end == "jsonl":
            return read(*({**PAIR, key: value} for value in values), **fields)
        lines = [f"prompt,completion,{key}", *(f"Who {n}?,Me.,{value}" for n, value in enumerate(values))]
        return read_file(SourceFile("a.csv", "\n".join([*lines, ""]).encode()), **fields)

    _, tally = told()
    with pytest.raises(UserError, match=f"the key {key} is .* looks like a verdict; .*fields: "):
        tally.check("mine")
    _, tally = told(fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("language", ["ja", "en"]), ("language", ["no", "si", "de"]), ("split", ["train", "train_sft"]),
        ("source", ["web", "non_web"]), ("category", ["fiction", "non-fiction"]),
        ("gender", ["male", "female"]),
        ("has_image", [True, False]), ("has_image", ["Y", "N"]), ("has_code", ["yes", "unclear"]),
        ("us_state", ["OK", "TX"]), ("axis", ["x", "y"]), ("is_long", [1, 0]), ("check_id", [1, 0]),
        ("status", ["known", "unknown"]), ("audit_date", ["2020-01-01", "2021-01-01"]),
        ("married", ["ja", "nein"]),
        ("outcome", ["win", "draw"]), ("result", ["12", "15"]), ("kind", ["noun", "pronoun"]),
        ("n", [0, -1, 1]),
        ("answerable", ["yes", "no", "depends"]), ("smoker", ["smoker", "non-smoker"]),
        ("is_refusal", [False]),
        ("checked_by", ["ana", "ben"]), ("time_of_check", [1, 0]), ("size", ["union", "ion"]),
        ("zodiac_sign", ["libra", "leo"]),
        ("word", ["on", "with"]), ("chapter", ["1", "intro"]), ("code", ["ja", "zh-Hans"]),
        ("speaker", ["e", "anna"]), ("topic", ["math", "no math"]), ("test", ["1", "0"]),
        ("review_count", ["1", "0"]),
    ],
)  # fmt: skip
def test_skip_counts_check_ordinary_values_pass(key: str, values: list[Any]) -> None:
    found, tally = read(*({**PAIR, key: value} for value in values))
    tally.check("mine")
    assert len(found) == len(values)


@pytest.mark.parametrize("values", [("Y", "N"), ("t", "F"), ("on", "off")])
def test_read_rows_proposed_verdict_reads_flags(values: tuple[str, str]) -> None:
    rows = [{**PAIR, "sign_off": value} for value in values]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=r"fields: \{sign_off: verdict\}"):
        tally.check("mine")
    found, tally = read(*rows, fields={"sign_off": "verdict"})
    assert [one.row.scores for one in found if isinstance(one.row, Rating)] == [[1.0], [-1.0]]
