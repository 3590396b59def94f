"""The order of each epoch's rows, as scikit-learn draws it, or by blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nbmlp.train.order import draw_order

__all__ = ["orders_of"]


def orders_of(
    shuffle: bool | str, random_state: np.random.RandomState, n: int, epochs: int
) -> Iterator[NDArray[np.int64] | None]:
    """One order (n,) for each epoch, None where rows are taken as they lie.

    Parameters
    ----------
    shuffle : bool or "blocks"
        True draws numbers as scikit-learn's fit does, "blocks" one seed for all epochs.
    random_state : RandomState
        Of the estimator.
    n, epochs : int
    """
    order = np.arange(n)
    seed = int(random_state.randint(np.iinfo(np.int32).max)) if shuffle == "blocks" else 0
    for epoch in range(epochs):
        if shuffle == "blocks":
            draw_order(order, shuffle, seed, epoch)
        elif shuffle:
            # As sklearn.utils.shuffle, without its validation.
            moved = np.arange(n)
            random_state.shuffle(moved)
            order = order[moved]
        yield order if shuffle else None
