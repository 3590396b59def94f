"""What has to be the same in all processes that train together."""

from __future__ import annotations

import sys
import zlib
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.predict import Rows
from nbmlp.settings import Settings
from nbmlp.spec import ModelSpec, TrainSpec

__all__ = ["compared", "early_facts", "facts_of"]


def facts_of(spec: ModelSpec, train: TrainSpec, rows: Rows) -> dict[str, Any]:
    """What has to be the same in all processes; some rows and targets are looked at."""
    x = rows.x[compared(len(rows))] if isinstance(rows.x, np.ndarray) else np.zeros(0)
    few = compared(len(rows), 4096)
    targets = [a[few] for a in (rows.y, rows.weights) if a is not None]
    arrays = [np.ascontiguousarray(a) for a in (x, *targets)]
    sums = [zlib.crc32(array.data) for array in arrays]
    return {
        "version of nbmlp": sys.modules[__name__.partition(".")[0]].__version__,
        **{f"version of {name}": version(name) for name in ("numba", "llvmlite", "numpy")},
        "instruction set": tuning.detect().name,
        "net": spec.to_dict(),
        "setting of the training": _of_training(train),
        "set of rows": (rows.x.shape, str(rows.kind), rows.scale, sums),
    }


def early_facts(X: Any, settings: Settings) -> dict[str, Any]:
    """What has to be the same where X is read by parts, before any is."""
    return {
        "setting of the training": _of_training(settings.train),
        "setting of the columns": settings.target.to_dict(),
        "set of rows": (type(X).__name__, X.shape),
    }


def _of_training(train: TrainSpec) -> dict[str, Any]:
    return train.with_(threads=None).to_dict()


def compared(rows: int, most: int = 64) -> NDArray[np.int64]:
    """Those of so many rows that all processes look at, spread evenly over them."""
    return np.linspace(0, rows - 1, min(most, rows)).astype(np.int64)
