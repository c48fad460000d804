"""`chatmill quarantine`: list the rows that validation refused, and release some of them."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice, zip_longest
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows.common.terminal import Console, escape_controls
from model.errors import UserError

if TYPE_CHECKING:
    from tasks.validation.quarantine import QuarantinedRow, Release, Total

quarantine = typer.Typer(
    help="Show quarantined rows with their reasons, and release them.", no_args_is_help=True
)
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A preset, for its validate.overrides_file: the file of releases."),
]
Whole = Annotated[
    bool, typer.Option("--all", help="Print every rule and source. Default in a terminal: a summary.")
]
_SHOWN = {"value": 80, "text": 200, "example": 48}
# Lines of each part of a summary, and of those the ones with an example.
_SUMMARIZED, _EXAMPLES = 10, 5


@quarantine.command("list")
def list_(whole: Whole = False, config: Config = None) -> None:
    """Count the rows by rule and source with the first row of each, and name who released rows.

    In a terminal, this is a summary of the most frequent rules and sources; --all prints all.
    """
    from tasks.validation.quarantine import read_releases, summarize_quarantine

    root, path = Path.cwd(), _overrides_file(config)
    released = read_releases(root, path)
    totals = summarize_quarantine(root, released)
    console = Console(highlight=False)
    if not totals:
        console.print("no rows are quarantined")
    elif whole or not console.is_terminal:
        # A program that reads the output gets every total.
        _print_totals(totals, console)
    else:
        _print_summary(totals, console)
    authors = sorted({release.author for release in released.values()})
    if released:
        shown = escape(_shorten_line(", ".join(authors), _SHOWN["text"]))
        console.print(
            f"{_format_rows(len(released))} released by {shown} in {escape(str(path))}; `chatmill "
            "quarantine show --released` lists them with reasons",
            soft_wrap=True,
        )
    waiting = sum(total.released for total in totals)
    if waiting:
        console.print(
            f"{_next_steps(config)} reads the {_format_rows(waiting)} released since", soft_wrap=True
        )
    if sum(total.rows for total in totals) > waiting:
        console.print(
            "next: `chatmill quarantine show WORDS` shows rows, by words of what is wrong; "
            "`chatmill quarantine release ID… --author YOU --reason TEXT` releases them, unchanged or edited",
            soft_wrap=True,
        )


def _print_totals(totals: Sequence[Total], console: Console) -> None:
    """Print a line for each kind, rule and source."""
    from rich.table import Table

    from flows.common.narrow_tables import print_table
    from tasks.validation.failure_words import describe_failure

    table = Table(box=None, pad_edge=False)
    for column in ("kind", "what is wrong", "source"):
        table.add_column(column, overflow="fold")
    for column in ("rows", "released"):
        table.add_column(column, justify="right")
    table.add_column("for example", overflow="fold")
    for total in totals:
        numbers = (f"{number:,}" if number else "" for number in (total.rows, total.released))
        first = f"{total.first.id}  {_shorten_line(_describe_row(total.first.row), _SHOWN['example'])}"
        wrong = escape(describe_failure(total.rule))
        table.add_row(total.kind, wrong, escape(total.source), *numbers, escape(first))
    print_table(console, table, "for example")


def _print_summary(totals: Sequence[Total], console: Console) -> None:
    """Print the rows by what is wrong, with a few examples, and by source; the most frequent first."""
    from collections import Counter

    from tasks.common.counts import counted
    from tasks.data.records import TYPES
    from tasks.validation.failure_words import describe_failure

    kinds, rules, sources = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
    released = 0
    firsts: dict[tuple[str, str], QuarantinedRow] = {}
    for total in totals:
        kinds[total.kind] += total.rows
        rules[total.kind, total.rule] += total.rows
        sources[total.source] += total.rows
        released += total.released
        firsts.setdefault((total.kind, total.rule), total.first)
    held = ", ".join(counted(kinds[kind], kind) for kind in TYPES if kinds[kind])
    since = f"; {released:,} of them released since" if released else ""
    console.print(f"quarantined: {held}{since}", soft_wrap=True)
    wide = max(len(counted(count, kind)) for (kind, _), count in rules.items()) + 2
    for number, ((kind, rule), count) in enumerate(rules.most_common(_SUMMARIZED)):
        wrong = escape(describe_failure(rule))
        console.print(f"{counted(count, kind):>{wide}}  {wrong}", soft_wrap=True)
        if number < _EXAMPLES:
            first = firsts[kind, rule]
            room = max(_SHOWN["example"] // 2, console.width - wide - len(first.id) - 4)
            text = escape(_shorten_line(_describe_row(first.row), room))
            console.print(f"{'':{wide}}  [dim]{escape(first.id)}  {text}[/dim]", soft_wrap=True)
    named = [
        f"{escape(_shorten_line(name, _SHOWN['value']))} {count:,}"
        for name, count in sources.most_common(_SUMMARIZED)
    ]
    more = f" and {len(sources) - _SUMMARIZED:,} more" if len(sources) > _SUMMARIZED else ""
    console.print(f"by source: {', '.join(named)}{more}", soft_wrap=True)
    if len(rules) > _SUMMARIZED or len(sources) > 1:
        left = max(0, len(rules) - _SUMMARIZED)
        rest = f"{counted(left, 'more rules')}; " if left else ""
        console.print(f"{rest}`chatmill quarantine list --all` counts by rule and source", soft_wrap=True)


@quarantine.command()
def show(
    rule: Annotated[
        str,
        typer.Argument(metavar="WORDS", help="Words of what is wrong, or of a rule's name. Default: all."),
    ] = "",
    source: Annotated[str, typer.Option("--source", help="Only rows of this source.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", help="Maximum number shown (0: all).", min=0)] = 20,
    lines: Annotated[
        bool, typer.Option("--json", help="Print JSON lines, to edit for --replacement.")
    ] = False,
    released: Annotated[
        bool, typer.Option("--released", help="Show released rows instead, with author, time and reason.")
    ] = False,
    config: Config = None,
) -> None:
    """Show quarantined rows by what is wrong: id, origin, value, who gave the labels, text."""
    from tasks.data.records import TYPES
    from tasks.validation.exact_dedup import CONTRADICTS
    from tasks.validation.expectations import ACROSS
    from tasks.validation.quarantine import read_quarantine, read_releases, summarize_quarantine

    root, path = Path.cwd(), _overrides_file(config)
    known = read_releases(root, path)
    if released:
        if rule or source or lines:
            raise UserError("--released cannot be combined with a rule, --source or --json")
        _show_released(list(known.values()), limit, path, config)
        return
    totals = summarize_quarantine(root, known)
    rules = _matching_rules(rule, totals)
    _known_source(source, totals)
    # Counted from the totals: reading all rows to count them would take long.
    count = sum(t.rows for t in totals if t.rule in rules and source in ("", t.source))
    # Notes go to standard error, so that `show --json` can be redirected to a file.
    console, notes = Console(highlight=False), Console(highlight=False, stderr=True)
    found = (row for row in read_quarantine(root) if row.rule in rules and source in ("", row.source))
    by_question = rules == {ACROSS[CONTRADICTS]}
    shown: Iterator[QuarantinedRow] = islice(_by_question(found) if by_question else found, limit or None)
    if lines:
        for row in shown:
            # Raw, for --replacement: the console would escape characters. Lone surrogates cannot be printed.
            sys.stdout.write(row.line.encode("utf-8", "replace").decode() + "\n")
    else:
        if not by_question:
            kinds = {kind: number for number, kind in enumerate(TYPES)}
            shown = iter(sorted(shown, key=lambda row: (kinds[row.kind], *_what_is_wrong(row))))
        _show_rows(shown, known, console)
    if not count:
        notes.print("no rows are quarantined" + (" for this rule and source" if totals else ""))
        return
    if limit and count > limit:
        notes.print(f"{count - limit:,} more: `--limit 0` shows all")
    notes.print(
        "next: `chatmill quarantine release ID… --author YOU --reason TEXT` releases rows "
        "unchanged; with `--replacement FILE` as edited in FILE, which `show --json` prints",
        soft_wrap=True,
    )


@quarantine.command()
def release(
    author: Annotated[str, typer.Option("--author", help="Who releases them.")],
    reason: Annotated[str, typer.Option("--reason", help="Why they are correct, or what was fixed.")],
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="IDS", help="Rows' ids, or 6 characters of each.")
    ] = None,
    replacement: Annotated[
        Path | None,
        typer.Option("--replacement", help="A file of edited rows, one per line, each with its original id."),
    ] = None,
    config: Config = None,
) -> None:
    """Release rows: unchanged and exempt from every rule, or edited and checked like any other row.

    Without ids: all rows of --replacement. Commit the file of releases; deleting a line takes it back.
    """
    from tasks.validation import quarantine as kept

    path = _overrides_file(config)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    done = kept.release_rows(Path.cwd(), path, ids or [], author, reason, now, replacement)
    console = Console(highlight=False)
    how = "edited" if replacement else "exempt from every rule"
    said = f"{_format_rows(len(done))} released, {how}; recorded in {escape(str(path))}"
    console.print(f"{said}; commit this file with your presets", soft_wrap=True)
    console.print(f"next: {_next_steps(config)} reads {'it' if len(done) == 1 else 'them'}", soft_wrap=True)


def _overrides_file(config: Path | None) -> Path:
    from tasks.validation.quarantine import RELEASES_FILE

    config = config or _made_by()
    if config is None:
        return Path(RELEASES_FILE)
    from flows.config import read_preset

    return Path(read_preset(config).validation.overrides_file)


def _next_steps(config: Path | None) -> str:
    config = config or _made_by()
    return f"`chatmill run --config {escape(str(config))}`" if config else "`chatmill run`"


def _made_by() -> Path | None:
    """Return the preset that made data/; None if it is the demo's or cannot be determined."""
    from flows.cli.current_preset import DEMO, current_preset

    try:
        found = current_preset(Path.cwd())
    except UserError:
        return None
    return found if found != DEMO else None


