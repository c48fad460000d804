"""Download files once, verify them, and resume interrupted downloads."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO, NamedTuple, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit

from model.errors import UserError
from model.events import EventCallback, Message
from tasks.common import url_secrets
from tasks.common.checksums import file_sums
from tasks.data.records import text_digest
from tasks.project.paths import DOWNLOADS

T = TypeVar("T")
_SUM = "#sha256="
_PIECE = 1 << 20
PATIENCE = 30.0  # seconds without a byte before an attempt fails
TRIES = 5
PAUSE = 0.5  # seconds before the second attempt; the pause doubles with each further one
# A compressed transfer would make sizes and ranges those of the compressed bytes.
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "chatmill"}
AGAIN = (408, 425, 429)  # request timeout, too early, too many requests: may pass, as 5xx may


class Address(NamedTuple):
    """The address of a file, and the SHA-256 that it must have (empty for any)."""

    url: str
    sha256: str

    @property
    def display_text(self) -> str:
        """The address for messages, without parts that may be secret: a user, and the query."""
        return url_secrets.display_url(self.url)

    @property
    def full_url(self) -> str:
        """The address with its secrets, for requests. Raises UserError if this process does not know them."""
        return url_secrets.reveal_secrets(self.url)

    @property
    def name(self) -> str:
        """The file's own name with its suffixes."""
        path = unquote(url_secrets.PATH_PARAMETER.sub("", urlsplit(self.url).path))
        return re.sub(r"[^\w.=+@-]", "_", Path(path).name).lstrip(".") or "file"

    @property
    def cache_folder(self) -> Path:
        """The folder of all downloads from this address, relative to the project's folder."""
        # The checksum is part of the key: a changed pin gets a folder of its own, and the old file stays for
        # older presets.
        return DOWNLOADS / text_digest("url", self.url, self.sha256)


class State(NamedTuple):
    """A server's description of a file: a mark that changes with the content, and the size in bytes."""

    mark: str
    size: int | None

    @property
    def key(self) -> str:
        """The digest of the state. A file that changed has another one."""
        return text_digest(self.mark, self.size)


class Opened(NamedTuple):
    """The bytes of a file from `start` on, as they arrive.

    `ends` says whether an interruption can be told from the end of the file.
    """

    stream: IO[bytes]
    state: State
    start: int
    ends: bool = True


class InterruptedDownload(Exception):
    """An error that may pass, so that another attempt is worthwhile."""


