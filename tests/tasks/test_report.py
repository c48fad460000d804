"""Test the stage `report`: complete and partial inputs, and text that must be escaped."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from tasks.data.labels.page_people import forget_page_people
from tasks.labelling.batches import BatchSettings, LabelItem, add_batch
from tasks.labelling.schema import open_label_store
from tasks.report import ReportParameters, first_examples, quarantine_counts, report, source_table
from tasks.reporting.sections import in_words
from tasks.reporting.template import RUN_LINKS, add_run_links
from tests.tasks.labelling.label_project import judge, person

STAGES = (
    "validate", "split", "tokenizer", "drift", "pretrain", "sft", "labels", "reward", "rlhf", "evaluate",
    "gate",
)  # fmt: skip
VOID = {"meta", "br", "th", "td", "tr", "dt", "dd", "path", "circle", "rect", "polyline", "p", "html"}


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def whole(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def leave_stages(root: Path, text: str = "beautiful") -> dict[str, Path]:
    """Write outputs of all stages with plausible metrics; every text contains `text`."""
    at = {name: root / name for name in STAGES}
    for folder in at.values():
        folder.mkdir(parents=True)
    broken = [{"rule": "no_duplicate_content"}] * 3 + [{"rule": "printable_text"}]
    lines(at["validate"] / "quarantine" / "text" / "00000.jsonl", broken)
    for split, count in (("train", 1800), ("valid", 100), ("test", 100)):
        for kind, source in (("text", "boolq"), ("pairs", "film"), ("pairs", "nq"), ("ratings", "film")):
            path = at["split"] / split / kind / "00000.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                row = {"source": source, "text": text, "prompt": f"{text}?", "completion": f" {text}!"}
                row |= {"scores": [2, -1], "aspect": "tone"}
                file.write((json.dumps(row) + "\n") * count)
    measure = {
        "of": "words",
        "before": 90,
        "now": 120,
        "distance": 0.3,
        "bar": 0.1,
        "multiple": 3,
        "past": True,
    }
    measures = [{"name": "lengths/text", **measure}, {"name": "loss/text", **measure, "past": False}]
    says = "1 of 2 metrics above their threshold"
    whole(
        at["drift"] / "drift.json",
        {"against": "7", "says": says, "new": {"text": 0.25}, "measures": measures},
    )
    counts = {"tokens": 3_400_000, "bytes": 10_300_000, "documents": 13_000}
    whole(at["tokenizer"] / "tokens.json", {"dtype": "uint16", "vocabulary": 4096, "train": counts})

    def noise(step: int, size: float) -> float:
        return size * math.sin(step * 12.9898) * math.cos(step * 78.233)

    lines(
        at["pretrain"] / "curves.jsonl",
        [{"step": s, "loss": 3.6 + 4.7 * math.exp(-s / 160) + noise(s, 0.15)} for s in range(1, 1200, 3)]
        + [{"step": s, "valid_bits_per_byte": 1.93 + 1.9 * math.exp(-s / 220)} for s in range(0, 1201, 100)],
    )
    prompts = ("The ", "In the beginning", "This film")
    texts = ("ith ove,qu<|ha", "of the the and in a was", f"was a {text} story of the first century")
    moments = zip((0, 600, 1200), texts, strict=True)
    whole(
        at["pretrain"] / "samples.json",
        [
            {"step": step, "samples": [{"prompt": prompt, "text": said} for prompt in prompts]}
            for step, said in moments
        ],
    )
    lines(
        at["sft"] / "curves.jsonl",
        [{"step": s, "loss": 3.4 + 1.6 * math.exp(-s / 60) + noise(s, 0.2)} for s in range(1, 300)]
        + [{"step": s, "valid_loss": 3.6 + 1.5 * math.exp(-s / 60)} for s in range(0, 301, 50)],
    )
    people = {"items": 10605, "annotators": 20, "judgements": 212100, "alpha": 0.52, "pair_agreement": 0.86}
    whole(
        at["labels"] / "agreement.json",
        {
            "ratings": {"tone/film": people, "tone/tweets": {**people, "alpha": 0.71}},
            "comparisons": {"truthfulness/nq": {"items": 1370, "alpha": math.nan}},
            "held_out": {"valid": {"pairs": 90, "ties": 7}},
        },
    )
    rate = {"annotator": "<i>ana</i>", "judgements": 400, "same": 0.62, "above": -0.4}
    pair = {
        "people": ["<i>ana</i>", "ben"],
        "items": 300,
        "same": 0.55,
        "interval": [0.5, 0.6],
        "alpha": 0.41,
    }
    whole(
        at["labels"] / "annotators.json",
        {
            "ratings": {"tone/film": {"error_rates": [rate], "pairs": [pair], "people_without_pairs": 0}},
            "comparisons": {},
        },
    )
    lines(
        at["reward"] / "curves.jsonl",
        [{"step": s, "loss": 0.35 + 0.34 * math.exp(-s / 120) + noise(s, 0.08)} for s in range(1, 600, 2)]
        + [{"step": s, "pair_accuracy": 0.82 - 0.3 * math.exp(-s / 90)} for s in range(0, 601, 100)],
    )
    whole(
        at["reward"] / "accuracy.json",
        {"tone/film": 0.81, "tone/tweets": 0.88, "tone/editorials": 0.70, "truthfulness/nq": 0.52},
    )
    whole(
        at["reward"] / "yardstick.json",
        {"tone/film": 0.84, "tone/tweets": 0.90, "tone/editorials": 0.72, "truthfulness/nq": 0.51},
    )
    lines(
        at["rlhf"] / "curves.jsonl",
        [
            {
                "step": s,
                "reward": 2.4 * (1 - math.exp(-s / 45)) + noise(s, 0.3),
                "kl": 9 - 9 * math.exp(-s / 60) + noise(s, 0.6),
                "length": 19 - s / 60 + noise(s, 1),
                "kl_coefficient": 0.15 + 0.0004 * s,
            }
            for s in range(1, 151)
        ],
    )
    figures: dict[str, float] = {
        "ends_by_itself": 0.97,
        "judge_gain": 0.47,
        "kl": 8.9,
        "win_rate": 0.83,
        "win_rate_low": 0.78,
        "win_rate_high": 0.87,
        "distinct": 0.99,
        "length_ratio": 0.81,
        "prompts": 256,
        "questions": 180,
        "test_pair_accuracy": 0.83,
        "sft_judge": 0.19,
        "aligned_judge": 0.66,
        "sft_reward": 0.04,
        "aligned_reward": 2.31,
    }
    for i, name in enumerate(("base", "few_shot", "sft", "aligned")):
        figures |= {f"{name}_bits_per_byte": 1.96 + 0.11 * i} if name != "few_shot" else {}
        figures |= {
            f"{name}_completion_loss": 4.9 - 0.4 * i,
            f"{name}_exact_match": 0.004 * i,
            f"{name}_f1": 0.02 * i,
        }
        figures |= {
            f"{name}_ends_by_itself": min(0.97, 0.02 + 0.4 * i),
            f"{name}_distinct": 1.0,
            f"{name}_length": 60 - 14 * i,
        }
    whole(at["evaluate"] / "metrics.json", figures)
    whole(
        at["evaluate"] / "answers.json",
        [
            {
                "prompt": f"Finish this review: the {word}",
                "reference": "is one of the best of the year .",
                "base": f"{text} of the <|first> of the state of the United States and was a the number of",
                "few_shot": "is a film of the film .",
                "sft": f"is not quite {text} , but it has moments .",
                "aligned": f"is {text} , funny and moving .",
            }
            for word in ("story", "acting", "whole thing", "film's last hour")
        ]
        + [
            {
                "prompt": "who wrote the song",
                "reference": "Bob",
                "base": "",
                "sft": "John Lennon",
                "aligned": "John",
            }
        ],
    )
    pieces = [
        "The",
        " film",
        " is",
        " not",
        " as",
        " good",
        " as",
        " the",
        " book",
        ",",
        " but",
        " lovely",
        ".",
    ]
    weights = [
        [round(2 * (j + 1) / ((i + 1) * (i + 2)), 4) if j <= i else 0.0 for j in range(13)] for i in range(13)
    ]
    near = [
        [word, round(0.61 - 0.03 * i, 2)] for i, word in enumerate(("great", "bad", "fine", "poor", text))
    ]
    whole(
        at["evaluate"] / "probes.json",
        {
            "neighbours": [{"word": "good", "first": [["Bosnia", 0.31], ["twelve", 0.29]], "last": near}],
            "attention": {"layer": 3, "head": 2, "pieces": pieces, "weights": weights},
        },
    )
    checks = [{"name": "judge_gain", "value": 0.47, "bar": 0.4, "side": "at least", "passed": True}]
    whole(
        at["gate"] / "verdict.json", {"passed": True, "reason": "all 1 thresholds are met", "checks": checks}
    )
    return at


def make(at: Mapping[str, Path | None], out: Path, **parameters: Any) -> str:
    out.mkdir()
    figures = report(
        ReportParameters(**parameters), **at, out=out, on_event=lambda event: None, root=out.parent
    )
    page = (out / "report.html").read_text("utf-8")
    assert figures["bytes"] == len(page.encode())
    return page


class Balance(HTMLParser):
    """Parser that checks closing tags and collects addresses that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "srcset")]
        assert tag not in ("script", "link", "iframe", "img")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def check_markup(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert balance.fetched == []
    assert "url(" not in page and "@import" not in page
    assert not re.search(r"\bnan\b|None|Undefined", page)


def test_report_all_stages_are_on_page(tmp_path: Path) -> None:
    page = make(leave_stages(tmp_path / "stages"), tmp_path / "out")
    check_markup(page)
    for words in (
        "Learning to guess the next word",
        "Before the first step",
        "After 1,200 steps",
        "Bosnia",
        "layer 3, head 2",
        "Learning to answer",
        "to store one byte. Plain storage takes 8",
        "Learning what people prefer",
        ">linear model on words<",
        "212,100",
        "The lowest here is 0.52, on tone of film. A reward model cannot",
        "Two people at a time",
        "0.40 below the estimated score on average",
        "&lt;i&gt;ana",
        "told apart (n = 90)",
        "Left out: 7 ties, as",
        "is version 7. 25.0% of the text",
        "Practising against the reward model",
        "What the reward costs",
        "All models, the same test",
        "78% to 87%",
        "all 1 thresholds are met",
        "+0.47",
        "at least 0.4",
        "aligned less assistant",
        "no_duplicate_content (3)",
        "+2, −1: +0.50 on average",
        "(empty answer)",
    ):
        assert words in page, words
    assert "yardstick" not in page
    assert page.count("<svg") == 15


def test_report_people_of_the_label_page_have_a_chapter(tmp_path: Path) -> None:
    forget_page_people()
    at = leave_stages(tmp_path / "run")
    row = {"source": "page", "aspect": "overall", "prompt": "Q", "a": "x", "b": "y", "choice": "a"}
    labelled = [
        {**row, "annotator": "<i>ana</i>", "time": f"2026-03-{1 + n % 3:02}T10:00:00Z"} for n in range(9)
    ]
    lines(at["split"] / "train" / "comparisons" / "00000.jsonl", labelled)
    with open_label_store(tmp_path) as store:
        add_batch(store, BatchSettings("first"), [LabelItem("Q", "x", "y")])
        judge(store, person(store, "<i>ben</i>"), 1, seconds=7.5)
    page = make(at, tmp_path / "out", label_page=True)
    check_markup(page)
    chapter = page[page.index("The people behind the labels") : page.index("Learning what people prefer")]
    assert "<i>" not in chapter
    assert "1 person gave 9 labels, from 2026-03-01 to 2026-03-03; 4,000 more without a name." in chapter
    assert "&lt;i&gt;ben&lt;/i&gt;" in chapter and "7.5" in chapter
    # What the page's people did is not that of a preset without the page.
    assert "&lt;i&gt;ben" not in make(at, tmp_path / "without")


def test_report_says_whether_the_base_model_answers(tmp_path: Path) -> None:
    at = leave_stages(tmp_path / "stages")
    page = make(at, tmp_path / "own")
    assert "has only read" in page and "asked in its own" not in page
    figures = json.loads((at["evaluate"] / "metrics.json").read_text())
    whole(at["evaluate"] / "metrics.json", {**figures, "base_reward": -0.2})
    page = make(at, tmp_path / "open")
    assert "has only read" not in page and "is an open model, asked in its own" in page


@pytest.mark.parametrize(("examples", "said"), [(None, False), (0.0, True), (1.5, False)])
def test_report_says_if_no_worked_example_fitted(tmp_path: Path, examples: float | None, said: bool) -> None:
    at = leave_stages(tmp_path / "stages")
    if examples is not None:
        figures = json.loads((at["evaluate"] / "metrics.json").read_text())
        whole(at["evaluate"] / "metrics.json", {**figures, "few_shot_examples": examples})
    page = make(at, tmp_path / "out")
    assert ("worked example fitted into this model's context" in page.replace("\n", " ")) == said


def test_report_text_direction_and_dark_scheme_are_set(tmp_path: Path) -> None:
    page = make(leave_stages(tmp_path / "stages", "جميل"), tmp_path / "out")
    assert "color-scheme: light dark" in page and "prefers-color-scheme: dark" in page
    # The page is in English; the language of the user's texts is unknown.
    assert '<p dir="auto" lang="">is جميل , funny and moving .</p>' in page
    assert '<bdi lang="">boolq</bdi>' in page
    # On a phone each cell is shown with the name of its column.
    assert 'data-name="aligned assistant (RLHF)"' in page and "max-width: 40rem" in page


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("Run in Prefect", "http://127.0.0.1:4200/runs/flow-run/1"),
        ("Model <version>", "http://127.0.0.1:5000/#/models/a%20b/versions/1?x=1&y=2"),
        ('Quoted "words"', "http://[::1]:5000/#/x'y\"z"),
    ],
)
def test_add_run_links_are_escaped(tmp_path: Path, words: str, address: str) -> None:
    page = make(leave_stages(tmp_path / "stages"), tmp_path / "out")
    shown = add_run_links(page, {words: address}, "Open while `<b>` runs.")
    assert f'<a href="{escape(address)}">{escape(words)}</a>' in shown
    assert "Open while <code>&lt;b&gt;</code> runs." in shown
    assert add_run_links(page, {}, "note") == page.replace(RUN_LINKS, "")


