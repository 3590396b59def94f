"""Columns of data to the inputs of a net: each kind of column in a module of its own."""

from __future__ import annotations

from nbmlp.data.columns.access import first_text
from nbmlp.data.columns.categories import CategoryColumn
from nbmlp.data.columns.numbers import NumberColumn
from nbmlp.data.columns.plan import ColumnPlan
from nbmlp.data.columns.told import Told, as_taken, shown, table_of
from nbmlp.data.columns.wanted import wants_plan

__all__ = [
    "CategoryColumn", "ColumnPlan", "NumberColumn", "Told", "as_taken", "first_text",
    "shown", "table_of", "wants_plan",
]  # fmt: skip
