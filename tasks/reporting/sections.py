"""The sections of the report: each function turns the output of a stage into values for the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tasks.common.annotators import describe_people
from tasks.common.counts import counted
from tasks.common.metric_labels import (
    BELOW_ZERO,
    MEASURES,
    SPEAKERS,
    is_below_zero,
    metric_words,
)
from tasks.common.names import split_stratum
from tasks.reporting.charts import (
    ChartLine,
    dot_plot,
    heat_map,
    interval_chart,
    line_chart,
    trail_chart,
)


@dataclass(frozen=True)
class Curve:
    """The rows of a stage's curves.jsonl."""

    rows: Sequence[dict[str, float]]

    def of(self, name: str) -> list[tuple[float, float]]:
        """Return pairs of step and value for the rows that have this metric."""
        return [(row["step"], row[name]) for row in self.rows if name in row]


Chart = dict[str, str | Markup]


def chart_section(*wanted: tuple[str, str, Markup | None]) -> list[Chart]:
    """Return the charts among (title, caption, SVG) that have an SVG."""
    return [{"title": title, "caption": caption, "svg": svg} for title, caption, svg in wanted if svg]


def figure_tiles(figures: dict[str, float], unchanged: str = "") -> list[dict[str, str]]:
    """Return the few metrics that summarize the run, in the order of the stages.

    `unchanged` says that RLHF kept SFT's weights, so that every difference between the two is chance.
    """
    wanted = (
        (
            "base_bits_per_byte",
            "{:.2f}",
            "bits to store one byte of test text, which the base model never saw",
        ),
        ("aligned_ends_by_itself", "{:.0%}", "of the aligned assistant’s answers end by themselves"),
        ("test_pair_accuracy", "{:.0%}", "of test pairs the reward model orders as people did"),
        ("reward_gain", "{:+.2f}", "reward, aligned against assistant"),
        ("loss_increase", "{:+.0%}", "loss on right answers, aligned against assistant"),
        (
            "base_answer_loss_change",
            "{:+.0%}",
            "loss on the open model’s own answers",
        ),
        ("judge_gain", "{:+.2f}", "judge’s score, aligned against assistant"),
        ("judge_gain_over_base", "{:+.2f}", "judge’s score, aligned against the open model"),
        ("win_rate", "{:.0%}", "of prompts won by the aligned assistant"),
        ("kl", "{:.1f}", "nats of divergence paid for it, an answer"),
    )
    first = [{"figure": "none", "words": f"of RLHF’s steps was kept. {unchanged}"}] if unchanged else []
    return first + [
        {
            "figure": format_value(form, figures[name]),
            "words": words
            + _format_interval(form, name, figures)
            + (f". {BELOW_ZERO}" if is_below_zero(name, figures.get(f"{name}_low")) else ""),
        }
        for name, form, words in wanted
        if name in figures
    ]


def _format_interval(form: str, name: str, figures: dict[str, float]) -> str:
    """Return the interval of a metric, its n and the ties left out as words; empty if the metric has none."""
    low, high, n, ties = (figures.get(f"{name}_{end}") for end in ("low", "high", "n", "ties"))
    if low is None or high is None or n is None:
        return ""
    left_out = f"; {_format_ties(ties)} left out" if ties else ""
    return f" (95%: {format_value(form, low)} to {format_value(form, high)}; n = {n:,.0f}{left_out})"


def _format_ties(ties: float) -> str:
    return "1 tie" if ties == 1 else f"{ties:,.0f} ties"


