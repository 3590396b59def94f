"""Shards: parts of the rows with an order and a gradient of their own, added up by a tree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_twin import FEATURES_ON, all_threads, batches_of, problem, state_of
from scipy.sparse import csr_array
from test_oracle_training import CLASSES, SPEC, TRAIN, compare

import nbmlp
from nbmlp import MLP, EarlyStopping, SpecError
from nbmlp.data import check_X
from nbmlp.plan import Shards
from nbmlp.predict import Rows
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.train.engine import Engine
from nbmlp.train.order import Order
from nbmlp.train.threads import ThreadChoice

ROWS = 50
#: With a left-over batch, and shards of unequal size; shards without a row in a batch or at all.
COUNTS = [2, 3, 8, 60]

# ------------------------------------------------------------------------------ rows of a batch


@pytest.mark.parametrize("shuffle", [True, False, "blocks"])
@pytest.mark.parametrize(("rows", "batch", "count"), [
    (50, 12, 1), (50, 12, 2), (50, 12, 3), (50, 50, 7), (53, 5, 8), (3, 2, 8), (2100, 200, 2),
])  # fmt: skip
def test_each_shard_gives_a_row_in_turn(rows, batch, count, shuffle):
    order = Order(rows, batch, shuffle, 3, Shards(count))
    train = TrainSpec(shuffle=shuffle, shards=count, seed=3, batch_size=batch)
    for epoch in range(2):
        order.draw(epoch)
        expected = list(batches_of(train, rows, epoch))
        assert sorted(order.rows) == list(range(rows))
        for k, own in enumerate(expected):
            np.testing.assert_array_equal(order.rows[k * batch : (k + 1) * batch], own)


def test_a_batch_has_as_many_rows_of_each_shard_as_of_any_other_or_one_more():
    order = Order(1003, 100, True, 0, Shards(8))
    order.draw(0)
    for start in range(0, 1000, 100):
        shares = np.bincount(order.rows[start : start + 100] * 8 // 1003, minlength=8)
        assert np.ptp(shares) <= 1


def test_one_host_alone_knows_the_rows_of_its_shards():
    whole, own = Order(53, 12, True, 1, Shards(8)), Order(53, 12, True, 1, Shards(8, 3, 5))
    for order in (whole, own):
        order.draw(4)
    mine = (whole.rows * 8 // 53 >= 3) & (whole.rows * 8 // 53 < 5)
    np.testing.assert_array_equal(own.rows[mine], whole.rows[mine])


@pytest.mark.parametrize(
    ("rows", "count", "processes"), [(100, 8, 3), (7, 5, 5), (10, 3, 1), (3, 8, 4)]
)
def test_processes_have_the_rows_of_their_shards(rows, count, processes):
    each = Shards.among(count, processes)
    assert [len(own) for own in each].count(0) == 0
    assert sum(map(len, each)) == count
    for own in each:
        theirs = [r for r in range(rows) if own.first <= r * count // rows < own.end]
        assert theirs == list(range(*own.rows(rows)))


def test_an_order_that_is_given_is_kept_within_each_shard():
    order, given = Order(10, 4, True, 0, Shards(3)), np.arange(10)[::-1]
    order.take(given)
    # Shards 0..3, 4..6, 7..9.
    assert order.rows.tolist() == [3, 2, 6, 9, 1, 5, 4, 8, 0, 7]


# ------------------------------------------------------------------------------------- the tree


def tree(count: int, first: int, end: int) -> str | None:
    """How the sum of all shards in a subtree is put together; of no other."""
    if first >= count:
        return None
    if end - first == 1:
        return str(first)
    middle = (first + end) // 2
    parts = [tree(count, *own) for own in ((first, middle), (middle, end))]
    return f"({parts[0]}+{parts[1]})" if parts[1] else parts[0]


def summed(shards: Shards) -> list[str]:
    """What lies in each subtree's arena once every shard has been through its merge."""
    arenas: dict[int, str] = {}
    for shard, merge in enumerate(shards.merges, shards.first):
        left = arenas[merge.arena] if merge.joins else None
        arenas[merge.arena] = f"({left}+{shard})" if left else str(shard)
        for k in range(shards.waiting, shards.spare):
            if merge.others >> (k - shards.waiting) & 1:
                arenas[merge.arena] = f"({arenas.pop(k)}+{arenas[merge.arena]})"
    assert sorted(arenas) == list(range(len(shards.subtrees)))
    return [arenas[k] for k in range(len(shards.subtrees))]


