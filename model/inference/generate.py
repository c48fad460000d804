"""The sampler: batched, with a static key-value cache, each row with its own end and temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.data.chunks import MapChunks, map_in_turn
from model.data.dataloader import pad_rows
from model.errors import UserError
from model.nn.model_config import ModelConfig
from model.nn.ops import prefix_sums
from model.nn.transformer import KVCache, Transformer

# Bytes of the keys and values of the rows that are answered at once, where no key of a preset bounds them.
CACHE_BYTES = 3 << 30
# Steps on a GPU between two checks of which rows have ended.
LOOK_EVERY = 16
# Steps on a GPU before one is recorded as a graph.
WARM_STEPS = 2


@dataclass
class Completions:
    """B answers of at most N tokens, on the CPU.

    `tokens` [B, N] int64 are padded with the end token. `lengths` [B] include the end token if there is one;
    `ended` [B] is true if there is. `logprobs` [B, N] float32 are those of the whole distribution at the
    row's temperature (1 for temperature 0), and 0 on padding.
    """

    tokens: Tensor
    lengths: Tensor
    ended: Tensor
    logprobs: Tensor


@torch.no_grad()
def generate_tokens(
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

    Args:
        model: The model.
        prompts: Token rows, each at least one token.
        new_tokens: The most tokens of an answer.
        end: The end token.
        temperature: 0 takes the likeliest token; a tensor [B] gives each row its own.
        top_k: Draw among this many of the likeliest tokens; 0: all (Fan et al., 2018, arXiv:1805.04833).
        top_p: Draw among the likeliest tokens that make up this share of the probability (Holtzman et al.,
            2019, arXiv:1904.09751).
        uniforms: Random numbers [B, N] in [0, 1) that decide each draw; None: drawn from `seed`.
        seed: The seed of the uniforms.
        forbid: Tokens that are never drawn.
        on_token: Called after each step with its tokens, one a row.

    Raises:
        UserError: A prompt is empty or fills the context.
    """
    context = model.architecture.context_length
    if not prompts:
        empty = torch.zeros((0, new_tokens), dtype=torch.int64)
        return Completions(empty, empty.sum(1), empty.sum(1) > 0, empty.float())
    longest = max(len(prompt) for prompt in prompts)
    if not all(prompts):
        raise UserError("a prompt is empty; give it at least one token")
    if longest >= context:
        raise UserError(f"a prompt has {longest} tokens, and the context is {context}: no room for an answer")
    if uniforms is None:
        uniforms = draw_uniforms(len(prompts), new_tokens, seed)
    steps = min(new_tokens, context - min(len(prompt) for prompt in prompts))
    batch = _Batch(model, prompts, steps, end, temperature, uniforms, (top_k, top_p, forbid))
    # Checking which rows have ended waits for the device: cheap on a CPU, as long as several steps on a GPU.
    look_every = LOOK_EVERY if batch.on_gpu and not on_token else 1
    for step in range(steps):
        if step == 0:
            batch.read_prompts()
        elif step % look_every == 0 and not batch.drop_ended_rows():
            break
        else:
            batch.advance_rows(steps - step)
        if on_token:
            on_token(batch.tokens[:, step].tolist())
    return batch.read_completions()


def generate_in_parts(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    end: int,
    *,
    temperature: float = 1.0,
    seed: int = 0,
    parts: int = 1,
    map_chunks: MapChunks = map_in_turn,
) -> list[list[int]]:
    """Return the tokens of each prompt's answer, with the end token if there is one.

    Args:
        model, prompts, new_tokens, end, temperature, seed: As in `generate_tokens`.
        parts: The least number of batches; each has about as many prompts as the others, and no more than
            `rows_at_once`. A row's last bits depend on its batch.
        map_chunks: Shares the batches among processes.
    """
    if not prompts:
        return []
    uniforms = draw_uniforms(len(prompts), new_tokens, seed)
    longest = max(len(prompt) for prompt in prompts) + new_tokens

    def answer_part(part: slice) -> Tensor:
        said = generate_tokens(
            model, prompts[part], new_tokens, end, temperature=temperature, uniforms=uniforms[part]
        )
        return torch.cat([said.tokens, said.lengths.unsqueeze(1)], 1)

    size = min(math.ceil(len(prompts) / parts), rows_at_once(model.architecture, longest))
    answers = map_chunks(len(prompts), size, answer_part)
    return [row[:length] for *row, length in answers.tolist()]


