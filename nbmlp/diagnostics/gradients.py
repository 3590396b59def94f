"""The analytic gradient against finite differences, block by block, in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nbmlp.plan import make_plan
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec, named_parameter
from nbmlp.state import State, new_state
from nbmlp.train.engine import Engine

__all__ = ["BlockError", "GradientReport", "check_gradients"]

#: Rows looked at: all of them stay in one sub-batch, where the kinks can be seen.
_MOST_ROWS = 256
#: Step of the five-point formula: its error is of the order step^4, rounding of 1e-16/step.
_STEP = 1e-3
_KINKED = ("relu", "leaky_relu", "elu", "selu")
_KINKED_LOSSES = ("absolute_error", "quantile", "huber")


@dataclass(frozen=True)
class BlockError:
    """One weight matrix or bias vector.

    Attributes
    ----------
    name : str
        ``"W1"``, ``"b1"``, ...
    error : float
        |g - d| / (|g| + |d|) over the checked entries, g analytic, d by differences.
    checked, kinks : int
        Entries compared; entries left out because the difference straddles a kink.
    """

    name: str
    error: float
    checked: int
    kinks: int


@dataclass(frozen=True)
class GradientReport:
    """Result of a gradient check; prints as a table.

    Attributes
    ----------
    blocks : tuple of BlockError
    tolerance : float
    """

    blocks: tuple[BlockError, ...]
    tolerance: float = 1e-7

    @property
    def worst(self) -> float:
        """Largest error of a block."""
        return max((b.error for b in self.blocks), default=0.0)

    @property
    def passed(self) -> bool:
        """Every block was looked at and is within the tolerance."""
        return all(b.checked > 0 and b.error <= self.tolerance for b in self.blocks)

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        lines = [f"gradient check {verdict} (tolerance {self.tolerance:g})"]
        lines += [
            f"  {b.name:4s} relative error {b.error:.1e}   {b.checked} entries checked"
            + (f", {b.kinks} at kinks left out" if b.kinks else "")
            for b in self.blocks
        ]
        return "\n".join(lines)


def check_gradients(
    spec: ModelSpec,
    train: TrainSpec,
    state: State,
    rows: Rows,
    *,
    entries: int = 60,
    seed: int = 0,
    tolerance: float = 1e-7,
) -> GradientReport:
    """Compare backpropagation with five-point differences of the loss, penalty included.

    Parameters
    ----------
    spec, train : ModelSpec, TrainSpec
    state : State
        Of any element type; the check runs on a float64 copy of its parameters.
    rows : Rows
        With float64 (or label) targets; the first 256 are used.
    entries : int
        Most entries of each block to check, drawn from `seed`.
    tolerance : float
        Largest error of a block that passes.

    Returns
    -------
    GradientReport
    """
    spec = replace(spec, dtype="float64")
    twin = new_state(make_plan(spec, 1), train.optimizer)
    twin.set_flat(state.get_flat().astype(np.float64))
    few = Rows(
        rows.x[:_MOST_ROWS],
        None if rows.y is None else rows.y[:_MOST_ROWS],
        None if rows.weights is None else rows.weights[:_MOST_ROWS],
        rows.scale,
    )
    probe = _Probe(spec, train, twin, few)
    gradient = probe.gradient()
    rng = np.random.Generator(np.random.Philox(seed))
    blocks, start = [], 0
    for k, layer in enumerate(twin.plan.layers, start=1):
        parts = [(f"W{k}", layer.n_in * layer.n_out)]
        parts += [(f"b{k}", layer.n_out)] if layer.depth > layer.n_in else []
        for name, size in parts:
            count = min(size, entries)
            places = start + np.sort(rng.choice(size, count, replace=False))
            blocks.append(probe.compare(name, gradient, places))
            start += size
    return GradientReport(tuple(blocks), tolerance)


class _Probe:
    """The loss as a function of one parameter."""

    def __init__(self, spec: ModelSpec, train: TrainSpec, state: State, rows: Rows) -> None:
        self._engine = Engine(spec, train, state, rows, 1, deterministic=True)
        self._state, self._spec, self._rows = state, spec, rows
        self._flat, self._l1 = state.get_flat(), train.l1 > 0

    def gradient(self) -> NDArray[np.float64]:
        _, arena = self._engine.loss_and_gradient()
        return self._state.get_flat(arena)

    def _loss(self, place: int, shift: float) -> tuple[float, NDArray[np.bool_]]:
        """Loss with one parameter shifted, and which side of its kinks every unit is on."""
        flat = self._flat.copy()
        flat[place] += shift
        self._state.set_flat(flat)
        loss, _ = self._engine.loss_and_gradient()
        return loss, self._sides()

    def _sides(self) -> NDArray[np.bool_]:
        n, work = len(self._rows), self._engine.work
        sides = [np.zeros((n, 0), np.bool_)]
        layers = zip(
            (*self._spec.activation, self._spec.output), work.activations, work.plan.layers,
            strict=True,
        )  # fmt: skip
        for activation, a, layer in layers:
            if named_parameter(activation)[0] in _KINKED:
                sides.append(a[:n, : layer.n_out] > 0)
        loss, bound = named_parameter(self._spec.loss)
        if loss in _KINKED_LOSSES and self._rows.y is not None:
            residual = work.activations[-1][:n, : self._spec.n_outputs] - self._rows.y
            edge = bound if loss == "huber" else 0.0
            sides += [residual > edge, residual < -edge]
        return np.hstack(sides)

    def compare(
        self, name: str, gradient: NDArray[np.float64], places: NDArray[np.int64]
    ) -> BlockError:
        analytic, numeric = [], []
        for place in places.tolist():
            (low2, side2), (low1, _), (high1, _), (high2, other2) = (
                self._loss(place, k * _STEP) for k in (-2, -1, 1, 2)
            )
            penalty_kink = self._l1 and name[0] == "W" and abs(self._flat[place]) <= 2 * _STEP
            if np.array_equal(side2, other2) and not penalty_kink:
                numeric.append((8.0 * (high1 - low1) - (high2 - low2)) / (12.0 * _STEP))
                analytic.append(gradient[place])
        g, d = np.array(analytic), np.array(numeric)
        size = float(np.linalg.norm(g) + np.linalg.norm(d))
        error = float(np.linalg.norm(g - d)) / size if size else 0.0
        return BlockError(name, error, len(g), len(places) - len(g))
