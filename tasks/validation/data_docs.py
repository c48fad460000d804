"""Render the results of validation as Great Expectations' data docs, one HTML page for each kind of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
STAMP = re.compile(r"\?d=\d{8}T[\d.]+Z")
# The pages show people's rows, so they load no script, style sheet or image from another host.
LOADED = re.compile(
    r"<script\b.*?</script\s*>|<link\b[^>]*>|<img\b[^>]*>|<(iframe|object|form)\b.*?</\1\s*>|<script\b[^>]*>",
    re.DOTALL | re.IGNORECASE,
)
_STYLE = re.compile(r"<style\b.*?</style\s*>", re.DOTALL | re.IGNORECASE)
_ADDRESS = re.compile(r"""url\(\s*["']?(?:https?:)?//[^)]*\)""", re.IGNORECASE)
HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
# The browser enforces this policy, even if a later release of Great Expectations adds another element that
# loads.
OWN_HEAD = """<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'">
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 70rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { border: 1px solid #8886; padding: .35rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
ol, ul { padding-left: 1.2rem; } .badge { font-weight: 600; } .collapse { display: block; }
</style>"""
NO_TIME = "1970-01-01T00:00:00+00:00"  # equal findings give equal bytes, at any time


def write_page(
    path: Path, kind: str, suite: Sequence[Any], rows: int, broken: Mapping[str, tuple[int, Sequence[str]]]
) -> None:
    """Write the page of one kind of rows.

    Equal findings give equal bytes. The page is static: it loads nothing and runs no script.

    Args:
        path: The HTML file to write.
        kind: The kind of rows, which is the name of the suite.
        suite: The expectations, each with its rule in `meta`.
        rows: The number of rows that were checked.
        broken: By rule, the number of rows that broke it and examples of them.
    """
    import great_expectations as gx
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.render.renderer import ValidationResultsPageRenderer

    # The pages cover all shards. Great Expectations validates one table at a time, so its result objects are
    # built from the counts that were added up over the shards.
    results = [
        _expectation_result(expectation, rows, *broken.get(expectation.meta["rule"], (0, ())))
        for expectation in suite
    ]
    good = sum(result.success for result in results)
    statistics = {
        "evaluated_expectations": len(results),
        "successful_expectations": good,
        "unsuccessful_expectations": len(results) - good,
        "success_percent": 100.0 * good / max(1, len(results)),
    }
    whole = ExpectationSuiteValidationResult(
        success=good == len(results), results=results, suite_name=kind, statistics=statistics,
        meta={
            "run_id": {"run_name": "validation", "run_time": NO_TIME},
            "great_expectations_version": gx.__version__,
        },
    )  # fmt: skip
    html = _page_view().render(ValidationResultsPageRenderer().render(whole))
    numbers = count()
    known: dict[str, str] = {}
    # Great Expectations names HTML blocks by random UUIDs. Numbers in the order of appearance make pages
    # comparable byte by byte.
    html = UUID.sub(lambda found: known.setdefault(found[0], f"block-{next(numbers)}"), html)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(without_loading(STAMP.sub("", html)), encoding="utf-8")


@cache
def _page_view() -> Any:
    """Return Great Expectations' view of pages. Each view compiles its templates once."""
    from great_expectations.render.view import DefaultJinjaPageView

    return DefaultJinjaPageView()


def without_loading(html: str) -> str:
    """Return an HTML page without elements that a browser would fetch or run, and with an inline style."""
    kept = _STYLE.sub(lambda found: _ADDRESS.sub("none", found[0]), LOADED.sub("", html))
    return HEAD.sub(lambda found: f"{found[0]}\n{OWN_HEAD}", kept, count=1)


def _expectation_result(expectation: Any, rows: int, broken: int, examples: Sequence[str]) -> Any:
    from great_expectations.core import ExpectationValidationResult

    share = 100.0 * broken / max(1, rows)
    # The template inserts the values without escaping them.
    return ExpectationValidationResult(
        success=not broken,
        expectation_config=expectation.configuration,
        result={
            "element_count": rows, "unexpected_count": broken, "unexpected_percent": share,
            "missing_count": 0, "missing_percent": 0.0, "unexpected_percent_total": share,
            "unexpected_percent_nonmissing": share,
            "partial_unexpected_list": [escape(example) for example in examples],
        },
        meta={},
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )  # fmt: skip
