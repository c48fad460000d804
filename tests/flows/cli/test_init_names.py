"""File names with control characters: they are read, and each message about them stays on its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import read_preset
from model.errors import UserError
from tasks.data.sources.source_reading import own_files
from tests.flows.cli.test_init import propose

LINE = '{"text": "A mill grinds grain, and the river turns the wheel of mill number %d."}\n'


@pytest.mark.parametrize("forged", ["\nerror: x", "\rwritten: x", "\u2028x\x85y", "\t\x1b[2Jx"])
def test_propose_preset_name_with_line_break_stays_on_one_line(
    sample: Path, steady_pace: None, capsys: pytest.CaptureFixture[str], forged: str
) -> None:
    folder = sample / f"many{forged}"
    folder.mkdir()
    rows = "".join(LINE % number for number in range(60))
    # One file is read with a broken row, one cannot be read, and one is of no known kind.
    (folder / f"sound{forged}.jsonl").write_text(rows + '{"text": \n')
    (folder / f"broken{forged}.json").write_text("[{")
    (folder / f"other{forged}.xyz").write_text("x")
    with pytest.raises(UserError, match=r"is written without many.*broken.* cannot be read") as refused:
        propose(folder.name, name="many", checked=True)
    said = str(refused.value)
    printed = capsys.readouterr().out
    escaped = forged.encode("unicode_escape").decode()
    for name in ("sound", "broken", "other"):
        assert f"{name}{escaped}." in printed
    assert f"many{escaped}/broken{escaped}.json" in said and len(said.splitlines()) == 1
    assert forged not in printed
    found = own_files(read_preset(sample / "configs" / "many.yaml").data.sources[0], sample)
    assert [path.name for path in found] == [f"sound{forged}.jsonl"]
