"""The state of the code in Git: what a run records of it, and its checkout in a separate worktree."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from model.errors import UserError
from tasks.common.disk_space import check_room

# Packages that a run imports; a file there counts although Git does not track it yet.
_CODE_PACKAGES = ("flows", "tasks", "model")
_LARGEST = 1 << 20
# A file that each version of chatmill has.
_SIGN = "flows/__init__.py"
# The module of the command line, and its name in older versions.
_COMMANDS = ("flows/cli/main.py", "flows/command.py")
# The diff is applied on another machine, so a person's own Git settings must not shape it.
_PLAIN = (
    "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative", "-U3",
    "--src-prefix=a/", "--dst-prefix=b/",
)  # fmt: skip
_SHOWN = 12
# Exit codes of env, by POSIX: git cannot be run, or is not there. TIMED_OUT is that of the command `timeout`.
NOT_RUN, NOT_FOUND, TIMED_OUT = 126, 127, 124
# A lock or a network folder could make git wait without an end.
_GIT_SECONDS = 600
# File systems give a file whole blocks; about one of them is the rest of the last and the file's own notes.
_BLOCK = 4096


UNKNOWN = "unknown"
NO_REPOSITORY = "is not in a git repository; create one with `git init`"
NO_COMMIT = "the repository has no commit yet; create one with `git commit`"
# Parts of git's sentences, with what they mean and what to do.
_MEANINGS = (
    (
        "detected dubious ownership",
        "another user owns the repository, so git refuses to read it; `git config --global --add "
        "safe.directory {root}` allows it",
    ),
    ("not a git repository", f"{{root}} {NO_REPOSITORY}"),
    ("needed a single revision", NO_COMMIT),
)


class GitRefuses(Exception):
    """Git gave no answer; the message names the reason."""


# A file in a diff, but the pointer to the data: chatmill writes it itself, and it is no code.
_CHANGED = re.compile(r"^diff --git (?!\S*\bdata\.dvc )", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """The state of the code: its commit, and its difference from that commit.

    If Git gave no answer, `problem` is the reason. An empty field is unknown then: it does not mean
    "unchanged". `about` has further tags, about code and project.
    """

    commit: str
    diff: str
    problem: str = ""
    about: Mapping[str, str] = field(default_factory=dict)

    def tags(self) -> dict[str, str]:
        """Return the tags that a run records: the commit, and whether the code was changed.

        A value that Git did not give is `unknown`.
        """
        dirty = UNKNOWN if self.problem else str(bool(_CHANGED.search(self.diff))).lower()
        problem = {"git.problem": self.problem} if self.problem else {}
        return {"git.commit": self.commit or UNKNOWN, "git.dirty": dirty, **problem, **self.about}


def describe_code(root: Path, origin: Path, digest: str) -> Code:
    """Return what a run records of its code: its state in Git, its version, and the project's own commit.

    Args:
        root: The project's folder.
        origin: The folder of chatmill's packages.
        digest: The digest of their sources.
    """
    about = {"code.version": _program_version(origin), "code.digest": digest}
    return replace(program_state(origin), about={**about, **project_tags(root, origin)})


def _program_version(origin: Path) -> str:
    """Return the version of chatmill in a folder, which need not be the installed one."""
    try:
        project = tomllib.loads((origin / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return metadata.version("chatmill")
    except metadata.PackageNotFoundError:
        return UNKNOWN


def program_state(origin: Path) -> Code:
    """Return the state of the repository that holds the code of chatmill.

    A folder of installed packages may lie inside a repository that is not chatmill's and does not track it.

    Args:
        origin: The folder of chatmill's packages.
    """
    problem = git_problem(origin)
    if _tracks_code(origin) or (problem and not is_empty(problem)):
        return code_state(origin)
    return Code("", "", f"chatmill runs from {origin}, which is not a clone of its repository")


def project_tags(root: Path, origin: Path) -> dict[str, str]:
    """Return what a run records of a project whose repository is not that of chatmill's code.

    The commit is not there if the project is in no repository that Git reads.
    """
    top = _git_text(root, "rev-parse", "--show-toplevel").strip()
    if top and top == _git_text(origin, "rev-parse", "--show-toplevel").strip() and _tracks_code(origin):
        return {}
    tags = {"code.folder": str(origin)}
    if commit := _git_text(root, "rev-parse", "--verify", "--quiet", "HEAD").strip():
        changed = run_git(root, "diff", "--quiet", "HEAD").returncode
        tags |= {"project.commit": commit, "project.dirty": str(bool(changed)).lower()}
    return tags


def _tracks_code(origin: Path) -> bool:
    return run_git(origin, "ls-files", "--error-unmatch", "--", _SIGN).returncode == 0


def code_state(root: Path) -> Code:
    """Return the state of the repository that holds a folder.

    The diff has the form that `git apply` takes. It covers tracked files, and untracked files of the packages
    of at most `_LARGEST` bytes. Ignored files are left out. If the code names a module that is left out, that
    is the problem of the result.
    """
    commit = ""
    try:
        commit = _git_output(root, "rev-parse", "--verify", "HEAD").strip()
        top = Path(_git_output(root, "rev-parse", "--show-toplevel").rstrip("\n"))
        listed = ("ls-files", "--others", "--full-name", "-z")
        found = {
            how: sorted(filter(None, _git_output(root, *listed, *how, "--", *_CODE_PACKAGES).split("\0")))
            for how in ((), ("--exclude-standard",))
        }
        files = [name for name in found["--exclude-standard",] if (top / name).is_file()]
        # The diff is recorded with every run, so a large untracked file is left out.
        large = [name for name in files if (top / name).stat().st_size > _LARGEST]
        added = [
            _git_output(top, "diff", "--no-index", *_PLAIN, "--", "/dev/null", name, differ=True)
            for name in files
            if name not in large
        ]
        ignored = [name for name in found[()] if name not in found["--exclude-standard",]]
        reasons = {name: "is ignored by git" for name in ignored}
        reasons |= {name: f"is not committed and has more than {_LARGEST >> 20} MiB" for name in large}
        problem = _explain_left_out(root, top, reasons)
        return Code(commit, "".join([_git_output(root, "diff", *_PLAIN, "HEAD"), *added]), problem)
    except GitRefuses as error:
        return Code(commit, "", str(error))


def _explain_left_out(root: Path, top: Path, reasons: Mapping[str, str]) -> str:
    """Return the first module, with the reason, that the diff lacks and other code names; else ""."""
    modules = [name for name in reasons if name.endswith(".py")]
    if not modules:
        return ""
    sources = [path for package in _CODE_PACKAGES for path in (root / package).rglob("*.py")]
    texts = {path.resolve(): path.read_text(encoding="utf-8", errors="replace") for path in sources}
    for name in sorted(modules):
        path = (top / name).resolve()
        stem = path.parent.name if path.stem == "__init__" else path.stem
        word = re.compile(rf"\b{re.escape(stem)}\b")
        if any(word.search(text) for other, text in texts.items() if other != path):
            return f"{name} {reasons[name]}, so git.diff lacks it"
    return ""


def git_problem(root: Path) -> str:
    """Return the reason why Git cannot read the project's history; empty if it can."""
    try:
        _git_output(root, "rev-parse", "--verify", "HEAD")
    except GitRefuses as error:
        return str(error)
    return ""