class RefusedDownload(UserError):
    """An answer of a server that another attempt would get too, with its status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def parse_address(text: str) -> Address:
    """Return the address and the checksum of `URL` or `URL#sha256=SUM`. Raise ValueError for other texts."""
    url, _, wanted = text.partition(_SUM)
    parts = urlsplit(url)
    if not parts.scheme or "://" not in url:
        raise ValueError(
            f"urls: {url_secrets.hide_secrets(text)!r} is not a valid address; expected for example https://example.org/texts.jsonl"
        )
    if url_secrets.secret_problem(url, url_secrets.NAMED_USERS):
        raise ValueError(
            f"urls: the address at {parts.hostname} contains a user or password, which every run "
            "would record; download it yourself and list it under files"
        )
    if url_secrets.has_fragment(url) or "#" in wanted:
        raise ValueError(
            f"urls: the address at {parts.hostname} has a part after #, which no server gets and every run "
            "would record; remove it, or write #sha256= with the file's checksum there"
        )
    if name := url_secrets.own_variable(url):
        raise ValueError(f"urls: the address at {parts.hostname} asks for {name}, {url_secrets.NOT_GIVEN}")
    if _SUM in text and not re.fullmatch(r"[0-9a-fA-F]{64}", wanted):
        raise ValueError(
            f"urls: the sum of {Address(url, '').display_text} is {wanted!r}; expected 64 hex digits"
        )
    return Address(url, wanted.lower())


def content_version(given: Address, root: Path) -> str:
    """Return the cache key of the content: its checksum if one is given, else the server's current state.

    If the server cannot be asked, it is the state of the last download. Raises UserError if there is none.
    """
    if given.sha256:
        return given.sha256
    try:
        return ask_server(given).key
    except (InterruptedDownload, UserError) as error:
        if kept := _last_download(given, root):
            return kept.parent.name
        raise UserError(f"{given.display_text} cannot be fetched ({error})") from error


def ask_server(given: Address) -> State:
    """Return the server's description of a file.

    Raises:
        InterruptedDownload: The server cannot be reached at the moment; another attempt may succeed.
        UserError: The server refuses the request, or the file does not exist.
    """
    with _open_request(given) as opened:
        return opened.state


def find_download(given: Address, root: Path) -> Path | None:
    """Return the complete file if it was downloaded before: the pinned one, or else the last one."""
    if not given.sha256:
        return _last_download(given, root)
    path = root / given.cache_folder / given.name
    return path if path.exists() else None


def download_file(given: Address, root: Path, on_event: EventCallback) -> Path:
    """Return the complete, verified file of an address; what was downloaded once is reused.

    Without a checksum the server is asked whether its file is unchanged. If it is unreachable, the last copy
    is used.

    Raises:
        UserError: The file cannot be fetched, or has another checksum. Such a file is deleted.
    """
    place = root / given.cache_folder
    with _address_lock(place):
        kept = find_download(given, root)
        if kept and given.sha256:
            _check_sum(given, kept, root)
            return kept
        if kept:
            try:
                now = place / ask_server(given).key / given.name
            except (InterruptedDownload, UserError) as error:
                text = f"{given.display_text} is unreachable ({error}); the last downloaded copy is used"
                on_event(Message(text))
                return kept
            if now.exists():
                return now
        return retry_download(
            lambda: _try_download(given, root, on_event),
            lambda: _partial_bytes(given, root),
            given.display_text,
        )


def retry_download(attempt: Callable[[], T], count_bytes: Callable[[], int], shown: str) -> T:
    """Retry until a download is complete. Only attempts that made no progress count towards TRIES.

    Args:
        attempt: One attempt; it raises InterruptedDownload if another may succeed.
        count_bytes: Returns the number of bytes that have come.
        shown: The name of what is fetched, for messages.

    Raises:
        UserError: Nothing came in TRIES attempts.
    """
    failed, farthest = 0, 0
    while True:
        try:
            return attempt()
        except InterruptedDownload as error:
            come = count_bytes()
            # A slow connection that breaks often still completes, as long as each attempt adds bytes.
            failed, farthest = (0, come) if come > farthest else (failed + 1, farthest)
            if failed == TRIES:
                kept = f"; the {come} bytes that came are kept, and the same command resumes" if come else ""
                raise UserError(f"{shown} cannot be fetched ({error}){kept}") from error
            time.sleep(PAUSE * 2**failed)


def _partial_bytes(given: Address, root: Path) -> int:
    """Return the number of bytes of an unfinished download."""
    return max((part.stat().st_size for part in (root / given.cache_folder).rglob("*.part")), default=0)


def _try_download(given: Address, root: Path, on_event: EventCallback) -> Path:
    with _open_request(given) as opened:
        state = opened.state
        path = root / given.cache_folder / ("" if given.sha256 else state.key) / given.name
        if path.exists():
            return path
        # Without a length and without chunks the end of the connection is the only sign of the end, and an
        # interruption looks the same.
        if not opened.ends and not given.sha256:
            raise UserError(
                f"{given.display_text}: the server does not report the size, so a truncated "
                f"download could not be detected; add its checksum, as in URL{_SUM}…"
            )
        # Named by the server's state, so the rest of another version of the file is never appended.
        part = path.with_name(f"{given.name}.{state.key}.part")
        begun = part.stat().st_size if part.exists() else 0
        # The mark is in the name of the partial file. Without a mark, only the checksum can show whether the
        # rest belongs to the same file.
        goes_on = 0 < begun <= (state.size or 0) and bool(state.mark or given.sha256)
        if not goes_on:
            _report_progress(given, state, 0, on_event)
            copy_stream(opened, part)
    if goes_on and begun < (state.size or 0):
        _report_progress(given, state, begun, on_event)
        with _open_request(given, begun, state) as rest:
            # The file may have been replaced between the two requests.
            if rest.state != state:
                raise InterruptedDownload("it changed during the download")
            copy_stream(rest, part)
    _finish_download(given, part, path, state, goes_on, root)
    return path


def copy_stream(opened: Opened, part: Path) -> None:
    """Write the bytes of an opened file to a partial one, from their place on.

    Raises:
        InterruptedDownload: The connection broke; what came is kept.
        UserError: The disk is full.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with part.open("ab" if opened.start else "wb") as file:
            while piece := _read_block(opened.stream):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # A full disk does not pass by waiting, unlike an error of the network.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{part.parent}: the disk is full; free space, and the same command resumes"
        ) from error


