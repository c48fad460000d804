"""Notifications for people, as Prefect's own block and automations on the permanent server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from uuid import UUID

import httpx
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.events import EventTrigger
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.types import SecretDict

from flows.orchestration.events import ASKS, DATA, DRIFT, GATE_REFUSED, LABELS_REQUESTED, SLOW
from flows.servers.environment import WEBHOOK
from model.errors import UserError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_BLOCK = "chatmill"
# Chat services read the key `text`. The address is only in the block's secrets, which Prefect encrypts.
MESSAGE = {"text": "{{subject}}\n{{body}}"}
_ADDRESS = "address"
_ENDED = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut")
OF = "{{ event.resource.name }}"


@dataclass(frozen=True)
class Notice:
    """A notification: its automation's name, its events and its text.

    `match` selects the events' resources, `each` the resource that counts as the same thing, both as in
    Prefect's triggers. The same thing is notified of once in `hours` (0: each time).
    """

    name: str
    events: tuple[str, ...]
    hours: float
    subject: str
    body: str = "{{ event.payload.says }}\n{{ event.payload.then }}"
    match: str = "chatmill.*"
    each: str = "prefect.resource.id"


NOTICES = (
    Notice(
        "chatmill: a run failed", _ENDED, 1, "chatmill: {{ flow.name }} ended {{ flow_run.state.name }}",
        "run {{ flow_run.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
        "prefect.flow-run.*", "related:flow:prefect.resource.id",
    ),
    Notice("chatmill: the gate refused", (GATE_REFUSED,), 0, f"chatmill: the gate rejected a model of {OF}"),
    Notice("chatmill: data was rejected", (DATA,), 6, f"chatmill: the data of {OF} was rejected"),
    Notice("chatmill: data drifts", (DRIFT,), 1, f"chatmill: the data of {OF} drifts"),
    Notice("chatmill: a run is slow", (SLOW,), 1, f"chatmill: a run of {OF} is slow"),
    Notice("chatmill: a person is asked", (ASKS,), 0, f"chatmill: a model of {OF} waits for approval"),
    Notice(
        "chatmill: labels are requested", (LABELS_REQUESTED,), 0,
        "chatmill: {{ event.payload.items }} items to judge for " + OF,
    ),
)  # fmt: skip


def make_block(address: str) -> tuple[UUID, bool]:
    """Return the id of Prefect's block for an address, and whether it was written.

    Args:
        address: The webhook's address; empty: that of the existing block.

    Raises:
        UserError: There is neither a block nor an address.
    """
    try:
        known = _load_block()
    except ValueError:
        if not address:
            raise UserError(
                f"{WEBHOOK} is not set; set it to the address for messages, as in https://HOST/PATH"
            ) from None
        text = MESSAGE
    else:
        if address in ("", known.secrets.get_secret_value().get(_ADDRESS)):
            return cast(UUID, known._block_document_id), False
        # A user may have edited the message's form by hand; it is kept.
        text = known.json_data or MESSAGE
    block = CustomWebhookNotificationBlock(
        name=_BLOCK, url="{{" + _ADDRESS + "}}", json_data=text, secrets=SecretDict({_ADDRESS: address}),
        headers=None, cookies=None,
    )  # fmt: skip
    return cast(UUID, block.save(_BLOCK, overwrite=True)), True


def _load_block() -> CustomWebhookNotificationBlock:
    """Return the existing block. Raise ValueError if there is none."""
    return cast(CustomWebhookNotificationBlock, CustomWebhookNotificationBlock.load(_BLOCK))


def make_automation(client: SyncPrefectClient, notice: Notice, block: UUID) -> str:
    """Create Prefect's automation for a notification, or correct it; return a word for what was done."""
    wanted = AutomationCore(
        name=notice.name,
        trigger=EventTrigger(
            expect=set(notice.events),
            match={"prefect.resource.id": notice.match},
            for_each={notice.each},
            within=timedelta(hours=notice.hours),
        ),
        actions=[SendNotification(block_document_id=block, subject=notice.subject, body=notice.body)],
    )
    known = client.read_automations_by_name(notice.name)
    if not known:
        client.create_automation(wanted)
        return "created"
    if _describe_automation(known[0]) == _describe_automation(wanted):
        return "exists" if known[0].enabled else "exists, switched off"
    # The client sends only fields that were set explicitly, and the server requires all but the owner.
    whole = wanted.model_dump(exclude={"owner_resource"}) | {"enabled": known[0].enabled}
    client.update_automation(known[0].id, AutomationCore.model_validate(whole))
    return "corrected"


def _describe_automation(automation: Automation | AutomationCore) -> tuple[object, object]:
    """Return an automation's trigger and actions in a form that can be compared."""
    return automation.trigger.model_dump(exclude={"id"}), [one.model_dump() for one in automation.actions]


def send_message(subject: str, body: str) -> None:
    """Send one message through the block. Raise UserError if it is not accepted."""
    try:
        _load_block().notify(body, subject)
    except httpx.HTTPStatusError as error:
        # The exception's text holds the secret address.
        raise UserError(
            f"the address in {WEBHOOK} answers with status {error.response.status_code}; correct the address"
        ) from None
    except httpx.HTTPError as error:
        raise UserError(f"the address in {WEBHOOK} is unreachable ({type(error).__name__})") from None
