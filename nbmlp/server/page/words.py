"""Words for people: units, times, numbers and settings as the templates print them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nbmlp.names import SCORES
from nbmlp.server.ports import ColumnInfo

__all__ = [
    "IN_UNITS",
    "amount",
    "duration",
    "filters",
    "measure",
    "moment",
    "one_of",
    "plain",
    "score",
    "setting",
    "share",
    "size",
    "thousands",
    "values",
    "words",
]

#: Measures of a model that are written out.
_WORDED = {
    "mean_squared_error": "Root mean squared error",
    "mean_absolute_error": "Mean absolute error",
    "r2": "R²",
    "rmse": "RMSE",
}
#: Of which the root is shown.
_SQUARES = ("mean_squared_error",)
#: Choices that are written out.
_ALL_SHOWN = 6
#: Measures in the units of the target, or nearly so: their square.
IN_UNITS = ("mean_squared_error", "mean_absolute_error")


def share(value: float) -> str:
    """In percent."""
    return f"{value:.2%}".replace("%", "\u202f%")


def amount(value: float) -> str:
    """Four digits, or the whole number if it has more; no exponent that is not needed."""
    if 1000 <= abs(value) < 1e15:
        return thousands(value)
    return f"{value:.4g}"


def plain(value: Any) -> Any:
    """A cell or a setting as it would be typed: whole numbers without a point."""
    if not isinstance(value, float):
        return value
    return int(value) if value.is_integer() and abs(value) < 1e15 else f"{value:.10g}"


def measure(name: str, value: float) -> tuple[str, str]:
    """What a measure is called, and its value in the units of the target where it has any."""
    row = SCORES.get(name)
    value = math.sqrt(value) if name in _SQUARES else value
    label = _WORDED.get(name) or (row.label if row else words(name)) or "score"
    return label[0].upper() + label[1:], share(value) if row and row.share else amount(value)


def score(value: float, name: str) -> str:
    """A score by its name or label: accuracies in percent, others with their names.

    A training that is gone on with tells of its epochs before it says what their scores are called.
    """
    of_label = next((row.name for row in SCORES.values() if row.label == name), name)
    label, text = measure(of_label, value)
    return text if name == "accuracy" else f"{label} {text}"


def values(column: ColumnInfo) -> str:
    """Its range, or its most frequent values."""
    if column.minimum is not None and column.maximum is not None:
        return f"{amount(column.minimum)} to {amount(column.maximum)}"
    return ", ".join(column.examples[:4])


def one_of(texts: Sequence[str]) -> str:
    """What there is to choose from: all of a few, some of many."""
    if len(texts) <= _ALL_SHOWN:
        return f"One of {', '.join(texts)}"
    return f"One of {len(texts)}: {', '.join(texts[:_ALL_SHOWN])}, …"


def thousands(value: float) -> str:
    """``12 345``, with thin spaces that do not break; years and other four digits without."""
    text = f"{value:,.0f}"
    return text.replace(",", "\u202f" if len(text.lstrip("-")) > len("9,999") else "")


def size(value: float) -> str:
    """Bytes in the largest unit that leaves at least one."""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g}\u00a0{unit}"
        value /= 1000
    return f"{value:.3g}\u00a0GB"


def duration(seconds: float | None) -> str:
    """``3 h 5 min``, ``2 min 10 s``, ``8 s``; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def moment(seconds: float) -> str:
    """A time that is read as it stands: UTC, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def setting(value: Any) -> str:
    """A value of a setting, as it would be typed."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        name = str(value.get("name", ""))
        rest = ", ".join(f"{k}={setting(v)}" for k, v in value.items() if k != "name")
        return f"{name}({rest})" if rest else name
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value)) or "none"
    return str(plain(value))


def words(name: str) -> str:
    """``model.batch_size`` as it is read: batch size."""
    return name.removeprefix("model.").replace(".", " ").replace("_", " ")


def filters() -> dict[str, Any]:
    """By the names that templates use."""
    return {
        "plain": plain,
        "thousands": thousands,
        "bytes": size,
        "duration": duration,
        "moment": moment,
        "setting": setting,
        "words": words,
        "values": values,
        "one_of": one_of,
    }
