"""The one sampler: batched, with a static key-value cache, each row with its own end and temperature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.batches import pad
from model.errors import UserError
from model.transformer import Cache, Transformer


@dataclass
class Completions:
    """B answers of at most N tokens, on the CPU.

    `tokens` [B, N] int64 are padded with the end token; `lengths` [B] count the end token where there is
    one; `ended` [B] says whether there is; `logprobs` [B, N] float32 are those of the whole distribution at
    the row's temperature (1 where it is 0), 0 on padding.
    """

    tokens: Tensor
    lengths: Tensor
    ended: Tensor
    logprobs: Tensor


@torch.no_grad()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    end: int,
    *,
    temperature: float | Tensor = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    uniforms: Tensor | None = None,
    seed: int = 0,
    forbid: Sequence[int] = (),
    on_token: Callable[[list[int]], None] | None = None,
) -> Completions:
    """Continue each prompt until its end token, `new_tokens` tokens, or the model's context.

    `temperature` 0 takes the likeliest token; a tensor [B] gives each row its own. `top_k` (0: all) and
    `top_p` restrict what is drawn (Fan et al., 2018; Holtzman et al., 2019). `uniforms` [B, N] in [0, 1)
    decide each draw; without them they come from `seed`. `on_token` gets each step's tokens, one a row.
    Raises UserError when a prompt is empty or fills the context.
    """
    context, device = model.architecture.context, model.model.embed_tokens.weight.device
    if not prompts:
        empty = torch.zeros((0, new_tokens), dtype=torch.int64)
        return Completions(empty, empty.sum(1), empty.sum(1) > 0, empty.float())
    longest = max(len(prompt) for prompt in prompts)
    if not all(prompts):
        raise UserError("a prompt is empty; give it at least one token")
    if longest >= context:
        raise UserError(f"a prompt has {longest} tokens, and the context is {context}: no room for an answer")
    rows = len(prompts)
    steps = min(new_tokens, context - min(len(prompt) for prompt in prompts))
    if uniforms is None:
        uniforms = torch.rand(
            rows, new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
    uniforms = uniforms.to(device, torch.float32)
    heat = torch.as_tensor(temperature, dtype=torch.float32).expand(rows).to(device)
    tokens = torch.full((rows, new_tokens), end, dtype=torch.int64, device=device)
    logprobs = torch.zeros((rows, new_tokens), device=device)
    lengths = torch.zeros(rows, dtype=torch.int64, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)

    padded, sizes = (part.to(device) for part in pad(prompts, end, longest))
    capacity = min(longest + steps, context)
    cache = Cache(model, rows, capacity)
    hidden = model(padded, cache=cache)
    cache.lengths, cache.longest = sizes.clone(), longest
    last = hidden[torch.arange(rows, device=device), sizes - 1]
    active, live = torch.arange(rows, device=device), torch.ones(rows, dtype=torch.bool, device=device)
    for step in range(steps):
        scores = model.logits(last).float()
        chosen, chances = choose(scores, uniforms[active, step], heat[active], top_k, top_p, forbid)
        # Rows that have ended are computed along until they are a quarter: only then does copying pay.
        tokens[active[live], step], logprobs[active[live], step] = chosen[live], chances[live]
        lengths[active[live]] += 1
        ended[active[live]] = chosen[live] == end
        if on_token:
            on_token(tokens[:, step].tolist())
        live = live & (chosen != end) & (cache.lengths + 1 < context)
        count = int(live.sum())
        if not count or step + 1 == steps:
            break
        if count <= 0.75 * len(active):
            kept = live.nonzero().squeeze(1)
            cache.keep(kept)
            active, chosen, live = active[kept], chosen[kept], live[kept]
        cache.lengths = cache.lengths.clamp(max=context - 1)
        last = model(chosen.unsqueeze(1), cache=cache)[:, -1]
        cache.lengths = cache.lengths + 1
        cache.longest = min(cache.longest + 1, capacity - 1)
    return Completions(tokens.cpu(), lengths.cpu(), ended.cpu(), logprobs.cpu())


def choose(
    scores: Tensor,
    uniforms: Tensor,
    temperature: Tensor,
    top_k: int = 0,
    top_p: float = 1.0,
    forbid: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Draw one token a row: logits [B, V], uniforms [B], temperatures [B] -> ids [B], log-probabilities [B].

    By the inverse of the cumulative distribution, so that equal uniforms give equal tokens. The
    log-probabilities are those before top-k, top-p and `forbid`.
    """
    heated = scores / torch.where(temperature > 0, temperature, 1.0).unsqueeze(1)
    logp = heated.log_softmax(-1)
    allowed = restrict(logp, top_k, top_p, forbid)
    reach = allowed.exp().cumsum(-1)
    total = reach[:, -1].clone()
    drawn = torch.searchsorted(reach, (uniforms * total).unsqueeze(1), right=True).squeeze(1)
    # Rounding may carry a uniform near 1 past the last token that can be drawn: there the sum is reached.
    last = torch.searchsorted(reach, total.unsqueeze(1)).squeeze(1)
    chosen = torch.minimum(drawn, last)
    if bool((temperature <= 0).any()):
        chosen = torch.where(temperature > 0, chosen, allowed.argmax(-1))
    return chosen, logp.gather(1, chosen.unsqueeze(1)).squeeze(1)


def restrict(logp: Tensor, top_k: int, top_p: float, forbid: Sequence[int]) -> Tensor:
    """Log-probabilities [B, V] with -inf on what must not be drawn; at least one token stays."""
    if forbid:
        logp = logp.clone()
        logp[:, list(forbid)] = float("-inf")
    if 0 < top_k < logp.shape[1]:
        least = logp.topk(top_k, dim=-1).values[:, -1:]
        logp = logp.masked_fill(logp < least, float("-inf"))
    if top_p < 1:
        ordered, places = logp.sort(dim=-1, descending=True, stable=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        dropped = torch.zeros_like(logp, dtype=torch.bool).scatter(1, places, before >= top_p)
        logp = logp.masked_fill(dropped, float("-inf"))
    return logp
