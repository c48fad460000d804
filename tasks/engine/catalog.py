"""The stages of this version of chatmill, by name: the modules that lie in `tasks/` itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

import tasks
from tasks.engine.declaration import StageDeclaration
from tasks.engine.stage import Stage


@cache
def load_stages() -> dict[str, Stage]:
    """Import all stages and return them by name.

    This imports PyTorch, which takes seconds: a command that only looks back reads what runs recorded.
    """
    modules = [found.name for found in pkgutil.iter_modules(tasks.__path__) if not found.ispkg]
    loaded = [importlib.import_module(f"tasks.{name}") for name in modules]
    found = [value for module in loaded for value in vars(module).values() if isinstance(value, Stage)]
    return {stage.name: stage for stage in found}


def read_declaration(stage: str, recorded: Mapping[str, Any] | None) -> StageDeclaration:
    """Return what a stage declared when it ran; for a run that recorded nothing, what it declares now.

    A stage that neither the run nor this version of chatmill describes declares nothing.
    """
    if recorded is not None:
        return StageDeclaration.from_json(recorded)
    known = load_stages().get(stage)
    return known.declares if known else StageDeclaration()
