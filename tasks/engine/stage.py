"""The execution that all stages share: cache key, folder, manifest, and the choice to make or reuse.

A stage is a plain function `name(parameters, <a Path for each input stage>, out, on_event, ...)`. It reads,
calls one function, writes into `out`, and returns metrics. This module does everything around that call.
"""

from __future__ import annotations

import errno
import inspect
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import UserError, file_error
from model.events import FULL, Event, EventCallback, ImportedSources
from tasks.common.file_lock import exclusive_lock
from tasks.engine import device_lock
from tasks.engine.cache_key import (
    changed_source,
    check_code_digest,
    code_digest,
    definition_digests,
    folder_sums,
    lock_digest,
    output_digest,
    plain_parameters,
    stage_key,
    sums_digest,
)
from tasks.engine.declaration import StageDeclaration
from tasks.engine.input_view import make_view, matches_patterns
from tasks.engine.output import (
    LOCK,
    MANIFEST,
    PART,
    VIEW,
    WAITS,
    DamagedOutput,
    StageOutput,
    check_output,
    file_sizes,
    is_undamaged,
    make_reference,
    publish_output,
    read_manifest,
    usable_output,
    write_manifest,
)
from tasks.engine.parallel import ParallelMap, serial_map
from tasks.engine.resource_usage import ResourceMeter, plain_cost
from tasks.project.paths import ARTIFACTS

if TYPE_CHECKING:
    from tasks.engine.remote_cache import Store

CONTEXT_PARAMETERS = ("seed", "device", "processes")
# Errors of a faulty disk, or of a network file system that lost its server.
DISK_FAULTS = (errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ENOTCONN, errno.ETIMEDOUT)
_WRITE_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class StageContext:
    """The settings that a run gives every stage; `parallel_map`, `store` and `processes` are in no cache key.

    Attributes:
        root: The project's folder.
        seed: The seed of all random numbers.
        device: "cpu" or "cuda", with or without an index.
        processes: The number of processes that train.
        parallel_map: Maps work over many shards.
        store: The outputs shared with other hosts; None shares nothing.
        device_description: The kind of device of another host, used for the keys of outputs made there.
    """

    root: Path
    seed: int = 0
    device: str = "cpu"
    processes: int = 1
    parallel_map: ParallelMap = serial_map
    store: Store | None = None
    device_description: str = ""


