"""A model seen with another of its adapters, or with none."""

from __future__ import annotations

from torch import Tensor, nn

from model.nn.lora import active_adapter
from model.nn.model_config import ModelConfig
from model.nn.transformer import KVCache, Transformer


class AdapterView(nn.Module):
    """A model with another active adapter: the same weights, without a copy.

    Args:
        body: The model.
        name: The adapter; empty: none.
    """

    def __init__(self, body: Transformer, name: str = "") -> None:
        super().__init__()
        self.body, self.name = body, name

    @property
    def architecture(self) -> ModelConfig:
        """Return the architecture of the model."""
        return self.body.architecture

    @property
    def output_weight(self) -> Tensor:
        """Return the weight of the output layer, [V, D]."""
        return self.body.output_weight

    def forward(
        self, tokens: Tensor, documents: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """Return the hidden states with this view's adapter; arguments as in `Transformer.forward`."""
        with active_adapter(self.body, self.name):
            hidden: Tensor = self.body(tokens, documents=documents, cache=cache)
        return hidden


# A model, whichever of its adapters is active.
Body = Transformer | AdapterView
