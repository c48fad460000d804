"""Products: each has its own registered model in MLflow, with its own versions and its own champion.

A product is the preset's `registry.model`, or its `name`. A store of an earlier version, which had no
products, has all versions in the registered model `chatmill`. That model is listed as a product of that name.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.errors import UserError
from tasks.common.names import is_blank

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

MODEL, CHAMPION = "chatmill", "champion"
PRODUCT = "chatmill.product"
# MLflow refuses / and :, and its filters have no way to escape a quote.
_ESCAPED = "%/:'\"\\"
_LONGEST = 200


@dataclass(frozen=True)
class Product:
    """A product: the name that people use, and the name of its registered model in MLflow.

    `champion` is the version with the alias when the store was read, and `newest` the last version. They are
    empty if there was none or the store was not read.
    """

    name: str
    model: str
    champion: str = ""
    newest: str = ""


def product_named(name: str) -> Product:
    """Return the product of a preset.

    Raises:
        UserError: No registered model can have this name.
    """
    if is_blank(name):
        raise UserError("registry.model and the preset's name are both empty; set one of them")
    model = "".join(_escaped(letter) for letter in name)
    if len(model) > _LONGEST or model in (".", ".."):
        raise UserError(
            f"{name[:40]!r} is not a valid model name in MLflow; set registry.model to a name of 1 to "
            f"{_LONGEST} letters"
        )
    return Product(name, model)


def _escaped(letter: str) -> str:
    if letter in _ESCAPED or unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
    return letter


def list_products(client: MlflowClient) -> list[Product]:
    """Return the products that have versions, by name; registered models of other programs are left out."""
    found, token = [], None
    while True:
        page = client.search_registered_models(page_token=token)
        # A product exists before its first version: a run that was killed may have left one without any.
        found += [known for model in page if (known := product_of(model)) and model.latest_versions]
        token = page.token
        if not token:
            return sorted(found, key=lambda product: product.name)


def product_of(model: RegisteredModel) -> Product | None:
    """Return the product that a registered model belongs to; None if another program made the model."""
    name = model.tags.get(PRODUCT, MODEL if model.name == MODEL else "")
    newest = max((int(version.version) for version in model.latest_versions), default="")
    return Product(name, model.name, str(model.aliases.get(CHAMPION, "")), str(newest)) if name else None


def find_product(products: Iterable[Product], wanted: str = "", example: str = CHAMPION) -> Product:
    """Return the product of a name, or the only product if no name is given.

    Args:
        products: The products of the store.
        wanted: The name of the product or of its registered model.
        example: The version that the user asked for, used in the message.

    Raises:
        UserError: There is no such product, or several products and no name.
    """
    there = list(products)
    if wanted:
        found = [product for product in there if wanted in (product.name, product.model)]
        if not found:
            names = ", ".join(product.name for product in there) or "none"
            raise UserError(f"there is no product {wanted!r}; there are: {names}")
        return found[0]
    if not there:
        raise UserError("no model is registered yet; `chatmill run` registers one")
    if len(there) > 1:
        names = ", ".join(product.name for product in there)
        one = shlex.quote(f"{there[0].name}/{example}")
        raise UserError(f"there are several products: {names}; name one, as in {one}")
    return there[0]


def split_address(address: str) -> tuple[str, str]:
    """Split NAME/champion or NAME/3 into product and version; the product is empty if no name is given."""
    product, _, version = address.rpartition("/")
    return product, version


def is_version(address: str) -> bool:
    """Return whether a text is champion or a version's number, with or without NAME/ before it."""
    version = split_address(address)[1]
    return version == CHAMPION or (version.isascii() and version.isdecimal() and len(version) < 6)


def find_version(client: MlflowClient, address: str) -> Any:
    """Return the registered version that an address names.

    Raises:
        UserError: There is no such version, or several products have one.
    """
    from mlflow.exceptions import MlflowException

    wanted, name = split_address(address)
    product = find_product(list_products(client), wanted, name)
    try:
        if name == CHAMPION:
            return client.get_model_version_by_alias(product.model, CHAMPION)
        return client.get_model_version(product.model, name)
    except MlflowException:
        listed = f"`chatmill models {shlex.quote(product.name)}`"
        if name == CHAMPION:
            raise UserError(
                f"no version of {product.name} is champion; {listed} shows why, and "
                f"{shlex.quote(f'{product.name}/{product.newest}')} names the newest"
            ) from None
        raise UserError(
            f"MLflow has no version {name} of {product.name}; {listed} lists the versions"
        ) from None


def version_address(version: Any) -> str:
    """Return a version's address for the command line, as NAME/3, quoted for a shell."""
    return shlex.quote(f"{version.name}/{version.version}")
