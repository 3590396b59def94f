"""What answers for a model: its one net, or all of an ensemble, behind one interface."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import ColumnPlan, Table, check_finite
from nbmlp.errors import DataError
from nbmlp.mlp import MLP
from nbmlp.names import PROBABLE
from nbmlp.predict import Predictor, Rows
from nbmlp.tabular.model import TabularModel

__all__ = ["Ensemble", "OneNet", "Served"]

Array = NDArray[Any]


class Served(Protocol):
    """What a served model asks of its nets; rows of many requests go through them together."""

    @property
    def plan(self) -> ColumnPlan | None:
        """None for a net that takes its inputs as they are."""

    @property
    def classes(self) -> Array | None:
        """In the order of the probabilities."""

    @property
    def vector(self) -> bool:
        """Predictions are one number a row, without an axis of its own."""

    @property
    def probable(self) -> bool:
        """There are probabilities."""

    @property
    def width(self) -> int:
        """Values that :meth:`inputs` makes of a row."""

    @property
    def n_outputs(self) -> int:
        """Outputs of a row."""

    @property
    def cost(self) -> int:
        """Multiply-adds of a row."""

    def inputs(self, X: Any) -> Array:
        """Rows made ready (rows, width); raises DataError."""

    def outputs(self, x: Array) -> Array:
        """Of rows that were made ready."""

    def decode(self, outputs: Array) -> Array:
        """Predictions."""

    def probabilities(self, outputs: Array) -> Array:
        """Of each class."""


class OneNet:
    """The net of an MLP."""

    def __init__(self, mlp: MLP) -> None:
        spec = mlp.model_spec
        self._mlp, self._net = mlp, mlp.net
        self.plan, self.classes = mlp.column_plan, mlp.classes
        self.vector = mlp.coding.vector and spec.n_outputs == 1
        self.probable = spec.output in PROBABLE
        self.width, self.n_outputs, self.cost = spec.n_inputs, spec.n_outputs, spec.n_parameters

    def inputs(self, X: Any) -> Array:
        """Rows made ready."""
        x = self._net.inputs(X)
        assert isinstance(x, np.ndarray)
        check_finite(x, self._net.spec.dtype)
        return x.astype(self._net.spec.dtype)

    def outputs(self, x: Array) -> Array:
        """Of rows that were made ready."""
        return self._mlp.predictor.outputs(Rows(x, scale=self._net.scale))

    def decode(self, outputs: Array) -> Array:
        """Predictions."""
        return self._mlp.coding.decode(outputs)

    def probabilities(self, outputs: Array) -> Array:
        """Of each class."""
        return self._mlp.coding.probabilities(outputs, self._mlp.model_spec.output)


class Ensemble:
    """The nets of a table's model. Columns are prepared once for each plan, side by side."""

    def __init__(self, model: TabularModel) -> None:
        self._model, self.plan, self.classes = model, model.plans[0], model.classes
        coding, nets = model.targets.coding, model.kept
        self.n_outputs = model.targets.n_outputs
        self.vector = coding is not None and coding.vector and self.n_outputs == 1
        self.probable = model.gives_probabilities
        self.cost = sum(kept.spec.n_parameters for kept in nets)
        self._predictors = [Predictor(k.spec, k.state.plan, k.state, 1) for k in nets]
        self._parts, self.width = dict[int, slice](), 0
        for number in sorted({kept.plan for kept in nets}):
            start, self.width = self.width, self.width + model.plans[number].n_features
            self._parts[number] = slice(start, self.width)

    def inputs(self, X: Any) -> Array:
        """Rows made ready by each plan that a net reads."""
        if not isinstance(X, Table):
            raise DataError("this model takes a table of named columns.")
        plans = self._model.plans
        x = np.hstack([np.asarray(plans[number].transform(X)) for number in self._parts])
        check_finite(x, np.dtype(np.float32))
        return x.astype(np.float32, copy=False)

    def outputs(self, x: Array) -> Array:
        """The weighted mean of the nets' outputs."""
        ready = {n: Rows(np.ascontiguousarray(x[:, part])) for n, part in self._parts.items()}
        total: Array = np.zeros((len(x), self.n_outputs))
        for kept, predictor in zip(self._model.kept, self._predictors, strict=True):
            total += kept.weight * predictor.outputs(ready[kept.plan])
        return total

    def decode(self, outputs: Array) -> Array:
        """Labels, or numbers within the range of training."""
        return self._model.targets.decode(outputs)

    def probabilities(self, outputs: Array) -> Array:
        """Of each class."""
        return self._model.targets.probabilities(outputs)
