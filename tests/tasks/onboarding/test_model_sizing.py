"""Test the sizes for a preset: what bounds a model, and values that every stage accepts."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from model.data.tokenizer import train_tokenizer
from model.nn.model_config import ModelConfig
from model.training.ppo_config import PPOConfig
from model.training.pretrain_config import PretrainParameters
from model.training.reward_config import RewardParameters
from model.training.sft_config import SFTParameters
from tasks.onboarding.model_sizing import (
    LADDER,
    TOKENS_A_WEIGHT,
    Amount,
    Machine,
    Plan,
    character_floor,
    label_groups,
    plan_run,
    rating_margin,
    vocabulary_size,
)

KINDS: dict[str, Any] = {
    "pretrain": PretrainParameters, "sft": SFTParameters, "reward": RewardParameters, "rlhf": PPOConfig,
}  # fmt: skip
MUCH = Amount(
    4096, 3_000_000_000, 20_000_000, pairs=50_000, prompts=40_000, prompt=60, completion=120, answer=80.0,
    rated={"tone/film": 9000}, compared={"helpfulness/chat": 20_000}, scores=(-4.0, 4.0),
)  # fmt: skip
LITTLE = Amount(
    320, 6000, 400, pairs=30, prompts=25, prompt=12, completion=20, answer=9.0,
    compared={"helpfulness/chat": 6},
)  # fmt: skip


def machine(flops: float, memory: int = 0) -> Machine:
    return Machine("cpu", memory, lambda shape, batch: flops / (6 * shape.num_parameters))


def test_plan_run_little_text_bounds_model_much_text_leaves_time() -> None:
    some = replace(MUCH, text_tokens=20_000_000)
    small = plan_run(some, machine(1e15), minutes=600)
    assert small.bound == "the text"
    assert small.architecture.num_parameters <= some.text_tokens * 4 / TOKENS_A_WEIGHT
    large = plan_run(MUCH, machine(1e13), minutes=30)
    assert large.bound == "the time"
    assert large.architecture.num_parameters > small.architecture.num_parameters


def test_plan_run_compute_is_about_twenty_tokens_per_weight() -> None:
    found = plan_run(MUCH, machine(4e14), minutes=240)
    assert 10 < found.trained_tokens / found.architecture.num_parameters <= 25


def test_plan_run_memory_bounds_model() -> None:
    found = plan_run(MUCH, machine(1e18, memory=4 << 30), minutes=600)
    assert found.bound == "the memory"
    assert found.architecture.num_parameters * 26 <= 2 << 30
    assert 0 < found.sections["pretrain"]["micro_batch_size"] < found.sections["pretrain"]["batch_size"]


def test_plan_run_tiny_text_gets_smallest_model() -> None:
    found = plan_run(LITTLE, machine(2e10), minutes=10)
    assert (found.architecture.num_layers, found.architecture.hidden_size) == LADDER[0][:2]
    assert found.bound == "what is worth training at all"
    assert found.architecture.context_length * 2 <= LITTLE.valid_tokens


@pytest.mark.parametrize("minutes", [1, 15, 60, 1000])
@pytest.mark.parametrize("flops", [1e9, 3e10, 1e12, 4e14])
def test_plan_run_stays_near_requested_time(minutes: float, flops: float) -> None:
    found = plan_run(MUCH, machine(flops), minutes)
    # The slowest machine needs longer for the fewest steps.
    assert found.minutes <= max(minutes, 3 if flops > 2e9 else 45)


@pytest.mark.parametrize("minutes", [2, 4, 10, 30, 120])
@pytest.mark.parametrize(
    "amount", [LITTLE, replace(LITTLE, text_tokens=2_000_000, valid_tokens=100_000, pairs=900)]
)
def test_plan_run_short_time_is_kept_or_longer_is_advised(amount: Amount, minutes: float) -> None:
    found = plan_run(amount, machine(4e9), minutes)
    assert found.minutes <= minutes
    if found.sensible_minutes:
        assert found.bound == "the time" and found.sensible_minutes > minutes
        longer = plan_run(amount, machine(4e9), found.sensible_minutes)
        assert not longer.sensible_minutes and longer.trained_tokens > found.trained_tokens
    else:
        assert found.trained_tokens >= min(2 * found.architecture.num_parameters, 3 * amount.text_tokens)


def test_plan_run_evaluations_are_counted_and_bounded() -> None:
    rows = {"rated": {"tone/film": 200_000}, "compared": {"helpfulness/chat": 200_000}}
    for amount in (MUCH, replace(MUCH, **rows), replace(MUCH, pairs=1_000_000, held_out=0.4)):
        for minutes in (5, 60):
            found = plan_run(amount, machine(3e11), minutes)
            section = found.sections["pretrain"]
            evaluations = section["steps"] // section["eval_every"] + 2
            assert evaluations * section["max_eval_tokens"] / 3 < 0.3 * found.trained_tokens
            alone = found.trained_tokens / found.tokens_per_second
            assert alone < found.seconds["pretrain"] < alone * 1.3 + 5
            assert found.minutes <= minutes or amount.held_out == 0.4


def test_plan_run_names_what_bounds_model() -> None:
    text = replace(MUCH, text_tokens=2_000_000, valid_tokens=100_000)
    assert plan_run(text, machine(2e9), minutes=5).bound == "the time"
    assert plan_run(text, machine(1e15), minutes=60).bound == "the text"
    assert plan_run(MUCH, machine(2e9), minutes=5).bound == "the time"


@pytest.mark.parametrize("amount", [MUCH, LITTLE, replace(LITTLE, compared={"a/b": 1})])
@pytest.mark.parametrize("flops", [3e10, 4e14])
@pytest.mark.parametrize("memory", [0, 2 << 30, 80 << 30])
def test_plan_run_sections_are_accepted_by_stages(amount: Amount, flops: float, memory: int) -> None:
    found = plan_run(amount, machine(flops, memory), 60)
    assert list(found.sections) == [*KINDS, "evaluate"]
    for stage in KINDS:
        section = found.sections[stage]
        rates = {name: section[name] for name in ("learning_rate", "muon_learning_rate") if name in section}
        values = {name: value for name, value in section.items() if name not in rates}
        parameters = KINDS[stage].read({**values, "optimizer": rates})
        assert 0 < parameters.eval_every <= parameters.steps
    check_batches(amount, found)


def check_batches(amount: Amount, found: Plan) -> None:
    """Check that the rows fill every batch, as the trainings require."""
    context = found.architecture.context_length
    assert found.sections["pretrain"]["batch_size"] <= amount.text_tokens // context - 2
    assert found.sections["sft"]["batch_size"] <= max(
        1, amount.pairs * (amount.prompt + amount.answer) / context
    )
    group = int(found.sections["reward"]["group_size"])
    assert found.sections["reward"]["batch_size"] <= max(1, label_groups(amount, group))
    assert found.sections["rlhf"]["batch_size"] <= amount.prompts
    assert found.sections["rlhf"]["max_new_tokens"] + amount.prompt <= max(
        context, amount.prompt + context // 2
    )


def test_plan_run_missing_pairs_or_labels_leave_out_sections() -> None:
    assert list(plan_run(replace(LITTLE, compared={}), machine(1e10), 10).sections) == ["pretrain", "sft"]
    assert list(plan_run(Amount(320, 6000, 400), machine(1e10), 10).sections) == ["pretrain"]


def test_plan_run_few_labels_make_small_groups() -> None:
    found = plan_run(replace(LITTLE, compared={"a/b": 9}), machine(1e10), 10)
    assert found.sections["reward"]["group_size"] == 2
    assert plan_run(MUCH, machine(1e10), 10).sections["reward"]["group_size"] == 8


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ((-4.0, 4.0), 1.0),
        ((1.0, 5.0), 0.5),
        ((0.0, 1.0), 0.1),
        ((0.0, 100.0), 10.0),
        ((3.0, 3.0), 1.0),
        ((-1e308, 1e308), 3e307),
    ],
)
def test_rating_margin_follows_scale(scores: tuple[float, float], wanted: float) -> None:
    assert rating_margin(*scores) == wanted


def test_vocabulary_size_follows_text_size() -> None:
    sizes = [vocabulary_size(size) for size in (1_000, 2_000_000, 13_000_000, 10**9, 10**12)]
    assert sizes == [320, 512, 4096, 50304, 50304]


JAPANESE = (
    "京都 寿司 食べる なら どこ が いい です か 駅前 の 店 おすすめ 静か な 朝 に 古い 寺 を 歩く 雨 "
    "降る 川 沿い 桜 咲く 季節 友人 会う 電車 乗る 本 読む 窓 開ける 猫 眠る 山 登る 海 見る 料理 作る "
    "学校 先生 話す 音楽 聞く 夏 祭り 花火 冬 雪 積もる 温泉 手紙 書く 市場 魚 野菜 畑"
)
ARABIC = (
    "في السوق القديم يقدمون الكشري لذيذا أين آكل صباحا شاي مع النعناع الكتاب على الطاولة "
    "والبنت تقرأ قصة طويلة "
    "عن البحر والسفن الرجل يبيع الخبز الطازج قرب المسجد الكبير المدينة هادئة ليلا والقمر فوق النيل"
)
GERMAN = (
    "Am Marktplatz gibt es sehr gute Klöße und dunkles Bier. Die Mühle steht am Fluss, das Mädchen grüßt die "
    "Händler. Über den Dächern fällt Schnee; der Bäcker öffnet früh. Größere Straßen führen zum Bahnhof."
)
HAN = " ".join(chr(0x4E00 + 7 * n) for n in range(1200))  # about as many characters as daily Chinese uses


@pytest.mark.parametrize(
    ("words", "gap", "most"), [(JAPANESE, "", 1.0), (ARABIC, " ", 0.6), (GERMAN, " ", 0.6), (HAN, "", 1.3)]
)
def test_character_floor_vocabulary_covers_script(words: str, gap: str, most: float) -> None:
    drawn = random.Random(3)
    known = words.split()
    # Word frequencies follow Zipf's law.
    weights = [1 / (place + 5) for place in range(len(known))]
    texts = [gap.join(drawn.choices(known, weights, k=60)) + "." for _ in range(500)]
    characters = Counter("".join(texts))
    size = max(vocabulary_size(sum(len(text.encode()) for text in texts)), character_floor(characters))
    tokenizer = train_tokenizer(texts, size)
    assert sum(len(tokenizer.encode(text)) for text in texts) / characters.total() < most


def test_character_floor_ascii_text_needs_none() -> None:
    assert character_floor(Counter("The mill turns, and turns again. " * 50)) == 0
    assert character_floor(Counter("A café, once.")) == 0
    assert character_floor({chr(0x4E00 + n): 9 for n in range(30_000)}) <= 50304


def test_plan_run_large_shapes_match_presets() -> None:
    for layers, width, heads in LADDER:
        ModelConfig(num_layers=layers, hidden_size=width, num_heads=heads, vocab_size=320)
    assert (4, 128, 4) in LADDER and (12, 768, 12) in LADDER
    found = plan_run(replace(MUCH, vocabulary=50304), machine(4e14), minutes=10_000)
    assert found.sections["pretrain"]["learning_rate"] == 0.003
    assert found.sections["sft"]["learning_rate"] == 0.0002
    assert found.sections["rlhf"]["learning_rate"] == 0.00003
