"""Short trainings with one batch size after the other: which one learns soonest, and why."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nbmlp.checks import number, whole
from nbmlp.diagnostics.noise import NoiseScale, noise_scale
from nbmlp.diagnostics.scan_result import BatchPoint, BatchScan
from nbmlp.errors import DataError, NonFiniteError, SpecError
from nbmlp.failures.explain import explain
from nbmlp.net import Net
from nbmlp.plan import make_plan
from nbmlp.predict import Predictor, Rows
from nbmlp.schedules import Constant
from nbmlp.spec import TrainSpec
from nbmlp.state import State, new_state
from nbmlp.train.engine import Engine
from nbmlp.train.interrupt import Interrupt, Interrupted

__all__ = ["scan_batch"]

_LARGEST = 16384
#: Below so many rows single-row updates are scanned too; above they only take time.
_FEW = 1024
#: Rows whose loss is watched: as many as so many products of the weights allow, in this range.
_PROBE_PRODUCTS, _PROBE = 2e8, (256, 2048)
_ROUNDS = 5
#: Shares of the whole time for the speeds and for each noise scale.
_SPEED, _NOISE = 0.2, 0.05
#: The own batch's training goes on for so much, if a part of one size's time allows: others, which
#: may need longer for what it gains, have all of theirs.
_OWN_EPOCHS, _OWN_UPDATES, _OWN_PART = 3, 100, 0.75
_LEAST_CHECKS = 20  # of the own batch's training, however little time there is
#: A loss is watched each time the rows trained on have grown by this share.
_GROWTH = 0.15
#: The target is reached when this share of what the own training gained is missing.
_MISSING = 0.02

Clock = Callable[[], float]


class _Check(NamedTuple):
    """The loss after so many rows and updates."""

    samples: int
    updates: int
    loss: float


class _Training:
    """Updates of one batch size on a state, stopped where the scan wants to look."""

    def __init__(
        self, net: Net, train: TrainSpec, state: State, rows: Rows, threads: int, rate: float
    ) -> None:
        self.engine = Engine(net.spec, train, state, rows, threads, explain=explain)
        self.state, self.samples = state, 0
        self._rates = np.full(self.engine.steps_per_epoch, rate)
        self._over, self._trial = True, self.engine.batch

    def region(self, most: int, between: Callable[[], None]) -> float:
        """Train for a moment, on so many rows at most; returns the seconds it took."""
        between()
        if self._over:
            self.engine.start_epoch(self._rates)
        before, began = self.engine.rows_done, time.perf_counter()
        self._over = self.engine.region(most)
        seconds = time.perf_counter() - began
        self.samples += self.engine.rows_done - before
        self.state.epoch += self._over
        return seconds

    def advance(self, rows: int, between: Callable[[], None]) -> None:
        """Train on so many rows, and to the end of the update."""
        batch, goal = self.engine.batch, self.samples + rows
        while True:
            done = 0 if self._over else self.engine.rows_done
            left = max(goal - self.samples, 0)
            most = -(-(done + left) // batch) * batch - done
            if most == 0:
                return
            self.region(most, between)

    def speed(self, seconds: float, between: Callable[[], None]) -> float:
        """Rows per second, measured for about so long; an update may stay unfinished."""
        before, spent = self.samples, 0.0
        while spent < seconds:
            spent += self.region(self._trial, between)
            done = self.samples - before
            self._trial = max(1, min(int(done * seconds / spent), 4 * done))
        return (self.samples - before) / spent


class _Scan:
    """One scan while it goes on; `points` holds what has been found."""

    def __init__(
        self,
        net: Net,
        train: TrainSpec,
        rows: Rows,
        probe: Rows,
        threads: int,
        sizes: Iterable[int],
        seconds: float,
        progress: Callable[[float, str], object],
        clock: Clock,
    ) -> None:
        self.net, self.rows, self.probe, self.threads = net, rows, probe, threads
        self.train, self.seconds = train, seconds
        self.own = train.batch_rows(len(rows))
        self.points = {b: BatchPoint(b, self._spec(b).learning_rate_for(b)) for b in sizes}
        self.target: float | None = None
        self.noise: dict[str, NoiseScale] = {}
        self._progress, self._clock = progress, clock
        self._interrupt = Interrupt()
        self._stage, self._began = "", math.inf

    def run(self, target: float | None) -> bool:
        """Measure everything; False if Ctrl-C came before the end."""
        with self._interrupt:
            try:
                self._measure_speeds()
                self._train_own(target)
                if self.target is not None:
                    self._train_others()
            except Interrupted:
                return False
        return True

    def result(self, watched: str, complete: bool) -> BatchScan:
        """What has been found so far."""
        return BatchScan(
            tuple(self.points.values()), self.own, len(self.rows), self.target, watched,
            self.noise.get("noise_first"), self.noise.get("noise_trained"), complete,
        )  # fmt: skip

    # -- time

    def _spent(self) -> float:
        return max(self._clock() - self._began, 0.0)

    def _share_of_one(self, trainings: int) -> float:
        """Seconds for the next of so many trainings."""
        return (self.seconds - self._spent()) / trainings

    def _at(self, stage: str) -> None:
        self._stage = stage
        self._between()

    def _between(self) -> None:
        self._interrupt.check()
        self._progress(min(self._spent() / self.seconds, 1.0), self._stage)

    # -- parts

    def _spec(self, batch: int) -> TrainSpec:
        """Training with that batch, the learning rate transferred and constant."""
        train = self.train
        base = train.base_batch or self.own
        return train.with_(
            batch_size=batch, base_batch=base, schedule=Constant(), warmup=0.0,
            gradient_norms=False,
        )  # fmt: skip

    def _first_state(self) -> State:
        state = new_state(make_plan(self.net.spec, 1), self.train.optimizer)
        state.set_flat(self.net.state.get_flat())
        return state

    def _training(self, batch: int, state: State, rate: float) -> _Training:
        train = self._spec(batch)
        return _Training(self.net, train, state, self.rows, self.threads, rate)

    def _measure_speeds(self) -> None:
        """Samples per second of each size, in turns, with a rate of 0: the weights stay."""
        self._at("compiling kernels")
        state = self._first_state()
        Predictor(self.net.spec, state.plan, state, threads=1).outputs_and_loss(self.probe)
        trainings = {b: self._training(b, state, 0.0) for b in self.points}
        for training in trainings.values():
            training.region(1, self._between)
        self._began = self._clock()  # compiling does not count
        slot = _SPEED * self.seconds / ((_ROUNDS + 1) * len(trainings))
        rounds: dict[int, list[float]] = {b: [] for b in trainings}
        for turn in range(_ROUNDS + 1):  # in the first, each finds out how many threads pay
            self._at(f"speed, round {turn} of {_ROUNDS}" if turn else "speed, first look")
            for batch, training in trainings.items():
                found = training.speed(slot, self._between)
                if turn:
                    rounds[batch].append(found)
                    self._note(batch, samples_per_second=float(np.median(rounds[batch])))

    def _note(self, batch: int, **found: float | str | None) -> None:
        self.points[batch] = replace(self.points[batch], **found)  # type: ignore[arg-type]

    def _measure_noise(self, name: str, state: State) -> None:
        self._at("gradient noise")
        most = int(_NOISE * self.seconds * self.points[self.own].samples_per_second)
        self.noise[name] = noise_scale(
            self.net.spec, self.train, state, self.rows, self.threads,
            most_rows=min(max(most, 256), 65536), between=self._between,
        )  # fmt: skip

    def _checks(self, batch: int, state: State) -> Iterator[_Check]:
        """The probe's loss at first, and then as training goes on, until it is not finite."""
        training = self._training(batch, state, self.points[batch].learning_rate)
        # Alone: on busy cores a partner may come late, by far more than so short a task takes.
        predictor = Predictor(self.net.spec, state.plan, state, threads=1)
        while True:
            loss = predictor.outputs_and_loss(self.probe, self._between)[1]
            yield _Check(training.samples, state.step, loss)
            if not math.isfinite(loss):
                return
            try:
                training.advance(int(training.samples * _GROWTH) + 1, self._between)
            except NonFiniteError:
                yield _Check(training.samples, state.step, math.nan)
                return

    def _train_own(self, target: float | None) -> None:
        """The training that is compared with: chooses the target if none was given."""
        state = self._first_state()
        self._measure_noise("noise_first", state)
        self._at(f"batch {self.own:,}, the model's own")
        enough = max(_OWN_EPOCHS * len(self.rows), _OWN_UPDATES * self.own)
        share = self._share_of_one(len(self.points))
        end = self._spent() + share * (_OWN_PART if target is None else 1.0)
        seen: list[_Check] = []
        for check in self._checks(self.own, state):
            seen.append(check)
            late = self._spent() > end and len(seen) > _LEAST_CHECKS
            if late or (check.samples >= enough if target is None else check.loss <= target):
                break
        first, least = seen[0].loss, min(c.loss for c in seen if math.isfinite(c.loss))
        if target is not None and not target < first:
            raise SpecError(
                f"target={target:g} is no aim: at first weights the loss is {first:.4g} already."
            )
        if target is None and least < first:
            target = least + _MISSING * (first - least)
        self.target = target
        if target is not None:
            self._settle(self.own, seen)
        if math.isfinite(seen[-1].loss):
            self._measure_noise("noise_trained", state)

    def _train_others(self) -> None:
        """The other sizes to the target, each for its share of the time that is left."""
        others = [b for b in self.points if b != self.own]
        for i, batch in enumerate(others):
            self._at(f"batch {batch:,}")
            end = self._spent() + self._share_of_one(len(others) - i)
            seen: list[_Check] = []
            for check in self._checks(batch, self._first_state()):
                seen.append(check)
                if self._spent() > end or self._reached(check):
                    break
            self._settle(batch, seen)

    def _reached(self, check: _Check) -> bool:
        return self.target is not None and check.loss <= self.target

    def _settle(self, batch: int, seen: list[_Check]) -> None:
        """How the training of one size ended."""
        place = next((i for i, check in enumerate(seen) if self._reached(check)), None)
        if place is None:
            lost = not math.isfinite(seen[-1].loss)
            self._note(batch, outcome="diverged" if lost else "not reached")
            return
        assert self.target is not None
        before, after = np.array(seen[place - 1 : place + 1])
        part = (before[2] - self.target) / (before[2] - after[2])
        samples, updates, _ = (before + part * (after - before)).tolist()
        self._note(batch, outcome="reached", updates=updates, samples=samples)


