"""Evaluation of base, assistant and aligned model on the same held-out text, prompts and questions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from model.data.chat_template import Row, prompt_key
from model.data.dataloader import Example, each_row, rows_by_source
from model.data.hf_checkpoint import load_model
from model.data.preference_dataset import headline_accuracy, headline_strata
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.evaluation.answer_scores import (
    digest_of_rows,
    load_opponent,
    score_held_out_pairs,
    score_models,
)
from model.evaluation.confidence_intervals import (
    bootstrap_mean_of_means,
    bootstrap_ratio,
    gain_metrics,
    mean_metrics,
    share_metrics,
    with_interval,
)
from model.evaluation.evaluate_config import EvaluateParameters
from model.evaluation.interpret import find_attention_map, nearest_words
from model.evaluation.loss_changes import base_answer_loss_changes, log_ratios, loss_increase
from model.evaluation.perplexity import HeldOutText
from model.events import EventCallback, Message, Step, Usage
from model.inference.prompting import Chat, FewShot, Plain, PromptFormat
from model.inference.scoring import Answer, Generator, best_f1, exact_match
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype
from model.training.pretrain import bits_per_byte
from model.training.process_group import ProcessGroup
from model.training.reward import RewardModel, load_reward

ASSISTANTS: tuple[str, ...] = ("sft", "aligned", "champion")
# The parts of the prompts on a CPU, which as many processes can share. A part's last bits depend on its rows,
# so the number does not depend on the processes.
PARTS = 2


def choose_rows(rows: Iterable[Row], sources: Sequence[str], count: int) -> list[Row]:
    """Return the first `count` rows of these sources, one for each prompt.

    Args:
        rows: The rows in the order of the split; no more are read than needed.
        sources: The names of the sources; empty: all.
        count: The most rows.
    """
    distinct: dict[tuple[str, str], Row] = {}
    for row in rows:
        if len(distinct) == count:
            break
        if not sources or row["source"] in sources:
            distinct.setdefault(prompt_key(row), row)
    return list(distinct.values())


def evaluate(
    parameters: dict[str, Any],
    base: str,
    sft: str,
    aligned: str,
    reward: str,
    split: str,
    labels: str,
    embeddings: str,
    folder: str,
    seed: int,
    device: str,
    on_event: EventCallback,
    judge: str = "",
    champion: str = "",
) -> dict[str, float]:
    """Measure three model folders on the test split; return the metrics except those of a lexicon.

    A metric's name begins with its model. Metrics that a gate uses have a 95% interval and a number of rows
    under NAME_low, NAME_high and NAME_n.

    Args:
        parameters: As in EvaluateParameters.
        base, sft, aligned: Model folders.
        reward: The folder of the stage reward, whose model RLHF used.
        split: The folder of the stage split.
        labels: The folder of the stage labels.
        embeddings: A safetensors file with the base's embedding at its "first" and "last" step; or empty.
        folder: Gets completions.jsonl, a row an answer; answers.json, the same prompts side by side;
            accuracy.json of the reward model on test pairs by "aspect/source"; probes.json; and held_out.json
            with the digests of the rows and whether the champion was measured.
        seed: The seed of the answers and the intervals.
        device: The device of the models.
        on_event: The event callback.
        judge: The folder of a reward model that judges, trained on other labels; or empty.
        champion: The champion's model folder, measured beside the candidate; or empty.

    Raises:
        UserError: No test prompt fits the context.
    """
    settings, out = EvaluateParameters.read(parameters), Path(folder)
    world = ProcessGroup.join_group(device, PARTS)
    models = {
        name: load_model(Path(path), compute_dtype(device), device, mapped=True)
        for name, path in (("base", base), ("sft", sft), ("aligned", aligned))
    }
    asked = _select_pairs(settings, Path(split), models, on_event)
    speakers = _load_generators(settings, Path(split), models, world)
    opponent = load_opponent(
        Path(champion) if champion else None, Path(aligned), [*asked.prompts, *asked.questions],
        settings.max_new_tokens, world,
    )  # fmt: skip
    if opponent.speaker is not None:
        speakers["champion"] = opponent.speaker
        models["champion"] = (opponent.speaker.model, opponent.speaker.tokenizer)
    metrics: dict[str, float] = {}
    losses: dict[str, tuple[list[float], list[int]]] = {}
    said: dict[str, list[Answer]] = {}
    replies: dict[str, list[Answer]] = {}
    for index, (name, speaker) in enumerate(speakers.items()):
        on_event(Step(step=index, steps=len(speakers), metrics={}))
        # The same seed for each model: differences come from the models, not from the draws.
        said[name] = speaker.generate_answers(asked.prompts, settings.max_new_tokens, 1.0, seed)
        replies[name] = speaker.generate_answers(asked.questions, settings.max_new_tokens, 0.0, seed)
        measured = {**_answer_statistics(said[name]), **_measure_answers(asked.questions, replies[name])}
        metrics |= {f"{name}_{measure}": value for measure, value in measured.items()}
        # Losses a token of different tokenizers cannot be compared.
        if name != "champion" or opponent.same_tokens:
            losses[name] = speaker.row_losses(asked.completions)
            metrics |= _loss_metrics(f"{name}_completion_loss", *losses[name], seed)
    answers = [answer for each in (said, replies) for some in each.values() for answer in some]
    on_event(Usage(tokens=sum(len(answer.tokens) for answer in answers)))
    bits, text_digest = _bits_per_byte(settings, Path(split), models, world)
    # An open model with a chat template is an assistant already.
    named = ("base", *ASSISTANTS) if models["base"][1].keeps_template else ASSISTANTS
    assistants: dict[str, list[Answer]] = {name: said[name] for name in named if name in said}
    as_text = () if opponent.same_tokens else ("champion",)
    critic = load_reward(Path(reward), device, compute_dtype(device))
    scores = {"reward": score_models(critic, asked.prompts, assistants, as_text, world)}
    accuracy, found = _pair_accuracy(critic, Path(labels), settings.headline_sources, seed, world)
    metrics |= found
    if judge:
        second = load_reward(Path(judge), device, compute_dtype(device))
        scores["judge"] = score_models(second, asked.prompts, assistants, as_text, world)
        pairs, raw = score_held_out_pairs(second, Path(labels), world)
        metrics |= share_metrics("judge_test_pair_accuracy", pairs.score_pairs(raw).tolist())
    for scorer, by_model in scores.items():
        for name, values in by_model.items():
            metrics |= mean_metrics(f"{name}_{scorer}", values, seed)
    metrics |= bits | gain_metrics("reward_gain", scores["reward"]["aligned"], scores["reward"]["sft"], seed)
    ended = {name: [float(answer.ended) for answer in said[name]] for name in ("aligned", "sft")}
    metrics |= gain_metrics("ends_by_itself_change", ended["aligned"], ended["sft"], seed)
    ratios = log_ratios(speakers["aligned"], speakers["sft"], asked.prompts, said["aligned"])
    metrics |= mean_metrics("kl", ratios, seed)
    metrics |= loss_increase("loss_increase", losses["aligned"][0], losses["sft"][0], seed)
    if models["base"][1].keeps_template:
        metrics |= base_answer_loss_changes(speakers, asked.questions, replies["base"], seed)
    # Every process has all metrics; one writes them.
    if world.rank > 0:
        return metrics
    out.mkdir(parents=True, exist_ok=True)
    _write_rows(
        out / "completions.jsonl",
        [*_sample_rows(asked.prompts, said, scores), *_sample_rows(asked.questions, replies, {})],
    )
    shown = _side_by_side(asked.prompts, said, settings.num_shown)
    shown += _side_by_side(asked.questions, replies, settings.num_shown // 2)
    held_out = {
        "prompts": digest_of_rows(asked.prompts, settings.max_new_tokens),
        "questions": digest_of_rows(asked.questions, settings.max_new_tokens),
        "completions": digest_of_rows(asked.completions),
        "text": text_digest,
        "champion": {"measured": opponent.speaker is not None, "why": opponent.why},
    }
    probes = _probe_model(*models["base"], embeddings, settings)
    files = {"held_out": held_out, "answers": shown, "accuracy": accuracy, "probes": probes}
    for name, content in files.items():
        _write_json(out / f"{name}.json", content)
    return {
        # A gate may refuse a model whose answers to the same prompts became much shorter.
        "length_ratio": metrics["aligned_length"] / max(metrics["sft_length"], 1e-9),
        "prompts": float(len(asked.prompts)),
        "questions": float(len(asked.questions)),
        "completions": float(len(asked.completions)),
        **metrics,
    }


Models = dict[str, tuple[Transformer, Tokenizer]]


@dataclass(frozen=True)
class UsedPairs:
    """The test pairs that are used: for free answers, for right answers, for the loss of completions."""

    prompts: list[Row]
    questions: list[Row]
    completions: list[Row]


def _select_pairs(
    settings: EvaluateParameters, split: Path, models: Models, on_event: EventCallback
) -> UsedPairs:
    # All models must answer the same prompts, so the shortest context decides which fit.
    tokenizer, context = models["sft"][1], _shortest_context(models)
    chat = Chat(tokenizer, context - settings.max_new_tokens)
    misfits: set[int] = set()
    shortened: set[int] = set()

    def fitting() -> Iterator[Row]:
        for index, row in enumerate(each_row(split / "test" / "pairs")):
            example = chat.encode_example(row)
            if not _fits_context(example, settings.max_new_tokens, context):
                misfits.add(index)
                continue
            if example.left_out:
                shortened.add(index)
            yield row

    prompts = choose_rows(fitting(), settings.sources, settings.num_prompts)
    if not prompts:
        raise UserError(
            f"no test prompt of {', '.join(settings.sources) or 'any source'} leaves room for an answer in a "
            f"context of {context} tokens; add pairs, or correct evaluate.sources or evaluate.max_new_tokens "
            f"({settings.max_new_tokens})"
        )
    # Without named sources nothing is known to have right answers.
    questions = settings.num_questions if settings.question_sources else 0
    asked = UsedPairs(
        prompts,
        choose_rows(fitting(), settings.question_sources, questions),
        list(islice(fitting(), settings.num_completions)),
    )
    for places, said in (
        (shortened, "lose their oldest turns to leave room for an answer"),
        (misfits, f"do not fit the context of {context} tokens; left out"),
    ):
        if places:
            on_event(Message(f"{len(places)} test pairs {said}"))
    return asked


def _fits_context(example: Example, new_tokens: int, context: int) -> bool:
    return len(example.prompt) + new_tokens <= context and len(example.completion) <= new_tokens


def _shortest_context(models: Models) -> int:
    return min(model.architecture.context_length for model, _ in models.values())


def _load_generators(
    settings: EvaluateParameters, split: Path, models: Models, world: ProcessGroup
) -> dict[str, Generator]:
    tokenizer = models["base"][1]
    room = _shortest_context(models) - settings.max_new_tokens
    # Examples from the training split: the test split's would be answers to its own questions.
    shots = FewShot(tokenizer, each_row(split / "train" / "pairs"), settings.num_few_shot, room)
    # An open model with a chat template of its own can already be asked.
    asking = Chat(tokenizer, room) if tokenizer.keeps_template else Plain(tokenizer, room)
    formats: dict[str, PromptFormat] = {"base": asking, "few_shot": shots}
    formats |= {name: Chat(models[name][1], room) for name in ("sft", "aligned")}
    return {
        name: Generator(*models.get(name, models["base"]), asking, world.parts, world.map_chunks)
        for name, asking in formats.items()
    }


def _bits_per_byte(
    settings: EvaluateParameters, split: Path, models: Models, world: ProcessGroup
) -> tuple[dict[str, float], str]:
    """Return the bits per byte of each model, and a digest of the text that the aligned model read."""
    wanted, digest = settings.text_sources, ""
    metrics = {}
    for name, (model, tokenizer) in models.items():
        context = model.architecture.context_length
        texts = (row["text"] for row in rows_by_source(split / "test" / "text", wanted))
        # A window is read with its following token, and at least one window is read.
        tokens = max(settings.text_tokens, context) + 1 if settings.text_tokens else 0
        text = HeldOutText(texts, tokenizer, tokens)
        if name == "aligned":
            digest = f"{text.hash.hexdigest()}:{context}:{settings.text_tokens}"
        if text.num_windows(context):
            metrics[f"{name}_bits_per_byte"] = bits_per_byte(model, text, world, settings.text_tokens)
    return metrics, digest


def _measure_answers(questions: Sequence[Row], replies: Sequence[Answer]) -> dict[str, float]:
    """Return mean exact match and F1 against each question's references; empty for no questions."""
    pairs = [
        (reply.text, row.get("references") or [row["completion"]])
        for row, reply in zip(questions, replies, strict=True)
    ]
    if not pairs:
        return {}
    return {
        "exact_match": float(np.mean([exact_match(*pair) for pair in pairs])),
        "f1": float(np.mean([best_f1(*pair) for pair in pairs])),
    }