def test_report_refused_verdict_is_in_words(tmp_path: Path) -> None:
    at = leave_stages(tmp_path / "stages")
    checks = [
        {"name": name, "value": value, "bar": 0.8, "side": "at least", "passed": False}
        for name, value in (("aligned_distinct", 0.25), ("my_own_metric", 0.5), ("sft_reward", None))
    ]
    whole(at["gate"] / "verdict.json", {"passed": False, "reason": "aligned_distinct is", "checks": checks})
    page = make(at, tmp_path / "out")
    says = "aligned assistant (RLHF): answers that differ from all others: 0.25, at least 0.8 is required"
    assert says in page and "my own metric: 0.50" in page and "mean reward: missing" in page
    assert "aligned_distinct" not in page


def test_report_same_inputs_give_same_bytes(tmp_path: Path) -> None:
    at = leave_stages(tmp_path / "stages")
    assert make(at, tmp_path / "a") == make(at, tmp_path / "b")


def test_report_user_text_is_escaped(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>{{ 7 * 7 }}\" onload='x"
    page = make(leave_stages(tmp_path / "stages", nasty), tmp_path / "out", title=nasty)
    check_markup(page)
    assert "<script" not in page and "{{ 7 * 7 }}" in page


@pytest.mark.parametrize("missing", STAGES)
def test_report_missing_stage_is_left_out(tmp_path: Path, missing: str) -> None:
    at = leave_stages(tmp_path / "stages")
    (tmp_path / "empty").mkdir()
    page = make({**at, missing: tmp_path / "empty"}, tmp_path / "out")
    check_markup(page)
    assert page == make({**at, missing: None}, tmp_path / "again")


def test_report_without_stages_is_valid_page(tmp_path: Path) -> None:
    check_markup(make(dict.fromkeys(STAGES), tmp_path / "out"))


def test_source_table_and_quarantine_counts_count_rows(tmp_path: Path) -> None:
    at = leave_stages(tmp_path / "stages")
    assert source_table(at["split"]) == {
        "kinds": ["text", "pairs", "ratings"],
        "sources": [
            {"source": "boolq", "counts": [["1,800", "200"], ["", ""], ["", ""]]},
            {"source": "film", "counts": [["", ""], ["1,800", "200"], ["1,800", "200"]]},
            {"source": "nq", "counts": [["", ""], ["1,800", "200"], ["", ""]]},
        ],
    }
    names = [row["source"] for row in source_table(at["split"], ("nq", "gone", "boolq"))["sources"]]
    assert names == ["nq", "boolq", "film"]
    assert quarantine_counts(at["validate"]) == {
        "total": "4",
        "reasons": "no_duplicate_content (3); printable_text (1)",
    }


def test_quarantine_counts_known_rules_say_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "quarantine" / "text"
    folder.mkdir(parents=True)
    rules = ["held out of training", "held out of training", "text has a fit length"]
    (folder / "00000.jsonl").write_text("".join(f"{json.dumps({'rule': rule})}\n" for rule in rules))
    assert quarantine_counts(tmp_path) == {
        "total": "3",
        "reasons": "the same content is in another group, which may be held out of training (2); "
        "the text is empty, too short or too long (1)",
    }


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ((), ["boolq", "film", "nq"]),
        (("nq", "film", "boolq"), ["nq", "film", "boolq"]),
        (("film",), ["film", "boolq", "nq"]),
    ],
)
def test_report_sources_are_in_order_of_preset(
    tmp_path: Path, order: tuple[str, ...], wanted: list[str]
) -> None:
    page = make(leave_stages(tmp_path / "stages"), tmp_path / "out", source_order=order)
    assert re.findall(r'<tr><td><bdi lang="">(\w+)</bdi>', page)[:3] == wanted


