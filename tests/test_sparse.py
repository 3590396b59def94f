"""Sparse inputs: the same bits as dense ones, without ever being dense as a whole."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from nbmlp import MLP, DataError, MLPClassifier, NonFiniteError
from nbmlp.data import check_X
from nbmlp.data.sparse import SparseRows

rng = np.random.default_rng(0)
DENSE = np.where(rng.random((230, 70)) < 0.1, rng.normal(size=(230, 70)), 0.0)
DENSE[7] = 0.0  # an empty row
LABELS = rng.integers(0, 3, 230)


def with_index(matrix, index):
    matrix = matrix.copy()
    matrix.indices, matrix.indptr = matrix.indices.astype(index), matrix.indptr.astype(index)
    return matrix


#: Index, values and the net's type: each has a piece of its own; what a setting changes is the same
#: for all.
KINDS = list(itertools.product(("int32", "int64"), ("float32", "float64"), ("float32", "float64")))
FEW_KINDS = [("int32", "float32", "float32"), ("int64", "float64", "float64")]


def of_kind(*values):
    """Few of the kinds, and only ways of sharing a step, again on other instruction sets."""
    shared = all(not v or "threads" in v for v in values if isinstance(v, dict))
    again = values[:3] in FEW_KINDS and shared
    return pytest.param(*values, marks=pytest.mark.kernels if again else ())


@pytest.mark.parametrize(("index", "values", "dtype"), [of_kind(*kind) for kind in KINDS])
@pytest.mark.parametrize("threads", [1, 3])
def test_training_has_the_bits_of_dense_rows(index, values, dtype, threads):
    X = DENSE.astype(values)
    settings = {"dtype": dtype, "batch_size": 64, "epochs": 3, "threads": threads, "seed": 1}
    dense = MLP(90, **settings).fit(X, LABELS)
    sparse = MLP(90, **settings).fit(with_index(sp.csr_matrix(X), index), LABELS)
    np.testing.assert_array_equal(dense.get_flat(), sparse.get_flat())


@pytest.mark.kernels
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_rows_and_columns_cut_have_the_bits_of_dense_rows(threads):
    """Large enough for each way of sharing a step."""
    X, y = np.repeat(DENSE, 3, axis=0).astype(np.float32), np.repeat(LABELS, 3)
    for batch in (16, 500):
        settings = {"batch_size": batch, "epochs": 2, "threads": threads}
        dense, sparse = (MLP((300, 40), **settings).fit(A, y) for A in (X, sp.csr_array(X)))
        np.testing.assert_array_equal(dense.get_flat(), sparse.get_flat())


def thin(rows, columns, dtype, index="int32", density=0.03):
    """Few values; an empty row, a full one, and a last column that is met."""
    made = np.random.default_rng(1)
    X = np.where(made.random((rows, columns)) < density, made.normal(size=(rows, columns)), 0.0)
    X[3], X[5], X[:, -1] = 0.0, 1.5, np.arange(rows) % 7 == 0
    X = X.astype(dtype)
    return X, with_index(sp.csr_array(X), index)


def of_kinds(*settings):
    """The first with all kinds of rows, the others with few."""
    first = [of_kind(*kind, settings[0]) for kind in KINDS]
    return first + [of_kind(*kind, more) for more in settings[1:] for kind in FEW_KINDS]


@pytest.mark.parametrize(
    ("index", "values", "dtype", "settings"),
    of_kinds(
        {},
        {"threads": 3, "batch_size": 16},
        {"threads": 2, "batch_size": 20, "hidden": (100, 96)},
        {"batch_size": None, "clip_norm": 0.5, "l2": 0.1},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "batch_size": None, "threads": 2},
        {"bias": False, "hidden": (17,)},
        {"max_norm": 0.3, "dropout": 0.2},
        {"hidden": ()},
        {"hidden": (), "classes": 2},
        {"input_dropout": 0.2},
    ),
    ids=str,
)
def test_thin_rows_have_the_bits_of_dense_rows(index, values, dtype, settings):
    """Products over the values alone; 1,000 rows take two sub-batches."""
    X, S = thin(1000, 330, values, index)
    y = np.arange(1000) % settings.get("classes", 4)
    settings = {"hidden": (70,), "dtype": dtype, "batch_size": 64, "epochs": 2, **settings}
    settings.pop("classes", None)
    assert check_X(S).thin
    dense, sparse = (MLP(**settings).fit(A, y) for A in (X, S))
    np.testing.assert_array_equal(dense.get_flat(), sparse.get_flat())
    np.testing.assert_array_equal(dense.predict_proba(X), sparse.predict_proba(S))
    # One model takes both in turn, in the same buffers.
    np.testing.assert_array_equal(dense.predict_proba(S[:5]), sparse.predict_proba(X[:5]))
    np.testing.assert_array_equal(dense.predict_proba(X[5:9]), sparse.predict_proba(S[5:9]))
    dense.partial_fit(S, y)
    sparse.partial_fit(X, y)
    np.testing.assert_array_equal(dense.get_flat(), sparse.get_flat())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_value_of_a_thin_row_is_located(value):
    X, S = thin(200, 330, "float64")
    place = S.indptr[77] - 1
    S.data[place] = value
    where = f"at row 76, column {S.indices[place]}"
    with pytest.raises(NonFiniteError, match=where):
        MLP(3, epochs=1, shuffle=False).fit(S, np.arange(200) % 2)
    with pytest.raises(DataError, match=where):
        MLP(3, epochs=1).fit(X, np.arange(200) % 2).predict(S)


def test_columns_out_of_order_behind_a_flag_that_says_otherwise():
    X, S = thin(50, 330, "float64")
    assert S.has_canonical_format
    for row in range(50):
        span = slice(S.indptr[row], S.indptr[row + 1])
        S.indices[span], S.data[span] = S.indices[span][::-1].copy(), S.data[span][::-1].copy()
    dense, sparse = (MLP(3, epochs=1).fit(A, np.arange(50) % 2) for A in (X, S))
    np.testing.assert_array_equal(dense.get_flat(), sparse.get_flat())


def test_everything_else_takes_sparse_rows_too():
    X = sp.csr_array(DENSE)
    model = MLP(8, epochs=4, dtype="float64").fit(X, LABELS, validation=0.2)
    other = MLP(8, epochs=4, dtype="float64").fit(DENSE, LABELS, validation=0.2)
    np.testing.assert_array_equal(model.get_flat(), other.get_flat())
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(DENSE))
    assert model.evaluate(X, LABELS) == other.evaluate(DENSE, LABELS)
    ours, theirs = (m.loss_and_gradient(A, LABELS) for m, A in ((model, X), (other, DENSE)))
    assert ours[0] == theirs[0]
    np.testing.assert_array_equal(ours[1], theirs[1])
    model.partial_fit(X, LABELS)
    other.partial_fit(DENSE, LABELS)
    np.testing.assert_array_equal(model.get_flat(), other.get_flat())


@pytest.mark.parametrize("make", [sp.csc_matrix, sp.coo_array, sp.lil_matrix, sp.dok_array])
def test_formats(make):
    rows = check_X(make(DENSE))
    assert isinstance(rows, SparseRows)
    np.testing.assert_array_equal(rows.matrix.toarray(), DENSE)


def test_a_dictionary_of_keys_is_no_table():
    settings = {"epochs": 1, "dtype": "float64"}
    ours, dense = (
        MLP(3, **settings).fit(A, LABELS, validation=0.2) for A in (sp.dok_matrix(DENSE), DENSE)
    )
    np.testing.assert_array_equal(ours.get_flat(), dense.get_flat())


def test_duplicates_are_added_up_and_the_users_matrix_stays():
    given = sp.csr_matrix(
        (np.array([1.0, 2.0, 5.0]), np.array([3, 1, 3]), np.array([0, 3, 3])), (2, 4)
    )
    rows = check_X(given)
    np.testing.assert_array_equal(rows[0], [0, 2, 0, 6])
    np.testing.assert_array_equal(given.indices, [3, 1, 3])


def apart(array):
    """The same values, every other element of a larger array."""
    return np.repeat(array, 2)[::2]


def moved(array):
    """The same values, one byte off."""
    raw = np.frombuffer(b"_" + array.tobytes(), np.uint8)
    return raw[1:].view(array.dtype)


@pytest.mark.parametrize(
    "parts",
    [
        {"data": apart},
        {"data": moved},
        {"data": lambda a: a.astype(">f8")},
        {"indices": apart},
        {"indices": lambda a: a.astype(">i4")},
        {"indptr": apart},
        {"indptr": lambda a: a.astype(np.int64)},
        {"indices": lambda a: a.astype(np.int16), "indptr": lambda a: a.astype(np.int16)},
    ],
)
def test_arrays_of_any_layout_and_integer_type(parts):
    given = sp.csr_array(DENSE)
    for name, change in parts.items():
        setattr(given, name, change(getattr(given, name)))
    settings = {"epochs": 1, "dtype": "float64"}
    sparse, dense = (MLP(3, **settings).fit(A, LABELS) for A in (given, DENSE))
    np.testing.assert_array_equal(sparse.get_flat(), dense.get_flat())


def test_bytes_are_shares_of_255_as_dense_ones_are():
    X = (DENSE != 0).astype(np.uint8) * 200
    sparse, dense = (MLP(3, epochs=1).fit(A, LABELS) for A in (sp.csr_array(X), X))
    np.testing.assert_array_equal(sparse.get_flat(), dense.get_flat())
    np.testing.assert_array_equal(sparse.predict_proba(X), dense.predict_proba(sp.csr_array(X)))


def test_values_that_are_missing_are_refused():
    given = sp.csr_array(DENSE)
    given.data = given.data[:5]
    with pytest.raises(DataError, match="damaged CSR matrix"):
        MLP(3).fit(given, LABELS)


def test_whole_numbers_become_floats():
    assert check_X(sp.csr_matrix(np.eye(3, dtype=int))).dtype == np.float32


@pytest.mark.parametrize("column", [-1, 4])
def test_column_numbers_outside_are_refused(column):
    given = sp.csr_matrix((np.ones(2), np.array([0, 1]), np.array([0, 1, 2])), (2, 4))
    given.indices[1] = column
    for options in ({}, {"validation": 0.5}):  # the row is that of the user's matrix
        with pytest.raises(DataError, match=f"row 1 of 2, column {column} of 4"):
            MLP(3).fit(given, [0, 1], **options)


@pytest.mark.parametrize("make", [sp.csc_array, sp.coo_array])
@pytest.mark.parametrize("row", [-1, 10**8])
def test_rows_outside_are_refused_before_scipy_converts_them(make, row):
    given = make(np.eye(3))
    (given.indices if make is sp.csc_array else given.row)[1] = row
    with pytest.raises(DataError, match=f"row {row} of 3, column 1 of 3"):
        MLP(3).fit(given, [0, 1, 1])


@pytest.mark.parametrize("starts", [[0, 3, 2], [1, 2, 2], [0, 1, 5]])
def test_row_starts_that_lie_are_refused(starts):
    given = sp.csr_matrix((np.ones(2), np.array([0, 1]), np.array([0, 1, 2])), (2, 4))
    given.indptr[:] = starts
    for options in ({}, {"validation": 0.5}):
        with pytest.raises(DataError, match="damaged CSR matrix"):
            MLP(3).fit(given, [0, 1], **options)


@pytest.mark.parametrize("model", [MLP(3), MLPClassifier(3)])
@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("indptr", [0, 10**6, 10**6, 2], "its indptr does not rise from 0 to nnz"),
        ("indptr", [0, 1, 2, 10**6], "its indptr does not rise from 0 to nnz"),
        ("indices", [0, -1, 2], "row 2 of 6, column -2 of 6"),
        ("indices", [0, 1, 10**6], "row 4 of 6, column 2000000 of 6"),
    ],
)
def test_damaged_blocks_are_refused_before_scipy_converts_them(model, part, values, message):
    given = sp.bsr_array(np.kron(np.eye(3), np.ones((2, 2))), blocksize=(2, 2))
    getattr(given, part)[:] = values
    with pytest.raises(DataError, match=f"damaged BSR matrix: .*{message}"):
        model.fit(given, [0, 1] * 3)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_an_estimator_refuses_damaged_coordinates_before_scipy_converts_them():
    given = sp.coo_array(np.eye(3))
    fitted = MLPClassifier(3, max_iter=1).fit(np.eye(3), [0, 1, 1])
    given.row[1] = 10**8
    for use in (lambda: MLPClassifier(3).fit(given, [0, 1, 1]), lambda: fitted.predict(given)):
        with pytest.raises(DataError, match="row 100000000 of 3, column 1 of 3"):
            use()


def test_what_lies_behind_the_last_row_is_not_looked_at():
    given = sp.csr_array(DENSE)
    given.data = np.append(given.data, np.nan)
    given.indices = np.append(given.indices, 0)
    model = MLP(3, epochs=1).fit(given, LABELS, validation=(given, LABELS))
    assert np.isfinite(model.history[-1].val_loss)


def test_a_nan_is_located():
    X = sp.csr_matrix(DENSE)
    row = int(np.searchsorted(X.indptr, 40, side="right")) - 1
    X.data[40] = np.nan
    with pytest.raises(NonFiniteError, match=f"row {row}, column {X.indices[40]}") as error:
        MLP(3, epochs=1).fit(X, LABELS)
    assert (error.value.row, error.value.column) == (row, X.indices[40])
    model = MLP(3, epochs=1).fit(DENSE, LABELS)
    with pytest.raises(DataError, match=f"row {row}, column {X.indices[40]}"):
        model.predict(X)


def test_columns_of_sparse_rows_are_not_scaled():
    with pytest.raises(DataError, match="leave standardise out"):
        MLP(3, standardise=True).fit(sp.csr_matrix(DENSE), LABELS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("train", [MLP(4, epochs=1), MLPClassifier((4,), max_iter=1)])
def test_only_a_batch_is_ever_dense(train):
    """20,000 x 20,000: 3.2 GB if it were."""
    X = sp.random_array((20_000, 20_000), density=1e-4, format="csr", rng=0)
    y = np.arange(20_000) % 2
    tracemalloc.start()
    train.fit(X, y).predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e8
