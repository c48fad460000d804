"""A client of Label Studio's API (1.23), with what sending and fetching a batch needs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from model.errors import UserError
from tasks.common.url_secrets import display_url

TOKEN_VARIABLE, ADDRESS_VARIABLE = "LABEL_STUDIO_API_KEY", "LABEL_STUDIO_URL"
_PAGE = 100
_TRIES = 4
_ANSWER_SECONDS = 120.0
_LONGEST_PROBLEM = 300


class LabelStudioClient:
    """A connection to one server, closed at the end of its context."""

    def __init__(self, address: str, token: str) -> None:
        """Connect with a personal access token, or with a legacy token.

        Args:
            address: The server's address, as in http://127.0.0.1:8080.
            token: The token. It is kept in memory only.
        """
        self._address = address.rstrip("/")
        self._token = token
        # A redirect could lead the token to another host, so none is followed.
        self._client = httpx.Client(base_url=self._address, timeout=_ANSWER_SECONDS, follow_redirects=False)
        # A personal access token has three parts, of which one buys short-lived tokens.
        self._renews = token.count(".") == 2
        if not self._renews:
            self._client.headers["Authorization"] = f"Token {token}"

    def __enter__(self) -> LabelStudioClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def projects(self) -> list[dict[str, Any]]:
        """Return all projects, each with `id`, `title` and `description`, the oldest first."""
        found = list(self._pages("/api/projects", {"include": "id,title,description"}, "results", "count"))
        return sorted(found, key=lambda project: int(project["id"]))

    def create_project(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Create a project, and return it."""
        created: dict[str, Any] = self._ask("POST", "/api/projects", values)
        return created

    def add_tasks(self, project: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks to a project by their data."""
        for start in range(0, len(rows), _PAGE):
            tasks = [{"data": row} for row in rows[start : start + _PAGE]]
            answer = self._ask("POST", f"/api/projects/{project}/import", tasks)
            if answer.get("task_count") != len(tasks):
                raise UserError(
                    f"{self._where} took {answer.get('task_count')} of {len(tasks)} items for project "
                    f"{project}; type the same command again"
                )

    def tasks(self, project: int) -> Iterator[dict[str, Any]]:
        """Yield a project's tasks, each with `id`, `data` and `annotations`."""
        for task in self._pages("/api/tasks", {"project": project, "fields": "all"}, "tasks", "total"):
            data, annotations = task.get("data"), task.get("annotations")
            if not isinstance(data, dict) or not isinstance(annotations, list):
                raise UserError(
                    f"{self._where} gives task {task.get('id')} without data and annotations; chatmill knows "
                    "the API of version 1.23"
                )
            yield {**task, "annotations": [each for each in annotations if isinstance(each, dict)]}

    def users(self) -> dict[int, str]:
        """Return the e-mail address of each user by their number."""
        return {int(user["id"]): str(user["email"]) for user in self._ask("GET", "/api/users")}

    def project_page(self, project: int) -> str:
        """Return the address of a project's page, for people."""
        return f"{display_url(self._address)}/projects/{project}/data"

    def _pages(self, path: str, query: Mapping[str, Any], rows: str, count: str) -> Iterator[dict[str, Any]]:
        seen, page = 0, 1
        while True:
            found = self._ask("GET", path, query={**query, "page": page, "page_size": _PAGE})
            given = found.get(rows) if isinstance(found, dict) else None
            if not isinstance(given, list) or not isinstance(found.get(count), int):
                raise UserError(
                    f"{self._where} answers {path} without {rows} and {count}; chatmill knows the API of "
                    "version 1.23"
                )
            yield from given
            seen, page = seen + len(given), page + 1
            # A page behind the last one would be an error.
            if seen >= found[count] or not given:
                return

    @property
    def _where(self) -> str:
        return f"Label Studio at {display_url(self._address)}"

    def _ask(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        # What is created twice would be there twice, so only reading is repeated.
        tries = _TRIES if method == "GET" else 1
        for attempt in range(1, tries + 1):
            try:
                answer = self._send(method, path, body, query)
            except httpx.HTTPError as error:
                if attempt == tries:
                    raise UserError(
                        f"{self._where} is unreachable ({type(error).__name__}); start it, or set "
                        f"{ADDRESS_VARIABLE} to its address"
                    ) from None
            else:
                # Busy or failing servers recover; a request that is refused stays refused.
                if attempt == tries or not (answer.status_code == 429 or answer.status_code >= 500):
                    return self._read_answer(answer, f"{method} {path}")
            time.sleep(2.0 ** (attempt - 1))
        raise AssertionError("the last try returns or raises")

    def _send(self, method: str, path: str, body: Any, query: Mapping[str, Any] | None) -> httpx.Response:
        if self._renews and "Authorization" not in self._client.headers:
            self._renew_token()
        answer = self._client.request(method, path, json=body, params=dict(query or {}))
        if answer.status_code == 401 and self._renews:
            # A short-lived token ends after minutes.
            self._renew_token()
            answer = self._client.request(method, path, json=body, params=dict(query or {}))
        return answer

    def _renew_token(self) -> None:
        path = "/api/token/refresh"
        found = self._read_answer(self._client.post(path, json={"refresh": self._token}), f"POST {path}")
        access = found.get("access") if isinstance(found, dict) else None
        if not access:
            raise UserError(f"{self._where} answers {path} without access; chatmill knows version 1.23")
        self._client.headers["Authorization"] = f"Bearer {access}"

    def _read_answer(self, answer: httpx.Response, request: str) -> Any:
        """Return the answer's content. Raise UserError for another one than success with JSON."""
        if answer.status_code in (401, 403):
            raise UserError(
                f"{self._where} refuses the token; set {TOKEN_VARIABLE} to a token of an account there "
                "(Account & Settings)"
            )
        if not answer.is_success:
            raise UserError(
                f"{self._where} answers status {answer.status_code} to {request}: {_problem_of(answer)}"
            )
        try:
            return answer.json()
        except ValueError:
            raise UserError(
                f"{self._where} answers something else than JSON; set {ADDRESS_VARIABLE} to the address of a "
                "Label Studio, as in http://127.0.0.1:8080"
            ) from None


def _problem_of(answer: httpx.Response) -> str:
    """Return what the server says, shortened: an error may be a whole page."""
    try:
        found = answer.json()
        said = str(found.get("validation_errors") or found.get("detail") or "")
    except (ValueError, AttributeError):
        said = ""
    return said[:_LONGEST_PROBLEM] or "no reason is given"
