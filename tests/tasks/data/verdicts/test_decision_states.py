"""Test states and decisions that take a row back, in several languages, and ordinary columns beside them."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.verdicts.decision_states import is_held
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
TEXT = {"text": "Some words about birds."}
CHAT = {"messages": [{"role": "user", "content": "A bird?"}, {"role": "assistant", "content": "A robin."}]}
CHOICE = {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "No."}


def _with_key(row: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return {**row, **value}


@pytest.mark.parametrize("row", [PAIR, TEXT, CHAT, CHOICE])
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("adjudicated", ["reversed", "upheld"]), ("adjudication.result", ["changed", "kept as is"]),
        ("second_opinion", ["differs", "agrees"]), ("curation.qc.status", ["on hold", "released"]),
        ("review.qa.state", ["parked", "through"]), ("status", ["on hold"]), ("queue", ["held back", "go"]),
        ("estado", ["en espera", "listo"]), ("stato", ["sospeso", "attivo"]), ("état", ["suspendu", "mis"]),
        ("lage", ["zurückgestellt", "frei"]), ("situação", ["em espera", "foi"]), ("状態", ["保留", "済"]),
        ("Endfassung", ["nein", "ja"]), ("Endfassung", ["nein"]), ("version finale", ["non", "oui"]),
        ("versión final", ["no", "sí"]), ("versione definitiva", ["no", "sì"]), ("Definitiv", ["Ja", "Nein"]),
        ("unbekannt_wort", ["nein", "ja"]), ("окончательно", ["нет", "да"]), ("fehlerhaft", ["ja", "nein"]),
        ("system_note", ["do not use", ""]), ("memo", ["please do not publish", "fine"]),
        ("hinweis", ["nicht mehr verwenden", "in Ordnung"]), ("remarque", ["à ne pas utiliser", "rien"]),
        ("overturned", [True, False]), ("on_hold", ["yes", "no"]), ("appeal", ["overturned", "sustained"]),
    ],
)  # fmt: skip
def test_skip_counts_check_decision_needs_meaning(row: dict[str, Any], path: str, values: list[Any]) -> None:
    rows = [_with_key(row, path, value) for value in values]
    _, tally = read(*rows)
    with pytest.raises(UserError, match=f"the key {path} is .* looks like a verdict; .*fields: "):
        tally.check("mine")
    _, tally = read(*rows, fields={path: "ignore"})
    tally.check("mine", {path: "ignore"})


@pytest.mark.parametrize("remark", ["do not use", "Do not train on this one", "bitte nicht verwenden"])
def test_skip_counts_check_one_forbidding_remark_among_many_is_asked(remark: str) -> None:
    rows = [{**PAIR, "remark": f"Seen on page {n}, in the second paragraph below."} for n in range(30)]
    _, tally = read(*rows, {**PAIR, "remark": remark})
    with pytest.raises(UserError, match=r"the key remark is .* looks like a verdict"):
        tally.check("mine")


@pytest.mark.parametrize("row", [PAIR, TEXT, CHAT])
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("language", ["en", "de", "ja", "no"]), ("lang", ["no", "si"]), ("topic", ["hold", "trains"]),
        ("source", ["wiki", "web"]), ("license", ["cc-by", "mit"]), ("difficulty", ["easy", "hard"]),
        ("date", ["2024-01-01", "2024-02-01"]), ("url", ["https://a.example/1", "https://a.example/2"]),
        ("order_status", ["on hold", "shipped", "delivered"]), ("order.status", ["on hold", "paid"]),
        ("status", ["shipped", "on hold", "refunded"]), ("bestellung", ["gesperrt", "geliefert"]),
        ("account.state", ["suspended", "open"]), ("sort_direction", ["reversed", "normal"]),
        ("disposition", ["reversed", "affirmed"]), ("court_result", ["overruled", "affirmed"]),
        ("author", ["ana", "ben"]), ("country", ["NO", "DE"]), ("domain", ["law", "medicine"]),
        ("category", ["disputed places", "rivers"]), ("split", ["train"]), ("version", [1, 2]),
        ("word_count", [12, 30]), ("married", ["ja", "nein"]), ("Mit Bild", ["ja", "nein"]),
        ("Newsletter", ["oui", "non"]), ("has_code", ["yes", "no"]), ("trade", ["buy", "hold", "sell"]),
        ("curation.date", ["2024-01-01", "2024-02-01"]), ("qc.batch", ["a7", "a8"]),
        ("adjudicated_by", ["ana", "ben"]), ("level", ["B1", "C2"]), ("style", ["formal", "casual"]),
        ("weather", ["suspended dust", "clear"]), ("price", ["12.50", "9.99"]), ("model", ["m-1", "m-2"]),
    ],
)  # fmt: skip
def test_skip_counts_check_ordinary_column_is_not_asked(
    row: dict[str, Any], path: str, values: list[Any]
) -> None:
    found, tally = read(*(_with_key(row, path, value) for value in values))
    tally.check("mine")
    assert len(found) == len(values)
    assert path in tally.unread


@pytest.mark.parametrize(
    ("path", "values", "proposal"),
    [
        ("Hat Ihnen das geholfen?", ["ja", "nein"], "verdict"), ("Freigabe", ["ja", "nein"], "verdict"),
        ("Cela vous a-t-il aidé ?", ["oui", "non"], "verdict"), ("¿Le ayudó?", ["sí", "no"], "verdict"),
        ("¿Recomendaría nuestro servicio?", ["Sí", "No"], "verdict"), ("falsch", ["ja", "nein"], "penalty"),
        ("faux", ["oui", "non"], "penalty"), ("fehlerhaft", [True, False], "deleted"),
        ("Endfassung", ["nein", "ja"], "weight"), ("versión final", ["no", "sí"], "weight"),
        ("Umgestellt", ["ja", "nein"], "{ja: ..., nein: ...}"),
        ("adjudicated", ["reversed", "upheld"], "{reversed: ignore, upheld: accept}"),
        ("adjudicated", ["changed", "same"], "{changed: ..., same: ...}"),
        ("curation.qc.status", ["on hold", "ok"], "{ok: accept, on_hold: ignore}"),
        ("system_note", ["do not use", "fine"], "{do_not_use: ignore, fine: accept}"),
    ],
)  # fmt: skip
def test_skip_counts_propose_decision_learns_nothing_taken_back(
    path: str, values: list[Any], proposal: str
) -> None:
    _, tally = read(*(_with_key(PAIR, path, value) for value in values))
    assert tally.propose_all(tally.asks()) == {path: proposal}


@pytest.mark.parametrize(
    ("fields", "values", "scores"),
    [
        ({"Hilfreich": "verdict"}, ["ja", "nein"], [[1.0], [-1.0]]),
        ({"Utile": "verdict"}, ["oui", "non"], [[1.0], [-1.0]]),
        ({"Útil": "verdict"}, ["si\u0301", "no"], [[1.0], [-1.0]]),
        ({"falsch": "penalty"}, ["ja", "nein"], [[-1.0], [1.0]]),
    ],
)
def test_read_rows_yes_and_no_in_other_languages_are_flags(
    fields: dict[str, Any], values: list[str], scores: list[list[float]]
) -> None:
    key = next(iter(fields))
    found, tally = read(*({**PAIR, key: value} for value in values), fields=fields)
    tally.check("mine", fields)
    assert [one.row.scores for one in found if hasattr(one.row, "scores")] == scores


@pytest.mark.parametrize(("key", "yes"), [("deleted", "ja"), ("removed", "oui"), ("is_deleted", "sí")])
def test_read_rows_deletion_in_another_language_is_honoured(key: str, yes: str) -> None:
    found, tally = read({**PAIR, key: yes}, {"prompt": "Name a tree.", "completion": "An oak.", key: "no"})
    assert len(found) == 1
    assert tally.left_out["rows marked as deleted"] == 1


@pytest.mark.parametrize(
    "value", ["on_hold", "currently_on_hold", "reversed_on_appeal", "do_not_use:_license"]
)
def test_is_held_state_with_more_words_is_recognized(value: str) -> None:
    assert is_held(value)


@pytest.mark.parametrize("value", ["holding", "reversible", "suspendedly", "in_use", "use"])
def test_is_held_other_word_is_not(value: str) -> None:
    assert not is_held(value)


@pytest.mark.parametrize("row", [PAIR, TEXT, CHAT, CHOICE])
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("op", ["d", "u", "c"]), ("_op", ["delete", "index"]), ("event_type", ["INSERT", "DELETE"]),
        ("changeType", ["Remove", "Update"]), ("meta.operation", ["upsert", "purge"]),
        ("is_current", [False, True]), ("cancelled", [True, False]), ("void", [1, 0]),
        ("regenerated", ["yes", "no"]), ("embargo", [True, False]), ("FIXME", ["x", ""]),
        ("undone", [True, False]),
    ],
)  # fmt: skip
def test_read_rows_change_that_removes_a_row_is_asked_about(
    row: dict[str, Any], path: str, values: list[Any]
) -> None:
    _, tally = read(*(_with_key(row, path, value) for value in values))
    with pytest.raises(UserError, match="looks like a verdict"):
        tally.check("mine")


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("op", ["add", "mul", "sub"]), ("event", ["delete", "click"]), ("action", ["create", "update"]),
        ("intent", ["delete", "update"]), ("current", [3, 5]), ("current_user", ["ana", "ben"]),
        ("cancelled", [False, False]), ("operation", ["d", "x"]),
    ],
)  # fmt: skip
def test_read_rows_change_that_removes_no_row_is_listed(path: str, values: list[Any]) -> None:
    found, tally = read(*(_with_key(PAIR, path, value) for value in values))
    tally.check("mine")
    assert found


@pytest.mark.parametrize("path", ["shuffled", "sides_switched", "order_shuffled"])
def test_read_rows_flag_that_answers_were_shuffled_is_asked_about(path: str) -> None:
    _, tally = read(*({**CHOICE, path: value} for value in (True, False)))
    with pytest.raises(UserError, match=f"the key {path} is True"):
        tally.check("mine")
