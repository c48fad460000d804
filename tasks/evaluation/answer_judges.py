"""Scores of the evaluated answers by judges that are no reward model: a lexicon, a function, an endpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.data.dataloader import read_rows
from model.evaluation.confidence_intervals import pair_metrics
from model.evaluation.evaluate_config import ENDPOINT, FUNCTION, LEXICON, EvaluateParameters
from model.events import EventCallback, Message
from tasks.common.counts import counted
from tasks.evaluation.endpoint_judge import EndpointJudge
from tasks.evaluation.function_judge import JudgeProcess, split_place
from tasks.evaluation.lexicon import score_tone

# Test pairs that a judge orders, to show how often it agrees with people. An endpoint takes seconds for each.
MOST_PAIRS = {FUNCTION: 2000, ENDPOINT: 200}
# The models that an endpoint compares with SFT.
_COMPARED = ("aligned", "champion")


def judge_answers(
    kind: str,
    parameters: EvaluateParameters,
    judge: Path,
    labels: Path,
    completions: Path,
    on_event: EventCallback,
) -> dict[str, float]:
    """Add the judge's score to the free answers of completions.jsonl, those with a reward.

    Args:
        kind: The kind of judge; nothing happens for one that model/ has used.
        parameters: The evaluation's parameters.
        judge: The output of the stage `judge`.
        labels: The output of the stage `labels`, with its test pairs.
        completions: The file of answers.
        on_event: The event callback.

    Returns:
        The judge's accuracy on test pairs, as `judge_test_pair_accuracy`; empty for a lexicon.
    """
    if kind not in (LEXICON, FUNCTION, ENDPOINT):
        return {}
    rows = read_rows(completions)
    scored = [row for row in rows if "reward" in row]
    pairs = _some_pairs(labels, MOST_PAIRS.get(kind, 0))
    agreed: list[float] = []
    if kind == LEXICON:
        scores: Sequence[float | None] = score_tone([row["completion"] for row in scored])
    elif kind == FUNCTION:
        shown, name = split_place(parameters.judge_function)
        with JudgeProcess(judge, name, shown, parameters.max_judge_seconds, on_event) as function:
            scores = function.score_rows(scored)
            chosen, rejected = (
                function.score_rows([pair[side] for pair in pairs]) for side in ("chosen", "rejected")
            )
        agreed = [float(a > b) + 0.5 * (a == b) for a, b in zip(chosen, rejected, strict=True)]
    else:
        endpoint = EndpointJudge(parameters.judge_endpoint, parameters.judge_model, parameters.judge_question)
        on_event(Message(f"asking {endpoint.model} to compare {counted(len(scored), 'answers')} with SFT's"))
        scores, unclear = _scores_against_sft(endpoint, scored)
        agreed, more = endpoint.compare_answers(
            [(pair["chosen"], pair["chosen"]["completion"], pair["rejected"]["completion"]) for pair in pairs]
        )
        if unclear := unclear + more:
            on_event(
                Message(f"the judge named no answer and no tie in {unclear} replies; they count as ties")
            )
    for row, score in zip(scored, scores, strict=True):
        if score is not None:
            row["judge"] = round(score, 4)
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    completions.write_text("".join(lines), encoding="utf-8")
    texts: dict[str, int] = {}
    better, worse = (
        [texts.setdefault(json.dumps(pair[side], sort_keys=True), len(texts)) for pair in pairs]
        for side in ("chosen", "rejected")
    )
    return pair_metrics("judge_test_pair_accuracy", agreed, better, worse)


def _some_pairs(labels: Path, most: int) -> list[dict[str, Any]]:
    """Return at most so many test pairs, at equal distances in the file, which is sorted by aspect."""
    if not most:
        return []
    rows = read_rows(labels / "pairs.test.jsonl")
    return rows[:: max(1, math.ceil(len(rows) / most))]


def _scores_against_sft(
    endpoint: EndpointJudge, rows: Sequence[dict[str, Any]]
) -> tuple[list[float | None], int]:
    """Return each answer's outcome against SFT's answer to the same prompt: 1 a win, 0.5 a tie, 0 a loss.

    SFT's own answers have 0.5. Answers of other models have None. All models are compared with one, so that
    the candidate's and the champion's scores are of one scale. The second result counts unclear replies.
    """
    by_model: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_model.setdefault(row["model"], []).append(index)
    first = by_model.get("sft", [])
    scores: list[float | None] = [0.5 if row["model"] == "sft" else None for row in rows]
    unclear = 0
    for name in _COMPARED:
        # The answers of each model are in the order of the prompts.
        asked = list(zip(by_model.get(name, []), first, strict=name in by_model))
        outcomes, more = endpoint.compare_answers(
            [(rows[own], rows[own]["completion"], rows[other]["completion"]) for own, other in asked]
        )
        unclear += more
        for (own, _), outcome in zip(asked, outcomes, strict=True):
            scores[own] = outcome
    return scores, unclear
