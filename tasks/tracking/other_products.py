"""Notice that a preset starts a new product on data whose champion belongs to another product."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.common.names import shown_name, yaml_quoted
from tasks.dvc.pointer_file import read_pointer
from tasks.dvc.version_list import remembered_versions
from tasks.tracking.products import Product, list_products
from tasks.tracking.queries import data_hash, run_or_none

if TYPE_CHECKING:
    from mlflow import MlflowClient


def describe_other_champion(
    client: MlflowClient, product: Product, sources: Collection[str], root: Path
) -> str:
    """Return a sentence if a product has no version, and the champion of another one learned from its data.

    A preset's name is its product unless `registry.model` says another: a new name starts anew, without the
    comparison with the former champion.

    Args:
        client: A client of the MLflow store.
        product: The product of the preset.
        sources: The names of the preset's sources.
        root: The project's folder.

    Returns:
        The sentence with the key that keeps both together; empty if there is no such champion.
    """
    products = list_products(client)
    if any(known.model == product.model for known in products):
        return ""
    pointers = [*remembered_versions(root), *filter(None, [read_pointer(root)])]
    names = {str(known["md5"]): set(known["meta"].get("names") or ()) for known in pointers}
    for other in (known for known in products if known.champion):
        version = client.get_model_version(other.model, other.champion)
        made = run_or_none(client, str(version.run_id))
        learned = names.get((data_hash(made) if made else None) or "", set())
        # Of other data in the same project, most sources have other names.
        if learned and 2 * len(learned & {*sources}) >= len(learned):
            return (
                f"this starts a new product, {shown_name(product.name)}: the champion of this data, version "
                f"{other.champion}, belongs to {shown_name(other.name)} and is not compared with; to go on "
                f"with it, set registry: {{model: {yaml_quoted(other.name)}}} in the preset"
            )
    return ""
