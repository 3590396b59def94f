"""What a column of a table may be taken as, and how numbers may be scaled, by name."""

from __future__ import annotations

__all__ = ["COLUMN_KINDS", "SCALINGS"]

#: What a column may be taken as, where its content would say otherwise.
COLUMN_KINDS = (
    "auto", "drop", "number", "standard", "robust", "boolean", "date", "category", "one-hot",
    "embedded",
)  # fmt: skip
#: How numbers are scaled: by mean and deviation, or by median and quartiles.
SCALINGS = ("standard", "robust")
