"""Test names of the time of a removal, and consents that are denied."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import UserError
from tasks.data.parsing.row_verdicts import DELETED, UNLEARNED
from tests.tasks.data.parsing.row_reader import read

PAIR = {"prompt": "Name a bird.", "completion": "A robin."}
REMOVED = [
    "rejected_at", "rejected_on", "date_rejected", "rejection_date", "RejectionTime", "deletion_date",
    "erased_at", "invalidated_at", "unpublished_at", "takedown_date", "taken_down_at", "spam_reported_at",
    "retractedOn", "gelöscht_am", "fecha_rechazo", "withdrawal_time", "abuse_flagged_ts", "date_archived",
    "deleted_at", "meta.revoked_at",
]  # fmt: skip


def rows(key: str, *values: Any) -> list[dict[str, Any]]:
    """Return a pair for each value under a key, which may be in an object."""
    outer, _, inner = key.partition(".")
    return [
        {**PAIR, "prompt": f"Name bird {n}.", outer: {inner: value} if inner else value}
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    "time", ["2024-01-02", "2024-01-02T10:00:00Z", 1704189600, "Tue Jan 02 10:00:00 PST 2024", 45293]
)
@pytest.mark.parametrize("key", REMOVED)
def test_skip_counts_check_time_of_a_removal_is_asked_about(key: str, time: Any) -> None:
    given = rows(key, time, None, "")
    with pytest.raises(UserError, match=f"{key} is .*: deleted}}"):
        read(*given)[1].check("mine")
    found, tally = read(*given, fields={key: "deleted"})
    assert tally.left_out[DELETED] == 1 and len(found) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("created_at", "2024-01-02"), ("closed_at", "2024-01-02"), ("expiry_date", "2024-01-02"),
        ("publication_date", "2024-01-02"), ("removal_time_ms", 35), ("rejected_at", "never"),
        ("retrieval_date", "2024-01-02"), ("archive_url", "https://a.org"), ("rejection_rate", 0.5),
        ("block_time", "2024-01-02"), ("retired_at", "2024-01-02"), ("removal_time", False),
    ],
)  # fmt: skip
def test_skip_counts_check_other_times_are_not(key: str, value: Any) -> None:
    read(*rows(key, value, None))[1].check("mine")


@pytest.mark.parametrize(("no", "yes"), [("no", "yes"), (False, True), ("Nein", "Ja")])
@pytest.mark.parametrize("key", ["opt_in", "opted_in", "optIn", "opt-in", "licensed", "permission"])
def test_skip_counts_check_denied_flag_of_a_consent_is_asked_about(key: str, no: Any, yes: Any) -> None:
    with pytest.raises(UserError, match=f"{key} is .*: weight}}"):
        read(*rows(key, no, yes))[1].check("mine")
    found, tally = read(*rows(key, no, yes), fields={key: "weight"})
    assert tally.left_out[UNLEARNED] == 1 and len(found) == 1


@pytest.mark.parametrize("key", ["permission", "consent_status", "authorization", "meta.gdpr_consent"])
@pytest.mark.parametrize("no", ["denied", "Withdrawn", "not granted", "verweigert"])
def test_skip_counts_check_denied_consent_proposes_to_leave_it_out(key: str, no: str) -> None:
    with pytest.raises(UserError, match=r"ignore.*given: accept|given: accept.*ignore"):
        read(*rows(key, no, "given"))[1].check("mine")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("opt_in", ("yes", "yes")), ("opted_in", (True, True)), ("permission", ("granted", "granted")),
        ("permissions", ("read", "write")), ("license", ("mit", "apache-2.0")), ("licensed", (True, None)),
        ("permission_level", ("a", "b")), ("opted_out", (False, False)), ("authorized_by", ("Ana", None)),
    ],
)  # fmt: skip
def test_skip_counts_check_given_consent_is_not(key: str, values: tuple[Any, ...]) -> None:
    read(*rows(key, *values))[1].check("mine")
