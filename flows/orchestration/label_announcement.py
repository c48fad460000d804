"""Announce labels that were accepted since the last announcement, each once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from flows.orchestration.events import LABELS_INGESTED, emit_run_event, limit_arrivals
from model.events import EventCallback, Message
from tasks.common.annotators import describe_people
from tasks.common.counts import counted
from tasks.common.file_lock import exclusive_lock
from tasks.data.new_labels import known_labels
from tasks.project.paths import LABELS_LOCK

_WAITS = "another run is announcing labels; waiting for it"


def announce_labels(
    root: Path,
    preset: str,
    good: Path,
    digest: str,
    data: str,
    config: str,
    on_event: EventCallback,
    least: int = 1,
) -> None:
    """Send `labels.ingested` if accepted labels were not announced yet; the event starts `align`.

    Too few labels stay new, and are counted again with the next ones.

    Args:
        root: The project's folder.
        preset: The preset's name.
        good: The folder of the good rows.
        digest: The digest of the good rows.
        data: The hash of the version of the data with these labels.
        config: The preset's file as a deployment names it.
        on_event: Receives the announcement, and a message while another run announces labels.
        least: The fewest new labels that are announced.
    """
    # Two runs may accept the same labels at the same moment. The second one reads what the first remembered.
    with exclusive_lock(root / LABELS_LOCK, on_event, _WAITS):
        known = known_labels(root, preset)
        came = known.find_new_labels(good, digest)
        if came and came.count < least:
            on_event(
                Message(
                    f"{counted(came.count, 'new labels')} so far; {least} start the deployment align "
                    "(labels.min_new)"
                )
            )
            known.remember_waiting(digest, data, came.count)
            return
        if came:
            told = " and ".join(counted(count, f"new {kind}") for kind, count in came.rows.items() if count)
            says = f"{told} by {describe_people(came.annotators)} were accepted"
            then = "`chatmill data diff` shows them"
            on_event(Message(says))
            holds = {"data_hash": data, "config": config, **limit_arrivals(asdict(came))}
            if not emit_run_event(LABELS_INGESTED, preset, says, then, **holds):
                on_event(Message("Prefect's server is unreachable; the next run sends it these labels"))
                return
        # After the event has arrived: otherwise a server that is away would lose the announcement.
        known.remember_labels(good, digest, data)