def _matching_rules(rule: str, totals: Sequence[Total]) -> set[str]:
    """Return the rules whose name or words for people are the text, or else contain it.

    Raises:
        UserError: No rule matches.
    """
    from tasks.validation.failure_words import describe_failure

    words = {total.rule: describe_failure(total.rule) for total in totals}
    if not rule:
        return set(words)
    if exact := {name for name in words if rule in (name, words[name])}:
        return exact
    asked = rule.casefold()
    if found := {name for name in words if asked in name.casefold() or asked in words[name].casefold()}:
        return found
    # Sorted, so that the same mistake gives the same hint.
    near = difflib.get_close_matches(rule, sorted({*words, *words.values()}), n=1, cutoff=0.5)
    names = ", ".join(near or sorted(words.values())) or "none"
    raise UserError(
        f"no rows are quarantined for {rule!r}; {'did you mean' if near else 'there are'} {names}"
    )


def _known_source(source: str, totals: Sequence[Total]) -> None:
    sources = sorted({total.source for total in totals})
    if source and source not in sources:
        raise UserError(
            f"no rows of a source {source!r} are quarantined; there are {', '.join(sources) or 'none'}"
        )


def _show_rows(rows: Iterable[QuarantinedRow], released: Container[str], console: Console) -> None:
    """Print rows; what is wrong with several in a row is said once."""
    before = None
    for row in rows:
        kind, source, wrong = place = _what_is_wrong(row)
        if place != before:
            head = f"{kind}  {escape(_shorten_line(source, _SHOWN['value']))}"
            console.print(
                f"{head}  [red]{escape(_shorten_line(wrong, _SHOWN['text']))}[/red]", soft_wrap=True
            )
        before = place
        mark = "  [green]released[/green]" if row.id in released else ""
        for line in _describe_quarantined(row, mark):
            console.print(line, soft_wrap=True)


