"""Forward only: outputs and losses of rows of any number, on as many threads as pay."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.data import SparseRows, first_nonfinite
from nbmlp.errors import DataError, Place, RowError
from nbmlp.kernels.records import STATUS
from nbmlp.kernels.run import run
from nbmlp.plan import Plan, choose_threads, make_strategy
from nbmlp.rows import PLAIN, Names
from nbmlp.spec import ModelSpec
from nbmlp.state import State
from nbmlp.workspace import Job, Workspace

__all__ = ["Pace", "Predictor", "Rows", "bind_rows", "mean_of"]


@dataclass(slots=True, eq=False)
class Rows:
    """Data as the kernels take them; nothing is copied.

    Attributes
    ----------
    x : ndarray or SparseRows (n, n_inputs)
        float32, float64 or uint8, each row contiguous; sparse rows float32 or float64.
    y : ndarray (n, n_outputs) of float, (n,) of int32 class numbers, or None
    weights : ndarray (n,) of float64, or None
    scale : float
        Multiplies x on the way into the net.
    names : Names
        Which of the user's rows and columns these are.
    """

    x: NDArray[Any] | SparseRows
    y: NDArray[Any] | None = None
    weights: NDArray[np.float64] | None = None
    scale: float = 1.0
    names: Names = PLAIN

    def __len__(self) -> int:
        return len(self.x)

    @property
    def kind(self) -> np.dtype[Any] | str:
        """Of the piece that reads x."""
        return self.x.kind if isinstance(self.x, SparseRows) else self.x.dtype

    def first(self, count: int) -> Rows:
        """A view of the first rows; they are called as they are here."""
        return self.between(0, count)

    def between(self, start: int, end: int) -> Rows:
        """A view of rows that follow each other; they are called as they are here."""
        parts: Any = (self.y, self.weights)
        y, weights = (None if part is None else part[start:end] for part in parts)
        names = self.names.take(np.arange(start, end)) if start else self.names
        return Rows(self.x[start:end], y, weights, self.scale, names)

    def take(self, places: NDArray[np.int64]) -> Rows:
        """A copy of some rows, which know their numbers."""
        x = self.x.take(places) if isinstance(self.x, SparseRows) else self.x[places]
        return Rows(
            x,
            None if self.y is None else self.y[places],
            None if self.weights is None else self.weights[places],
            self.scale,
            self.names.take(places),
        )


def bind_rows(work: Workspace, rows: Rows) -> None:
    """Point a job at data."""
    x, y = rows.x, rows.y
    table, thin = (x.table, x.thin) if isinstance(x, SparseRows) else (x, False)
    work.read_rows(rows.kind, thin, rows.scale)
    work.job.point_at(table, x.strides[0], len(x), rows.weights)
    if y is not None:
        work.job.compare_with(y)


#: Floating-point operations of a first region, of which nothing is known yet: 20 ms or less.
_FIRST_REGION = 4e8


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


def mean_of(sums: NDArray[np.float64]) -> float:
    """Sum of weighted losses over sum of weights, of both sums of each block (blocks, 2)."""
    loss, weight = sums.sum(axis=0)
    return float(loss / weight)


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
        self.spec, self.plan, self.state, self.threads = spec, plan, state, threads
        self._dtype = state.theta.dtype
        self._pace = Pace(2 * spec.n_parameters, tuning.REGION_SECONDS)
        #: Buffers not in use; in all there are as many as Python threads have predicted at once.
        self._idle = [self._workspace()]

    def _workspace(self) -> Workspace:
        strategy = make_strategy(self.spec, self.plan, self.threads, training=False)
        work = Workspace(self.spec, self.state, strategy)
        # Units that were dropped at times while training count by their share of presence.
        for i, drop in work.dropouts:
            work.keep(i, 1.0, 1.0 - drop)
        return work

    def outputs(self, rows: Rows) -> NDArray[Any]:
        """Outputs (n, n_outputs) of the last layer.

        Raises
        ------
        DataError
            A value of x is not finite; row and column are named.
        """
        out, sums = self.room(rows)
        self.fill(out, None, rows, 0, len(sums))
        return out

    def outputs_and_loss(
        self, rows: Rows, between: Callable[[], None] = _go_on
    ) -> tuple[NDArray[Any], float]:
        """Outputs, and the loss over the rows: sum of weighted losses over sum of weights.

        `between` is called between two regions and may raise.
        """
        out, sums = self.room(rows)
        self.fill(out, sums, rows, 0, len(sums), between)
        return out, mean_of(sums)

    # -- blocks of rows, which several may share

    def room(self, rows: Rows) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """For outputs (n, n_outputs), and for sums of losses and weights of each block of rows."""
        blocks = -(-len(rows) // self.plan.row_block)
        return np.empty((len(rows), self.spec.n_outputs), self._dtype), np.zeros((blocks, 2))

    def row_of(self, block: int, rows: Rows) -> int:
        """The first row of a block, or the one behind the last."""
        return min(block * self.plan.row_block, len(rows))

    def fill(
        self, out: NDArray[Any], sums: NDArray[np.float64] | None, rows: Rows, low: int, high: int,
        between: Callable[[], None] = _go_on,
    ) -> None:  # fmt: skip
        """Outputs of the blocks low..high, and their sums, if they are wanted.

        These are NaN, all of them, where a row's loss is not finite.
        """
        work = self._take()
        try:
            if not self._fill(work, out, sums, rows, (low, high), between):
                assert sums is not None
                sums[low:high] = np.nan  # and outputs have not been written
                self._fill(work, out, None, rows, (low, high), between)
        finally:
            self._idle.append(work)

    def _take(self) -> Workspace:
        """Buffers for this thread alone; taking from a list needs no lock."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._workspace()

    def _fill(
        self, work: Workspace, out: NDArray[Any], sums: NDArray[np.float64] | None, rows: Rows,
        blocks: tuple[int, int], between: Callable[[], None],
    ) -> bool:  # fmt: skip
        """See :meth:`fill`; returns whether all losses are finite."""
        job = work.job
        bind_rows(work, rows)
        work.refresh()
        first, end = (self.row_of(block, rows) for block in blocks)
        job.predict_into(out, first)
        if sums is not None:
            job.add_losses(sums)
        most = min(blocks[1] - blocks[0], self.threads)  # a thread takes a block at least
        threads = choose_threads(self.spec, end - first, most, training=False)
        while job.rows_done < end:
            between()
            self._region(job, rows, threads, first, end)
            if sums is not None and job.status == STATUS.BAD_OUTPUT:
                return False
        return True

    def _region(self, job: Job, rows: Rows, threads: int, first: int, end: int) -> None:
        """Some rows of those from the first on, for a moment."""
        block = self.plan.row_block
        before, start = job.rows_done, time.perf_counter()
        job.limit(min(-(-self._pace.rows // block) * block, end - before))
        run("infer", job, threads)
        if job.status == STATUS.BAD_INPUT:
            raise self._refused(rows, before)
        if before > first or job.rows_done < end:  # a few rows tell nothing of the pace of many
            self._pace.measure(job.rows_done - before, time.perf_counter() - start)

    def _refused(self, rows: Rows, start: int) -> DataError:
        """The first bad value from row `start` on, whichever thread has met one first."""
        place = first_nonfinite(rows.x, self._dtype, start)
        if place is None:
            return DataError("X has changed while it was predicted from: predict again.")
        rest = f": predictions need finite numbers that fit into {self.spec.dtype}."
        return rows.names.called(RowError("X", f"has {rows.x[place]}", Place(*place), rest))
