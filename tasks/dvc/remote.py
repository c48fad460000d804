"""Where versions of the data are kept besides this machine: what goes there, what comes, what goes wrong."""

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
# What takes longer to come back is told to the person who waits.
WAITS = (1.0, 2.0, 4.0, 8.0)
CONNECT_SECONDS = "5"  # S3's own default is a minute, five times over
_PIECE = 1 << 20
_COPIES = 8  # objects that are copied at once
T = TypeVar("T")

# By name, as the packages that have these classes need not be there.
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


class Fault(NamedTuple):
    """What went wrong in one sentence, and whether it may pass by itself."""

    says: str
    passes: bool


def retry_action(action: Callable[[], T], where: str = "", waits: Sequence[float] = ()) -> T:
    """The result of an action that is done again, after a wait, while a lock or the network breaks it.

    `where` is the remote's address, for messages. Raises UserError at once for what does not pass by itself:
    a bucket that is not there, a password that is refused, a disk that is full.
    """
    for wait in (*(waits or WAITS), None):
        try:
            return action()
        except UserError:
            raise
        except Exception as error:
            found = explain_error(error, where)
            if found is None:
                raise
            if wait is None or not found.passes:
                raise UserError(found.says) from error
            time.sleep(wait)
    raise AssertionError("unreachable")


def explain_error(error: BaseException, where: str) -> Fault | None:
    """What an error of DVC or of a store means to a person; None: it is a mistake of ours."""
    # The first cause says most: a store's own code is dressed as a plain PermissionError on the way up.
    for cause in reversed(list(_error_causes(error))):
        names = {kind.__name__ for kind in type(cause).__mro__}
        code, status = _s3_response(cause)
        if names & {"LockError"}:
            return Fault("another program holds DVC's lock on this project; let it finish", True)
        if "RemoteMissingDepsError" in names or (names & {"ImportError"} and "dvc" in str(cause)):
            return Fault(missing_plugin(where), False)
        if names & {"ConfigError", "RemoteConfigError"}:
            return Fault(f"data.remote {where} is no address that DVC knows ({_short_error(cause)})", False)
        if names & NO_CREDENTIALS:
            return Fault(
                f"{where}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
                "environment, or run `aws configure`",
                False,
            )
        if code == "NoSuchBucket":
            return Fault(f"{where}: there is no such bucket; make it, or mend data.remote", False)
        if code in _REFUSED or status in (401, 403):
            return Fault(f"{where} refuses these credentials ({code or status}); look at AWS's own", False)
        if (
            code in BUSY
            or status >= 500
            or names & UNREACHABLE
            or _error_number(cause) in UNREACHABLE_NUMBERS
        ):
            return Fault(
                f"{where} does not answer ({_short_error(cause)}); nothing was lost, try again", True
            )
        if _error_number(cause) in (errno.ENOSPC, errno.EDQUOT):
            return Fault(f"no space is left on the disk of {where or 'the project'}; make room", False)
        if _error_number(cause) in (errno.EROFS, errno.EIO):
            place = getattr(cause, "filename", None) or where or "the project"
            return Fault(f"{place} cannot be written or read ({os.strerror(_error_number(cause))})", False)
        if isinstance(cause, PermissionError):
            return Fault(f"{where or 'the project'} cannot be written or read ({_short_error(cause)})", False)
        if code:
            return Fault(f"{where} answers {code}: {_short_error(cause)}", False)
    return None


def _error_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None and id(step) not in seen:
        seen.add(id(step))
        yield step
        step = step.__cause__ or step.__context__


def _s3_response(error: BaseException) -> tuple[str, int]:
    """Code and HTTP status of an S3 error; empty and 0 for any other."""
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
    """What to install for a remote's kind of address."""
    scheme = urlsplit(where).scheme
    install = "pip install chatmill[s3]" if scheme == "s3" else f"pip install dvc-{scheme}"
    return f"data.remote {where} needs DVC's plugin for {scheme}; `{install}` installs it"


def address_problem(address: str) -> str:
    """What is wrong with an address that holds a secret, in words that follow its key; else empty."""
    parts = urlsplit(address)
    if url_secrets.secret_problem(address, url_secrets.NAMED_USERS) and not parts.password:
        return "holds a user; credentials are taken from the environment or from AWS's own files"
    if not (parts.password or parts.query):
        return ""
    return "holds a password or a query; credentials are taken from the environment or from AWS's own files"


