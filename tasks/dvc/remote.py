"""Copy versions of the data to and from a DVC remote, with retries, and explain its errors to users."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from model.errors import UserError
from tasks.common import url_secrets

_NAME = "chatmill"
# Seconds between attempts. A failure that lasts longer than their sum is reported to the user.
WAITS = (1.0, 2.0, 4.0, 8.0)
CONNECT_SECONDS = "5"  # botocore's default is a minute for each of five attempts
_PIECE = 1 << 20
_COPIES = 8  # objects copied in parallel
T = TypeVar("T")

# Classes are matched by name, because the packages that define them may not be installed.
UNREACHABLE = {
    "ClientConnectionError", "ClientPayloadError", "ConnectionError", "HTTPClientError",
    "IncompleteReadError", "ResponseStreamingError", "TimeoutError", "gaierror",
}  # fmt: skip
NO_CREDENTIALS = {
    "CredentialRetrievalError", "NoAuthTokenError", "NoCredentialsError", "PartialCredentialsError",
    "ProfileNotFound", "TokenRetrievalError", "UnauthorizedSSOTokenError",
}  # fmt: skip
_REFUSED = {
    "AccessDenied", "AllAccessDisabled", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "InvalidToken",
    "SignatureDoesNotMatch", "401", "403",
}  # fmt: skip
BUSY = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "503 Slow Down"}
UNREACHABLE_NUMBERS = {
    errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETDOWN,
    errno.ENETUNREACH, errno.EPIPE, errno.ESTALE, errno.ETIMEDOUT,
}  # fmt: skip


class RemoteFault(NamedTuple):
    """An error in one sentence, and whether it may pass without the user's help."""

    says: str
    passes: bool


def retry_action(action: Callable[[], T], where: str = "", waits: Sequence[float] = ()) -> T:
    """Run an action, and repeat it while a lock or the network makes it fail.

    Args:
        action: The action. It must be safe to repeat.
        where: The remote's address, for messages.
        waits: Seconds before each further attempt; empty means `WAITS`.

    Returns:
        The result of the action.

    Raises:
        UserError: The error does not pass by itself (a missing bucket, a refused password, a full disk), or
            all attempts failed.
    """
    for wait in (*(waits or WAITS), None):
        try:
            return action()
        except UserError:
            raise
        except Exception as error:
            found = explain_remote_error(error, where)
            if found is None:
                raise
            if wait is None or not found.passes:
                raise UserError(found.says) from error
            time.sleep(wait)
    raise AssertionError("unreachable")


def explain_remote_error(error: BaseException, where: str) -> RemoteFault | None:
    """Return the meaning of an error of DVC or of a store; None if it is none that a user can act on."""
    # The innermost cause is the most specific: s3fs, for one, turns a store's error code into a
    # PermissionError.
    for cause in reversed(list(_error_causes(error))):
        names = {kind.__name__ for kind in type(cause).__mro__}
        code, status = _s3_response(cause)
        if names & {"LockError"}:
            return RemoteFault("another program holds DVC's lock on this project; wait until it ends", True)
        if "RemoteMissingDepsError" in names or (names & {"ImportError"} and "dvc" in str(cause)):
            return RemoteFault(missing_plugin(where), False)
        if names & {"ConfigError", "RemoteConfigError"}:
            return RemoteFault(
                f"data.remote {where} is not an address that DVC supports ({_short_error(cause)})", False
            )
        if names & NO_CREDENTIALS:
            return RemoteFault(
                f"{where}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
                "environment, or run `aws configure`",
                False,
            )
        if code == "NoSuchBucket":
            return RemoteFault(
                f"{where}: the bucket does not exist; create it, or correct data.remote", False
            )
        if code in _REFUSED or status in (401, 403):
            return RemoteFault(
                f"{where} rejects these credentials ({code or status}); check AWS's own", False
            )
        if (
            code in BUSY
            or status >= 500
            or names & UNREACHABLE
            or _error_number(cause) in UNREACHABLE_NUMBERS
        ):
            return RemoteFault(
                f"{where} is unreachable ({_short_error(cause)}); nothing was lost; try again", True
            )
        if _error_number(cause) in (errno.ENOSPC, errno.EDQUOT):
            return RemoteFault(f"no space is left on the disk of {where or 'the project'}; make room", False)
        if _error_number(cause) in (errno.EROFS, errno.EIO):
            place = getattr(cause, "filename", None) or where or "the project"
            return RemoteFault(
                f"{place} cannot be written or read ({os.strerror(_error_number(cause))})", False
            )
        if isinstance(cause, PermissionError):
            return RemoteFault(
                f"{where or 'the project'} cannot be written or read ({_short_error(cause)})", False
            )
        if code:
            return RemoteFault(f"{where} answers {code}: {_short_error(cause)}", False)
    return None


