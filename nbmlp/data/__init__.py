"""Data in: files, tables and arrays to what the engine trains on. Importing it needs numpy only."""

from __future__ import annotations

from nbmlp.data.check import (
    check_finite,
    check_length,
    check_weights,
    check_X,
    check_y,
    first_nonfinite,
)
from nbmlp.data.columns import (
    CategoryColumn,
    ColumnPlan,
    NumberColumn,
    Told,
    as_taken,
    shown,
    table_of,
    wants_plan,
)
from nbmlp.data.dataset import Dataset
from nbmlp.data.encode import Labels, Task, infer_task
from nbmlp.data.given import Given, Mended
from nbmlp.data.prepare import prepared, told_of
from nbmlp.data.readers import read
from nbmlp.data.scale import TargetScale
from nbmlp.data.sparse import SparseRows, as_csr, is_sparse
from nbmlp.data.split import split
from nbmlp.data.table import Table, as_table
from nbmlp.data.unread import Unread
from nbmlp.data.weigh import check_in_portions, class_weights

__all__ = [
    "CategoryColumn",
    "ColumnPlan",
    "Dataset",
    "Given",
    "Labels",
    "Mended",
    "NumberColumn",
    "SparseRows",
    "Table",
    "TargetScale",
    "Task",
    "Told",
    "Unread",
    "as_csr",
    "as_table",
    "as_taken",
    "check_X",
    "check_finite",
    "check_in_portions",
    "check_length",
    "check_weights",
    "check_y",
    "class_weights",
    "first_nonfinite",
    "infer_task",
    "is_sparse",
    "prepared",
    "read",
    "shown",
    "split",
    "table_of",
    "told_of",
    "wants_plan",
]
