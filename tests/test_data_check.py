"""Arrays from users: what passes untouched, what is converted, what is refused and how."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from nbmlp.data import check as check_module
from nbmlp.data import (
    check_finite,
    check_length,
    check_weights,
    check_X,
    check_y,
    first_nonfinite,
)
from nbmlp.errors import DataError, RowError


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_native_arrays_are_not_copied(dtype: Any) -> None:
    A = np.arange(24).reshape(4, 6).astype(dtype)
    for view in (A, A[1:], A[::2], A[:, 1:5], A[:, 2:3]):
        checked = check_X(view)
        assert np.shares_memory(checked, A)
        assert checked.__array_interface__["data"] == view.__array_interface__["data"]
        assert checked.strides == view.strides


def test_mapped_files_are_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 3)))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.shares_memory(check_X(mapped), mapped)


@pytest.mark.parametrize(
    "A",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6.0).reshape(2, 3)[::-1],
        np.arange(6.0).reshape(2, 3)[:, ::2],
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.frombuffer(bytes(1) + np.arange(6.0).tobytes(), offset=1).reshape(2, 3),
    ],
    ids=["fortran", "reversed", "every other column", "big-endian", "unaligned"],
)
def test_others_are_made_readable(A: Any) -> None:
    checked = check_X(A)
    assert checked.dtype == np.float64
    assert checked.dtype.isnative
    assert checked.flags.c_contiguous
    assert checked.flags.aligned
    assert_array_equal(checked, A)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, np.bool_, np.float16])
def test_other_numbers_are_converted(dtype: Any) -> None:
    A = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert check_X(A).dtype == np.float32
    assert check_X(A, dtype=np.float64).dtype == np.float64
    assert_array_equal(check_X(A), A.astype(np.float32))
    assert check_X([[1, 2], [3, 4]]).dtype == np.float32


@pytest.mark.parametrize(
    ("X", "says"),
    [
        (np.zeros(5), r"X has shape \(5,\): .*reshape\(1, -1\)"),
        (np.zeros((2, 3, 3)), r"X\.reshape\(len\(X\), -1\)"),
        (np.zeros((2, 1, 3, 3)), r"X\.reshape\(len\(X\), -1\)"),
        (3.0, r"shape \(\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\): at least one row"),
        (np.zeros((3, 0)), r"shape \(3, 0\): at least one row"),
        (np.zeros((2, 4)), "X has 4 columns: the model was fitted on 3"),
        (np.zeros((2, 3), dtype=complex), "complex numbers"),
        (np.array([["1", "b", "c"]]), "'1' at row 0, column 0 .*: numbers are needed"),
        (np.array([[1, 2, 3], [4, None, 6]], dtype=object), "no value at row 1, column 1"),
        (np.array([[1, 2, 3]], dtype=object), r"Python objects .*astype\(float\)"),
        (np.array([["2020-01-01"]], dtype="M8[D]"), "datetime64"),
        ([[1, 2], [3]], "rows of different lengths"),
        (csr_array(np.eye(4)), "X has 4 columns: the model was fitted on 3"),
    ],
)
def test_refused(X: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_X(X, n_features=3)


def test_the_name_is_used() -> None:
    with pytest.raises(DataError, match="validation X has shape"):
        check_X(np.zeros(3), name="validation X")


def test_targets() -> None:
    y = check_y(np.array([1, 2, 255], dtype=np.uint8), 3)
    assert y.shape == (3, 1)
    assert y.dtype == np.float32
    assert check_y(np.zeros((3, 2)), 3, 2, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.zeros(4), "y has 4 rows and X has 3"),
        (np.zeros((3, 2)), "y has 2 columns: the model has 1 outputs"),
        (np.zeros((3, 1, 1)), r"y has shape \(3, 1, 1\)"),
        (np.array([1.0, np.nan, 2.0]), "y has NaN at row 1 "),
        (np.array([1.0, 2.0, -np.inf]), "y has an infinite value at row 2 "),
        (np.array([1.0, 1e300, 2.0]), r"y has 1e\+300 at row 1 .*: too large for float32"),
        (np.array(["a", "b", "c"]), "holds 'a' at row 0"),
    ],
)
def test_bad_targets(y: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_y(y, 3, 1)


def test_weights() -> None:
    assert_array_equal(check_weights([0, 1, 2], 3), np.array([0, 1, 2], dtype=np.float32))
    assert check_weights(np.ones((3, 1)), 3).shape == (3,)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([1, 1], r"shape \(2,\): one weight for each of 3 rows"),
        (np.ones((3, 2)), r"shape \(3, 2\)"),
        ([1, -0.5, -1], "is -0.5 at row 1 .*: weights must be 0 or more"),
        ([0, 0, 0], "is 0 in every row"),
        ([1, np.nan, 1], "NaN at row 1"),
        ([1, 1, np.inf], "infinite value at row 2"),
        (["a", "b", "c"], "numbers are needed"),
    ],
)
def test_bad_weights(weights: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        check_weights(weights, 3)


def test_length() -> None:
    check_length(np.zeros(3), 3)
    with pytest.raises(DataError, match="labels has 3 rows and X has 4"):
        check_length(np.zeros(3), 4, "labels")


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 9),
    places=st.lists(st.integers(0, 10_000), max_size=4),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_first_nonfinite_is_the_first(
    rows: int, columns: int, places: list[int], value: float
) -> None:
    A = np.ones((rows, columns))
    flat = [place % A.size for place in places]
    A.reshape(-1)[flat] = value
    expected = divmod(min(flat), columns) if flat else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_module, "_CHUNK_BYTES", 200)
        assert first_nonfinite(A) == expected


def test_bytes_are_finite() -> None:
    assert first_nonfinite(np.zeros((2, 2), dtype=np.uint8)) is None
    assert first_nonfinite(np.zeros((0, 2))) is None


def test_description_names_row_and_column() -> None:
    A = np.zeros((4, 3))
    A[2, 1] = np.nan
    assert first_nonfinite(A) == (2, 1)
    says = "X has NaN at row 2, column 1 (counted from 0): mend it or leave that row out."
    with pytest.raises(RowError, match=re.escape(says)):
        check_finite(A)


def test_what_another_type_does_not_hold_is_found() -> None:
    A = np.zeros((900, 300))
    A[[40, 700], 1] = 1e39
    assert first_nonfinite(A) is None
    assert first_nonfinite(A, "float32") == (40, 1)
    assert first_nonfinite(A, "float32", 41) == (700, 1)
    assert first_nonfinite(A, "float32", 701) is None
    says = r"X has 1e\+39 at row 40, column 1 .*: too large for float32"
    with pytest.raises(RowError, match=says):
        check_finite(A, "float32")
