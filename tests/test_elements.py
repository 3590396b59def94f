"""Types of elements: one row each, and nobody else knows how wide a number is."""

from __future__ import annotations

import re
from typing import get_args

import numpy as np
import pytest

from nbmlp.errors import SpecError
from nbmlp.kernels import _jit, abi
from nbmlp.kernels.pieces import piece_address
from nbmlp.names import DTYPES, ELEMENTS, Element, element_of
from nbmlp.optimizers import Adam
from nbmlp.plan import make_plan, make_strategy
from nbmlp.server.jobs.spec import Hyper
from nbmlp.spec import ModelSpec
from nbmlp.state import new_state
from nbmlp.workspace import Workspace
from nbmlp.workspace.buffers import Buffers
from nbmlp.workspace.layers import Places, describe_parameters

#: Stored in half of the bytes that it is computed in: no net can be trained so yet.
HALF = Element(name="half", compute=np.float32, storage=np.float16)
SIZES = (37, 70, 40, 3)
LINE = 64

elements = pytest.mark.parametrize("element", [*ELEMENTS.values(), HALF], ids=lambda e: e.name)


@pytest.fixture
def places(element, monkeypatch):
    """Where everything lies for a training in `element` on one thread."""
    monkeypatch.setattr(ModelSpec, "element", element)
    spec = ModelSpec(SIZES[0], SIZES[-1], SIZES[1:-1], activation=("gelu", "relu"), dropout=0.1)
    strategy = make_strategy(spec, make_plan(spec, 20), 1)
    return Places(spec, new_state(strategy.plan, Adam()), Buffers(strategy))


# ------------------------------------------------------------------------------------- the rows


def test_a_spec_takes_every_plain_type_and_no_other():
    assert {"float32", "float64"} <= set(DTYPES)  # model files hold them
    for dtype in DTYPES:
        spec = ModelSpec(2, 1, dtype=dtype)
        assert (spec.element.name, spec.element.plain) == (dtype, True)
    with pytest.raises(SpecError, match="choose float32 or float64"):
        ModelSpec(2, 1, dtype="float16")


def test_the_server_takes_what_a_spec_does():
    assert get_args(Hyper.model_fields["dtype"].annotation) == DTYPES


def test_a_row_is_found_by_its_type():
    for row in ELEMENTS.values():
        assert element_of(row) is row
        if row.plain:
            assert row.name == row.compute.__name__
            assert element_of(row.compute) is element_of(np.dtype(row.name)) is row
    with pytest.raises(KeyError):
        element_of(np.uint8)


# ----------------------------------------------------------------------------------- the arenas


@elements
def test_masters_are_of_one_type_and_what_products_read_of_the_other(element, places):
    state, buffers = places.state, places.buffers
    masters = [state.theta, state.slots, buffers.gradient, buffers.target]
    stored = [buffers.x, buffers.transposed, *buffers.activations, *buffers.deltas]
    assert {array.dtype for array in masters} == {np.dtype(element.compute)}
    assert {array.dtype for array in stored} == {np.dtype(element.storage)}


@elements
def test_rows_are_padded_to_an_odd_number_of_lines(element, places):
    plan, stored = places.plan, element.storage_bytes
    rows = [layer.row * element.compute_bytes for layer in plan.layers]
    rows += [plan.x_row * stored, plan.target_row * element.compute_bytes]
    for layer in plan.layers:
        rows += [layer.a_row * stored, layer.dz_row * stored, layer.transposed_row * stored]
    assert all(row % (2 * LINE) == LINE for row in rows if row)


