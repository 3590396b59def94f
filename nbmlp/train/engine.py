"""One epoch after another over bound data: regions, snapshots, and what to say when they fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.errors import NonFiniteError
from nbmlp.kernels import records
from nbmlp.kernels.pieces import piece_function
from nbmlp.kernels.run import prepare, run
from nbmlp.optimizers import SGD, Optimizer
from nbmlp.plan import choose_columns, choose_threads, make_plan
from nbmlp.predict import Pace, Rows, bad_column, bind_rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State, first_slots
from nbmlp.train.crew import Crew
from nbmlp.workspace import Workspace

__all__ = ["Engine"]

#: Settings of each rule in the order of its arguments h0, h1, ... (kernels/optim.py).
_RULE_SETTINGS: dict[str, tuple[str, ...]] = {
    "sgd": ("momentum", "nesterov"),
    "rmsprop": ("rho", "epsilon"),
    "rmsprop_gains": ("rho", "epsilon", "increase", "decrease", "min_gain", "max_gain"),
    "rprop": ("increase", "decrease", "min_step", "max_step", "learning_rate"),
    "adagrad": ("epsilon",),
    "adam": ("beta1", "beta2", "epsilon", "epsilon_hat"),
    "adamw": ("beta1", "beta2", "epsilon", "epsilon_hat"),
}


class Engine:
    """Updates of one state on one set of rows.

    Parameters
    ----------
    spec : ModelSpec
    train : TrainSpec
    state : State
        Updated in place.
    rows : Rows
        With targets.
    threads : int
        Most threads to use.
    deterministic : bool
        For :meth:`loss_and_gradient`: nothing is dropped, clipped or updated, and the order of
        the rows is theirs.
    per_batch : bool
        As scikit-learn: l2 is divided by the weight of each batch's rows, and `batches` is kept.

    Attributes
    ----------
    batches : ndarray (updates, 3)
        Of each batch of the epoch: sum of weighted losses, sum of weights, and sum of squares of
        the weights before the update (0 without l2).
    joined : int
        Threads that took part in the last region.
    """

    def __init__(
        self,
        spec: ModelSpec,
        train: TrainSpec,
        state: State,
        rows: Rows,
        threads: int,
        deterministic: bool = False,
        per_batch: bool = False,
    ) -> None:
        if deterministic:
            train = train.with_(
                batch_size=None, shuffle=False, clip_norm=None, clip_value=None,
                gradient_norms=False,
            )  # fmt: skip
        self.spec, self.train, self.state, self.rows = spec, train, state, rows
        if len(state.slots) != len(train.optimizer.slots):  # another optimizer's
            first_slots(state, train.optimizer)
        # partial_fit may come with fewer rows than a batch.
        self.batch = min(train.batch_size or len(rows), len(rows))
        plan = make_plan(spec, self.batch)
        self.threads = choose_threads(spec, plan.sub_batch, threads)
        squares = per_batch and train.l2 > 0
        whole_norm = train.clip_norm is not None or train.gradient_norms or squares
        columns = () if whole_norm else choose_columns(spec, plan, self.threads)
        self.work = Workspace(plan, spec, state, self.threads, training=True, columns=columns)
        self.joined = 0
        self._order = np.arange(len(rows), dtype=np.int64)
        self._snapshot = state.theta.copy()
        # Two products back, one forth; an update moves some 30 bytes per parameter.
        per_row = spec.n_parameters * (6 + 60 / self.batch)
        self._pace = Pace(per_row, tuning.REGION_SECONDS)
        kind = (spec.layer_sizes, spec.dtype, self.batch)
        self._crew = Crew(self.threads, fixed=train.threads is not None, kind=kind)
        bind_rows(self.work, rows)
        self._bind_training()
        self.batches = np.zeros((self.steps_per_epoch if per_batch else 0, 3))
        if per_batch:
            self._bind_batches(plan.n_blocks if squares else 0)
        if any(spec.dropout) or spec.input_dropout:
            self._bind_dropout(deterministic)
        if deterministic:
            self.work.set(rule=0, plain=0)
        prepare("train", self.threads)
        for name in ("shuffle", "all_finite", "transpose"):
            piece_function(name, np.float64 if name == "shuffle" else self.work.dtype)

    # -- tables

    def rebind(self, train: TrainSpec, rows: Rows) -> bool:
        """Take other rows of the same kind and number; False where a new engine is needed."""
        old = self.rows
        same = train.with_(epochs=self.train.epochs) == self.train
        if not (same and len(rows) == len(old) and rows.kind == old.kind):
            return False
        self.rows = rows
        bind_rows(self.work, rows)
        return True

    def _bind_training(self) -> None:
        work, train = self.work, self.train
        name = "adam" if train.optimizer.name == "adamw" else train.optimizer.name
        work.set(
            batch=self.batch, mean=train.reduction == "mean", l1=train.l1, l2=train.l2,
            decay=train.decay, clip_value=train.clip_value or 0.0,
            clip_norm=train.clip_norm or 0.0, norm_bound=train.max_norm or 0.0,
            want_norms=train.gradient_norms, seed=train.seed,
            slot_stride=self.state.plan.n_parameters * self.state.plan.itemsize,
            order=self._order.ctypes.data if train.shuffle else 0,
            layer_norms=work.layer_norms.ctypes.data,
        )  # fmt: skip
        for k, layer in enumerate(self.state.plan.layers):
            slots = self.state.slots.ctypes.data + layer.offset * self.state.plan.itemsize
            work.set_layer(k, slots=slots)
        self._bind_rule(name, train.optimizer)
        touched = train.l1 or train.l2 or train.decay or train.clip_value or train.clip_norm
        plain = isinstance(train.optimizer, SGD) and not train.optimizer.momentum
        work.set(plain=plain and not touched and not train.gradient_norms)
        needed = {
            "penalise": train.l1 > 0 or train.l2 > 0, "clip_values": train.clip_value,
            "scale": train.clip_norm, "sum_squares": train.clip_norm or train.gradient_norms,
            "max_norm": train.max_norm, "transpose": len(work.layers) > 1,
        }  # fmt: skip
        for piece, wanted in needed.items():
            if wanted:
                work.set(**{piece: work.piece(piece)})

    def _bind_batches(self, blocks: int) -> None:
        self._squares = np.zeros(blocks)
        self.work.set(l2_shared=1, batches=self.batches.ctypes.data)
        if blocks:
            piece = self.work.piece("sum_squares")
            self.work.set(squares=self._squares.ctypes.data, sum_squares=piece)

    def _bind_rule(self, name: str, optimizer: Optimizer) -> None:
        if name not in _RULE_SETTINGS:  # lbfgs: gradients only
            return
        settings = asdict(optimizer)
        for i, key in enumerate(_RULE_SETTINGS[name]):
            self.work.set(**{f"h{i}": float(settings[key])})
        self.work.set(
            rule=self.work.piece(f"{name}.rule"),
            beta1=settings.get("beta1", 0.0), beta2=settings.get("beta2", 0.0),
        )  # fmt: skip

    def _bind_dropout(self, deterministic: bool) -> None:
        spec, work = self.spec, self.work
        inverted = spec.dropout_scale_at == "training"

        def settings(drop: float) -> tuple[float, float]:
            """Share kept and factor on the kept."""
            if deterministic:
                return 1.0, 1.0 if inverted else 1.0 - drop
            return 1.0 - drop, 1.0 / (1.0 - drop) if inverted else 1.0

        work.set(dropout=work.piece("dropout"))
        for k, drop in enumerate(spec.dropout):
            keep, factor = settings(drop)
            copies = int(self.state.plan.layers[k].copies)
            work.set_layer(k, drops=int(drop > 0), copies=copies, keep=keep, factor=factor)
        keep, factor = settings(spec.input_dropout)
        work.set(input_drops=int(spec.input_dropout > 0), input_keep=keep, input_factor=factor)

    def refresh(self) -> None:
        """Renew the transposed copies after the weights were changed from outside."""
        transpose = piece_function("transpose", self.work.dtype)
        for layer in self.work.layers[1:]:
            transpose(
                int(layer["w"]), int(layer["w_row"]), 0, int(layer["n_in"]),
                int(layer["panels_out"]), int(layer["wt"]), int(layer["wt_row"]),
            )  # fmt: skip

    # -- epochs

    @property
    def steps_per_epoch(self) -> int:
        """Updates of one epoch, the left-over batch included."""
        return -(-len(self.rows) // self.batch)

    @property
    def rows_done(self) -> int:
        """Rows of the current epoch that have been trained on."""
        return int(self.work["cursor"])

    @property
    def mean_loss(self) -> float:
        """Weighted mean of the current epoch's losses so far."""
        weight = self.work["weight_sum"]
        return float(self.work["loss_sum"] / weight) if weight else float("nan")

    def start_epoch(
        self, rates: NDArray[np.float64], order: NDArray[np.int64] | None = None
    ) -> None:
        """Set the learning rate of each of the epoch's updates; draw the order, or take the given.

        A given order holds the number of each row once.
        """
        work, state = self.work, self.state
        if not self._finite(state.theta):
            raise NonFiniteError(
                "the weights have NaN or infinite values before any update: set finite ones.",
                step=state.step,
            )
        if order is not None:
            np.copyto(self._order, order)
        elif self.train.shuffle:
            shuffle = piece_function("shuffle", np.float64)
            shuffle(self._order.ctypes.data, len(self._order), self.train.seed, state.epoch)
        self._rates = np.ascontiguousarray(rates, np.float64)
        work.layer_norms[:] = self.batches[:] = 0.0
        work.set(
            rates=self._rates.ctypes.data, first_step=state.step, step=state.step, cursor=0,
            batch_start=0, accumulated=0.0, loss_sum=0.0, weight_sum=0.0,
        )  # fmt: skip
        self.refresh()

    def region(self, most: int | None = None) -> bool:
        """Train for a moment, on `most` rows at most; returns whether the epoch is over.

        Raises
        ------
        NonFiniteError
            The state then holds the last good weights.
        """
        work = self.work
        np.copyto(self._snapshot, self.state.theta)
        before, step, start = work["cursor"], work["step"], time.perf_counter()
        limit = -(-self._pace.rows // 8) if self._crew.trying else self._pace.rows
        work.set(rows_limit=limit if most is None else min(limit, most))
        run("train", work.task, self._crew.threads)
        rows, seconds = work["cursor"] - before, time.perf_counter() - start
        self._pace.measure(rows, seconds)
        self._crew.measure(rows, seconds)
        self.joined = work["joined"]
        if work["rule"]:
            self.state.step = work["step"]
        self._check(step)
        return bool(work["cursor"] >= len(self.rows))

    def gradient_norms(self) -> tuple[float, ...] | None:
        """Root mean square over the epoch's updates of each layer's gradient norm."""
        if not self.train.gradient_norms:
            return None
        return tuple(float(v) for v in np.sqrt(self.work.layer_norms / self.steps_per_epoch))

    def loss_and_gradient(
        self, between: Callable[[], None] = lambda: None
    ) -> tuple[float, NDArray[Any]]:
        """Loss with penalty, and its gradient by the parameters, over all rows as one batch.

        For an engine built as `deterministic`. `between` is called before each region and may
        raise.

        Returns
        -------
        loss : float
        gradient : ndarray (n_parameters of the plan,)
            A view of the workspace, padding included.
        """
        work = self.work
        work.set(cursor=0, batch_start=0, accumulated=0.0, loss_sum=0.0, weight_sum=0.0, step=0)
        self.batches[:] = 0.0
        self.refresh()
        over = False
        while not over:
            between()
            over = self.region()
        weight = work["weight_sum"] if self.train.reduction == "mean" else 1.0
        loss = work["loss_sum"] / (weight or 1.0)  # rows without weight have no loss
        return float(loss) + self.penalty(), work.gradient

    def penalty(self) -> float:
        """l2/2 * |W|^2 + l1 * |W|_1 of the weights as they are."""
        train, total = self.train, 0.0
        if train.l1 or train.l2:
            for W in self.state.weights():
                wide = W.astype(np.float64)
                total += 0.5 * train.l2 * float(np.sum(wide * wide))
                total += train.l1 * float(np.sum(np.abs(wide)))
        return total

    # -- failures

    def _check(self, step: int) -> None:
        # Weights first: a bad row may come after the update that spoiled them.
        if not (self._finite(self.state.theta) and self._finite(self.state.slots)):
            self._go_back(step)
        if self.work["status"] == records.STATUS.BAD_INPUT:
            self._fail_on_data()
        if self.work["status"] == records.STATUS.BAD_OUTPUT:
            self._fail_on_output()

    def _finite(self, arena: NDArray[Any]) -> bool:
        return bool(piece_function("all_finite", self.work.dtype)(arena.ctypes.data, arena.size))

    def _data_row(self) -> int:
        row = self.work["bad_row"]
        return int(self._order[row]) if self.work["order"] else row

    def _fail_on_data(self) -> NoReturn:
        row = self._data_row()
        column = bad_column(self.rows.x[row], self.work.dtype)
        raise NonFiniteError(
            f"X has {self.rows.x[row, column]} at row {row}, column {column}: training stopped"
            f" before update {self.state.step + 1}, the weights are as before it; mend or drop"
            " that row.",
            step=self.state.step, row=row, column=column,
        )  # fmt: skip

    def _go_back(self, step: int) -> NoReturn:
        """A weight or slot has overflowed: back to the weights at the start of the region."""
        arenas = zip(*map(self.state.matrices, (self.state.theta, *self.state.slots)), strict=True)
        good = [all(np.isfinite(m).all() for m in found) for found in arenas]
        layer = good.index(False) + 1
        lost, self.state.step = self.state.step - step, step
        np.copyto(self.state.theta, self._snapshot)
        first_slots(self.state, self.train.optimizer)
        raise NonFiniteError(
            f"weights of layer {layer}, or what the optimizer keeps of its gradients, became"
            f" infinite or NaN; the weights of {lost} updates before, after update {step}, are"
            " restored: lower the learning rate or set clip_norm.",
            step=step, layer=layer,
        )  # fmt: skip

    def _fail_on_output(self) -> NoReturn:
        row, layer = self._data_row(), self._first_bad_layer()
        raise NonFiniteError(
            f"layer {layer} or the loss became infinite or NaN at row {row} before update"
            f" {self.state.step + 1}; the weights are as before it: lower the learning rate or"
            " set clip_norm.",
            step=self.state.step, row=row, layer=layer,
        )  # fmt: skip

    def _first_bad_layer(self) -> int:
        """The first layer whose activations of the bad row are not finite, else the last."""
        place = self.work["bad_row"] - self.work["cursor"]
        for k, a in enumerate(self.work.activations):
            if not np.isfinite(a[place, : self.state.plan.layers[k].n_out]).all():
                return k + 1
        return len(self.work.activations)
