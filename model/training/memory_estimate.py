"""The estimate of the memory that a training needs, before anything is loaded.

The passes are those of memory_trace.py. What is added here is the same for each pass: copies of the model,
weights that processes share, and on a CPU the reading and writing of model files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch

from model.data.chunks import PASS_ROWS, TEXT_ROWS, rows_of_pass
from model.inference.generate import rows_at_once
from model.nn.model_config import ModelConfig
from model.nn.nf4 import is_quantized, nf4_bytes
from model.training.adamw import moment_bytes
from model.training.dpo_config import DPOConfig
from model.training.loop_config import LoopParameters
from model.training.lora_config import LoRAParameters
from model.training.memory_trace import Passes, Phases, trace_training
from model.training.ppo_config import PPOConfig
from model.training.process_group import ProcessGroup
from model.training.reward import PASS_ROWS as SCORED_ROWS
from model.training.reward_config import RewardParameters
from model.training.sft_config import SFTParameters

# The resident memory of a process on a CPU that has trained a model of a few weights: Python, torch and the
# training's modules. Measured by `python -m tests.benchmarks.training_memory`.
PROCESS_BYTES = 265_000_000
# The bytes of the heap of a CPU's process for each byte of the tensors of a pass. Tensors of different sizes
# leave holes that the next ones do not fill. Measured on single passes: 1.26 (PPO), 1.32 (reward model) and
# 1.37 (SFT).
HEAP_SHARE = 1.3
_FLOAT32 = 4


@dataclass(frozen=True)
class Training:
    """A training whose memory is estimated.

    Attributes:
        parameters: The parameters of the section, of which the class says which training it is.
        architecture: The model, with the context of the training.
        device: "cpu" or "cuda".
        processes: The number of processes on this machine, one a GPU.
        dtype: The type of the arithmetic.
        reads_model: Whether it begins with a model of an earlier stage, and not with random weights.
        shares_scorer: For PPO: whether the reward model is an adapter of the policy's own weights.
    """

    parameters: LoopParameters
    architecture: ModelConfig
    device: str
    processes: int
    dtype: torch.dtype
    reads_model: bool = True
    shares_scorer: bool = True

    @property
    def lora(self) -> LoRAParameters:
        """Return the adapter's parameters; rank 0 if all weights learn."""
        lora = getattr(self.parameters, "lora", None)
        return lora if isinstance(lora, LoRAParameters) else LoRAParameters()

    @property
    def is_sharded(self) -> bool:
        """Return whether the processes share the weights."""
        return self.parameters.is_sharded

    @property
    def model_bytes(self) -> int:
        """Return the bytes of all weights in the type of the arithmetic."""
        return self.architecture.num_parameters * self.dtype.itemsize

    def quantized_bytes(self, size: int) -> int:
        """Return the bytes of all weights with the blocks' matrices in 4 bits.

        Args:
            size: The bytes of each other weight.
        """
        shapes = self.architecture.weight_shapes().items()
        return sum(
            nf4_bytes(*shape) if is_quantized(name) else size * math.prod(shape) for name, shape in shapes
        )


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one device, or of the first process on a CPU, which needs the most.

    Attributes:
        process: The Python process, on a CPU.
        weights: Those of all models that are held during a step, in the type of the arithmetic.
        optimizer: Float32 weights that learn, their moments, and the copies of both for an undone step and,
            on a CPU, for a checkpoint.
        gradients: The float32 sums of gradients, with those that processes share.
        activations: The most that a pass with its derivative keeps and computes, logits among it.
        sampling: Keys and values, logits and joined weights of the answers that are sampled at once.
        evaluation: The most that a pass without gradients computes, logits among it.
        reading: On a CPU, the most that the reading of model files takes.
        writing: On a CPU, what the export of the model adds to weights and optimizer.
        shared: The part of `gradients` that all processes of a CPU hold together.
    """

    process: int
    weights: int
    optimizer: int
    gradients: int
    activations: int
    sampling: int
    evaluation: int
    reading: int
    writing: int
    shared: int = 0

    @property
    def total(self) -> int:
        """Return the peak of the phases, which follow each other."""
        step = max(self.gradients + self.activations, self.shared + max(self.sampling, self.evaluation))
        held = self.weights + self.optimizer
        return self.process + max(self.reading, held + step, held + self.shared + self.writing)

    @property
    def least(self) -> int:
        """Return what the training needs however short its rows are."""
        held = self.weights + self.optimizer
        return self.process + max(self.reading, held + self.gradients, held + self.shared + self.writing)

    def machine_total(self, processes: int) -> int:
        """Return the peak of all processes of a CPU together, with the one that starts them."""
        first = self.process if processes > 1 else 0
        return first + processes * (self.total - self.shared) + self.shared


@cache
def estimate_memory(training: Training) -> MemoryEstimate:
    """Return the memory that a training needs at its peak, with rows that fill the context."""
    parameters, shape = training.parameters, training.architecture
    phases = trace_training(
        shape, _passes(training), training.lora, parameters.optimizer, training.dtype, training.device,
        training.is_sharded,
    )  # fmt: skip
    if training.is_sharded:
        return _sharded_estimate(training, phases)
    learned = _learned_weights(training)
    on_cpu = training.device == "cpu"
    extra = _frozen_models(training)
    state = phases.checkpoint
    copies = 0
    if isinstance(parameters, PPOConfig):
        # From which an undone step is restored.
        copies += state
    best = _FLOAT32 * learned if isinstance(parameters, PPOConfig | DPOConfig) else 0
    if on_cpu:
        # The best step's weights, the copy that a checkpoint is written from, and in it the best weights.
        copies += best + state + best
    shared = cloned = 0
    if on_cpu and training.processes > 1:
        shared = 2 * _FLOAT32 * _group(training).parts * learned
        cloned = _FLOAT32 * learned
    sums = _FLOAT32 * learned
    learning = max(phases.learning, sums + cloned)
    heap = HEAP_SHARE if on_cpu else 1.0
    sampling = round(heap * phases.sampling)
    if isinstance(parameters, RewardParameters) and not training.lora.rank:
        # The assistant answers, of which the reward model is no adapter.
        sampling += training.model_bytes
    return MemoryEstimate(
        process=PROCESS_BYTES if on_cpu else 0,
        weights=phases.weights + extra,
        optimizer=phases.optimizer + copies,
        gradients=sums + shared,
        activations=round(heap * (learning - sums)),
        sampling=sampling,
        evaluation=round(heap * phases.evaluating),
        reading=_reading_bytes(training, phases, extra) if on_cpu else phases.reading,
        writing=_writing_bytes(training) if on_cpu else 0,
        shared=shared,
    )


def _group(training: Training) -> ProcessGroup:
    """Return the first process of a training's group."""
    size, parts = training.processes, training.parameters.batch_parts
    whole = training.device == "cuda" or training.is_sharded
    parts = size if whole else max(size, parts)
    return ProcessGroup(0, size, training.device, parts, training.is_sharded)


