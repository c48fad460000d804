"""Choose the size of a model and the steps of its trainings from the data and the speed of the machine.

Pure arithmetic. Papers are cited for their numbers; numbers of our own are marked "ours".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.nn.model_config import ModelConfig
from model.training.ppo_config import PPOConfig
from model.training.ppo_derivation import derive_learning_rate, derive_max_kl
from tasks.engine.catalog import load_stages

# Hoffmann et al., Training compute-optimal large language models, 2022, arXiv:2203.15556: about 20 tokens for
# each weight. Muennighoff et al., Scaling data-constrained language models, 2023, arXiv:2305.16264: up to
# four epochs of the same text are worth nearly as much as fresh text.
TOKENS_A_WEIGHT = 20
PASSES = 4
# Float32 master weights, gradients and two moments, and a bfloat16 copy; in RLHF also the reference and the
# reward model.
_BYTES_A_WEIGHT = 26
# Ours: the share of the memory for weights; the rest is left to activations.
_MEMORY = 0.5
# Ours, measured on the demo: the cost of a token in RLHF and in evaluation, in tokens of training.
RLHF_COST, EVALUATE_COST = 5.0, 8.0
# A pass without gradients costs a third of a training step. In RLHF, generating an answer costs half of what
# generating it and updating costs.
FORWARD_COST, ANSWER_COST = 1 / 3, 0.5
_EVALUATIONS = 2  # before the first step and after the last, besides the periodic ones
SENTENCE_TOKENS = 2  # tokens for each weight, ours: from the demo's 2.4 on, answers end and make sense
_SFT_STEPS = 120  # steps in which a model with random weights learns how an answer begins
SENTENCE_PASSES, SENTENCE_PAIRS = 2, 6000  # epochs of the pairs, and at most so many pairs
_SECONDS_OUTSIDE_TRAINING = 50.0  # seconds outside training
LEAST_ANSWERS = 16  # answers in an optimizer step of RLHF, ours: the gradient of fewer is mostly noise
START = 4.0  # seconds until the process of a training is ready
_PAIRED = 2048  # rated texts of one aspect and source that the stage labels pairs
# Shares of the time that are tried in turn until the plan fits. For whole sentences so many longer times are
# tried, each 1.25 times the last.
SHORTER, LONGER = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05), 40
# Layers, width and heads of the bundled presets, and of sizes between and above them.
LADDER = (
    (2, 64, 2), (3, 96, 3), (4, 128, 4), (5, 192, 6), (6, 256, 4), (6, 384, 6), (8, 512, 8), (10, 640, 10),
    (12, 768, 12), (16, 1024, 16), (24, 1024, 16), (24, 1536, 16), (24, 2048, 16),
)  # fmt: skip
# Ours: a token must occur often enough to be learned, so there should be 2 kB of text for each.
BYTES_A_TOKEN = 2000
# Ours: a character that occurs so often should have a token of its own, and a script of many characters needs
# as many.
OFTEN, CHARACTER_TOKENS, BYTE_TOKENS, WORD_TOKENS = 8, 1.3, 259, 64
VOCABULARIES = (320, 512, 1024, 2048, 4096, 8192, 16384, 32768, 50304)


@dataclass(frozen=True)
class Amount:
    """The amount of data in the training split, in tokens of a tokenizer with `vocabulary` tokens.

    Attributes:
        vocabulary: The size of the vocabulary.
        text_tokens: Tokens of the training text.
        valid_tokens: Tokens of the held-out text.
        pairs: The number of pairs.
        prompts: The number of different prompts.
        prompt: A length that nearly all prompts keep below.
        completion: A length that nearly all completions keep below.
        answer: The mean length of completions.
        rated: Ratings by stratum (aspect and source).
        compared: Comparisons by stratum.
        scores: The lowest and the highest score.
        held_out: Held-out validation rows for each training row.
    """

    vocabulary: int
    text_tokens: int
    valid_tokens: int
    pairs: int = 0
    prompts: int = 0
    prompt: int = 0
    completion: int = 0
    answer: float = 0.0
    rated: Mapping[str, int] = field(default_factory=dict)
    compared: Mapping[str, int] = field(default_factory=dict)
    scores: tuple[float, float] = (0.0, 0.0)
    held_out: float = 0.05


@dataclass(frozen=True)
class Machine:
    """A machine with its speed and memory.

    `pace` returns the tokens a second of a training step by shape and batch. A `memory` of 0 is unknown.
    """

    device: str
    memory: int
    pace: Callable[[ModelConfig, int], float]


@dataclass(frozen=True)
class Plan:
    """The preset's numbers by section, the model's size and what bounds it, and seconds by stage.

    `sensible_minutes` estimates the time from which on answers end and make sense. It is 0 if this plan is
    long enough, or if more time would not help.
    """

    architecture: ModelConfig
    bound: str
    sections: dict[str, dict[str, float | int]]
    seconds: dict[str, float]
    tokens_per_second: float
    trained_tokens: int
    sensible_minutes: float = 0.0

    @property
    def minutes(self) -> float:
        """The estimated duration of the whole run."""
        return sum(self.seconds.values()) / 60


def vocabulary_size(text_bytes: int) -> int:
    """Return the largest usual vocabulary with enough text for each token."""
    return max((v for v in VOCABULARIES if v * BYTES_A_TOKEN <= text_bytes), default=VOCABULARIES[0])


def character_floor(counts: Mapping[str, int]) -> int:
    """Return the size of a vocabulary that has tokens for all frequent characters beyond ASCII.

    A character of two or three bytes takes one or two merges, and characters share beginnings. Without a
    token of its own a character is generated byte by byte, and one wrong byte breaks it.

    Args:
        counts: The occurrences of each character.

    Returns:
        The size; 0 if no such character is frequent.
    """
    frequent = sum(count >= OFTEN for char, count in counts.items() if not char.isascii())
    if not frequent:
        return 0
    wanted = BYTE_TOKENS + WORD_TOKENS + math.ceil(CHARACTER_TOKENS * frequent)
    return min(VOCABULARIES[-1], math.ceil(wanted / 64) * 64)


def weights_for(tokens: int, memory: int) -> dict[str, float]:
    """Return the largest sensible number of weights by what bounds it."""
    bounds = {"the text": tokens * PASSES / TOKENS_A_WEIGHT}
    if memory:
        bounds["the memory"] = memory * _MEMORY / _BYTES_A_WEIGHT
    return bounds


def plan_run(amount: Amount, machine: Machine, minutes: float) -> Plan:
    """Return numbers for a run of at most so many minutes, or of fewer if there is less to learn from.

    If even the fewest sensible steps take longer, the shortest plan is returned.
    """
    paces: dict[ModelConfig, float] = {}

    def measured(shape: ModelConfig, batch: int) -> float:
        if shape not in paces:
            paces[shape] = machine.pace(shape, batch)
        return paces[shape]

    def scaled(shape: ModelConfig, batch: int) -> float:
        # Timing every size would itself take minutes. A step's time grows with the number of weights, so it
        # is scaled from the nearest size that was measured.
        known = min(paces, key=lambda one: abs(math.log(one.num_parameters / shape.num_parameters)))
        return paces[known] * known.num_parameters / shape.num_parameters

    found = _within_minutes(amount, replace(machine, pace=measured), minutes)
    if _makes_sentences(amount, found):
        return found
    longer = minutes
    for _ in range(LONGER):
        longer *= 1.25
        if _makes_sentences(amount, _within_minutes(amount, replace(machine, pace=scaled), longer)):
            return replace(found, sensible_minutes=longer)
    return found


def _within_minutes(amount: Amount, machine: Machine, minutes: float) -> Plan:
    budget = max(20.0, minutes * 60 - _SECONDS_OUTSIDE_TRAINING)
    for share in SHORTER:
        found = _plan_budget(amount, machine, budget * share)
        if found.minutes <= minutes:
            break
    return found


def _makes_sentences(amount: Amount, found: Plan) -> bool:
    """Return whether a plan trains on enough text and pairs for answers that end and make sense."""
    shape = found.architecture
    wanted = min(SENTENCE_TOKENS * shape.num_parameters, PASSES * amount.text_tokens * 0.8)
    if found.trained_tokens < wanted:
        return False
    section = found.sections.get("sft")
    # Of very many pairs a part of an epoch is enough.
    passes = min(SENTENCE_PASSES, SENTENCE_PAIRS / max(1, amount.pairs))
    return section is None or section["steps"] * section["batch_size"] >= passes * _pair_rows(amount, shape)


def _plan_budget(amount: Amount, machine: Machine, budget: float) -> Plan:
    """Return numbers for trainings that together take about `budget` seconds."""
    bounds = weights_for(amount.text_tokens, machine.memory)
    bound = min(bounds, key=lambda name: bounds[name])
    context = _context_length(amount, bounds[bound])
    index = _find_rung(bounds[bound], context, amount.vocabulary)
    shape, pace, tokens = _largest_within(index, context, amount, machine, budget * _time_share("pretrain"))
    wide = shape.hidden_size
    taken = min(tokens, round(pace * budget * _time_share("pretrain")))
    batch = _batch_size(taken, context, amount.text_tokens // context)
    steps = max(20, taken // (batch * context))
    trained = steps * batch * context
    if shape != _shape_at(index, context, amount.vocabulary) or trained < tokens * 0.8:
        bound = "the time"
    elif index == 0 and shape.num_parameters > bounds[bound]:
        bound = "what is worth training at all"
    # Evaluations take about a seventh of the time of training.
    evaluated = min(amount.valid_tokens, max(2 * context, min(max(60_000, trained // 200), trained // 15)))
    pretrain = {
        "steps": steps, "batch_size": batch, "micro_batch_size": _micro_batch_size(batch, shape, machine),
        "eval_every": _tenth_of(steps, 5), "save_every": _tenth_of(steps, 10),
        "max_eval_tokens": evaluated, "early_stopping_patience": 3 if trained > 2 * amount.text_tokens else 0,
        "learning_rate": _interpolate_rate(wide, 0.005, 0.003), "muon_learning_rate": 0.02,
    }  # fmt: skip
    sections: dict[str, dict[str, float | int]] = {"pretrain": pretrain}
    seconds = {"pretrain": (trained + FORWARD_COST * evaluated * _count_evaluations(pretrain)) / pace}
    if amount.pairs:
        sections["sft"], seconds["sft"] = _plan_sft(amount, shape, machine, pace, budget)
    if amount.pairs and (amount.rated or amount.compared):
        sections["reward"], seconds["reward"] = _plan_reward(amount, shape, pace, budget)
        section, seconds["rlhf"] = _plan_rlhf(amount, shape, machine, pace, budget)
        sections["rlhf"] = section
        seconds["rlhf"] += _rlhf_evaluation(amount, section, pace) * _count_evaluations(section)
        sections["evaluate"], seconds["evaluate"] = _plan_evaluation(amount, shape, pace, budget)
    seconds = {stage: START + value for stage, value in seconds.items()} | {
        "the rest": _SECONDS_OUTSIDE_TRAINING
    }
    return Plan(shape, bound, sections, seconds, pace, trained)


def _count_evaluations(section: Mapping[str, float | int]) -> int:
    """Return the number of evaluations in a training."""
    return _EVALUATIONS + int(section["steps"] // section["eval_every"])


def _rlhf_evaluation(amount: Amount, section: Mapping[str, float | int], pace: float) -> float:
    """Return the seconds of one evaluation in RLHF, which answers and scores held-out prompts."""
    prompts = min(section["num_eval_prompts"], amount.prompts * amount.held_out)
    an_answer = amount.prompt + min(section["max_new_tokens"], max(1.0, amount.answer) * 1.5)
    return RLHF_COST * ANSWER_COST * prompts * an_answer / pace


def _context_length(amount: Amount, weights: float) -> int:
    """Return a context for nearly every pair, limited by the model's size and the amount of text."""
    most = 256 if weights < 5e6 else 512 if weights < 5e7 else 1024
    wanted = max(64, amount.prompt + amount.completion + 8, 128 if weights > 5e5 else 64)
    least_windows = min(amount.text_tokens // 8, amount.valid_tokens // 2)
    found = 1 << max(0, math.ceil(math.log2(wanted)))
    while found > 16 and (found > most or found > max(16, least_windows)):
        found //= 2
    return found


def _shape_at(index: int, context: int, words: int) -> ModelConfig:
    layers, width, heads = LADDER[index]
    return ModelConfig(
        num_layers=layers, hidden_size=width, num_heads=heads, context_length=context, vocab_size=words
    )


def _find_rung(weights: float, context: int, words: int) -> int:
    fitting = [n for n in range(len(LADDER)) if _shape_at(n, context, words).num_parameters <= weights]
    return fitting[-1] if fitting else 0


def _largest_within(
    index: int, context: int, amount: Amount, machine: Machine, seconds: float
) -> tuple[ModelConfig, float, int]:
    """Return the largest shape up to `index` that can be trained in the time, its pace, and its tokens."""
    while True:
        shape = _shape_at(index, context, amount.vocabulary)
        wanted = min(TOKENS_A_WEIGHT * shape.num_parameters, PASSES * amount.text_tokens)
        batch = _batch_size(wanted, context, amount.text_tokens // context)
        pace = machine.pace(shape, min(batch, _micro_batch_size(batch, shape, machine) or batch))
        if index == 0 or wanted / pace <= seconds * 1.25:
            return shape, pace, wanted
        # Compute grows with weights times tokens, and tokens grow with weights, so the affordable number of
        # weights goes with the square root of the time.
        affordable = shape.num_parameters * math.sqrt(pace * seconds / wanted)
        index = min(index - 1, _find_rung(affordable, context, amount.vocabulary))


def _batch_size(tokens: int, context: int, windows: int) -> int:
    """Return windows in a step: a thousandth of all tokens, if the text fills the batch several times."""
    a_step = 1 << round(math.log2(min(524_288, max(1024, tokens / 1000))))
    return max(1, min(a_step // context, max(1, (windows - 1) // 4)))


def _micro_batch_size(batch: int, shape: ModelConfig, machine: Machine) -> int:
    """Return the number of windows processed at once; 0 if all fit.

    Ours: activations take 40 bytes for each layer and unit of width.
    """
    if not machine.memory:
        return 0
    a_window = shape.context_length * (40 * shape.num_layers * shape.hidden_size + 8 * shape.vocab_size)
    fitting = int(machine.memory * 0.3 / a_window)
    if fitting >= batch:
        return 0
    return 1 << max(0, int(math.log2(max(1, fitting))))


def _interpolate_rate(width: int, small: float, large: float) -> float:
    """Interpolate between the demo's learning rate (width 128) and that of the 124M preset, by log width."""
    share = min(1.0, max(0.0, math.log(width / 128) / math.log(768 / 128)))
    return float(f"{small * (large / small) ** share:.1g}")


def _tenth_of(steps: int, parts: int) -> int:
    return max(1, steps // parts)


def _plan_sft(
    amount: Amount, shape: ModelConfig, machine: Machine, pace: float, budget: float
) -> tuple[dict[str, float | int], float]:
    """Plan three epochs of the packed pairs, and of few pairs more, or less if the time is short.

    After 30 steps on the pairs of a small team, tokens that no text has took 24% of the probability at the
    start of an answer; after 120, 0.4%. Early stopping ends a training that no longer learns.
    """
    rows = _pair_rows(amount, shape)
    batch = max(1, min(64 if shape.hidden_size >= 512 else 16, rows // 4))
    affordable = budget * _time_share("sft") * pace / (batch * shape.context_length)
    steps = max(20, round(min(max(3 * rows / batch, _SFT_STEPS), affordable)))
    held_out = FORWARD_COST * rows * amount.held_out
    parts = _evaluation_parts(5, held_out, steps * batch)
    section = {
        "steps": steps, "batch_size": batch, "micro_batch_size": _micro_batch_size(batch, shape, machine),
        "eval_every": _tenth_of(steps, parts), "save_every": _tenth_of(steps, 5),
        "early_stopping_patience": 3,
        "learning_rate": _interpolate_rate(shape.hidden_size, 0.002, 0.0002),
        "muon_learning_rate": _interpolate_rate(shape.hidden_size, 0.01, 0.001),
    }  # fmt: skip
    return section, (steps * batch + held_out * _count_evaluations(section)) * shape.context_length / pace


def _pair_rows(amount: Amount, shape: ModelConfig) -> int:
    """Return the number of packed rows that the pairs fill."""
    a_pair = min(amount.prompt, shape.context_length // 2) + max(1.0, amount.answer)
    return max(1, int(amount.pairs * min(a_pair, shape.context_length) / shape.context_length))


def _evaluation_parts(most: int, held_out: float, training: float) -> int:
    """Return the number of parts between evaluations, which take a third of the training's time at most."""
    return max(1, min(most, int(training / 3 / max(held_out, 1e-9)) - _EVALUATIONS))


def label_groups(amount: Amount, group: int) -> int:
    """Return the number of groups of texts in the labels, as the training of the reward model counts them."""
    rated = sum(count // group for count in amount.rated.values())
    return rated + sum(count // (group // 2) for count in amount.compared.values())


def _plan_reward(
    amount: Amount, shape: ModelConfig, pace: float, budget: float
) -> tuple[dict[str, float | int], float]:
    """Plan four epochs of the labels in groups of eight texts, or of fewer if there are few labels."""
    group = next((size for size in (8, 4, 2) if label_groups(amount, size) >= 8), 2)
    groups = max(1, label_groups(amount, group))
    batch = max(1, min(16 if shape.hidden_size >= 512 else 8, groups // 4))
    a_text = min(shape.context_length, amount.prompt + max(1.0, amount.answer))
    affordable = budget * _time_share("reward") * pace / (batch * group * a_text)
    steps = max(20, round(min(4 * groups / batch, affordable)))
    low, high = amount.scores
    texts = 2 * sum(amount.compared.values()) + sum(min(_PAIRED, count) for count in amount.rated.values())
    held_out = FORWARD_COST * texts * amount.held_out
    parts = _evaluation_parts(4, held_out, steps * batch * group)
    section = {
        "steps": steps, "batch_size": batch, "group_size": group, "margin": rating_margin(low, high),
        "eval_every": _tenth_of(steps, parts), "save_every": _tenth_of(steps, 4),
        "early_stopping_patience": 3,
        "reference_tokens": _answer_room(amount, shape.context_length),
        "learning_rate": _interpolate_rate(shape.hidden_size, 0.001, 0.0001),
    }  # fmt: skip
    return section, (steps * batch * group + held_out * _count_evaluations(section)) * a_text / pace


def rating_margin(low: float, high: float) -> float:
    """Return how far apart two mean scores must be to make a pair: an eighth of the scale, as in the demo."""
    return float(f"{high / 8 - low / 8:.1g}") if high > low else 1.0


def _answer_room(amount: Amount, context: int) -> int:
    """Return the tokens for an answer: enough for most completions, and at most half the context."""
    return max(4, min(context // 2, amount.completion + 8))


def _plan_rlhf(
    amount: Amount, shape: ModelConfig, machine: Machine, pace: float, budget: float
) -> tuple[dict[str, float | int], float]:
    new_tokens = _answer_room(amount, shape.context_length)
    # Some prompts are too long to leave room for an answer.
    usable = max(1, int(amount.prompts * 0.7))
    an_answer = amount.prompt + min(new_tokens, max(1.0, amount.answer) * 1.5)
    affordable = budget * _time_share("rlhf") * pace / (RLHF_COST * an_answer)
    # The batch leaves time for at least ten steps.
    batch = 1 << int(math.log2(max(1, min(256, usable, affordable / 10))))
    minibatches = max(1, min(4, batch // LEAST_ANSWERS))
    steps = max(10, min(40 if shape.hidden_size < 512 else 200, round(affordable / batch)))
    section = {
        "steps": steps, "batch_size": batch, "num_mini_batches": minibatches, "ppo_epochs": 1,
        "max_new_tokens": new_tokens, "micro_batch_size": _micro_batch_size(batch, shape, machine),
        "eval_every": _tenth_of(steps, 3), "save_every": _tenth_of(steps, 3),
        "num_eval_prompts": 64, "short_answer_penalty": 2.0 if shape.hidden_size < 512 else 1.0,
        "max_kl": derive_max_kl(PPOConfig.kl_target),
        "learning_rate": derive_learning_rate(shape.hidden_size, batch / minibatches),
    }  # fmt: skip
    return section, RLHF_COST * steps * batch * an_answer / pace


def _plan_evaluation(
    amount: Amount, shape: ModelConfig, pace: float, budget: float
) -> tuple[dict[str, float | int], float]:
    """Plan the evaluation: test prompts, about a twentieth of all, each answered in four ways."""
    an_answer = 4 * (min(amount.prompt, shape.context_length) + max(1.0, amount.answer))
    affordable = budget * _time_share("evaluate") * pace / (EVALUATE_COST * an_answer)
    prompts = max(8, min(256, round(affordable)))
    seconds = EVALUATE_COST * min(prompts, amount.prompts / 18) * an_answer / pace
    return {"num_prompts": prompts, "max_new_tokens": _answer_room(amount, shape.context_length)}, seconds


def _time_share(stage: str) -> float:
    return load_stages()[stage].declaration.time_share


def length_quantile(lengths: Sequence[int], share: float) -> int:
    """Return the length that a share of all lengths does not exceed; 0 for no lengths."""
    ordered = sorted(lengths)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0
