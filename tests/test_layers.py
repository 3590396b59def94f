"""All kinds of layers, in every way that a strategy cuts them, against the oracle.

A walk is a net and how its rows come. Together the walks meet every piece of a layer that there is,
so a kind that is added and not walked through fails.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference as ref
from engine_twin import FEATURES_ON, PLAIN, Problem, all_threads, problem, state_of
from scipy.sparse import csr_array

from nbmlp.data import check_X
from nbmlp.kernels import _jit
from nbmlp.kernels.cuts import Cut, Share
from nbmlp.kernels.gather import SPARSE_KINDS
from nbmlp.kernels.pieces import registered_pieces
from nbmlp.names import ACTIVATIONS, WIDEST
from nbmlp.plan.strategy import Kind, Reading
from nbmlp.predict import Predictor, Rows
from nbmlp.spec import ModelSpec
from nbmlp.train.engine import Engine
from nbmlp.train.threads import ThreadChoice

SMALL = ModelSpec(20, 5, (17, 9), "tanh", dtype="float64")
NARROW = ModelSpec(20, 1, (17,), "softplus", dtype="float64")
DROPS = ModelSpec(9, 3, (12, 7), ("tanh", "gelu"), dropout=0.3, input_dropout=0.2, dtype="float64")
NOT_FUSED = ModelSpec(9, 3, (12,), "relu", "tanh", dtype="float64")
LINEAR = ModelSpec(120, 3, (), dtype="float64")
LONG = ModelSpec(100, 5, (20,), dtype="float64")
WIDE = ModelSpec(100, 5, (200,), "tanh", dtype="float64")
MIXED = ModelSpec(100, 200, (20, 200), "tanh", dtype="float64", bias=False)

#: With all features, and half of the activations each.
FURTHER = [
    ModelSpec(9, 3, (12,) * len(half), half, dtype="float64", **FEATURES_ON)
    for half in (tuple(ACTIVATIONS)[::2], tuple(ACTIVATIONS)[1::2])
]

#: Name: spec, how rows come, how many, threads; what must be met on the way.
WALKS: dict[str, tuple[ModelSpec, str, int, int, set[Any]]] = {
    "dense": (SMALL, "float64", 30, 1, {Reading.WRITTEN, Cut.WHOLE, Share.ROWS}),
    "rows shared": (SMALL, "float64", 200, 2, {Cut.WHOLE, Share.ROWS}),
    "flat": (ModelSpec(5, 3, (99,), dtype="float64"), "float64", 30, 2, {Share.PANELS}),
    "narrow": (NARROW, "float64", 130, 2, {"narrow.forward", "narrow.gradient"}),
    "dropout": (DROPS, "float64", 30, 2, {Kind.DROPOUT}),
    "not fused": (NOT_FUSED, "float64", 30, 2, {Kind.ACTIVATION}),
    "no hidden layer": (LINEAR, "float64", 30, 2, {Reading.WRITTEN}),
    "in place": (LONG, "float64", 130, 1, {Reading.IN_PLACE}),
    "by_address": (LONG, "float32", 130, 2, {Reading.BY_ADDRESS}),
    "columns": (WIDE, "float64", 20, 2, {Cut.COLUMNS, Cut.PART, Cut.ROWS, Share.UNITS, Kind.PARTS}),
    "columns, written": (replace(WIDE, n_inputs=30), "float32", 20, 2, {Reading.WRITTEN}),
    "columns, not all": (MIXED, "float64", 20, 3, {Cut.COLUMNS, Cut.ROWS, Reading.IN_PLACE}),
    "columns, sparse": (WIDE, "csr_float64_int32", 20, 2, {Reading.THIN, Cut.COLUMNS}),
    "sparse": (LONG, "csr_float64_int64", 30, 2, {Reading.THIN}),
    "sparse, other type": (LONG, "csr_float32_int32", 30, 1, {Reading.THIN}),
    "sparse, dropped": (replace(LONG, input_dropout=0.1), "csr_float32_int64", 9, 1,
        {Reading.WRITTEN}),
    "further kinds": (FURTHER[0], "float64", 130, 2, {Kind.NORM, Kind.PARAMETRIC, Kind.RESIDUAL}),
    "further kinds again": (FURTHER[1], "float64", 30, 1, {"sums.gradient"}),
}  # fmt: skip


#: On other instruction sets the further kinds are those of test_features.py.
WALKED = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if "further" in name else pytest.mark.kernels) for name in WALKS],
)


def given_rows(form: str, given: Problem) -> tuple[Rows, Problem]:
    """The problem's rows in some form, and the problem with the numbers that are in them."""
    if not form.startswith("csr"):
        X = given.X.astype(form)
        return Rows(X, given.Y), given._replace(X=X.astype(np.float64))
    _, kind, index = form.split("_")
    X = np.where(np.abs(given.X) > 2.2, given.X, 0.0).astype(kind)
    matrix = csr_array(X)
    matrix.indices, matrix.indptr = (a.astype(index) for a in (matrix.indices, matrix.indptr))
    return Rows(check_X(matrix, X.shape[1]), given.Y), given._replace(X=X.astype(np.float64))