def _passes(training: Training) -> Passes:
    """Return the passes of the process that has the most rows."""
    parameters, group = training.parameters, _group(training)
    units, each, sampled, new_tokens, answer_tokens = parameters.batch_size, 1, 0, 0, 0
    kind, evaluated, context = "pretrain", TEXT_ROWS, training.architecture.context_length
    if isinstance(parameters, PPOConfig):
        kind = "ppo"
        units //= parameters.num_mini_batches
        prompts = max(parameters.batch_size, parameters.num_eval_prompts)
        share = math.ceil(prompts / group.count_parts(prompts))
        sampled = min(share, parameters.sampling_batch_size or share)
        new_tokens = answer_tokens = min(parameters.max_new_tokens, context)
        evaluated = max(rows_of_pass(PASS_ROWS, context), min(share, parameters.micro_batch_size or share))
    elif isinstance(parameters, DPOConfig):
        kind, each, evaluated = "dpo", 2, rows_of_pass(PASS_ROWS, context)
    elif isinstance(parameters, RewardParameters):
        kind, each, evaluated = "reward", parameters.group_size, rows_of_pass(SCORED_ROWS, context)
        share = math.ceil(parameters.num_reference_samples / group.parts)
        new_tokens = parameters.reference_tokens
        sampled = min(share, rows_at_once(training.architecture, context))
    elif isinstance(parameters, SFTParameters):
        kind, evaluated = "sft", parameters.micro_batch_size or parameters.batch_size
    parts = group.count_parts(units)
    part = math.ceil(units / parts)
    at_once = min(part, parameters.micro_batch_size or part)
    return Passes(
        kind, at_once * each, math.ceil(part / at_once), math.ceil(parts / group.size), answer_tokens,
        sampled, new_tokens, evaluated, parameters.activation_checkpointing,
    )  # fmt: skip


def _learned_weights(training: Training) -> int:
    """Return the number of weights that learn, without a head."""
    return sum(map(math.prod, _learned_shapes(training)))


def _learned_shapes(training: Training) -> list[tuple[int, ...]]:
    """Return the shapes of the weights that learn, without a head."""
    shapes, lora = training.architecture.weight_shapes(), training.lora
    if not lora.rank:
        return list(shapes.values())
    names = tuple(f".{name}.weight" for name in lora.target_modules)
    matrices = [shape for name, shape in shapes.items() if name.endswith(names)]
    return [pair for rows, columns in matrices for pair in ((lora.rank, columns), (rows, lora.rank))]


def _frozen_models(training: Training) -> int:
    """Return the bytes of the models beside the one that learns: PPO's reference and its reward model."""
    parameters = training.parameters
    if training.lora.is_quantized and not isinstance(parameters, SFTParameters):
        # What SFT learned is the low-rank part of the weights, about as large as this adapter.
        return training.dtype.itemsize * _learned_weights(training) + _reward_bytes(training)
    return _reward_bytes(training)


