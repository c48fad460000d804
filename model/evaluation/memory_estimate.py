"""The estimate of the memory that the evaluation needs, before anything is loaded.

It holds all models at once, as each answers the same prompts and scores the answers of the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch

from model.data.chunks import PASS_ROWS, rows_of_pass
from model.evaluation.evaluate import PARTS
from model.evaluation.evaluate_config import REWARD_MODEL, EvaluateParameters
from model.inference.generate import rows_at_once
from model.nn.model_config import ModelConfig
from model.training.memory_estimate import HEAP_SHARE, PROCESS_BYTES
from model.training.memory_trace import Passes, trace_answering
from model.training.reward import PASS_ROWS as SCORED_ROWS

# The base, SFT's and the aligned model; and the reward model.
_MODELS, _SCORERS = 3, 1
# Rows of a pass that measures held-out text, as in `bits_per_byte`.
_TEXT_ROWS = 16
_FLOAT32 = 4


@dataclass(frozen=True)
class EvaluationMemory:
    """Bytes of an evaluation, on a CPU of all its processes.

    Attributes:
        needed: The bytes at the peak, with a champion and a judge.
        least: The bytes without both, however short the rows are.
    """

    needed: int
    least: int


@cache
def estimate_evaluation(
    parameters: EvaluateParameters,
    architecture: ModelConfig,
    device: str,
    processes: int,
    dtype: torch.dtype,
) -> EvaluationMemory:
    """Return the memory that an evaluation needs.

    Args:
        parameters: The parameters of the evaluation.
        architecture: The architecture of the models. A champion is taken to have it too.
        device: "cpu" or "cuda".
        processes: The number of processes that share the prompts, on a CPU.
        dtype: The type of the arithmetic.
    """
    on_cpu = device == "cpu"
    context = architecture.context_length
    asked = max(parameters.num_prompts, parameters.num_questions if parameters.question_sources else 0)
    share = math.ceil(asked / PARTS) if on_cpu else asked
    sampled = min(share, rows_at_once(architecture, context))
    scored = max(rows_of_pass(PASS_ROWS, context), rows_of_pass(SCORED_ROWS, context))
    answering = trace_answering(
        architecture,
        Passes(
            "dpo", 0, sampled_rows=sampled, new_tokens=min(parameters.max_new_tokens, context),
            evaluated_rows=scored,
        ),
        dtype, device,
    )  # fmt: skip
    reading = trace_answering(architecture, Passes("pretrain", 0, evaluated_rows=_TEXT_ROWS), dtype, device)
    judges = int(parameters.judge == REWARD_MODEL)
    passes = max(answering.sampling, answering.evaluating, reading.evaluating)
    heap = HEAP_SHARE if on_cpu else 1.0
    # On a CPU a model is read in float32, its file mapped into memory, beside the models before it.
    stored = getattr(torch, architecture.weight_dtype).itemsize
    read = (_FLOAT32 + stored) * architecture.num_parameters if on_cpu else 0
    process = PROCESS_BYTES if on_cpu else 0
    sizes = []
    for models, peak in ((_MODELS + _SCORERS + 1 + judges, round(heap * passes)), (_MODELS + _SCORERS, 0)):
        weights = models * answering.weights
        sizes.append(process + max(weights + peak, weights - answering.weights + read))
    if on_cpu:
        # Another process starts them, if there are several.
        sizes = [size * processes + (process if processes > 1 else 0) for size in sizes]
    return EvaluationMemory(*sizes)
