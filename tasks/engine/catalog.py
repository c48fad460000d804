"""The stages of this version of chatmill by name: the modules directly in `tasks/`."""

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

    The import includes PyTorch, which takes seconds. A command that only shows past runs reads what they
    recorded instead.
    """
    modules = [found.name for found in pkgutil.iter_modules(tasks.__path__) if not found.ispkg]
    loaded = [importlib.import_module(f"tasks.{name}") for name in modules]
    found = [value for module in loaded for value in vars(module).values() if isinstance(value, Stage)]
    return {stage.name: stage for stage in found}


def read_declaration(stage: str, recorded: Mapping[str, Any] | None) -> StageDeclaration:
    """Return what a stage declared when it ran; for a run that recorded nothing, what it declares now.

    A stage that is neither recorded nor part of this version of chatmill has an empty declaration.
    """
    # The recorded one first: it describes that run even if the stage's code has changed since.
    if recorded is not None:
        return StageDeclaration.from_json(recorded)
    known = load_stages().get(stage)
    return known.declaration if known else StageDeclaration()