def test_shards_are_added_as_the_tree_says():
    for count in range(2, 20):
        span = 1 << (count - 1).bit_length()
        assert summed(Shards(count)) == [tree(count, 0, span)]


def test_a_part_of_the_shards_is_added_up_to_whole_subtrees():
    for count in (5, 8, 13):
        span = 1 << (count - 1).bit_length()
        whole = tree(count, 0, span)
        for first in range(count):
            for end in range(first + 1, count + 1):
                own = Shards(count, first, end)
                parts = summed(own)
                assert len(parts) <= 2 * span.bit_length()
                assert all(part in whole for part in parts)
                covered = [k for low, high in own.subtrees for k in range(low, high)]
                assert covered == list(range(first, end))


NARROW = ModelSpec(7, 1, (17,), "tanh", dtype="float32")
#: Gradients of factors of inputs follow from a sum, and are none.
FURTHER = ModelSpec(
    9, 3, (12, 12), "tanh", dtype="float32", **FEATURES_ON | {"input_scale": False}
)  # fmt: skip
THIN = ModelSpec(100, 5, (20,), dtype="float32")
WHOLE = TrainSpec(batch_size=None, shuffle=False, reduction="sum")


def gradient(spec: ModelSpec, rows: Rows, params: Any, count: int, threads: int = 1) -> Any:
    state = state_of(spec, params)
    with all_threads():
        train = WHOLE.with_(shards=count)
        engine = Engine(spec, train, state, rows, threads, deterministic=True)
    engine._thread_choice = ThreadChoice(threads, fixed=True)
    return engine.loss_and_gradient()[1].copy()


def added(parts: list[Any]) -> Any:
    """Neighbours, then the sums of neighbours, and so on."""
    while len(parts) > 1:
        pairs = [parts[k : k + 2] for k in range(0, len(parts), 2)]
        parts = [pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("room", [8, 512])
@pytest.mark.parametrize("spec", [replace(SPEC, dtype="float32"), NARROW, FURTHER, THIN],
    ids=["dense", "narrow", "further kinds", "thin"])  # fmt: skip
def test_the_gradient_is_the_sum_of_the_shards_gradients(spec, count, room, monkeypatch):
    """Bit for bit, also of shards in several parts and on two threads."""
    monkeypatch.setattr("nbmlp.tuning.SUB_BATCH", room)
    given = problem(spec, ROWS)
    x = given.X if spec is not THIN else np.where(np.abs(given.X) > 2.2, given.X, 0)
    rows = Rows(check_X(csr_array(x), 100) if spec is THIN else x, given.Y)
    shard = np.arange(ROWS) * count // ROWS
    alone = [
        gradient(spec, rows.take(np.flatnonzero(shard == s)), given.params, 1) for s in range(count)
    ]
    for threads in (1, 2):
        got = gradient(spec, rows, given.params, count, threads)
        np.testing.assert_array_equal(got, added(alone))
    assert not np.array_equal(got, gradient(spec, rows, given.params, 1))


# ------------------------------------------------------------------------------- whole trainings


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("changes", [
    {"optimizer": "adam(0.01)", "clip_norm": 0.1},
    {"optimizer": "sgd(0.003, momentum=0.9)", "reduction": "sum", "l2": 0.1, "clip_value": 0.5},
    {"optimizer": "lamb(0.01)", "shuffle": "blocks", "ema": 0.9},
    {"optimizer": "sgd(0.1)", "max_norm": 0.5, "warmup": 1.0, "schedule": "cosine"},
], ids=["adam", "momentum", "lamb", "sgd"])  # fmt: skip
def test_trainings_are_those_of_the_oracle(count, changes):
    train = TRAIN.with_(**changes, shards=count)
    compare(SPEC, train, problem(SPEC, ROWS, weighted=True), threads=2)


def test_dropout_is_that_of_a_rows_place_in_the_batch():
    spec = replace(CLASSES, dropout=(0.3,), input_dropout=0.1)
    compare(spec, TRAIN.with_(shards=3), problem(spec, ROWS, weighted=True))


# ---------------------------------------------------------------------------- around the engine

SETTINGS: dict[str, Any] = {
    "hidden": (19, 7), "dropout": 0.2, "batch_size": 30, "epochs": 4, "schedule": "constant",
    "optimizer": "adam(0.01)",
}  # fmt: skip


def classes(rows: int = 230) -> tuple[Any, Any]:
    X = np.random.default_rng(0).normal(size=(rows, 12)).astype(np.float32)
    return X, (X[:, 0] + X[:, 1] ** 2 > 1).astype(int)


def fitted(**changes: Any) -> MLP:
    X, y = classes()
    stop = EarlyStopping(patience=1)
    model = MLP(**SETTINGS | {"shards": 3, "threads": 1} | changes)
    with all_threads():
        return model.fit(X[:200], y[:200], validation=(X[200:], y[200:]), callbacks=[stop])


@pytest.mark.parametrize("changes", [
    {"class_weight": {0: 1, 1: 3}}, {"clip_norm": 0.1, "gradient_norms": True},
    {"batch_size": None},
    {"layer_norm": True, "parametric_activation": True, "input_scale": True},
], ids=["weights", "norms", "one batch", "further kinds"])  # fmt: skip
def test_threads_have_the_same_bits_and_shards_have_others(changes):
    one, two = fitted(**changes), fitted(**changes, threads=2)
    assert np.array_equal(one.get_flat(), two.get_flat())
    assert [r.data_loss for r in one.history] == [r.data_loss for r in two.history]
    assert not np.array_equal(one.get_flat(), fitted(**changes, shards=4).get_flat())


def test_lbfgs_goes_along_the_same_gradient():
    X, y = classes(100)
    ends = [
        MLP((5,), shards=count, optimizer="lbfgs", epochs=5, dtype="float64").fit(X, y).get_flat()
        for count in (1, 3)
    ]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-6)
    assert not np.array_equal(*ends)


