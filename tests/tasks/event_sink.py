"""Helper for stages whose events a test does not read."""

from __future__ import annotations

from model.events import Event


def ignore_event(event: Event) -> None:
    """Ignore an event."""
