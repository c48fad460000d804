"""The code of a run in git: what a run records of it, and how it comes back in a worktree of its own."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from model.errors import UserError

# What a run imports; a file there counts although git was never told of it.
ROOMS = ("flows", "tasks", "model")
LARGEST = 1 << 20
# A person's own settings of git must not shape what is recorded: it is applied on another machine.
PLAIN = (
    "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative", "-U3",
    "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip
SHOWN = 12


@dataclass(frozen=True)
class Code:
    """The state of the code: its commit, and what differs from it. Empty where there is no git."""

    commit: str
    diff: str


def code_state(root: Path) -> Code:
    """Of the repository that holds the project.

    The diff is as `git apply` takes it: tracked files, and files of the rooms that git does not know yet (of
    at most LARGEST bytes; what is ignored is left out).
    """
    commit = _said(root, "rev-parse", "HEAD").strip()
    if not commit:
        return Code("", "")
    top = _top(root)
    listed = _said(root, "ls-files", "--others", "--exclude-standard", "--full-name", "-z", "--", *ROOMS)
    added = [
        _said(top, "diff", "--no-index", *PLAIN, "--", "/dev/null", name)
        for name in sorted(filter(None, listed.split("\0")))
        if (top / name).is_file() and (top / name).stat().st_size <= LARGEST
    ]
    return Code(commit, "".join([_said(root, "diff", *PLAIN, "HEAD"), *added]))


def bring_back(root: Path, code: Code, tree: Path) -> Path:
    """The project's folder in a new worktree at `tree`, as the code was; `put_away` removes it.

    Raises UserError where the folder is in no repository, the repository lacks the commit, or the diff does
    not fit it: nothing is left of the worktree then.
    """
    top = _said(root, "rev-parse", "--show-prefix", "HEAD")
    if not top:
        raise UserError(
            f"{root} is in no git repository; run this in a clone of the project that has commit "
            f"{_brief(code)}"
        )
    if _git(root, "cat-file", "-e", f"{code.commit}^{{commit}}").returncode:
        raise UserError(
            f"commit {_brief(code)} is not in this repository; `git fetch` brings it from where it was pushed"
        )
    put_away(root, tree)
    tree.parent.mkdir(parents=True, exist_ok=True)
    # A hook would run with what it finds here, and may want what is not there.
    made = _git(root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", str(tree), code.commit)
    if made.returncode:
        put_away(root, tree)
        raise UserError(f"git made no worktree of commit {_brief(code)}: {_last(made)}")
    if code.diff:
        fitted = _git(tree, "apply", "--whitespace=nowarn", "-", given=code.diff.encode())
        if fitted.returncode:
            put_away(root, tree)
            raise UserError(
                f"the run's git.diff does not fit its commit {_brief(code)}: {_last(fitted)}; "
                "the diff was not recorded whole"
            )
    return tree / top.splitlines()[0]


def put_away(root: Path, tree: Path) -> None:
    """Remove a worktree with all in it; nothing where there is none."""
    _git(root, "worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)
    _git(root, "worktree", "prune")


def _top(root: Path) -> Path:
    return Path(_said(root, "rev-parse", "--show-toplevel").rstrip("\n"))


def _said(root: Path, *words: str) -> str:
    """What git says; empty where it fails (1: two files differ) or is not installed."""
    done = _git(root, *words)
    # What is no UTF-8 cannot be kept as text: such a diff says so when it is applied.
    return done.stdout.decode("utf-8", "replace") if done.returncode in (0, 1) else ""


def _git(root: Path, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(root), *words], input=given, capture_output=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, b"", b"git is not installed")


def _last(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("error: ").removeprefix("fatal: ") if lines else "it does not say why"


def _brief(code: Code) -> str:
    return code.commit[:SHOWN]
