"""Data sets by name. Nothing else in this package imports scikit-learn, which ships one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.dataset import Dataset
from nbmlp.data.glyphs import glyphs

__all__ = ["SAMPLES", "digits"]


def digits() -> Dataset:
    """1,797 handwritten digits of 8x8 pixels, ten classes (UCI, Alpaydin and Kaynak 1998).

    Returns
    -------
    Dataset
        X float32 of shape (1797, 64) in [0, 1]: the original's 0 to 16 divided by 16.
        y int64 of shape (1797,).
    """
    table = _digits_table()
    return Dataset(
        X=(table[:, :-1] / 16.0).astype(np.float32),
        y=table[:, -1].astype(np.int64),
        feature_names=tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8)),
        target_names=("digit",),
        source="digits",
    )


def _digits_table() -> NDArray[np.float64]:
    """Pixels and, behind them, the digit: read where scikit-learn keeps them.

    To import it takes forty times as long as to read its file.
    """
    package = find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    return np.column_stack(load_digits(return_X_y=True))


#: Name -> function that returns the Dataset.
SAMPLES = {"digits": digits, "glyphs": glyphs}