def _check_batches(train: TrainSpec, rows: Rows) -> None:
    """Refuse what has no batch size to choose."""
    if train.optimizer.batch_power == 0:
        name = train.optimizer.name
        raise SpecError(f"{name} is meant for all rows at once: there is no batch size to scan.")
    if len(rows) < 2:
        raise DataError("a scan of batch sizes needs two rows or more.")


def _choose_sizes(sizes: Iterable[int] | None, n_rows: int, own: int) -> list[int]:
    """Batch sizes to scan, smallest first; powers of two where none are given."""
    if sizes is None:
        most = min(n_rows, _LARGEST)
        first = 3 if n_rows >= _FEW else 0
        chosen = {2**k for k in range(first, most.bit_length())} | {most}
    else:
        given = sizes if isinstance(sizes, Iterable) and not isinstance(sizes, str) else [sizes]
        chosen = {whole("sizes", size) for size in given}
        if chosen and max(chosen) > n_rows:
            raise SpecError(
                f"sizes has {max(chosen)}, more than the {n_rows} rows of the data: leave it out."
            )
    return sorted(chosen | {own})


def _draw(rows: Rows, n_weights: int, seed: int) -> Rows:
    """The rows whose loss is watched."""
    least, most = _PROBE
    wanted = min(max(int(_PROBE_PRODUCTS / n_weights), least), most)
    if len(rows) <= wanted:
        return rows
    drawn: NDArray[np.int64] = np.random.Generator(np.random.Philox(seed)).permutation(len(rows))
    return rows.take(np.sort(drawn[:wanted]))


