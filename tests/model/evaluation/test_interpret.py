"""Nearest words by cosine, and the attention weights of the model."""

from __future__ import annotations

import pytest
import torch

from model.data.tokenizer import Tokenizer, train_tokenizer
from model.evaluation.interpret import (
    attention_weights,
    find_attention_map,
    find_example_sentence,
    frequent_words,
    nearest_words,
    whole_words,
)
from model.nn.transformer import Attention, Transformer
from tests.model.conftest import small_shape

TEXTS = ["the good film and the great film", "a good story and a great story", "the king was good"] * 40


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, 289)


def test_nearest_words_returns_closest_first(tokenizer: Tokenizer) -> None:
    places = {word: token for token, word in whole_words(tokenizer).items()}
    assert {"good", "great", "film"} <= set(places)
    embedding = torch.randn(tokenizer.vocab_size, 8, generator=torch.Generator().manual_seed(1))
    embedding[places["great"]] = 3 * embedding[places["good"]]
    found = nearest_words(embedding, tokenizer, "good", 2)
    assert found[0] == ("great", pytest.approx(1.0, abs=1e-5))
    assert len(found) == 2 and found[1][1] < 1
    assert "good" not in [word for word, _ in found]


def test_nearest_words_unknown_word_has_none(tokenizer: Tokenizer) -> None:
    assert nearest_words(torch.ones(tokenizer.vocab_size, 4), tokenizer, "zeppelin", 3) == []


@pytest.mark.parametrize(
    ("texts", "count", "found"),
    [
        (["the great story", "a great story, a great king"], 2, ["great", "story"]),
        (["story great", "great story"], 2, ["great", "story"]),
        (["story great great"], 1, ["great"]),
        (["the good film was good"], 3, []),
        (["zeppelins zeppelins"], 3, []),
        ([], 3, []),
    ],
)
def test_frequent_words_are_whole_tokens_in_order_of_frequency(
    tokenizer: Tokenizer, texts: list[str], count: int, found: list[str]
) -> None:
    assert frequent_words(texts, tokenizer, count) == found


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_attention_weights_equal_those_of_model(tokenizer: Tokenizer, kv_heads: int) -> None:
    shape = small_shape(
        vocab_size=tokenizer.vocab_size, num_heads=4, num_kv_heads=kv_heads, context_length=16
    )
    model = Transformer(shape).init_weights(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 5  # far from uniform
    tokens = tokenizer.encode("the good film and the king")
    maps = attention_weights(model, tokens)
    assert maps.shape == (2, 4, len(tokens), len(tokens))
    assert torch.allclose(maps.sum(-1), torch.ones(2, 4, len(tokens)), atol=1e-5)
    assert not maps.triu(1).any()

    # The weights, applied to the values, give the output of the attention layer.
    seen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    hooks = [
        module.register_forward_hook(lambda m, inputs, output: seen.update({m.layer: (inputs[0], output)}))
        for module in model.modules()
        if isinstance(module, Attention)
    ]
    with torch.no_grad():
        model(torch.tensor([tokens]))
    for hook in hooks:
        hook.remove()
    for module in (m for m in model.modules() if isinstance(m, Attention)):
        x, output = seen[module.layer]
        values = module.v_proj(x).view(len(tokens), kv_heads, shape.head_dim).transpose(0, 1)
        mixed = maps[module.layer] @ values.repeat_interleave(4 // kv_heads, 0)
        assert torch.allclose(
            module.o_proj(mixed.transpose(0, 1).reshape(1, len(tokens), -1)), output, atol=1e-4
        )


def test_find_attention_map_names_head_and_skips_short_sentence(tokenizer: Tokenizer) -> None:
    model = Transformer(small_shape(vocab_size=tokenizer.vocab_size, context_length=16)).init_weights(0)
    seen = find_attention_map(model, tokenizer, "the good film")
    assert seen is not None
    assert 1 <= seen.layer <= 2 and 1 <= seen.head <= 2
    assert "".join(seen.pieces) == "the good film"
    assert len(seen.weights) == len(seen.pieces)
    assert find_attention_map(model, tokenizer, "the") is None


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["Yes. No! The mill turns\nslowly by the river. More."], "The mill turns slowly by the river."),
        (["short", "Wo ist der Müller? Er zählt die Säcke am Fluss."], "Er zählt die Säcke am Fluss."),
        (
            ["何。水車は古い橋の下でゆっくりと回り、袋を数える。次。"],
            "水車は古い橋の下でゆっくりと回り、袋を数える。",
        ),
        (["grain flour " * 30, "few words"], "grain flour " * 7 + "grain"),
        (["x" * 200], "x" * 90),
        (["two words", "a few more words"], "a few more words"),
        ([" "], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_find_example_sentence_is_whole_and_of_the_texts(texts: list[str], sentence: str) -> None:
    assert find_example_sentence(texts) == sentence