def _read_block(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(_PIECE)
    except Exception as error:  # Each file system has exceptions of its own.
        raise InterruptedDownload(error_text(error)) from error


def _finish_download(given: Address, part: Path, path: Path, state: State, went_on: bool, root: Path) -> None:
    size = part.stat().st_size
    if state.size is not None and size != state.size:
        # A file that is too long cannot be resumed.
        if size > state.size:
            part.unlink()
        raise InterruptedDownload(f"it ended after {size} of {state.size} bytes")
    if given.sha256:
        try:
            _check_sum(given, part, root)
        except UserError as error:
            part.unlink()
            if went_on:
                raise InterruptedDownload("the partial download was of another file") from error
            raise
    part.replace(path)
    for stale in (root / given.cache_folder).rglob("*.part"):
        stale.unlink()


def _check_sum(given: Address, path: Path, root: Path) -> None:
    (found,) = file_sums([path], root)
    if found != given.sha256:
        raise UserError(
            f"{given.display_text} has SHA-256 {found}, and the preset says {given.sha256}; nothing was read"
        )


def _report_progress(given: Address, state: State, begun: int, on_event: EventCallback) -> None:
    size = "" if state.size is None else f", {state.size} bytes"
    text = f"fetching {given.display_text}{size}" + (f", from byte {begun} on" if begun else "")
    on_event(Message(text))


def _last_download(given: Address, root: Path) -> Path | None:
    """Return the last complete download from an address without a checksum."""
    found = (root / given.cache_folder).glob(f"*/{given.name}")
    # Each state of the server has a folder of its own, and the rename keeps the time of writing.
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


@contextmanager
def _address_lock(place: Path) -> Iterator[None]:
    """Lock the downloads from an address for this process."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open_request(
    given: Address, start: int = 0, state: State | None = None
) -> AbstractContextManager[Opened]:
    web = urlsplit(given.url).scheme in ("http", "https")
    return _open_web(given, start, state) if web else _open_other(given, start)


@contextmanager
def _open_web(given: Address, start: int, state: State | None) -> Iterator[Opened]:
    asked = dict(HEADERS)
    if start:
        asked["Range"] = f"bytes={start}-"
        if state and state.mark:
            # With If-Range a server sends the whole file instead of a range if the file has changed.
            asked["If-Range"] = state.mark
    request = urllib.request.Request(quote(given.full_url, safe="%/:=&?~#+!$,;'@()*[]"), headers=asked)
    with open_response(request, given.display_text, start) as opened:
        yield opened


@contextmanager
def open_response(
    request: urllib.request.Request,
    shown: str,
    start: int,
    opener: urllib.request.OpenerDirector | None = None,
) -> Iterator[Opened]:
    """Send a request and yield its answer.

    Args:
        request: The request.
        shown: The address for messages.
        start: The first byte that the request asks for.
        opener: The opener that follows redirects; None: urllib's own.

    Raises:
        InterruptedDownload: Another attempt may succeed.
        RefusedDownload: The server refuses the request.
    """
    try:
        response = (opener.open if opener else urllib.request.urlopen)(request, timeout=PATIENCE)
    except HTTPError as error:
        says = f"the server answers {error.code} {error.reason}"
        if error.code >= 500 or error.code in AGAIN:
            raise InterruptedDownload(says) from error
        raise RefusedDownload(f"{shown}: {says}", error.code) from error
    except (OSError, HTTPException) as error:
        raise InterruptedDownload(error_text(error)) from error
    with response:
        length, begins, whole = response.headers.get("Content-Length"), 0, None
        if response.status == 206:
            told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if not told or int(told[1]) != start:
                raise InterruptedDownload("the server sent a different part than requested")
            begins, whole = start, int(told[2])
        elif length is not None:
            whole = int(length)
        tag = response.headers.get("ETag", "")
        # A weak tag guarantees equal meaning, not equal bytes (RFC 9110, section 8.8.1).
        mark = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        ends = whole is not None or bool(response.chunked)
        yield Opened(response, State(mark, whole), begins, ends)


@contextmanager
def _open_other(given: Address, start: int) -> Iterator[Opened]:
    """Open an address by fsspec, whose file systems find credentials in the environment or in files."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(given.full_url)
        # fsspec caches listings within a process; a file that changed since would keep its old size and mark.
        system.invalidate_cache()
        told = system.info(path)
        if told.get("type") == "directory":
            raise UserError(f"{given.display_text} is a folder; name its files")
        stream = system.open(path, "rb")
        stream.seek(start)
    except (UserError, FileNotFoundError, PermissionError, ImportError, ValueError) as error:
        raise UserError(f"{given.display_text}: {_refusal_reason(given, error)}") from error
    except Exception as error:  # Each file system has exceptions of its own.
        raise InterruptedDownload(error_text(error)) from error
    # Each file system has its own name for a mark: S3, HTTP, Google Cloud, Azure, local files.
    names = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime")
    mark = next((str(told[name]) for name in names if told.get(name)), "")
    with stream:
        yield Opened(stream, State(mark, told.get("size")), start, told.get("size") is not None)


def _refusal_reason(given: Address, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, ImportError) and given.url.startswith("s3"):
        return "reading S3 needs a package that is not installed: pip install 'chatmill[s3]'"
    return error_text(error)


def error_text(error: Exception) -> str:
    """Return the first line of an error, without secrets."""
    with suppress(AttributeError):
        error = error.reason if isinstance(error.reason, Exception) else error  # type: ignore[attr-defined]
    return url_secrets.hide_secrets((str(error).strip() or type(error).__name__).splitlines()[0])
