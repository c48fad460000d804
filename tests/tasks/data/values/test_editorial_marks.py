"""Texts that people marked as a whole are asked about."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.file_io.files import SourceFile
from tasks.data.questions.skip_counts import SkipCounts
from tasks.data.values.editorial_marks import editorial_mark
from tests.tasks.data.parsing.row_reader import read, read_file


@pytest.mark.parametrize(
    "text",
    [
        "[DELETED] The mill is old.",
        "[deleted]",
        "The mill is old. [REJECTED]",
        "[REJECTED: too long] The mill.",
        "The mill is old. [rejected by Anna]",
        "(draft) The mill is old.",
        "(DRAFT) the mill",
        "Bruges (draft)",
        "[draft v2] The mill",
        "**[DELETED]** The mill",
        "[Entwurf] Die Mühle",
        "[BROUILLON] Le moulin",
        "【削除】風車",
        "（削除）風車",
        "[WRONG] 5",
        "[TODO]",
        "[Do not use] the mill",
        "DRAFT - DO NOT USE\n\nThe mill is old.",
        "DO NOT USE: The mill is new.",
        "DO NOT USE",
        "WRONG: the mill is new.",
        "### DRAFT ###\nThe mill is",
        "*** DO NOT USE *** The mill is old.",
        "GELÖSCHT: Die Mühle ist neu.",
        "ENTWURF – Die Mühle ist alt",
        "NICHT VERWENDEN\nDie Mühle ist",
        "Bruges - REJECTED",
        "The mill is old.\n\nDO NOT USE",
        "TODO: write the answer",
        "XXX",
        "TODO Check the year.",
        "FIXME Das Jahr fehlt.",
        "TODO Él vino.",
        "XXX: check this",
        "The mill is old. XXX",
        "The mill is old.\nTODO: check the year",
        "~~The mill is new.~~",
        "- ~~one mill~~\n- ~~two mills~~",
        "<s>The mill is new.</s>",
        "<del>The mill.</del>\n<del>The stone.</del>",
        "[s]The mill is new[/s]",
        "~The mill is new~",
        "T̶h̶e̶ ̶m̶i̶l̶l̶",
    ],
)
def test_editorial_mark_marked_text_is_found(text: str) -> None:
    assert editorial_mark(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "To delete a file, press [Delete].",
        "[Delete] removes the character.",
        "Deleted files go to the bin.",
        "The file was deleted.",
        "Rejected. The claim is not supported.",
        "A draft is a first version.",
        "Open the menu and choose the state that is shown there (draft).",
        "(Wrong) answers are red.",
        "[Draft](https://example.org) of the text",
        "He wrote ~~cold~~ hot.",
        "The mill is ~~new~~",
        "~~Old~~ new text",
        "<del>cold</del> hot",
        "KEEP OUT. DO NOT USE",
        "DO NOT USE bleach on wool.",
        "Do not use: bleach.",
        "TODO EL MUNDO lo sabe",
        "Todo: nada",
        "XXX Olympic Games were in London.",
        "Dear XXX, thank you.",
        "WRONG: he go. RIGHT: he goes.",
        "WRONG",
        "REJECTED",
        "SPAM",
        "FALSE",
        "Wrong. The mill is old.",
        "The label is DRAFT",
        "Status: REJECTED",
        "ADDED: a mill\nREMOVED: a stone",
        "REMOVED: a\nADDED: b",
        "~~~\ncode\n~~~",
        "<s>[INST] Hi [/INST] Hello</s>",
        "It takes ~5~10 euros",
        "The answer is wrong (or incorrect).",
        "DELETE FROM mills;",
        'The sign reads "DO NOT USE"',
        "A WIP is work in progress (WIP)",
        "Three kinds: good, bad, wrong",
        "def f():\n    return 1\n    # TODO: check",
        "A clause is written ~~like this~~ in Markdown.",
        "[x] Grind the corn",
    ],
)
def test_editorial_mark_ordinary_text_has_none(text: str) -> None:
    assert not editorial_mark(text)


_TURNS = [
    {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "[DELETED] In the mill."},
    {"role": "user", "content": "And when?"}, {"role": "assistant", "content": "At noon."},
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"prompt": "Where?", "completion": "[DELETED] In the mill."},
            "the completion begins with '[DELETED]'",
        ),
        (
            {"prompt": "Where?", "completion": "At noon. (draft)", "score": 4},
            "the completion ends with '(draft)'",
        ),
        (
            {"prompt": "Where?", "a": "Here.", "b": "WRONG: there.", "choice": "a"},
            "the b begins with 'WRONG'",
        ),
        ({"text": "~~The mill is new.~~"}, "the text is struck through"),
        ({"prompt": "DO NOT USE: Where?", "completion": "Here."}, "the prompt begins with 'DO NOT USE:'"),
        (
            {"instruction": "Say where.", "input": "", "output": "Here.\nTODO: check"},
            "the completion ends with 'TODO'",
        ),
        ({"messages": _TURNS}, "the completion begins with '[DELETED]'"),
    ],
)
def test_check_marked_text_asks_with_count_and_place(row: dict[str, Any], said: str) -> None:
    tally = SkipCounts()
    for _ in range(2):
        tally.add(read(row)[1])
    with pytest.raises(UserError, match="marked_texts: leave_out") as error:
        tally.check("mine")
    assert f"source mine: a.jsonl, line 1: {said}" in str(error.value) and "2 rows with such marks" in str(
        error.value
    )


@pytest.mark.parametrize(
    ("use", "answers"), [("leave_out", ["At noon."]), ("keep", ["[DELETED] In the mill.", "At noon."])]
)
def test_read_rows_marked_turn_is_as_the_source_says(use: Any, answers: list[str]) -> None:
    rows, tally = read({"messages": _TURNS}, marked_texts=use)
    tally.check("mine")
    assert [one.row.completion for one in rows] == answers  # type: ignore[union-attr]
    assert sum("editorial mark" in line for line in tally.lines()) == (use == "leave_out")


@pytest.mark.parametrize("text", ["[deleted]", "[ Removed by Reddit ]", "<message deleted>", "[gelöscht]"])
def test_check_text_of_a_removed_one_alone_is_left_to_validation(text: str) -> None:
    for row in (
        {"text": text},
        {"prompt": "Where?", "completion": text},
        {"prompt": text, "completion": "So."},
    ):
        rows, tally = read(row)
        tally.check("mine")
        assert len(rows) == 1


def test_check_marked_document_names_its_file() -> None:
    rows, tally = read_file(SourceFile("plan.txt", b"DRAFT - DO NOT USE\n\nThe mill closes.\n"))
    assert len(rows) == 1
    with pytest.raises(UserError, match=r"plan.txt: the text begins with 'DRAFT - DO NOT USE'"):
        tally.check("mine")


@pytest.mark.parametrize(
    "text",
    [
        "[gestrichen] Die Mühle steht.", "[Rejeitada] O moinho.", "Il mulino è vecchio. [scartata]",
        "{--The mill is new.--}{++The mill is old.++}", "The mill is {~~new~>old~~}.", "The mill.{>>wrong<<}",
        "<del>The mill is new.</del><ins>It is old.</ins>",
        "The mill is old. Commented [AB1]: This is wrong.",
        "Die Mühle steht. [Kommentar [AB1]: falsch]", "O moinho é velho. Comentado [MS12R2]: errado",
        "\\deleted{The mill is new.} It is old.",
    ],
)  # fmt: skip
def test_editorial_mark_of_an_editor_is_found(text: str) -> None:
    assert editorial_mark(text)


@pytest.mark.parametrize(
    "text",
    [
        "Write `<del>a</del><ins>b</ins>` in HTML.", "Call f{++i; --j} in the loop.",
        "See the comment [1]: it is old.",
        "```\n{--x--}\n```\nmarks a deletion.", "Comment [1]: the mill is old.", "a[i]: b[[1]]",
        "The counter {--i} is decremented.",
    ],
)  # fmt: skip
def test_editorial_mark_of_code_and_references_is_none(text: str) -> None:
    assert editorial_mark(text) == ""
