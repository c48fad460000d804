"""The product of a batch: the models that its items come from, and that learn from its judgements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update

from model.errors import UserError
from tasks.common.counts import counted
from tasks.common.names import is_blank, shown_name, yaml_quoted
from tasks.labelling.batches import PRODUCT_KEY, missing_batch
from tasks.labelling.schema import BATCH_TABLE, LabelStore

# Another key of a batch's origin. Batches of earlier versions have it alone, imported ones have neither.
PRESET_KEY = "preset"


def batch_product(origin: Mapping[str, Any]) -> str:
    """Return the product that a batch's origin records, or else its preset; empty: it has neither."""
    return str(origin.get(PRODUCT_KEY) or origin.get(PRESET_KEY) or "")


def set_batch_product(store: LabelStore, name: str, product: str) -> None:
    """Record the product of a batch that exists.

    Raises:
        UserError: There is no such batch, or the product's name is empty.
    """
    check_product_name(product)
    with store.write() as connection:
        wanted = BATCH_TABLE.c.name == name
        origin = connection.execute(select(BATCH_TABLE.c.origin).where(wanted)).scalar()
        if origin is None:
            raise UserError(missing_batch(name))
        connection.execute(update(BATCH_TABLE).where(wanted).values(origin={**origin, PRODUCT_KEY: product}))


def check_product_name(product: str) -> None:
    """Raise UserError if the name of a product is empty."""
    if is_blank(product):
        raise UserError("the product's name is empty; expected the registry.model or the name of a preset")


@dataclass(frozen=True)
class ProductChoice:
    """The products whose batches a source reads.

    Attributes:
        products: The products that the source names; empty: its own.
        own: The product of the preset; empty: it is not known, and all batches are read.
        presets: The presets of that product, for batches that record no product.
    """

    products: tuple[str, ...] = ()
    own: str = ""
    presets: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """Return the products that are read; empty: all."""
        return self.products or ((self.own,) if self.own else ())

    def reads(self, origin: Mapping[str, Any]) -> bool:
        """Return whether the judgements of a batch are read. Those of a batch without a product are."""
        name = batch_product(origin)
        if not self.wanted or not name or name in self.wanted:
            return True
        return not origin.get(PRODUCT_KEY) and self.own in self.wanted and name in self.presets

    def describe_choice(self, origins: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return sentences about judgements of other products and of none; empty if all are of this one.

        Args:
            origins: The origin of the batch of each judgement.
        """
        others, unnamed = Counter[str](), 0
        for origin in origins:
            name = batch_product(origin)
            unnamed += not name
            if not self.reads(origin):
                others[name] += 1
        if not others:
            return []
        counts = ", ".join(
            f"{counted(others[name], 'judgements')} of {shown_name(name)}" for name in sorted(others)
        )
        both = ", ".join(map(yaml_quoted, (*self.wanted, *sorted(others))))
        said = [
            f"left out: {counts}, as the batches are of another product than "
            f"{', '.join(map(shown_name, self.wanted))}; `products: [{both}]` in the source reads them too"
        ]
        if unnamed:
            said.append(
                f"read: {counted(unnamed, 'judgements')} of imported batches that name no product; "
                "`chatmill label product NAME PRODUCT` gives a batch to one"
            )
        return said


ALL_PRODUCTS = ProductChoice()
