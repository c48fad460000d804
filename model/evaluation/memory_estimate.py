"""The estimate of the memory that the evaluation needs, before anything is loaded.

It holds one model at a time: each answers the same prompts and scores answers of others before the next is
loaded. The reward model and the judge follow in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch

from model.data.chunks import PASS_ROWS, TEXT_ROWS, rows_of_pass
from model.evaluation.evaluate import PARTS
from model.evaluation.evaluate_config import EvaluateParameters
from model.inference.generate import rows_at_once
from model.nn.model_config import ModelConfig
from model.training.memory_estimate import HEAP_SHARE, PROCESS_BYTES
from model.training.memory_trace import Passes, trace_answering
from model.training.reward import PASS_ROWS as SCORED_ROWS


@dataclass(frozen=True)
class EvaluationMemory:
    """Bytes of an evaluation, on a CPU of all its processes.

    Attributes:
        needed: The bytes at the peak.
        least: The bytes however short the rows are.
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
    reading = trace_answering(architecture, Passes("pretrain", 0, evaluated_rows=TEXT_ROWS), dtype, device)
    passes = max(answering.sampling, answering.evaluating, reading.evaluating)
    heap = HEAP_SHARE if on_cpu else 1.0
    # On a CPU the file is mapped into memory while its weights are copied.
    stored = getattr(torch, architecture.weight_dtype).itemsize
    read = stored * architecture.num_parameters if on_cpu else 0
    process = PROCESS_BYTES if on_cpu else 0
    sizes = [process + answering.weights + max(peak, read) for peak in (round(heap * passes), 0)]
    if on_cpu:
        # Another process starts them, if there are several.
        sizes = [size * processes + (process if processes > 1 else 0) for size in sizes]
    return EvaluationMemory(*sizes)
