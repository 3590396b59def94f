"""How much worse predictions get when a column of the raw data says nothing: it is shuffled.

The column is the user's own: all that a model makes of it moves along, whatever that is. Any object
with ``predict``, and ``predict_proba`` where the score needs it, can be asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.checks import whole
from nbmlp.data import Table, as_table, is_sparse
from nbmlp.errors import DataError, SpecError
from nbmlp.names import Reads, label_of, larger_is_better, read_score
from nbmlp.plots import importances

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Importance", "by_shuffling", "permutation_importance"]

Progress = Callable[[float, str], object]
#: Columns that the text shows, and characters of a name.
_SHOWN, _LONGEST = 20, 40
#: Of a score: what it may differ by where it is the same.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Importance:
    """What each column is worth, in units of a score.

    Attributes
    ----------
    names : tuple of str
        Of the columns, in their order.
    mean, deviation : ndarray (columns,)
        By how much the score gets worse when the column is shuffled: mean and standard deviation
        over the repeats. A column that says nothing has about 0, perhaps less.
    score : str
        Which score, e.g. ``"accuracy"``.
    value : float
        The score of the rows as they are.
    repeats : int
    """

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    score: str
    value: float
    repeats: int

    @property
    def order(self) -> list[int]:
        """Numbers of the columns, the most important first."""
        return [int(j) for j in np.argsort(-self.mean, kind="stable")]

    def __repr__(self) -> str:
        n, order = len(self.names), self.order[:_SHOWN]
        shown = [_brief(self.names[j]) for j in order]
        width = max(map(len, shown))
        lines = [f"{n} columns, {self.score} {self.value:.4g} as they are, lost without each:"]
        lines += [
            f"  {name:{width}}  {self.mean[j]:8.4f} ± {self.deviation[j]:.4f}"
            for name, j in zip(shown, order, strict=True)
        ]
        return "\n".join(lines + [f"  {n - _SHOWN} more matter less"] * (n > _SHOWN))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the most important column first."""
        mean, deviation = self.mean.tolist(), self.deviation.tolist()
        columns = [
            {"name": self.names[j], "mean": mean[j], "deviation": deviation[j]} for j in self.order
        ]
        told = {"score": self.score, "value": self.value, "repeats": self.repeats}
        return told | {"columns": columns}

    def plot(self, path: str | os.PathLike[str] | None = None, ax: Any = None) -> Figure:
        """Draw a bar for each column. See :func:`nbmlp.plots.importances`."""
        return importances(
            self.names, self.mean, self.deviation, score=self.score, path=path, ax=ax
        )


def _brief(name: str) -> str:
    text = "".join(c if c.isprintable() else "?" for c in name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def permutation_importance(
    model: Any,
    X: Any,
    y: ArrayLike,
    metric: str | None = None,
    *,
    repeats: int = 5,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
    names: Sequence[str] = (),
    progress: Progress | None = None,
) -> Importance:
    """Importance of the columns of X for a model, measured on rows that it has not learned from.

    Parameters
    ----------
    model : object
        With ``predict``; with ``classes_`` where it predicts classes, ``predict_proba`` where the
        score reads probabilities.
    X : array-like (rows, columns), Table, dict of columns or data frame
    y : array-like
    metric : str, optional
        A score; accuracy or R2 unless named.
    repeats : int
        Times that each column is shuffled.
    seed : int
        Of the orders.
    sample_weight : array-like (rows,), optional
    names : sequence of str, optional
        Of the columns of an array.
    progress : callable, optional
        Called before each column with the share that is done, and its name.

    Returns
    -------
    Importance
        The same for any number of threads.

    Raises
    ------
    DataError, SpecError
        X has no columns to shuffle, or the score does not go with the model.
    """
    labels = getattr(model, "classes_", None)
    score = read_score(metric or ("r2" if labels is None else "accuracy"), labels is not None)
    predict = model.predict
    if score.row.reads is Reads.PROBABILITIES:
        predict = getattr(model, "predict_proba", None)
        if predict is None:
            raise SpecError(f"{score.name} needs probabilities: this model has no predict_proba.")
    truth = np.asarray(y)

    def measure(rows: Any) -> float:
        return score.row.value(truth, predict(rows), labels, sample_weight, score.parameter)

    return by_shuffling(
        measure, X, label_of(score), repeats=repeats, seed=seed, names=names, progress=progress
    )


def by_shuffling(
    measure: Callable[[Any], float],
    X: Any,
    score: str,
    *,
    repeats: int = 5,
    seed: int = 0,
    names: Sequence[str] = (),
    progress: Progress | None = None,
) -> Importance:
    """The same of anything that can be measured.

    Parameters
    ----------
    measure : callable
        Takes X with a column shuffled, returns the score.
    X, repeats, seed, names, progress
        As for :func:`permutation_importance`.
    score : str
        What the score is called; of unknown ones larger is better.
    """
    repeats = whole("repeats", repeats)
    rng = np.random.Generator(np.random.Philox(whole("seed", seed, 0)))
    columns = _Columns(X, names)
    value, sign = measure(columns.rows), 1.0 if larger_is_better(score) else -1.0
    lost = np.empty((len(columns.names), repeats))
    for j, name in enumerate(columns.names):
        if progress is not None:
            progress(j / len(columns.names), name)
        for k in range(repeats):
            with_shuffled = columns.shuffled(j, rng.permutation(len(columns)))
            lost[j, k] = sign * (value - measure(with_shuffled))
    mean = lost.mean(axis=1)
    mean[np.abs(mean) < _ROUNDING * abs(value)] = 0.0
    return Importance(columns.names, mean, lost.std(axis=1), score, value, repeats)


class _Columns:
    """Raw columns, one of which at a time is in another order.

    Attributes
    ----------
    rows : Table or ndarray
        As they are.
    names : tuple of str
    """

    def __init__(self, X: Any, names: Sequence[str]) -> None:
        table = as_table(X)
        if table is None and (is_sparse(X) or np.ndim(X) != 2):
            raise DataError("X has no columns to shuffle: give a dense array or a table.")
        self.rows: Any = np.asarray(X) if table is None else table
        count = self.rows.shape[1]
        known = table.names if table is not None else tuple(map(str, names)) or _numbers(count)
        if len(known) != count:
            raise DataError(f"X has {count} columns: {len(known)} names do not go with them.")
        if not count or not len(self):
            raise DataError("X has no columns to shuffle: it is empty.")
        self.names = known
        self._copy: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def shuffled(self, j: int, order: NDArray[np.int64]) -> Any:
        """All rows with one column in another order; of an array, good until the next call."""
        if isinstance(self.rows, Table):
            return self.rows.reordered(self.names[j], order)
        if self._copy is None:
            self._copy = self.rows.copy()
        if j:
            self._copy[:, j - 1] = self.rows[:, j - 1]
        self._copy[:, j] = self.rows[order, j]
        return self._copy


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))