@dataclass(frozen=True)
class Stage:
    """A stage: its name, its function and its declaration."""

    name: str
    function: Callable[..., dict[str, Any]]
    declaration: StageDeclaration

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the stages whose folders the function takes."""
        return self.declaration.inputs

    def __call__(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        return self.function(*arguments, **named)

    def has_parameter(self, name: str) -> bool:
        """Return whether the function has a parameter of that name."""
        return name in inspect.signature(self.function).parameters

    def required_devices(self, context: StageContext) -> tuple[str, int]:
        """Return the kind of device that the stage holds, "cpu" or "cuda", and the number of them.

        On a CPU, the number is that of processes.
        """
        kind = context.device.partition(":")[0] if self.has_parameter("device") else "cpu"
        return kind, context.processes if self.has_parameter("processes") else 1

    def key(self, parameters: Any, inputs: Mapping[str, StageOutput], context: StageContext) -> str:
        """Return the cache key, which decides between making and reusing an output."""
        return self._digest_key(parameters, inputs, self._requested_context(parameters, context))

    def _digest_key(
        self, parameters: Any, inputs: Mapping[str, StageOutput], asked: Mapping[str, Any]
    ) -> str:
        digests = {name: self._input_digest(inputs[name]) for name in self.inputs if name in inputs}
        return stage_key(self.name, self.function, parameters, digests, asked)

    def _input_digest(self, reference: StageOutput) -> str:
        """Return the digest of what this stage reads of an input: all of it, or the folders that it names."""
        if reference.stage not in self.declaration.input_patterns:
            return reference.digest
        manifest = read_manifest(Path(reference.path))
        if manifest is None:
            raise RuntimeError(
                f"{reference.path} is missing or incomplete; a new run recomputes {reference.stage}"
            )
        # Manifests of older versions of chatmill lack the checksums of single files; their outputs are still
        # valid.
        sums = manifest.get("sums") or folder_sums(Path(reference.path), without=(MANIFEST,))
        patterns = self.declaration.input_patterns[reference.stage]
        return sums_digest({name: found for name, found in sums.items() if matches_patterns(name, patterns)})

    def _requested_context(self, parameters: Any, context: StageContext) -> dict[str, Any]:
        """Return the settings of the context that enter the cache key."""
        from model.training.devices import describe_device

        asked: dict[str, Any] = {
            name: getattr(context, name) for name in CONTEXT_PARAMETERS if self.has_parameter(name)
        }
        if "device" in asked:
            asked["device"] = context.device_description or describe_device(context.device)
        # How many processes share the work does not change the output.
        asked.pop("processes", None)
        if self.declaration.external_inputs is not None:
            asked["outside"] = self.declaration.external_inputs(parameters, context.root)
        return asked

    def describe_key(
        self, parameters: Any, inputs: Mapping[str, StageOutput], context: StageContext
    ) -> dict[str, Any]:
        """Return the part of a manifest that explains the cache key, without computing the stage.

        Args:
            parameters: The stage's parameters.
            inputs: The outputs of the input stages. One without a digest is not computed yet: it is left out,
                and `key` is then empty.
            context: The run's settings.
        """
        asked = self._requested_context(parameters, context)
        known = {name: found for name, found in inputs.items() if self._is_digest_known(found)}
        key = self._digest_key(parameters, known, asked) if len(known) == len(inputs) else ""
        return {"stage": self.name, "key": key, **self._describe_inputs(parameters, known, context, asked)}

    def _is_digest_known(self, reference: StageOutput) -> bool:
        # The folders that the stage reads may be known although the rest of the output is not.
        return bool(
            reference.digest or (reference.path and reference.stage in self.declaration.input_patterns)
        )

    def find_output(
        self,
        parameters: Any,
        inputs: Mapping[str, StageOutput],
        context: StageContext,
        on_event: EventCallback,
    ) -> StageOutput | None:
        """Return the output of this key from this host or the store; None if neither has it. Make nothing."""
        return fetch_output(self.name, self.key(parameters, inputs, context), context, on_event)

    def run(
        self,
        parameters: Any,
        inputs: Mapping[str, StageOutput],
        context: StageContext,
        on_event: EventCallback,
        run: str = "",
        on_begin: Callable[[str, int], object] = lambda device, devices: None,
    ) -> StageOutput:
        """Reuse the output of this key, or make it; wait while another process makes the same one.

        A finished output that an earlier run could not publish is reused too.

        Args:
            parameters: The stage's parameters.
            inputs: The outputs of the input stages, by name.
            context: The run's settings.
            on_event: Receives the events of the stage.
            run: The id of the stage's MLflow run, recorded in the manifest.
            on_begin: Called with the kind of device and the number of devices that the stage holds, once it
                begins to compute: after all waiting, and not if an output is reused.

        Raises:
            UserError: The disk is full or cannot be written, or an input is damaged. Complete outputs stay.
                An unfinished output is removed unless the stage resumes.
        """
        asked = self._requested_context(parameters, context)
        key = self._digest_key(parameters, inputs, asked)
        folder = context.root / ARTIFACTS / self.name / key
        part = folder.with_suffix(PART)
        with self._free_space(part), exclusive_lock(folder.with_suffix(LOCK), on_event, WAITS):
            # A kill between the manifest and the rename left a complete output under its temporary name.
            if is_undamaged(part, context.root):
                publish_output(part, folder)
            known = usable_output(self.name, folder, context.root, on_event) or _fetch_to_folder(
                self.name, key, folder, context, on_event
            )
            if known and (
                self.declaration.output_is_current is None
                or self.declaration.output_is_current(folder, context.root)
            ):
                return make_reference(folder, known, reused=True)
            check_code_digest(self.function)
            if part.exists() and not self.declaration.resumable:
                shutil.rmtree(part)
            part.mkdir(parents=True, exist_ok=True)
            # A manifest in an incomplete folder would make the next run take the folder for a finished
            # output.
            (part / MANIFEST).unlink(missing_ok=True)
            # Checked as late as possible, since a long stage may have run since the inputs were made.
            self._check_inputs(inputs, context)
            view = folder.with_suffix(VIEW)
            with (
                self._call_arguments(inputs, context, view) as arguments,
                self._hold_device(context, on_event),
            ):
                began = time.monotonic()
                held = self.required_devices(context)
                on_begin(*held)
                meter = ResourceMeter(part, *held, on_event, run, self.declaration.resumable)
                imported: dict[str, str] = {}

                def listen(event: Event) -> None:
                    if isinstance(event, ImportedSources):
                        imported.update(event.modules)
                    else:
                        meter.report_event(event)

                with meter:
                    metrics = self.function(parameters, **arguments, out=part, on_event=listen)
            self._check_code(part, imported)
            traces = self._resume_files()
            sums = folder_sums(part, without=(MANIFEST, *traces))
            manifest = {
                "stage": self.name,
                "key": key,
                **self._describe_inputs(parameters, inputs, context, asked),
                "seconds": round(time.monotonic() - began, 3),
                "cost": plain_cost(meter.cost),
                "metrics": metrics,
                "digest": output_digest(sums, self.declaration.excluded_from_digest),
                **(
                    {"apart": list(self.declaration.excluded_from_digest)}
                    if self.declaration.excluded_from_digest
                    else {}
                ),
                "files": file_sizes(part, without=traces),
                "sums": sums,
                "run": run,
                "declaration": self.declaration.to_json(),
            }
            write_manifest(part, manifest)
            # Only now: a run that is killed before this line resumes from these files.
            _remove_paths(part / name for name in traces)
            if known and (known.get("sums"), known["metrics"]) == (sums, metrics):
                # Made again only to bring data/ back to this version. Other runs may be reading the output.
                shutil.rmtree(part)
            else:
                publish_output(part, folder)
            return make_reference(folder, manifest, reused=False)

    def _check_inputs(self, inputs: Mapping[str, StageOutput], context: StageContext) -> None:
        """Raise UserError if an input was damaged since it was made or last used."""
        for name in self.inputs:
            if name in inputs:
                try:
                    check_output(inputs[name], context.root)
                except DamagedOutput as error:
                    raise UserError(
                        f"{error}, so {self.name} cannot use it; run again to recompute it"
                    ) from error

    def _check_code(self, part: Path, imported: Mapping[str, str]) -> None:
        """Raise UserError, and remove the output, if the code that ran is not the code of the cache key."""
        changed = changed_source(self.function, imported)
        if changed is not None:
            # The checkpoints go too, because that other code wrote them.
            shutil.rmtree(part)
            raise UserError(
                f"{changed} changed while {self.name} ran, so its output was discarded; run again"
            )

    def _describe_inputs(
        self,
        parameters: Any,
        inputs: Mapping[str, StageOutput],
        context: StageContext,
        asked: Mapping[str, Any],
    ) -> dict[str, Any]:
        from model.training.devices import describe_device

        return {
            "parameters": plain_parameters(parameters),
            "inputs": {
                name: {
                    "key": inputs[name].key,
                    "digest": inputs[name].digest,
                    "read": self._input_digest(inputs[name]),
                }
                for name in self.inputs
                if name in inputs
            },
            "code": code_digest(self.function),
            "definitions": definition_digests(self.function),
            "surroundings": plain_parameters(asked),
            "lock": lock_digest(),
            "device": describe_device(context.device),
            "seed": context.seed,
        }

    def _resume_files(self) -> tuple[str, ...]:
        """Return the names of files in the output that only serve resumption."""
        if not self.declaration.resumable:
            return ()
        from model.training.trainer import RESUME_FILES

        return RESUME_FILES

    @contextmanager
    def _call_arguments(
        self, inputs: Mapping[str, StageOutput], context: StageContext, view: Path
    ) -> Iterator[dict[str, Any]]:
        """Yield the function's arguments; an input with `input_patterns` is a view of those folders."""
        given: dict[str, Any] = {
            name: Path(inputs[name].path) if name in inputs else None for name in self.inputs
        }
        for name in ("root", "parallel_map", *CONTEXT_PARAMETERS):
            if self.has_parameter(name):
                given[name] = getattr(context, name)
        _remove_paths([view])
        try:
            for name, patterns in self.declaration.input_patterns.items():
                if given[name] is not None:
                    given[name] = make_view(given[name], patterns, view / name)
            yield given
        finally:
            _remove_paths([view])

    def _hold_device(self, context: StageContext, on_event: EventCallback) -> AbstractContextManager[None]:
        """Return a context that holds the device, if the stage asks for it; other stages wait meanwhile."""
        if not self.has_parameter("device"):
            return nullcontext()
        return device_lock.hold_devices(
            context.device, self.required_devices(context)[1], context.root, on_event
        )

    @contextmanager
    def _free_space(self, part: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _WRITE_DENIED and Path(error.filename or part).is_relative_to(
                part.parent.parent
            ):
                advice = "make it writable and run again: finished outputs are kept"
                raise file_error(error.filename or part.parent, "cannot be written", error, advice) from error
            if error.errno in DISK_FAULTS:
                advice = "check the disk and run again: finished outputs are kept"
                place = error.filename or part.parent
                raise file_error(place, "cannot be read or written", error, advice) from error
            if error.errno not in FULL:
                raise
            if not self.declaration.resumable:
                shutil.rmtree(part, ignore_errors=True)
            raise UserError(
                f"the disk of {error.filename or part.parent} is full; free disk space and run again: "
                f"finished stages are kept, and {self.name} "
                f"{'resumes from its last checkpoint' if self.declaration.resumable else 'starts over'}"
            ) from error


class _StageDecorator(StageDeclaration):
    def __call__(self, function: Callable[..., dict[str, Any]]) -> Stage:
        return Stage(function.__name__, function, self)


# `@stage(inputs=..., ...)` makes a stage of a function; the arguments are the fields of StageDeclaration.
stage = _StageDecorator


def fetch_output(stage: str, key: str, context: StageContext, on_event: EventCallback) -> StageOutput | None:
    """Return an output by its key, from this host or from the store; None if neither has it.

    Raises:
        UserError: The stage or the key is not a plain name. Both come from other hosts, by MLflow tags and
            Prefect parameters, and become part of a path.
    """
    if not (re.fullmatch("[a-z][a-z_]*", stage) and re.fullmatch("[0-9a-f]{8,64}", key)):
        raise UserError(
            f"{stage[:80]!r} with the key {key[:80]!r} does not name a stage output; nothing was read"
        )
    folder = context.root / ARTIFACTS / stage / key
    with exclusive_lock(folder.with_suffix(LOCK), on_event, WAITS):
        known = usable_output(stage, folder, context.root, on_event) or _fetch_to_folder(
            stage, key, folder, context, on_event
        )
    return make_reference(folder, known, reused=True) if known else None


def _fetch_to_folder(
    stage: str, key: str, folder: Path, context: StageContext, on_event: EventCallback
) -> dict[str, Any] | None:
    return context.store.fetch_output(stage, key, folder, on_event) if context.store else None


def _remove_paths(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
