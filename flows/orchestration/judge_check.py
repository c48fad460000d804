"""The check of the judge at an address before a run computes what leads to the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from model.evaluation.evaluate_config import ENDPOINT
from tasks.engine.catalog import load_stages
from tasks.evaluation.endpoint_judge import EndpointJudge

if TYPE_CHECKING:
    from flows.config import Preset
    from tasks.engine.stage import Stage

_EVALUATE = "evaluate"
# It is also computed to bring data/ back to a version whose later outputs are all reused.
_INGEST = "ingest"


class JudgeCheck:
    """One small request to the judge of a preset, before the first stage that makes an evaluation necessary.

    A run that reuses its evaluation asks nothing. Nor is the judge asked if the preset's work pool evaluates:
    the address may be one of that host.
    """

    def __init__(self, preset: Preset, show_notice: Callable[[str], object], evaluates: bool = True) -> None:
        """Prepare the check of a preset.

        Args:
            preset: The preset.
            show_notice: Receives a sentence that does not stop the run.
            evaluates: Whether the run goes on to the evaluation; else nothing is asked.
        """
        asked = preset.evaluate
        self.show_notice = show_notice
        self.waiting: EndpointJudge | None = None
        if evaluates and asked.judge == ENDPOINT and not preset.execution.gpu_work_pool:
            self.waiting = EndpointJudge(asked.judge_endpoint, asked.judge_model, asked.judge_question)

    def before(self, stage: Stage, begin: Callable[[str, int], object]) -> Callable[[str, int], object]:
        """Return `begin`, the callback of a stage that begins to compute, with the check before it."""

        def check_first(device: str, devices: int) -> None:
            judge = self.waiting
            if judge and stage.name != _INGEST and stage.name in stages_before(_EVALUATE):
                self.waiting = None
                if notice := judge.check_reachable():
                    self.show_notice(notice)
            begin(device, devices)

        return check_first


def stages_before(name: str) -> set[str]:
    """Return a stage and all whose outputs it reads, directly or not."""
    stages, found, todo = load_stages(), set[str](), [name]
    while todo:
        each = todo.pop()
        # The champion's model is an input that no stage makes.
        if each in stages and each not in found:
            found.add(each)
            todo += stages[each].inputs
    return found
