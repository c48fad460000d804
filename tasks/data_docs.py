"""Great Expectations' own pages (data docs) of what validation found, one a kind, for all shards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
STAMP = re.compile(r"\?d=\d{8}T[\d.]+Z")
NO_TIME = "1970-01-01T00:00:00+00:00"  # the clock is no part of what was found


def write_page(
    path: Path, kind: str, suite: Sequence[Any], rows: int, broken: Mapping[str, tuple[int, Sequence[str]]]
) -> None:
    """Render a suite against `rows` rows; `broken` has how many broke a rule, and examples.

    The same findings give the same bytes. The page's style is fetched from the web where there is one.
    """
    import great_expectations as gx
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    results = [
        _result(expectation, rows, *broken.get(expectation.meta["rule"], (0, ()))) for expectation in suite
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
    html = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(whole))
    numbers = count()
    known: dict[str, str] = {}
    html = UUID.sub(lambda found: known.setdefault(found[0], f"block-{next(numbers)}"), html)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STAMP.sub("", html), encoding="utf-8")


def _result(expectation: Any, rows: int, broken: int, examples: Sequence[str]) -> Any:
    from great_expectations.core import ExpectationValidationResult

    share = 100.0 * broken / max(1, rows)
    return ExpectationValidationResult(
        success=not broken,
        expectation_config=expectation.configuration,
        result={
            "element_count": rows, "unexpected_count": broken, "unexpected_percent": share,
            "missing_count": 0, "missing_percent": 0.0, "unexpected_percent_total": share,
            "unexpected_percent_nonmissing": share, "partial_unexpected_list": list(examples),
        },
        meta={},
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )  # fmt: skip