def _reward_bytes(training: Training) -> int:
    """Return the bytes of PPO's reference and its reward model."""
    if not isinstance(training.parameters, PPOConfig):
        return 0
    if not training.lora.rank or training.is_sharded:
        return 2 * training.model_bytes
    if training.shares_scorer:
        return training.dtype.itemsize * _learned_weights(training)
    return training.model_bytes


def _stored_bytes(training: Training) -> int:
    """Return the bytes of the weights in a model's files."""
    dtype = getattr(torch, training.architecture.weight_dtype)
    return training.architecture.num_parameters * int(dtype.itemsize)


def _reading_bytes(training: Training, phases: Phases, extra: int) -> int:
    """Return the most memory of a process while models are read and the optimizer is made."""
    weights = training.architecture.num_parameters
    made = phases.weights + phases.optimizer + extra + phases.reading
    if not training.reads_model:
        return max(_FLOAT32 * weights, made)
    # Weights that learn are read in float32, and frozen ones in the type of the arithmetic.
    own = training.model_bytes if training.lora.rank else _FLOAT32 * weights
    if training.lora.is_quantized:
        own = training.quantized_bytes(training.dtype.itemsize) + _rounding_bytes(training)
    # The file is mapped into memory while its weights are copied. Of several models, the last one is read
    # beside those before it.
    models = round(extra / training.model_bytes) if extra >= training.model_bytes else 0
    last = training.model_bytes if models else own
    before = own + (models - 1) * training.model_bytes if models else 0
    return max(before + last + _stored_bytes(training), made)


def _rounding_bytes(training: Training) -> int:
    """Return what the rounding of the largest matrix to 4 bits takes: four copies of it in float32."""
    shapes = training.architecture.weight_shapes().items()
    return 4 * _FLOAT32 * max(math.prod(shape) for name, shape in shapes if is_quantized(name))


def _writing_bytes(training: Training) -> int:
    """Return what the first process needs to write the model's files."""
    stored = _stored_bytes(training)
    if not training.lora.rank:
        return stored if training.architecture.weight_dtype != "float32" else 0
    if isinstance(training.parameters, RewardParameters):
        # Its model folder has links to the files of the SFT model.
        return 0
    if training.lora.is_quantized:
        # The base in 4 bits, and its whole weights in the type of the files.
        whole = training.architecture.num_parameters * _FLOAT32
        if training.architecture.weight_dtype == "bfloat16":
            whole, stored = stored, 0
        return training.quantized_bytes(_FLOAT32) + whole + stored
    # The base is read in float32, and the adapter is added to it.
    return _FLOAT32 * training.architecture.num_parameters + stored


def _sharded_estimate(training: Training, phases: Phases) -> MemoryEstimate:
    """Return the memory of the first process of a group that shares the weights: it has the most rows."""
    group, lora, size = _group(training), training.lora, training.dtype.itemsize
    own = outside = block = 0
    for name, shape in training.architecture.weight_shapes().items():
        numel = math.prod(shape)
        mine = group.own_rows(shape[0])
        own += (mine.stop - mine.start) * (numel // shape[0])
        if ".layers." not in name:
            outside += numel
        elif ".layers.0." in name:
            block += numel
    adapter = _learned_weights(training) if lora.rank else 0
    learned = math.ceil(adapter / group.size) if lora.rank else own
    frozen = size * own if lora.rank else 0
    # Two models of PPO are shared too, and whole one after the other.
    others = 2 * size * own if isinstance(training.parameters, PPOConfig) else 0
    bits = training.parameters.optimizer.adamw_bits
    moments = sum(moment_bytes(shape, bits) for shape in _learned_shapes(training))
    state = _FLOAT32 * learned + math.ceil(moments / group.size)
    copies = state if isinstance(training.parameters, PPOConfig) else 0
    best = _FLOAT32 * learned if isinstance(training.parameters, PPOConfig | DPOConfig) else 0
    on_cpu = training.device == "cpu"
    if on_cpu:
        copies += state + 2 * best
    # Whole weights outside the blocks and of two blocks, as the next one is gathered early; and the float32
    # sums of gradients on their way, of the weights outside the blocks and of one block.
    gathered = size * (outside + 2 * block)
    layers = training.architecture.num_layers
    reduced = _FLOAT32 * (math.ceil(adapter / layers) if lora.rank else outside + block)
    heap = HEAP_SHARE if on_cpu else 1.0
    sampling = round(heap * phases.sampling) + training.model_bytes if phases.sampling else 0
    return MemoryEstimate(
        process=PROCESS_BYTES if on_cpu else 0,
        weights=frozen + others,
        optimizer=state + copies,
        gradients=_FLOAT32 * learned + reduced,
        activations=gathered + round(heap * phases.learning),
        sampling=sampling,
        evaluation=training.model_bytes + round(heap * phases.evaluating),
        reading=0,
        writing=_FLOAT32 * training.architecture.num_parameters + _stored_bytes(training) if on_cpu else 0,
    )
