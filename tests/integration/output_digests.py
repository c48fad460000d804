"""Print the digests of every stage's output and the metrics of the last run, or compare them with a record.

`python -m tests.integration.output_digests` prints the digests of the project's folder (`--root`) as JSON.
`--record FILE` writes them; `--compare FILE` names what differs and exits with 1. The record of
configs/smoke.yaml is tests/fixtures/output_digests.json. Another processor rounds floats differently, so
record and compare on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parents[1] / "fixtures" / "output_digests.json"
# The cache keys and the code's digest change with every edit, times and memory with every run.
MANIFEST = "manifest.json"
SPEED = "tokens_per_second"
MEASURED = re.compile(
    rb'"(seconds|time|tokens_per_second|seconds_left|memory|megabytes_per_second|wait)": [-\d.e]+'
)


def stage_digests(root: Path) -> dict[str, Any]:
    """Return for every stage of the last run the SHA-256 of its files, by name, and its metrics."""
    summary = json.loads((root / "var" / "summary.json").read_text("utf-8"))
    keys = {stage["key"]: stage["name"] for stage in summary["stages"]}
    found = {}
    for stage in summary["stages"]:
        folder = root / "var" / "cache" / "artifacts" / stage["name"] / stage["key"]
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
        found[stage["name"]] = {
            "files": {path.relative_to(folder).as_posix(): file_digest(path, root, keys) for path in files},
            "metrics": {name: value for name, value in stage["metrics"].items() if name != SPEED},
        }
    return found


def file_digest(path: Path, root: Path, keys: Mapping[str, str]) -> str:
    """Return the SHA-256 of a file without cache keys, measured times and the root."""
    content = path.read_bytes()
    if path.suffix in (".json", ".jsonl", ".html", ".md", ".txt"):
        content = MEASURED.sub(rb'"\1": 0', content.replace(str(root).encode(), b"ROOT"))
        for key, name in keys.items():
            content = content.replace(key.encode(), f"KEY OF {name}".encode())
    return hashlib.sha256(content).hexdigest()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return one line for each file or metric that is new, missing or different."""
    lines = []
    for stage in sorted({*before, *after}):
        for kind in ("files", "metrics"):
            old, new = (side.get(stage, {}).get(kind, {}) for side in (before, after))
            for name in sorted({*old, *new}):
                if old.get(name) != new.get(name):
                    lines.append(f"{stage}: {kind}: {name}: {old.get(name)} -> {new.get(name)}")
    return lines


def main() -> int:
    given = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    given.add_argument("--root", type=Path, default=Path.cwd(), help="the project's folder")
    given.add_argument("--record", type=Path, metavar="FILE", help="write the digests to this file")
    given.add_argument(
        "--compare", type=Path, nargs="?", const=RECORD, metavar="FILE", help=f"default: {RECORD.name}"
    )
    args = given.parse_args()
    found = stage_digests(args.root.resolve())
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if args.record:
        args.record.parent.mkdir(parents=True, exist_ok=True)
        args.record.write_text(text, "utf-8")
    if args.compare:
        lines = differences(json.loads(args.compare.read_text("utf-8")), found)
        print(
            "\n".join(lines)
            or f"{sum(len(stage['files']) for stage in found.values())} files: the same digests and metrics"
        )
        return int(bool(lines))
    if not args.record:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
