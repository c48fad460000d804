"""What a person is told of, as Prefect's own block and automations on the server that stays."""

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

from flows.orchestration.events import ASKS, DATA, DRIFT, GATE, SLOW
from flows.servers.environment import WEBHOOK
from model.errors import UserError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_BLOCK = "chatmill"
# Chats read `text`. The address stands among the block's secrets alone, which Prefect keeps encrypted.
MESSAGE = {"text": "{{subject}}\n{{body}}"}
_ADDRESS = "address"
_ENDED = ("prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut")
OF = "{{ event.resource.name }}"


@dataclass(frozen=True)
class Notice:
    """A message: its automation's name, on which events, and how it reads.

    For the same thing it is sent once in so many `hours` (0: each time).
    `match` is whose events, `each` what makes the same thing; both as Prefect's triggers have them.
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
    Notice("chatmill: the gate refused", (GATE,), 0, f"chatmill: the gate refused a model of {OF}"),
    Notice("chatmill: data was rejected", (DATA,), 6, f"chatmill: the data of {OF} was rejected"),
    Notice("chatmill: data drifts", (DRIFT,), 1, f"chatmill: the data of {OF} drifts"),
    Notice("chatmill: a run is slow", (SLOW,), 1, f"chatmill: a run of {OF} is slow"),
    Notice("chatmill: a person is asked", (ASKS,), 0, f"chatmill: a model of {OF} waits for a person"),
)  # fmt: skip


def make_block(address: str) -> tuple[UUID, bool]:
    """Prefect's block for that address ("": that of the one it has); its id, and whether it was written.

    Raises UserError where there is neither a block nor an address.
    """
    try:
        known = _load_block()
    except ValueError:
        if not address:
            raise UserError(
                f"{WEBHOOK} is not set; it holds the address that messages go to, as in https://HOST/PATH"
            ) from None
        text = MESSAGE
    else:
        if address in ("", known.secrets.get_secret_value().get(_ADDRESS)):
            return cast(UUID, known._block_document_id), False
        # A chat that wants another form got it by hand.
        text = known.json_data or MESSAGE
    block = CustomWebhookNotificationBlock(
        name=_BLOCK, url="{{" + _ADDRESS + "}}", json_data=text, secrets=SecretDict({_ADDRESS: address}),
        headers=None, cookies=None,
    )  # fmt: skip
    return cast(UUID, block.save(_BLOCK, overwrite=True)), True


def _load_block() -> CustomWebhookNotificationBlock:
    """The block that there is. Raises ValueError where there is none."""
    return cast(CustomWebhookNotificationBlock, CustomWebhookNotificationBlock.load(_BLOCK))


def make_automation(client: SyncPrefectClient, notice: Notice, block: UUID) -> str:
    """Prefect's automation for a message: made, put right where it was another, or left as it is; which."""
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
        return "made"
    if _describe_automation(known[0]) == _describe_automation(wanted):
        return "is there" if known[0].enabled else "is there, and switched off"
    # The client sends what was set by name alone, and the server wants all but the owner.
    whole = wanted.model_dump(exclude={"owner_resource"}) | {"enabled": known[0].enabled}
    client.update_automation(known[0].id, AutomationCore.model_validate(whole))
    return "put right"


def _describe_automation(automation: Automation | AutomationCore) -> tuple[object, object]:
    """When it acts, and what it does."""
    return automation.trigger.model_dump(exclude={"id"}), [one.model_dump() for one in automation.actions]


def send_message(subject: str, body: str) -> None:
    """One message by the block. Raises UserError where it is not taken."""
    try:
        _load_block().notify(body, subject)
    except httpx.HTTPStatusError as error:
        # Its own words hold the address.
        raise UserError(
            f"the address in {WEBHOOK} answers {error.response.status_code}; set the right one"
        ) from None
    except httpx.HTTPError as error:
        raise UserError(f"the address in {WEBHOOK} does not answer ({type(error).__name__})") from None