def is_empty(problem: str) -> bool:
    """Return whether a problem means that there is no history, rather than that Git cannot read it."""
    return problem.endswith((NO_REPOSITORY, NO_COMMIT))


def is_shallow(root: Path) -> bool:
    """Return whether the repository lacks its older history, as after `git clone --depth`."""
    return _git_text(root, "rev-parse", "--is-shallow-repository").strip() == "true"


def is_on_branch(root: Path, commit: str) -> bool:
    """Return whether a commit is reachable from a local branch, a tag or HEAD."""
    if run_git(root, "merge-base", "--is-ancestor", commit, "HEAD").returncode == 0:
        return True
    listed = run_git(root, "for-each-ref", "--count=1", f"--contains={commit}", "refs/heads", "refs/tags")
    return listed.returncode == 0 and bool(listed.stdout.strip())


def holds_program(root: Path, commit: str) -> bool:
    """Return whether a commit has chatmill's code in the folder of the project."""
    prefix = _git_text(root, "rev-parse", "--show-prefix").strip()
    return any(
        run_git(root, "cat-file", "-e", f"{commit}:{prefix}{name}").returncode == 0 for name in _COMMANDS
    )


def checkout_code(root: Path, code: Code, tree: Path) -> Path:
    """Check the recorded code out in a new worktree at `tree`; `remove_worktree` removes it.

    Args:
        root: The project's folder.
        code: The commit and the diff to apply to it.
        tree: The folder of the new worktree; an older one there is removed.

    Returns:
        The project's folder in the worktree. It differs from `tree` if the project is a subfolder of its
        repository.

    Raises:
        UserError: The folder is in no repository, the repository lacks the commit, or the diff does not fit
            it. No worktree is left then.
    """
    top = _git_text(root, "rev-parse", "--show-prefix", "HEAD")
    if not top:
        problem = git_problem(root)
        raise UserError(
            f"{problem}; the run's commit {_short_commit(code)} must be in a repository that git reads"
        )
    if run_git(root, "cat-file", "-e", f"{code.commit}^{{commit}}").returncode:
        how = "git fetch --unshallow" if is_shallow(root) else "git fetch"
        raise UserError(f"commit {_short_commit(code)} is not in this repository; fetch it with `{how}`")
    remove_worktree(root, tree)
    tree.parent.mkdir(parents=True, exist_ok=True)
    # A post-checkout hook would run in the new worktree, and may need files that only the main one has.
    made = run_git(
        root, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", str(tree), code.commit
    )
    if made.returncode:
        remove_worktree(root, tree)
        # Git names the file that it could not write, but not the reason.
        check_room(tree.parent, _decode(made.stderr), _tree_size(root, code.commit))
        raise UserError(
            f"git could not create a worktree of commit {_short_commit(code)} in {tree}: {_last_line(made)}"
        )
    if code.diff:
        fitted = run_git(tree, "apply", "--whitespace=nowarn", "-", given=code.diff.encode())
        if fitted.returncode:
            try:
                check_room(tree, _decode(fitted.stderr))
            finally:
                remove_worktree(root, tree)
            raise UserError(
                f"the run's git.diff does not apply to its commit {_short_commit(code)}: "
                f"{_last_line(fitted)}; the recorded diff is incomplete"
            )
    return tree / top.splitlines()[0]


