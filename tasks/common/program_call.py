"""Write how a person calls chatmill in the current folder."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

# Set for the run that `chatmill reproduce` starts: commands that it names would be about a folder that is
# removed.
REPRODUCTION = "CHATMILL_REPRODUCTION"


def program_call() -> str:
    """Return `chatmill` if a shell finds this installation by that name, or else the path of its program.

    In the clone that is `.venv/bin/chatmill`, and in another folder an absolute path.
    """
    # Not resolved: a virtual environment's Python is a link, and its programs are beside the link.
    program = Path(sys.executable).parent / "chatmill"
    found = shutil.which("chatmill")
    if not program.exists() or (found and Path(found).exists() and Path(found).samefile(program)):
        return "chatmill"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
