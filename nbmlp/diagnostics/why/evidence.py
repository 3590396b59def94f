"""What is known before any cure is tried: the data's numbers, the net's signals, one training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp import tuning
from nbmlp.diagnostics.noise import noise_scale
from nbmlp.diagnostics.why.report import Where
from nbmlp.diagnostics.why.trials import Outcome, Samples, Trainer, error_of, name_of_error
from nbmlp.errors import NonFiniteError
from nbmlp.net import Net
from nbmlp.optimizers import SGD
from nbmlp.predict import Rows
from nbmlp.settings import Settings
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.train.statistics import NetStatistics, layer_statistics

__all__ = ["Evidence", "InputFacts", "look_at_inputs"]

#: Rows that column statistics are taken over.
_MOST_ROWS = 20_000
#: Columns that a finding names.
_LISTED = 20
#: Columns compared with each other for being copies.
_MOST_COLUMNS = 2_000
#: Rows that the noise scale is estimated from.
_NOISE_ROWS = 4_096


@dataclass(frozen=True)
class InputFacts:
    """The inputs as the net reads them, scaled and encoded.

    Attributes
    ----------
    size, mean, deviation : ndarray (columns,)
        Root mean square, mean and standard deviation.
    constant : tuple of int
    copies : tuple of (int, int)
        Columns that equal an earlier one, and that one.
    """

    size: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    constant: tuple[int, ...]
    copies: tuple[tuple[int, int], ...]


def look_at_inputs(rows: Rows) -> InputFacts:
    """Statistics of the columns, over 20,000 rows at most."""
    n = min(len(rows), _MOST_ROWS)
    part = rows.x[:n]
    dense = part if isinstance(part, np.ndarray) else part.matrix.toarray()
    x = dense.astype(np.float64) * rows.scale
    deviation, copies = x.std(axis=0), []
    changing = np.flatnonzero(deviation > 0)
    if len(changing) <= _MOST_COLUMNS:
        seen: dict[bytes, int] = {}
        for j in changing.tolist():
            first = seen.setdefault(np.ascontiguousarray(x[:, j]).tobytes(), j)
            copies += [(j, first)] if first != j else []
    size = np.sqrt(np.mean(x * x, axis=0))
    constant = tuple(np.flatnonzero(deviation == 0).tolist())
    return InputFacts(size, x.mean(axis=0), deviation, constant, tuple(copies))


@dataclass
class Evidence:
    """All that the rules look at.

    Attributes
    ----------
    settings : Settings
    samples : Samples
    trainer : Trainer
    base : Outcome
        Training as it is.
    """

    settings: Settings
    samples: Samples
    trainer: Trainer
    base: Outcome

    @property
    def spec(self) -> ModelSpec:
        """Of the net as trained."""
        return self.base.net.spec

    @property
    def train(self) -> TrainSpec:
        """How it was trained."""
        return self.settings.train

    @cached_property
    def before(self) -> Net:
        """The net with its first weights."""
        return self.trainer.net(self.settings)

    @cached_property
    def rows(self) -> Rows:
        """Some training rows as the net reads them."""
        few = np.arange(min(len(self.samples), _MOST_ROWS))
        part = self.samples.given.take(few)
        return self.before.rows(part.X, part.y, names=part.names)

    def where(self, columns: ArrayLike, rows: tuple[int, ...] = ()) -> Where:
        """Some columns of the inputs as the user knows them, the first few; and rows."""
        names, few = self.rows.names, np.asarray(columns)[:_LISTED]
        words = names.column_words(few) if names.columns else ()
        return Where(rows=rows, columns=names.column_numbers(few), names=words)

    def column(self, column: int) -> str:
        """One column of the inputs by its name, in quotes, or by its number."""
        return self.rows.names.column_words([column])[0]

    @cached_property
    def inputs(self) -> InputFacts:
        """Statistics of the inputs."""
        return look_at_inputs(self.rows)

    @cached_property
    def first(self) -> NetStatistics | None:
        """The net at its first weights; None if even they give no finite output."""
        return self._statistics(self.before)

    @cached_property
    def last(self) -> NetStatistics | None:
        """The net as trained."""
        return self._statistics(self.base.net)

    def _statistics(self, net: Net) -> NetStatistics | None:
        try:
            return layer_statistics(net.spec, self.train, net.state, self.rows)
        except NonFiniteError:
            return None

    @property
    def classes(self) -> bool:
        """Whether targets are classes."""
        return self.base.net.coding.labels is not None

    @cached_property
    def guess(self) -> float:
        """Error of the best answer that looks at no input: class shares, or the mean."""
        coding = self.base.net.coding
        if coding.labels is None:
            return 1.0
        codes = coding.labels.encode(self.samples.y)
        shares = np.bincount(codes, minlength=len(coding.labels)) / len(codes)
        outputs = np.tile(shares, (len(self.samples.y_val), 1))
        return error_of(coding, self.samples.y_val, outputs, self.spec.loss_function.row)

    @property
    def measure(self) -> str:
        """What errors are called: ``"log loss"`` or the like."""
        return name_of_error(self.base.net.coding, self.spec.loss_function.row)

    @property
    def error(self) -> float:
        """The training's error; three times that of a guess at most, failures included."""
        return min(self.base.error, 3.0 * self.guess)

    @property
    def batch(self) -> int:
        """Rows of an update."""
        return min(self.train.batch_size or len(self.samples), len(self.samples))

    @property
    def summed(self) -> bool:
        """Whether a step grows with the rows of its batch: others are scaled by the gradient."""
        grows = isinstance(self.train.optimizer, SGD)
        return self.train.reduction == "sum" and self.batch > 1 and grows

    @property
    def acting_rate(self) -> float:
        """The learning rate that would make the same steps of a batch's mean gradient."""
        rate = self.train.optimizer.learning_rate
        return rate * self.batch if self.summed else rate

    @property
    def updates(self) -> int:
        """Updates of the training."""
        return max(1, self.base.epochs) * math.ceil(len(self.samples) / self.batch)

    @cached_property
    def noise(self) -> float:
        """The gradient noise scale of the net as trained, in rows; infinite where not finite."""
        net = self.base.net
        try:
            found = noise_scale(
                net.spec, self.train, net.state, self.rows, tuning.available_threads(),
                most_rows=_NOISE_ROWS,
            )  # fmt: skip
        except NonFiniteError:
            return math.inf
        return found.batch

    @property
    def loss_name(self) -> str:
        """The loss without its parameter."""
        return self.spec.loss_function.name