def _tree_size(root: Path, commit: str) -> int:
    """Return about the bytes that all files of a commit take on a disk."""
    rows = _git_text(root, "ls-tree", "-r", "--long", "-z", commit).split("\0")
    # MODE TYPE OBJECT SIZE, then the path behind a tab; a submodule has "-" for its size.
    sizes = (row.partition("\t")[0].split()[-1] for row in rows if row)
    return sum(int(size) + _BLOCK for size in sizes if size.isdecimal())


def remove_worktree(root: Path, tree: Path) -> None:
    """Remove a worktree with its files; do nothing if there is none."""
    # Git asks for --force twice before it removes a locked worktree.
    removed = run_git(root, "worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)
    if removed.returncode:
        _forget_worktree(root, tree)
    # If only the files are removed, Git still lists the worktree and refuses to add one at the same path.
    run_git(root, "worktree", "prune")


def _forget_worktree(root: Path, tree: Path) -> None:
    """Remove Git's notes on a worktree that it cannot remove, as after a kill inside `git worktree add`.

    Git locks a worktree while it adds it. It keeps the notes of a locked one, and fails to add another one
    at the same path, or fails to read the unfinished notes at all.
    """
    common = _git_text(root, "rev-parse", "--path-format=absolute", "--git-common-dir").strip()
    for notes in Path(common, "worktrees").glob("*") if common else ():
        try:
            place = (notes / "gitdir").read_text(encoding="utf-8", errors="surrogateescape").strip()
        except OSError:
            place = ""
        # Before the place is written there is only the name, which Git makes from that of the folder.
        begun = not place and notes.name.rstrip("0123456789") == tree.name
        if begun or (place and Path(place) == tree.absolute() / ".git"):
            shutil.rmtree(notes, ignore_errors=True)


def _git_output(root: Path, *words: str, differ: bool = False) -> str:
    """Return the output of a Git command.

    Raises GitRefuses if the command fails. With `differ`, exit status 1 means that two files differ and is no
    failure.
    """
    done = run_git(root, *words)
    if done.returncode and not (differ and done.returncode == 1):
        raise GitRefuses(_explain_failure(root, done))
    # Bytes other than UTF-8 cannot be stored as text. They are replaced, and `git apply` refuses such a diff
    # later.
    return done.stdout.decode("utf-8", "replace")


def _explain_failure(root: Path, done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stderr.decode("utf-8", "replace").lower()
    damaged = next((place for place in (root, *root.resolve().parents) if (place / ".git").exists()), None)
    if "not a git repository" in said and damaged:
        return f"git does not recognise {damaged / '.git'} as a repository; it may be damaged"
    if known := next((means for begins, means in _MEANINGS if begins in said), ""):
        return known.format(root=root)
    reason = _last_line(done)
    return reason if done.returncode in (NOT_RUN, NOT_FOUND, TIMED_OUT) else f"git fails: {reason}"


def _git_text(root: Path, *words: str) -> str:
    """Return the output of a Git command; empty if it fails or Git is not installed.

    Status 1 is no failure: `git diff` returns it for files that differ.
    """
    done = run_git(root, *words)
    return done.stdout.decode("utf-8", "replace") if done.returncode in (0, 1) else ""


def run_git(root: Path, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a Git command in a folder; its code is NOT_FOUND, NOT_RUN or TIMED_OUT if Git gave no answer.

    Args:
        root: The folder.
        words: The command's words after `git`.
        given: The command's input.
    """
    # Git's messages are compared with `_MEANINGS`, so they must be in English.
    command = ["env", "LC_ALL=C", "git", "-C", str(root), *words]
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=_GIT_SECONDS)
    except OSError:
        return subprocess.CompletedProcess(words, NOT_FOUND, b"", b"git is not installed")
    except subprocess.TimeoutExpired:
        late = f"git did not answer within {_GIT_SECONDS} s".encode()
        return subprocess.CompletedProcess(words, TIMED_OUT, b"", late)
    # env writes its own message then, whose words differ between systems.
    said = {NOT_FOUND: b"git is not installed", NOT_RUN: b"git cannot be run"}.get(done.returncode)
    return subprocess.CompletedProcess(words, done.returncode, done.stdout, said) if said else done


def would_be_added(path: Path) -> bool:
    """Return whether `git add` of its folder would add a new file: no rule of a repository ignores it."""
    # 1: no rule ignores it. 128: there is no repository.
    return run_git(path.parent, "check-ignore", "--quiet", path.name).returncode == 1


def _decode(said: bytes) -> str:
    return said.decode("utf-8", "replace")


def _last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = _decode(done.stderr).strip().splitlines()
    # Git tells its progress before the error.
    said = [line for line in lines if line.startswith(("fatal: ", "error: "))] or lines
    return said[0].removeprefix("error: ").removeprefix("fatal: ") if said else "no reason given"


def _short_commit(code: Code) -> str:
    return code.commit[:_SHOWN]
