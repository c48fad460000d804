"""Evaluation of base, assistant and aligned model on the same held-out text, prompts and questions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import Any

from safetensors.torch import load_file

from model.data.chat_template import Row, prompt_key
from model.data.dataloader import Example, each_row, rows_by_source
from model.data.hf_checkpoint import load_model
from model.data.hf_config import load_architecture
from model.data.label_probability import count_ties
from model.data.preference_dataset import headline_strata
from model.data.tokenizer import Tokenizer
from model.errors import UserError
from model.evaluation.answer_scores import (
    Opponent,
    digest_of_rows,
    load_opponent,
    score_held_out_pairs,
    score_models,
)
from model.evaluation.confidence_intervals import (
    gain_metrics,
    mean_metrics,
    pair_metrics,
)
from model.evaluation.evaluate_config import EvaluateParameters
from model.evaluation.held_out_measures import HeldOutMeasures, UsedPairs
from model.evaluation.interpret import (
    SEARCHED_TEXTS,
    find_attention_map,
    find_example_sentence,
    frequent_words,
    nearest_words,
)
from model.events import EventCallback, Message, Step, Usage
from model.inference.prompting import Chat, FewShot, Plain, PromptFormat
from model.inference.scoring import Answer, Generator
from model.nn.transformer import Transformer
from model.training.devices import compute_dtype
from model.training.process_group import ProcessGroup
from model.training.reward import RewardModel, load_reward

ASSISTANTS: tuple[str, ...] = ("sft", "aligned", "champion")
# The parts of the prompts on a CPU, which as many processes can share. A part's last bits depend on its rows,
# so the number does not depend on the processes.
PARTS = 2
_PROBE_WORDS = 6  # of the held-out text, if the preset names none


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
    folders = {"base": Path(base), "sft": Path(sft), "aligned": Path(aligned)}
    tokenizers = {name: Tokenizer.load(path) for name, path in folders.items()}
    # All models must answer the same prompts, so the shortest context decides which fit.
    context = min(load_architecture(path).context_length for path in folders.values())
    asked = _select_pairs(settings, Path(split), tokenizers["sft"], context, on_event)
    formats, shots = _prompt_formats(settings, Path(split), tokenizers, context - settings.max_new_tokens)
    measures = HeldOutMeasures(settings, asked, Path(split), seed, world)
    names = (*formats, "champion") if champion else tuple(formats)
    probes: dict[str, Any] = {}

    def measure_model(name: str) -> None:
        """Load one model, take all measures of it, and forget it: the memory may hold no second one."""
        model, tokenizer = load_model(folders[name], compute_dtype(device), device, mapped=True)
        for asking in ("base", "few_shot") if name == "base" else (name,):
            on_event(Step(step=len(measures.said), steps=len(names), metrics={}))
            speaker = Generator(model, tokenizer, formats[asking], world.parts, world.map_chunks)
            measures.ask_model(asking, speaker)
        measures.read_text(name, model, tokenizer)
        # What an open model forgets shows in its own answers; a base from random weights has none to lose.
        if tokenizers["base"].keeps_template:
            measures.weigh_answers("base", name, replace(speaker, asking=formats[name]))
        if name in ("aligned", "sft"):
            measures.weigh_answers("aligned", name, speaker)
        if name == "base" and world.rank == 0:
            held_out = rows_by_source(Path(split) / "test" / "text", settings.text_sources)
            texts = chain((row["text"] for row in held_out), (row["prompt"] for row in asked.prompts))
            examples = list(islice(texts, SEARCHED_TEXTS))
            probes.update(_probe_model(model, tokenizer, embeddings, settings, examples))

    # The aligned model before SFT's, which then tells how likely the aligned model's answers are to it.
    for name in ("base", "aligned", "sft"):
        measure_model(name)
    if champion:
        on_event(Step(step=len(measures.said), steps=len(names), metrics={}))
    opponent = _measure_champion(measures, Path(champion) if champion else None, Path(aligned), world)
    answers = [answer for some in (*measures.said.values(), *measures.replies.values()) for answer in some]
    on_event(Usage(tokens=sum(len(answer.tokens) for answer in answers)))
    said = {name: measures.said[name] for name in names if name in measures.said}
    replies = {name: measures.replies[name] for name in said}
    metrics = measures.metrics
    # An open model with a chat template is an assistant already.
    named = ("base", *ASSISTANTS) if tokenizers["base"].keeps_template else ASSISTANTS
    assistants: dict[str, list[Answer]] = {name: said[name] for name in named if name in said}
    as_text = () if opponent.same_tokens else ("champion",)
    critic = load_reward(Path(reward), device, compute_dtype(device))
    scores = {"reward": score_models(critic, asked.prompts, assistants, as_text, world)}
    accuracy, found = _pair_accuracy(critic, Path(labels), settings.headline_sources, world)
    metrics |= found
    # The judge takes its place in the memory.
    del critic
    if judge:
        second = load_reward(Path(judge), device, compute_dtype(device))
        scores["judge"] = score_models(second, asked.prompts, assistants, as_text, world)
        pairs, raw = score_held_out_pairs(second, Path(labels), world)
        metrics |= pair_metrics("judge_test_pair_accuracy", *pairs.score_texts(raw))
    for scorer, by_model in scores.items():
        for name, values in by_model.items():
            metrics |= mean_metrics(f"{name}_{scorer}", values, seed)
    metrics |= gain_metrics("reward_gain", scores["reward"]["aligned"], scores["reward"]["sft"], seed)
    ended = {name: [float(answer.ended) for answer in said[name]] for name in ("aligned", "sft")}
    metrics |= gain_metrics("ends_by_itself_change", ended["aligned"], ended["sft"], seed)
    metrics |= measures.compare_likelihoods()
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
        "text": measures.text_digest,
        "champion": {"measured": "champion" in said, "why": opponent.why},
    }
    files = {"held_out": held_out, "answers": shown, "accuracy": accuracy, "probes": probes}
    for name, content in files.items():
        _write_json(out / f"{name}.json", content)
    return {
        # A gate may refuse a model whose answers to the same prompts became much shorter.
        "length_ratio": metrics["aligned_length"] / max(metrics["sft_length"], 1e-9),
        "prompts": float(len(asked.prompts)),
        # In a short context none may fit, and the answers are those of the base model then.
        "few_shot_examples": fmean(shots.count_examples(row) for row in asked.prompts),
        "questions": float(len(asked.questions)),
        "completions": float(len(asked.completions)),
        **metrics,
    }


def _select_pairs(
    settings: EvaluateParameters, split: Path, tokenizer: Tokenizer, context: int, on_event: EventCallback
) -> UsedPairs:
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


def _prompt_formats(
    settings: EvaluateParameters, split: Path, tokenizers: Mapping[str, Tokenizer], room: int
) -> tuple[dict[str, PromptFormat], FewShot]:
    """Return the prompt formats by model, and that of the base asked by examples, which is "few_shot"."""
    tokenizer = tokenizers["base"]
    # Examples from the training split: the test split's would be answers to its own questions.
    shots = FewShot(tokenizer, each_row(split / "train" / "pairs"), settings.num_few_shot, room)
    # An open model with a chat template of its own can already be asked.
    asking = Chat(tokenizer, room) if tokenizer.keeps_template else Plain(tokenizer, room)
    formats: dict[str, PromptFormat] = {"base": asking, "few_shot": shots}
    return formats | {name: Chat(tokenizers[name], room) for name in ("sft", "aligned")}, shots


def _measure_champion(
    measures: HeldOutMeasures, folder: Path | None, candidate: Path, world: ProcessGroup
) -> Opponent:
    """Take the measures of the champion's model if it can answer; return it without the model."""
    asked, settings = measures.asked, measures.settings
    found = load_opponent(
        folder, candidate, [*asked.prompts, *asked.questions], settings.max_new_tokens, world
    )
    if found.speaker is not None:
        measures.ask_model("champion", found.speaker, found.same_tokens)
        measures.read_text("champion", found.speaker.model, found.speaker.tokenizer)
    return replace(found, speaker=None)


