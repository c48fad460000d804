"""Batches for the label page: the models that answer, and a batch that is added to the store once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.config import Preset
from flows.orchestration.run_links import deployed_preset_path
from model.errors import UserError
from model.events import EventCallback
from tasks.common.counts import counted
from tasks.data.labels.label_selection import read_made_items
from tasks.engine.output import StageOutput
from tasks.engine.stage import StageContext, fetch_output
from tasks.label_batch import COUNTS, ITEMS, LabelItemsParameters
from tasks.labelling.batch_parameters import (
    ALIGNED,
    CHAMPION_MODEL,
    NUMBER_WORD,
    SFT,
    LabelBatchParameters,
)
from tasks.labelling.batch_products import PRESET_KEY, PRODUCT_KEY
from tasks.labelling.batch_requests import add_request
from tasks.labelling.batches import (
    DEFAULT_GUIDE,
    Batch,
    BatchSettings,
    check_items,
    insert_batch,
    list_batches,
    note_origin,
    select_batches,
)
from tasks.labelling.guide_file import read_guide_file
from tasks.labelling.schema import open_label_store, read_label_store
from tasks.labelling.waiting_champions import drop_waiting, keep_waiting
from tasks.tracking.lineage import presets_of
from tasks.tracking.products import version_address

if TYPE_CHECKING:
    from tasks.tracking.tracker import Tracker

# The stages whose outputs the items are made from. Before there are labels, the last three are missing.
_NEEDED, _OPTIONAL = ("split", "sft"), ("labels", "reward", "rlhf")
# The key of a batch's origin with the champion of its time.
_CHAMPION = "champion"
SERVE_PAGE = "`chatmill label` serves the page"
_REASONS = (("random", "at random"), ("uncertain", "uncertain"), ("known", "known"))
_LEFT_OUT = (
    ("repeated_prompts", "repeated prompts"),
    ("missing_answers", "prompts without an answer in a file"),
    ("too_long", "prompts too long for a model"),
    ("empty_answers", "pairs with an empty answer"),
    ("unprintable_answers", "pairs with characters that cannot be printed"),
    ("equal_answers", "pairs of equal answers"),
    ("similar_answers", "pairs of similar answers"),
)


@dataclass(frozen=True)
class MadeBatch:
    """A batch in the store.

    Attributes:
        name: Its name.
        items: The number of its items.
        counts: The stage's counts: items by reason, and what was left out.
        is_new: Whether this call added it. False if the store had a batch with the same content, or another
            process added one meanwhile.
        earlier: Items that were left out, as earlier batches have them.
        missing: The judgements that the other process's batch needs.
    """

    name: str
    items: int
    counts: Mapping[str, Any]
    is_new: bool
    earlier: int = 0
    missing: int = 0

    def describe(self) -> str:
        """Return a sentence with the number of items by reason."""
        if self.missing:
            return f"another process added a batch meanwhile: {_name_unfinished(self.name, self.missing)}"
        reasons = [f"{self.counts[name]:.0f} {said}" for name, said in _REASONS if self.counts.get(name)]
        said = f"batch {self.name} has {counted(self.items, 'items')}: {', '.join(reasons)}"
        if self.is_new:
            return said
        return f"{said}; the page has it already (another label_batch.round makes another batch)"

    def describe_left_out(self) -> str:
        """Return a sentence about what was left out; empty if nothing was."""
        found = [f"{self.counts[name]:,.0f} {said}" for name, said in _LEFT_OUT if self.counts.get(name)]
        if self.earlier:
            found.append(f"{self.earlier:,} items of earlier batches")
        return f"left out: {', '.join(found)}" if found else ""


@dataclass(frozen=True)
class BatchInputs:
    """The outputs that a batch is made from, and a reference to the data that they were made from."""

    outputs: list[StageOutput]
    data: StageOutput


def item_parameters(preset: Preset) -> LabelItemsParameters:
    """Return the parameters of a preset's items, without those of its batch that change no item."""
    given, default = preset.label_batch, LabelBatchParameters()
    return LabelItemsParameters(
        replace(
            given,
            name=default.name,
            aspects=default.aspects,
            needed=default.needed,
            guide=default.guide,
            markdown=default.markdown,
            sources=given.sources or preset.rlhf.sources,
            max_new_tokens=given.max_new_tokens or preset.rlhf.max_new_tokens,
        ),
        preset.split_parameters(),
        preset.reward,
    )


