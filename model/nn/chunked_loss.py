"""Cross-entropy of an output layer for a GPU, whose logits are in memory for some positions at a time.

Shapes: N positions, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Positions whose logits are computed at once: enough to fill a GPU. With a vocabulary of 50,304 they take
# 0.8 GB in bfloat16; those of a pass of 64 rows of 1,024 tokens take 6.6 GB, and twice that in float32.
CHUNK_ROWS = 8192


class ChunkedLoss(torch.autograd.Function):
    """The summed next-token loss in nats; the gradients are computed together with it.

    Computed chunk by chunk, like torch's `linear_cross_entropy` with options. That one is not compiled, and
    torch has it since 2.13 only. No logits are computed twice, as with checkpointing.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a float32 scalar.

        Args:
            hidden: [N, D].
            weight: The output layer, [V, D].
            targets: [N]; -100 is ignored.
        """
        for_hidden_wanted, for_weight_wanted = ctx.needs_input_grad[:2]
        nats = torch.zeros((), device=hidden.device)
        hidden_parts = []
        # In float32: the sum over chunks would lose bits in bfloat16.
        for_weight = torch.zeros(weight.shape, device=weight.device) if for_weight_wanted else None
        places = torch.arange(weight.shape[0], device=weight.device)
        for part, wanted in zip(hidden.split(CHUNK_ROWS), targets.split(CHUNK_ROWS), strict=True):
            logprobs = F.linear(part, weight).float().log_softmax(-1)
            learned = (wanted >= 0).unsqueeze(1)
            chosen = wanted.clamp(min=0).unsqueeze(1)
            nats = nats - (logprobs.gather(1, chosen) * learned).sum()
            if not (for_hidden_wanted or for_weight_wanted):
                continue
            shares = logprobs.exp() - (places == chosen).float()
            for_logits = (shares * learned).to(weight.dtype)
            if for_hidden_wanted:
                hidden_parts.append(for_logits @ weight)
            if for_weight is not None:
                for_weight = for_weight + (for_logits.mT @ part).float()
        ctx.save_for_backward(torch.cat(hidden_parts) if hidden_parts else None, for_weight)
        ctx.dtype = weight.dtype
        return nats

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of the hidden states and of the output layer."""
        for_hidden, for_weight = ctx.saved_tensors
        # In float32: the scale itself would be rounded in bfloat16.
        first, second = (
            None if part is None else (part.float() * gradients[0]).to(ctx.dtype)
            for part in (for_hidden, for_weight)
        )
        return first, second, None