def test_report_history_before_prompt_is_shown(tmp_path: Path) -> None:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who <wrote> it?"},
        {"role": "assistant", "content": " Ann "},
    ]
    before = [("system line", "Be brief."), ("earlier prompt", "Who <wrote> it?"), ("earlier answer", "Ann")]
    row = {"prompt": "when?", "completion": " then", "history": history}
    assert in_words("pairs", row) == [*before, ("prompt", "when?"), ("answer", "then")]
    assert in_words("comparisons", {**row, "a": "1", "b": "2", "choice": "tie"})[:3] == before
    assert in_words("ratings", {**row, "aspect": "tone", "scores": [1]})[:3] == before
    at = leave_stages(tmp_path / "stages")
    plain = make(at, tmp_path / "plain")
    answers = json.loads((at["evaluate"] / "answers.json").read_text())
    answers[0]["history"] = history
    whole(at["evaluate"] / "answers.json", answers)
    page = make(at, tmp_path / "out")
    check_markup(page)
    assert '<span class="small" lang="en" dir="ltr">earlier prompt</span> Who &lt;wrote&gt; it?</p>' in page
    assert page.index("Be brief.") < page.index(answers[0]["prompt"])
    assert "earlier prompt" not in plain


@pytest.mark.parametrize("answer", ["", " \n"])
def test_report_empty_answer_is_said(tmp_path: Path, answer: str) -> None:
    at = leave_stages(tmp_path / "stages")
    answers = json.loads((at["evaluate"] / "answers.json").read_text())
    answers[0]["sft"] = answer
    whole(at["evaluate"] / "answers.json", answers)
    page = make(at, tmp_path / "out")
    check_markup(page)
    assert re.search(r'<div class="sft"><h4>[^<]*</h4>\s*<p class="nothing">\(empty answer\)</p>', page)


