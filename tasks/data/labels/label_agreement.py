"""Measure how far people agree on the labels of a split, and refuse aspects with too little agreement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import isnan
from pathlib import Path

from model.errors import UserError
from tasks.common.counts import counted
from tasks.common.names import split_stratum
from tasks.data.labels.annotator_agreement import Agreement
from tasks.data.labels.comparisons import Comparisons
from tasks.data.labels.judgements import Judgements, measure_agreement, tabulate_first_judgements
from tasks.data.labels.ratings import LabelsParameters, Ratings
from tasks.data.splits import SPLITS


def agreement_of_split(split: Path, parameters: LabelsParameters) -> dict[str, dict[str, Agreement]]:
    """Return the agreement on all selected labels of a split, by kind and by "aspect/source"."""
    rated: dict[str, Agreement] = defaultdict(Agreement)
    compared = Judgements()
    for name in SPLITS:
        for row in Comparisons(split / name, parameters).judged():
            compared.add_comparison(vars(row))
        for _ in Ratings(split / name, parameters).read(rated):
            pass
    return {"ratings": dict(rated), "comparisons": agreement_on_comparisons([compared])}


def agreement_on_comparisons(parts: list[Judgements]) -> dict[str, Agreement]:
    """Return the agreement on comparisons by "aspect/source", of what people judged before any decision."""
    strata = sorted({stratum for part in parts for stratum in part.strata})
    return {stratum: measure_agreement(tabulate_first_judgements(stratum, parts)) for stratum in strata}


def refuse_low_agreement(
    parameters: LabelsParameters, agreed: Mapping[str, Mapping[str, Agreement]]
) -> list[str]:
    """Refuse labels of an aspect on which people agree less than the preset asks for.

    Args:
        parameters: The selection of labels, with the smallest alpha of each aspect.
        agreed: The agreement by kind of labels and by "aspect/source".

    Returns:
        Sentences about sources of these aspects whose agreement is unknown.

    Raises:
        UserError: The alpha of a source is too low, no source of an aspect was judged twice, or there are no
            labels of the aspect.
    """
    unknown = []
    for aspect, least in sorted(parameters.min_agreement.items()):
        # The way out of too little agreement, so that the bound may stay in the preset.
        if parameters.aspects and aspect not in parameters.aspects:
            continue
        found = [
            (kind, source, agreement)
            for kind, strata in sorted(agreed.items())
            for stratum, agreement in sorted(strata.items())
            for named, source in [split_stratum(stratum)]
            if named == aspect
        ]
        if not found:
            there = sorted({split_stratum(stratum)[0] for strata in agreed.values() for stratum in strata})
            raise UserError(
                f"labels.min_agreement.{aspect}: there are no labels of this aspect; there are "
                + (", ".join(there) or "none at all")
            )
        missing = [each for each in found if isnan(each[2].krippendorff_alpha)]
        if len(missing) == len(found):
            raise UserError(
                f"labels.min_agreement.{aspect}: no answer was judged by two people, so their agreement on "
                f"{aspect} is unknown; have some answers judged by two or more people, or remove the key"
            )
        for kind, source, agreement in found:
            if agreement.krippendorff_alpha < least:
                raise UserError(_describe_low(aspect, least, kind, source, agreement))
        unknown += [
            f"labels.min_agreement.{aspect}: agreement on the {kind} of {source} is unknown, as nothing was "
            "judged by two people; they are used"
            for kind, source, _ in missing
        ]
    return unknown


def _describe_low(aspect: str, least: float, kind: str, source: str, agreement: Agreement) -> str:
    ends = agreement.alpha_interval
    interval = f"95%: {ends[0]:.2f} to {ends[1]:.2f}; " if ends else ""
    judged = counted(agreement.shared_items, "texts" if kind == "ratings" else "pairs")
    return (
        f"labels.min_agreement.{aspect} is {least:g}, but people agree on {aspect} ({kind} of {source}) with "
        f"an alpha of {agreement.krippendorff_alpha:.2f} ({interval}{judged} with several judgements); make "
        "the guidelines clearer and judge again, lower the key, or leave the aspect out by labels.aspects"
    )
