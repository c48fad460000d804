"""A person's word on a model that the gate would make champion: until when it is waited for, what it was.

It stands in tags of the version; `Registry` writes them.
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
from tasks.common.metric_labels import metric_words
from tasks.tracking.products import split_address, version_address

if TYPE_CHECKING:
    from mlflow import MlflowClient

# How a version stands. Late: nobody decided in time, which refuses it too.
WAITS, APPROVED, REFUSED, LATE = "waits", "approved", "refused", "late"
APPROVAL, UNTIL, RUN = "approval", "approval.until", "approval.run"
FLOW_RUN, NAME = "approval.flow_run", "approval.name"
WHO, WHY, TIME = "approval.who", "approval.why", "approval.time"
MOMENT = "%Y-%m-%dT%H:%M:%SZ"
FEWEST_LETTERS = 4


@dataclass(frozen=True)
class ApprovalRequest:
    """What a person is asked: for so many hours, by a pipeline run (its id in MLflow).

    `flow_run` is Prefect's run that is suspended meanwhile, `name` its name; "": none is.
    """

    hours: float
    run: str
    flow_run: str = ""
    name: str = ""

    def tags(self) -> dict[str, str]:
        """Of a version that waits from now on."""
        until = time.strftime(MOMENT, time.gmtime(time.time() + self.hours * 3600))
        found = {APPROVAL: WAITS, UNTIL: until, RUN: self.run, FLOW_RUN: self.flow_run, NAME: self.name}
        return {name: value for name, value in found.items() if value}


def approval_state(tags: Mapping[str, str]) -> str:
    """How a version stands now; "": no person was asked."""
    found = tags.get(APPROVAL, "")
    return LATE if found == WAITS and seconds_left(tags) <= 0 else found


def seconds_left(tags: Mapping[str, str]) -> float:
    """How long a person may still decide."""
    return timegm(time.strptime(tags[UNTIL], MOMENT)) - time.time()


def describe_approval(version: Any) -> str:
    """How a version stands, in words, and what can be done."""
    tags, name = version.tags, version_address(version)
    late, said = override_hint(version), f"by {tags.get(WHO)} at {tags.get(TIME)}: {tags.get(WHY)}"
    return {
        WAITS: f"it waits for a person until {tags.get(UNTIL)}: `chatmill approve {name}`, or with --reject",
        APPROVED: f"approved {said}",
        REFUSED: f"refused {said}; {late}",
        LATE: f"nobody decided until {tags.get(UNTIL)}, so it is refused; {late}",
    }.get(approval_state(tags), "no person was asked about it")


def override_hint(version: Any) -> str:
    """What makes a version champion that was not approved."""
    return f"`chatmill rollback {version_address(version)} --why TEXT` makes it champion all the same"


def find_version_asked(versions: Iterable[Any], wanted: str) -> Any:
    """The version that is meant, of those of all products ("": the one that waits).

    `wanted` is its number, NAME/NUMBER with its product, or the run that asks, of MLflow or Prefect. Raises
    UserError where none is, or more than one.
    """
    asked = [version for version in versions if APPROVAL in version.tags]
    waiting = [version for version in asked if approval_state(version.tags) == WAITS]
    if not wanted:
        found = waiting
        if not found:
            raise UserError("no model waits for a person; `chatmill models` shows all that there are")
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
        raise UserError(f"{wanted} is no version or run that asks a person; versions that wait: {names}")
    if len(found) > 1:
        meant = [version_address(version) for version in found]
        raise UserError(
            f"more than one version is meant ({', '.join(meant)}); "
            f"name one, as in `chatmill approve {meant[0]}`"
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
    """What the gate looked at: a figure in words, of this version, of the champion ("" where it has none)."""
    mine, best = approval_figures(version.tags), approval_figures(champion.tags) if champion else {}
    return [
        (metric_words(name), f"{value:.4g}", f"{best[name]:.4g}" if name in best else "")
        for name, value in mine.items()
    ]


def approval_figures(tags: Mapping[str, str]) -> dict[str, float]:
    """What the gate looked at, by name; older versions have their score alone."""
    found: dict[str, float] = {}
    with suppress(ValueError):
        found = json.loads(tags.get("figures", "{}"))
    if not found:
        with suppress(ValueError):
            found = {"score": float(tags.get("score", ""))}
    return found


def compared_answers(client: MlflowClient, version: Any) -> list[dict[str, Any]]:
    """The prompts that were answered side by side in the run that asks; none where they are not kept."""
    from tasks.tracking.queries import find_stage, read_artifact

    try:
        holder = find_stage(client, "evaluate", version.tags[RUN]).holder
    except UserError:
        return []
    found: Any = read_artifact(client, holder, "answers.json")
    return found or []


def evaluation_page(version: Any, champion: Any, rows: list[dict[str, Any]], most: int = 4) -> str:
    """The evaluation as Markdown, for Prefect's page."""
    from tasks.tracking.markdown import as_markdown

    against = f"champion, version {champion.version}" if champion else "no champion yet"
    lines = [f"# Shall version {version.version} of {as_markdown(version.name)} become the champion?", ""]
    lines += [version.tags.get("reason", ""), ""]
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
