"""How large a model, how many steps: from how much there is to learn from, and how fast this machine is.

Pure arithmetic; papers are named where a number is theirs, and "ours" says where it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.nn.transformer import ModelConfig
from model.training.kl_controller import derive_learning_rate, derive_max_kl
from model.training.ppo_config import PPOConfig
from tasks.engine.catalog import load_stages

# Hoffmann et al., Training compute-optimal large language models, 2022, arXiv:2203.15556: about 20 tokens a
# weight. Muennighoff et al., Scaling data-constrained language models, 2023, arXiv:2305.16264: up to four
# passes over the same text are worth nearly as much as fresh text.
TOKENS_A_WEIGHT = 20
PASSES = 4
# Float32 masters, gradients and two moments, a bfloat16 copy; in RLHF reference and reward model besides.
_BYTES_A_WEIGHT = 26
# Ours: a part of the memory is left to activations, and a part of the time to each training (the demo's).
_MEMORY = 0.5
# Ours, of the demo's figures: what a token costs in RLHF and evaluation, in tokens of training.
RLHF_COST, EVALUATE_COST = 5.0, 8.0
# A pass without gradients costs a third of a training step; in RLHF an answer without the update a half.
FORWARD_COST, ANSWER_COST = 1 / 3, 0.5
_EVALUATIONS = 2  # besides those that are asked for: before the first step and after the last
SENTENCE_TOKENS = 2  # a weight, ours: from the demo's 2.4 on, answers end and make sense
SENTENCE_PASSES, SENTENCE_PAIRS = 2, 6000  # over the pairs, and at most so many of them
_AROUND = 50.0  # seconds outside training
LEAST_ANSWERS = 16  # of an optimizer step of RLHF: fewer give a gradient that is mostly noise. Ours.
START = 4.0  # seconds until a training's own process is ready
_PAIRED = 2048  # rated texts of one aspect and source that the stage labels pairs
# Shares of the time that are tried in turn until the plan fits, and steps of 1.25 in looking for longer ones.
SHORTER, LONGER = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05), 40
# Layers, width, heads: as those of the presets that come along, and what lies between and above them.
LADDER = (
    (2, 64, 2), (3, 96, 3), (4, 128, 4), (5, 192, 6), (6, 256, 4), (6, 384, 6), (8, 512, 8), (10, 640, 10),
    (12, 768, 12), (16, 1024, 16), (24, 1024, 16), (24, 1536, 16), (24, 2048, 16),
)  # fmt: skip
# A token of the vocabulary should be met often enough to be learned. Ours: 2 kB of text for each.
BYTES_A_TOKEN = 2000
# A character that is met so often has a token of its own; a script of many characters needs as many. Ours.
OFTEN, CHARACTER_TOKENS, BYTE_TOKENS, WORD_TOKENS = 8, 1.3, 259, 64
VOCABULARIES = (320, 512, 1024, 2048, 4096, 8192, 16384, 32768, 50304)


@dataclass(frozen=True)
class Amount:
    """What there is to learn from in the training split, in tokens of a tokenizer of `vocabulary_size`.

    `prompt` and `completion` are the lengths that all but a few pairs keep below, `answer` the mean
    completion. `rated` and `compared` are labels by stratum (aspect and source); `scores` the lowest and
    highest. `valid_tokens` are those held out; `held_out` is how many other rows are held out for validation
    for each row to learn from.
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
    """`pace` gives tokens a second of a training step of a shape at a batch; `memory` 0: not known."""

    device: str
    memory: int
    pace: Callable[[ModelConfig, int], float]


