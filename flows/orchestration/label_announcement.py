"""Announce labels that were accepted since the last announcement, each once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from flows.orchestration.events import LABELS_INGESTED, emit_run_event, limit_arrivals
from model.events import EventCallback, Message
from tasks.common.annotators import describe_people
from tasks.common.counts import counted
from tasks.common.file_lock import exclusive_lock
from tasks.data.labels.new_labels import known_labels
from tasks.engine.output import StageOutput
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
            # Without an announcement before, nothing says which of them are new.
            new = "new " if known.data else ""
            told = " and ".join(counted(count, f"{new}{kind}") for kind, count in came.rows.items() if count)
            says = f"{told} by {describe_people(came.annotators)} were accepted"
            says += "" if known.data else f"; no labels of {preset} were announced before"
            then = "`chatmill data diff` shows them"
            on_event(Message(says))
            holds = {"data_hash": data, "config": config, **limit_arrivals(asdict(came))}
            if not emit_run_event(LABELS_INGESTED, preset, says, then, **holds):
                on_event(Message("Prefect's server is unreachable; the next run sends it these labels"))
                return
        # After the event has arrived: otherwise a server that is away would lose the announcement.
        known.remember_labels(good, digest, data)


def remember_learned_labels(
    root: Path, preset: str, valid_rows: StageOutput, data: str, on_event: EventCallback
) -> None:
    """Take the labels that the first whole run of a preset learned from as known.

    Later announcements then count the labels that came since. Without it, the first one would count all.

    Args:
        root: The project's folder.
        preset: The preset's name.
        valid_rows: The output of the stage validate.
        data: The hash of the version of the data.
        on_event: Receives a message while another run announces labels.
    """
    with exclusive_lock(root / LABELS_LOCK, on_event, _WAITS):
        known = known_labels(root, preset)
        # Labels since an earlier announcement are announced as new, whichever run learns from them first.
        if not known.data and not known.waiting.count:
            known.remember_labels(Path(valid_rows.path) / "rows", valid_rows.digest, data)