def _what_is_wrong(row: QuarantinedRow) -> tuple[str, str, str]:
    """Return a row's kind and source, and what is wrong with it; for an unreadable row, with the reason."""
    from tasks.validation.failure_words import describe_failure

    wrong = describe_failure(row.rule, row.value)
    reason = _unreadable_reason(row)
    return row.kind, row.source, f"{wrong}: {reason}" if reason else wrong


def _unreadable_reason(row: QuarantinedRow) -> str:
    """Return why a row could not be read, without its place; empty if it was read."""
    # The reason may begin with the place, which is shown with the row.
    return str(row.row.get("fault") or "").removeprefix(row.where).lstrip(",: ")


def _describe_quarantined(row: QuarantinedRow, mark: str) -> Iterator[str]:
    # A rule about several rows, such as duplicates, has no value of its own.
    said = "" if row.value is None else json.dumps(row.value, ensure_ascii=False)
    value = row.value if isinstance(row.value, str) else said
    text = _describe_row(row.row)
    # The head has the reason of an unreadable row, and the line below has a text that broke a rule.
    beside = "" if row.row.get("fault") or value == text else _shorten_line(value, _SHOWN["value"])
    shown = ": ".join(part for part in (row.where, beside) if part)
    yield f"  [bold]{escape(row.id)}[/bold]  {escape(shown)}{mark}".rstrip()
    if people := _describe_people(row.row):
        yield f"    {escape(_shorten_line(people, _SHOWN['text']))}"
    if not row.row.get("fault"):
        yield f"    [dim]{escape(_shorten_line(text, _SHOWN['text']))}[/dim]"


