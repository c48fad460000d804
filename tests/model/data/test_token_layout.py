"""The layout of token rows: every row is whole, and sees no other row."""

from __future__ import annotations

import pytest
import torch

from model.data.token_layout import lay_out_rows
from model.nn.model_config import ModelConfig
from model.nn.transformer import Transformer

SHAPE = ModelConfig(num_layers=2, hidden_size=32, num_heads=4, context_length=160, vocab_size=50)


def rows_of(*lengths: int) -> list[list[int]]:
    random = torch.Generator().manual_seed(2)
    return [torch.randint(1, 50, (length,), generator=random).tolist() for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "packed"),
    [
        ((3, 90, 20, 5, 60, 1), True),
        ((100, 20, 8, 128, 7), True),
        ((160, 3, 3, 3), True),
        # Padding to the longest row has fewer tokens.
        ((7,), False),
        ((70, 72, 71), False),
    ],
)
def test_lay_out_rows_keeps_each_row_whole_and_alone(lengths: tuple[int, ...], packed: bool) -> None:
    rows = rows_of(*lengths)
    layout = lay_out_rows(rows, 0, SHAPE.context_length, "cpu")
    assert (layout.documents is not None) == packed
    flat = layout.tokens.flatten().tolist()
    places = list(zip(layout.starts.tolist(), layout.ends.tolist(), strict=True))
    assert [flat[first : last + 1] for first, last in places] == rows
    assert sum(token != 0 for token in flat) == sum(lengths)
    model = Transformer(SHAPE).init_weights(1)
    with torch.no_grad():
        together = model(layout.tokens, documents=layout.documents).flatten(0, 1)
        for row, (first, last) in zip(rows, places, strict=True):
            torch.testing.assert_close(
                together[first : last + 1], model(torch.tensor([row]))[0], rtol=1e-4, atol=1e-5
            )


def test_lay_out_rows_packs_fewer_tokens_than_padding_has() -> None:
    rows = rows_of(*(5 + 7 * (number % 12) for number in range(32)))
    layout = lay_out_rows(rows, 0, SHAPE.context_length, "cpu")
    padded = len(rows) * max(map(len, rows))
    assert layout.tokens.numel() < 0.65 * padded
