"""Labels for the metrics of evaluate, used in the report, the terminal, notifications and the registry."""

from __future__ import annotations

import re

from tasks.common.names import split_stratum

SPEAKERS = (
    ("base", "base model"),
    ("few_shot", "base model, few-shot"),
    ("sft", "assistant (SFT)"),
    ("aligned", "aligned assistant (RLHF)"),
)
MEASURES = (
    ("bits_per_byte", "bits per byte, test text", "{:.2f}"),
    ("completion_loss", "loss on the right answer, nats a token", "{:.2f}"),
    ("exact_match", "questions answered exactly right", "{:.1%}"),
    ("f1", "words in common with the right answer (F1)", "{:.1%}"),
    ("ends_by_itself", "answers that end by themselves", "{:.0%}"),
    ("distinct", "answers that differ from all others", "{:.0%}"),
    ("length", "tokens an answer", "{:.1f}"),
    ("reward", "mean reward", "{:+.2f}"),
    ("judge", "the judge’s mean score", "{:+.2f}"),
)
_METRIC_WORDS = {
    "ends_by_itself_change": "share of answers that end by themselves, aligned less assistant",
    "reward_gain": "mean reward, aligned less assistant",
    "loss_increase": "loss on right answers, share by which it rose over the assistant’s",
    "base_answer_loss_change": "loss on the open model’s own answers, share by which it rose over its own",
    "judge_gain": "judge’s mean score, aligned less assistant",
    "judge_gain_over_base": "judge’s mean score, aligned less the open model",
    "win_rate": "prompts that the aligned assistant wins",
    "few_shot_examples": "worked examples before a prompt of few-shot, on average",
    "length_ratio": "length of the aligned answers, against the assistant’s",
    "kl": "divergence from the assistant, nats an answer",
    "champion_win_rate": "prompts that the aligned assistant wins against the champion",
    "test_pair_accuracy": "test pairs that the reward model orders as people did",
    "judge_test_pair_accuracy": "test pairs that the judge orders as people did",
    "judge_reliable": "whether the judge can be relied on",
    "prompts": "test prompts",
    "questions": "test questions",
    "completions": "test pairs with a right answer",
}
# Measures of drift by their subjects; docs/unattended.md has the same words.
_DRIFT_WORDS = {
    "lengths": "row length",
    "vocabulary": "words",
    "new_words": "new words",
    "sources": "mix of sources",
    "labels": "labels",
    "agreement": "agreement",
    "unknown_pieces": "unseen tokens",
    "bytes_per_token": "bytes per token",
    "loss": "loss on new rows",
}
# Metrics that cannot be below 0, and whose estimate from samples can.
_SAMPLED = ("kl",)
BELOW_ZERO = (
    "The divergence from the assistant is estimated from sampled answers. It cannot be below 0; its estimate "
    "and the interval can, by chance."
)
# A name has an underscore, or is `kl` before its value: other names are also common words. The key of a
# threshold, as in gate.min.win_rate, is none.
_NAME = re.compile(r"(?<!\.)\b(?:[a-z0-9]+(?:_[a-z0-9]+)+|kl(?= (?:is|was)\b|:))\b")
_ENDS = {"_low": "lower end of the 95% interval", "_high": "upper end of the 95% interval", "_n": "n"}


def reason_words(reason: str) -> str:
    """Return a reason with the names of metrics as labels: earlier versions recorded the names."""
    return _NAME.sub(lambda found: _known_words(found[0]), reason)


def _known_words(name: str) -> str:
    """Return the label of a metric; any other name, such as that of a product, is unchanged."""
    words = metric_words(name)
    bare = name in {measure for measure, _, _ in MEASURES}
    return words if bare or words != name.replace("_", " ") else name


def metric_words(name: str) -> str:
    """Return the label of a metric, as in "aligned assistant (RLHF): mean reward".

    A metric without a label is shown by its name, with spaces for underscores.
    """
    if name in _METRIC_WORDS:
        return _METRIC_WORDS[name]
    for model, speaker in (*SPEAKERS, ("champion", "champion")):
        for measure, words, _ in MEASURES:
            if name == f"{model}_{measure}":
                return f"{speaker}: {words}"
    for end, words in _ENDS.items():
        if name.endswith(end) and (whole := metric_words(name.removesuffix(end))):
            return f"{whole} ({words})"
    return name.replace("_", " ")


def drift_words(name: str) -> str:
    """Return the label of a measure of drift, as "labels: tone, film" of `labels/tone/film`."""
    subject, _, about = name.partition("/")
    of = ", ".join(filter(None, split_stratum(about))) if "/" in about else about
    return f"{_DRIFT_WORDS.get(subject, subject)}: {of}" if of else name


def is_below_zero(name: str, low: float | None) -> bool:
    """Return whether a metric's interval begins below 0 though the metric cannot be there (`BELOW_ZERO`)."""
    return name in _SAMPLED and low is not None and low < 0