def find_batch_inputs(
    preset: Preset, tracker: Tracker, context: StageContext, on_event: EventCallback
) -> BatchInputs:
    """Return the outputs of the preset's last run that a batch is made from.

    That is the newest run with an aligned model, or else with an SFT model. Nothing is computed.

    Args:
        preset: The preset.
        tracker: The tracker of the preset's product.
        context: The run's settings.
        on_event: Receives what is fetched.

    Raises:
        UserError: There is no such run, or an output of it or a named model is gone.
    """
    from tasks.tracking.queries import last_stages

    again = f"`chatmill run` with preset {preset.name}"
    stages, data = last_stages(tracker.client, preset.name, "rlhf")
    if not stages:
        stages, data = last_stages(tracker.client, preset.name, "sft")
    if not stages:
        raise UserError(f"no run of preset {preset.name} has made an SFT model yet; {again} makes one")
    named = {answer.model for answer in preset.label_batch.answers}
    if ALIGNED in named and "rlhf" not in stages:
        raise UserError(
            f"label_batch.answers names the {ALIGNED} model, and no run of preset {preset.name} has made one "
            f"yet; {again} makes it once there are labels, or name {SFT}"
        )
    found = []
    for name in (*_NEEDED, *_OPTIONAL):
        if name not in stages:
            continue
        output = fetch_output(name, stages[name].key, context, on_event)
        if output is None:
            raise UserError(
                f"the output of {name} of run {stages[name].pipeline[:12]} is missing; {again} recomputes it"
            )
        found.append(replace(output, run=stages[name].holder))
    if CHAMPION_MODEL in named:
        found.append(_fetch_champion(tracker, context.root, again, on_event))
    return BatchInputs(found, StageOutput("ingest", "", "", "", True, 0.0, {"data_hash": data}))


def _fetch_champion(tracker: Tracker, root: Path, again: str, on_event: EventCallback) -> StageOutput:
    from tasks.tracking.champion_input import fetch_champion_model

    version = tracker.registry.champion()
    if version is None:
        raise UserError(
            f"label_batch.answers names the {CHAMPION_MODEL}, and there is none yet; {again} makes one if "
            "the gate accepts the model"
        )
    return fetch_champion_model(version, tracker.uri, root, on_event)


def read_guide(parameters: LabelBatchParameters, root: Path) -> str:
    """Return the text of a batch's guide. Raise UserError if its file cannot be read."""
    if not parameters.guide:
        return DEFAULT_GUIDE
    try:
        return read_guide_file(root / parameters.guide)
    except UserError as error:
        raise UserError(f"label_batch.guide: {error}") from None


def find_unfinished_batch(preset: Preset, root: Path) -> str:
    """Return a sentence about the preset's open batch that still needs judgements; empty if there is none."""
    store = read_label_store(root)
    if store is None:
        return ""
    with store:
        unfinished = _find_unfinished(list_batches(store), preset.name)
    return _name_unfinished(unfinished.name, unfinished.missing) if unfinished else ""


def keep_champion_waiting(preset: Preset, tracker: Tracker, root: Path) -> str:
    """Remember that the champion has no batch while an earlier one needs judgements; return a sentence.

    Nothing is remembered if that batch was made for this champion, or if there is no champion.
    """
    version = tracker.registry.champion()
    if version is None:
        return ""
    champion = version_address(version)
    with open_label_store(root) as store:
        unfinished = _find_unfinished(list_batches(store), preset.name)
        if unfinished and unfinished.origin.get(_CHAMPION) == champion:
            return ""
        keep_waiting(store, preset.name, champion, deployed_preset_path(preset.name))
    return f"the batch of the champion {champion} is made when that one ends"


