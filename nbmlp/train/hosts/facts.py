"""What has to be the same in all processes that train together."""

from __future__ import annotations

import sys
import zlib
from typing import Any

import numpy as np

from nbmlp import tuning
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec

__all__ = ["facts_of"]


def facts_of(spec: ModelSpec, train: TrainSpec, rows: Rows) -> dict[str, Any]:
    """What has to be the same in all processes; of the rows some are looked at, of targets all."""
    some = rows.take(np.linspace(0, len(rows) - 1, 64).astype(np.int64))
    x = some.x if isinstance(some.x, np.ndarray) else np.zeros(0)
    arrays = [np.ascontiguousarray(a) for a in (x, rows.y, rows.weights) if a is not None]
    sums = [zlib.crc32(array.data) for array in arrays]
    return {
        "version of nbmlp": sys.modules[__name__.partition(".")[0]].__version__,
        "instruction set": tuning.detect().name,
        "net": spec.to_dict(),
        "setting of the training": train.with_(threads=None).to_dict(),
        "set of rows": (rows.x.shape, str(rows.kind), rows.scale, sums),
    }
