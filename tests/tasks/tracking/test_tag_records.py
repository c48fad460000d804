"""Test that a tag of MLflow which somebody changed is one sentence with its name."""

import json

import pytest

from model.errors import UserError
from tasks.tracking.alias_changes import MOVE, recorded_moves
from tasks.tracking.tag_records import read_record

CHANGED = ["[]", "null", "5", "{", "", "[" * 100_000, '{"before": "1"}', '"text"']


@pytest.mark.parametrize("value", CHANGED)
def test_recorded_moves_changed_tag_is_named(value):
    tag = f"{MOVE}000002.1234abcd"
    move = {"before": "", "now": "1", "by": "gate", "who": "", "why": "good", "time": ""}
    tags = {f"{MOVE}000001.1234abcd": json.dumps(move), tag: value}
    with pytest.raises(UserError, match=f"the tag {tag} in MLflow holds .*chatmill restore") as caught:
        recorded_moves(tags)
    assert len(str(caught.value)) < 400


def test_recorded_moves_key_of_later_version_is_ignored():
    move = {"before": "", "now": "1", "by": "gate", "who": "", "why": "good", "time": "", "mood": "fine"}
    assert recorded_moves({f"{MOVE}000001.1234abcd": json.dumps(move)})[0].now == "1"


@pytest.mark.parametrize("value", ['{"status": "made"}', "{}", "[1, 2]", "cpu"])
def test_read_record_without_required_keys_is_refused(value):
    with pytest.raises(UserError, match="the tag cost in MLflow holds"):
        read_record({"cost": value}, "cost", ("status", "device"))