def set_remote(repo: Any, root: Path, remote: str, endpoint: str = "") -> None:
    """Make an address DVC's own default in .dvc/config.local, so that `dvc pull` finds it too.

    Raises UserError for an address with a password in it: what is written must not be secret.
    """
    for name, address in (("remote", remote), ("endpoint", endpoint)):
        if said := address_problem(address):
            raise UserError(f"data.{name} {said}")
    url = remote if urlsplit(remote).scheme else str((root / remote).resolve())
    wanted = {"url": url, **({"endpointurl": endpoint} if endpoint else {})}
    if urlsplit(remote).scheme == "s3":
        wanted["connect_timeout"] = CONNECT_SECONDS
    core = repo.config.get("core", {})
    if core.get("remote") == _NAME and _plain_settings(repo.config["remote"].get(_NAME)) == wanted:
        return
    with repo.config.edit("local") as settings:
        settings.setdefault("remote", {})[_NAME] = wanted
        settings.setdefault("core", {})["remote"] = _NAME


def _plain_settings(settings: Any) -> dict[str, str]:
    return {key: str(value) for key, value in (settings or {}).items()}


def open_remote(repo: Any) -> Any:
    """The store of DVC's default remote, looked at once, so that what is wrong with it is raised here."""
    remote = repo.cloud.get_remote()
    store = remote.odb
    if remote.fs.protocol == "s3":
        # Most questions to a store take an error for a no.
        bucket, _, prefix = remote.path.strip("/").partition("/")
        remote.fs.fs.invalidate_cache()
        remote.fs.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
    else:
        remote.fs.exists(remote.path)
    return store


def version_listing(store: Any, version: str) -> dict[str, str] | None:
    """Return the hashes of a version's files by path; None where the store has no sound listing of it."""
    path = store.oid_to_path(version)
    if not store.fs.exists(path):
        return None
    with store.fs.open(path, "rb") as file:
        content = file.read()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != version.removesuffix(".dir"):
        return None
    return {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(content)}


def copy_data_version(source: Any, target: Any, hashes: Sequence[str]) -> bool:
    """Bring from store to store what the target has not or has damaged; return whether it has all of it then.

    What is copied is hashed on the way: an object that is damaged, or cut short, is left where it is. In a
    folder, a damaged object is replaced.
    """
    wanted = damaged_hashes(target, hashes)
    usable = [name for name in wanted if name not in set(damaged_hashes(source, wanted))]
    if usable and is_folder(target):
        with ThreadPoolExecutor(_COPIES) as executor:
            for _ in executor.map(partial(_copy_object, source, target), usable):
                pass
    elif usable:
        # Without check_exists: an object of that name may be there, and damaged.
        paths = [source.oid_to_path(name) for name in usable]
        target.add(paths, source.fs, usable, check_exists=False)
    return not damaged_hashes(target, wanted)


def _copy_object(source: Any, target: Any, name: str) -> None:
    with source.fs.open(source.oid_to_path(name), "rb") as stream:
        store_object(target, name, stream)


def store_object(target: Any, name: str, stream: IO[bytes]) -> bool:
    """Write an object of a folder, whole or not at all; return whether its content is what its name says."""
    place = Path(target.oid_to_path(name))
    target.makedirs(str(place.parent))
    part = place.with_name(f".{uuid4().hex}.tmp")
    try:
        made = hashlib.md5(usedforsecurity=False)
        with part.open("wb") as file:
            # Whoever sweeps what killed processes left takes no file that is locked.
            fcntl.flock(file, fcntl.LOCK_EX)
            while piece := stream.read(_PIECE):
                made.update(piece)
                file.write(piece)
        if made.hexdigest() != name.removesuffix(".dir"):
            return False
        target.protect(str(part))
        part.replace(place)
        return True
    finally:
        part.unlink(missing_ok=True)


def copy_version(source: Any, target: Any, version: str) -> bool:
    """Bring a whole version, its listing last: a store that has the listing has the files."""
    files = version_listing(target, version) or version_listing(source, version)
    if files is None:
        return False
    return copy_data_version(source, target, sorted(set(files.values()))) and copy_data_version(
        source, target, [version]
    )


def is_folder(store: Any) -> bool:
    """Tell whether a store is a folder of this machine."""
    return bool(store.fs.protocol == "local")


def damaged_hashes(store: Any, hashes: Sequence[str]) -> list[str]:
    """Return the hashes whose objects a store lacks, or, of a folder, has damaged."""
    missing = missing_hashes(store, hashes)
    if not is_folder(store):
        return missing
    absent = set(missing)
    return [name for name in hashes if name in absent or is_damaged(store, name)]


def is_damaged(store: Any, name: str) -> bool:
    """Tell whether an object's content is not what its name says; it is read whole."""
    made = hashlib.md5(usedforsecurity=False)
    try:
        with store.fs.open(store.oid_to_path(name), "rb") as stream:
            while piece := stream.read(_PIECE):
                made.update(piece)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EIO or not is_folder(store):
            raise
        return True
    return made.hexdigest() != name.removesuffix(".dir")


def missing_hashes(store: Any, hashes: Sequence[str]) -> list[str]:
    """The hashes whose objects a store does not have."""
    found = store.fs.exists([store.oid_to_path(name) for name in hashes]) if hashes else []
    return [name for name, there in zip(hashes, found, strict=True) if not there]
