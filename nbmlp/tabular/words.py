"""Settings of a net of an ensemble, as people say them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nbmlp.names.embeddings import read_embedding

__all__ = ["in_words"]


def in_words(settings: Mapping[str, Any], columns: Mapping[str, Any] | None = None) -> str:
    """Settings in words, numbers with three significant digits, e.g. ``"128 bins, adam 0.00247"``.

    Parameters
    ----------
    settings : mapping
        As they were drawn, see :func:`nbmlp.tabular.recipe.draw`; unknown ones keep their names.
    columns : mapping, optional
        What :meth:`nbmlp.ColumnPlan.fit` was asked for; models of older versions do not know it.
    """
    own = {name: value for name, value in settings.items() if name != "plan"}
    if own.pop("parametric_activation", False) and "activation" in own:
        own["activation"] = f"{own['activation']} with a learned factor"
    told = [_WORDS.get(name, _named(name))(value) for name, value in own.items()]
    return ", ".join(filter(None, [*_prepared(columns), *told]))


def _prepared(columns: Mapping[str, Any] | None) -> list[str]:
    if columns is None:
        return []
    bins = int(columns.get("bins", 0))
    codes = ["learned codes of categories"] if columns.get("embed") else []
    return [f"{bins} bins" if bins else "no bins", *codes]


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_brief, value)) or "none"
    return str(value)


def _named(name: str) -> Callable[[Any], str]:
    return lambda value: f"{name.replace('_', ' ')} {_brief(value)}"


def _layers(sizes: Any) -> str:
    if not sizes:
        return "no hidden layer"
    if len(sizes) > 1 and len(set(sizes)) == 1:
        return f"{len(sizes)} layers of {sizes[0]}"
    return f"{len(sizes)} layer{'s' * (len(sizes) > 1)} of {', '.join(map(str, sizes))}"


def _optimizer(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    return " ".join(_brief(value[part]) for part in ("name", "learning_rate") if part in value)


def _waves(text: Any) -> str:
    waves = read_embedding(text)
    return "" if waves is None else f"{waves.frequencies} waves of each number"


_WORDS: dict[str, Callable[[Any], str]] = {
    "number_embedding": _waves,
    "hidden": _layers,
    "activation": str,
    "input_scale": lambda value: "learned factors of inputs" if value else "",
    "optimizer": _optimizer,
    "dropout": lambda value: f"dropout {_brief(value)}" if value else "no dropout",
    "batch_size": lambda value: f"batches of {value}",
    "schedule": str,
}
