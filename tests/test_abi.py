"""Families: who makes a piece, who calls it and who keeps its address agree, or it is refused."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from buffers import address, call
from numba import cfunc, njit
from numba.core.errors import TypingError

from nbmlp.kernels import _jit, abi, records
from nbmlp.kernels.family import Family, family
from nbmlp.kernels.optim import rule_settings
from nbmlp.kernels.pieces import in_order, piece_address, registered_pieces
from nbmlp.optimizers import OPTIMIZERS

#: Three numbers of which no two may be exchanged unseen.
weigh = family("weigh", count=int, factor=float, shift=float)
KERNELS = Path(records.__file__).parent


# ---------------------------------------------------------------------------------- the pieces


def fitting(count: int, factor: float, shift: float) -> int:
    return 0


def lacking(count: int, factor: float) -> int:
    return 0


def renamed(count: int, faktor: float, shift: float) -> int:
    return 0


def disordered(count: int, shift: float, factor: float) -> int:
    return 0


def of_another_kind(count: int, factor: int, shift: float) -> int:
    return 0


def not_annotated(count: int, factor, shift: float) -> int:
    return 0


REFUSED = {
    lacking: "missing: shift.",
    renamed: "missing: factor, unknown: faktor.",
    disordered: "its parameters come as count, shift, factor, not count, factor, shift.",
    of_another_kind: "its parameter factor is int, not float.",
    not_annotated: "its parameter factor is not annotated, not float.",
}


@pytest.fixture
def register(monkeypatch):
    """Register a function as a piece for the time of a test; returns the piece's name."""
    monkeypatch.setattr(_jit, "_MAKERS", dict(_jit._MAKERS))
    monkeypatch.setattr(_jit, "_KEEP", dict(_jit._KEEP))

    def register(function):
        _jit.piece("test.piece", weigh)(lambda T: function)
        return "test.piece"

    return register


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_a_piece_that_does_not_fit_its_family_is_refused(register, function):
    name, said = register(function), REFUSED[function]
    whole = f"Piece test.piece does not fit its family weigh: {said}"
    for ask in (_jit.make, piece_address):  # by the latter before anything is compiled
        with pytest.raises(TypeError, match=f"^{re.escape(whole)}$"):
            ask(name, np.float32)


def test_a_piece_that_fits_is_made(register):
    assert _jit.make(register(fitting), np.float32) is fitting


@pytest.mark.parametrize("T", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(registered_pieces()))
def test_every_piece_fits_its_family(name, T):
    assert callable(_jit.make(name, T))


# ----------------------------------------------------------------------------------- the calls


@cfunc(weigh.family.signature)
def weighed(count, factor, shift):
    return np.int64(count * factor + shift)


def test_arguments_come_by_name_in_any_order():
    @njit
    def run(address):
        return weigh(address, shift=0.5, count=3, factor=7.5)

    assert run(_jit.native_address(weighed)) == 23
    assert weighed.ctypes(*weigh.family.order(shift=0.5, count=3, factor=7.5)) == 23


@njit
def call_without_one(address):
    return weigh(address, count=3, shift=0.5)


@njit
def call_with_one_too_many(address):
    return weigh(address, count=3, factor=7.5, shift=0.5, more=1)


@njit
def call_in_order(address):
    return weigh(address, 3, 7.5, 0.5)


@njit
def call_with_an_integer(address):
    return weigh(address, count=3, factor=7, shift=0.5)


@njit
def call_with_a_float(address):
    return weigh(address, count=3.0, factor=7.5, shift=0.5)


@njit
def call_unsigned(address):
    return weigh(address, count=np.uint64(3), factor=7.5, shift=0.5)


@njit
def call_in_single_precision(address):
    return weigh(address, count=3, factor=np.float32(7.5), shift=0.5)


CALLS = {
    call_without_one: "missing: factor",
    call_with_one_too_many: "unknown: more",
    call_in_order: "its arguments are passed by name, but for the address",
    call_with_an_integer: "factor is int64, not float64",
    call_with_a_float: "count is float64, not int64",
    call_unsigned: "count is uint64, not int64",
    call_in_single_precision: "factor is float32, not float64",
}


@pytest.mark.parametrize("run", CALLS, ids=lambda run: run.__name__)
def test_a_wrong_call_does_not_compile(run):
    whole = f"A piece of family weigh cannot be called so: {CALLS[run]}."
    with pytest.raises(TypingError, match=re.escape(whole)):
        run(_jit.native_address(weighed))


def test_a_call_from_python_needs_all_names():
    with pytest.raises(TypeError, match=r"family shuffle cannot .*: missing: seed, stream\.$"):
        in_order("shuffle", order=0, n=1, epoch=0)
    with pytest.raises(TypeError, match=r"family shuffle cannot .*: unknown: rows\.$"):
        in_order("shuffle", order=0, n=1, seed=0, epoch=0, stream=0, rows=1)


# ---------------------------------------------------------------------------------- the tables


def called_fields() -> list[tuple[str, str, str]]:
    """(module, family, field) of every call ``abi.family(record.field, ...)`` in the kernels."""
    found = []
    for path in sorted(KERNELS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            named = isinstance(node.func.value, ast.Name) and node.func.value.id == "abi"
            if named and node.args and isinstance(node.args[0], ast.Attribute):
                found.append((path.stem, node.func.attr, node.args[0].attr))
    return found


def test_each_call_takes_its_address_from_a_field_of_its_family():
    calls = called_fields()
    assert {field for *_, field in calls} == set(records.PIECES)
    for module, called, field in calls:
        assert records.PIECES[field] is getattr(abi, called), (module, field)


def test_fields_of_pieces_lie_in_the_tables():
    known = {*records.JOB.names, *records.LAYER.names, *records.PARAMETER.names}
    assert set(records.PIECES) <= known


def test_a_field_takes_pieces_of_its_family_only():
    with pytest.raises(TypeError, match=r"^Piece scale is of family scale, not product\.$"):
        piece_address("scale", np.float32, records.PIECES["gemm"])


def test_every_family_is_listed_under_its_name_and_has_pieces():
    families = {name: made.family for name, made in vars(abi).items() if hasattr(made, "family")}
    assert sorted(families) == sorted(abi.__all__)
    assert all(isinstance(made, Family) and made.name == name for name, made in families.items())
    assert {made.name for made in registered_pieces().values()} == set(families)


def test_rules_read_what_optimizers_have():
    """Each rule's settings are fields of its optimizer, and no optimizer lacks a rule but one."""
    for name, optimizer in OPTIMIZERS.items():
        if name != "lbfgs":
            own = rule_settings("adam" if name == "adamw" else name)
            assert set(own) <= {field.name for field in fields(optimizer)}, name


def test_the_record_of_settings_is_read_in_its_order():
    """Rprop's first step, its last setting, scales the steps: w <- w - rate/first*sign*length."""
    own = np.array([1.0, 1.0, 0.0, 9.0, 0.5])
    assert rule_settings("rprop")[-1] == "learning_rate"
    arena = np.zeros((4, 16), np.float32)  # w, g, length, last sign
    arena[1], arena[2] = 3.0, 2.0
    at = [address(arena) + k * arena.strides[0] for k in range(3)]
    call(
        "rprop.rule", np.float32, w=at[0], g=at[1], slots=at[2], stride=arena.strides[0], rows=1,
        row=64, panels=1, rate=0.25, decay=0.0, power1=0.0, power2=0.0, settings=address(own),
    )  # fmt: skip
    np.testing.assert_array_equal(arena[0], -1.0)
