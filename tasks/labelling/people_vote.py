"""The vote of people about a model: blind judgements of its answers against those of the present one.

The interval holds at every number of judgements at once, so that looking after each of them is allowed. It is
the confidence sequence of Robbins' normal mixture for values between 0 and 1 (Howard et al., Time-uniform,
nonparametric, nonasymptotic confidence sequences, 2021, arXiv:1810.08240, equation 14).
"""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.labelling.batches import Batch, BatchSettings, LabelItem, add_batch, list_batches, open_batch
from tasks.labelling.judgements import newest_judgements
from tasks.labelling.known_items import preference_of
from tasks.labelling.schema import VOTE_KIND, LabelStore

# The share of intervals that may miss the true win rate.
ERROR_RATE = 0.05
# A value between 0 and 1 varies at most as a fair coin does, by 1/4. The mixture is narrowest at 100 items.
_VARIANCE = 0.25
_MIXTURE = 2.0
_SCORES = {"a": 1.0, "tie": 0.5, "b": 0.0}
Decision = Literal["", "approved", "rejected"]


@dataclass(frozen=True)
class PeopleVote:
    """What people say of a model so far.

    Attributes:
        judged: Prompts that somebody judged.
        win_rate: The share of them that the model wins; a tie is half a win.
        low: The lower end of the 95% interval.
        high: The upper end.
        items: Prompts of the batch.
        batch: The batch's name.
        closed: Whether its items are given to nobody any more.
    """

    judged: int
    win_rate: float
    low: float
    high: float
    items: int
    batch: str = ""
    closed: bool = False

    @property
    def next_step(self) -> str:
        """Return the command with which people can go on to judge."""
        if self.closed:
            return (
                f"its batch is closed, and `chatmill label reopen {shlex.quote(self.batch)}` opens it again"
            )
        return "`chatmill label` serves the page"

    @property
    def decision(self) -> Decision:
        """Return the decision; empty while more judgements could change it."""
        if self.low > 0.5:
            return "approved"
        return "rejected" if self.high < 0.5 or self.judged >= self.items else ""

    @property
    def words(self) -> str:
        """Return the vote in words."""
        if not self.judged:
            return f"nobody has judged any of the {self.items} prompts yet"
        return (
            f"wins {self.win_rate:.0%} of {self.judged} judged prompts of {self.items} "
            f"(95%: {self.low:.0%} to {self.high:.0%})"
        )


def win_interval(scores: Sequence[float]) -> tuple[float, float]:
    """Return the interval of the mean of values between 0 and 1, valid at every length of the sequence."""
    if not scores:
        return 0.0, 1.0
    count, mean = len(scores), sum(scores) / len(scores)
    spread = count * _VARIANCE + _MIXTURE
    width = math.sqrt(spread * math.log(spread / (_MIXTURE * ERROR_RATE**2))) / count
    return max(0.0, mean - width), min(1.0, mean + width)


def vote_name(version: str) -> str:
    """Return the name of the first batch that decides about a version, NAME/NUMBER."""
    return f"Is {version} better?"


def ask_people(
    store: LabelStore,
    version: str,
    model: str,
    rows: Sequence[Mapping[str, Any]],
    opponent: str,
    opponent_name: str,
) -> int:
    """Add the batch that decides about a version, unless it is there; return its number of items.

    A batch of another model that had the same version is closed: its votes say nothing of this one.

    Args:
        store: The label page's store.
        version: The version, NAME/NUMBER.
        model: The digest of its model. MLflow gives a number again after the registered model was deleted.
        rows: The rows of the evaluation's completions.jsonl, with the free answers of all models.
        opponent: The model of these rows that the version is compared with: `champion` or `sft`.
        opponent_name: Its name for those who run the page.
    """
    if asked := find_vote(store, version, model):
        return asked.items
    free = [row for row in rows if "reward" in row]
    mine, others = ([row for row in free if row["model"] == model] for model in ("aligned", opponent))
    items = [
        LabelItem(
            row["prompt"], row["completion"], other["completion"],
            tuple({"role": turn["role"], "content": turn["content"]} for turn in row.get("history") or ()),
            version, opponent_name, "random",
        )
        for row, other in zip(mine, others, strict=True)
        # Equal answers are ties, about which nobody need be asked; the gate counts empty ones.
        if "" not in (row["completion"].strip(), other["completion"].strip())
        and row["completion"] != other["completion"]
    ]  # fmt: skip
    origin = {"kind": VOTE_KIND, "version": version, "model": model, "opponent": opponent_name}
    former, name = other_votes(store, version, model), vote_name(version)
    if former:
        name = f"{name} ({model[:12]})"
    added = add_batch(store, BatchSettings(name, needed=1, origin=origin), items).added
    for batch in former:
        open_batch(store, batch.name, False)
    return added


def find_vote(store: LabelStore, version: str, model: str) -> Batch | None:
    """Return the batch that decides about a version with this model; None if nobody was asked."""
    found = [one for one in _votes(store, version) if one.origin.get("model") == model]
    return found[-1] if found else None


def other_votes(store: LabelStore, version: str, model: str) -> list[Batch]:
    """Return the batches about other models that had this version."""
    return [one for one in _votes(store, version) if one.origin.get("model") != model]


def _votes(store: LabelStore, version: str) -> list[Batch]:
    wanted = (VOTE_KIND, version)
    return [
        one for one in list_batches(store) if (one.origin.get("kind"), one.origin.get("version")) == wanted
    ]


def read_people_vote(store: LabelStore, version: str, model: str) -> PeopleVote | None:
    """Return the vote about a version with this model; None if nobody was asked.

    Prompts count in the order in which they were judged first. Of several people's judgements of one prompt
    the mean counts. A reviewer's decision replaces them.
    """
    batch = find_vote(store, version, model)
    if batch is None:
        return None
    first: dict[int, list[float]] = defaultdict(list)
    decided: dict[int, float] = {}
    for row in newest_judgements(store):
        if row["batch_name"] == batch.name:
            score = _SCORES[preference_of(row["choice"])]
            first[row["item"]].append(score)
            if row["review"]:
                decided[row["item"]] = score
    scores = [decided.get(item, sum(given) / len(given)) for item, given in first.items()]
    low, high = win_interval(scores)
    mean = sum(scores) / len(scores) if scores else 0.5
    return PeopleVote(len(scores), mean, low, high, batch.items, batch.name, not batch.open)
