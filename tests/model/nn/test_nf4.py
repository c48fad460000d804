"""Weights in 4 bits: the format, its error, and products with it."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import Tensor, nn

from model.nn.lora import Adapter, active_adapter, adapted_layers, attach_adapter
from model.nn.nf4 import BLOCK, GROUP, LEVELS, NF4Weight, packed_weights, quantize_layers, replace_layers
from model.nn.transformer import KVCache, Transformer
from tests.model.conftest import small_shape

# Widths of which a row is a whole number of blocks, a part of one, and neither.
SHAPES = [(128, 256), (32, 24), (7, 13), (1, 64), (300, 65)]


def drawn(*shape: int, seed: int = 0, scale: float = 0.02) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_levels_are_quantiles_of_normal_distribution() -> None:
    # The paper's section 3 and its code: the offset is the mean of two tails, and 0 is a level.
    upper = norm.ppf(torch.linspace(0.9677083, 0.5, 9)[:-1].double().numpy())
    lower = -norm.ppf(torch.linspace(0.9677083, 0.5, 8)[:-1].double().numpy())
    wanted = sorted([*upper, 0.0, *lower])
    assert torch.tensor(LEVELS).tolist() == pytest.approx([value / upper[0] for value in wanted], abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_quantize_rounds_each_weight_to_nearest_level_of_block(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    weight = drawn(*shape).to(dtype)
    found = NF4Weight.quantize(weight).dequantize(torch.float32)
    assert found.shape == shape
    blocks = F.pad(weight.float().flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
    largest = blocks.abs().amax(1, keepdim=True)
    gap = max(high - low for low, high in pairwise(LEVELS)) / 2
    # Half the widest gap between levels, and the rounding of the magnitudes to 8 bits.
    offset = (largest - largest.mean()).abs().max() / 127
    error = F.pad((found - weight.float()).flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
    assert (error.abs() <= gap * largest + offset).all()


@pytest.mark.parametrize("scale", [1e-20, 0.02, 1e4])
def test_quantize_normal_weights_lose_about_a_tenth(scale: float) -> None:
    weight = drawn(256, 512, scale=scale)
    found = NF4Weight.quantize(weight).dequantize(torch.float32)
    assert ((found - weight).norm() / weight.norm()).item() == pytest.approx(0.092, abs=0.002)


def test_quantize_is_what_torchao_makes() -> None:
    weight = torch.linspace(-1, 1, 128 * 128).sin().view(128, 128) * 0.3
    weight = weight * torch.linspace(0.2, 1, 128).sin()
    places = [5, 77, 1000, 4097, 8000, 9001, 12345, 16380]
    # By torchao 0.18.0: to_nf4(weight).get_original_weight().flatten()[places]
    values = [-0.055703, -0.14663, -0.193451, -0.031444, -0.004644, 0.012502, 0.082335, 0.211519]
    found = NF4Weight.quantize(weight).dequantize(torch.float32).flatten()[places]
    # It rounds the magnitudes to other steps, and the levels to four digits.
    torch.testing.assert_close(found, torch.tensor(values), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_quantize_zeros_stay_zeros(shape: tuple[int, int]) -> None:
    weight = drawn(*shape)
    weight[: shape[0] // 2] = 0
    found = NF4Weight.quantize(weight).dequantize(torch.float32)
    assert torch.equal(found[: shape[0] // 2], weight[: shape[0] // 2])
    assert not NF4Weight.quantize(torch.zeros(shape)).dequantize().any()


def test_quantize_takes_about_half_a_byte_a_weight() -> None:
    packed = NF4Weight.quantize(drawn(512, 1024))
    blocks = 512 * 1024 // BLOCK
    stored = sum(buffer.numel() * buffer.element_size() for buffer in packed.buffers())
    # Codes, magnitudes, steps, their mean, and the pairs of levels of each byte.
    assert stored == 512 * 1024 // 2 + blocks + 4 * blocks // GROUP + 4 + 2048


def test_quantize_does_not_depend_on_threads() -> None:
    weight, threads = drawn(512, 1024), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(NF4Weight.quantize(weight))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0].buffers(), other.buffers(), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_nf4_weight_in_other_type_keeps_its_bits(dtype: torch.dtype) -> None:
    packed = NF4Weight.quantize(drawn(64, 96))
    wanted = packed.dequantize(torch.float32)
    other = copy.deepcopy(packed).to(dtype)
    assert other.dequantize().dtype == dtype
    assert torch.equal(other.dequantize(torch.float32), wanted)
    assert torch.equal(other.dequantize(), wanted.to(dtype))


@pytest.mark.parametrize("ranks", [(3,), (2, 5)])
def test_add_low_rank_adds_to_weight(ranks: tuple[int, ...]) -> None:
    packed = NF4Weight.quantize(drawn(48, 80))
    wanted = packed.dequantize(torch.float32)
    for seed, rank in enumerate(ranks):
        first, second = drawn(rank, 80, seed=seed), drawn(48, rank, seed=seed + 9)
        packed.add_low_rank(first, second)
        wanted = wanted + second @ first
    torch.testing.assert_close(packed.dequantize(torch.float32), wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_product_and_its_derivative_are_those_of_dequantized_weight(shape: tuple[int, int]) -> None:
    packed = NF4Weight.quantize(drawn(*shape))
    packed.add_low_rank(drawn(2, shape[1], seed=3), drawn(shape[0], 2, seed=4))
    x, bias = drawn(5, 3, shape[1], seed=1).requires_grad_(), drawn(shape[0], seed=2)
    out = packed(x, bias)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    wanted = F.linear(x, packed.dequantize(), bias)
    (wanted_gradient,) = torch.autograd.grad(wanted.square().sum(), x)
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(gradient, wanted_gradient)


def quantized(**changes: object) -> tuple[Transformer, Transformer]:
    """Return a model in 4 bits, and one with the same weights in full."""
    model = Transformer(small_shape(**changes)).init_weights(seed=3)
    rounded = copy.deepcopy(model)
    names = [name for name, layer in model.named_modules() if name.endswith("_proj")]
    packed = {name: NF4Weight.quantize(model.get_submodule(name).weight) for name in names}
    replace_layers(model, packed)
    with torch.no_grad():
        for name, each in packed.items():
            rounded.get_submodule(name).weight.copy_(each.dequantize())
    return model, rounded


def learn_something(model: Transformer) -> None:
    for seed, (_, layer) in enumerate(adapted_layers(model)):
        adapter = layer.adapter
        assert isinstance(adapter, Adapter)
        nn.init.normal_(adapter.lora_B.weight, std=0.1, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": True}, {"num_kv_heads": 1}])
@pytest.mark.parametrize("recomputes", [False, True])
def test_gradients_of_adapters_are_those_through_dequantized_weights(
    changes: dict[str, object], recomputes: bool
) -> None:
    tokens = torch.randint(64, (3, 12), generator=torch.Generator().manual_seed(5))
    found = []
    for model in quantized(**changes):
        attach_adapter(model, "learned", 4, 8.0, ("q_proj", "v_proj", "down_proj"), seed=1)
        learn_something(model)
        model.recomputes = recomputes
        model.compute_logits(model(tokens)).square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and len(found[0]) == 2 * 3 * 2
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-5, rtol=1e-4)


def test_quantized_model_samples_as_dequantized_one_without_joined_copies() -> None:
    tokens = torch.randint(64, (2, 6), generator=torch.Generator().manual_seed(5))
    found = []
    for model in quantized():
        attach_adapter(model, "learned", 4, 8.0, ("k_proj", "up_proj"), seed=1)
        learn_something(model)
        cache = KVCache(model, 2, 8)
        with torch.no_grad(), active_adapter(model, "learned"):
            found.append(model(tokens, cache=cache))
        assert cache.joins_weights is (next(packed_weights(model), None) is None)
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_product_is_compiled_as_one_graph() -> None:
    packed = NF4Weight.quantize(drawn(32, 24))
    x = drawn(4, 24, seed=1).requires_grad_()
    compiled = torch.compile(lambda x: packed(x, None).square().sum(), backend="aot_eager", fullgraph=True)
    found, wanted = compiled(x), packed(x, None).square().sum()
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, x), torch.autograd.grad(wanted, x))


def test_quantize_layers_makes_layers_of_same_shapes() -> None:
    with torch.device("meta"):
        model = Transformer(small_shape(), with_tables=False)
        quantize_layers(model)
    names = dict(packed_weights(model))
    assert len(names) == 7 * small_shape().num_layers
    assert not any("_proj.weight" in name for name, _ in model.named_parameters())
    assert model.model.embed_tokens.weight.shape[0] == small_shape().vocab_size


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.x_proj", "model.layers.9.mlp.up_proj", "model.norm"]
)
def test_replace_layers_wrong_name_or_shape_is_named(name: str) -> None:
    model = Transformer(small_shape())
    with pytest.raises(RuntimeError, match=name):
        replace_layers(model, {name: NF4Weight(32, 32)})
    with pytest.raises(RuntimeError, match="has the shape"):
        replace_layers(model, {"model.layers.0.mlp.up_proj": NF4Weight(32, 31)})