@dataclass(frozen=True)
class Plan:
    """The preset's numbers by section, the model's size and what bounds it, seconds by stage.

    `sensible_minutes` is the time from which on answers end and make sense, about; 0 where this plan is long
    enough, or more time would not help.
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
        """The whole run, about."""
        return sum(self.seconds.values()) / 60


def vocabulary_size(text_bytes: int) -> int:
    """The largest usual vocabulary whose tokens each have their share of the text."""
    return max((v for v in VOCABULARIES if v * BYTES_A_TOKEN <= text_bytes), default=VOCABULARIES[0])


def character_floor(counts: Mapping[str, int]) -> int:
    """The vocabulary that has tokens for all frequent characters beyond ASCII; 0 where there are none.

    `counts` says how often each character occurs.

    A character of two or three bytes takes one or two merges, and beginnings are shared. Without a token of
    its own a character is drawn byte by byte, and one wrong byte breaks it.
    """
    frequent = sum(count >= OFTEN for char, count in counts.items() if not char.isascii())
    if not frequent:
        return 0
    wanted = BYTE_TOKENS + WORD_TOKENS + math.ceil(CHARACTER_TOKENS * frequent)
    return min(VOCABULARIES[-1], math.ceil(wanted / 64) * 64)


def weights_for(tokens: int, memory: int) -> dict[str, float]:
    """The largest sensible number of weights by what bounds it."""
    bounds = {"the text": tokens * PASSES / TOKENS_A_WEIGHT}
    if memory:
        bounds["the memory"] = memory * _MEMORY / _BYTES_A_WEIGHT
    return bounds


def plan_run(amount: Amount, machine: Machine, minutes: float) -> Plan:
    """Return numbers for a run of at most so many minutes, or less where there is less to learn from.

    Where even the fewest steps that are worth taking need longer, the plan is the shortest there is.
    """
    paces: dict[ModelConfig, float] = {}

    def measured(shape: ModelConfig, batch: int) -> float:
        if shape not in paces:
            paces[shape] = machine.pace(shape, batch)
        return paces[shape]

    def scaled(shape: ModelConfig, batch: int) -> float:
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
    budget = max(20.0, minutes * 60 - _AROUND)
    for share in SHORTER:
        found = _plan_budget(amount, machine, budget * share)
        if found.minutes <= minutes:
            break
    return found


def _makes_sentences(amount: Amount, found: Plan) -> bool:
    """Whether a plan takes in enough text and pairs for answers that end and make sense, as in the demo."""
    shape = found.architecture
    wanted = min(SENTENCE_TOKENS * shape.num_parameters, PASSES * amount.text_tokens * 0.8)
    if found.trained_tokens < wanted:
        return False
    section = found.sections.get("sft")
    # A pass over very many pairs is more than it takes.
    passes = min(SENTENCE_PASSES, SENTENCE_PAIRS / max(1, amount.pairs))
    return section is None or section["steps"] * section["batch"] >= passes * _pair_rows(amount, shape)


def _plan_budget(amount: Amount, machine: Machine, budget: float) -> Plan:
    """Numbers for trainings that take about `budget` seconds together."""
    bounds = weights_for(amount.text_tokens, machine.memory)
    bound = min(bounds, key=lambda name: bounds[name])
    context = _context_length(amount, bounds[bound])
    place = _find_rung(bounds[bound], context, amount.vocabulary)
    shape, pace, tokens = _largest_within(place, context, amount, machine, budget * _time_share("pretrain"))
    wide = shape.width
    taken = min(tokens, round(pace * budget * _time_share("pretrain")))
    batch = _batch_size(taken, context, amount.text_tokens // context)
    steps = max(20, taken // (batch * context))
    trained = steps * batch * context
    if shape != _shape_at(place, context, amount.vocabulary) or trained < tokens * 0.8:
        bound = "the time"
    elif place == 0 and shape.num_parameters > bounds[bound]:
        bound = "what is worth training at all"
    # Evaluations together take about a seventh of what training takes.
    evaluated = min(amount.valid_tokens, max(2 * context, min(max(60_000, trained // 200), trained // 15)))
    pretrain = {
        "steps": steps, "batch": batch, "micro_batch": _micro_batch_size(batch, shape, machine),
        "evaluate_every": _tenth_of(steps, 5), "checkpoint_every": _tenth_of(steps, 10),
        "evaluate_tokens": evaluated, "patience": 3 if trained > 2 * amount.text_tokens else 0,
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
    seconds = {stage: START + value for stage, value in seconds.items()} | {"the rest": _AROUND}
    return Plan(shape, bound, sections, seconds, pace, trained)


def _count_evaluations(section: Mapping[str, float | int]) -> int:
    """How often a training is evaluated."""
    return _EVALUATIONS + int(section["steps"] // section["evaluate_every"])


def _rlhf_evaluation(amount: Amount, section: Mapping[str, float | int], pace: float) -> float:
    """Seconds of one evaluation in RLHF: held-out prompts are answered and scored."""
    prompts = min(section["held_out"], amount.prompts * amount.held_out)
    an_answer = amount.prompt + min(section["new_tokens"], max(1.0, amount.answer) * 1.5)
    return RLHF_COST * ANSWER_COST * prompts * an_answer / pace


def _context_length(amount: Amount, weights: float) -> int:
    """Room for nearly every pair, within what a model of this size can use and the text can fill."""
    most = 256 if weights < 5e6 else 512 if weights < 5e7 else 1024
    wanted = max(64, amount.prompt + amount.completion + 8, 128 if weights > 5e5 else 64)
    least_windows = min(amount.text_tokens // 8, amount.valid_tokens // 2)
    found = 1 << max(0, math.ceil(math.log2(wanted)))
    while found > 16 and (found > most or found > max(16, least_windows)):
        found //= 2
    return found


def _shape_at(place: int, context: int, words: int) -> ModelConfig:
    layers, width, heads = LADDER[place]
    return ModelConfig(layers=layers, width=width, heads=heads, context=context, vocabulary=words)


def _find_rung(weights: float, context: int, words: int) -> int:
    fitting = [n for n in range(len(LADDER)) if _shape_at(n, context, words).num_parameters <= weights]
    return fitting[-1] if fitting else 0


def _largest_within(
    place: int, context: int, amount: Amount, machine: Machine, seconds: float
) -> tuple[ModelConfig, float, int]:
    """The largest shape up to `place` that can take in its tokens in the time; its pace, and the tokens."""
    while True:
        shape = _shape_at(place, context, amount.vocabulary)
        wanted = min(TOKENS_A_WEIGHT * shape.num_parameters, PASSES * amount.text_tokens)
        batch = _batch_size(wanted, context, amount.text_tokens // context)
        pace = machine.pace(shape, min(batch, _micro_batch_size(batch, shape, machine) or batch))
        if place == 0 or wanted / pace <= seconds * 1.25:
            return shape, pace, wanted
        # Weights times tokens is what time buys, and both grow together: the rung goes with its root.
        affordable = shape.num_parameters * math.sqrt(pace * seconds / wanted)
        place = min(place - 1, _find_rung(affordable, context, amount.vocabulary))


def _batch_size(tokens: int, context: int, windows: int) -> int:
    """Windows a step: it is a thousandth of all tokens, as far as the text fills it several times over."""
    a_step = 1 << round(math.log2(min(524_288, max(1024, tokens / 1000))))
    return max(1, min(a_step // context, max(1, (windows - 1) // 4)))


def _micro_batch_size(batch: int, shape: ModelConfig, machine: Machine) -> int:
    """Windows that go through at once, 0 where all fit. Ours: a block's activations are 40 bytes a number."""
    if not machine.memory:
        return 0
    a_window = shape.context * (40 * shape.layers * shape.width + 8 * shape.vocabulary)
    fitting = int(machine.memory * 0.3 / a_window)
    if fitting >= batch:
        return 0
    return 1 << max(0, int(math.log2(max(1, fitting))))


