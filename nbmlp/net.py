"""A net and how raw data become its rows: what is learned from data, saved and loaded."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.coding import TargetCoding
from nbmlp.data import (
    ColumnPlan,
    Given,
    SparseRows,
    Table,
    as_table,
    check_finite,
    check_weights,
    check_X,
    class_weights,
)
from nbmlp.errors import DataError, NonFiniteError, RowError, SpecError
from nbmlp.init import initialise
from nbmlp.plan import make_plan
from nbmlp.predict import Rows
from nbmlp.rows import PLAIN, Names
from nbmlp.settings import Settings
from nbmlp.spec import ClassWeight, ModelSpec, TaskSpec
from nbmlp.state import MANY, State, known_finite, new_state
from nbmlp.stream.ready import ReadyRows

__all__ = ["Net", "Part", "Visit", "converted", "plan_of"]


def converted(given: Given, settings: Settings) -> Given:
    """Data that :meth:`Net.learn` and then :meth:`Net.rows` take as they are.

    Lists, data frames and whole numbers would else be converted by each of them.

    Raises
    ------
    DataError
        As :func:`~nbmlp.data.check_X`.
    """
    X: Any = given.X if isinstance(given.X, ReadyRows) else as_table(given.X)
    if X is None:
        X = check_X(given.X, dtype="float64" if settings.prepares else settings.dtype)
    return replace(given, X=X, y=np.asarray(given.y))


def plan_of(wishes: TaskSpec, X: Any) -> ColumnPlan:
    """How columns become inputs."""
    return ColumnPlan.fit(
        X, numbers=wishes.scaling, bins=wishes.bins, embed=wishes.category_embedding,
        overrides=wishes.column_kinds,
    )  # fmt: skip


#: So many targets for each parameter and each value that the optimizer keeps, and it costs less to
#: copy these than to look through the targets.
_TIMES = 4
#: Bytes are pictures: what a net learns from is their share of 255.
_BYTE_SCALE = 1.0 / 255.0


#: Of so many rows, the first that are meant and the one behind the last.
Part = Callable[[int], tuple[int, int]]


def whole(rows: int) -> tuple[int, int]:
    """All of them."""
    return 0, rows


@dataclass
class Net:
    """Shapes, parameters, and the way in and out.

    Attributes
    ----------
    spec : ModelSpec
    state : State
    coding : TargetCoding
    columns : ColumnPlan or None
        How raw columns become inputs; None when inputs are taken as they are.
    scale : float
        Factor on inputs that are taken as they are.
    """

    spec: ModelSpec
    state: State
    coding: TargetCoding
    columns: ColumnPlan | None = None
    scale: float = 1.0

    @classmethod
    def learn(
        cls, settings: Settings, X: Any, y: ArrayLike, classes: ArrayLike | None = None
    ) -> Net:
        """Shapes, labels, columns and first weights from data.

        Parameters
        ----------
        settings : Settings
        X, y
            As for :meth:`nbmlp.MLP.fit`.
        classes : array-like, optional
            All labels that will ever come, instead of those of `y`.
        """
        table, columns, scale = as_table(X), None, 1.0
        if isinstance(X, ReadyRows):
            columns, n_inputs = X.plan, X.plan.n_features
        elif table is not None or settings.prepares:
            columns = plan_of(settings.target, X if table is None else table)
            n_inputs = columns.n_features
        else:
            x = check_X(X, dtype=settings.dtype)
            given = x.given if isinstance(x, SparseRows) else x.dtype
            n_inputs, scale = x.shape[1], _BYTE_SCALE if given == np.uint8 else 1.0
        softmax = settings.output_and_loss("classes", 2)[0] == "softmax"
        linear = settings.output_and_loss("regression", 0)[0] == "identity"
        labels, task = (y, settings.task) if classes is None else (classes, "classes")
        with Names(y="y" if classes is None else "classes").telling():
            coding = TargetCoding.fit(labels, task, softmax, columns is not None and linear)
        n_classes = 0 if coding.labels is None else len(coding.labels)
        spec = settings.specify(n_inputs, coding.task, n_classes, coding.n_outputs, columns)
        if spec.output == "softmax" and coding.n_outputs == 1:
            raise SpecError("softmax over one unit is constant: leave output to 'auto'.")
        state = new_state(make_plan(spec, 1), settings.train.optimizer)
        initialise(state, spec, settings.train.seed)
        return cls(spec, state, coding, columns, scale)

    @property
    def n_columns(self) -> int:
        """Columns of X, before any are prepared."""
        return self.spec.n_inputs if self.columns is None else len(self.columns.columns)

    def inputs(self, X: Any) -> NDArray[Any] | SparseRows:
        """X as the kernels read it, through the column plan if there is one."""
        if isinstance(X, ReadyRows):
            return self._ready(X)
        if self.columns is not None:
            return self.columns.transform(X)
        x = check_X(X, self.spec.n_inputs, dtype=self.spec.dtype)
        if isinstance(x, SparseRows) and self.spec.embeds:
            raise SpecError(
                f"{self.spec.embeds} does not go with sparse rows: give them as a dense array."
            )
        return x

    def _ready(self, X: ReadyRows) -> NDArray[Any]:
        if X.plan != self.columns:
            raise DataError(
                "these rows were made ready by another column plan than the model's: resume with"
                " the files and settings of the first fit."
            )
        return X.x

    def rows(
        self,
        X: Any,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        dtype: str | None = None,
        names: Names = PLAIN,
        finite: Callable[[NDArray[Any]], bool] = known_finite,
    ) -> Rows:
        """Checked data for engine and predictor; numeric targets in `dtype` (default: the net's).

        Parameters
        ----------
        X, y, sample_weight, dtype
        names : Names
            What rows and columns of X and y are called.
        finite : callable
            See :func:`nbmlp.data.check_y`.

        Raises
        ------
        DataError
            Wrong shapes, types or lengths, unseen labels, targets or weights that are not finite.
        """
        targets = weights = None
        table = None if self.columns is None else as_table(X)
        try:
            x = self.inputs(X if table is None else table)
            if y is not None:
                kind = dtype or self.spec.dtype
                targets = self.coding.encode(y, len(x), kind, finite)
            if sample_weight is not None:
                weights = check_weights(sample_weight, len(x), dtype=np.float64)
        except RowError as error:
            raise names.called(error) from None
        return Rows(x, targets, weights, self.scale, self._called(table, names))

    def rows_of(
        self, given: Given, finite: Callable[[NDArray[Any]], bool] = known_finite
    ) -> Rows:
        """The same of data that know what they are called."""
        return self.rows(given.X, given.y, given.weights, names=given.names, finite=finite)

    def visit(self, given: Given, tells: bool) -> Visit:
        """The same to be trained on once.

        Parameters
        ----------
        given : Given
        tells : bool
            The training raises NonFiniteError as soon as a value is not finite.
        """
        if not (tells and self._sees_targets(given.y)):
            return Visit(self, given, self.rows_of(given))
        rows = self.rows(
            given.X, given.y, given.weights, given.y.dtype.name, given.names, lambda _: True
        )
        return Visit(self, given, rows, copy.copy(self.state))

    def _sees_targets(self, y: Any) -> bool:
        """Whether training finds targets that are not finite, for less than it costs to look.

        The loss of such a row is not finite either, but for those of classes, which may be bounded.
        """
        coding, state = self.coding, self.state
        return (
            type(y) is np.ndarray
            and y.dtype in (np.float32, np.float64)
            and y.size >= max(MANY, _TIMES * (state.theta.size + state.slots.size))
            and coding.labels is None
            and coding.scale is None
            and not self.spec.loss_function.row.classes
        )

    def weighted(self, rows: Rows, class_weight: ClassWeight | None) -> Rows:
        """Rows to train on, which count as much as their class, too.

        Raises
        ------
        SpecError
            There are no classes, or not those that have weights.
        DataError
            All rows weigh nothing.
        """
        if class_weight is None:
            return rows
        if self.coding.labels is None or rows.y is None:
            raise SpecError("class_weight needs classes; these targets are numbers.")
        codes = rows.y.ravel().astype(np.intp)
        weights = class_weights(class_weight, self.coding.labels.classes, codes)[codes]
        if rows.weights is not None:
            weights *= rows.weights
        if not weights.any():
            raise DataError("sample_weight times class_weight is 0 in every row.")
        return replace(rows, weights=weights)

    def finite_rows(self, given: Given, part: Part = whole) -> Rows:
        """Without weights, and only if all inputs are finite in the net's type, or a part of them.

        part: given how many rows there are, the first one to look at and the one behind the last.
        """
        rows = self.rows(given.X, given.y, names=given.names)
        with rows.names.telling():
            check_finite(rows.x, self.spec.dtype, rows=part(len(rows)))
        return rows

    def _called(self, table: Table | None, names: Names) -> Names:
        """What the columns are called that the net reads."""
        if self.columns is None:
            return names
        known = None if table is None else table.names
        if known is not None and not names.columns:
            names = replace(names, columns=known)
        return names.take_columns(self.columns.places(known))

    def to_dict(self) -> dict[str, Any]:
        """What is neither spec nor state, as plain values for JSON."""
        columns = None if self.columns is None else self.columns.to_dict()
        return {"coding": self.coding.to_dict(), "columns": columns, "scale": self.scale}

    @classmethod
    def from_dict(cls, spec: ModelSpec, state: State, values: dict[str, Any]) -> Net:
        """The inverse of :meth:`to_dict`."""
        stored = values["columns"]
        columns = None if stored is None else ColumnPlan.from_dict(stored)
        if columns is not None and columns.n_features != spec.n_inputs:
            raise DataError(
                f"the stored column plan makes {columns.n_features} inputs of the columns, and the"
                f" net takes {spec.n_inputs}."
            )
        coding = TargetCoding.from_dict(values["coding"])
        return cls(spec, state, coding, columns, float(values["scale"]))


class Visit:
    """Rows for one epoch, which finds bad targets itself if they are many.

    To be used around that epoch: one that meets such a target is undone, and the target named as if
    it had been looked for.

    Attributes
    ----------
    rows : Rows
    """

    def __init__(self, net: Net, given: Given, rows: Rows, before: State | None = None) -> None:
        self.rows, self._net, self._given, self._before = rows, net, given, before

    def __enter__(self) -> Rows:
        return self.rows

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raises DataError instead of NonFiniteError where a target is the reason."""
        if self._before is None or not isinstance(error, NonFiniteError):
            return
        try:
            self._net.rows_of(self._given)
        except DataError as found:
            self._net.state.take_back(self._before)
            raise found from None
