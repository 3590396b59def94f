"""The pieces around them, called by address: products, data, random numbers, updates.

Buffers are surrounded by NaN or a sentinel: a piece that reads a lane too many turns NaN, one
that writes a lane too many is seen.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import reference as ref
from buffers import SENTINEL, T32_AGAIN, T32_T64, Layer, address, call, matrix, panel_of, panels_for
from engine_twin import kept_units, mix64, shuffled, shuffled_in_blocks
from scipy import special

from nbmlp import tuning
from nbmlp.names import ACTIVATIONS
from nbmlp.state import aligned

#: Products and gathers in both types on every instruction set, what is simple loops in float32
#: (T32_AGAIN), and random numbers, which are integers, on the CPU's own alone.
kernels = pytest.mark.kernels

# ------------------------------------------------------------------------------------ gemm


class Product:
    """Operands of one product, NaN all around them; A as rows (NN) or as columns (TN)."""

    def __init__(self, T, m, panels, depth, transposed, rng):
        self.T, self.m, self.panels, self.depth = T, m, panels, depth
        self.n = panels * panel_of(T)
        shape = (depth, m) if transposed else (m, depth)
        self.a = np.full((shape[0] + 1, shape[1] + 3), np.nan, T)
        self.a[: shape[0], : shape[1]] = rng.normal(size=shape)
        size, row = self.a.itemsize, self.a.strides[0]
        self.a_row, self.a_col = (size, row) if transposed else (row, size)
        a = self.a[: shape[0], : shape[1]]
        self.A = (a.T if transposed else a).astype(np.float64)
        self.b = matrix(T, depth, panels)
        self.b[:depth, : self.n] = rng.normal(size=(depth, self.n))
        self.B = self.b[:depth, : self.n].astype(np.float64)

    def run(self, c, alpha=1.0, beta=0.0, first=0, rows=None):
        """Rows `first`... of the product into the same rows of c."""
        call(
            "gemm", self.T, a=address(self.a) + first * self.a_row, a_row=self.a_row,
            a_col=self.a_col, b=address(self.b), b_row=self.b.strides[0],
            c=address(c) + first * c.strides[0], c_row=c.strides[0],
            m=self.m if rows is None else rows, panels=self.panels, depth=self.depth,
            alpha=alpha, beta=beta,
        )  # fmt: skip
        return c

    def check(self, c, expected, alpha=1.0, slack=0.0):
        """C is the product within the bound of a chain of depth roundings; around it is NaN."""
        eps = float(np.finfo(self.T).eps)
        bound = (self.depth + 2) * eps * (abs(alpha) * (np.abs(self.A) @ np.abs(self.B)) + slack)
        assert (np.abs(c[: self.m, : self.n] - expected) <= bound + eps * np.abs(expected)).all()
        assert np.isnan(c[self.m :]).all()
        assert np.isnan(c[:, self.n :]).all()


@kernels
@T32_T64
@pytest.mark.parametrize("transposed", [False, True], ids=["NN", "TN"])
@pytest.mark.parametrize("depth", [1, 2, 3, 17, 100, 1025])
def test_gemm_shapes(T, transposed, depth):
    """Every number of rows and panels; beta = 0 does not read C, which is NaN."""
    rng = np.random.default_rng(depth)
    for m, panels in itertools.product(range(1, 41), range(1, 8)):
        if depth > 100 and (m + panels) % 11 != 2:  # one row of one panel, and some others
            continue
        p = Product(T, m, panels, depth, transposed, rng)
        p.check(p.run(matrix(T, m, panels)), p.A @ p.B)


@kernels
@T32_T64
@pytest.mark.parametrize(
    ("alpha", "beta"), [(1.0, 1.0), (-0.5, 0.0), (0.25, 0.25), (0.0, 2.0), (-3.0, 0.7)]
)
def test_gemm_alpha_and_beta(T, alpha, beta):
    rng = np.random.default_rng(0)
    for m, panels, transposed in itertools.product((1, 5, 23), (1, 2, 3, 4), (False, True)):
        p = Product(T, m, panels, 9, transposed, rng)
        c = matrix(T, m, panels)
        before = rng.normal(size=(m, p.n)).astype(T)
        c[:m, : p.n] = before
        p.run(c, alpha, beta)
        p.check(c, alpha * (p.A @ p.B) + beta * before, alpha, abs(beta) * np.abs(before))


@kernels
@T32_T64
def test_gemm_rows_do_not_depend_on_how_they_are_cut(T):
    """The bits of a row are the same alone, in a block and in the whole: threads cut rows."""
    p = Product(T, 40, 5, 300, False, np.random.default_rng(3))
    whole = p.run(matrix(T, 40, 5))
    for cuts in ([(i, 1) for i in range(40)], [(0, 7), (7, 13), (20, 20)], [(0, 39), (39, 1)]):
        parts = matrix(T, 40, 5)
        for first, rows in cuts:
            p.run(parts, first=first, rows=rows)
        np.testing.assert_array_equal(parts, whole)


@kernels
@T32_T64
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gemm_passes_on_what_is_not_finite(T, bad):
    p = Product(T, 9, 2, 5, False, np.random.default_rng(3))
    p.a[4, 2] = bad
    c = p.run(matrix(T, 9, 2))[:9, : p.n]
    assert not np.isfinite(c[4]).any()
    assert np.isfinite(np.delete(c, 4, axis=0)).all()


# ------------------------------------------------------------------------------- transpose


@T32_AGAIN
@pytest.mark.parametrize("rows", [1, 2, 7, 15, 16, 17, 33, 48])
@pytest.mark.parametrize("panels", [1, 2, 3])
def test_transpose(T, rows, panels):
    """Some rows of W from `first` on become columns; nothing else of the copy is touched."""
    panel = panel_of(T)
    for first in (0, panel, 2 * panel):
        w = matrix(T, first + rows, panels)
        columns = panels * panel
        w[first : first + rows, :columns] = np.random.default_rng(0).normal(size=(rows, columns))
        copy = matrix(T, columns, panels_for(T, first + rows), SENTINEL)
        call(
            "transpose", T, w=address(w), w_row=w.strides[0], first=first, rows=rows,
            panels=panels, wt=address(copy), wt_row=copy.strides[0],
        )  # fmt: skip
        np.testing.assert_array_equal(
            copy[:columns, first : first + rows], w[first : first + rows, :columns].T
        )
        copy[:columns, first : first + rows] = SENTINEL
        assert (copy == SENTINEL).all()


# ------------------------------------------------------------------------------------ data


def run_inputs(x, T, order=None, start=0, rows=None, one=-1, scale=1.0):
    """Gather into a sentinel-filled buffer; returns (bad row, buffer)."""
    rows = len(x) - start if rows is None else rows
    out = matrix(T, rows, panels_for(T, x.shape[1] + 1), SENTINEL)
    bad = call(
        f"inputs.{x.dtype.name}", T, x=address(x), x_row=x.strides[0],
        order=0 if order is None else address(order), start=start, rows=rows, n=x.shape[1],
        out=address(out), out_row=out.strides[0], one=one, scale=scale,
    )  # fmt: skip
    return bad, out


@kernels
@T32_T64
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("n", [1, 15, 16, 17, 300])
def test_inputs(T, kind, n):
    rng = np.random.default_rng(n)
    x = rng.integers(0, 256, (23, n + 2)).astype(kind)[:, 1 : n + 1]  # a stride of its own
    order = rng.permutation(23)
    for order_or_none, start, one in itertools.product((None, order), (0, 6), (-1, n)):
        bad, out = run_inputs(x, T, order_or_none, start, 11, one, 0.5)
        rows = slice(start, start + 11) if order_or_none is None else order[start : start + 11]
        assert bad == -1
        np.testing.assert_array_equal(out[:11, :n], x[rows].astype(T) * T(0.5))
        assert (out[:11, n] == (1.0 if one == n else SENTINEL)).all()
        assert (out[:, n + 1 :] == SENTINEL).all()
        assert (out[11:] == SENTINEL).all()


@kernels
@T32_T64
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_report_the_first_bad_row(T, kind, value):
    x = np.ones((20, 33), kind)
    assert run_inputs(x, T)[0] == -1
    for column in (0, 15, 16, 32):
        x[:] = 1.0
        x[13, column] = x[7, 32] = value
        assert run_inputs(x, T)[0] == 7
        assert run_inputs(x, T, start=5)[0] == 2  # counted from the start
        assert run_inputs(x, T, np.arange(20)[::-1].copy())[0] == 19 - 13


@kernels
def test_inputs_too_large_for_float32_are_bad():
    x = np.ones((5, 3))
    x[3, 1] = 1e39
    assert run_inputs(x, np.float32)[0] == 3
    assert run_inputs(x, np.float64)[0] == -1


def run_targets(y, T, n, order=None, start=0, rows=None, given=None, scale=1.0, shift=0.0):
    """Gather into a sentinel-filled buffer; returns (targets, weights)."""
    rows = len(y) - start if rows is None else rows
    kind = "labels" if y.dtype == np.int32 else y.dtype.name
    out = matrix(T, rows, panels_for(T, n), SENTINEL)
    weights = np.full(rows + 1, SENTINEL)
    call(
        f"targets.{kind}", T, y=address(y), y_row=y.strides[0],
        order=0 if order is None else address(order), start=start, rows=rows, n=n,
        out=address(out), out_row=out.strides[0], given=0 if given is None else address(given),
        weights=address(weights), scale=scale, shift=shift,
    )  # fmt: skip
    assert (out[:, n:] == SENTINEL).all()
    assert (out[rows:] == SENTINEL).all()
    assert weights[rows] == SENTINEL
    return out[:rows, :n], weights[:rows]


@T32_AGAIN
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 16, 17])
def test_targets_of_numbers(T, kind, n):
    rng = np.random.default_rng(n)
    y, given, order = rng.normal(size=(23, n)).astype(kind), rng.random(23), rng.permutation(23)
    out, weights = run_targets(y, T, n)
    np.testing.assert_array_equal(out, y.astype(T))
    assert (weights == 1.0).all()
    out, weights = run_targets(y, T, n, order, 6, 11, given, scale=0.9, shift=0.05)
    rows = order[6:17]
    eps = np.finfo(T).eps
    np.testing.assert_allclose(out, y[rows].astype(T) * 0.9 + 0.05, rtol=4 * eps, atol=4 * eps)
    np.testing.assert_array_equal(weights, given[rows])


@T32_AGAIN
@pytest.mark.parametrize("n", [2, 10, 17])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_targets_of_labels(T, n, smoothing):
    """One-hot rows, smoothed: t*(1 - s) + s/n."""
    rng = np.random.default_rng(n)
    y, order = rng.integers(0, n, 23).astype(np.int32), rng.permutation(23)
    out, _ = run_targets(y, T, n, order, 3, 15, None, 1.0 - smoothing, smoothing / n)
    expected = ref.one_hot(y[order[3:18]], n) * (1 - smoothing) + smoothing / n
    np.testing.assert_allclose(out, expected, rtol=np.finfo(T).eps)


@T32_T64
def test_copy_rows(T):
    n = 3 * panel_of(T) - 3
    a = matrix(T, 7, 3)
    a[:7, :n] = np.random.default_rng(0).normal(size=(7, n))
    out = np.full((8, n + 2), SENTINEL, T)
    call(
        "copy_rows", T, a=address(a), a_row=a.strides[0], out=address(out), out_row=out.strides[0],
        rows=7, n=n,
    )  # fmt: skip
    np.testing.assert_array_equal(out[:7, :n], a[:7, :n])
    assert (out[7:] == SENTINEL).all()
    assert (out[:, n:] == SENTINEL).all()


# --------------------------------------------------------------------------- random numbers


def drawn(piece, n, **key):
    """An order of n rows, nothing behind it written to."""
    order = np.full(n + 1, -9, np.int64)
    call(piece, np.float64, order=address(order), n=n, **key)
    assert order[n] == -9
    np.testing.assert_array_equal(np.sort(order[:n]), np.arange(n))
    return order[:n]


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000])
@pytest.mark.parametrize(
    ("piece", "twin"), [("shuffle", shuffled), ("shuffle.blocks", shuffled_in_blocks)]
)
def test_shuffle(piece, twin, n):
    """A permutation, another one for each seed, epoch and stream, and the one that NumPy draws."""
    seen = set()
    for seed, epoch, stream in itertools.product((0, 1, 12345), range(2), range(2)):
        order = drawn(piece, n, seed=seed, epoch=epoch, stream=stream)
        np.testing.assert_array_equal(order, twin(n, seed, epoch, stream))
        seen.add(order.tobytes())
    assert n < 1000 or len(seen) == 12


@pytest.mark.parametrize("n", [1024, 1025, 65_536, 65_537, 3 * 65_536 + 700])
def test_blocks_of_rows_are_shuffled_by_windows(n):
    """As NumPy draws it, with a last block and a last window that are shorter; a window holds the
    rows of whole blocks, so that each block is read in one or two of them."""
    order = drawn("shuffle.blocks", n, seed=3, epoch=2, stream=0)
    np.testing.assert_array_equal(order, shuffled_in_blocks(n, 3, 2))
    windows = [set(order[s : s + 65_536] // 1024) for s in range(0, n, 65_536)]
    assert all(len(blocks) <= 65 for blocks in windows)
    if n > 2 * 65_536:
        assert len(set(order[:1024] // 1024)) > 32


def test_shuffle_puts_every_row_everywhere():
    """5000 orders of 5 rows: each of the 120 comes about equally often."""
    counts = {}
    order = np.empty(5, np.int64)
    for epoch in range(5000):
        call("shuffle", np.float64, order=address(order), n=5, seed=42, epoch=epoch, stream=0)
        counts[order.tobytes()] = counts.get(order.tobytes(), 0) + 1
    expected = 5000 / 120
    chi2 = sum((c - expected) ** 2 / expected for c in counts.values())
    assert len(counts) == 120
    assert chi2 < special.chdtri(119, 1e-6)


def run_dropout(T, rows, n, key, stream, first, keep, factor, one=-1, saved=None, column=0):
    a = matrix(T, rows, panels_for(T, n + 1), 3.0)
    call(
        "dropout", T, a=address(a), row=a.strides[0],
        saved=0 if saved is None else address(saved), rows=rows, n=n, seed=key, stream=stream,
        first=first, column=column, keep=keep, factor=factor, one=one,
    )  # fmt: skip
    return a


@T32_AGAIN
@pytest.mark.parametrize("n", [1, 15, 16, 17, 300])
@pytest.mark.parametrize("drop", [0.1, 0.5, 0.99])
def test_dropout_masks_are_those_drawn_in_numpy(T, n, drop):
    key = int(mix64(7, 3)[0])
    signed = key - (1 << 64) if key >> 63 else key
    a = run_dropout(T, 21, n, signed, 2, 96, 1.0 - drop, 2.0, one=n)
    kept = kept_units(key, 2, 96, 21, n, 1.0 - drop)
    np.testing.assert_array_equal(a[:21, :n], np.where(kept, T(6.0), T(0.0)))
    assert (a[:21, n] == 1.0).all()
    assert (a[21:] == 3.0).all()


@T32_AGAIN
def test_dropout_of_some_columns_draws_what_it_draws_for_all(T):
    panel = panel_of(T)
    whole = run_dropout(T, 9, 5 * panel, 3, 1, 4, 0.5, 2.0)
    part = run_dropout(T, 9, 2 * panel, 3, 1, 4, 0.5, 2.0, column=3 * panel)
    np.testing.assert_array_equal(part[:9, : 2 * panel], whole[:9, 3 * panel : 5 * panel])


@T32_AGAIN
def test_dropout_that_keeps_all_and_the_copy(T):
    n = 17
    saved = matrix(T, 5, panels_for(T, n + 1), SENTINEL)
    a = run_dropout(T, 5, n, 1, 1, 0, 1.0, 0.25, saved=saved)
    assert (a[:5, :n] == 0.75).all()
    assert (saved[:5, :n] == 3.0).all()
    assert (saved[5:] == SENTINEL).all()
    assert (run_dropout(T, 5, n, 1, 1, 0, 0.5, 1.0, saved=saved)[:5, :n] == 0).any()
    assert (saved[:5, :n] == 3.0).all()


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_dropout_keeps_its_share(keep):
    """Of 10^6 units, of each row, of each column, and of pairs of neighbours in both directions."""
    rows, n = 1000, 1000
    kept = kept_units(12345, 1, 0, rows, n, keep)
    bound = 5.0 * math.sqrt(keep * (1 - keep))  # five deviations of one draw
    assert abs(kept.mean() - keep) < bound / 1000
    assert np.abs(kept.mean(axis=0) - keep).max() < bound / math.sqrt(rows)
    assert np.abs(kept.mean(axis=1) - keep).max() < bound / math.sqrt(n)
    both = keep**2
    spread = 5.0 * math.sqrt(both * (1 - both)) / 1000
    for pairs in (kept[1:] & kept[:-1], kept[:, 1:] & kept[:, :-1], kept[1:, 1:] & kept[:-1, :-1]):
        assert abs(pairs.mean() - both) < spread
    other = kept_units(12345, 2, 0, rows, n, keep)
    assert abs((kept & other).mean() - both) < spread


# ------------------------------------------------------------------------- parts of matrices

#: Panels of a row as different threads may cut them.
CUTS = ((0, 9), (0, 4, 9), (0, 1, 2, 5, 9))


def in_part(T, m):
    """Address of the second panel of m; arguments for it and the third, of three rows."""
    return address(m) + tuning.PANEL_BYTES, {"rows": 3, "row": m.strides[0], "panels": 2}


def outside(T, m):
    """A copy of m, SENTINEL where :func:`in_part` points."""
    rest = m.copy()
    rest[:3, panel_of(T) : 3 * panel_of(T)] = SENTINEL
    return rest


@T32_AGAIN
def test_penalise(T):
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(2, 5, 5 * panel_of(T))).astype(T)
    w, g = (np.ascontiguousarray(m) for m in (w, g))
    w[:, ::7] = 0.0
    before, expected = outside(T, g), g + 0.3 * w.astype(float) + 0.1 * np.sign(w)
    at, part = in_part(T, w)
    call("penalise", T, w=at, g=in_part(T, g)[0], **part, l1=0.1, l2=0.3)
    inside = np.s_[:3, panel_of(T) : 3 * panel_of(T)]
    np.testing.assert_allclose(g[inside], expected[inside], rtol=8 * np.finfo(T).eps, atol=1e-7)
    np.testing.assert_array_equal(outside(T, g), before)


@T32_AGAIN
def test_clip_values_and_scale(T):
    g = matrix(T, 4, 4, 9.0)
    n, before = panel_of(T), outside(T, g)
    g[0, n : n + 8] = [3.0, -3.0, 0.5, -0.5, 0.0, np.nan, np.inf, -np.inf]
    at, part = in_part(T, g)
    call("clip_values", T, g=at, **part, bound=1.5)
    found = [1.5, -1.5, 0.5, -0.5, 0.0, np.nan, 1.5, -1.5]
    np.testing.assert_array_equal(g[0, n : n + 8], found)
    assert (g[1:3, n : 3 * n] == 1.5).all()
    call("scale", T, g=at, **part, factor=0.5)
    np.testing.assert_array_equal(g[0, n : n + 8], np.array(found) / 2)
    assert (g[1:3, n : 3 * n] == 0.75).all()
    np.testing.assert_array_equal(outside(T, g), before)


# ------------------------------------------------------------------------- narrow outputs


@kernels
@T32_T64
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("units", [1, 16, 50, 250])
@pytest.mark.parametrize("add", [0, 1])
def test_narrow_forward(T, n, units, add):
    rng, panels = np.random.default_rng(units), panels_for(T, units)
    x, wt = matrix(T, 6, panels, 0.7), matrix(T, n, panels, 0.0)
    x[:6, :units], wt[:n, :units] = rng.normal(size=(6, units)), rng.normal(size=(n, units))
    w, z = matrix(T, units, 1), matrix(T, 6, 1, SENTINEL)
    w[units, :n] = rng.normal(size=n)
    layer = Layer(
        T, x=address(x), x_row=x.strides[0], wt=address(wt), wt_row=wt.strides[0],
        w=address(w), w_row=w.strides[0], a=address(z), a_row=z.strides[0], n=n, n_in=units,
        beta=add,
    )  # fmt: skip
    for bias in (1, 0):
        layer.set("layer", depth=units + bias)
        assert layer.call("narrow.forward", first=1, rows=5, low=0, high=1) == -1
        expected = x[1:6, :units].astype(float) @ wt[:n, :units].astype(float).T
        expected += SENTINEL * add + w[units, :n] * bias
        np.testing.assert_allclose(z[1:6, :n], expected, rtol=0, atol=99 * units * np.finfo(T).eps)
        z[1:6, :n] = SENTINEL
        assert (z == SENTINEL).all()


@kernels
@T32_T64
def test_narrow_gradient(T):
    rng, m, n, units = np.random.default_rng(0), 7, 3, 40
    x, dz = matrix(T, m, panels_for(T, units)), matrix(T, m, 1)
    x[:m], dz[:m, :n] = rng.normal(size=x[:m].shape), rng.normal(size=(m, n))
    room, c = matrix(T, n, panels_for(T, units)), matrix(T, units, 1, SENTINEL)
    layer = Layer(
        T, x=address(x), x_row=x.strides[0], dz=address(dz), dz_row=dz.strides[0], n=n,
        w_row=c.strides[0], room=address(room),
    )  # fmt: skip
    layer.bind("job", gemm="gemm")
    expected = x[:m, :units].astype(float).T @ dz[:m, :n].astype(float)
    for first, rows, alpha, beta in ((0, 16, 0.5, 0.0), (16, 24, 0.5, 0.0), (0, 40, 1.0, 2.0)):
        before = c.copy()
        layer.call(
            "narrow.gradient", c=address(c), first=first, rows=rows, low=0, high=1, start=0, m=m,
            alpha=alpha, beta=beta,
        )  # fmt: skip
        part = slice(first, first + rows)
        wanted = alpha * expected[part] + (beta * before[part, :n] if beta else 0.0)
        np.testing.assert_allclose(c[part, :n], wanted, rtol=0, atol=1e3 * np.finfo(T).eps)
        before[part, :n] = c[part, :n]
        np.testing.assert_array_equal(c, before)


@T32_AGAIN
def test_parts_are_added_from_the_first_on(T):
    parts = np.random.default_rng(0).normal(size=(tuning.CHUNKS, 8, panel_of(T))).astype(T)
    z = matrix(T, 8, 1, SENTINEL)
    own, row = parts.strides[:2]
    layer = Layer(T, x=address(parts), x_row=row, own=own, a=address(z), a_row=z.strides[0], n=3)
    assert layer.call("parts.forward", first=2, rows=6, low=0, high=1) == -1
    expected = parts[0, 2:, :3].copy()
    for part in parts[1:]:
        expected += part[2:, :3]
    np.testing.assert_array_equal(z[2:8, :3], expected)
    z[2:8, :3] = SENTINEL
    assert (z == SENTINEL).all()


# ------------------------------------------------------------------------- around the update


@kernels
@T32_T64
@pytest.mark.parametrize("n", [16, 48, 4800])
def test_sum_squares(T, n):
    g = np.random.default_rng(n).normal(size=n + 1).astype(T)
    out = np.full(2, SENTINEL)
    call("sum_squares", T, g=address(g), n=n, out=address(out))
    assert out[0] == pytest.approx(float((g[:n].astype(float) ** 2).sum()), rel=1e-14)
    assert out[1] == SENTINEL


@kernels
def test_sum_squares_does_not_overflow_in_float32():
    g, out = np.full(16, 1e30, np.float32), np.zeros(1)
    call("sum_squares", np.float32, g=address(g), n=16, out=address(out))
    assert out[0] == pytest.approx(16e60, rel=1e-6)


@T32_AGAIN
def test_max_norm(T):
    """Columns of one panel beyond the bound come down to it, the others keep their bits."""
    panel = panel_of(T)
    w = matrix(T, 9, 1, SENTINEL)
    w[:9, :panel] = np.random.default_rng(0).normal(size=(9, panel)) * np.linspace(0, 2, panel)
    before, scratch = w.copy(), aligned(panel, T)
    call("max_norm", T, w=address(w), row=w.strides[0], rows=9, scratch=address(scratch), bound=2.0)
    norms = np.linalg.norm(before[:9, :panel].astype(float), axis=0)
    small = norms <= 2.0
    assert small.any()
    assert not small.all()
    np.testing.assert_array_equal(w[:9, :panel][:, small], before[:9, :panel][:, small])
    np.testing.assert_allclose(
        w[:9, :panel], ref.limit_norms(before[:9, :panel].astype(float), 2.0),
        rtol=16 * np.finfo(T).eps,
    )  # fmt: skip
    assert (w[9:] == SENTINEL).all()
    assert (w[:, panel:] == SENTINEL).all()


@T32_AGAIN
def test_all_finite(T):
    x = np.zeros(67, T)
    x[66] = np.nan
    assert call("all_finite", T, x=address(x), n=66) == 1
    for place, value in itertools.product((0, 15, 16, 65), (np.nan, np.inf, -np.inf)):
        x[:66] = np.finfo(T).max
        x[place] = value
        assert call("all_finite", T, x=address(x), n=66) == 0


@T32_AGAIN
@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"softmax"}))
def test_activations_do_not_depend_on_the_cut(T, name):
    """An element may fall into a loop's vector body or behind it, by where its panel lies."""
    panel, found = panel_of(T), []
    z = np.random.default_rng(0).normal(scale=3.0, size=(5, 10 * panel)).astype(T)
    for cut in CUTS:
        a, saved, d = matrix(T, 4, 9), matrix(T, 4, 9, 0.5), matrix(T, 4, 9)
        a[:], d[:] = z, z[::-1]
        for low, high in itertools.pairwise(cut):
            at, n = low * tuning.PANEL_BYTES, (high - low) * panel
            row = a.strides[0]
            call(
                f"{name}.forward", T, a=address(a) + at, saved=address(saved) + at, row=row,
                rows=4, n=n, p=0.3, one=-1,
            )  # fmt: skip
            s = saved if ACTIVATIONS[name].needs_z else a
            call(
                f"{name}.backward", T, dz=address(d) + at, dz_row=row, saved=address(s) + at,
                saved_row=row, rows=4, n=n, p=0.3,
            )  # fmt: skip
        found.append((a.tobytes(), d.tobytes()))
    assert found == [found[0]] * len(CUTS)