def _interpolate_rate(width: int, small: float, large: float) -> float:
    """A learning rate between the demo's (width 128) and the 124M preset's (width 768), by log width."""
    share = min(1.0, max(0.0, math.log(width / 128) / math.log(768 / 128)))
    return float(f"{small * (large / small) ** share:.1g}")


def _tenth_of(steps: int, parts: int) -> int:
    return max(1, steps // parts)


def _plan_sft(
    amount: Amount, shape: ModelConfig, machine: Machine, pace: float, budget: float
) -> tuple[dict[str, float | int], float]:
    """Three passes over the pairs, packed; fewer where the time is short."""
    rows = _pair_rows(amount, shape)
    batch = max(1, min(64 if shape.width >= 512 else 16, rows // 4))
    affordable = budget * _time_share("sft") * pace / (batch * shape.context)
    steps = max(20, round(min(3 * rows / batch, affordable)))
    held_out = FORWARD_COST * rows * amount.held_out
    parts = _evaluation_parts(5, held_out, steps * batch)
    section = {
        "steps": steps, "batch": batch, "micro_batch": _micro_batch_size(batch, shape, machine),
        "evaluate_every": _tenth_of(steps, parts), "checkpoint_every": _tenth_of(steps, 5), "patience": 3,
        "learning_rate": _interpolate_rate(shape.width, 0.002, 0.0002),
        "muon_learning_rate": _interpolate_rate(shape.width, 0.01, 0.001),
    }  # fmt: skip
    return section, (steps * batch + held_out * _count_evaluations(section)) * shape.context / pace


def _pair_rows(amount: Amount, shape: ModelConfig) -> int:
    """Rows of the context that the pairs fill, packed."""
    a_pair = min(amount.prompt, shape.context // 2) + max(1.0, amount.answer)
    return max(1, int(amount.pairs * min(a_pair, shape.context) / shape.context))


def _evaluation_parts(most: int, held_out: float, training: float) -> int:
    """In how many parts evaluations cut a training, so that they take a third of its time at most."""
    return max(1, min(most, int(training / 3 / max(held_out, 1e-9)) - _EVALUATIONS))


def label_groups(amount: Amount, group: int) -> int:
    """How many groups of texts the labels make, as the reward model's training counts them."""
    rated = sum(count // group for count in amount.rated.values())
    return rated + sum(count // (group // 2) for count in amount.compared.values())


def _plan_reward(
    amount: Amount, shape: ModelConfig, pace: float, budget: float
) -> tuple[dict[str, float | int], float]:
    """Four passes over the labels in groups of eight texts, or of fewer where there are few."""
    group = next((size for size in (8, 4, 2) if label_groups(amount, size) >= 8), 2)
    groups = max(1, label_groups(amount, group))
    batch = max(1, min(16 if shape.width >= 512 else 8, groups // 4))
    a_text = min(shape.context, amount.prompt + max(1.0, amount.answer))
    affordable = budget * _time_share("reward") * pace / (batch * group * a_text)
    steps = max(20, round(min(4 * groups / batch, affordable)))
    low, high = amount.scores
    texts = 2 * sum(amount.compared.values()) + sum(min(_PAIRED, count) for count in amount.rated.values())
    held_out = FORWARD_COST * texts * amount.held_out
    parts = _evaluation_parts(4, held_out, steps * batch * group)
    section = {
        "steps": steps, "batch": batch, "group": group, "margin": rating_margin(low, high),
        "evaluate_every": _tenth_of(steps, parts), "checkpoint_every": _tenth_of(steps, 4), "patience": 3,
        "reference_tokens": _answer_room(amount, shape.context),
        "learning_rate": _interpolate_rate(shape.width, 0.001, 0.0001),
    }  # fmt: skip
    return section, (steps * batch * group + held_out * _count_evaluations(section)) * a_text / pace


def rating_margin(low: float, high: float) -> float:
    """How far apart two mean scores are that make a pair: an eighth of the scale, as in the demo."""
    return float(f"{(high - low) / 8:.1g}") if high > low else 1.0


def _answer_room(amount: Amount, context: int) -> int:
    """Tokens for an answer: what most completions take, within half the context."""
    return max(4, min(context // 2, amount.completion + 8))


def _plan_rlhf(
    amount: Amount, shape: ModelConfig, machine: Machine, pace: float, budget: float
) -> tuple[dict[str, float | int], float]:
    new_tokens = _answer_room(amount, shape.context)
    # A part of the prompts may not fit before the answer.
    usable = max(1, int(amount.prompts * 0.7))
    an_answer = amount.prompt + min(new_tokens, max(1.0, amount.answer) * 1.5)
    affordable = budget * _time_share("rlhf") * pace / (RLHF_COST * an_answer)
    batch = 1 << int(math.log2(max(1, min(256, usable, affordable / 10))))
    minibatches = max(1, min(4, batch // LEAST_ANSWERS))
    steps = max(10, min(40 if shape.width < 512 else 200, round(affordable / batch)))
    section = {
        "steps": steps, "batch": batch, "minibatches": minibatches, "epochs": 1,
        "new_tokens": new_tokens, "micro_batch": _micro_batch_size(batch, shape, machine),
        "evaluate_every": _tenth_of(steps, 3), "checkpoint_every": _tenth_of(steps, 3),
        "held_out": 64, "length_weight": 2.0 if shape.width < 512 else 1.0,
        "max_kl": derive_max_kl(PPOConfig.kl_target),
        "learning_rate": derive_learning_rate(shape.width, batch / minibatches),
    }  # fmt: skip
    return section, RLHF_COST * steps * batch * an_answer / pace


def _plan_evaluation(
    amount: Amount, shape: ModelConfig, pace: float, budget: float
) -> tuple[dict[str, float | int], float]:
    """Test prompts, about a twentieth of all, each answered in four ways of asking."""
    an_answer = 4 * (min(amount.prompt, shape.context) + max(1.0, amount.answer))
    affordable = budget * _time_share("evaluate") * pace / (EVALUATE_COST * an_answer)
    prompts = max(8, min(256, round(affordable)))
    seconds = EVALUATE_COST * min(prompts, amount.prompts / 18) * an_answer / pace
    return {"prompts": prompts, "new_tokens": _answer_room(amount, shape.context)}, seconds


def _time_share(stage: str) -> float:
    return load_stages()[stage].declares.time_share


def length_quantile(lengths: Sequence[int], share: float) -> int:
    """The length that this share of all keep to; 0 for none."""
    ordered = sorted(lengths)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0
