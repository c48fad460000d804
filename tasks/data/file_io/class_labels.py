"""Replace the numbers of classes that the `datasets` library writes (`ClassLabel`) by their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def class_features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the features of columns with classes, from the metadata of an Arrow schema."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return with_classes(features)


def with_classes(features: Any) -> dict[str, Any]:
    """Return those features that contain classes at any depth."""
    try:
        return {name: one for name, one in features.items() if _has_classes(one)}
    except (AttributeError, RecursionError):
        return {}


def name_classes(value: Any, feature: Any) -> Any:
    """Return a value with the names of its classes instead of numbers; None for -1, which is no class.

    Args:
        value: A number, or lists and objects that contain numbers.
        feature: The feature as the library describes it: a type, a list of one, or an object of features.
    """
    if isinstance(feature, list):
        feature = {"_type": "List", "feature": feature[0] if feature else None}
    if not isinstance(feature, Mapping) or value is None:
        return value
    if not isinstance(feature.get("_type"), str):
        if not isinstance(value, dict):
            return value
        return {name: name_classes(held, feature.get(name)) for name, held in value.items()}
    if feature["_type"] == "ClassLabel":
        return _label_names(value, feature.get("names"))
    inner = feature.get("feature")
    if isinstance(value, list):
        return [name_classes(one, inner) for one in value]
    if isinstance(value, dict) and isinstance(inner, Mapping):
        # The library stores a sequence of objects as an object of lists.
        return {name: name_classes(held, [inner.get(name)]) for name, held in value.items()}
    return value


def _label_names(value: Any, names: Any) -> Any:
    if isinstance(value, list):
        return [_label_names(one, names) for one in value]
    if not isinstance(value, int) or isinstance(value, bool) or not isinstance(names, list):
        return value
    # The library writes -1 for rows without a class, as in the test splits of public data sets.
    return str(names[value]) if 0 <= value < len(names) else None if value == -1 else value


def _has_classes(feature: Any) -> bool:
    if isinstance(feature, list):
        return any(map(_has_classes, feature))
    if not isinstance(feature, Mapping):
        return False
    return feature.get("_type") == "ClassLabel" or any(map(_has_classes, feature.values()))