def _pair_accuracy(
    critic: RewardModel, labels: Path, headline: Sequence[str], world: ProcessGroup
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the reward model's accuracy on test pairs by "aspect/source", and its headline as a metric."""
    pairs, scores = score_held_out_pairs(critic, labels, world)
    if not pairs.rows:
        return {}, {}
    strata = headline_strata(pairs.strata, headline)
    metrics = pair_metrics("test_pair_accuracy", *pairs.score_texts(scores, strata))
    if ties := count_ties(labels, "test"):
        metrics["test_pair_accuracy_ties"] = float(ties)
    return pairs.pair_accuracy(scores)[0], metrics


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
    model: Transformer,
    tokenizer: Tokenizer,
    embeddings: str,
    settings: EvaluateParameters,
    texts: Sequence[str],
) -> dict[str, Any]:
    probes: dict[str, Any] = {"neighbours": [], "attention": None}
    if embeddings:
        kept = load_file(embeddings)
        for word in settings.probe_words or frequent_words(texts, tokenizer, _PROBE_WORDS):
            found = {
                when: nearest_words(kept[when], tokenizer, word, settings.num_neighbors) for when in kept
            }
            if all(found.values()):
                probes["neighbours"].append({"word": word, **found})
    sentence = settings.attention_sentence or find_example_sentence(texts)
    seen = find_attention_map(model, tokenizer, sentence)
    probes["attention"] = asdict(seen) if seen else None
    return probes


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
