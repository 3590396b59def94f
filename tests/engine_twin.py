"""Drive the compiled engine with the oracle's parameters, and draw its random numbers in NumPy.

Orders and masks are written here once more, from the definition in kernels/rng.py, so that
shuffled and dropped-out training can be compared with the oracle to the last digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import pytest
import reference as ref
from numpy.typing import NDArray

from nbmlp import MLP
from nbmlp.names import LOSSES, read_function
from nbmlp.plan import make_plan
from nbmlp.predict import Predictor, Rows
from nbmlp.spec import FEATURES, ModelSpec, TrainSpec
from nbmlp.state import State, new_state
from nbmlp.train.callbacks import Callback
from nbmlp.train.engine import Engine
from nbmlp.train.history import History

#: Each feature of a net, switched on.
FEATURES_ON: dict[str, Any] = {
    name: {"number_embedding": "pbld(5, 3, 0.5)", "code_counts": (3, 4)}.get(name, True)
    for name in FEATURES
}
PLAIN = TrainSpec(optimizer="sgd(0.1)", schedule="constant", batch_size=None)

# ------------------------------------------------------------------------------ random numbers

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix64(key: Any, counter: Any) -> NDArray[np.uint64]:
    """SplitMix64's output for a counter (or an array of them) under a key."""
    z = np.atleast_1d(np.uint64(key) + np.asarray(counter, np.uint64) * _GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def mix32(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """lowbias32 of every element."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


ORDERS, MASKS = 0x6F72646572, 0x6D61736B73  # what the random numbers are for


def shuffled(n: int, seed: int, epoch: int, stream: int = 0) -> NDArray[np.int64]:
    """The order of an epoch's rows."""
    return _permuted(np.arange(n), 0, ORDERS, seed, epoch, stream)


BLOCKS = 0x626C6F636B73


def shuffled_in_blocks(n: int, seed: int, epoch: int, stream: int = 0) -> NDArray[np.int64]:
    """Blocks of 1,024 rows in a random order, then each 65,536 of the rows in another."""
    blocks = -(-n // 1024)
    drawn = _permuted(np.arange(blocks), n - blocks, BLOCKS, seed, epoch, stream)
    rows = np.concatenate([np.arange(b * 1024, min((b + 1) * 1024, n)) for b in drawn])
    starts = range(0, n, 65_536)
    windows = [_permuted(rows[s : s + 65_536], s, ORDERS, seed, epoch, stream) for s in starts]
    return np.concatenate(windows)


def _permuted(
    values: NDArray[np.int64], first: int, purpose: int, seed: int, epoch: int, stream: int
) -> NDArray[np.int64]:
    """Values by Fisher and Yates, their places counted from `first`."""
    with np.errstate(over="ignore"):
        key = mix64(mix64(seed, purpose), epoch)[0]
        key = mix64(key, stream)[0] if stream else key
        draws = mix64(key, first + np.arange(len(values))) >> np.uint64(32)
    values = values.copy()
    for i in range(len(values) - 1, 0, -1):
        j = (int(draws[i]) * (i + 1)) >> 32
        values[i], values[j] = values[j], values[i]
    return values


def kept_units(
    key: int, stream: int, first: int, rows: int, width: int, keep: float
) -> NDArray[np.bool_]:
    """What dropout keeps of (rows, width); stream 0 is X, k hidden layer k."""
    with np.errstate(over="ignore"):
        layer = mix64(key, stream)[0]
        base = (mix64(layer, first + np.arange(rows)) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        steps = np.arange(width, dtype=np.uint32) * np.uint32(0x9E3779B9)
        return mix32(base[:, np.newaxis] + steps) <= np.uint32(max(keep * 2.0**32 - 1.0, 0.0))


def masks_of(
    spec: ModelSpec, train: TrainSpec, step: int, rows: int, per_epoch: int = 1
) -> list[Any]:
    """Masks of one update's batch as the oracle takes them: of X, then of each hidden layer.

    With a schedule of dropout they are numbers, for the oracle divides by the share that the spec
    keeps.
    """
    share = ref.other_factor(train.dropout_schedule, train, step, per_epoch)
    with np.errstate(over="ignore"):
        key = int(mix64(mix64(train.seed, MASKS), step)[0])
    drops = (spec.input_dropout, *spec.dropout)
    widths = (spec.n_inputs, *spec.hidden)
    return [
        kept_units(key, stream, 0, rows, width, 1.0 - drop * share)
        * ((1.0 - drop) / (1.0 - drop * share) if train.dropout_schedule else True)
        if drop
        else None
        for stream, (width, drop) in enumerate(zip(widths, drops, strict=True))
    ]


# ------------------------------------------------------------------------------------ problems


class Problem(NamedTuple):
    """Parameters and data that engine and oracle read alike."""

    params: ref.Params
    X: NDArray[Any]  # of the net's dtype
    Y: NDArray[Any]  # (rows, outputs) of the net's dtype
    weights: NDArray[np.float64] | None = None

    def wide(self) -> tuple[Any, ...]:
        """X, Y and weights for the oracle, in float64."""
        return self.X.astype(np.float64), self.Y.astype(np.float64), self.weights

    def rows(self) -> Rows:
        """X, Y and weights for the engine; bytes count as shares of 255."""
        scale = 1.0 / 255.0 if self.X.dtype == np.uint8 else 1.0
        return Rows(self.X, self.Y, self.weights, scale)


def targets_for(spec: ModelSpec, rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random targets that suit the loss of `spec`."""
    shape = (rows, spec.n_outputs)
    if spec.loss == "cross_entropy":
        return ref.one_hot(rng.integers(0, spec.n_outputs, rows), spec.n_outputs)
    if spec.loss == "binary_cross_entropy":
        return rng.integers(0, 2, shape).astype(float)
    if spec.loss == "poisson":
        return rng.poisson(2.0, shape).astype(float)
    return rng.normal(size=shape)


def problem(
    spec: ModelSpec, rows: int, seed: int = 0, weighted: bool = False, scale: float = 1.0
) -> Problem:
    """A random problem; all its numbers are exact in the net's dtype."""
    rng = np.random.default_rng(seed)

    def rounded(a: NDArray[np.float64]) -> NDArray[np.float64]:
        return a.astype(spec.dtype).astype(np.float64)

    params = ref.random_params(spec, rng, scale).map(rounded)
    X = rng.normal(size=(rows, spec.n_inputs)).astype(spec.dtype)
    for place, count in enumerate(spec.code_counts, spec.n_inputs - len(spec.code_counts)):
        X[:, place] = np.random.default_rng(place).integers(-1, count + 1, rows)  # also no codes
    Y = targets_for(spec, rows, rng).astype(spec.dtype)
    return Problem(params, X, Y, rng.uniform(0.1, 3.0, rows) if weighted else None)


def output_for(loss: str) -> str:
    """The output that goes with a loss, identity where it may be any."""
    return read_function(loss, LOSSES, "loss").row.canonical or "identity"


# ---------------------------------------------------------------------------------- the engine


def state_of(spec: ModelSpec, params: ref.Params, train: TrainSpec = PLAIN) -> State:
    """Fresh state with the oracle's parameters."""
    state = new_state(make_plan(spec, 1), train.optimizer)
    state.set_flat(params.flat())
    return state


@contextmanager
def all_threads() -> Iterator[None]:
    """Small nets too run on as many threads as they are given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nbmlp.train.engine.choose_threads", lambda spec, rows, most: most)
        yield


def engine_gradient(
    spec: ModelSpec, train: TrainSpec, given: Problem, threads: int = 1
) -> tuple[float, ref.Params]:
    """Loss with penalty and its gradient, by the compiled engine on so many threads."""
    state = state_of(spec, given.params)
    with all_threads():
        engine = Engine(spec, train, state, given.rows(), threads, deterministic=True)
    loss, arena = engine.loss_and_gradient()
    assert_padding_is_zero(state, arena)
    return loss, ref.from_flat(spec, state.get_flat(arena).astype(np.float64))


def assert_padding_is_zero(state: State, arena: NDArray[Any]) -> None:
    """No kernel has left anything behind the columns of a block of parameters."""
    for block in state.plan.blocks:
        flat = arena[block.offset : block.end]
        assert not flat.reshape(block.rows, block.row)[:, block.columns :].any()


class Trained(NamedTuple):
    """What a training by the engine left behind."""

    params: list[ref.Params]  # after each epoch
    history: History
    state: State


class _From(Callback):
    """Begins with the weights given and keeps those after each epoch."""

    def __init__(self, first: NDArray[np.float64]) -> None:
        self.first, self.after = first, []

    def on_fit_begin(self, run: Any) -> None:
        run.set_weights(self.first)

    def on_epoch_end(self, run: Any, record: Any) -> None:
        self.after.append(run.get_weights().astype(np.float64))


def engine_train(
    spec: ModelSpec,
    train: TrainSpec,
    given: Problem,
    threads: int = 1,
    validation: Problem | None = None,
) -> Trained:
    """Train from the oracle's parameters, by the public class on so many threads."""
    settings = {f.name: getattr(part, f.name) for part in (spec, train) for f in fields(part)}
    del settings["n_inputs"], settings["n_outputs"]
    model = MLP(**settings | {"task": "regression", "threads": threads})
    held = None if validation is None else (validation.X, validation.Y)
    weights = _From(given.params.flat())
    with all_threads():
        model.fit(
            given.X, given.Y, sample_weight=given.weights, validation=held, callbacks=[weights]
        )
    assert model.model_spec == spec
    state = model.net.state
    assert_padding_is_zero(state, state.theta)
    return Trained([ref.from_flat(spec, f) for f in weights.after], model.history, state)


def engine_outputs(spec: ModelSpec, params: ref.Params, rows: Rows) -> tuple[NDArray[Any], float]:
    """Outputs and loss (weighted mean) of a prediction."""
    state = state_of(spec, params)
    return Predictor(spec, state.plan, state, 1).outputs_and_loss(rows)


# ----------------------------------------------------------------------------- oracle trainings


class Cut(NamedTuple):
    """The rows of one update, and what dropout keeps of them."""

    rows: NDArray[np.int64]
    masks: list[Any]


def order_of(train: TrainSpec, n: int, epoch: int, stream: int = 0) -> NDArray[np.int64]:
    """The order of n rows, of all of them or of one shard's."""
    drawn = shuffled_in_blocks if train.shuffle == "blocks" else shuffled
    return drawn(n, train.seed, epoch, stream) if train.shuffle and n else np.arange(n)


def batches_of(train: TrainSpec, n: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Rows of each batch of an epoch: shards give one each in turn, as long as they have any."""
    size, count = train.batch_size or n, train.shards
    shard = np.arange(n) * count // n
    left = []
    for s in range(count):
        own = np.flatnonzero(shard == s)
        left.append(list(own[order_of(train, len(own), epoch, s)]))
    dealt = []
    while any(left):
        dealt += [rows.pop(0) for rows in left if rows]
    for start in range(0, n, size):
        yield np.array(sorted(dealt[start : start + size], key=lambda row: shard[row]))


def cuts_of(spec: ModelSpec, train: TrainSpec, n: int) -> list[list[Cut]]:
    """All updates, epoch by epoch, as the engine draws them."""
    size, step, epochs = train.batch_size or n, 0, []
    for epoch in range(train.epochs):
        cuts = []
        for rows in batches_of(train, n, epoch):
            cuts.append(Cut(rows, masks_of(spec, train, step, len(rows), math.ceil(n / size))))
            step += 1
        epochs.append(cuts)
    return epochs


def oracle_train(
    spec: ModelSpec, train: TrainSpec, given: Problem, watch: Any = None
) -> list[list[ref.Step]]:
    """The same training by the oracle: its updates, epoch by epoch.

    `watch` gets the epoch's updates and their rows, for a schedule that watches a loss.
    """
    epochs = cuts_of(spec, train, len(given.X))
    orders = [np.concatenate([cut.rows for cut in cuts]) for cuts in epochs]
    masks = [cut.masks for cuts in epochs for cut in cuts]
    X, Y, weights = given.wide()
    per_epoch = math.ceil(len(X) / (train.batch_size or len(X)))
    steps: list[ref.Step] = []

    def watched(params: ref.Params) -> float:
        done = len(steps) // per_epoch
        return watch(steps[-per_epoch:], epochs[done - 1])

    for step in ref.train(
        spec, train, given.params, X, Y, orders, masks, weights, watch=watched
    ):  # fmt: skip
        steps.append(step)
    return [steps[i : i + per_epoch] for i in range(0, len(steps), per_epoch)]


def mean_loss(
    train: TrainSpec, given: Problem, steps: Iterable[ref.Step], cuts: Iterable[Cut]
) -> float:
    """Weighted mean over an epoch's rows of the loss that each had when it was trained on."""
    total = weight = 0.0
    for step, cut in zip(steps, cuts, strict=True):
        w = len(cut.rows) if given.weights is None else float(given.weights[cut.rows].sum())
        total += step.data * w if train.reduction == "mean" else step.data
        weight += w
    return total / weight


def worst_error(got: ref.Params, expected: ref.Params) -> float:
    """Largest relative error of a block."""
    return max(ref.block_errors(got, expected))