def in_words(kind: str, row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a row of the data for people, as pairs of name and text."""
    if kind == "text":
        return [("", _truncate_text(row["text"]))]
    asked = [*said_before(row), ("prompt", _truncate_text(row["prompt"]))]
    if kind == "comparisons":
        chosen = {"a": "the first", "b": "the second", "tie": "neither"}[row["choice"]]
        return [
            *asked,
            ("first answer", _truncate_text(row["a"])),
            ("second answer", _truncate_text(row["b"])),
            ("better", chosen),
        ]
    answer = ("answer", _truncate_text(row["completion"].strip()))
    if kind == "pairs":
        return [*asked, answer]
    scores = row["scores"]
    # A plus only beside a minus: 1 may be the worst of five stars.
    sign = "+" if min(scores) < 0 else ""
    mean = format_value(f"{{:{sign}.2f}}", sum(scores) / len(scores))
    given = ", ".join(format_value(f"{{:{sign}g}}", score) if score else "0" for score in scores[:25])
    # A text may have hundreds of ratings, which would fill the page.
    more = f" and {len(scores) - 25} more" if len(scores) > 25 else ""
    named = row.get("annotators") or []
    people = describe_people([*named, *[""] * (len(scores) - len(named))])
    return [*asked, answer, (f"its {row['aspect']}, by {people}", f"{given}{more}: {mean} on average")]


def said_before(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the turns before a row's prompt for people, as pairs of speaker and text."""
    names = {"system": "system line", "user": "earlier prompt", "assistant": "earlier answer"}
    return [(names[turn["role"]], _truncate_text(turn["content"].strip())) for turn in row.get("history", [])]


def _truncate_text(text: str, length: int = 320) -> str:
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0] + " …"


def pretraining_section(
    points: Curve, samples: Sequence[dict[str, Any]], probes: dict[str, Any], continued: bool = False
) -> dict[str, Any] | None:
    """Return the curves, the samples of the same prompts, the neighbors and a map of attention.

    `continued` says that the training began from an open model.
    """
    held_out = [ChartLine("held out", points.of("valid_bits_per_byte"), "held")]
    if replayed := points.of("replay_bits_per_byte"):
        held_out.append(ChartLine("general text", replayed, "train"))
    drawn = chart_section(
        (
            "Training text",
            "Loss in nats a token, by step; faint: each batch, strong: moving average.",
            line_chart([ChartLine("loss", points.of("loss"), "train", noisy=True)], "step", "loss"),
        ),
        (
            "Held-out text",
            "Bits per byte, by step.",
            line_chart(held_out, "step", "bits per byte"),
        ),
    )
    seen = probes.get("attention")
    neighbours = [
        {"word": row["word"], **{when: [(word, f"{near:.2f}") for word, near in row[when]]
                                 for when in ("first", "last")}}
        for row in probes.get("neighbours", [])
    ]  # fmt: skip
    if not (drawn or samples or seen):
        return None
    return {
        "charts": drawn,
        "continued": continued,
        "samples": [
            {"title": f"After {moment['step']:,} steps" if moment["step"] else "Before the first step",
             "samples": moment["samples"]}
            for moment in samples
        ],
        "neighbours": neighbours,
        "attention": heat_map(seen["pieces"], seen["weights"]) if seen else None,
        "attention_width": 30 * len(seen["pieces"]) + 136 if seen else 0,
        "layer": seen["layer"] if seen else 0,
        "head": seen["head"] if seen else 0,
    }  # fmt: skip


def sft_section(points: Curve, figures: dict[str, float]) -> dict[str, Any] | None:
    """Return the curves, and the share of answers that end by themselves."""
    drawn = chart_section(
        (
            "Answers it practised on",
            "Loss in nats a token of the answer, by step.",
            line_chart([ChartLine("loss", points.of("loss"), "train", noisy=True)], "step", "loss"),
        ),
        (
            "Answers it never saw",
            "Held-out loss in nats a token of the answer, by step.",
            line_chart([ChartLine("held out", points.of("valid_loss"), "held")], "step", "held-out loss"),
        ),
    )
    if not drawn:
        return None
    ends = {
        key: _format_share(name, figures)
        for key, name in (("ends", "sft_ends_by_itself"), ("base_ends", "base_ends_by_itself"))
    }
    return {"charts": drawn, **ends}


def _format_share(name: str, figures: dict[str, float]) -> str:
    """Return a share with its interval and n; empty if it was not measured."""
    if name not in figures:
        return ""
    low, high, n = (figures.get(f"{name}_{end}") for end in ("low", "high", "n"))
    said = f"{figures[name]:.0%}"
    if low is None or high is None or not n:
        return said
    # abs(): a lower bound may be -0.0, which would be shown as -0%.
    return f"{said} (95%: {abs(low):.0%} to {high:.0%}, n = {n:,.0f})"


