"""Epochs of the engine, their losses counted as scikit-learn counts them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from nbmlp.errors import NonFiniteError
from nbmlp.estimators.weights import Weights
from nbmlp.failures.explain import explain
from nbmlp.names import LOSSES, Function
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.train.engine import Engine
from nbmlp.train.epochs import Epochs, factors_of

__all__ = ["Updates", "loss_name"]

Array = NDArray[Any]


def loss_name(loss: str, output: str, dtype: str) -> str:
    """nbmlp's name of a loss of scikit-learn's, probabilities clipped as there.

    Parameters
    ----------
    loss : str
        ``"log_loss"`` or a name that both know.
    output : str
        Activation of the last layer.
    dtype : str
        Whose epsilon bounds the probabilities.
    """
    own = {row.canonical: row for row in LOSSES.values() if row.sklearn == loss and row.classes}
    if not own:
        return loss
    return str(Function(own[output], float(-np.log(np.finfo(dtype).eps))))


class Updates:
    """The engine over one set of rows.

    Parameters
    ----------
    weights : Weights
        Updated in place.
    rows : Rows
    train : TrainSpec
        With `l2` as scikit-learn's alpha: each batch's rows share it.
    whole : bool
        For losses and gradients of all rows; nothing is updated.
    spoils : bool
        Weights that leave the finite numbers become NaN; else the last good ones stay.

    Attributes
    ----------
    stopped : str
        Why nothing is computed any more; empty while all is well, or if it `spoils`.
    penalty : float
        The part of the last loss that is penalty.
    failure : NonFiniteError or None
        What was not finite.
    """

    def __init__(
        self,
        weights: Weights,
        rows: Rows,
        train: TrainSpec,
        whole: bool = False,
        spoils: bool = True,
    ) -> None:
        self.weights, self.train = weights, train
        self._given, self._constant = rows.weights, _constants(weights.spec, rows.y)
        self.engine = Engine(
            weights.spec, train, weights.state, rows, weights.threads, whole, per_batch=True,
            explain=explain,
        )  # fmt: skip
        self.lost, self.stopped, self._spoils, self.penalty = False, "", spoils, 0.0
        self.failure: NonFiniteError | None = None

    @property
    def n_rows(self) -> int:
        """Rows of one epoch."""
        return len(self.engine.rows)

    @property
    def loss_so_far(self) -> float:
        """Mean loss of the epoch's rows so far, without penalty."""
        return self.engine.mean_loss / _share(self.weights.spec)

    def epoch(self, run: Epochs, rate: float, order: Array | None, done: int) -> float:
        """Train one epoch; its loss, each batch's penalty included, weighted by the batch's rows.

        So many are `done` of those that were planned.

        Once a weight has left the finite numbers all weights and losses are NaN, and nothing is
        computed any more: so scikit-learn would go on.
        """
        each = self.engine.steps_per_epoch
        steps = done * each + np.arange(each, dtype=np.float64)
        factors = factors_of(self.train, steps, each, run.epochs)
        run.begin(np.full(each, rate), factors=factors)
        if self.lost:
            return np.nan
        try:
            run.start(order)
            run.train()
        except NonFiniteError as error:
            self.lost, self.failure = True, error
            if self._spoils:
                self.weights.spoil()
            else:
                self.stopped = str(error)
            return np.nan
        return self._mean_loss(order)

    def loss_of(self, rows: Rows) -> float:
        """Mean loss of other rows, without penalty; NaN once the weights are."""
        if self.lost and self._spoils:
            return np.nan
        loss = self.weights.loss_of(rows) / _share(self.weights.spec)
        constant = _constants(self.weights.spec, rows.y)
        if constant is None:
            return loss
        return loss + float(np.average(constant, weights=rows.weights))

    def loss_and_gradient(self) -> tuple[float, list[Array], list[Array]]:
        """Loss of all rows with penalty; its gradient by each W and by each b."""
        _, arena = self.engine.loss_and_gradient()
        state, loss = self.weights.state, self._mean_loss(None)
        return loss, state.weights(arena), state.biases(arena)

    def _mean_loss(self, order: Array | None) -> float:
        losses, weights, squares = self.engine.batches.T
        n, batch = len(self.engine.rows), self.engine.batch
        rows = np.minimum(batch, n - batch * np.arange(len(losses)))
        # A batch whose rows have no weight has no loss.
        kept = rows[weights != 0].sum() if self.engine.skipped else n
        share = np.divide(rows, weights, out=np.zeros(len(rows)), where=weights != 0) / max(kept, 1)
        self.penalty = float(0.5 * self.train.l2 * np.dot(share, squares))
        sums = (losses + self._constants_of(order)) / _share(self.weights.spec)
        return float(np.dot(share, sums)) + self.penalty

    def _constants_of(self, order: Array | None) -> Array | float:
        """Sum over each batch of what the engine's loss leaves out."""
        if self._constant is None:
            return 0.0
        each = self._constant if self._given is None else self._given * self._constant
        each = each if order is None else each[order]
        return np.add.reduceat(each, np.arange(0, len(each), self.engine.batch))


def _constants(spec: ModelSpec, y: Array | None) -> Array | None:
    """The part of a row's Poisson loss that does not depend on the prediction."""
    if spec.loss_function.name != "poisson":
        return None
    wide = np.asarray(y, np.float64)
    return np.sum(xlogy(wide, wide) - wide, axis=1)


def _share(spec: ModelSpec) -> int:
    """Squared errors are averaged over the outputs there, added up here.

    Their gradient is the same: https://github.com/scikit-learn/scikit-learn/issues/8349.
    """
    return spec.n_outputs if spec.loss == "squared_error" else 1
