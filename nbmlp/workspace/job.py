"""The record of what is true of all layers: the only one who writes it.

Whoever runs a job says what is to be done: which rows, which update, where to begin. Which fields
of the record that takes, and which pieces go with them, is known here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.kernels import records
from nbmlp.plan import Strategy
from nbmlp.plan.strategy import Kind
from nbmlp.spec import ModelSpec
from nbmlp.state import address
from nbmlp.workspace.buffers import Buffers
from nbmlp.workspace.table import Table, places

__all__ = ["Cursor", "Job"]

#: Where those fields lie that a prediction of one row writes and reads: it takes 7 us in all.
_AT = places(records.JOB)
_X, _X_ROW, _N_ROWS, _GIVEN = (_AT[name] for name in ("x", "x_row", "n_rows", "given"))
_OUT, _OUT_ROW, _LOSS, _CURSOR = (_AT[name] for name in ("out", "out_row", "loss", "cursor"))
_LIMIT, _THREADS, _STATUS = (_AT[name] for name in ("rows_limit", "threads", "status"))


class Cursor(NamedTuple):
    """Where a training stands in its epoch.

    Attributes
    ----------
    row : int
        Rows of the epoch that have been trained on.
    batch_start : int
        The first row of the batch at hand, or of the next one.
    step : int
        Updates since the first fit.
    batch_weight : float
        Of the rows so far of the batch at hand.
    loss, weight : float
        Sums over the epoch's rows so far: of weighted losses, of weights.
    """

    row: int = 0
    batch_start: int = 0
    step: int = 0
    batch_weight: float = 0.0
    loss: float = 0.0
    weight: float = 0.0

    @property
    def within_batch(self) -> bool:
        """Whether a batch is half done."""
        return self.row != self.batch_start

    def before_batch(self) -> Cursor:
        """Before the batch at hand; what it has added to the epoch's sums stays there."""
        return self._replace(row=self.batch_start, batch_weight=0.0)

    def behind_batch(self, end: int) -> Cursor:
        """Behind the batch at hand, which ends before row `end`; it counts as an update."""
        return self._replace(row=end, batch_start=end, step=self.step + 1)


#: Where these lie in the record, in the same order: whole numbers first, then sums.
_STANDS = [_AT[name] for name, _ in records.JOB_GROUPS["cursor"]]
_COUNTS, _SUMS = _STANDS[:3], _STANDS[3:]


