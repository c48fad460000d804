"""Natural Questions, open, with people's judgements of systems' answers (Kwiatkowski et al., 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from model.errors import UserError
from tasks.formats import File, Reading
from tasks.records import Rows, comparison_row, digest, pair_row, parse_lines

ASPECT, JUDGES = "truthfulness", "nq-judges"
SHORTEST_WRONG = 4  # what is shorter among the wrong answers is noise of the extraction


def parse(files: Sequence[File], reading: Reading) -> Rows:
    """A Pair a question; a Comparison for its right answer and each one that was judged wrong.

    Which side the right answer stands on is a matter of the digest, so that no side is the better one.
    """
    found, seen = Rows(), set()
    for file in files:
        for number, row in enumerate(parse_lines(file.content.splitlines(), file.origin), 1):
            question, answers = row.get("question"), row.get("answer")
            if not isinstance(question, str) or not isinstance(answers, list) or not answers:
                raise UserError(f"{file.origin}, row {number}: a question and a list of answers are right")
            if question in seen:
                continue
            seen.add(question)
            group, right = digest(question), str(answers[0])
            references = list(dict.fromkeys(str(answer) for answer in answers))
            found.pairs.append(pair_row(question, right, reading.source, group, references))
            accepted = {text.casefold() for text in (*references, *row.get("def_correct_predictions", []))}
            wrong = dict.fromkeys(str(text).strip() for text in row.get("def_incorrect_predictions", []))
            for text in wrong:
                if len(text) < SHORTEST_WRONG or text.casefold() in accepted:
                    continue
                first = int(digest(question, text), 16) % 2 == 0
                a, b = (right, text) if first else (text, right)
                found.comparisons.append(
                    comparison_row(
                        question, a, b, "a" if first else "b", ASPECT, JUDGES, reading.source, group
                    )
                )
    return found