def walk(name: str) -> tuple[Engine, ref.Params, ref.Params]:
    """An engine that has computed its gradient; that, and the oracle's."""
    spec, form, n_rows, threads, _ = WALKS[name]
    rows, given = given_rows(form, problem(spec, n_rows))
    state = state_of(spec, given.params)
    with all_threads():
        engine = Engine(spec, PLAIN, state, rows, threads, deterministic=True)
    _, arena = engine.loss_and_gradient()
    expected = ref.loss_and_gradient(spec, PLAIN, given.params, *given.wide()).gradient
    return engine, ref.from_flat(spec, state.get_flat(arena)), expected


def met(engine: Engine) -> set[Any]:
    """Pieces, kinds, cuts and ways to share and read that an engine's tables name."""
    work = engine.work
    names = {_jit.native_address(compiled): key[0] for key, compiled in _jit._KEEP.items()}
    found: set[Any] = {work.reading}
    for table, fields in ((work.layers, ("forward", "backward")), (work.parameters, ("gradient",))):
        found |= {names[int(at)] for field in fields for at in table[field] if at}
    for stage in work.strategy.stages:
        found |= {stage.kind, stage.cut}
    return found | {blocks.share for blocks in work.strategy.blocks}


@WALKED
def test_gradients_are_those_of_the_oracle(name):
    engine, gradient, expected = walk(name)
    assert WALKS[name][-1] <= met(engine)
    for error in ref.block_errors(gradient, expected):
        assert error <= 1e-12


@WALKED
def test_any_number_of_threads_has_the_same_bits(name):
    """Also fewer than the tables were made for: those who come too late, or a region alone."""
    engine, *_ = walk(name)
    first = engine.work.gradient.copy()
    for threads in range(1, engine.threads + 1):
        engine._thread_choice = ThreadChoice(threads, fixed=True)
        engine.work.gradient[:] = 0.0
        engine.loss_and_gradient()
        np.testing.assert_array_equal(engine.work.gradient, first)


@WALKED
def test_predictions_are_those_of_the_oracle(name):
    spec, form, n_rows, threads, _ = WALKS[name]
    rows, given = given_rows(form, problem(spec, n_rows))
    state = state_of(spec, given.params)
    predictor = Predictor(spec, state.plan, state, threads)
    expected = ref.forward(spec, given.params, given.wide()[0]).output
    np.testing.assert_allclose(predictor.outputs(rows), expected, rtol=1e-12, atol=1e-13)


def test_the_walks_meet_every_piece_of_every_kind():
    found: set[Any] = set()
    for name in WALKS:
        found |= met(walk(name)[0])
    of_layers = {n for n, f in registered_pieces().items() if f.name.startswith("layer_")}
    others = {f"csr_{kind}_{index}.forward" for kind, index in SPARSE_KINDS}
    others |= {f"csr_{kind}_{index}.gradient" for kind, index in SPARSE_KINDS}
    widths = set(range(1, WIDEST)) - {2}  # each has pieces of its own, made by the same makers
    others |= {f"pbld_{n}.{way}" for n in widths for way in ("forward", "gradient")}
    others |= {"bare.forward"}  # stands in for others where somebody looks at z
    assert of_layers - others <= found
    assert {*Kind, *Reading, *Cut, *Share} <= found
