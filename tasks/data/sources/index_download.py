"""Download one file from pip's package index without running any code of it.

This is a program of its own: `python -P index_download.py NAME FILE SHA256 TARGET`. `pip download` builds the
metadata of a source archive, so it runs code of the archive. This program uses pip's configuration, its index
reader and its session (mirrors, certificates, credentials), and copies bytes.

Exit code 0: TARGET is the right file. Else the last line of stderr is the reason.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

_PIECE = 1 << 20


def main(name: str, file: str, sha256: str, target: Path) -> str:
    """Return an empty text if the file was downloaded with its checksum, else the reason why not."""
    from pip._internal.commands import create_command

    # `index` is pip's command that queries an index and installs nothing.
    command: Any = create_command("index")
    options, _ = command.parse_args(["versions", name])
    with command._build_session(options) as session:
        # A package may be data, so it need not support this Python.
        finder = command._build_package_finder(options, session, ignore_requires_python=True)
        links = [found.link for found in finder.find_all_candidates(name) if found.link.filename == file]
        if not links:
            return f"no package index of pip has {file}"
        sums = []
        # Several indexes may have a file of this name: the one with the right checksum is wanted.
        for link in dict.fromkeys(links):
            found = _copy_file(session, link, target)
            if found == sha256:
                return ""
            sums.append(found)
    target.unlink(missing_ok=True)
    return f"{file} has SHA-256 {sums[0]}, and the preset says {sha256}; the file was not used"


def _copy_file(session: Any, link: Any, target: Path) -> str:
    made = hashlib.sha256()
    with target.open("wb") as writes:
        if link.is_file:
            with open(url2pathname(urlsplit(link.url_without_fragment).path), "rb") as reads:
                while piece := reads.read(_PIECE):
                    made.update(piece)
                    writes.write(piece)
        else:
            response = session.get(
                link.url_without_fragment, headers={"Accept-Encoding": "identity"}, stream=True
            )
            response.raise_for_status()
            for piece in response.iter_content(_PIECE):
                made.update(piece)
                writes.write(piece)
    return made.hexdigest()


if __name__ == "__main__":
    try:
        said = main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    except ImportError:
        said = "pip is missing, or its version is not supported"
    except Exception as error:  # pip raises what its network and its readers raise
        # The error's text may contain an address with a password.
        said = f"the package index is unreachable: {type(error).__name__}"
    if said:
        sys.exit(said)
