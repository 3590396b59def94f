"""The gradient noise scale: how large a batch may grow before more rows bring little."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbmlp.failures.explain import explain
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State
from nbmlp.train.engine import Engine

__all__ = ["NoiseScale", "noise_scale"]

#: Batches whose gradients are compared: the relative error of the trace is about 1/sqrt(this).
_CHUNKS = 128


@dataclass(frozen=True)
class NoiseScale:
    """How much the gradients of single rows differ, beside what they have in common.

    Attributes
    ----------
    trace : float
        tr(Sigma): sum over the parameters of the variance of one row's gradient.
    squared_norm : float
        Estimate of |G|^2 of the true gradient; its error may make it negative.
    rows : int
        Rows that were looked at.
    """

    trace: float
    squared_norm: float
    rows: int

    @property
    def batch(self) -> float:
        """B_simple = tr(Sigma) / |G|^2 rows; infinite where they were too few to see G."""
        return self.trace / self.squared_norm if self.squared_norm > 0 else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the scale itself as ``batch``."""
        return {
            "batch": self.batch, "trace": self.trace, "squared_norm": self.squared_norm,
            "rows": self.rows,
        }  # fmt: skip


def noise_scale(
    spec: ModelSpec,
    train: TrainSpec,
    state: State,
    rows: Rows,
    threads: int,
    *,
    most_rows: int = 65536,
    between: Callable[[], None] = lambda: None,
) -> NoiseScale:
    """Estimate the simple noise scale of McCandlish et al. 2018 (arXiv:1812.06162), appendix A.1.

    A batch of B rows has a gradient of expected squared norm |G|^2 + tr(Sigma)/B. Two batch
    sizes give both unknowns without bias: up to 128 equal batches, drawn without putting back, and
    all of them as one. Penalties and dropout are left out.

    Parameters
    ----------
    spec, train : ModelSpec, TrainSpec
    state : State
        Where to look; not changed.
    rows : Rows
        With targets, two or more.
    threads : int
        Most threads to use.
    most_rows : int
        Rows to look at, if there are as many; drawn from the seed.
    between : callable
        Called before each batch; may raise.

    Returns
    -------
    NoiseScale
    """
    train = train.with_(l1=0.0, l2=0.0, reduction="mean")
    chunks = min(_CHUNKS, len(rows), max(most_rows, 2))
    size = max(1, min(most_rows, len(rows)) // chunks)
    drawn = np.random.Generator(np.random.Philox(train.seed)).permutation(len(rows))
    engine: Engine | None = None
    total, squares = np.zeros(spec.n_parameters), 0.0
    for places in drawn[: chunks * size].reshape(chunks, size):
        between()
        chunk = rows.take(places)
        if engine is None or not engine.rebind(engine.train, chunk):
            engine = Engine(spec, train, state, chunk, threads, True, explain=explain)
        gradient = state.get_flat(engine.loss_and_gradient()[1]).astype(np.float64)
        total += gradient
        squares += float(gradient @ gradient)
    small, large = squares / chunks, float(total @ total) / chunks**2
    trace = (small - large) / (1 / size - 1 / (chunks * size))
    return NoiseScale(trace, large - trace / (chunks * size), chunks * size)