def rows_at_once(architecture: ModelConfig, tokens: int) -> int:
    """Return the most rows whose keys and values take at most `CACHE_BYTES` in bfloat16, 1 or more.

    Args:
        architecture: The model.
        tokens: The most tokens of a row.
    """
    a = architecture
    a_token = 2 * 2 * a.num_layers * a.num_kv_heads * a.head_dim
    return max(1, CACHE_BYTES // (a_token * min(tokens, a.context_length)))


def draw_uniforms(rows: int, new_tokens: int, seed: int) -> Tensor:
    """Return random numbers [rows, new_tokens] in [0, 1); a seed gives the same ones for every device."""
    random = torch.Generator().manual_seed(seed)
    return torch.rand(rows, new_tokens, generator=random, dtype=torch.float64)


class _Batch:
    """Rows that are continued together.

    A step changes tensors in place and never waits for the device. A GPU can therefore record one step as a
    CUDA graph and repeat it. A step has about 500 small kernels. To launch them one by one takes several
    times as long as to run them.
    """

    def __init__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        steps: int,
        end: int,
        temperature: float | Tensor,
        uniforms: Tensor,
        restrictions: tuple[int, float, Sequence[int]],
    ) -> None:
        self.model, self.prompts, self.end, self.restrictions = model, prompts, end, restrictions
        self.device = device = model.model.embed_tokens.weight.device
        self.on_gpu = device.type == "cuda"
        rows, new_tokens = uniforms.shape
        self.longest = max(len(prompt) for prompt in prompts)
        self.cache = KVCache(model, rows, min(self.longest + steps, model.architecture.context_length))
        # Results of all rows, in the caller's order.
        self.tokens = torch.full((rows, new_tokens), end, dtype=torch.int64, device=device)
        self.logprobs = torch.zeros((rows, new_tokens), device=device)
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=device)
        # State of the rows still computed: `active` are their places among all rows, `live` those that have
        # not ended.
        self.active = torch.arange(rows, device=device)
        self.live = torch.ones(rows, dtype=torch.bool, device=device)
        self.chosen = torch.zeros(rows, dtype=torch.int64, device=device)
        self.uniforms = uniforms.to(device, torch.float32)
        heat = torch.as_tensor(temperature, dtype=torch.float32).expand(rows)
        self.any_greedy = bool((heat <= 0).any())
        self.heat = heat.to(device)
        # Of shape [1]: torch would copy an index of shape [] back to the host.
        self.column = torch.zeros(1, dtype=torch.int64, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.warm_steps = 0

    def read_prompts(self) -> None:
        """Fill the cache with the prompts and draw each row's first token."""
        padded, sizes = (part.to(self.device) for part in pad_rows(self.prompts, self.end, self.longest))
        hidden = self.model(padded, cache=self.cache)
        self.cache.lengths, self.cache.filled = sizes, True
        self._sample_row_tokens(hidden[self.active, sizes - 1])

    def advance_rows(self, steps_left: int) -> None:
        """Draw the next token of each row; `steps_left` counts this step and those that may follow."""
        if self.graph is not None:
            self.graph.replay()
            return
        # The first steps run without a graph: they choose kernels and set up libraries.
        if self.on_gpu and self.warm_steps >= WARM_STEPS and steps_left >= LOOK_EVERY:
            self.graph = torch.cuda.CUDAGraph()
            # Other threads, such as NCCL's watchdog, may call CUDA during the recording.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self._next_hidden()
            self.graph.replay()
            return
        self._next_hidden()
        self.warm_steps += 1

    def drop_ended_rows(self) -> bool:
        """Stop computing ended rows once they are a quarter; return whether any row is live.

        Below a quarter, copying the other rows costs more than it saves.
        """
        count = int(self.live.sum())
        if count and count <= 0.75 * len(self.active):
            kept = self.live.nonzero().squeeze(1)
            self.cache.keep_rows(kept)
            self.active, self.live, self.chosen = self.active[kept], self.live[kept], self.chosen[kept]
            self.uniforms, self.heat = self.uniforms[kept], self.heat[kept]
            self.graph, self.warm_steps = None, 0
        return count > 0

    def read_completions(self) -> Completions:
        """Return all rows' answers, on the CPU."""
        tokens, lengths = self.tokens.cpu(), self.lengths.cpu()
        inside = torch.arange(tokens.shape[1]) < lengths.unsqueeze(1)
        return Completions(tokens, lengths, ((tokens == self.end) & inside).any(1), self.logprobs.cpu())

    def _next_hidden(self) -> None:
        # Ended rows are computed along and must not write beyond the cache.
        self.cache.lengths.clamp_(max=self.model.architecture.context_length - 1)
        hidden = self.model(self.chosen.unsqueeze(1), cache=self.cache)
        self.cache.lengths += 1
        self._sample_row_tokens(hidden[:, -1])

    def _sample_row_tokens(self, hidden: Tensor) -> None:
        """Draw a token a row from its hidden state [B, D], and record it for rows that have not ended."""
        scores = self.model.compute_logits(hidden).float()
        uniforms = self.uniforms[:, self.column].squeeze(1)
        chosen, chances = sample_tokens(
            scores, uniforms, self.heat, *self.restrictions, any_greedy=self.any_greedy
        )
        self.tokens[self.active, self.column] = torch.where(self.live, chosen, self.end)
        self.logprobs[self.active, self.column] = torch.where(self.live, chances, 0.0)
        self.lengths[self.active] += self.live
        self.live &= (chosen != self.end) & (self.cache.lengths + 1 < self.model.architecture.context_length)
        self.chosen.copy_(chosen)
        self.column += 1


def sample_tokens(
    scores: Tensor,
    uniforms: Tensor,
    temperature: Tensor,
    top_k: int = 0,
    top_p: float = 1.0,
    forbid: Sequence[int] = (),
    any_greedy: bool = True,
) -> tuple[Tensor, Tensor]:
    """Draw one token a row: logits [B, V], uniforms [B], temperatures [B] -> ids [B], log-probabilities [B].

    Draws by the inverse of the cumulative distribution, so equal uniforms give equal tokens. The
    log-probabilities are those before top-k, top-p and `forbid`.

    Args:
        scores: Logits [B, V].
        uniforms: Random numbers [B] in [0, 1).
        temperature: [B]; 0 takes the likeliest token.
        top_k, top_p, forbid: As in `generate_tokens`.
        any_greedy: False only if no temperature is 0.
    """
    heated = scores / torch.where(temperature > 0, temperature, 1.0).unsqueeze(1)
    logp = heated.log_softmax(-1)
    allowed = filter_logprobs(logp, top_k, top_p, forbid)
    reach = prefix_sums(allowed.exp())
    total = reach[:, -1].clone()
    drawn = torch.searchsorted(reach, (uniforms * total).unsqueeze(1), right=True).squeeze(1)
    # Rounding may move a uniform near 1 past the last allowed token, where the sum first reaches its total.
    last = torch.searchsorted(reach, total.unsqueeze(1)).squeeze(1)
    chosen = torch.minimum(drawn, last)
    if any_greedy:
        chosen = torch.where(temperature > 0, chosen, allowed.argmax(-1))
    return chosen, logp.gather(1, chosen.unsqueeze(1)).squeeze(1)


def filter_logprobs(logp: Tensor, top_k: int, top_p: float, forbid: Sequence[int]) -> Tensor:
    """Return log-probabilities [B, V] with -inf on tokens that must not be drawn.

    At least one token remains if `forbid` does not name all. The other arguments are those of
    `generate_tokens`.
    """
    if forbid:
        logp = logp.clone()
        # One by one: an index of several tokens would be copied from the host.
        for token in forbid:
            logp[:, token] = float("-inf")
    if 0 < top_k < logp.shape[1]:
        least = logp.topk(top_k, dim=-1).values[:, -1:]
        logp = logp.masked_fill(logp < least, float("-inf"))
    if top_p < 1:
        ordered, places = logp.sort(dim=-1, descending=True, stable=True)
        shares = ordered.softmax(-1)
        before = prefix_sums(shares) - shares
        dropped = torch.zeros_like(logp, dtype=torch.bool).scatter(1, places, before >= top_p)
        logp = logp.masked_fill(dropped, float("-inf"))
    return logp
