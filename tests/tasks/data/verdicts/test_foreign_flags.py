"""Test names and values of other languages which say that a row may not be used."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}


def rows(key: str, values: list[Any]) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Name bird {n}.", "completion": f"Robin {n}.", key: values[n % len(values)]}
        for n in range(12)
    ]


@pytest.mark.parametrize(
    ("key", "values", "meaning"),
    [
        ("Rejeitada", ["1", "0"], "deleted"), ("Inválida", ["true", "false"], "deleted"),
        ("Anulada", ["0", "1", "0"], "deleted"), ("Desactualizada", [True, False], "deleted"),
        ("Scaduta", ["0", "1"], "deleted"), ("Périmée", ["1", "0"], "deleted"),
        ("Resolue", ["1", "0"], "weight"),
        ("Homologada", ["1", "0"], "weight"), ("isMinimized", [False, True], "deleted"),
        ("Überholt", ["1", "0"], "deleted"), ("Reverted", ["N", "Y"], "deleted"),
        ("Anulada", ["", "x"], "deleted"),
    ],
)  # fmt: skip
def test_skip_counts_flag_in_any_gender_is_proposed(key: str, values: list[Any], meaning: str) -> None:
    _, tally = read(*rows(key, values))
    with pytest.raises(UserError, match=f"the key {key} is .*fields: {{{key}: {meaning}"):
        tally.check("mine")
    _, tally = read(*rows(key, values), fields={key: meaning})
    tally.check("mine", {key: meaning})


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("Estado", ["Vigente", "Vencida"]), ("Stato", ["Attiva", "Nascosta"]),
        ("État", ["Normal", "Refusée"]),
        ("Stand", ["Normal", "Überholt"]), ("state", ["current", "superseded"]),
        ("Kommentar", ["streichen", ""]),
        ("Anulada", ["", "S"]), ("Homologado", ["S", "N"]), ("Geprüft am Ende", ["J", "N"]),
        ("A resposta foi útil?", ["Sim", "Não", "Em partes"]), ("Verständlich", ["ja", "nein", "teilweise"]),
        ("Claire", ["oui", "non", "en partie"]), ("QA", ["P", "F"]),
        ("Druckreif", ["", "x"]), ("Publicada", ["x", ""]), ("RAG", ["R", "A", "G"]),
        ("call", ["TP", "FP", "TN"]), ("Eindruck", [":-)", ":-("]), ("Avis", ["favorable", "défavorable"]),
        ("Anmerkung", ["stimmt", "stimmt nicht"]), ("is_answer", [True, False]),
    ],
)  # fmt: skip
def test_skip_counts_value_against_its_row_needs_meaning(key: str, values: list[Any]) -> None:
    _, tally = read(*rows(key, values))
    with pytest.raises(UserError, match="looks like a verdict"):
        tally.check("mine")
    _, tally = read(*rows(key, values), fields={key: "ignore"})
    tally.check("mine", {key: "ignore"})


@pytest.mark.parametrize(
    "columns",
    [
        {"ph": [7.0, 6.5, 7.4], "od600": [0.4, 0.5], "replicate": [1, 2, 3]},
        {"additions": [1, 33, 4], "deletions": [4, 5, 0], "commits": [1, 2]},
        {"floor": ["1", "2", "3"], "bed": ["1", "2"], "ward": ["A", "B"]},
        {"Zona": ["1", "2"], "Distrito": ["4", "5"], "Turno": ["1", "2", "3"]},
        {"weight_kg": ["0.5", "1.2"], "height_cm": ["3", "4"]},
        {"Kinder": ["0", "1", "2"], "Etage": ["1", "2"], "Zimmer": ["2", "3"]},
        {"Auflage": ["1", "2", "3"], "Band": ["1", "2"], "Reihe": ["A", "B"]},
        {"Semana": ["1", "2", "3"], "Nivel": ["1", "2"], "cited_by": ["3", "10"]},
        {"hemisphere": ["N", "S"], "lat": ["S", "N"]},
    ],
)
def test_skip_counts_ordinary_columns_ask_nothing(columns: dict[str, list[Any]]) -> None:
    many = [
        {"prompt": f"Name bird {n}.", "completion": f"Robin {n}."}
        | {key: values[n % len(values)] for key, values in columns.items()}
        for n in range(12)
    ]
    _, tally = read(*many)
    tally.check("mine")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("Resposta corrigida", "Procure a prefeitura, por favor."),
        ("Neue Fassung", "Man zählt sie am Abend."),
        ("Autorkorrektur", "Nach drei Tagen zählt man."),
        ("Respuesta revisada", "Vaya a la oficina central."),
    ],
)  # fmt: skip
def test_skip_counts_newer_answer_in_any_gender_is_a_correction(key: str, text: str) -> None:
    _, tally = read(PAIR | {key: ""}, PAIR | {key: text})
    with pytest.raises(UserError, match="correction"):
        tally.check("mine")