def reward_section(
    points: Curve,
    accuracy: dict[str, float],
    yardstick: dict[str, float],
    held_out: Mapping[str, int] | None = None,
) -> dict[str, Any] | None:
    """Return the curves, and the accuracy on validation pairs by "aspect/source" beside the baseline's.

    `held_out` has the numbers of validation pairs, and of the ties that the accuracy leaves out.
    """
    ties = int((held_out or {}).get("ties", 0))
    drawn = chart_section(
        (
            "Pairs it practised on",
            "Loss by step: 0.69 is guessing.",
            line_chart([ChartLine("loss", points.of("loss"), "train", noisy=True)], "step", "loss"),
        ),
        (
            "Pairs it never saw",
            "Share of validation pairs in people’s order, by step.",
            line_chart([ChartLine("held out", points.of("pair_accuracy"), "held")], "step", "accuracy"),
        ),
    )
    rows = []
    for name, share in sorted(accuracy.items()):
        dots = [("reward model", "train", share)]
        if name in yardstick:
            dots.append(("linear model on words", "quiet", yardstick[name]))
        rows.append((" · ".join(split_stratum(name)[::-1]), dots))
    if not drawn and not rows:
        return None
    return {
        "charts": drawn,
        "accuracy": dot_plot(rows, 0.5, "guessing"),
        "yardstick": any(len(dots) > 1 for _, dots in rows),
        "pairs": f"{int((held_out or {}).get('pairs', 0)):,}",
        "ties": _format_ties(ties) if ties else "",
    }


def rlhf_section(points: Curve, chosen: dict[str, Any]) -> dict[str, Any] | None:
    """Return reward, divergence and length by step, reward against divergence, and which step was kept.

    Args:
        points: The curves of PPO, or those of DPO on pairs of answers.
        chosen: The method and the best step, as the stage rlhf wrote them; empty for older outputs.
    """
    drawn = chart_section(
        (
            "Reward",
            "Mean score of a step’s answers; 0 is the assistant before RLHF.",
            line_chart([ChartLine("reward", points.of("reward"), "aligned", noisy=True)], "step", "reward"),
        ),
        (
            "Divergence",
            "KL from the assistant it was, in nats an answer.",
            line_chart([ChartLine("KL", points.of("kl"), "aligned", noisy=True)], "step", "KL"),
        ),
        (
            "Length",
            "Tokens an answer: short ones are the easy way out.",
            line_chart([ChartLine("length", points.of("length"), "aligned", noisy=True)], "step", "tokens"),
        ),
        (
            "Price of divergence",
            "What a nat costs in reward; it adapts to hold the divergence near its target.",
            line_chart([ChartLine("price", points.of("kl_coefficient"), "aligned")], "step", "coefficient"),
        ),
    )
    if not drawn:
        # Of DPO, which generates no answers while it learns.
        drawn = chart_section(
            (
                "Pairs in the order of people",
                "Share of held-out pairs whose better answer gained more, by step.",
                line_chart([ChartLine("held out", points.of("valid_accuracy"), "held")], "step", "share"),
            ),
            (
                "Loss on pairs",
                "Loss a pair, by step; faint: each batch, strong: moving average.",
                line_chart([ChartLine("loss", points.of("loss"), "train", noisy=True)], "step", "loss"),
            ),
        )
    # A step may have one metric without the other, so both are joined by step.
    rewards = dict(points.of("reward"))
    path = [(kl, rewards[step]) for step, kl in points.of("kl") if step in rewards]
    if not drawn and not chosen:
        return None
    unchanged = _describe_unchanged(chosen)
    return {
        "charts": drawn,
        "trail": trail_chart(path, "KL, nats an answer", "reward"),
        "dpo": chosen.get("method") == "dpo" or bool(points.of("valid_accuracy") and not path),
        "choice": unchanged or _describe_choice(chosen),
        "unchanged": unchanged,
    }


def _held_out(chosen: dict[str, Any]) -> str:
    """Return on what the steps were measured; empty if there was nothing to choose a step by."""
    found = ((chosen.get(f"valid_{what}"), f"held-out {what}") for what in ("pairs", "prompts"))
    return next((counted(int(count), what) for count, what in found if count is not None), "")


def _describe_unchanged(chosen: dict[str, Any]) -> str:
    """Return that SFT's weights were kept; empty if a step of RLHF was."""
    asked = _held_out(chosen)
    if not asked or chosen["best_step"]:
        return ""
    return (
        f"No step was better than the assistant on {asked}, so the aligned assistant has the weights of "
        "the assistant: the two are one model."
    )


