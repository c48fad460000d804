"""Probes of a model: nearest neighbours of words, and attention maps.

Shapes: V vocabulary, D width, L layers, H heads, T tokens.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from model.data.tokenizer import Tokenizer
from model.nn.transformer import Attention, Transformer

# The characters of an example sentence: a map of it has to fit a page.
_SHORTEST, _LONGEST = 20, 90
_FULL_STOPS = (".", "!", "?", "。", "！", "？", "।", "؟")
# Chinese and Japanese put no space after a sentence.
_SENTENCE_END = re.compile(r"(?<=[.!?।؟])\s+|(?<=[。！？])\s*")
# Of held-out text, for examples.
SEARCHED_TEXTS, _SEARCHED_CHARACTERS = 100, 5000
_FEWEST_LETTERS = 5


def nearest_words(embedding: Tensor, tokenizer: Tokenizer, word: str, count: int) -> list[tuple[str, float]]:
    """Return the words whose embeddings are nearest to a word's, with their cosines.

    Only tokens that are a space and at least three letters count as words.

    Args:
        embedding: [V, D].
        tokenizer: The tokenizer.
        word: The word; the result is empty if it is not a single token.
        count: The number of neighbours.
    """
    words = whole_words(tokenizer)
    tokens = list(words)
    if word not in words.values():
        return []
    directions = F.normalize(embedding[tokens].float(), dim=-1)
    own = list(words.values()).index(word)
    cosines = directions @ directions[own]
    # Stable, so that ties give the same report everywhere.
    order = cosines.argsort(descending=True, stable=True).tolist()
    return [(words[tokens[i]], cosines[i].item()) for i in order if i != own][:count]


def whole_words(tokenizer: Tokenizer) -> dict[int, str]:
    """Return the tokens that are a space and at least three letters, by id, without the space."""
    words = {}
    for token in range(tokenizer.vocab_size):
        text = tokenizer.piece_bytes(token).decode("utf-8", errors="replace")
        if text.startswith(" ") and len(text) > 3 and text[1:].isalpha():
            words[token] = text[1:]
    return words


@torch.no_grad()
def attention_weights(model: Transformer, tokens: Sequence[int]) -> Tensor:
    """Return the attention of each head from each token to each earlier one, [L, H, T, T]; rows sum to 1.

    A hook on each attention layer computes them again, as the model's fused kernels do not return them.
    """
    maps: list[Tensor] = []

    def look(module: Attention, inputs: tuple) -> None:
        shape, (x, angles, mask) = module.architecture, inputs[:3]
        turned, _ = module.turn_heads(F.linear(x, *module.joined_weights()), angles)
        queries, keys = turned[0].split([shape.num_heads, shape.num_kv_heads])
        keys = keys.repeat_interleave(shape.num_heads // shape.num_kv_heads, 0)
        # In float32: rows of a softmax in bfloat16 do not sum to 1.
        scores = (queries @ keys.transpose(-1, -2)).float() * shape.score_scale
        # A mask also says how far back a layer with a window sees.
        scores = scores if mask is None else scores + mask[0, 0]
        later = torch.ones(len(tokens), len(tokens), dtype=torch.bool, device=x.device).triu(1)
        maps.append(scores.masked_fill(later, -math.inf).softmax(-1).cpu())

    hooks = [
        module.register_forward_pre_hook(look) for module in model.modules() if isinstance(module, Attention)
    ]
    try:
        model(torch.tensor([list(tokens)], device=model.model.embed_tokens.weight.device))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(maps)


def frequent_words(texts: Iterable[str], tokenizer: Tokenizer, count: int) -> list[str]:
    """Return the most frequent words of some texts that are a single token, from the most frequent one.

    Shorter words than five letters are left out, as most of them are articles and prepositions.

    Args:
        texts: Texts, of which the first ones are read.
        tokenizer: The tokenizer.
        count: The largest number of words.
    """
    known = set(whole_words(tokenizer).values())
    counts = Counter(
        word
        for text in islice(texts, SEARCHED_TEXTS)
        for word in text[:_SEARCHED_CHARACTERS].split()
        if len(word) >= _FEWEST_LETTERS and word in known
    )
    # Of equal counts the first in the alphabet, so that the report is the same everywhere.
    return sorted(counts, key=lambda word: (-counts[word], word))[:count]


def find_example_sentence(texts: Iterable[str]) -> str:
    """Return the first whole sentence of some texts that fits a map; else the longest beginning of a text.

    It is empty for no text.

    Args:
        texts: Texts in any language, of which the first ones are read.
    """
    beginning = ""
    for text in islice(texts, SEARCHED_TEXTS):
        for sentence in _SENTENCE_END.split(" ".join(text[:_SEARCHED_CHARACTERS].split())):
            if _SHORTEST <= len(sentence) <= _LONGEST and sentence.endswith(_FULL_STOPS):
                return sentence
        words = " ".join(text.split())[: _LONGEST + 1]
        cut = words if len(words) <= _LONGEST else words[:_LONGEST].rpartition(" ")[0] or words[:_LONGEST]
        beginning = max(beginning, cut, key=len)
    return beginning


@dataclass(frozen=True)
class AttentionMap:
    """One head's map of a sentence: `pieces` [T], `weights` [T][T]. Layer and head count from 1."""

    layer: int
    head: int
    pieces: list[str]
    weights: list[list[float]]


def find_attention_map(model: Transformer, tokenizer: Tokenizer, sentence: str) -> AttentionMap | None:
    """Return the map of the head that attends most to other words; None for fewer than three tokens.

    The first token is not counted: heads with nothing to attend to rest there (Xiao et al., 2023,
    arXiv:2309.17453).
    """
    tokens = tokenizer.encode(sentence)[: model.architecture.context_length]
    if len(tokens) < 3:
        return None
    maps = attention_weights(model, tokens)
    others = maps.tril(-1)[..., 1:].sum((-1, -2))
    layer, head = divmod(int(others.argmax()), maps.shape[1])
    pieces = [tokenizer.piece_bytes(token).decode("utf-8", errors="replace") for token in tokens]
    weights = [[round(weight, 4) for weight in row] for row in maps[layer, head].tolist()]
    return AttentionMap(layer + 1, head + 1, pieces, weights)