@elements
def test_tables_say_where_arrays_lie(element, places):
    """Strides, and places of layers behind the first, in bytes of either type."""
    state, buffers = places.state, places.buffers
    matrices, gradients = list(state.matrices()), list(state.matrices(buffers.gradient))
    assert places.inputs()["a_row"] * buffers.rows == buffers.x.nbytes
    for k, layer in enumerate(places.plan.layers):
        found = places.output(k)
        assert found["a_row"] == buffers.activations[k].strides[0]
        assert found["dz_row"] == buffers.deltas[k].strides[0]
        fields, _ = describe_parameters(places, k)
        assert (fields["w"], fields["row"]) == (matrices[k].ctypes.data, matrices[k].strides[0])
        assert fields["g"] == gradients[k].ctypes.data
        if k:
            wt = buffers.transposed[layer.transposed_offset :]
            assert fields["wt"] == wt.ctypes.data
            assert fields["wt_row"] == layer.transposed_row * wt.itemsize


@elements
def test_the_plan_knows_the_bytes_of_a_step(element, places):
    buffers = places.buffers
    own = [s for s, a in zip(buffers.saved, buffers.activations, strict=True) if s is not a]
    assert len(own) == 2  # z of gelu, and relu before dropout
    arrays = [buffers.x, buffers.target, *buffers.activations, *own, *buffers.deltas]
    assert places.plan.workspace_bytes == sum(a.nbytes for a in arrays)


# ----------------------------------------------------------------------------------- the pieces


def fitting(a: int, b: int) -> int:
    return a + b


def other(a: int, b: int) -> int:
    return a - b


def disordered(b: int, a: int) -> int:
    return a + b


@pytest.fixture
def name(monkeypatch):
    """A piece for the time of a test."""
    for registry in ("_MAKERS", "_INSTEAD", "_KEEP"):
        monkeypatch.setattr(_jit, registry, dict(getattr(_jit, registry)))
    for registry in ("_OF_MASTERS", "_UNTYPED"):
        monkeypatch.setattr(_jit, registry, set(getattr(_jit, registry)))
    monkeypatch.setattr(_jit, "_FUNCTIONS", {})
    _jit.piece("test.piece", abi.family("sum", a=int, b=int))(lambda T: fitting)
    return "test.piece"


def test_a_version_takes_the_place_of_a_piece_for_its_elements_alone(name):
    made_for = []
    _jit.version(name, HALF)(lambda T: made_for.append(T) or other)
    assert _jit.make(name, HALF) is other
    assert made_for == [np.float32]
    assert _jit.make(name, np.float32) is _jit.make(name, ELEMENTS["float64"]) is fitting
    assert [_jit.piece_function(name, of)(5, 3) for of in (HALF, np.float32)] == [2, 8]
    assert {kind for made, kind in _jit.compiled_pieces() if made == name} == {"half", "float32"}


def test_a_version_has_the_parameters_of_its_family(name):
    _jit.version(name, HALF)(lambda T: disordered)
    with pytest.raises(TypeError, match="its parameters come as b, a, not a, b"):
        piece_address(name, HALF)


def test_there_is_one_version_of_a_piece(name):
    _jit.version(name, HALF)(lambda T: other)
    with pytest.raises(RuntimeError, match=r"test\.piece has two versions for half"):
        _jit.version(name, HALF)(lambda T: fitting)


@pytest.mark.parametrize("piece", ["relu.forward", "gemm", "dense.forward", "transpose"])
def test_elements_that_are_not_plain_share_no_piece_that_touches_rows(piece):
    said = f"Piece {piece} has no version for elements of half."
    with pytest.raises(TypeError, match=f"^{re.escape(said)}$"):
        piece_address(piece, HALF)


@pytest.mark.parametrize("piece", ["adam.rule", "scale", "all_finite", "targets.labels"])
def test_pieces_of_masters_are_those_of_the_type_computed_in(piece):
    assert piece_address(piece, HALF) == piece_address(piece, np.float32)


def test_a_workspace_is_refused_whose_pieces_are_missing(monkeypatch):
    monkeypatch.setattr(ModelSpec, "element", HALF)
    spec = ModelSpec(4, 2, (3,))
    strategy = make_strategy(spec, make_plan(spec, 5), 1)
    with pytest.raises(TypeError, match="has no version for elements of half"):
        Workspace(spec, new_state(strategy.plan, Adam()), strategy)