def scan_batch(
    net: Net,
    train: TrainSpec,
    rows: Rows,
    held: Rows | None,
    threads: int,
    *,
    sizes: Iterable[int] | None = None,
    target: float | None = None,
    seconds: float = 30.0,
    progress: Callable[[float, str], object] = lambda share, stage: None,
    clock: Clock = time.monotonic,
) -> BatchScan:
    """Measure speed, gradient noise and the way to a target loss for a range of batch sizes.

    Every size starts from the same first weights, with the learning rate that
    :meth:`~nbmlp.TrainSpec.learning_rate_for` transfers to it, without schedule and warm-up.

    Parameters
    ----------
    net : Net
        With first weights; not changed.
    train : TrainSpec
        Its learning rate is that of `base_batch`, or of its own batch.
    rows : Rows
        Training data, finite.
    held : Rows or None
        Validation data, of which 256 to 2048 rows are watched (large nets: fewer); None watches
        training rows.
    threads : int
        Most threads to use.
    sizes : iterable of int, optional
        Batch sizes; powers of two up to 16384 by default. The model's own is always added.
    target : float, optional
        Loss to reach, penalty excluded; by default 98 % of what the model's own batch gains
        within three epochs, or as much as its time allows.
    seconds : float
        For the whole scan, compilation excluded; a size that needs longer is not reached.
    progress : callable
        Called often with the share done, 0 to 1, and what is being measured.
    clock : callable
        Seconds since some moment; the budget is counted by it.

    Returns
    -------
    BatchScan
        After Ctrl-C what has been measured so far, marked incomplete.

    Raises
    ------
    SpecError
        Rprop or L-BFGS, which are meant for full batches; sizes, a target or seconds that make
        no sense.
    DataError
        Fewer than two rows.
    """
    _check_batches(train, rows)
    number("seconds", seconds, closed_low=False)
    if target is not None:
        target = number("target", target, low=-math.inf, closed_low=False)
    sizes = _choose_sizes(sizes, len(rows), train.batch_rows(len(rows)))
    probe = _draw(rows if held is None else held, net.spec.n_weights, train.seed)
    scan = _Scan(net, train, rows, probe, threads, sizes, seconds, progress, clock)
    complete = scan.run(target)
    return scan.result("training" if held is None else "validation", complete)
