"""The evaluation on a tiny language with known answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from model.data.dataloader import Example, read_rows
from model.data.hf_checkpoint import load_model, save_model
from model.data.tokenizer import Tokenizer, train_tokenizer
from model.errors import UserError
from model.evaluation.confidence_intervals import wilson_interval
from model.evaluation.evaluate import choose_rows, evaluate
from model.evaluation.evaluate_config import EvaluateParameters
from model.evaluation.perplexity import HeldOutText
from model.events import Event, Message
from model.inference.generate import generate_tokens
from model.inference.prompting import Chat, FewShot, Plain
from model.inference.scoring import completion_logprobs
from model.nn.transformer import Transformer
from model.training.launcher import launch_training
from model.training.pretrain import bits_per_byte
from model.training.process_group import ProcessGroup
from tests.model.conftest import small_shape, write_rows

CONTEXT, NEW = 64, 16
WORDS = ("film", "story", "camera", "actor", "scene", "music")


def pair(i: int, source: str = "film") -> dict[str, Any]:
    word = WORDS[i % len(WORDS)]
    prompt = f"Who made the {word} number {i}?" if source == "nq" else f"Finish this: the {word} {i}"
    completion = f"Mister {word}" if source == "nq" else f"is {'good' if i % 2 else 'bad'} and long"
    row = {"id": f"{i:016x}", "prompt": prompt, "completion": completion, "source": source, "group": str(i)}
    return {**row, "references": [completion, "nobody"]}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [row["prompt"] + " " + row["completion"] for i in range(300) for row in (pair(i), pair(i, "nq"))]
    return train_tokenizer(texts, 330)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> dict[str, Any]:
    """Make the inputs of the evaluation; the aligned model is the SFT model plus noise."""
    root = tmp_path_factory.mktemp("stages")
    for split, start in (("train", 0), ("test", 300)):
        rows = [pair(start + i, source) for i in range(30) for source in ("film", "nq")]
        write(root / "split" / split / "pairs" / "00000.jsonl", rows)
        write(
            root / "split" / split / "text" / "00000.jsonl",
            [{"text": f"the {word} was good . " * 20, "source": "books"} for word in WORDS],
        )
    good, bad = ({"prompt": "p", "completion": text} for text in ("is good", "is bad"))
    compared = {"chosen": good, "rejected": bad, "aspect": "tone", "source": "film", "gap": 3.0}
    write(root / "labels" / "pairs.test.jsonl", [compared, {**compared, "source": "nq"}])
    tied = {"prompt": "p", "chosen": "is", "rejected": "was", "aspect": "tone", "source": "film"}
    write(root / "labels" / "test.comparisons.jsonl", [{**tied, "probability": 0.5}, tied])
    shape = small_shape(vocab_size=tokenizer.vocab_size, context_length=CONTEXT)
    models = {
        name: Transformer(shape).init_weights(seed) for name, seed in (("base", 1), ("sft", 2), ("reward", 3))
    }
    models["aligned"] = Transformer(shape).init_weights(2)
    with torch.no_grad():
        noise = torch.Generator().manual_seed(5)
        for parameter in models["aligned"].parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=noise)
    for name, model in models.items():
        save_model(model, tokenizer, root / name / "model")
    head = {"weight": torch.ones(1, 32), "bias": torch.zeros(1)}
    save_file(head, root / "reward" / "model" / "reward_head.safetensors")
    (root / "reward" / "model" / "reward.json").write_text('{"mean": 0.0, "std": 1.0}')
    kept = {name: models["base"].model.embed_tokens.weight.detach().clone() for name in ("first", "last")}
    save_file(kept, root / "embeddings.safetensors")
    return {
        "base": str(root / "base" / "model"),
        "sft": str(root / "sft" / "model"),
        "aligned": str(root / "aligned" / "model"),
        "reward": str(root / "reward"),
        "split": str(root / "split"),
        "labels": str(root / "labels"),
        "embeddings": str(root / "embeddings.safetensors"),
        "seed": 1,
        "device": "cpu",
    }


SETTINGS = {
    "num_prompts": 12, "sources": ["film"], "num_questions": 8, "question_sources": ["nq"],
    "max_new_tokens": NEW,
    "num_few_shot": 1, "num_shown": 4, "probe_words": ["good", "zeppelin"],
    "attention_sentence": "the film was good",
}  # fmt: skip


def run(world: dict[str, Any], out: Path, **parameters: Any) -> dict[str, float]:
    return evaluate({**SETTINGS, **parameters}, **world, folder=str(out), on_event=lambda event: None)


def test_evaluate_two_processes_give_bits_of_one(
    world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The threads of a process change the last bits too.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folders = {processes: tmp_path / str(processes) for processes in (1, 2)}
    figures = {
        processes: launch_training(
            evaluate,
            {**world, "parameters": {**SETTINGS, "num_prompts": 13}, "folder": str(folder)},
            processes=processes,
            log=tmp_path / "log",
        )
        for processes, folder in folders.items()
    }
    assert figures[1] == figures[2]
    written = [
        {path.name: path.read_bytes() for path in sorted(folder.iterdir())} for folder in folders.values()
    ]
    assert written[0] == written[1] and len(written[0]) == 5


def test_evaluate_writes_every_metric_and_file(world: dict[str, Any], tmp_path: Path) -> None:
    figures = run(world, tmp_path)
    names = {
        "kl",
        "reward_gain",
        "loss_increase",
        "length_ratio",
        "test_pair_accuracy",
        "prompts",
        "questions",
    }
    assert names <= set(figures) and not {"ends_by_itself", "distinct"} & set(figures)
    for model in ("base", "few_shot", "sft", "aligned"):
        for measure in ("ends_by_itself", "distinct", "length", "completion_loss", "exact_match", "f1"):
            assert f"{model}_{measure}" in figures
    for model in ("base", "sft", "aligned"):
        assert 0 < figures[f"{model}_bits_per_byte"] < 20
    assert figures["prompts"] == 12 and figures["questions"] == 8
    for name, n in (
        ("reward_gain", 12), ("kl", 12), ("loss_increase", 60), ("ends_by_itself_change", 12),
    ):  # fmt: skip
        assert (
            figures[f"{name}_low"] <= figures[name] <= figures[f"{name}_high"] and figures[f"{name}_n"] == n
        )
    ratio = figures["aligned_completion_loss"] / figures["sft_completion_loss"]
    assert figures["loss_increase"] == pytest.approx(ratio - 1)
    rows = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert len(rows) == 4 * (12 + 8)
    assert {row["model"] for row in rows if "reward" in row} == {"sft", "aligned"}
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert len(answers) == 4 + 2
    assert set(answers[0]) == {"prompt", "reference", "base", "few_shot", "sft", "aligned"}
    probes = json.loads((tmp_path / "probes.json").read_text())
    assert [found["word"] for found in probes["neighbours"]] == ["good"]
    assert len(probes["attention"]["pieces"]) == len(probes["attention"]["weights"])
    assert set(json.loads((tmp_path / "accuracy.json").read_text())) == {"tone/film", "tone/nq"}


def test_evaluate_accuracy_of_repeated_pairs_has_wide_interval(world: dict[str, Any], tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    shutil.copytree(world["labels"], labels)
    film, nq = sorted(read_rows(labels / "pairs.test.jsonl"), key=lambda row: str(row["source"]))
    write_rows(labels / "pairs.test.jsonl", [film, film, film, nq])
    figures = run({**world, "labels": str(labels)}, tmp_path / "out")
    accuracy = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    right = 3 * accuracy["tone/film"] + accuracy["tone/nq"]
    ends = [figures[f"test_pair_accuracy{end}"] for end in ("", "_low", "_high", "_n")]
    assert (ends[0], ends[3]) == (right / 4, 4)
    low, high = wilson_interval(right, 4)
    assert ends[2] - ends[1] > max(0.4, high - low - 0.01), "one pair three times says no more than once"


def test_evaluate_same_seed_writes_same_bytes(world: dict[str, Any], tmp_path: Path) -> None:
    assert run(world, tmp_path / "a") == run(world, tmp_path / "b")
    for name in ("completions.jsonl", "answers.json", "probes.json", "accuracy.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_evaluate_model_against_itself_has_no_difference(world: dict[str, Any], tmp_path: Path) -> None:
    figures = run({**world, "aligned": world["sft"]}, tmp_path)
    assert figures["kl"] == figures["loss_increase"] == figures["reward_gain"] == 0
    assert figures["length_ratio"] == 1
    assert figures["sft_reward"] == figures["aligned_reward"]


def test_evaluate_attention_is_shown_on_held_out_text(world: dict[str, Any], tmp_path: Path) -> None:
    run(world, tmp_path, attention_sentence="")
    probes = json.loads((tmp_path / "probes.json").read_text())
    shown = "".join(probes["attention"]["pieces"])
    texts = (Path(world["split"]) / "test" / "text" / "00000.jsonl").read_text().splitlines()
    # The first sentence is a letter too short.
    assert shown == "the story was good ." and any(
        json.loads(text)["text"].startswith(shown) for text in texts
    )


def test_evaluate_probe_words_are_those_of_held_out_text(world: dict[str, Any], tmp_path: Path) -> None:
    run(world, tmp_path, probe_words=[])
    probes = json.loads((tmp_path / "probes.json").read_text())
    words = [each["word"] for each in probes["neighbours"]]
    text = (Path(world["split"]) / "test" / "text" / "00000.jsonl").read_text()
    assert words and all(len(word) > 4 and word in text for word in words)


def test_evaluate_noisy_model_has_positive_kl(world: dict[str, Any], tmp_path: Path) -> None:
    assert run(world, tmp_path, num_prompts=30)["kl"] > 0


def test_evaluate_measures_only_listed_text_sources(world: dict[str, Any], tmp_path: Path) -> None:
    assert "base_bits_per_byte" not in run(world, tmp_path, text_sources=["film"])


def test_evaluate_without_embeddings_and_questions_measures_rest(
    world: dict[str, Any], tmp_path: Path
) -> None:
    figures = run({**world, "embeddings": ""}, tmp_path, question_sources=[], attention_sentence="x")
    assert "sft_exact_match" not in figures and figures["questions"] == 0
    assert json.loads((tmp_path / "probes.json").read_text()) == {"neighbours": [], "attention": None}


def test_evaluate_no_fitting_prompt_is_refused(world: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluate\.sources"):
        run(world, tmp_path, sources=["tweets"])
    with pytest.raises(UserError, match=r"evaluate\.max_new_tokens"):
        run(world, tmp_path, max_new_tokens=CONTEXT)


def test_evaluate_parameters_invalid_value_or_key_is_named() -> None:
    with pytest.raises(UserError, match=r"evaluate\.num_prompts is 0"):
        EvaluateParameters.read({"num_prompts": 0})
    with pytest.raises(UserError, match=r"evaluate\.promts"):
        EvaluateParameters.read({"promts": 3})


def test_completion_logprobs_equal_those_of_generate_tokens(
    world: dict[str, Any], tokenizer: Tokenizer
) -> None:
    model, _ = load_model(Path(world["sft"]))
    prompts = [tokenizer.encode_prompt(pair(i)["prompt"]) for i in range(5)]
    said = generate_tokens(model, prompts, NEW, tokenizer.end, seed=4)
    lengths = said.lengths.tolist()
    examples = [
        Example(prompt, row[:length])
        for prompt, row, length in zip(prompts, said.tokens.tolist(), lengths, strict=True)
    ]
    sums = [row[:length].sum().item() for row, length in zip(said.logprobs, lengths, strict=True)]
    assert completion_logprobs(model, examples, tokenizer.end, size=2) == pytest.approx(sums, abs=1e-3)


def test_chat_and_plain_encode_prompt_and_completion(tokenizer: Tokenizer) -> None:
    row = pair(3)
    chat, plain = Chat(tokenizer).encode_example(row), Plain(tokenizer).encode_example(row)
    assert chat.prompt == tokenizer.encode_prompt(row["prompt"])
    assert chat.completion[-1] == plain.completion[-1] == tokenizer.end
    assert tokenizer.decode(plain.tokens) == f"{row['prompt']} {row['completion']}"


def test_few_shot_puts_examples_before_prompt_as_documents(tokenizer: Tokenizer) -> None:
    shots = [pair(i, source) for i in range(10) for source in ("film", "nq")]
    row, asked = pair(30), Plain(tokenizer).encode_example(pair(30))
    before = [Plain(tokenizer).encode_example(shot).tokens for shot in shots if shot["source"] == "film"]
    room = len(asked.prompt) + 2 * max(len(tokens) for tokens in before)
    few = FewShot(tokenizer, shots, 2, room).encode_example(row)
    assert few.prompt == [*before[0], *before[1], *asked.prompt]
    assert few.completion == asked.completion
    assert few.prompt.count(tokenizer.end) == 2
    # It takes fewer examples if more do not fit, and none without examples of the source or room.
    assert FewShot(tokenizer, shots, 9, room).encode_example(row).prompt == few.prompt
    assert FewShot(tokenizer, shots, 0, room).encode_example(row) == asked
    assert FewShot(tokenizer, shots, 2, room).encode_example(pair(30, "tweets")) == Plain(
        tokenizer
    ).encode_example(pair(30, "tweets"))
    assert FewShot(tokenizer, shots, 2, 3).encode_example(row) == asked
    counts = [
        FewShot(tokenizer, shots, count, some).count_examples(row) for count, some in ((2, room), (2, 3))
    ]
    assert counts == [2, 0]


def test_choose_rows_drops_repeats_and_keeps_order() -> None:
    rows = [pair(1), pair(1), pair(2, "nq"), pair(3), pair(4)]
    assert choose_rows(rows, ["film"], 2) == [pair(1), pair(3)]
    assert len(choose_rows(rows, [], 9)) == 4


def test_evaluate_history_precedes_prompt_and_is_written(world: dict[str, Any], tmp_path: Path) -> None:
    before = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    before.append({"role": "assistant", "content": "hello"})
    talk = {**pair(1), "history": before}
    endless = {**pair(2), "history": [before[1], before[2]] * 30}
    for split in ("train", "test"):
        write(tmp_path / "split" / split / "pairs" / "00000.jsonl", [pair(1), talk, endless, talk])
        text = [{"text": f"the {word} was good . " * 20, "source": "books"} for word in WORDS]
        write(tmp_path / "split" / split / "text" / "00000.jsonl", text)
    said: list[str] = []
    settings = {"num_prompts": 9, "max_new_tokens": NEW, "num_few_shot": 1, "num_shown": 3}

    def on_event(event: Event) -> None:
        said.extend([event.text] if isinstance(event, Message) else [])

    changed = {**world, "split": str(tmp_path / "split"), "folder": str(tmp_path / "out")}
    assert evaluate(settings, **changed, on_event=on_event)["prompts"] == 3
    assert said == ["1 test pairs lose their oldest turns to leave room for an answer"]
    rows = [json.loads(line) for line in (tmp_path / "out" / "completions.jsonl").read_text().splitlines()]
    assert [row.get("history") for row in rows] == [None, before, endless["history"]] * 4
    answers = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert [answer.get("history") for answer in answers] == [None, before, endless["history"]]


def test_held_out_text_reads_only_what_is_measured(world: dict[str, Any], tokenizer: Tokenizer) -> None:
    read: list[str] = []

    def texts() -> Iterator[str]:
        for i in range(10_000):
            read.append(f"the film number {i} was good .")
            yield read[-1]

    some = HeldOutText(texts(), tokenizer, 500)
    assert 500 <= len(some.tokens) < 3000 and len(read) < 200
    every = HeldOutText(texts(), tokenizer)
    assert every.tokens.tolist() == tokenizer.encode_documents(read[-10_000:]).tolist()
    assert every.tokens[: len(some.tokens)].tolist() == some.tokens.tolist()
    model, _ = load_model(Path(world["base"]))
    for tokens in (500, CONTEXT, 1):
        bounded = HeldOutText(texts(), tokenizer, max(tokens, CONTEXT) + 1)
        measured = [bits_per_byte(model, text, ProcessGroup(), tokens) for text in (bounded, every)]
        assert measured[0] == measured[1]


def test_evaluate_judge_scores_both_models_and_test_pairs(world: dict[str, Any], tmp_path: Path) -> None:
    figures = run({**world, "judge": world["reward"]}, tmp_path)
    assert figures["aligned_judge"] == pytest.approx(figures["aligned_reward"])
    assert figures["judge_test_pair_accuracy_n"] == 2
    rows = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert {row["model"] for row in rows if "judge" in row} == {"sft", "aligned"}


def test_evaluate_champion_answers_same_prompts(world: dict[str, Any], tmp_path: Path) -> None:
    alone = run(world, tmp_path / "alone")
    figures = run({**world, "champion": world["aligned"], "judge": world["reward"]}, tmp_path / "both")
    for measure in ("reward", "judge", "completion_loss", "ends_by_itself", "bits_per_byte", "f1"):
        assert figures[f"champion_{measure}"] == pytest.approx(figures[f"aligned_{measure}"])
    assert all(figures[name] == value for name, value in alone.items()), "the candidate's figures are its own"
    held_out = [json.loads((tmp_path / name / "held_out.json").read_text()) for name in ("alone", "both")]
    for rows in ("prompts", "questions", "completions", "text"):
        assert held_out[0][rows] == held_out[1][rows]
    assert [found["champion"]["measured"] for found in held_out] == [False, True]


@pytest.mark.parametrize(
    ("change", "changed"),
    [({"max_new_tokens": NEW - 1}, {"prompts", "questions"}), ({"text_tokens": 1}, {"text"})],
)
def test_evaluate_digests_tell_how_rows_are_used(
    world: dict[str, Any], tmp_path: Path, change: dict[str, Any], changed: set[str]
) -> None:
    run(world, tmp_path / "one")
    run(world, tmp_path / "other", **change)
    one, other = (json.loads((tmp_path / name / "held_out.json").read_text()) for name in ("one", "other"))
    rows = ("prompts", "questions", "completions", "text")
    assert {name for name in rows if one[name] != other[name]} >= changed


def test_evaluate_champion_with_other_tokenizer_is_scored_as_text(
    world: dict[str, Any], tmp_path: Path
) -> None:
    tokenizer = train_tokenizer([pair(i)["prompt"] + pair(i)["completion"] for i in range(40)] * 9, 290)
    shape = small_shape(vocab_size=290, num_layers=1, context_length=CONTEXT)
    save_model(Transformer(shape).init_weights(9), tokenizer, tmp_path / "other")
    figures = run({**world, "champion": str(tmp_path / "other")}, tmp_path / "out")
    assert figures["champion_reward_n"] == 12
    assert "champion_completion_loss" not in figures, "losses of other tokens are not compared"


@pytest.mark.parametrize("fault", ["gone", "short", "broken"])
def test_evaluate_unusable_champion_is_left_out_with_reason(
    world: dict[str, Any], tmp_path: Path, tokenizer: Tokenizer, fault: str
) -> None:
    folder = tmp_path / "champion"
    if fault == "short":
        shape = small_shape(vocab_size=tokenizer.vocab_size, num_layers=1, context_length=NEW + 2)
        save_model(Transformer(shape).init_weights(9), tokenizer, folder)
    elif fault == "broken":
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    figures = run({**world, "champion": str(folder)}, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "held_out.json").read_text())["champion"]
    assert not found["measured"] and "champion_reward" not in figures
    assert ("context" if fault == "short" else "cannot be loaded") in found["why"]
