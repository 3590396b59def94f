"""One epoch after another over bound data: regions, snapshots, and back to before a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.errors import NonFiniteError
from nbmlp.kernels.pieces import piece_function
from nbmlp.kernels.records import STATUS
from nbmlp.kernels.run import prepare, run
from nbmlp.plan import Shards, choose_threads, make_plan, make_strategy
from nbmlp.predict import Pace, Rows, bind_rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.state import State, all_finite, first_slots
from nbmlp.train.bare import Explain, bare_fact, ended_elsewhere
from nbmlp.train.bind import bind_dropout, bind_training
from nbmlp.train.exchange import Exchange
from nbmlp.train.measures import norms_of, penalty_of
from nbmlp.train.order import Order
from nbmlp.train.snapshot import Snapshot
from nbmlp.train.threads import ThreadChoice
from nbmlp.workspace import Cursor, Workspace

__all__ = ["MOST_SKIPPED", "Engine", "Explain", "bare_fact"]

#: Batches in a row that may be left out.
MOST_SKIPPED = 10

#: A trial of another number of threads is so much shorter than a region: some 3 ms of the
#: faster, which is lost if the other is slower.
_TRIALS = 64


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
    explain : callable
        Makes the error of a failed update, e.g. :func:`nbmlp.failures.explain.explain`.
    exchange : Exchange, optional
        Sums gradients with those of other engines before each update. A batch that fails ends the
        training of all: none is left out.

    Attributes
    ----------
    batches : ndarray (updates, 3)
        Of each batch of the epoch: sum of weighted losses, sum of weights, and sum of squares of
        the weights before the update (0 without l2).
    joined : int
        Threads that took part in the last region.
    skipped : int
        Batches left out because a value in them was not finite.
    first_skip : NonFiniteError or None
        Why the first of them was.
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
        explain: Explain = bare_fact,
        exchange: Exchange | None = None,
    ) -> None:
        if deterministic:
            train = train.with_(
                batch_size=None, shuffle=False, clip_norm=None, clip_value=None,
                gradient_norms=False,
            )  # fmt: skip
        self.spec, self.train, self.state, self.rows = spec, train, state, rows
        self.whole, self.per_batch, self.explain = deterministic, per_batch, explain
        if len(state.slots) != len(train.optimizer.slots):  # another optimizer's
            first_slots(state, train.optimizer)
        # partial_fit may come with fewer rows than a batch.
        self.batch = min(train.batch_size or len(rows), len(rows))
        plan = make_plan(spec, self.batch)
        self.threads = choose_threads(spec, plan.sub_batch, threads)
        squares = per_batch and train.l2 > 0
        whole_norm = train.clip_norm is not None or train.gradient_norms or squares
        whole_norm |= train.optimizer.by_block
        shards = Shards(train.shards) if exchange is None else exchange.shards
        strategy = make_strategy(spec, plan, self.threads, whole_norm=whole_norm, shards=shards)
        self.work = Workspace(spec, state, strategy)
        self._job = self.work.job
        self.joined = self.skipped = self._skipped_in_a_row = 0
        self._skipped_last = -1
        self.first_skip: NonFiniteError | None = None
        self._order = Order(len(rows), self.batch, train.shuffle, train.seed, shards)
        # Two products back, one forth; an update moves some 30 bytes per parameter.
        per_row = spec.n_parameters * (6 + 60 / self.batch)
        self._pace = Pace(per_row, tuning.REGION_SECONDS)
        kind = (spec.layer_sizes, spec.dtype, self.batch)
        fixed = train.threads is not None or exchange is not None
        self._thread_choice = ThreadChoice.of(self.threads, fixed, kind)
        bind_rows(self.work, rows)
        order = self._order.rows if self._order.permutes else None
        bind_training(self.work, train, self.batch, order)
        self.batches = np.zeros((self.steps_per_epoch if per_batch else 0, 3))
        self._squares = np.zeros(strategy.n_blocks if squares else 0)
        if per_batch:
            self.work.job.sum_batches(self.batches, self._squares)
        if any(spec.dropout) or spec.input_dropout:
            bind_dropout(self.work, deterministic)
        if deterministic:
            self.work.job.gradient_only()
        elif train.ema is not None and state.average.size:
            self.work.job.average_into(state.average, train.ema)
        prepare("train", self.threads)
        self._exchange = exchange
        if exchange is not None:
            exchange.bind(self.work)
        self._snapshot = Snapshot(self.work, self.batches)
        piece_function("all_finite", self.work.element)

    def make_whole(self) -> None:
        """Let all who train together have all of the state; there are no more updates."""
        if self._exchange is not None:
            self._exchange.make_whole()

    # -- tables

    def rebind(self, train: TrainSpec, rows: Rows) -> bool:
        """Take other rows of the same kind and number; False where a new engine is needed."""
        old = self.rows
        same = train.with_(epochs=self.train.epochs) == self.train
        if not (same and len(rows) == len(old) and rows.kind == old.kind):
            return False
        self.rows, self.skipped, self.first_skip = rows, 0, None
        bind_rows(self.work, rows)
        return True

    def refresh(self) -> None:
        """Renew copies of the weights after these were changed from outside."""
        self.work.refresh()

    # -- epochs

    @property
    def steps_per_epoch(self) -> int:
        """Updates of one epoch, the left-over batch included."""
        return -(-len(self.rows) // self.batch)

    @property
    def learning_rate(self) -> float:
        """Of updates on whole batches, before the factors of schedule and warm-up."""
        return self.train.learning_rate_for(self.batch)

    @property
    def rows_done(self) -> int:
        """Rows of the current epoch that have been trained on."""
        return self._job.rows_done

    @property
    def mean_loss(self) -> float:
        """Weighted mean of the current epoch's losses so far."""
        now = self._job.cursor
        return now.loss / now.weight if now.weight else float("nan")

    def start_epoch(
        self, rates: NDArray[np.float64], order: NDArray[np.int64] | None = None,
        decays: NDArray[np.float64] | None = None, drops: NDArray[np.float64] | None = None,
    ) -> None:  # fmt: skip
        """Set the learning rate of each of the epoch's updates; draw the order, or take the given.

        A given order holds the number of each row once. decays, drops: factors of each update on
        decay, and on the shares that are dropped.
        """
        state = self.state
        if not self.finite:
            raise NonFiniteError(
                "the weights have NaN or infinite values before any update: set finite ones.",
                step=state.step,
                operation="weights",
            )
        if order is not None:
            self._order.take(order)
        else:
            self._order.draw(state.epoch)
        self.work.block_norms[:] = self.batches[:] = 0.0
        self._job.start_epoch(rates, state.step, decays, drops)
        self.refresh()

    def region(self, most: int | None = None) -> bool:
        """Train for a moment, on `most` rows at most; returns whether the epoch is over.

        It ends between two batches if it reaches such a place.

        Raises
        ------
        NonFiniteError
            The state then holds the last good weights.
        """
        job = self._job
        self._snapshot.take()
        before, start = job.rows_done, time.perf_counter()
        threads = self._thread_choice.threads
        self._run(self._limit(most), threads)
        rows, seconds = job.rows_done - before, time.perf_counter() - start
        if self._exchange is None or self._exchange.paced:
            self._pace.measure(rows, seconds)
            self._thread_choice.measure(threads, rows, seconds)
        self.joined = job.joined
        self._count_updates()
        if not self._good():
            self._recover()
        return job.rows_done >= len(self.rows)

    def _run(self, rows: int, threads: int) -> None:
        exchange = self._exchange
        self._job.limit(rows if exchange is None else exchange.common(rows))
        try:
            run("train", self._job, threads)
        except BaseException:
            if exchange is not None:
                exchange.give_up()
            raise

    def _limit(self, most: int | None) -> int:
        """Rows of the next region."""
        limit = -(-self._pace.rows // _TRIALS) if self._thread_choice.trying else self._pace.rows
        done = self._job.rows_done
        limit = min(limit, len(self.rows) - done, limit if most is None else most)
        end = done + limit
        beyond = 0 if end == len(self.rows) else end % self.batch
        return limit - beyond if beyond < limit else limit

    @property
    def between_batches(self) -> bool:
        """Whether the epoch has begun, is not over, and no batch is half done."""
        now = self._job.cursor
        return not now.within_batch and 0 < now.row < len(self.rows)

    def carry(self) -> dict[str, NDArray[Any]]:
        """What going on later takes beside the state; within an epoch only between batches."""
        skips = {"skips": np.array([self._skipped_in_a_row, self._skipped_last])}
        return skips | (self._snapshot.carry() if self.between_batches else {})

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what :meth:`carry` gave, in an epoch that has just been started."""
        self._skipped_in_a_row, self._skipped_last = arrays["skips"].tolist()
        if "rows" in arrays:
            self._snapshot.resume(arrays)
            self._count_updates()

    def gradient_norms(self) -> tuple[float, ...] | None:
        """Of each layer, where they are wanted; see :func:`norms_of`."""
        wanted = self.train.gradient_norms
        return norms_of(self.work, self.steps_per_epoch) if wanted else None

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
        self._job.take_up(Cursor())
        self.batches[:] = 0.0
        self.refresh()
        over = False
        while not over:
            between()
            over = self.region()
        sums = self._job.cursor
        weight = sums.weight if self.train.reduction == "mean" else 1.0
        loss = sums.loss / (weight or 1.0)  # rows without weight have no loss
        return loss + self.penalty(), self.work.gradient

    def penalty(self) -> float:
        """l2/2 * |W|^2 + l1 * |W|_1 of the weights as they are."""
        return penalty_of(self.state, self.train)

    # -- failures

    def _good(self) -> bool:
        if self._exchange is not None and self._exchange.error is not None:
            return False
        # Weights first: a bad row may come after the update that spoiled them.
        return self.finite and self._job.status == STATUS.OK

    @property
    def finite(self) -> bool:
        """Whether all weights, and all that the optimizer keeps, are; wherever it is kept."""
        here = all_finite(self.state.theta) and all_finite(self.state.slots)
        return here if self._exchange is None else self._exchange.all(here)

    def _recover(self) -> None:
        """To the state right before the failed update; raise, or leave its batch out."""
        job, exchange = self._job, self._exchange
        if (exchange is None or exchange.error is None) and not self.finite:
            self._rewind()
        job.take_up(job.cursor.before_batch())
        self._count_updates()
        if exchange is not None:
            self._end_all(exchange)
        if not self._may_skip():
            raise self.explain(self)
        if self.first_skip is None:
            self.first_skip = self.explain(self)
        self._skip()

    def _end_all(self, exchange: Exchange) -> None:
        """Raise what ends the training of all, for no batch is left out."""
        if exchange.error is not None:
            raise exchange.error
        exchange.make_whole()
        if self._job.status == STATUS.ELSEWHERE:
            raise ended_elsewhere(self.state.step)
        raise self.explain(self)

    def _rewind(self) -> None:
        """Repeat the region, halving it, up to right before the update that spoiled the weights."""
        job, start = self._job, self._snapshot
        rows = job.rows_done - start.cursor.row  # that many are known to spoil them
        while rows > 1:
            half = rows // 2
            self._repeat(half)
            if self.finite:
                rows -= job.rows_done - start.cursor.row
                start.take()
            else:
                rows = half
        start.restore()
        self.refresh()

    def _repeat(self, rows: int) -> None:
        self._snapshot.restore()
        self.refresh()
        self._run(rows, self._thread_choice.threads)

    def _may_skip(self) -> bool:
        if self.train.on_nonfinite != "ignore" or self.whole:
            return False
        follows = self._job.cursor.step == self._skipped_last + 1
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if follows else 1
        return self._skipped_in_a_row <= MOST_SKIPPED

    def _skip(self) -> None:
        """Leave the batch out; it counts as an update, so that schedules go on as planned."""
        job, now = self._job, self._job.cursor
        self.skipped, self._skipped_last = self.skipped + 1, now.step
        self.batches[now.step - job.first_step :] = 0.0
        end = min(now.batch_start + self.batch, len(self.rows))
        job.take_up(now.behind_batch(end))
        self._count_updates()

    def _count_updates(self) -> None:
        if self._job.updates:
            self.state.step = self._job.cursor.step

    def batch_places(self) -> NDArray[np.int64]:
        """Rows (of `rows`) of the batch that the engine stands before, in its order."""
        start = self._job.cursor.batch_start
        return self._order.between(start, min(start + self.batch, len(self.rows)))

    def places_done(self) -> NDArray[np.int64]:
        """Rows (of `rows`) that the weights have been trained on, as far as the engine knows."""
        first_epoch = self.state.step < self.steps_per_epoch
        return self._order.between(0, self._job.rows_done if first_epoch else len(self.rows))

    @property
    def rate(self) -> float:
        """Learning rate of the update that the engine stands before."""
        return self._job.rate

    @property
    def factors(self) -> tuple[float | None, float | None]:
        """Factors on decay and on what is dropped in that update, where they have schedules."""
        return self._job.factors