class Job:
    """What compiled code is told of a training or a prediction, and what it tells.

    Of arrays that it is given only addresses are kept: they must live as long as regions run.

    Parameters
    ----------
    spec : ModelSpec
    strategy : Strategy
    buffers : Buffers
    layers, parameters : Table

    Attributes
    ----------
    address : int
    sync : ndarray of int64
        Where the threads of a region meet.
    """

    def __init__(
        self, spec: ModelSpec, strategy: Strategy, buffers: Buffers, layers: Table,
        parameters: Table,
    ) -> None:  # fmt: skip
        self._table = Table(records.JOB, 1, buffers.element)
        self._ints, self._floats = self._table.ints, self._table.floats
        self.address, self.sync = self._table.address, buffers.sync
        #: What nobody else keeps.
        self._settings, self._rates = np.zeros(0), np.zeros(1)
        self._decays: NDArray[np.float64] | None = None
        self._drops: NDArray[np.float64] | None = None
        self._set(
            layers=layers.address, n_layers=len(layers.records),
            parameters=parameters.address, n_parameters=len(parameters.records),
        )  # fmt: skip
        self._cut(spec, strategy)
        self._use(buffers)
        self._take_loss(spec)
        if strategy.training:
            self._take_shards(strategy, buffers)
        pieces = ["gemm", "transpose" if strategy.training else "copy_rows"]
        if any(stage.kind is Kind.DROPOUT for stage in strategy.stages):
            pieces.append("dropout")
        self._bind(*pieces)

    def _set(self, **fields: Any) -> None:
        self._table.set(0, **fields)

    def _bind(self, *pieces: str) -> None:
        """Those that are called as their fields are."""
        self._table.bind(0, **{piece: piece for piece in pieces})

    def _cut(self, spec: ModelSpec, strategy: Strategy) -> None:
        plan, size = strategy.plan, strategy.plan.element.compute_bytes
        stored = strategy.plan.element.storage_bytes
        self._set(
            size=size, panel=tuning.PANEL_BYTES // size,
            n_outputs=spec.n_outputs, n_targets=spec.n_outputs,
            sub_batch=plan.sub_batch, row_block=plan.row_block, columns=strategy.columns,
            n_blocks=strategy.n_blocks, slot_stride=plan.n_parameters * size,
            target_row=plan.target_row * size, a_row=plan.layers[-1].a_row * stored,
        )  # fmt: skip

    def _use(self, buffers: Buffers) -> None:
        self._set(
            thread_records=address(buffers.thread_records), sync=address(buffers.sync),
            target=address(buffers.target), weights=address(buffers.row_weights),
            values=address(buffers.losses), a=address(buffers.activations[-1]),
            norms=address(buffers.norms), block_norms=address(buffers.block_norms),
            lengths=address(buffers.lengths), scratch=address(buffers.scratch),
            gradient=address(buffers.gradient), n_gradient=buffers.gradient.size,
        )  # fmt: skip

    def _take_shards(self, strategy: Strategy, buffers: Buffers) -> None:
        shards = strategy.shards
        self._set(shards=shards.count, first_shard=shards.first, end_shard=shards.end)
        if shards.count == 1:
            return
        self._merges = np.array([astuple(merge) for merge in shards.merges], np.int64)
        self._set(
            merges=address(self._merges), arena=buffers.gradient.nbytes, waiting=shards.waiting,
            spare=shards.spare, shard_places=address(buffers.shard_places),
            shard_sums=address(buffers.shard_sums),
        )  # fmt: skip
        self._bind("add", "clear", "scale")

    def _take_loss(self, spec: ModelSpec) -> None:
        loss, (scale, shift) = spec.loss_function, (1.0, 0.0)
        if spec.label_smoothing:
            scale, shift = spec.smoothing
        self._set(loss_parameter=loss.parameter, y_scale=scale, y_shift=shift)
        self._table.bind(0, loss=f"{loss.name}.loss")
        self._loss = self._ints[_LOSS]

    # -- rows of data

    def read_by(self, piece: str, row_bytes: int, scale: float) -> None:
        """Which piece reads rows, of so many bytes if they are dense, and their factor."""
        self._table.bind(0, inputs=piece)
        self._set(x_bytes=row_bytes, x_scale=scale)

    def point_at(
        self, x: NDArray[Any], stride: int, rows: int, weights: NDArray[np.float64] | None
    ) -> None:
        """Rows of inputs `stride` bytes apart (or a sparse matrix's table), and what each counts.

        Without `weights` each counts 1.
        """
        ints = self._ints
        ints[_X], ints[_X_ROW], ints[_N_ROWS] = address(x), stride, rows
        ints[_GIVEN] = 0 if weights is None else address(weights)

    def compare_with(self, y: NDArray[Any]) -> None:
        """Targets of the same rows: int32 numbers of classes, or floats (rows, n_outputs)."""
        self._set(y=address(y), y_row=y.strides[0])
        kind = "labels" if y.dtype == np.int32 else y.dtype.name
        self._table.bind(0, targets=f"targets.{kind}")

    # -- a prediction

    def predict_into(self, out: NDArray[Any], first: int = 0) -> None:
        """Outputs (rows, n_outputs) go there, from row `first` on; losses are not computed."""
        ints = self._ints
        ints[_OUT], ints[_OUT_ROW] = address(out), out.strides[0]
        ints[_LOSS], ints[_CURSOR] = 0, first

    def add_losses(self, sums: NDArray[np.float64]) -> None:
        """They are computed; of each block of rows, their sum and that of its weights are added.

        Parameters
        ----------
        sums : ndarray (blocks, 2)
        """
        self._set(norms=address(sums), n_blocks=len(sums), loss=self._loss)

    # -- the updates of a training

    def train_on(self, batch: int, order: NDArray[np.int64] | None, seed: int, mean: bool) -> None:
        """Batches of so many rows, in an order or as they lie; a batch counts its mean or its sum.

        seed: of dropout's masks.
        """
        at = 0 if order is None else address(order)
        self._set(batch=batch, order=at, seed=seed, mean=mean)

    def penalise(self, l1: float, l2: float, decay: float) -> None:
        """Penalties on weights, and decoupled decay."""
        self._set(l1=l1, l2=l2, decay=decay)
        if l1 or l2:
            self._bind("penalise")

    def clip(self, value: float | None, norm: float | None) -> None:
        """Bounds of each value of a gradient, and of its norm."""
        self._set(clip_value=value or 0.0, clip_norm=norm or 0.0)
        if value:
            self._bind("clip_values")
        if norm:
            self._bind("scale", "sum_squares")

    def measure_gradients(self) -> None:
        """Add up the squared norm of each block's gradient."""
        self._set(want_norms=1)
        self._bind("sum_squares")

    def bound_columns(self, bound: float) -> None:
        """Bound the norm of the weights of each unit."""
        self._set(norm_bound=bound)
        self._bind("max_norm")

    def update_by(
        self, rule: str, settings: Sequence[float], beta1: float, beta2: float, by_block: bool
    ) -> None:
        """The optimizer's rule with its own settings in its order, and beta1 and beta2, whose
        powers it takes; by_block: it leaves directions, as long as a block says."""
        self._settings = np.array(settings, np.float64)
        self._table.bind(0, rule=f"{rule}.rule")
        self._set(settings=address(self._settings), beta1=beta1, beta2=beta2)
        if by_block:
            self._bind("descend", "sum_squares")

    def average_into(self, mean: NDArray[Any], decay: float) -> None:
        """After each update, bring a moving average of all parameters up to date."""
        self._set(mean_weights=address(mean), ema=decay)
        self._bind("average")

    def finish_gradients(self) -> None:
        """There are gradients that others follow from, and copies of weights to be renewed."""
        self._set(completes=1)

    def descend_plainly(self) -> None:
        """W <- W - rate * gradient, and nothing besides: one product does it."""
        self._set(plain=1)

    def sum_batches(self, batches: NDArray[np.float64], squares: NDArray[np.float64]) -> None:
        """As scikit-learn: the weight of each batch shares out l2, and its sums are kept.

        Parameters
        ----------
        batches : ndarray (updates, 3)
            Loss, weight and squares of the weights W of each.
        squares : ndarray (update blocks,), or of no length
            Scratch; without it the squares stay 0.
        """
        self._set(l2_shared=1, batches=address(batches))
        if len(squares):
            self._set(squares=address(squares))
            self._bind("sum_squares")

    def exchange_by(self, called: int, sums: NDArray[np.float64], context: int = 0) -> None:
        """Before each update call that address with the gradient and two sums (`abi.exchange`)."""
        self._set(exchange=called, exchange_context=context, sums=address(sums), plain=0)
        self._bind("scale")

    def collect_by(self, piece: str) -> None:
        """Each process updates a part of the parameters, and that piece lets all have it."""
        self._table.bind(0, collect=piece)

    def stride_slots(self, stride: int) -> None:
        """Bytes from one of the optimizer's vectors to the next."""
        self._set(slot_stride=stride)

    def gradient_only(self) -> None:
        """Leave the gradient where it is, penalty included: neither clipped nor applied."""
        self._set(rule=0, plain=0, clip_norm=0.0, clip_value=0.0)

    @property
    def updates(self) -> bool:
        """Whether gradients are applied."""
        return bool(self._ints[_AT["rule"]])

    @property
    def updates_apart(self) -> bool:
        """Whether each part of the parameters can be updated without the gradient of another."""
        return self.updates and not self._ints[_AT["completes"]]

    # -- where it stands

    def start_epoch(
        self, rates: NDArray[np.float64], step: int, decays: NDArray[np.float64] | None = None,
        drops: NDArray[np.float64] | None = None,
    ) -> None:  # fmt: skip
        """Before its first row.

        Of each of its updates: learning rate, and factors on decay and on the shares dropped.
        """
        self._rates = np.ascontiguousarray(rates, np.float64)
        self._decays, self._drops = decays, drops
        self._set(
            rates=address(self._rates), first_step=step,
            decays=0 if decays is None else address(decays),
            drops=0 if drops is None else address(drops),
        )  # fmt: skip
        self.take_up(Cursor(step=step))

    @property
    def cursor(self) -> Cursor:
        """Where it stands."""
        ints, floats = self._ints, self._floats
        return Cursor(*[ints[at] for at in _COUNTS], *[floats[at] for at in _SUMS])

    def take_up(self, cursor: Cursor) -> None:
        """Go on from there."""
        for at, count in zip(_COUNTS, cursor[:3], strict=True):
            self._ints[at] = count
        for at, value in zip(_SUMS, cursor[3:], strict=True):
            self._floats[at] = value

    def resume_at(self, row: int, loss: float, weight: float) -> None:
        """Behind the batch that ended before `row`, with the sums of the epoch so far."""
        step = self.first_step + row // self._ints[_AT["batch"]]
        self.take_up(Cursor(row, row, step, 0.0, loss, weight))

    def limit(self, rows: int) -> None:
        """Of the next region; it ends with the (sub-)batch or block that reaches it."""
        self._ints[_LIMIT] = rows

    @property
    def rows(self) -> int:
        """That it is pointed at."""
        return self._ints[_N_ROWS]

    @property
    def rows_done(self) -> int:
        """Of the epoch, or of the prediction."""
        return self._ints[_CURSOR]

    @property
    def first_step(self) -> int:
        """Updates before the epoch."""
        return self._ints[_AT["first_step"]]

    @property
    def rate(self) -> float:
        """Learning rate of the update that comes next."""
        return float(self._rates[self._update])

    @property
    def factors(self) -> tuple[float | None, float | None]:
        """On its decay and on the shares that it drops, if there are any."""
        tables = self._decays, self._drops
        decay, drop = (None if table is None else float(table[self._update]) for table in tables)
        return decay, drop

    @property
    def _update(self) -> int:
        """Number in the epoch of the update that comes next."""
        return self.cursor.step - self.first_step

    # -- a region

    def share_among(self, threads: int) -> None:
        """How many threads may take part in the next region."""
        self._ints[_THREADS] = threads

    @property
    def joined(self) -> int:
        """Threads that took part in the last one."""
        return self._ints[_AT["joined"]]

    @property
    def status(self) -> int:
        """Why it ended: of `kernels.records.STATUS`."""
        return self._ints[_STATUS]