def _error_causes(error: BaseException) -> Iterator[BaseException]:
    # Chains of causes can be circular.
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        yield step
        step = step.__cause__ or step.__context__


def _s3_response(error: BaseException) -> tuple[str, int]:
    """Return the code and the HTTP status of an S3 error; empty and 0 for any other error."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return "", 0
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return str(response.get("Error", {}).get("Code", "")), int(status or 0)


def _error_number(error: BaseException) -> int:
    return getattr(error, "errno", None) or 0


def _short_error(error: BaseException) -> str:
    return url_secrets.hide_secrets((str(error).strip().splitlines() or [type(error).__name__])[0])


def missing_plugin(where: str) -> str:
    """Return a sentence that names the package to install for a remote's scheme."""
    scheme = urlsplit(where).scheme
    install = "pip install chatmill[s3]" if scheme == "s3" else f"pip install dvc-{scheme}"
    return f"data.remote {where} needs DVC's plugin for {scheme}; `{install}` installs it"


def address_problem(address: str) -> str:
    """Return why an address must not be recorded as it contains a secret; else empty.

    The text follows the name of the key in a sentence.
    """
    parts = urlsplit(address)
    if url_secrets.secret_problem(address, url_secrets.NAMED_USERS) and not parts.password:
        return "holds a user; set credentials in the environment or in AWS's own files"
    if not (parts.password or parts.query):
        return ""
    return "contains a password or a query; set credentials in the environment or in AWS's own files"


def set_remote(repo: Any, root: Path, remote: str, endpoint: str = "") -> None:
    """Make an address DVC's default remote in .dvc/config.local, so that `dvc pull` uses it too.

    Args:
        repo: DVC's repository.
        root: The project's folder; a relative `remote` starts there.
        remote: The remote's address or folder.
        endpoint: The URL of an S3 server other than Amazon's.

    Raises:
        UserError: An address contains a password, which must not be written to a file.
    """
    for name, address in (("remote", remote), ("endpoint", endpoint)):
        if said := address_problem(address):
            raise UserError(f"data.{name} {said}")
    url = remote if urlsplit(remote).scheme else str((root / remote).resolve())
    wanted = {"url": url, **({"endpointurl": endpoint} if endpoint else {})}
    if urlsplit(remote).scheme == "s3":
        wanted["connect_timeout"] = CONNECT_SECONDS
    core = repo.config.get("core", {})
    # Unchanged settings are not written: `edit` rewrites the file, and another process may be reading it.
    if core.get("remote") == _NAME and _plain_settings(repo.config["remote"].get(_NAME)) == wanted:
        return
    with repo.config.edit("local") as settings:
        settings.setdefault("remote", {})[_NAME] = wanted
        settings.setdefault("core", {})["remote"] = _NAME


def _plain_settings(settings: Any) -> dict[str, str]:
    return {key: str(value) for key, value in (settings or {}).items()}


def open_remote(repo: Any) -> Any:
    """Return the store of DVC's default remote after one request to it, which raises if it is unusable."""
    remote = repo.cloud.get_remote()
    store = remote.odb
    if remote.fs.protocol == "s3":
        # `exists` answers False on most errors, such as a missing bucket. Listing raises the error itself.
        bucket, _, prefix = remote.path.strip("/").partition("/")
        remote.fs.fs.invalidate_cache()
        remote.fs.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
    else:
        remote.fs.exists(remote.path)
    return store


