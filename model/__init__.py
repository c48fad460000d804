"""The transformer, its training, sampling and evaluation in PyTorch.

It runs without `tasks/` and `flows/`, and imports only torch, numpy, tokenizers, tiktoken, safetensors and
the standard library.
"""