def _describe_people(row: dict[str, Any]) -> str:
    """Return who gave a row's labels, when, and the score of each; empty for a row without labels."""
    from tasks.common.annotators import is_nobody
    from tasks.data.records import annotators_of

    if row.get("fault") or not ("choice" in row or "scores" in row):
        return ""
    people = annotators_of(row)
    times = row.get("times") or [row.get("time", "")] * len(people)
    scores = row.get("scores") or [None] * len(people)
    said = []
    for name, time, score in zip_longest(people, times, scores[: len(people)], fillvalue=""):
        who = "somebody without a name" if is_nobody(name) else str(name)
        when = f", {str(time)[:16].replace('T', ' ')}" if time else ""
        said.append(f"{f'{score:g} by ' if isinstance(score, int | float) else 'by '}{who}{when}")
    return "; ".join(said)


def _by_question(rows: Iterator[QuarantinedRow]) -> list[QuarantinedRow]:
    """Return rows with those of one person about one question beside each other."""
    from tasks.validation.exact_dedup import choice_records

    places: dict[int, int] = {}
    found = []
    for row in rows:
        key = next((record[0] for record in choice_records(row.kind, row.row, 0, 0)), 0)
        found.append((places.setdefault(key, len(places)), row))
    return [row for _, row in sorted(found, key=itemgetter(0))]


def _show_released(releases: Sequence[Release], limit: int, path: Path, config: Path | None) -> None:
    """Print the releases, the latest first."""
    console = Console(highlight=False)
    if not releases:
        console.print(f"no rows are released in {escape(str(path))}", soft_wrap=True)
        return
    for release in sorted(releases, key=_release_time, reverse=True)[: limit or None]:
        how = "as it is" if release.row is None else "corrected"
        date = release.time[:16].replace("T", " ")
        author = escape(_shorten_line(release.author, _SHOWN["value"]))
        console.print(f"[bold]{escape(release.id)}[/bold]  {date}  {author}  {how}", soft_wrap=True)
        console.print(f"    {escape(_shorten_line(release.reason, _SHOWN['text']))}", soft_wrap=True)
        if release.row is not None:
            said = escape(_shorten_line(_describe_row(release.row), _SHOWN["text"]))
            console.print(f"    [dim]{said}[/dim]", soft_wrap=True)
    if limit and len(releases) > limit:
        console.print(f"{len(releases) - limit:,} more: `--limit 0` shows all")
    console.print(
        f"next: {_next_steps(config)} reads the new rows; to take a release back, delete its line "
        f"in {escape(str(path))}",
        soft_wrap=True,
    )


def _release_time(release: Release) -> datetime:
    made = datetime.fromisoformat(release.time)
    # A release written by hand may lack a time zone, and the two kinds cannot be compared.
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def _describe_row(row: dict[str, Any]) -> str:
    """Return a row's content as text, even if it is broken; for an unreadable row, its place and reason."""
    if row.get("fault"):
        return str(row["fault"])
    if "text" in row:
        return str(row["text"])
    if "choice" in row:
        return f"{row.get('prompt')} → {row['choice']} of a: {row.get('a')} | b: {row.get('b')}"
    scores = f" {row['scores']}" if "scores" in row else ""
    return f"{row.get('prompt')} → {row.get('completion')}{scores}"


def _shorten_line(text: str, most: int) -> str:
    """Return a text of at most `most` characters on one line, with control characters shown as escapes."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return escape_controls(cut).replace("\n", "\\n").replace("\t", "\\t")


def _format_rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