def _describe_choice(chosen: dict[str, Any]) -> str:
    if "best_step" not in chosen:
        return ""
    step, asked = f"{chosen['best_step']:,.0f}", _held_out(chosen)
    if not asked:
        return f"The aligned assistant is that of the last step, {step}: nothing was held out to choose by."
    if "valid_accuracy" not in chosen:
        return f"The aligned assistant is that of step {step}, the best on {asked}."
    share = f"{chosen['valid_accuracy']:.0%}"
    margin = format_value("{:+.2f}", chosen["valid_margin"])
    return (
        f"The aligned assistant is that of step {step}, the best on {asked}. It puts {share} of them in the "
        f"order of people, with a margin of {margin} nats on average."
    )


def evaluation_section(figures: dict[str, float]) -> dict[str, Any]:
    """Return the table of all models, the judge's comparison, and whether the base model answers.

    Only an open model with a chat template can be asked before SFT, and only its answers get a reward.
    """
    rows = []
    for measure, words, form in MEASURES:
        values = [figures.get(f"{name}_{measure}") for name, _ in SPEAKERS]
        if any(value is not None for value in values):
            rows.append({"measure": words, "shown": [format_value(form, value) for value in values]})
    judged = None
    if "win_rate" in figures:
        share, low, high = (figures[name] for name in ("win_rate", "win_rate_low", "win_rate_high"))
        pairs = "judge_test_pair_accuracy"
        judged = {
            "kind": figures.get("judge"),
            # Older runs did not measure whether the judge is reliable.
            "reliable": bool(figures.get("judge_reliable", 1)),
            "accuracy": format_value("{:.0%}", figures.get(pairs))
            + _format_interval("{:.0%}", pairs, figures),
            "before": format_value("{:+.2f}", figures["sft_judge"]),
            "after": format_value("{:+.2f}", figures["aligned_judge"]),
            "rate": f"{share:.0%}",
            "range": f"{low:.0%} to {high:.0%}",
            "interval": interval_chart(share, low, high, "win rate"),
        }
    note = ""
    if figures:
        note = f"Measured on {figures.get('prompts', 0):,.0f} prompts"
        note += f" and {figures['questions']:,.0f} questions" if figures.get("questions") else ""
        note += " of the test split."
        if "length_ratio" in figures:
            ratio = f"{figures['length_ratio']:.0%}"
            note += f" The aligned assistant’s answers are {ratio} as long as the assistant’s."
    return {
        "examination": rows,
        "examination_note": note,
        "judged": judged,
        "base_answers": "base_reward" in figures,
    }


def format_value(form: str, value: float | None) -> str:
    """Return a number with a true minus sign; empty for None and NaN."""
    return "" if value is None or math.isnan(value) else form.format(value).replace("-", "−")


def _check_spread(check: dict[str, Any]) -> str:
    """Return the interval and the n of a gate's check as words."""
    low, high = check.get("interval") or (None, None)
    shown = f" [{format_value('{:.2f}', low)} to {format_value('{:.2f}', high)}]" if low is not None else ""
    return f"{shown} (n = {check['n']:,.0f})" if check.get("n") else shown


def gate_section(verdict: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the gate's verdict, its reason, and each threshold beside the measured value."""
    if not verdict:
        return None
    checks = [
        {
            "name": metric_words(check["name"]),
            "value": (format_value("{:.2f}", check["value"]) or "missing") + _check_spread(check),
            "bar": f"{check['side']} {check['bar']:g}",
            "passed": check["passed"],
        }
        for check in verdict["checks"]
    ]
    failed = [check for check in checks if not check["passed"]]
    # The verdict's reason names metrics by their keys; here they get their labels.
    if failed:
        reason = "; ".join(f"{each['name']}: {each['value']}, {each['bar']} is required" for each in failed)
    else:
        reason = verdict["reason"]
    reason = "; ".join(filter(None, (reason, verdict.get("against_champion"))))
    title = "The gate let it through:" if verdict["passed"] else "The gate did not let it through:"
    return {"passed": verdict["passed"], "title": title, "reason": reason, "checks": checks}
