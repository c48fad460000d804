"""The data that a run's drift is measured against: the profile of a champion that learned from other data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model.events import EventCallback
    from tasks.engine.output import StageOutput
    from tasks.tracking.tracker import Tracker


def fetch_drift_reference(
    reference: str,
    data: str,
    tracker: Tracker,
    root: Path,
    on_event: EventCallback,
    show_note: Callable[[str], object],
) -> StageOutput | None:
    """Return the output with the champion's profile; None, with a note, if there is none.

    Args:
        reference: The key of another output, as in `drift.reference_output`; empty: the champion's.
        data: The hash of the run's data.
        tracker: The project's MLflow store.
        root: The project's folder.
        on_event: Receives the progress of the download.
        show_note: Receives the notes.
    """
    from tasks.tracking.reference_version import fetch_reference_version, find_by_key, newest_other
    from tasks.tracking.registered_model import DamagedModel

    if reference:
        return find_by_key(reference, root)
    found, reason = newest_other(tracker.registry, data)
    if reason:
        show_note(reason)
    if found is None:
        return None
    problem = f"MLflow lacks the profile of champion {found.version}'s training data"
    try:
        fetched = fetch_reference_version(found, tracker.client, tracker.uri, root, on_event)
    except DamagedModel as error:
        fetched, problem = None, str(error)
    if fetched is None:
        show_note(f"{problem}; the data is not compared with its training data")
    return fetched
