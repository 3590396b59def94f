"""Factors on learning rate or decay of parts of a net, by the names that files give these."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from nbmlp.checks import number
from nbmlp.errors import SpecError, unknown_name

__all__ = ["EMBEDDED", "PARTS", "Factors", "as_factors", "check_layers", "factor_of"]

#: Parts of a layer, and of embeddings, which belong to none; those of either that decay.
PARTS = ("weight", "bias", "scale", "gain", "shift", "alpha")
EMBEDDED = ("weight", "frequency", "phase", "bias", "table")
DECAYING = ("weight",)
EMBEDDING = "embedding"
#: Numbers that depend on the inputs of a layer, as powers of their number.
WORDS = {"1/sqrt(inputs)": -0.5, "sqrt(inputs)": 0.5}

_OWNED = re.compile(r"(layer[1-9][0-9]*|embedding)(?:\.(.+))?")


class Factors(Mapping[str, float | str]):
    """Numbers or words by name, which cannot be changed."""

    def __init__(self, given: Mapping[str, float | str]) -> None:
        self._given = dict(sorted(given.items()))

    def __getitem__(self, name: str) -> float | str:
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __hash__(self) -> int:
        return hash(tuple(self._given.items()))

    def __repr__(self) -> str:
        return repr(self._given)


def as_factors(setting: str, value: object, decaying: bool = False) -> Factors | None:
    """Checked factors; None for none.

    Parameters
    ----------
    setting : str
        Named in errors.
    value : mapping of str to float or str, or None
    decaying : bool
        Only parts that decay may be named.

    Raises
    ------
    SpecError
        A name that stands for nothing, or a value that is neither a number, 0 or more, nor a word.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise SpecError(f"{setting}={value!r} must be a dict, name of parts: factor.")
    given = {name: _factor(setting, name, factor, decaying) for name, factor in value.items()}
    return Factors(given) if given else None


def _factor(setting: str, name: object, value: object, decaying: bool) -> float | str:
    owned = _OWNED.fullmatch(str(name))
    owner, part = (owned[1], owned[2]) if owned else ("", str(name))
    parts = DECAYING if decaying else EMBEDDED if owner == EMBEDDING else PARTS
    if part is not None and _kind(owner, part) not in parts:
        kinds = DECAYING if decaying else PARTS
        known = (*kinds, "layer1", EMBEDDING, *(f"{owner or 'layer1'}.{kind}" for kind in parts))
        raise unknown_name(f"part in {setting}", name, known)
    if isinstance(value, str):
        if value not in WORDS:
            raise unknown_name(f"word in {setting}", value, WORDS)
        if owner == EMBEDDING:
            raise SpecError(f"{setting}[{name!r}]={value!r}: give embeddings a number.")
        return value
    return number(f"{setting}[{name!r}]", value)


def _kind(owner: str, part: str) -> str:
    """Tables of codes have numbers."""
    return re.sub("^table[1-9][0-9]*$", "table", part) if owner == EMBEDDING else part


def check_layers(setting: str, factors: Factors | None, layers: int) -> None:
    """Raise SpecError where one of them is for a layer that a net of so many does not have."""
    for name in factors or ():
        owned = _OWNED.fullmatch(name)
        if owned and owned[1] != EMBEDDING and int(owned[1][5:]) > layers:
            known = "layer1" if layers == 1 else f"layer1 to layer{layers}"
            raise SpecError(f"{setting}: there is no {owned[1]}; this net has {known}.")


def factor_of(factors: Factors | None, layer: int, part: str, inputs: int) -> float:
    """Product of all that are for a part.

    Parameters
    ----------
    factors : Factors or None
    layer : int
        From 0; -1 for embeddings.
    part : str
    inputs : int
        Of the layer.
    """
    owner = f"layer{layer + 1}" if layer >= 0 else EMBEDDING
    names, product = {owner, f"{owner}.{part}"}, 1.0
    names |= {part} if layer >= 0 else set()
    for name, value in (factors or {}).items():
        if name in names:
            product *= inputs ** WORDS[value] if isinstance(value, str) else value
    return product
