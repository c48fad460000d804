"""The label page's judgements as rows of a source: comparisons by aspect, and prompt/completion pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from tasks.common.aspects import OVERALL
from tasks.common.counts import counted
from tasks.labelling.batch_products import ALL_PRODUCTS, ProductChoice
from tasks.labelling.judgements import newest_judgements
from tasks.labelling.known_items import known_accuracy, preference_of, preference_of_step
from tasks.labelling.schema import ITEM_TABLE, JUDGEMENT_TABLE, VOTE_KIND, LabelStore

# The key of the person who wrote an answer.
AUTHOR_KEY = "written_by"


@dataclass
class PageRows:
    """The rows of a source, in a fixed order, and what a user should know about them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def page_rows(
    store: LabelStore, least_accuracy: float = 0.0, products: ProductChoice = ALL_PRODUCTS
) -> PageRows:
    """Return the rows that the page's judgements make.

    A reviewer's decision replaces the first judgements of its item. Known items make no rows, as their right
    choice is not people's judgement. Votes about a model make none either: its prompts are held out.

    Args:
        store: The page's store.
        least_accuracy: People who choose the right answer of known items less often are left out.
        products: The products whose batches are read.
    """
    found = PageRows()
    judgements = [
        dict(row) for row in newest_judgements(store) if row["batch_origin"].get("kind") != VOTE_KIND
    ]
    found.notices += products.describe_choice(
        row["batch_origin"] for row in judgements if not row["item_known_choice"]
    )
    judgements = [row for row in judgements if products.reads(row["batch_origin"])]
    accuracy = known_accuracy(row for row in judgements if not row["review"])
    aside = {person for person, known in accuracy.items() if known.is_below(least_accuracy)}
    for person in sorted(aside):
        known = accuracy[person]
        lost = sum(row["person"] == person and not row["item_known_choice"] for row in judgements)
        found.notices.append(
            f"{person} chose the right answer in {known.right} of {known.judged} known items, less than "
            f"{least_accuracy:.0%}: {counted(lost, 'judgements')} left out"
        )
    kept = [row for row in judgements if not row["item_known_choice"] and row["person"] not in aside]
    decided = {row["item"] for row in kept if row["review"]}
    if decided:
        found.notices.append(
            f"{counted(len(decided), 'items')} decided by reviewers, in place of the first judgements. "
            "Agreement is measured without these, so it is higher than people's own"
        )
    for row in sorted(kept, key=_row_order):
        if row["item"] not in decided or row["review"]:
            found.rows += _comparison_rows(row)
        # An answer of somebody's own stays theirs whatever a reviewer decides.
        if row["better"].strip():
            found.rows.append({**_prompt(row), "completion": row["better"], AUTHOR_KEY: row["person"]})
    return found


def _row_order(row: Mapping[str, Any]) -> tuple[str, str, str]:
    # By content, so that a restored or copied store gives the same bytes.
    return row["item_digest"], row["person"], row["key"]


def _comparison_rows(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    preferences = {OVERALL: preference_of(row["choice"])}
    preferences |= {aspect: preference_of_step(step) for aspect, step in sorted(row["steps"].items())}
    for aspect, choice in preferences.items():
        yield {
            **_prompt(row), "a": row["item_a"], "b": row["item_b"], "choice": choice, "aspect": aspect,
            "annotator": row["person"], "time": row["time"],
        }  # fmt: skip


def _prompt(row: Mapping[str, Any]) -> dict[str, Any]:
    history = row["item_history"]
    return {**({"history": history} if history else {}), "prompt": row["item_prompt"]}


def own_answers(store: LabelStore, person: str) -> list[dict[str, Any]]:
    """Return all answers that a person wrote, each with `prompt`, `history` and `completion`.

    Answers that they have since changed or taken back are among them: an earlier run may have learned them.
    """
    query = (
        select(ITEM_TABLE.c.prompt, ITEM_TABLE.c.history, JUDGEMENT_TABLE.c.better.label("completion"))
        .join(ITEM_TABLE, ITEM_TABLE.c.number == JUDGEMENT_TABLE.c.item)
        .where(JUDGEMENT_TABLE.c.person == person, JUDGEMENT_TABLE.c.action == "judge")
        .order_by(JUDGEMENT_TABLE.c.number)
    )
    with store.read() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
    return [row for row in found if row["completion"].strip()]
