"""Addresses without their secrets: what is recorded and shown of one, and what is asked for in truth.

A preset's address is recorded by Prefect, MLflow and many files. So the values in its query are taken out
when the preset is read; this process alone keeps them. A value that a preset writes as `${NAME}` comes from
the environment when the address is asked, and is recorded as it is written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from model.errors import UserError

HIDDEN = "***"
# Values under such names change while the file stays: no digest of them is recorded either.
SECRET = re.compile(
    r"sig|token|key|secret|pass|pwd|auth|cred|sess|expire|hmac|jwt|ticket|nonce|policy|x-amz-|x-goog-"
    r"|^(?:code|se|sp|sv|sr|ss|st|srt|spr|sip|skoid|sktid|skt|ske|sks|skv|googleaccessid)$",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[0-9]{1,6}|true|false|yes|no|csv|tsv|json|jsonl|parquet|txt|raw|main|master|download")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A preset is shared: it must not send the passwords of this project's servers and stores to an address.
OWN_VARIABLE = re.compile(r"(?:CHATMILL|PREFECT|MLFLOW|AWS)_|PGPASSWORD$", re.IGNORECASE)
NOT_GIVEN = (
    "which belongs to the servers and stores of this project; set a variable of another name for this address"
)
# fsspec chains addresses, as in `filecache::https://host/file`.
CHAIN = re.compile(r"::(?=[\w+.-]+://)")
_DIGEST = re.compile(r"~[0-9a-f]{12}")
PATH_PARAMETER = re.compile(r";([^;/?#=]*=[^;/?#]*)")
IN_TEXT = re.compile(r"(\w[\w+.-]*://)([^\s/'\"<>@]*@)?([^\s'\"<>?]*)(\?[^\s'\"<>]*)?")

# Schemes whose user is a part of the place, as in `ssh://me@host/` or `abfs://container@account/`.
NAMED_USERS = ("ssh", "sftp", "scp", "ftp", "hdfs", "webhdfs", "abfs", "abfss", "azure", "wasb", "wasbs")

_known: dict[str, str] = {}
_environment: dict[str, Mapping[str, str]] = {}


def use_environment(environment: Mapping[str, str]) -> None:
    """Say where `${NAME}` in an address is looked up."""
    _environment["of"] = environment


def conceal_secrets(url: str) -> str:
    """Return an address as it may be recorded; `reveal_secrets` gives the whole one, in this process alone.

    Of its query, and of parameters in its path (`;jsessionid=…`), a value stays that is a number, a common
    word or `${NAME}`. A value under a secret's name is
    hidden; of any other one a digest stays, as it may say which file is meant.
    """
    # Without the fragment, which no server is sent.
    address, hash_mark, fragment = url.partition("#")
    head, mark, query = address.partition("?")
    if "://" in head:
        head = PATH_PARAMETER.sub(lambda found: f";{_conceal_part(found[1])}", head)
    recorded = f"{head}{mark}{'&'.join(_conceal_part(part) for part in query.split('&'))}"
    if recorded != address:
        _known[recorded] = address
    return f"{recorded}{hash_mark}{fragment}"


def _conceal_part(part: str) -> str:
    name, equals, value = part.partition("=")
    if not equals:
        name, value = "", part
    if not value or value == HIDDEN or _DIGEST.fullmatch(value) or VARIABLE.fullmatch(value):
        return part
    if name and SECRET.search(unquote(name)):
        return f"{name}={HIDDEN}"
    if _PLAIN.fullmatch(value):
        return part
    digest = hashlib.sha256(unquote(value).encode()).hexdigest()[:12]
    return f"{name}{equals}~{digest}"


def reveal_secrets(url: str) -> str:
    """Return the address to ask. Raises UserError where this process does not know it whole."""
    address, hash_mark, fragment = url.partition("#")
    whole = f"{_known.get(address, address)}{hash_mark}{fragment}"
    environment = _environment.get("of", {})
    if name := own_variable(whole):
        raise UserError(f"the address {display_url(url)} asks for {name}, {NOT_GIVEN}")
    for name in VARIABLE.findall(whole):
        if name not in environment:
            raise UserError(
                f"the address {display_url(url)} needs {name}, which is not set in the environment"
            )
    whole = VARIABLE.sub(lambda found: environment[found[1]], whole)
    head, _, query = whole.partition("?")
    parameters = [query, *PATH_PARAMETER.findall(head)]
    if any(
        HIDDEN in each or re.search(rf"(?:^|[=&]){_DIGEST.pattern}(?:&|#|$)", each) for each in parameters
    ):
        raise UserError(
            f"the query of {display_url(url)} was not recorded, as it may hold a secret; name "
            f"the whole address in "
            "the preset, or write ${NAME} for the value and set NAME in the environment"
        )
    return whole


def own_variable(url: str) -> str:
    """Return the `${NAME}` in an address that names a password of chatmill's own servers; else empty."""
    return next((name for name in VARIABLE.findall(url) if OWN_VARIABLE.match(name)), "")


def display_url(url: str) -> str:
    """Return an address for messages: without user, password, query and parameters in its path."""
    head = url.partition("?")[0]
    if "://" in head:
        head = PATH_PARAMETER.sub("", head)
    scheme, mark, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else head


def origin(address: str) -> str:
    """Return the scheme, host and port of an address, to compare servers by; empty for what is no address."""
    try:
        where = urlsplit(address)
        port = where.port or {"http": 80, "https": 443}.get(where.scheme, 0)
    except ValueError:
        return ""
    return f"{where.scheme}://{where.hostname}:{port}" if where.hostname and port else ""


def hide_secrets(text: str) -> str:
    """Return a text without users, passwords and queries of the addresses in it."""
    return IN_TEXT.sub(_without_secrets, text)


def _without_secrets(found: re.Match[str]) -> str:
    path = PATH_PARAMETER.sub(";…", found[3])
    return f"{found[1]}{path}{'?…' if found[4] else ''}"


def secret_problem(url: str, users: tuple[str, ...] = ()) -> str:
    """Return what an address holds that must not be recorded, in words that follow its key; else empty.

    `users` are the schemes whose user is a name that belongs to the address, as in `ssh://me@host/`.
    """
    for link in CHAIN.split(url):
        try:
            parts = urlsplit(link)
            named = bool(parts.username) and parts.scheme not in users
            if parts.scheme in ("http", "https") and not VARIABLE.search(parts.netloc):
                # A password with a slash ends the host too early, and its first part is no port.
                _ = parts.port
        except ValueError:
            return "is no address"
        if parts.password is not None or named:
            return "holds a user or a password; credentials are taken from the environment"
    return ""


def is_hidden(url: str) -> bool:
    """Tell whether a value of a concealed address is left out without a digest."""
    return f"={HIDDEN}" in url.partition("#")[0]


def same_but_for_secrets(urls: list[str]) -> str:
    """Return the first address that is there twice when its secrets are left out; else empty."""
    hidden = [url.partition("#")[0] for url in urls if is_hidden(url)]
    return next((display_url(url) for url in hidden if hidden.count(url) > 1), "")
