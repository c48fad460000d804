"""Shapes of open models, for benchmarks that need no weights of them."""

from __future__ import annotations

from model.nn.model_config import ModelConfig, RopeScaling

SMOLLM2_135M = ModelConfig(
    vocab_size=49_152, num_layers=30, hidden_size=576, num_heads=9, num_kv_heads=3, intermediate_size=1536,
    context_length=256, rope_theta=1e5,
)  # fmt: skip
LLAMA_7B = ModelConfig(
    vocab_size=32_000, hidden_size=4096, num_layers=32, num_heads=32, num_kv_heads=32,
    intermediate_size=11_008, context_length=2048, tie_embeddings=False, weight_dtype="bfloat16",
)  # fmt: skip
MISTRAL_7B = ModelConfig(
    vocab_size=32_000, hidden_size=4096, num_layers=32, num_heads=32, num_kv_heads=8,
    intermediate_size=14_336, context_length=2048, tie_embeddings=False, weight_dtype="bfloat16",
)  # fmt: skip
# Llama 3.1 8B, at a context of 2,048.
LLAMA_8B = ModelConfig(
    vocab_size=128_256, hidden_size=4096, num_layers=32, num_heads=32, num_kv_heads=8,
    intermediate_size=14_336, context_length=2048, rope_theta=500_000.0, tie_embeddings=False,
    rope_scaling=RopeScaling("llama3", 8.0, 8192, 1.0, 4.0), max_context_length=131_072,
    weight_dtype="bfloat16",
)  # fmt: skip
