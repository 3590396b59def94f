"""Data sets by name. Nothing else in this package imports scikit-learn, which ships one."""

from __future__ import annotations

import numpy as np

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
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Dataset(
        X=(bunch.data / 16.0).astype(np.float32),
        y=bunch.target.astype(np.int64),
        feature_names=tuple(bunch.feature_names),
        target_names=("digit",),
        source="digits",
    )


#: Name -> function that returns the Dataset.
SAMPLES = {"digits": digits, "glyphs": glyphs}
