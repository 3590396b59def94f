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
from nbmlp.spec import ModelSpec, TrainSpec

__all__ = ["facts_of"]


def facts_of(spec: ModelSpec, train: TrainSpec, rows: Rows) -> dict[str, Any]:
    """What has to be the same in all processes; some rows and targets are looked at."""
    x = rows.x[_places(rows, 64)] if isinstance(rows.x, np.ndarray) else np.zeros(0)
    targets = [a[_places(rows, 4096)] for a in (rows.y, rows.weights) if a is not None]
    arrays = [np.ascontiguousarray(a) for a in (x, *targets)]
    sums = [zlib.crc32(array.data) for array in arrays]
    return {
        "version of nbmlp": sys.modules[__name__.partition(".")[0]].__version__,
        **{f"version of {name}": version(name) for name in ("numba", "llvmlite", "numpy")},
        "instruction set": tuning.detect().name,
        "net": spec.to_dict(),
        "setting of the training": train.with_(threads=None).to_dict(),
        "set of rows": (rows.x.shape, str(rows.kind), rows.scale, sums),
    }


def _places(rows: Rows, most: int) -> NDArray[np.int64]:
    """So many of the rows at most, spread evenly over them."""
    count = min(most, len(rows))
    return np.linspace(0, len(rows) - 1, count).astype(np.int64)