def test_first_examples_empty_shard_is_skipped(tmp_path: Path) -> None:
    for name, rows in (("00000", []), ("00001", [{"text": "here", "source": "books"}] * 3)):
        lines(tmp_path / "train" / "text" / f"{name}.jsonl", rows)
    (found,) = first_examples(tmp_path)
    assert found == {"kind": "text", "source": "books", "parts": [("", "here")]}
    assert source_table(tmp_path)["sources"][0]["counts"] == [["3", ""]]


@pytest.mark.parametrize("replayed", [False, True])
def test_report_continued_pretraining_names_open_model(tmp_path: Path, replayed: bool) -> None:
    at = leave_stages(tmp_path / "stages")
    before = make(at, tmp_path / "before")
    (at["pretrain"] / "model").mkdir()
    (at["pretrain"] / "model" / "config.json").write_text(json.dumps({"open_model": True}))
    if replayed:
        with (at["pretrain"] / "curves.jsonl").open("a") as file:
            file.writelines(
                json.dumps({"step": n, "replay_bits_per_byte": 1.5 - n / 99}) + "\n" for n in (0, 9)
            )
    page = make(at, tmp_path / "after")
    check_markup(page)
    assert "starts as random numbers" in before and "starts as random numbers" not in page
    assert "starts as an open model" in page and ("general text" in page) == replayed
