"""Rows that are multiplied where they lie: the same bits as rows that are copied first."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from buffers import SENTINEL, T32_AGAIN, T32_T64, Layer, address, call, matrix, panel_of

from nbmlp import MLP, DataError, NonFiniteError, tuning

#: Products and widths; what else may be set changes nothing about where rows lie.
kernels = pytest.mark.kernels


class Addressed:
    """An epoch of rows (m, n) in a random order among NaN, and weights with a bias or without."""

    def __init__(self, T, m, n, panels, bias, rng):
        self.T, self.m, self.n, self.panels, self.depth = T, m, n, panels, n + bias
        self.wide = panels * panel_of(T)
        self.data = np.full((3 * m, n + 2), np.nan, T)
        self.order = rng.permutation(3 * m)[:m]
        self.data[self.order, :n] = rng.normal(size=(m, n))
        self.x = np.column_stack([self.data[self.order, :n], np.ones((m, bias), T)]).astype(T)
        self.w = matrix(T, self.depth, panels)
        self.w[: self.depth, : self.wide] = rng.normal(size=(self.depth, self.wide))
        self.places = np.full(2 * (m + tuning.ADDRESSED_ROWS) + 1, -1, np.int64)
        self.layer = Layer(
            T, n=n, n_in=n, depth=n + bias, w=address(self.w), w_row=self.w.strides[0],
            room=address(self.places), ahead=tuning.ADDRESSED_ROWS,
        )  # fmt: skip
        self.layer.set(
            "job", x=address(self.data), x_row=self.data.strides[0], x_bytes=n * self.w.itemsize,
            n_rows=m, order=address(self.order),
        )  # fmt: skip

    def point(self, start, rows, after=None):
        """Point at rows `start`... of the epoch, and at those from `after` on, read next."""
        self.layer.set("thread", first=start, rows=rows, after=start if after is None else after)
        self.layer.call("by_address.point", first=start, rows=rows, low=0, high=self.panels)

    def run(self, z, start=0, rows=None, copy=None, block=None):
        """Rows `start`... of the epoch into the same rows of z (and of copy); the first bad row.

        block: first and number of the rows at hand, if these are more.
        """
        rows = self.m if rows is None else rows
        self.point(*((start, rows) if block is None else block))
        to = {"a": address(z), "a_row": z.strides[0], "copy": 0}
        if copy is not None:
            one = self.n if self.depth > self.n else -1
            to |= {"copy": address(copy), "copy_row": copy.strides[0], "copy_one": one}
        self.layer.set("layer", **to)
        part = {"first": start, "rows": rows, "low": 0, "high": self.panels}
        return self.layer.call("by_address.forward", **part)

    def product(self):
        """The same by the general product, over rows that were copied."""
        z, x = matrix(self.T, self.m, self.panels), self.x
        call(
            "gemm", self.T, a=address(x), a_row=x.strides[0], a_col=x.itemsize, b=address(self.w),
            b_row=self.w.strides[0], c=address(z), c_row=z.strides[0], m=self.m,
            panels=self.panels, depth=self.depth, alpha=1.0, beta=0.0,
        )  # fmt: skip
        return z


SHAPES = [
    *itertools.product((1, 7, 8, 9, 25), (1, 2, 15, 16, 17), (1, 2, 3, 4, 7)),
    (100, 300, 3), (33, 45, 19), (3, 1025, 2),
]  # fmt: skip


@kernels
@T32_T64
@pytest.mark.parametrize("bias", [0, 1], ids=["no bias", "bias"])
def test_products_have_the_bits_of_copied_rows(T, bias):
    rng = np.random.default_rng(5)
    for m, n, panels in SHAPES:
        p = Addressed(T, m, n, panels, bias, rng)
        whole, parts, cut = matrix(T, m, panels), matrix(T, m, panels), max(1, m // 3)
        assert p.run(whole) == -1
        np.testing.assert_array_equal(whole, p.product())
        p.run(parts, 0, cut)
        p.run(parts, cut, m - cut)
        np.testing.assert_array_equal(parts, whole)


@kernels
@T32_T64
@pytest.mark.parametrize("bias", [0, 1], ids=["no bias", "bias"])
def test_rows_are_copied_while_they_are_multiplied(T, bias):
    rng = np.random.default_rng(6)
    for m, n, panels in [*SHAPES, (9, 63, 4), (9, 64, 1), (17, 65, 3), (12, 129, 2)]:
        p = Addressed(T, m, n, panels, bias, rng)
        z, cut = matrix(T, m, panels), m // 2
        copy = matrix(T, m + 1, -(-(n + 1) // panel_of(T)), SENTINEL)
        p.run(z, 0, cut, copy)
        assert (copy[cut:] == SENTINEL).all()
        p.run(z, cut, m - cut, copy)
        np.testing.assert_array_equal(z, p.product())
        np.testing.assert_array_equal(copy[:m, : p.depth], p.x)
        assert (copy[:m, p.depth :] == SENTINEL).all()
        assert (copy[m] == SENTINEL).all()


@kernels
@T32_T64
def test_rows_at_hand_that_others_multiply_are_copied_too(T):
    p = Addressed(T, 11, 37, 1, 1, np.random.default_rng(0))
    for start, rows in ((0, 11), (3, 5), (0, 4), (8, 3)):
        z, out = matrix(T, 11, 1), matrix(T, 11, -(-40 // panel_of(T)), SENTINEL)
        p.run(z, start, rows, out, (0, 11))
        np.testing.assert_array_equal(out[:11, :38], p.x)
        assert (out[:, 38:] == SENTINEL).all()
        assert (out[11] == SENTINEL).all()
        np.testing.assert_array_equal(z[start : start + rows], p.product()[start : start + rows])
        assert np.isnan(z[:start]).all()
        assert np.isnan(z[start + rows :]).all()


def test_the_list_names_rows_and_ends_with_the_epoch():
    p = Addressed(np.float32, 20, 16, 1, 1, np.random.default_rng(0))
    for order, numbers in ((address(p.order), p.order), (0, np.arange(20))):
        p.places[:] = -1
        p.layer.set("job", order=order)
        p.point(7, 9, after=16)
        expected = numbers[[*range(7, 20), *[19] * 12]]
        assert (p.places[:25] == address(p.data) + expected * p.data.strides[0]).all()
        assert (p.places[25:] == -1).all()


@T32_AGAIN
def test_rows_that_were_written_out_are_found_where_they_lie_now(T):
    p = Addressed(T, 20, 16, 1, 1, np.random.default_rng(0))
    out = matrix(T, 20, 2, SENTINEL)
    p.layer.set("layer", a=address(out), a_row=out.strides[0], one=16)
    p.layer.set("thread", start=5, first=2, rows=9, after=14)
    p.layer.bind("job", inputs=f"inputs.{np.dtype(T).name}")
    assert p.layer.call("by_address.write", first=2, rows=9, low=0, high=1) == -1
    np.testing.assert_array_equal(out[2:11, :17], p.x[7:16])
    assert (p.places[:9] == address(out) + np.arange(2, 11) * out.strides[0]).all()
    behind = p.order[[*range(14, 20), *[19] * 11]]
    assert (p.places[9:26] == address(p.data) + behind * p.data.strides[0]).all()
    assert (p.places[26:] == -1).all()


@kernels
@T32_T64
def test_the_first_row_that_is_not_finite_is_found(T):
    p = Addressed(T, 30, 40, 3, 1, np.random.default_rng(0))
    z = matrix(T, 30, 3)
    p.data[p.order[21], 39], p.data[p.order[9], 0], p.data[p.order[11], 5] = np.inf, -np.inf, np.nan
    assert p.run(z, 0, 9) == -1
    assert p.run(z, 4, 20) == 5
    p.w[:] = 0.0  # infinite times nothing is no number
    assert p.run(z, 10, 20) == 1


@kernels
def test_products_that_overflow_are_no_fault_of_the_rows():
    p = Addressed(np.float32, 9, 16, 1, 0, np.random.default_rng(0))
    p.data[p.order[4], :16], p.w[:16, :16] = 3e38, 3e38
    z = matrix(np.float32, 9, 1)
    assert p.run(z) == -1
    assert np.isinf(z[4, 0])


DATA = np.random.default_rng(1).normal(size=(230, 150)).astype(np.float32)
LABELS = np.random.default_rng(2).integers(0, 3, 230)
OTHER = {"float32": np.float64, "float64": np.float32}


def both(dtype, X=DATA, y=LABELS, **settings):
    """A net on rows of its own type, and on the same values of another type."""
    settings = {"dtype": dtype, "epochs": 3, "seed": 4} | settings
    return (MLP(**settings).fit(X.astype(kind), y) for kind in (dtype, OTHER[dtype]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": (45,), "batch_size": 20, "optimizer": "sgd"},
        {"hidden": (300, 40), "batch_size": 16, "optimizer": "sgd"},
        {"hidden": (300, 40), "batch_size": 16, "threads": 2},
        {"hidden": (300,), "batch_size": 230, "threads": 3, "l2": 0.01, "optimizer": "sgd"},
        {"hidden": (17,), "bias": False, "batch_size": 7},
        {"hidden": (33, 300), "batch_size": 50, "threads": 2, "optimizer": "sgd"},
        {"hidden": (64, 2), "clip_norm": 0.5, "l1": 1e-3, "threads": 2, "batch_size": 100},
        {"hidden": (64,), "max_norm": 0.3, "dropout": 0.2, "weight_decay": 0.1, "optimizer": "sgd"},
        {"hidden": (30,), "input_dropout": 0.2},
        {"hidden": ()},
        {"hidden": (), "batch_size": None},
        {"hidden": (20,), "optimizer": "lbfgs"},
    ],
    ids=str,
)
def test_trainings_have_the_bits_of_copied_rows(dtype, settings):
    own, other = both(dtype, **settings)
    np.testing.assert_array_equal(own.get_flat(), other.get_flat())
    np.testing.assert_array_equal(
        own.predict_proba(DATA.astype(dtype)), own.predict_proba(DATA.astype(OTHER[dtype]))
    )


@kernels
@pytest.mark.parametrize("columns", [1, 2, 5, 16, 31, 48, 49, 64, 113, 127, 128, 129, 144])
def test_widths_of_rows(columns):
    own, other = both("float32", DATA[:, :columns], hidden=(50,), batch_size=33)
    np.testing.assert_array_equal(own.get_flat(), other.get_flat())


@kernels
def test_many_rows_in_one_update():
    X, y = np.tile(DATA, (6, 1)), np.tile(LABELS, 6)
    own, other = both("float32", X, y, hidden=(40,), batch_size=None, threads=2)
    np.testing.assert_array_equal(own.get_flat(), other.get_flat())


@pytest.mark.parametrize(
    "view",
    [
        lambda X: X[::2],
        lambda X: X[::-1],
        lambda X: np.asfortranarray(X),
        lambda X: X[:, 3:20],
        lambda X: np.broadcast_to(X[:1], X.shape),
    ],
    ids=["every other row", "backwards", "by columns", "some columns", "one row again"],
)
def test_views_of_arrays(view):
    X = view(DATA)
    y = LABELS[: len(X)]
    own, copied = (MLP(20, epochs=2, seed=1).fit(A, y) for A in (X, X.copy()))
    np.testing.assert_array_equal(own.get_flat(), copied.get_flat())


@pytest.mark.parametrize("batch", [10, 230])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_bad_row_is_named(batch, threads):
    X = DATA.copy()
    X[77, 5] = np.nan
    net = MLP((300, 20), epochs=1, batch_size=batch, seed=1, threads=threads)
    with pytest.raises(NonFiniteError, match="row 77"):
        net.fit(X, LABELS)
    net.fit(DATA, LABELS)
    X[77, 5] = np.inf
    with pytest.raises(DataError, match="row 77, column 5"):
        net.predict(X)