def version_listing(store: Any, version: str) -> dict[str, str] | None:
    """Return the hashes of a version's files by path; None if the store has no undamaged listing of it."""
    path = store.oid_to_path(version)
    if not store.fs.exists(path):
        return None
    with store.fs.open(path, "rb") as file:
        content = file.read()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != version.removesuffix(".dir"):
        return None
    return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(content)}


def copy_data_version(source: Any, target: Any, hashes: Sequence[str]) -> bool:
    """Copy the objects that the target lacks or has damaged.

    Objects are hashed while they are copied. One that is damaged or truncated in the source is skipped. In a
    folder, a damaged object is replaced.

    Args:
        source: The store to read.
        target: The store to write.
        hashes: The hashes of the objects.

    Returns:
        Whether the target has all objects afterwards.
    """
    wanted = damaged_hashes(target, hashes)
    usable = [name for name in wanted if name not in set(damaged_hashes(source, wanted))]
    if usable and is_folder(target):
        with ThreadPoolExecutor(_COPIES) as executor:
            for _ in executor.map(partial(_copy_object, source, target), usable):
                pass
    elif usable:
        # With check_exists DVC would skip an object that exists, even if it is damaged.
        paths = [source.oid_to_path(name) for name in usable]
        target.add(paths, source.fs, usable, check_exists=False)
    return not damaged_hashes(target, wanted)


def _copy_object(source: Any, target: Any, name: str) -> None:
    with source.fs.open(source.oid_to_path(name), "rb") as stream:
        store_object(target, name, stream)


def store_object(target: Any, name: str, stream: IO[bytes]) -> bool:
    """Write an object of a folder store atomically, and return whether its content matches its name."""
    place = Path(target.oid_to_path(name))
    target.makedirs(str(place.parent))
    part = place.with_name(f".{uuid4().hex}.tmp")
    try:
        made = hashlib.md5(usedforsecurity=False)
        with part.open("wb") as file:
            # The clean-up of files that killed processes left skips locked files.
            fcntl.flock(file, fcntl.LOCK_EX)
            while piece := stream.read(_PIECE):
                made.update(piece)
                file.write(piece)
        if made.hexdigest() != name.removesuffix(".dir"):
            return False
        # DVC keeps cache objects read-only, because data/ may link to them.
        target.protect(str(part))
        part.replace(place)
        return True
    finally:
        part.unlink(missing_ok=True)


def copy_version(source: Any, target: Any, version: str) -> bool:
    """Copy a whole version and return whether the target has it.

    The listing is copied last, so a store that has the listing also has the files.
    """
    files = version_listing(target, version) or version_listing(source, version)
    if files is None:
        return False
    return copy_data_version(source, target, sorted(set(files.values()))) and copy_data_version(
        source, target, [version]
    )


def is_folder(store: Any) -> bool:
    """Return whether a store is a folder on this machine."""
    return bool(store.fs.protocol == "local")


def damaged_hashes(store: Any, hashes: Sequence[str]) -> list[str]:
    """Return the hashes whose objects a store lacks, or has damaged if it is a folder.

    A store in the network is not read: that would download the whole version.
    """
    missing = missing_hashes(store, hashes)
    if not is_folder(store):
        return missing
    absent = set(missing)
    return [name for name in hashes if name in absent or is_damaged(store, name)]


def is_damaged(store: Any, name: str) -> bool:
    """Return whether an object's content does not match its name. The object is read whole."""
    made = hashlib.md5(usedforsecurity=False)
    try:
        with store.fs.open(store.oid_to_path(name), "rb") as stream:
            while piece := stream.read(_PIECE):
                made.update(piece)
    except FileNotFoundError:
        return True
    except OSError as error:
        # A bad sector of a local disk raises EIO. The object is damaged, and can be copied again.
        if error.errno != errno.EIO or not is_folder(store):
            raise
        return True
    return made.hexdigest() != name.removesuffix(".dir")


def missing_hashes(store: Any, hashes: Sequence[str]) -> list[str]:
    """Return the hashes whose objects a store lacks."""
    found = store.fs.exists([store.oid_to_path(name) for name in hashes]) if hashes else []
    return [name for name, there in zip(hashes, found, strict=True) if not there]
