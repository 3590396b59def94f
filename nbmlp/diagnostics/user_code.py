"""Somebody's own NumPy code: what it is given, what it gave back, and the report about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.sparse import SparseRows
from nbmlp.diagnostics.algebra import Layer, Tape, forward, split_flat
from nbmlp.diagnostics.formulas import Array
from nbmlp.diagnostics.gradients import MOST_ROWS, BlockError
from nbmlp.diagnostics.slips import Cost, Finding
from nbmlp.errors import SpecError
from nbmlp.failures.explain import explain
from nbmlp.plan import make_plan
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State, new_state
from nbmlp.train.engine import Engine

__all__ = ["Function", "FunctionReport", "Problem", "UserCode"]

Function = Callable[[Any, NDArray[Any], NDArray[Any]], Any]


@dataclass(frozen=True)
class Problem:
    """What the code is given.

    Attributes
    ----------
    spec, train : ModelSpec, TrainSpec
    flat : ndarray (n_parameters,)
        Point at which gradients are compared, ordered as :meth:`nbmlp.MLP.get_flat`.
    x, y : ndarray (rows, inputs), (rows, outputs)
        float64; classes as the outputs that they stand for (one-hot rows).
    """

    spec: ModelSpec
    train: TrainSpec
    flat: Array
    x: Array
    y: Array

    @classmethod
    def of(cls, spec: ModelSpec, train: TrainSpec, state: State, rows: Rows, seed: int) -> Problem:
        """The first rows, at the net's parameters; biases that are all 0 are moved, for at 0
        nobody sees what is done with them.

        Raises
        ------
        SpecError
            Rows with weights, which the code would not know of; a net of more than products,
            activations and dropout.
        """
        if spec.features:
            raise SpecError(
                f"function= is compared with nets of weights and biases alone: {spec.features[0]}"
                " does not go with it."
            )
        if rows.weights is not None:
            raise SpecError("sample_weight does not go with function=: leave it out.")
        still = (0.0,) * len(spec.hidden)
        spec = replace(spec, dtype="float64", input_dropout=0.0, dropout=still)
        rows = rows.first(MOST_ROWS)
        x = rows.x.matrix.toarray() if isinstance(rows.x, SparseRows) else rows.x
        assert rows.y is not None
        y = np.eye(spec.n_outputs)[rows.y] if rows.y.dtype == np.int32 else rows.y
        flat = state.get_flat().astype(np.float64)
        rng = np.random.Generator(np.random.Philox(seed))
        for layer in split_flat(spec, flat):
            if layer.b is not None and not layer.b.any():
                layer.b[:] = 0.1 * rng.standard_normal(layer.b.size)
        return cls(
            spec, train, flat, np.asarray(x, np.float64) * rows.scale, np.asarray(y, np.float64)
        )

    def engine_gradient(self) -> list[Layer]:
        """Gradient of the mean loss, without penalty, as the engine computes it."""
        train = self.train.with_(l1=0.0, l2=0.0, reduction="mean")
        state = new_state(make_plan(self.spec, 1), train.optimizer)
        state.set_flat(self.flat)
        engine = Engine(self.spec, train, state, Rows(self.x, self.y), 1, True, explain=explain)
        _, gradient = engine.loss_and_gradient()
        return split_flat(self.spec, state.get_flat(gradient))

    @property
    def cost(self) -> Cost:
        """What the net's settings minimise."""
        data = float(len(self.x)) if self.train.reduction == "sum" else 1.0
        return Cost(data, self.train.l2, 0.0, self.train.l1)

    def at(self, flat: Array) -> Tape:
        """The net's forward pass with these parameters."""
        return forward(self.spec, flat, self.x, self.y)


@dataclass(frozen=True)
class FunctionReport:
    """What somebody's code computes, beside the net; prints as a table and sentences.

    Attributes
    ----------
    loss : str
        What the code's loss was found to be.
    blocks : tuple of BlockError
        Of its gradient, against the derivative of its own loss (of the net's, where its own was
        not understood).
    findings : tuple of Finding
        The lines that are wrong, the last layer first.
    notes : tuple of str
        Differences to the net that are no mistakes.
    tolerance : float
    """

    loss: str
    blocks: tuple[BlockError, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    tolerance: float = 1e-7

    @property
    def passed(self) -> bool:
        """Every block is right, within the tolerance."""
        return not self.findings and all(b.error <= self.tolerance for b in self.blocks)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {"passed": self.passed, **asdict(self)}

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"check of your function {verdict} (tolerance {self.tolerance:g})"]
        lines += [f"  loss: {self.loss}"] if self.loss else []
        lines += [f"  {b.name:4s} relative error {b.error:.1e}" for b in self.blocks]
        lines += [f"  {i}. {finding}" for i, finding in enumerate(self.findings, start=1)]
        lines += [f"  Note: {note}." for note in self.notes]
        return "\n".join(lines)


class UserCode:
    """The function, with what it returns brought into one form."""

    def __init__(self, problem: Problem, function: Function, parameters: str) -> None:
        self._problem, self._function, self._parameters = problem, function, parameters
        self.single = False

    def call(self, flat: Array) -> Any:
        """Whatever it returns; it gets copies, so that it may write where it likes."""
        theta: Any = flat.copy()
        if self._parameters == "layers":
            layers = split_flat(self._problem.spec, theta)
            theta = [(W, b) if b is not None else W for W, b in layers]
        return self._function(theta, self._problem.x.copy(), self._problem.y.copy())

    def loss(self, flat: Array) -> float:
        """Its loss."""
        return float(self.call(flat)[0])

    def gradient(self, result: Any) -> Array:
        """Its gradient as one vector in the order of theta."""
        size = self._problem.flat.size
        parts = result if isinstance(result, list | tuple) else [result]
        blocks = [np.asarray(b) for part in parts for b in (part if _several(part) else [part])]
        if not blocks or any(b.dtype.kind not in "fiu" for b in blocks):
            raise SpecError(
                "the function's gradient holds no numbers: return (loss, gradient), the gradient"
                " as one vector or a list of (dW, db)."
            )
        self.single = any(b.dtype == np.float32 for b in blocks)
        flat = np.concatenate([b.ravel() for b in blocks]).astype(np.float64)
        if flat.size != size:
            raise SpecError(
                f"the function's gradient has {flat.size} values, the net has {size} parameters:"
                " return them in the order W1, b1, W2, b2, ..., as theta has them."
            )
        return flat

    def outputs(self, flat: Array) -> list[Array]:
        """Outputs of every layer, or of the last one only."""
        result = self.call(flat)
        found = list(result) if isinstance(result, list | tuple) else [result]
        units = self._problem.spec.layer_sizes[1:]
        wanted = units if len(found) == len(units) > 1 else units[-1:]
        shapes = [(len(self._problem.x), n) for n in wanted]
        if [np.shape(a) for a in found] != shapes:
            raise SpecError(
                f"the function returned shapes {[np.shape(a) for a in found]}: return (loss,"
                f" gradient), or outputs of shape {shapes[-1]}, or a list of every layer's."
            )
        return [np.asarray(a, np.float64) for a in found]


def _several(part: Any) -> bool:
    return isinstance(part, tuple | list)
