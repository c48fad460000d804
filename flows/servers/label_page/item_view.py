"""Items as the page gets them, and judgements as it sends them: both in the order of the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.servers.label_page.safe_text import safe_markdown, visible_text
from tasks.labelling.judgements import (
    LONGEST_JUDGEMENT_KEY,
    LONGEST_REMARK,
    Action,
    Judgement,
)
from tasks.labelling.queue import QueuedItem
from tasks.labelling.review import ReviewItem

_STORED = {"left": "a", "right": "b", "tie": "tie", "bad": "bad", "": ""}
_SWAPPED = {"a": "b", "b": "a"}
_SHOWN = {stored: shown for shown, stored in _STORED.items()}
# The steps of an aspect lie from 1 to 5, so that this minus a step is the same step seen from the other side.
_MIRROR = 6


class ScreenJudgement(BaseModel):
    """A judgement as the page sends it: `choice` and `steps` are those of the screen."""

    model_config = ConfigDict(extra="forbid", strict=True)

    key: str = Field(min_length=1, max_length=LONGEST_JUDGEMENT_KEY)
    item: int = Field(ge=0, le=2**31 - 1)
    action: Action
    choice: Literal["left", "right", "tie", "bad", ""] = ""
    steps: dict[str, int] = Field(default_factory=dict, max_length=20)
    flag: bool = False
    comment: str = Field(default="", max_length=LONGEST_REMARK)
    better: str = Field(default="", max_length=LONGEST_REMARK)
    swapped: bool
    seconds: float = Field(ge=0, allow_inf_nan=False)
    review: bool = False
    # The guide may have changed since the page got the item, or while it was offline.
    guide: str = Field(default="", max_length=64)
    # A restored store may have another item of this number. Judgements of earlier pages have none.
    digest: str = Field(default="", max_length=64)

    def as_stored(self) -> Judgement:
        """Return it in the order of the store."""
        choice = _STORED[self.choice]
        steps = self.steps
        if self.swapped:
            choice = _SWAPPED.get(choice, choice)
            steps = {aspect: _MIRROR - step for aspect, step in steps.items()}
        return Judgement(
            self.key, self.item, self.action, choice, steps, self.flag, _storable(self.comment),
            _storable(self.better), self.swapped, self.seconds, self.review,
            self.guide, digest=self.digest,
        )  # fmt: skip


def _storable(text: str) -> str:
    # PostgreSQL stores no NUL.
    return text.replace("\0", "\ufffd")


def item_view(item: QueuedItem) -> dict[str, Any]:
    """Return an item as the page gets it; with `html` texts, they are sanitised Markdown."""
    read = safe_markdown if item.markdown else visible_text
    return {
        "item": item.item, "html": item.markdown, "prompt": read(item.prompt),
        "history": [
            {"role": visible_text(str(turn.get("role", ""))), "text": read(str(turn.get("content", "")))}
            for turn in item.history
        ],
        "left": read(item.left), "right": read(item.right), "swapped": item.swapped, "guide": item.guide,
        "aspects": list(item.aspects), "digest": item.digest,
    }  # fmt: skip


def review_view(review: ReviewItem) -> dict[str, Any]:
    """Return an item that waits for a decision, with what people said in the order of the screen."""
    said = [_judgement_view(each, review.item.swapped) for each in review.judgements]
    return {**item_view(review.item), "judgements": said, "waiting": review.waiting}


def _judgement_view(said: Mapping[str, Any], swapped: bool) -> dict[str, Any]:
    choice, steps = said["choice"], said["steps"]
    if swapped:
        choice = _SWAPPED.get(choice, choice)
        steps = {aspect: _MIRROR - step for aspect, step in steps.items()}
    return {
        "person": said["person"], "action": said["action"], "choice": _SHOWN[choice], "steps": steps,
        "flag": said["flag"], "comment": visible_text(said["comment"]),
        "better": visible_text(said["better"]), "time": said["time"],
    }  # fmt: skip