def test_partial_fit_divides_the_rows_of_each_call():
    X, y = classes()
    model = MLP(**SETTINGS, shards=8)
    for rows in (100, 5, 30):
        model.partial_fit(X[:rows], y[:rows])
    assert model.net.state.step == 4 + 1 + 1
    assert np.isfinite(model.get_flat()).all()


def test_a_bad_row_is_named():
    X, y = classes()
    X[137, 3] = np.nan
    with pytest.raises(nbmlp.NonFiniteError, match=r"row 137.*update \d"):
        MLP(**SETTINGS, shards=3).fit(X, y)


@pytest.mark.parametrize("room", [5, 512])
def test_weights_that_leave_the_numbers_are_as_before_that_update(room, monkeypatch):
    monkeypatch.setattr("nbmlp.tuning.SUB_BATCH", room)
    given, train = problem(SPEC, ROWS), TRAIN.with_(shards=3, gradient_norms=False)

    def started() -> Engine:
        state = state_of(SPEC, given.params, train)
        engine = Engine(SPEC, train, state, given.rows(), 1)
        engine.start_epoch(np.array([0.1, 0.1, 1e300, 0.1, 0.1]))
        return engine

    engine, again = started(), started()
    with pytest.raises(nbmlp.NonFiniteError, match=r"update [34]"):
        engine.region()
    while again.state.step < engine.state.step:
        again.region(12)
    assert engine.state.step >= 2
    assert np.array_equal(engine.state.theta, again.state.theta)


@pytest.mark.parametrize("value", [0, 1.5, "two"])
def test_what_is_no_number_of_shards_is_refused(value):
    with pytest.raises(SpecError, match=f"shards={value!r} must be a whole number, 1 or more"):
        MLP(shards=value)


def test_a_training_goes_on_with_as_many_shards_as_it_began_with(tmp_path):
    X, y = classes()
    at = tmp_path / "c.safetensors"
    keep = nbmlp.Checkpoint(at)
    MLP(**SETTINGS, shards=3).fit(X, y, callbacks=[keep])
    with pytest.raises(SpecError, match="written with another shards"):
        MLP(**SETTINGS, shards=4).fit(X, y, resume=at)
