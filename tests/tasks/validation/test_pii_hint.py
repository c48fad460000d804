"""The hint at e-mail addresses looks where `validate.pii` would, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.validation.pii_hint import describe_unsought_pii

_RATING = {"prompt": "Is rye dark?", "completion": "Yes.", "score": 1, "annotator": "ana@mill.example"}
_ASKED = [{"role": "user", "content": "I am bob@mill.example."}]


@pytest.mark.parametrize(
    ("changes", "hinted"),
    [({}, False), ({"history": _ASKED}, True), ({"completion": "Ask bob@mill.example."}, True)],
)
def test_describe_unsought_pii_names_of_annotators_do_not_count(
    tmp_path: Path, changes: dict[str, Any], hinted: bool
) -> None:
    folder = tmp_path / "ratings"
    folder.mkdir()
    (folder / "0000.jsonl").write_text(json.dumps({**_RATING, **changes}) + "\n", encoding="utf-8")
    said = describe_unsought_pii(tmp_path)
    assert said.startswith("1 of 1 row looked at") if hinted else not said
