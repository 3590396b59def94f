"""Plain values to strict JSON text and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from nbmlp.errors import ModelFileError

__all__ = ["decode", "encode", "without_special"]

_FLOAT = "$float"  # JSON has no NaN and no infinities: {"$float": "nan"}
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(metadata: Mapping[str, Any]) -> str:
    """Write a mapping as strict, pure-ASCII JSON.

    NumPy scalars become numbers, tuples become lists, NaN and the infinities become
    ``{"$float": "nan"}``, ``{"$float": "inf"}``, ``{"$float": "-inf"}``.

    Parameters
    ----------
    metadata : mapping of str to value
        Values: None, bool, int, float, str, NumPy scalars, and lists, tuples and mappings with
        string keys of these.

    Raises
    ------
    ModelFileError
        If a value or key is of another type; its place is named.
    """
    return json.dumps(_plain(metadata, "metadata"), allow_nan=False, separators=(",", ":"))


def without_special(value: Any) -> Any:
    """The same value with None for NaN and the infinities: what strict JSON can hold.

    NumPy scalars become numbers, tuples become lists, keys strings.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): without_special(v) for k, v in value.items()}
    return [without_special(v) for v in value] if isinstance(value, list | tuple) else value


def decode(text: str) -> dict[str, Any]:
    """Read what :func:`encode` wrote; tuples come back as lists.

    Raises
    ------
    ValueError
        If the text is not strict JSON or not an object.
    """
    try:
        values = json.loads(text, object_hook=_special, parse_constant=_not_json)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("not an object")
    return values


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: str(float(value))}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(k, place): _plain(v, f"{place}[{k!r}]") for k, v in value.items()}
    raise ModelFileError(
        f"{place} is of type {type(value).__name__}, which a model file cannot hold:"
        " use numbers, strings, lists and dicts, and put arrays among the arrays."
    )


def _key(key: Any, place: str) -> str:
    # json.dumps would turn 1 into "1" without a word, and labels would come back changed.
    if not isinstance(key, str) or key == _FLOAT:
        raise ModelFileError(
            f"{place} has the key {key!r}: a model file takes strings other than {_FLOAT!r};"
            " store other keys as a list of pairs."
        )
    return str(key)


def _special(values: dict[str, Any]) -> Any:
    if _FLOAT not in values:
        return values
    name = values[_FLOAT]
    if len(values) != 1 or not isinstance(name, str) or name not in _SPECIAL:
        raise ValueError(f"unknown {_FLOAT} entry")
    return _SPECIAL[name]


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
