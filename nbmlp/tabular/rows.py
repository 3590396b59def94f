"""Tables as users give them -> rows that all nets share, prepared once by each column plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import ColumnPlan, Table, as_table, check_weights, class_weights
from nbmlp.errors import DataError
from nbmlp.predict import Rows
from nbmlp.rows import PLAIN, Names
from nbmlp.spec import ClassWeight
from nbmlp.tabular.criteria import Truth
from nbmlp.tabular.targets import Targets
from nbmlp.tabular.trainee import Fold

__all__ = ["Sample", "fold_of", "inputs_of", "joined"]


def inputs_of(X: Any) -> Any:
    """A table, or an array; of lists in which numbers stand beside text an array of both."""
    table = as_table(X)
    if table is not None:
        return table
    array = np.asarray(X)
    lists = array is not X and array.dtype.kind in "US"
    return np.array(X, dtype=object) if lists else array


@dataclass(frozen=True, eq=False)
class Sample:
    """Inputs, targets and weights of the same rows, all of which count.

    Attributes
    ----------
    X : Table or ndarray
    y : ndarray (rows,) or (rows, targets)
    weights : ndarray (rows,) or None
    groups : ndarray (rows,) or None
    names : Names
        What rows and columns are called.
    """

    X: Any
    y: NDArray[Any]
    weights: NDArray[np.float64] | None = None
    groups: NDArray[Any] | None = None
    names: Names = PLAIN

    @classmethod
    def of(
        cls, X: Any, y: Any, weights: Any = None, groups: Any = None, names: Names = PLAIN
    ) -> Sample:
        """Rows that weigh nothing are left out.

        Raises
        ------
        DataError
            Lengths that differ, weights that are negative or all 0.
        """
        X, y = inputs_of(X), np.asarray(y)
        n = len(X)
        if len(y) != n:
            raise DataError(f"y has {len(y)} rows and X has {n}: each row of X needs its own.")
        groups = None if groups is None else np.asarray(groups)
        if groups is not None and groups.shape != (n,):
            raise DataError(f"groups has shape {groups.shape}: one for each of {n} rows.")
        if isinstance(X, Table) and not names.columns:
            names = replace(names, columns=X.names)
        if weights is None:
            return cls(X, y, None, groups, names)
        if not np.asarray(weights).any():
            raise DataError("sample_weight is zero in every row: at least one row needs weight.")
        checked = check_weights(weights, n, dtype=np.float64)
        sample = cls(X, y, checked, groups, names)
        return sample if checked.all() else sample.take(np.flatnonzero(checked))

    def __len__(self) -> int:
        return len(self.y)

    def take(self, places: NDArray[np.int64]) -> Sample:
        """Some of the rows."""
        X = self.X.take(places) if isinstance(self.X, Table) else self.X[places]
        weights, groups = (
            None if part is None else part[places] for part in (self.weights, self.groups)
        )
        return Sample(X, self.y[places], weights, groups, self.names.take(places))


def fold_of(
    train: Sample,
    held: Sample,
    targets: Targets,
    plans: tuple[ColumnPlan, ...],
    class_weight: ClassWeight | None,
    prepared: Sequence[tuple[NDArray[Any], NDArray[Any]]] | None = None,
    places: NDArray[np.int64] | None = None,
) -> Fold:
    """The rows of a fold as nets read them.

    Parameters
    ----------
    train, held : Sample
    targets : Targets
    plans : tuple of ColumnPlan
    class_weight : dict, "balanced" or None
        Of rows to train on, and of those held out: who weighs classes wants the net that is best
        by these weights.
    prepared : sequence of (ndarray, ndarray), optional
        Both as each plan prepares them; else that is done here.
    places : ndarray of int64, optional
        Which of the rows given those held out are.
    """
    known = targets.known(held.y)
    places = None if places is None else places[known]
    missed = float((np.ones(len(held)) if held.weights is None else held.weights)[~known].sum())
    if not known.all():
        held = held.take(np.flatnonzero(known))
        if not len(held):
            raise DataError("no held-out row has a class that occurs in training.")
    pairs = prepared or [(plan.transform(train.X), plan.transform(held.X)) for plan in plans]
    y, y_held = targets.encode(train.y, len(train)), targets.encode(held.y, len(held))
    weights, held_weights = train.weights, held.weights
    if class_weight is not None:
        if targets.classes is None:
            raise DataError("class_weight needs one class a row.")
        codes = y.ravel().astype(np.intp)
        of_class = class_weights(class_weight, targets.classes.tolist(), codes)
        weights = _times(weights, of_class, y)
        held_weights = _times(held_weights, of_class, y_held)
    return Fold(
        tuple(
            Rows(x, y, weights, names=train.names.take_columns(plan.places()))
            for (x, _), plan in zip(pairs, plans, strict=True)
        ),
        tuple(Rows(x, y_held, held_weights) for _, x in pairs),
        Truth(
            targets, targets.encode(held.y, len(held), "float64"), held_weights, held.weights,
            missed,
        ),
        places,
    )


def _times(
    weights: NDArray[np.float64] | None, of_class: NDArray[np.float64], y: NDArray[Any]
) -> NDArray[np.float64]:
    """Weights of rows times those of their classes."""
    found = of_class[y.ravel().astype(np.intp)]
    found = found if weights is None else found * weights
    if not found.any():
        raise DataError("sample_weight times class_weight is zero in every row.")
    return found


def joined(truths: list[Truth]) -> Truth:
    """The truth of several folds, one after the other."""
    codes = np.concatenate([t.codes for t in truths])
    return Truth(
        truths[0].targets, codes, _one_after_another([t.weights for t in truths]),
        _one_after_another([t.own_weights for t in truths]), sum(t.missed for t in truths),
    )  # fmt: skip


def _one_after_another(weights: list[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    known = [each for each in weights if each is not None]
    return np.concatenate(known) if len(known) == len(weights) else None
