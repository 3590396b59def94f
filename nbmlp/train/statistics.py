"""What a net does with some rows: outputs, deltas and gradients, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.names import Activation, Flat, Function
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State
from nbmlp.train.engine import Engine, Explain, bare_fact

__all__ = ["LayerStatistics", "NetStatistics", "layer_statistics"]

#: Rows looked at: all of them stay in one sub-batch.
MOST_ROWS = 256
#: A unit is saturated where its slope is less than this share of the steepest.
_FLAT = 0.04


@dataclass(frozen=True)
class LayerStatistics:
    """One layer over the rows looked at.

    Attributes
    ----------
    activation : str
        Its name, without parameter.
    output : float
        Root mean square of its outputs.
    saturated : float
        Share of outputs on the flat ends of logistic and tanh.
    dead : float
        Share of units whose slope is 0 for every row (relu), or nearly so (logistic, tanh).
    delta : float
        Root mean square of the loss's derivative by its inputs z, of single rows.
    gradient : float
        Root mean square of the entries of its weights' gradient.
    weight : float
        Root mean square of its weights.
    """

    activation: str
    output: float
    saturated: float
    dead: float
    delta: float
    gradient: float
    weight: float


@dataclass(frozen=True)
class NetStatistics:
    """A net over some rows.

    Attributes
    ----------
    n_rows : int
    loss : float
        Mean over the rows, without penalty.
    layers : tuple of LayerStatistics
    outputs : ndarray (rows, n_outputs)
    """

    n_rows: int
    loss: float
    layers: tuple[LayerStatistics, ...]
    outputs: NDArray[Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the outputs."""
        return {
            "n_rows": self.n_rows, "loss": self.loss,
            "layers": [asdict(layer) for layer in self.layers],
        }  # fmt: skip


@np.errstate(over="ignore", invalid="ignore")
def layer_statistics(
    spec: ModelSpec, train: TrainSpec, state: State, rows: Rows, explain: Explain = bare_fact
) -> NetStatistics:
    """Forward and backward over the first rows, without an update.

    Parameters
    ----------
    spec, train : ModelSpec, TrainSpec
    state : State
        Left as it is.
    rows : Rows
        With targets; the first 256 are looked at.
    explain : callable
        See :class:`~nbmlp.train.engine.Engine`.

    Raises
    ------
    NonFiniteError
        A row or an output is NaN or infinite.
    """
    few = replace(rows.first(MOST_ROWS), weights=None)
    n = len(few)
    plain = train.with_(l1=0.0, l2=0.0, reduction="mean")
    engine = Engine(spec, plain, state, few, 1, deterministic=True, explain=explain)
    loss, gradient = engine.loss_and_gradient()
    outputs = [a[:n, :size] for a, size in _sized(engine.work.activations, spec)]
    deltas = [d[:n, :size] for d, size in _sized(engine.work.deltas, spec)]
    kept = [a[:n, :size] for a, size in _sized(engine.work.buffers.saved, spec)]
    flat = [_flat(*known) for known in zip(spec.functions, kept, _learned(spec), strict=True)]
    views = zip(
        spec.functions, flat, outputs, deltas, state.weights(gradient), state.weights(), strict=True
    )  # fmt: skip
    layers = tuple(_view(*parts) for parts in views)
    return NetStatistics(n, loss, layers, outputs[-1].copy())


def _sized(arrays: list[NDArray[Any]], spec: ModelSpec) -> zip[tuple[NDArray[Any], int]]:
    return zip(arrays, spec.layer_sizes[1:], strict=True)


def _learned(spec: ModelSpec) -> list[bool]:
    """Of each layer, whether its activation has parameters: what is flat then is not for ever."""
    return [*[spec.parametric_activation] * len(spec.hidden), False]


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0


def _view(
    function: Function[Activation], flat: NDArray[np.bool_], a: NDArray[Any], delta: NDArray[Any],
    g: NDArray[Any], w: NDArray[Any],
) -> LayerStatistics:  # fmt: skip
    both = function.row.flat is Flat.BOTH
    return LayerStatistics(
        function.name, _rms(a), float(flat.mean()) if both else 0.0, float(flat.all(axis=0).mean()),
        _rms(delta), _rms(g), _rms(w),
    )  # fmt: skip


def _flat(function: Function[Activation], a: NDArray[Any], learned: bool) -> NDArray[np.bool_]:
    """Which outputs (rows, units) lie where the activation has next to no slope."""
    if learned or function.row.flat is Flat.NOWHERE:
        return np.zeros(a.shape, np.bool_)
    if function.row.flat is Flat.BELOW:
        return np.asarray(a <= 0)
    low, high = function.row.reach(function.parameter)
    steepest = 0.25 * (high - low) ** 2
    return np.asarray((a - low) * (high - a) < _FLAT * steepest)
