"""Forward only: outputs and losses of rows of any number, on as many threads as pay."""

from __future__ import annotations

import threading
import time
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

__all__ = ["Pace", "Predictor", "Rows", "bind_rows"]


@dataclass(frozen=True)
class Rows:
    """Data as the kernels take them; nothing is copied.

    Attributes
    ----------
    x : ndarray (n, n_inputs)
        float32, float64 or uint8; each row contiguous.
    y : ndarray (n, n_outputs) of float, (n,) of int32 class numbers, or None
    weights : ndarray (n,) of float64, or None
    """

    x: NDArray[Any]
    y: NDArray[Any] | None = None
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.x)


#: uint8 columns are read as shares of 255.
_BYTE_SCALE = 1.0 / 255.0


def bind_rows(work: Workspace, rows: Rows) -> None:
    """Point a job at data."""
    x, y = rows.x, rows.y
    work.set(
        x=x.ctypes.data, x_row=x.strides[0], n_rows=len(x),
        x_scale=_BYTE_SCALE if x.dtype == np.uint8 else 1.0,
        inputs=work.piece(f"inputs.{x.dtype.name}"),
        given=0 if rows.weights is None else rows.weights.ctypes.data,
    )  # fmt: skip
    if y is not None:
        kind = "labels" if y.dtype == np.int32 else y.dtype.name
        work.set(y=y.ctypes.data, y_row=y.strides[0], targets=work.piece(f"targets.{kind}"))


class Pace:
    """How many rows fit into a region, so that Ctrl-C and progress are answered in time."""

    def __init__(self, rows: int, seconds: float) -> None:
        self.rows, self._seconds = rows, seconds

    def measure(self, rows: int, seconds: float) -> None:
        """Learn from a region of `rows` that took `seconds`; grow fourfold at most."""
        if rows > 0:
            aim = int(rows * self._seconds / max(seconds, 1e-6))
            self.rows = max(1, min(aim, 4 * max(self.rows, rows)))


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
        self._run(rows, out, loss=False)
        return out

    def outputs_and_loss(self, rows: Rows) -> tuple[NDArray[Any], float]:
        """Outputs, and the loss over the rows: sum of weighted losses over sum of weights."""
        out = np.empty((len(rows), self.spec.n_outputs), self._work.dtype)
        sums = self._run(rows, out, loss=True)
        return out, float(sums[0] / sums[1])

    def _run(self, rows: Rows, out: NDArray[Any], loss: bool) -> NDArray[np.float64]:
        if not self._lock.acquire(blocking=False):  # another thread predicts with these buffers
            other = Predictor(self.spec, self._work.plan, self.state, self.threads)
            return other._run(rows, out, loss)
        try:
            return self._run_locked(rows, out, loss)
        finally:
            self._lock.release()

    def _run_locked(self, rows: Rows, out: NDArray[Any], loss: bool) -> NDArray[np.float64]:
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
        pace = Pace(64 * work.plan.row_block, tuning.REGION_SECONDS)
        while work["cursor"] < len(rows):
            before, start = work["cursor"], time.perf_counter()
            limit = -(-pace.rows // work.plan.row_block) * work.plan.row_block
            work.set(rows_limit=limit)
            run("infer", work.job, work.sync, threads)
            if work["status"] == records.STATUS.BAD_INPUT:
                raise DataError(self._bad_input(rows, work["bad_row"]))
            pace.measure(work["cursor"] - before, time.perf_counter() - start)
        return sums.sum(axis=0) if loss else sums

    @staticmethod
    def _bad_input(rows: Rows, row: int) -> str:
        column = int(np.argmin(np.isfinite(rows.x[row])))
        return (
            f"X has {rows.x[row, column]} at row {row}, column {column}: predictions need finite"
            " numbers."
        )
