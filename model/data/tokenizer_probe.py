"""A trial of a foreign tokenizer in a process of its own, with bounded time and memory.

A tokenizer.json can contain patterns that need more memory than a machine has, or that end the process that
loads it. The trial turns such a fault into an error message; in the run itself it would be a crash.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from model.data.hf_config import check_tokenizer_file
from model.errors import UserError
from model.processes import child_environment

_SECONDS = 30
CPU_SECONDS = 10
_MEMORY = 4 << 30
TOKENS_PER_BYTE = 8
_LARGEST = 256 << 20
PROBE = " ".join(
    [
        "".join(map(chr, range(32, 127))) * 4,
        "a" * 200 + " " * 50 + "\n" * 50 + "0123456789" * 20,
        "Größe, façade, naïve; Ελληνικά, русский, עברית, العربية, हिन्दी,",
        "日本語の文章、한국어, 中文。",
        "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM} e\u0301\u200d \N{GRINNING FACE}",
    ]
)

_TALK = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "A question\n\n"},
    {"role": "assistant", "content": " An answer <|end|></s>"},
)


def probe_tokenizer(folder: Path) -> int:
    """Load a model folder's tokenizer and encode a text with it; return its highest id plus 1.

    Raises:
        UserError: It cannot be loaded, or exceeds a limit for a page of text: 10 seconds of CPU time, 30
            seconds in all, 4 GB, 8 tokens for each byte.
    """
    path = check_tokenizer_file(folder)
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path} is larger than {_LARGEST:,} bytes, the limit for this file")
    # Thread pools reserve address space for each thread, which would count against the limit below.
    few = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**child_environment(), **few, "RUST_BACKTRACE": "0"}
    command = [sys.executable, "-m", __name__, str(folder), str(CPU_SECONDS)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_SECONDS, check=False)
        said = json.loads(done.stdout or b"{}")
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{folder}: the tokenizer or its chat template cannot be used: a page of text takes more than "
            f"{_SECONDS} s"
        ) from None
    except ValueError:
        said = {}
    if "error" in said:
        raise UserError(said["error"])
    if done.returncode or "ids" not in said:
        raise UserError(
            f"{folder}: the tokenizer or its chat template cannot be used: it crashed, or needs more than "
            f"{CPU_SECONDS} s or {_MEMORY >> 30} GB for a page of text"
        )
    return int(said["ids"])


def _probe_folder(folder: str, seconds: int) -> None:
    # Set before the library is imported, so that loading it is bounded too.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    # A crash must not leave a core dump of gigabytes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from model.data.tokenizer import Tokenizer

    try:
        tokenizer = Tokenizer.load(Path(folder))
        if len(tokenizer.encode(PROBE)) > TOKENS_PER_BYTE * len(PROBE.encode()):
            raise UserError(
                f"{folder}/tokenizer.json cannot be used: it produces far more tokens than characters"
            )
        # A template may do something else in a longer conversation than in the trial of its constructor.
        for history in (_TALK[:1], _TALK[1:], _TALK):
            tokenizer.encode_prompt(PROBE, history)
        tokenizer.encode_answer(PROBE)
        print(json.dumps({"ids": 1 + max(tokenizer.rules.get_vocab().values())}))
    except UserError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    _probe_folder(sys.argv[1], int(sys.argv[2]))
