"""The label page's judgements as rows of a source: comparisons by aspect, and prompt/completion pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    store: LabelStore,
    least_accuracy: float = 0.0,
    products: ProductChoice = ALL_PRODUCTS,
    is_withdrawn: Callable[[str], bool] = lambda person: False,
) -> PageRows:
    """Return the rows that the page's judgements make.

    A reviewer's decision replaces the first judgements of its item, on the aspects that it judges. The row of
    the decision has them, as agreement is measured on them. Known items make no rows, as their right choice
    is not people's judgement. Votes about a model make none either: its prompts are held out.

    Args:
        store: The page's store.
        least_accuracy: People who choose the right answer of known items less often are left out.
        products: The products whose batches are read.
        is_withdrawn: Whether a person's labels are withdrawn. Ingestion leaves out their rows. A decision of
            theirs therefore replaces nothing.
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
    kept.sort(key=_row_order)
    decided = {
        (row["item"], aspect): _FirstJudgements()
        for row in kept
        if row["review"] and not is_withdrawn(row["person"])
        for aspect in _preferences(row)
    }
    if decided:
        items = {item for item, _ in decided}
        found.notices.append(
            f"{counted(len(items), 'items')} decided by reviewers, in place of the first judgements; these "
            "count for agreement alone"
        )
    for row in kept:
        if not row["review"]:
            for aspect, choice in _preferences(row).items():
                if (row["item"], aspect) in decided:
                    decided[row["item"], aspect].add(row["person"], choice)
    for row in kept:
        found.rows += _comparison_rows(row, decided, is_withdrawn)
        # An answer of somebody's own stays theirs whatever a reviewer decides.
        if row["better"].strip():
            found.rows.append({**_prompt(row), "completion": row["better"], AUTHOR_KEY: row["person"]})
    return found


def _row_order(row: Mapping[str, Any]) -> tuple[str, str, str]:
    # By content, so that a restored or copied store gives the same bytes.
    return row["item_digest"], row["person"], row["key"]


class _FirstJudgements:
    """The judgements that a decision replaces, in a fixed order, until a row has them."""

    def __init__(self) -> None:
        self.people: list[str] = []
        self.choices: list[str] = []

    def add(self, person: str, choice: str) -> None:
        self.people.append(person)
        self.choices.append(choice)

    def take(self) -> dict[str, list[str]]:
        """Return the fields of a row, once: of two decisions on an item, the first has the judgements."""
        people, choices, self.people, self.choices = self.people, self.choices, [], []
        return {"first_annotators": people, "first_choices": choices} if people else {}


def _preferences(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the preferred answer on each aspect of a judgement."""
    steps = {aspect: preference_of_step(step) for aspect, step in sorted(row["steps"].items())}
    return {OVERALL: preference_of(row["choice"]), **steps}


def _comparison_rows(
    row: Mapping[str, Any],
    decided: Mapping[tuple[int, str], _FirstJudgements],
    is_withdrawn: Callable[[str], bool],
) -> Iterator[dict[str, Any]]:
    for aspect, choice in _preferences(row).items():
        first = decided.get((row["item"], aspect))
        if first is not None and not row["review"]:
            continue
        replaced = first.take() if first is not None and not is_withdrawn(row["person"]) else {}
        yield {
            **_prompt(row), "a": row["item_a"], "b": row["item_b"], "choice": choice, "aspect": aspect,
            "annotator": row["person"], "time": row["time"], **replaced,
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
