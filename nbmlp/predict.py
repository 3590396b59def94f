"""Forward only: outputs and losses of rows of any number, on as many threads as pay."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.errors import DataError
from nbmlp.kernels import records
from nbmlp.kernels.run import run
from nbmlp.plan import Plan, choose_threads
from nbmlp.spec import ModelSpec
from nbmlp.state import State
from nbmlp.workspace import Workspace

__all__ = ["Pace", "Predictor", "Rows", "bad_column", "bind_rows"]


@dataclass(frozen=True)
class Rows:
    """Data as the kernels take them; nothing is copied.

    Attributes
    ----------
    x : ndarray (n, n_inputs)
        float32, float64 or uint8; each row contiguous.
    y : ndarray (n, n_outputs) of float, (n,) of int32 class numbers, or None
    weights : ndarray (n,) of float64, or None
    scale : float
        Multiplies x on the way into the net.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None = None
    weights: NDArray[np.float64] | None = None
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.x)


def bind_rows(work: Workspace, rows: Rows) -> None:
    """Point a job at data."""
    x, y = rows.x, rows.y
    work.set(
        x=x.ctypes.data, x_row=x.strides[0], n_rows=len(x),
        x_scale=rows.scale,
        inputs=work.piece(f"inputs.{x.dtype.name}"),
        given=0 if rows.weights is None else rows.weights.ctypes.data,
    )  # fmt: skip
    if y is not None:
        kind = "labels" if y.dtype == np.int32 else y.dtype.name
        work.set(y=y.ctypes.data, y_row=y.strides[0], targets=work.piece(f"targets.{kind}"))


#: Floating-point operations of a first region, of which nothing is known yet: 20 ms or less.
_FIRST_REGION = 4e8


def bad_column(row: NDArray[Any], dtype: Any) -> int:
    """First column of a row (columns,) that is not finite, or not in `dtype`."""
    with np.errstate(over="ignore"):
        return int(np.argmin(np.isfinite(row.astype(dtype))))


class Pace:
    """How many rows fit into a region, so that Ctrl-C and progress are answered in time.

    Parameters
    ----------
    flops_per_row : float
        Rough cost of a row, for the first region.
    seconds : float
        What a region should take.
    """

    def __init__(self, flops_per_row: float, seconds: float) -> None:
        self.rows, self._seconds = max(1, int(_FIRST_REGION / flops_per_row)), seconds

    def measure(self, rows: int, seconds: float) -> None:
        """Learn from a region of `rows` that took `seconds`; grow fourfold at most."""
        if rows > 0:
            aim = int(rows * self._seconds / max(seconds, 1e-6))
            self.rows = max(1, min(aim, 4 * max(self.rows, rows)))


def _go_on() -> None:
    """Nothing between two regions keeps a prediction from going on."""


class Predictor:
    """A forward pass with its buffers, kept for the next call.

    Parameters
    ----------
    spec : ModelSpec
    plan : Plan
    state : State
        Read at each call, so that later updates are seen.
    threads : int
        Most threads to use.
    """

    def __init__(self, spec: ModelSpec, plan: Plan, state: State, threads: int) -> None:
        self.spec, self.state, self.threads = spec, state, threads
        self._work = Workspace(plan, spec, state, threads, training=False)
        self._lock = threading.Lock()
        if spec.dropout_scale_at == "predict":
            self._scale_kept()

    def _scale_kept(self) -> None:
        """Units that were dropped at times while training count by their share of presence."""
        work, spec = self._work, self.spec
        work.set(dropout=work.piece("dropout"))
        for k, drop in enumerate(spec.dropout):
            work.set_layer(k, drops=int(drop > 0), factor=1.0 - drop)
        work.set(
            input_drops=int(spec.input_dropout > 0), input_keep=1.0,
            input_factor=1.0 - spec.input_dropout,
        )  # fmt: skip

    def outputs(self, rows: Rows) -> NDArray[Any]:
        """Outputs (n, n_outputs) of the last layer.

        Raises
        ------
        DataError
            A value of x is not finite; row and column are named.
        """
        out = np.empty((len(rows), self.spec.n_outputs), self._work.dtype)
        self._run(rows, out, False, _go_on)
        return out

    def outputs_and_loss(
        self, rows: Rows, between: Callable[[], None] = _go_on
    ) -> tuple[NDArray[Any], float]:
        """Outputs, and the loss over the rows: sum of weighted losses over sum of weights.

        `between` is called between two regions and may raise.
        """
        out = np.empty((len(rows), self.spec.n_outputs), self._work.dtype)
        sums = self._run(rows, out, True, between)
        return out, float(sums[0] / sums[1])

    def _run(
        self, rows: Rows, out: NDArray[Any], loss: bool, between: Callable[[], None]
    ) -> NDArray[np.float64]:
        if not self._lock.acquire(blocking=False):  # another thread predicts with these buffers
            other = Predictor(self.spec, self._work.plan, self.state, self.threads)
            return other._run(rows, out, loss, between)
        try:
            return self._run_locked(rows, out, loss, between)
        finally:
            self._lock.release()

    def _run_locked(
        self, rows: Rows, out: NDArray[Any], loss: bool, between: Callable[[], None]
    ) -> NDArray[np.float64]:
        work = self._work
        blocks = -(-len(rows) // work.plan.row_block)
        sums = np.zeros((blocks if loss else 0, 2))
        bind_rows(work, rows)
        fused_loss = work.spec.loss.partition("(")[0]
        work.set(
            out=out.ctypes.data, out_row=out.strides[0], copy_rows=work.piece("copy_rows"),
            norms=sums.ctypes.data, n_blocks=blocks,
            loss=work.piece(f"{fused_loss}.loss") if loss else 0, cursor=0,
        )  # fmt: skip
        threads = choose_threads(self.spec, len(rows), self.threads)
        pace = Pace(2 * self.spec.n_parameters, tuning.REGION_SECONDS)
        while work["cursor"] < len(rows):
            between()
            before, start = work["cursor"], time.perf_counter()
            limit = -(-pace.rows // work.plan.row_block) * work.plan.row_block
            work.set(rows_limit=limit)
            run("infer", work.job, work.sync, threads)
            if work["status"] == records.STATUS.BAD_INPUT:
                row = work["bad_row"]
                column = bad_column(rows.x[row], work.dtype)
                raise DataError(
                    f"X has {rows.x[row, column]} at row {row}, column {column}: predictions need"
                    f" finite numbers that fit into {work.spec.dtype}."
                )
            pace.measure(work["cursor"] - before, time.perf_counter() - start)
        return sums.sum(axis=0) if loss else sums