def find_champion_without_batch(preset: Preset, tracker: Tracker, root: Path) -> str:
    """Return the preset's champion, NAME/NUMBER, if no batch was made for it; empty if one was."""
    version = tracker.registry.champion()
    # Presets may share a product. The batch is that of the preset whose run made the champion.
    if version is None or preset.name not in presets_of(tracker.client, [version]).values():
        return ""
    champion = version_address(version)
    store = read_label_store(root)
    if store is None:
        return champion
    with store:
        made = {(each.origin.get(PRESET_KEY), each.origin.get(_CHAMPION)) for each in list_batches(store)}
    return "" if (preset.name, champion) in made else champion


def _find_unfinished(batches: Iterable[Batch], preset: str) -> Batch | None:
    # Batches that people imported, and those of other presets, are not of these models.
    made = [each for each in batches if each.origin.get("output") and each.origin.get(PRESET_KEY) == preset]
    return next((each for each in reversed(made) if each.open and each.missing > 0), None)


def _name_unfinished(name: str, missing: int) -> str:
    return (
        f"batch {name} is open and still needs {counted(missing, 'judgements')}, so no batch was added; "
        "`chatmill label close NAME` ends it, and `chatmill label batch --add-another` adds a batch beside it"
    )


def add_made_batch(
    preset: Preset, output: StageOutput, root: Path, add_another: bool = False, champion: str = ""
) -> MadeBatch:
    """Add the items of the stage label_batch to the label page's store, unless it has the same ones already.

    The request to judge them is stored with them; `send_batch_requests` sends it. The store's own lock lets
    one process at a time look for a batch and add one, on any host.

    Args:
        preset: The preset.
        output: The stage's output.
        root: The project's folder.
        add_another: Whether to add the batch although an open one of the preset needs judgements.
        champion: The champion at this moment, NAME/NUMBER; empty: there is none.

    Raises:
        UserError: The guide cannot be read, the name is taken, or all items are in earlier batches.
    """
    parameters = preset.label_batch
    guide = read_guide(parameters, root)
    folder = Path(output.path)
    counts = json.loads((folder / COUNTS).read_text(encoding="utf-8"))
    # Before the transaction, for which the people who judge wait.
    items = check_items(read_made_items(folder / ITEMS))
    config = deployed_preset_path(preset.name)
    with open_label_store(root) as store, store.write() as connection:
        batches = select_batches(connection)
        for batch in batches:
            if batch.origin.get("output") == output.digest:
                # The models have not changed, so there is no other batch that a champion could wait for.
                drop_waiting(connection, preset.name)
                if champion:
                    note_origin(connection, batch, {_CHAMPION: champion})
                return MadeBatch(batch.name, batch.items, counts, False)
        if not add_another and (other := _find_unfinished(batches, preset.name)):
            return MadeBatch(other.name, other.items, {}, False, missing=other.missing)
        name = _free_name(parameters, preset.name, {batch.name for batch in batches})
        origin = {
            PRODUCT_KEY: preset.product, PRESET_KEY: preset.name, "output": output.digest,
            "key": output.key, "run": output.run, "counts": counts, _CHAMPION: champion,
        }  # fmt: skip
        settings = BatchSettings(
            name, guide, parameters.aspects, parameters.needed, parameters.markdown, origin
        )
        added = insert_batch(connection, settings, items)
        made = MadeBatch(name, added.added, counts, True, added.earlier)
        payload = {
            "says": made.describe(), "then": SERVE_PAGE, "batch": name, "items": made.items, "config": config,
        }  # fmt: skip
        drop_waiting(connection, preset.name)
        add_request(connection, added.batch, preset.name, payload)
    return made


def _free_name(parameters: LabelBatchParameters, preset: str, taken: set[str]) -> str:
    """Return the name of a new batch: of a pattern with a number the first one that no batch has."""
    number = 1
    name = parameters.batch_name(preset, number)
    while NUMBER_WORD in parameters.name and name in taken:
        number += 1
        name = parameters.batch_name(preset, number)
    return name
