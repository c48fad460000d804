"""A person's decision on a model that the gate would promote: its deadline, its state and its words.

The decision is kept in tags of the version, which `Registry` writes.
"""

from __future__ import annotations

import json
import time
from calendar import timegm
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.errors import UserError
from tasks.common.metric_labels import metric_words, reason_words
from tasks.tracking.products import split_address, version_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The states of a version. EXPIRED: nobody decided in time, which rejects the version too.
PENDING, APPROVED, REJECTED, EXPIRED = "pending", "approved", "rejected", "expired"
# Versions that were registered by version 0.1 have these values.
_OLD_STATES = {"waits": PENDING, "refused": REJECTED, "late": EXPIRED}
APPROVAL, UNTIL, RUN = "approval", "approval.until", "approval.run"
FLOW_RUN, NAME = "approval.flow_run", "approval.name"
WHO, WHY, TIME = "approval.who", "approval.why", "approval.time"
# The champion with which people compare the version.
OPPONENT = "approval.opponent"
MOMENT = "%Y-%m-%dT%H:%M:%SZ"
# Fewer letters of a run's id fit too many runs.
FEWEST_LETTERS = 4


@dataclass(frozen=True)
class ApprovalRequest:
    """The question to a person, asked by a pipeline run.

    Attributes:
        hours: Hours until the question expires.
        run: The pipeline run's id in MLflow.
        flow_run: The id of the Prefect run that is suspended meanwhile; empty if none is.
        name: The name of that Prefect run.
        by_people: Whether the people of the label page compare the model with the champion.
    """

    hours: float
    run: str
    flow_run: str = ""
    name: str = ""
    by_people: bool = False

    def tags(self, champion: str) -> dict[str, str]:
        """Return the tags of a version that waits from now on, beside this version as champion."""
        until = time.strftime(MOMENT, time.gmtime(time.time() + self.hours * 3600))
        found = {APPROVAL: PENDING, UNTIL: until, RUN: self.run, FLOW_RUN: self.flow_run, NAME: self.name}
        found |= {OPPONENT: champion} if self.by_people else {}
        return {name: value for name, value in found.items() if value}


def approval_state(tags: Mapping[str, str]) -> str:
    """Return the state of a version now; empty if no person was asked."""
    stored = tags.get(APPROVAL, "")
    found = _OLD_STATES.get(stored, stored)
    return EXPIRED if found == PENDING and seconds_left(tags) <= 0 else found


def seconds_left(tags: Mapping[str, str]) -> float:
    """Return the seconds until the deadline; negative after it."""
    # timegm, not mktime: the tag is in UTC.
    return timegm(time.strptime(tags[UNTIL], MOMENT)) - time.time()


def describe_approval(version: Any) -> str:
    """Return the state of a version in words, with the command that changes it."""
    tags, name = version.tags, version_address(version)
    late, said = override_hint(version), f"by {tags.get(WHO)} at {tags.get(TIME)}: {tags.get(WHY)}"
    return {
        PENDING: f"pending until {tags.get(UNTIL)}: `chatmill approve {name}`, or with --reject",
        APPROVED: f"approved {said}",
        REJECTED: f"rejected {said}; {late}",
        EXPIRED: f"approval expired at {tags.get(UNTIL)}; {late}",
    }.get(approval_state(tags), "it needs no approval")


def override_hint(version: Any) -> str:
    """Return a hint to the command that promotes a version without approval."""
    return f"to promote it anyway run `chatmill rollback {version_address(version)} --reason TEXT`"


def find_version_asked(versions: Iterable[Any], wanted: str) -> Any:
    """Return the version that a person means, among those that have been asked about.

    Args:
        versions: The versions of all products.
        wanted: A version's number, NAME/NUMBER, or an MLflow or Prefect run that asks; empty means the
            version that waits.

    Raises:
        UserError: No version fits, or more than one does.
    """
    asked = [version for version in versions if APPROVAL in version.tags]
    waiting = [version for version in asked if approval_state(version.tags) == PENDING]
    if not wanted:
        found = waiting
        if not found:
            raise UserError("no model waits for approval; `chatmill models` lists all versions")
    else:
        product, number = split_address(wanted)
        found = [
            version
            for version in asked
            if str(version.version) == number and _is_of_product(version, product)
        ]
        found = found or [version for version in asked if _is_awaited(version.tags, wanted)]
    if not found:
        names = ", ".join(map(version_address, waiting)) or "none"
        raise UserError(
            f"{wanted} is not a version or run that waits for approval; pending versions: {names}"
        )
    if len(found) > 1:
        meant = [version_address(version) for version in found]
        raise UserError(
            f"several versions match ({', '.join(meant)}); name one, as in `chatmill approve {meant[0]}`"
        )
    return found[0]


def _is_of_product(version: Any, product: str) -> bool:
    return product in ("", version.name, version.tags.get("product"))


def _is_awaited(tags: Mapping[str, str], wanted: str) -> bool:
    if tags.get(NAME) == wanted:
        return True
    ids = (tags.get(RUN, ""), tags.get(FLOW_RUN, ""))
    return len(wanted) >= FEWEST_LETTERS and any(found.startswith(wanted) for found in ids)


def evaluation_rows(version: Any, champion: Any) -> list[tuple[str, str, str]]:
    """Return the metrics that the gate checked: label, value of this version, value of the champion or ""."""
    mine, best = approval_figures(version.tags), approval_figures(champion.tags) if champion else {}
    return [
        (metric_words(name), f"{value:.4g}", f"{best[name]:.4g}" if name in best else "")
        for name, value in mine.items()
    ]


def approval_figures(tags: Mapping[str, str]) -> dict[str, float]:
    """Return the metrics that the gate checked, by name; older versions have only their score."""
    found: dict[str, float] = {}
    with suppress(ValueError):
        found = json.loads(tags.get("figures", "{}"))
    if not found:
        with suppress(ValueError):
            found = {"score": float(tags.get("score", ""))}
    return found


def compared_answers(client: MlflowClient, version: Any) -> list[dict[str, Any]]:
    """Return the prompts with both models' answers from the run that asks; empty if they are not kept."""
    from tasks.tracking.queries import find_stage, read_artifact

    try:
        holder = find_stage(client, "evaluate", version.tags[RUN]).holder
    except UserError:
        return []
    found: Any = read_artifact(client, holder, "answers.json")
    return found or []


def evaluation_page(version: Any, champion: Any, rows: list[dict[str, Any]], most: int = 4) -> str:
    """Return the evaluation as Markdown for Prefect's page."""
    from tasks.tracking.markdown import as_markdown

    against = f"champion, version {champion.version}" if champion else "no champion yet"
    lines = [f"# Shall version {version.version} of {as_markdown(version.name)} become the champion?", ""]
    lines += [reason_words(version.tags.get("reason", "")), ""]
    lines += [f"| figure | version {version.version} | {against} |", "|---|---|---|"]
    lines += [f"| {name} | {mine} | {best} |" for name, mine, best in evaluation_rows(version, champion)]
    if rows:
        lines += ["", "| prompt | SFT | aligned |", "|---|---|---|"]
    for row in rows[:most]:
        cells = [as_markdown(str(row.get(key, ""))) for key in ("prompt", "sft", "aligned")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", f"Decide here by *Resume*, or type `chatmill approve {version_address(version)}`."]
    )
