"""AdamW: torch's bits, and moments in 8 bits."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.training import adamw
from model.training.adamw import (
    BLOCK_SIZE,
    AdamW,
    AdamW8Bit,
    dequantize_moment,
    make_adamw,
    moment_bytes,
    quantize_moment,
)
from model.training.optimizer_config import OptimizerParameters

EIGHT = OptimizerParameters(learning_rate=0.01, adamw_bits=8)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def take_steps(adam: AdamW, steps: int, first: int = 0, rows: slice = slice(None)) -> None:
    """Take steps on random gradients, of which some weights have only these rows."""
    for step in range(first, first + steps):
        for number, weight in enumerate(adam.weights):
            whole = (600, *weight.shape[1:]) if weight.ndim > 1 else tuple(weight.shape)
            gradient = random(*whole, seed=10 * step + number)
            weight.grad = gradient[rows].clone() if weight.ndim > 1 else gradient
        adam.step(0.01)


def test_adamw_equals_torch_optim_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(5)
    shapes = [(4, 3), (3,), (2, 2)]
    ours, theirs = (
        [torch.ones(shape).mul_(number + 1.0).requires_grad_() for number, shape in enumerate(shapes)]
        for _ in range(2)
    )
    parameters = OptimizerParameters(weight_decay=0.3)
    groups = [
        {"params": [theirs[0], theirs[2]], "weight_decay": 0.3}, {"params": [theirs[1]], "weight_decay": 0.0}
    ]  # fmt: skip
    peer = torch.optim.AdamW(groups, betas=(parameters.beta1, parameters.beta2), fused=True)
    adam = AdamW(ours, parameters)
    for step in range(5):
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            gradient = torch.randn(shapes[number], generator=generator)
            for weight in pair:
                # The last weight learns in some steps only.
                weight.grad = None if number == 2 and step in (0, 3) else gradient.clone()
        for group in peer.param_groups:
            group["lr"] = 0.01 * (step + 1)
        peer.step()
        adam.step(0.01 * (step + 1))
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("columns", [1, 16, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE])
@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1.0, 1e6])
def test_quantize_moment_keeps_large_values_to_two_digits(columns: int, scale: float) -> None:
    for signed in (True, False):
        moment = random(9, columns) * scale
        moment = moment if signed else moment.abs()
        codes, scales = quantize_moment(moment, signed)
        assert codes.dtype == torch.uint8 and codes.shape == moment.shape
        assert scales.shape == (9, -(-columns // BLOCK_SIZE))
        error = (dequantize_moment(codes, scales, signed) - moment).abs()
        largest = scales.repeat_interleave(BLOCK_SIZE, dim=1)[:, :columns]
        # Half a step of the highest decade: 64 or 128 values between 0.1 and 1.
        assert (error <= largest * 0.45 / (64 if signed else 128) * 1.01).all()
        # In each decade, the error is a share of the value.
        share = error / moment.abs()
        middle = moment.abs() > largest * 1e-2
        assert share[middle].max() < (0.15 if signed else 0.08)


@pytest.mark.parametrize("signed", [True, False])
def test_quantize_moment_gives_the_nearest_value(signed: bool) -> None:
    # The values in ascending order are those of all codes, as a block's largest value has the scale 1.
    values = dequantize_moment(torch.arange(256, dtype=torch.uint8).view(1, 256), torch.ones(1, 1), signed)[0]
    assert (values.diff() > 0).all() and values[-1] == 1
    middles = (values[1:] + values[:-1]) / 2
    near = [middles, middles.nextafter(torch.tensor(-9.0)), middles.nextafter(torch.tensor(9.0)), values]
    for shares in (*near, random(255 * 100).clamp(-1, 1), 10 ** (random(255 * 100) * 2 - 4).clamp(max=0)):
        shares = shares if signed else shares.abs()
        rows = F.pad(shares[: len(shares) // 255 * 255].view(-1, 255), (0, 1), value=1.0)
        codes = quantize_moment(rows, signed)[0].long()
        expected = torch.bucketize(rows, middles)
        assert torch.equal(codes, expected if signed else torch.maximum(expected, (rows > 0).long()))


@pytest.mark.parametrize("value", [0.0, 1e-30, 5e-324, 3.0])
def test_quantize_moment_equal_values_return_as_they_are(value: float) -> None:
    moment = torch.full((2, 5), value)
    assert torch.equal(dequantize_moment(*quantize_moment(moment, False), False), moment)


@pytest.mark.parametrize("small", [1e-7, 1e-12, 1e-30])
def test_quantize_second_moment_is_never_rounded_to_zero(small: float) -> None:
    moment = torch.tensor([[1.0, small, 0.0]])
    found = dequantize_moment(*quantize_moment(moment, False), False)
    assert found[0, 1] > 0 and found[0, 2] == 0


def test_adamw_8_bits_stays_beside_float32() -> None:
    start = [random(600, 300, seed=1), random(600, 20, seed=2), random(7, seed=3)]
    whole, short = (
        make_adamw([weight.clone().requires_grad_() for weight in start], parameters)
        for parameters in (OptimizerParameters(learning_rate=0.01), EIGHT)
    )
    assert isinstance(short, AdamW8Bit) and not isinstance(whole, AdamW8Bit)
    for adam in (whole, short):
        take_steps(adam, 20)
    for one, other, before in zip(whole.weights, short.weights, start, strict=True):
        moved = (one - before).norm()
        assert (one - other).norm() < 0.03 * moved
    # Vectors have moments in float32.
    assert torch.equal(whole.weights[2], short.weights[2])


def test_adamw_8_bits_rows_and_chunks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    start = [random(600, 320, seed=1), random(600, 32, seed=2)]
    whole = AdamW8Bit([weight.clone().requires_grad_() for weight in start], EIGHT)
    take_steps(whole, 3)
    # Rows that fill vector registers: the kernel computes what is left over in another way.
    monkeypatch.setattr(adamw, "_CHUNK", 7 * 320)
    for rows in (slice(0, 250), slice(250, 600), slice(600, 600)):
        part = AdamW8Bit([weight[rows].clone().requires_grad_() for weight in start], EIGHT)
        take_steps(part, 3, rows=rows)
        for one, other in zip(whole.weights, part.weights, strict=True):
            assert torch.equal(one[rows], other)
        for name, tensors in whole.moments.items():
            for one, other in zip(tensors, part.moments[name], strict=True):
                assert torch.equal(one[rows], other)


def test_adamw_8_bits_restored_state_continues_in_same_bits() -> None:
    start = [random(600, 300, seed=1), random(5, seed=2)]
    whole, resumed = (AdamW8Bit([weight.clone().requires_grad_() for weight in start], EIGHT) for _ in "ab")
    take_steps(whole, 2)
    with torch.no_grad():
        for one, other in zip(resumed.weights, whole.weights, strict=True):
            one.copy_(other)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for adam in (whole, resumed):
        take_steps(adam, 2, first=2)
    assert all(map(torch.equal, whole.weights, resumed.weights))


@pytest.mark.parametrize("shape", [(600, 300), (3, 256), (64, 16), (1, 1), (9,)])
@pytest.mark.parametrize("bits", [8, 32])
def test_moment_bytes_are_those_of_the_tensors(shape: tuple[int, ...], bits: int) -> None:
    adam = make_adamw([torch.zeros(shape)], OptimizerParameters(adamw_bits=bits))
    held = sum(tensor.numel() * tensor.element_size() for [tensor] in adam.moments.values())
    assert moment_bytes(shape, bits) == held
    if shape[-1] == 256 and bits == 8:
        assert held == 2 * 3 * (256 + 4)


@pytest.mark.parametrize("bits", [0, 4, 16, 33])
def test_adamw_bits_unknown_are_named(bits: int) -> None:
    with pytest.raises(ValueError, match=f"adamw_bits is {bits}; it must be 32 or 8"):
        OptimizerParameters(adamw_bits=bits)
