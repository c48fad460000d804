"""Test the columns that are guessed from several rows: passages, right answers and summaries."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.data.parsing.guessed_rows import guess_rows
from tasks.data.records import Comparison
from tests.tasks.data.parsing.row_reader import read

MILL = "The mill stands near the river, and it is old."
BARN = "The barn is red, and nobody remembers who built it."
SHOP = "The shop sells bread and closes at noon."
PAGES = {"passages": (MILL, MILL, BARN, SHOP), "one": (MILL,) * 4, "unlike": (MILL, BARN, SHOP, MILL[4:])}


def table(pages: str, **names: Any) -> list[dict[str, Any]]:
    """Return a row for each passage, with the values of `names` and the passage under the name `None`."""
    return [
        {key: passage if value is None else value for key, value in names.items()} for passage in PAGES[pages]
    ]


@pytest.mark.parametrize("name", ["passage", "document", "article", "story", "paragraph", "Passage"])
@pytest.mark.parametrize("pages", PAGES)
def test_guess_rows_question_about_a_passage_names_it_as_context(name: str, pages: str) -> None:
    found = guess_rows(table(pages, **{name: None}, question="Where is it?", answer="By the river."))
    group = {"group": name} if pages == "passages" else {}
    columns = {"prompt": "question", "completion": "answer", "context": name, **group}
    assert found is not None and (found.format, found.columns) == ("rows", columns)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"context": None, "query": "Where?", "reply": "There."}, {"prompt": "query", "completion": "reply"}),
        ({"document": None, "context": None, "question": "Where?", "answer": "There."},
         {"prompt": "question", "completion": "answer"}),
        ({"story": "A Fish", "question": "Where?", "answer": "There."},
         {"prompt": "question", "completion": "answer"}),
        ({"title": "Why is it red?", "body": None, "answer": "Paint."},
         {"prompt": "title", "completion": "answer", "context": "body"}),
        ({"inputs": "Where?", "targets": "There."}, {"prompt": "inputs", "completion": "targets"}),
        ({"inputs_pretokenized": "Where?", "targets_pretokenized": "There.", "inputs": [4], "targets": [5]},
         {"prompt": "inputs_pretokenized", "completion": "targets_pretokenized"}),
        ({"human": "Where?", "bot": "There."}, {"prompt": "human", "completion": "bot"}),
    ],
)  # fmt: skip
def test_guess_rows_common_names_of_instruction_data(row: dict[str, Any], columns: dict[str, str]) -> None:
    found = guess_rows(table("unlike", **row))
    assert found is not None and (found.format, found.columns) == ("rows", columns)


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["By the river."], "answer_start": [4]},
        [{"text": "By the river.", "answer_start": 4}],
        "{'text': array(['By the river.'], dtype=object), 'answer_start': array([4], dtype=int32)}",
        ["By the river.", "near it"],
        {"text": [], "answer_start": []},
    ],
)
def test_guess_rows_right_answers_are_the_completion(answers: object) -> None:
    found = guess_rows(table("passages", context=None, question="Where?", answers=answers))
    columns = {"prompt": "question", "completion": "answers", "context": "context", "group": "context"}
    assert found is not None and (found.format, found.columns) == ("rows", columns)


@pytest.mark.parametrize(
    ("document", "summary"),
    [("article", "highlights"), ("document", "summary"), ("dialogue", "summary"), ("body", "tl;dr")],
)
def test_guess_rows_document_with_summary_is_a_pair(document: str, summary: str) -> None:
    found = guess_rows(table("unlike", id="7", **{document: None, summary: "It is old."}))
    assert found is not None and found.columns == {"prompt": document, "completion": summary}


@pytest.mark.parametrize(
    "row",
    [
        {"story": None, "questions": ["Where?"], "answers": ["There."]},
        {"document": None, "question": "Where is the mill?"},
        {"passage": None, "answers": {"span": "There."}},
    ],
)
def test_guess_rows_text_with_questions_or_answers_is_no_text_alone(row: dict[str, Any]) -> None:
    assert guess_rows(table("unlike", **row)) is None


@pytest.mark.parametrize(
    ("names", "values", "choices"),
    [
        (("Frage", "Antwort A", "Antwort B", "Besser"), ("A", "Antwort B", "unentschieden"), "abt"),
        (("Question", "Réponse A", "Réponse B", "Meilleure"), ("B", "Réponse A", "égalité"), "bat"),
        (("Pregunta", "Respuesta 1", "Respuesta 2", "Mejor"), ("1", "Respuesta 2", "empate"), "abt"),
        (("Pergunta", "Resposta A", "Resposta B", "Preferida"), ("A", "Resposta B", "ambas"), "abt"),
        (("Domanda", "Risposta A", "Risposta B", "Migliore"), ("B", "A è migliore", "pareggio"), "bat"),
        (("Vraag", "Antwoord A", "Antwoord B", "Beste antwoord"), ("A", "B is beter", "gelijk"), "abt"),
        (("Aufgabe", "Antwort links", "Antwort rechts", "Gewinner"), ("links", "rechts", "beide"), "abt"),
        (("Domanda", "risposta_sinistra", "risposta_destra", "scelta"),
         ("destra", "sinistra", "pari"), "bat"),
        (("Frage", "Modell A", "Modell B", "Sieger"), ("Modell B", "A ist viel besser", "gleich"), "bat"),
    ],
)  # fmt: skip
def test_guess_rows_comparison_in_other_languages_is_read(
    names: tuple[str, ...], values: tuple[str, ...], choices: str
) -> None:
    rows = [
        dict(zip(names, (f"Was ist {number}?", "Ein Wort.", "Zwei Worte.", value), strict=True))
        for number, value in enumerate(values)
    ]
    guess = guess_rows(rows)
    assert guess is not None and set(guess.columns) == {"prompt", "a", "b", "choice"}
    found, tally = read(*rows, format=guess.format, columns=guess.columns)
    tally.check("mine")
    said = [one.row.choice for one in found if isinstance(one.row, Comparison)]
    assert said == [{"a": "a", "b": "b", "t": "tie"}[choice] for choice in choices]


VERDICTS = (("accept", "reject", "ignore"), ("good", "bad"), ("accept",), ("yes", "no"), ("correct", "wrong"))


@pytest.mark.parametrize("verdicts", VERDICTS)
@pytest.mark.parametrize(
    ("asked", "answer"),
    [("prompt", "response"), ("question", "reply"), ("query", "output"), ("input", "output")],
)
def test_guess_rows_verdict_under_answer_is_no_answer(
    asked: str, answer: str, verdicts: tuple[str, ...]
) -> None:
    rows = [
        {asked: f"Which bird is it, {n}?", answer: f"A robin, {n}.", "answer": verdicts[n % len(verdicts)]}
        for n in range(20)
    ]
    found = guess_rows(rows)
    assert found and {"prompt": "prompt", **found.columns} == {"prompt": asked, "completion": answer}


@pytest.mark.parametrize("said", [("yes", "no"), ("right", "wrong"), ("good", "bad")])
def test_guess_rows_few_words_of_the_only_answer_are_answers(said: tuple[str, ...]) -> None:
    found = guess_rows([{"question": f"Is it {n}?", "answer": said[n % 2]} for n in range(20)])
    assert found and found.columns == {"prompt": "question", "completion": "answer"}


@pytest.mark.parametrize("output", ["response", "prediction", "model_output", "Generated Answer"])
@pytest.mark.parametrize("right", ["answer", "target", "correct_answer"])
@pytest.mark.parametrize(
    ("verdict", "values"),
    [
        ("rating", (1, 5)),
        ("thumbs", ("up", "down")),
        ("quality_score", ("2", "4")),
        ("vote", ("good", "bad")),
    ],
)
def test_guess_rows_rating_is_of_the_output(
    output: str, right: str, verdict: str, values: tuple[object, ...]
) -> None:
    rows = [
        {"question": f"Which, {n}?", right: f"A robin, {n}.", output: f"A cat, {n}.", verdict: values[n % 2]}
        for n in range(20)
    ]
    found = guess_rows(rows)
    assert found and found.columns == {"prompt": "question", "completion": output}


@pytest.mark.parametrize("other", [{}, {"label": "math"}, {"rating": None}, {"weight": 1}])
def test_guess_rows_right_answer_without_a_rating_is_the_answer(other: dict[str, object]) -> None:
    rows = [
        {"question": f"{n}?", "response": f"A cat, {n}.", "answer": f"A robin, {n}.", **other} for n in "ab"
    ]
    found = guess_rows(rows)
    assert found and found.columns == {"prompt": "question", "completion": "answer"}


@pytest.mark.parametrize(
    "names",
    [
        ("good", "bad"),
        ("Answer.quality.good", "Answer.quality.bad"),
        ("accepted", "rejected"),
        ("better", "worse"),
        ("preferred", "dispreferred"),
    ],
)
@pytest.mark.parametrize("marks", [("true", "false"), ("3", "0"), ("x", ""), ("yes", "no")])
def test_guess_rows_marks_beside_an_answer_are_no_two_answers(
    names: tuple[str, str], marks: tuple[str, str]
) -> None:
    answer = {"Input.prompt": "Name a bird.", "Input.response": "A robin."}
    rows = [{**answer, names[0]: one, names[1]: other} for one, other in (marks, marks[::-1]) * 2]
    found = guess_rows(rows)
    assert found is not None and found.format == "rows"
    assert found.columns == {"prompt": "Input.prompt", "completion": "Input.response"}


@pytest.mark.parametrize("texts", [("A robin.", "A bat."), ("yes", "no")])
def test_guess_rows_two_answers_stay_preferences(texts: tuple[str, str]) -> None:
    row = {"question": "Is it a bird?", "good": texts[0], "bad": texts[1]}
    found = guess_rows([row, {**row, "good": texts[1], "bad": texts[0]}])
    assert found is not None and found.format == "preferences"
