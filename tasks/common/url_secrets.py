"""URLs without their secrets: the form that is recorded and shown, and the full one that is requested.

Prefect, MLflow and many files record the URLs of a preset. The values in their queries are removed when the
preset is read; only this process keeps them. A value written as `${NAME}` is read from the environment when
the URL is requested, and is recorded as written.
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
OWN_VARIABLE = re.compile(r"(?:CHATMILL|PREFECT|MLFLOW|AWS|LABEL_STUDIO)_|PGPASSWORD$", re.IGNORECASE)
NOT_GIVEN = (
    "which belongs to the servers and stores of this project; set a variable of another name for this address"
)
# fsspec chains addresses, as in `filecache::https://host/file`.
CHAIN = re.compile(r"::(?=[\w+.-]+://)")
_DIGEST = re.compile(r"~[0-9a-f]{12}")
PATH_PARAMETER = re.compile(r";([^;/?#=]*=[^;/?#]*)")
_WEB = re.compile(r"https?://", re.IGNORECASE)
IN_TEXT = re.compile(r"(\w[\w+.-]*://)([^\s/'\"<>@]*@)?([^\s'\"<>?]*)(\?[^\s'\"<>]*)?")

# Schemes whose user is a part of the place, as in `ssh://me@host/` or `abfs://container@account/`.
NAMED_USERS = ("ssh", "sftp", "scp", "ftp", "hdfs", "webhdfs", "abfs", "abfss", "azure", "wasb", "wasbs")

_known: dict[str, str] = {}
_environment: dict[str, Mapping[str, str]] = {}


def use_environment(environment: Mapping[str, str]) -> None:
    """Set the environment in which `${NAME}` in a URL is looked up."""
    _environment["of"] = environment


def read_variable(name: str) -> str:
    """Return a variable of the environment that `use_environment` set; empty if it is missing."""
    return _environment.get("of", {}).get(name, "")


def conceal_secrets(url: str) -> str:
    """Return a URL in the form that may be recorded; `reveal_secrets` reverses it, in this process only.

    Values are in the query, or in a path parameter such as `;jsessionid=…`. A number, a common word or
    `${NAME}` is kept. A value under a secret's name is hidden. Any other value is replaced by a digest,
    because it may say which file is meant.
    """
    # The fragment is left out: `parse_address` takes a checksum only.
    address, hash_mark, fragment = url.partition("#")
    head, mark, query = address.partition("?")
    if "://" in head:
        head = PATH_PARAMETER.sub(lambda found: f";{_conceal_part(found[1])}", head)
    recorded = f"{head}{mark}{'&'.join(_conceal_part(part) for part in query.split('&'))}"
    if recorded != address:
        # In memory only: this is the secret itself.
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
    """Return the full URL to request.

    Raises:
        UserError: This process does not know a hidden value, or a variable is missing or belongs to chatmill.
    """
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
            f"the query of {display_url(url)} was not recorded, as it may contain a secret; give "
            "the full address in the preset, or write ${NAME} for the value and set NAME in the environment"
        )
    return whole


def own_variable(url: str) -> str:
    """Return the name of a `${NAME}` in a URL that holds a password of chatmill's own servers; else empty."""
    return next((name for name in VARIABLE.findall(url) if OWN_VARIABLE.match(name)), "")


def has_fragment(url: str) -> bool:
    """Return whether a web address has a part after `#`. A browser keeps it, and it may hold a token.

    The key of an object in a store, as `s3://bucket/a#b.txt`, may contain the sign.
    """
    return any("#" in link for link in CHAIN.split(url) if _WEB.match(link))


def display_url(url: str) -> str:
    """Return a URL for messages: without user, password, query, path parameters and fragment."""
    head = url.partition("?")[0]
    head = head.partition("#")[0] if has_fragment(head) else head
    if "://" in head:
        head = PATH_PARAMETER.sub("", head)
    scheme, mark, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else head


def origin(address: str) -> str:
    """Return the scheme, host and port of a URL, for comparing servers; empty for an invalid URL."""
    try:
        where = urlsplit(address)
        port = where.port or {"http": 80, "https": 443}.get(where.scheme, 0)
    except ValueError:
        return ""
    return f"{where.scheme}://{where.hostname}:{port}" if where.hostname and port else ""


def hide_secrets(text: str) -> str:
    """Return a text in which the URLs have no users, passwords and queries."""
    return IN_TEXT.sub(_without_secrets, text)


def _without_secrets(found: re.Match[str]) -> str:
    path, mark, _ = found[3].partition("#") if _WEB.match(found[1]) else (found[3], "", "")
    path = PATH_PARAMETER.sub(";…", path) + (mark and "#…")
    return f"{found[1]}{path}{'?…' if found[4] else ''}"


def secret_problem(url: str, users: tuple[str, ...] = ()) -> str:
    """Return why a URL must not be recorded, in words that follow its key; empty if it may be.

    Args:
        url: The URL; each link of a chained one is checked.
        users: Schemes whose user name is part of the location, as in `ssh://me@host/`.
    """
    for link in CHAIN.split(url):
        try:
            parts = urlsplit(link)
            named = bool(parts.username) and parts.scheme not in users
            if parts.scheme in ("http", "https") and not VARIABLE.search(parts.netloc):
                # A password with a slash ends the host too early, and its first part is no port.
                _ = parts.port
        except ValueError:
            return "is not a valid address"
        if parts.password is not None or named:
            return "contains a user or password; set credentials in the environment"
    return ""


def is_hidden(url: str) -> bool:
    """Return whether a concealed URL has a value that was hidden without a digest."""
    return f"={HIDDEN}" in url.partition("#")[0]


def same_but_for_secrets(urls: list[str]) -> str:
    """Return the first URL that occurs twice once its secrets are hidden; else empty."""
    hidden = [url.partition("#")[0] for url in urls if is_hidden(url)]
    return next((display_url(url) for url in hidden if hidden.count(url) > 1), "")