def _answer_statistics(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the shares of answers that ended by themselves and that are distinct, and the mean length.

    The length is in tokens without the end token.
    """
    return {
        **share_metrics("ends_by_itself", [answer.ended for answer in answers]),
        "distinct": len({answer.text for answer in answers}) / len(answers),
        "length": float(np.mean([len(answer.tokens) for answer in answers])),
    }


def _pair_accuracy(
    critic: RewardModel, labels: Path, headline: Sequence[str], seed: int, world: ProcessGroup
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the reward model's accuracy on test pairs by "aspect/source", and its headline as a metric."""
    pairs, scores = score_held_out_pairs(critic, labels, world)
    if not pairs.rows:
        return {}, {}
    accuracy, right = pairs.pair_accuracy(scores)[0], pairs.score_pairs(scores).numpy()
    chosen = [right[pairs.strata[name].numpy()] for name in headline_strata(pairs.strata, headline)]
    interval = bootstrap_mean_of_means(chosen, seed)
    count = sum(len(rows) for rows in chosen)
    value = headline_accuracy(accuracy, headline)
    return accuracy, with_interval("test_pair_accuracy", value, interval, count)


def _loss_metrics(name: str, sums: Sequence[float], tokens: Sequence[int], seed: int) -> dict[str, float]:
    """Return the mean loss a token as a metric; empty for no rows."""
    if not sums:
        return {}
    interval = bootstrap_ratio(np.array(sums), np.array(tokens, float), seed)
    return with_interval(name, sum(sums) / sum(tokens), interval, len(sums))


def _sample_rows(
    rows: Sequence[Row], said: dict[str, list[Answer]], scores: dict[str, dict[str, list[float]]]
) -> list[dict[str, Any]]:
    written = []
    for name, answers in said.items():
        for i, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            described = {
                "model": name,
                "source": row["source"],
                **_describe_prompt(row),
                "completion": answer.text,
                "tokens": len(answer.tokens),
                "ended": answer.ended,
                "references": row.get("references") or [row["completion"]],
            }
            for scorer, by_model in scores.items():
                if name in by_model:
                    described[scorer] = round(by_model[name][i], 6)
            written.append(described)
    return written


def _side_by_side(rows: Sequence[Row], said: dict[str, list[Answer]], count: int) -> list[dict[str, Any]]:
    return [
        {
            **_describe_prompt(row),
            "reference": row["completion"],
            **{name: answers[i].text for name, answers in said.items() if name != "champion"},
        }
        for i, row in enumerate(rows[:count])
    ]


def _describe_prompt(row: Row) -> dict[str, Any]:
    """Return the prompt, and the history if there is one."""
    before = {"history": row["history"]} if row.get("history") else {}
    return {**before, "prompt": row["prompt"]}


def _probe_model(
    model: Transformer, tokenizer: Tokenizer, embeddings: str, settings: EvaluateParameters
) -> dict[str, Any]:
    probes: dict[str, Any] = {"neighbours": [], "attention": None}
    if embeddings:
        kept = load_file(embeddings)
        for word in settings.probe_words:
            found = {
                when: nearest_words(kept[when], tokenizer, word, settings.num_neighbors) for when in kept
            }
            if all(found.values()):
                probes["neighbours"].append({"word": word, **found})
    seen = find_attention_map(model, tokenizer, settings.attention_sentence)
    probes["attention"] = asdict(seen) if seen else None
    return probes


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