@T32_AGAIN
def test_an_average_does_not_depend_on_the_cut(T):
    panel, found = panel_of(T), []
    first = np.random.default_rng(1).normal(size=(2, CUTS[0][-1] * panel)).astype(T)
    for cut in CUTS:
        arena = aligned(first.size, T).reshape(first.shape)  # w, mean
        arena[:] = first
        for low, high in itertools.pairwise(cut):
            w, mean = (address(row) + low * tuning.PANEL_BYTES for row in arena)
            call("average", T, w=w, mean=mean, n=(high - low) * panel, share=0.3)
        np.testing.assert_allclose(arena[1], 0.7 * first[1] + 0.3 * first[0], rtol=0, atol=1e-6)
        found.append(arena.tobytes())
    assert found == [found[0]] * len(CUTS)


@T32_AGAIN
@pytest.mark.parametrize("name", ["sgd", "rmsprop", "rmsprop_gains", "rprop", "adagrad", "adam"])
def test_rules_do_not_depend_on_the_cut(T, name):
    rng, found = np.random.default_rng(1), []
    settings = np.array([0.9, 0.8, 0.01, 0.5, 0.3, 0.01])  # as many as any rule has
    first = rng.normal(size=(5, 5, 10 * panel_of(T))).astype(T)
    for cut in CUTS:
        arena = aligned(first.size, T).reshape(first.shape)  # w, g and three slots
        arena[:] = first
        arena[2:] **= 2
        for low, high in itertools.pairwise(cut):
            w, g, slots = (address(arena[k]) + low * tuning.PANEL_BYTES for k in range(3))
            call(
                f"{name}.rule", T, w=w, g=g, slots=slots, stride=arena.strides[0], rows=4,
                row=arena.strides[1], panels=high - low, rate=0.01, decay=0.1,
                power1=0.9, power2=0.999, settings=address(settings),
            )  # fmt: skip
        assert not np.array_equal(arena[0, :4], first[0, :4])
        assert np.array_equal(arena[0, 4:], first[0, 4:])
        found.append(arena.tobytes())
    assert found == [found[0]] * len(CUTS)
