"""What a value that is not finite is said to come from, and what may be done about it."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import nbmlp
from nbmlp import MLP, DataError, MLPRegressor, NonFiniteError, SpecError, TrainingWarning
from nbmlp.failures.explain import explain
from nbmlp.rows import Names
from nbmlp.train.engine import Engine
from tests import children

SETTINGS: dict[str, Any] = {
    "hidden": (17, 5), "batch_size": 20, "schedule": "constant", "epochs": 3, "seed": 2,
}  # fmt: skip
REGRESSION: dict[str, Any] = {**SETTINGS, "task": "regression"}


def numbers(n: int = 300, columns: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, columns))
    return X, X @ rng.normal(size=columns)


def failure(model: MLP, X: Any, y: Any, **options: Any) -> NonFiniteError:
    with pytest.raises(NonFiniteError) as caught:
        model.fit(X, y, **options)
    return caught.value


# -- the operation


def too_large(values: np.ndarray) -> np.ndarray:
    """In float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        return ~np.isfinite(np.asarray(values, np.float32))


def first_bad_by_numpy(
    x: np.ndarray, y: np.ndarray, weights: list[np.ndarray], act: str, rate: float
) -> tuple[str, list[int]]:
    """Operation and rows, by plain algebra in float64: a net of two layers and squared error."""
    W1, W2 = (W.astype(np.float64) for W in weights)
    z1 = x @ W1
    with np.errstate(over="ignore"):
        a1 = np.exp(z1) if act == "exp" else np.maximum(z1, 0)
    z2 = a1 @ W2
    loss = 0.5 * (z2 - y) ** 2
    delta2 = z2 - y
    slope = a1 if act == "exp" else (z1 > 0)
    delta1 = (delta2 @ W2.T) * slope
    g1, g2 = x.T @ delta1 / len(x), a1.T @ delta2 / len(x)
    steps = {
        "product z of layer 1": z1, "activation of layer 1": a1, "product z of layer 2": z2,
        "loss": loss, "delta of layer 1": delta1, "gradient of W1": g1, "gradient of W2": g2,
        "optimizer's velocity of W1": g1, "update of W1": W1 - rate * g1,
        "optimizer's velocity of W2": g2, "update of W2": W2 - rate * g2,
    }  # fmt: skip
    for name, values in steps.items():
        bad = too_large(values)
        if bad.any():
            in_batch = not name.startswith(("gradient", "update", "optimizer"))
            return name, np.flatnonzero(bad.any(axis=1)).tolist() if in_batch else []
    return "", []


#: Sizes of inputs, W1, W2 and targets; the learning rate; the activation; what overflows.
OVERFLOWS = [
    (1e20, 1e20, 1.0, 1.0, 0.1, "relu", "product z of layer 1"),
    (8.0, 8.0, 1e-9, 1.0, 0.1, "exp", "activation of layer 1"),
    (1e18, 1e10, 1e15, 1.0, 0.1, "relu", "product z of layer 2"),
    (1e10, 1e5, 1e10, 1.0, 0.1, "relu", "loss"),
    (1e-10, 1e-10, 1e25, 1e18, 0.1, "relu", "delta of layer 1"),
    (1e10, 1e-20, 1e18, 1e17, 0.1, "relu", "gradient of W1"),
    (1e15, 1e6, 1e-5, 1e18, 0.1, "relu", "gradient of W2"),
    (1.0, 1.0, 1e12, 1e10, 1e20, "relu", "update of W1"),
    (1.0, 1e10, 1e-20, 1e18, 1e15, "relu", "update of W2"),
]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("x", "w1", "w2", "t", "rate", "act", "expected"), OVERFLOWS)
def test_the_first_operation_that_overflows(x, w1, w2, t, rate, act, expected, threads):
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(40, 6)) * x, rng.normal(size=(40, 1)) * t
    model = MLP(
        (7,), activation=act, task="regression", bias=False, batch_size=10, shuffle=False,
        optimizer=f"sgd({rate})", schedule="constant", threads=threads,
    )  # fmt: skip
    model.build(X, y)
    for W, size in zip(model.weights, (w1, w2), strict=True):
        W[...] = rng.normal(size=W.shape) * size
    kept = [W.copy() for W in model.weights]
    name, rows = first_bad_by_numpy(X[:10], y[:10], kept, act, rate)
    assert name == expected
    with pytest.raises(NonFiniteError) as caught:
        model.partial_fit(X, y)
    error = caught.value
    assert (error.operation, list(error.rows), error.step) == (name, rows, 0)
    assert error.layer == int(name[-1]) if name != "loss" else error.layer == 2
    assert list(error.batch_rows) == list(range(10))
    assert (error.blame, error.column) == ("dynamics", None)
    assert str(error).startswith(f"the {name} became ")
    for W, before in zip(model.weights, kept, strict=True):
        np.testing.assert_array_equal(W, before)


def test_biases_and_vectors_of_the_optimizer_are_told_apart():
    X, y = numbers(60)
    bias = MLP((), task="regression", optimizer="sgd(1e30)", init="zeros", batch_size=None)
    error = failure(bias, X * 1e-25, y * 0 + 1e12)
    assert error.operation == "update of b1"
    squares = MLP((), task="regression", loss="huber(1e30)", optimizer="adam", init="zeros")
    error = failure(squares, X, y * 0 + 1e22)
    assert error.operation == "loss"
    huber = MLP((), task="regression", loss="huber", optimizer="adam", init="zeros")
    error = failure(huber, X * 1e25, y * 1e3)
    assert error.operation == "optimizer's mean_square of W1"


# -- the step


@pytest.mark.filterwarnings("ignore:the training loss has not moved")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adam(1e30)"},
        {"optimizer": "sgd(30, momentum=0.9)", "gradient_norms": True},
        {"optimizer": "rmsprop(1e36)", "dropout": 0.2},
        {"optimizer": "sgd(30)", "batch_size": 700},
        {"optimizer": "sgd(300)", "hidden": (300, 280), "batch_size": 6},
        {"optimizer": "sgd(30)", "clip_norm": 1e30},
    ],
)
def test_weights_and_vectors_are_those_right_before_the_bad_update(changes, threads):
    X, y = numbers(900)
    settings = {**REGRESSION, "epochs": 60, "threads": threads, **changes}
    model = MLP(**settings)
    error = failure(model, X, y)
    assert model.net.state.step == error.step
    expected = children.whole_steps(settings, X, y, error.step)
    np.testing.assert_array_equal(model.get_flat(), expected)
    np.testing.assert_array_equal(error.bundle.state.slots, model.net.state.slots)
    assert np.isfinite(model.net.state.slots).all()


def test_nothing_depends_on_threads():
    X, y = numbers(900)
    found = []
    for threads in (1, 2):
        model = MLP(**REGRESSION, optimizer="adam(1e37)", threads=threads, dropout=0.3)
        error = failure(model, X, y)
        found.append((str(error), error.rows, error.units, error.bundle.notes))
    assert found[0] == found[1]


# -- rows and columns


def test_all_bad_rows_and_columns_of_the_batch_are_listed():
    X, y = numbers(600)
    X[[3, 40, 41, 590], [4, 0, 2, 2]] = np.nan
    error = failure(MLP(**{**REGRESSION, "batch_size": None}), X, y)
    assert (error.rows, error.columns) == ((3, 40, 41, 590), (0, 2, 4))
    assert (error.row, error.column, error.operation, error.blame) == (3, 4, "input", "data")
    assert [(c.row, c.column) for c in error.cells] == [(3, 4), (40, 0), (41, 2), (590, 2)]
    assert "one of 4 such rows in the batch (3, 40, 41, 590): training" in str(error)
    np.testing.assert_array_equal(error.batch_rows, np.arange(600))


@pytest.mark.parametrize("form", ["dense", "sparse", "float64"])
def test_rows_keep_their_numbers_when_some_are_set_aside(form):
    X, y = children.rows(400)
    for row in (137, 222, 301):
        bad = X.astype(np.float64 if form == "float64" else np.float32)
        bad[row, 7] = np.nan
        given = sp.csr_array(bad) if form == "sparse" else bad
        model = MLP(**SETTINGS, dtype="float64" if form == "float64" else "float32")
        with pytest.raises((NonFiniteError, DataError), match=f"row {row}, column 7|validation"):
            model.fit(given, y, validation=0.1)
    error = failure(MLP(**SETTINGS), np.where(X[137, 7] == X, np.nan, X), y, validation=0.3)
    named = failure(
        MLP(**SETTINGS), np.where(X[137, 7] == X, np.nan, X), y, validation=0.3,
        row_numbers=np.arange(400) + 1000,
    )  # fmt: skip
    assert (error.row, named.row) == (137, 1137)


def test_row_numbers_must_fit():
    X, y = numbers(60)
    with pytest.raises(DataError, match="row_numbers has 3 rows and X has 60"):
        MLP(**REGRESSION).fit(X, y, row_numbers=[1, 2, 3])
    with pytest.raises(DataError, match="whole numbers"):
        MLP(**REGRESSION).fit(X, y, row_numbers=X[:, 0])


# -- who is to blame


@pytest.mark.filterwarnings("ignore:X has .* beyond anything else:nbmlp.TrainingWarning")
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_huge_input_is_to_blame(kind):
    X, y = numbers()
    X = X.astype(kind)
    X[211, 3] = 1e30
    error = failure(MLP(**REGRESSION, optimizer="sgd"), X, y)
    assert (error.blame, error.row, error.column) == ("data", 211, 3)
    assert error.operation == "loss"
    assert 211 in error.rows
    assert "X has 1e+30 at row 211, column 3" in str(error)
    assert error.cells[0] == ("X", 211, 3, np.array(1e30, kind))


def test_a_huge_input_of_sparse_rows_is_to_blame():
    X = sp.random_array((200, 400), density=0.02, rng=np.random.default_rng(0)).tocsr()
    row = 150
    place = X.indptr[row]
    X.data[place] = 1e30
    model = MLP((8,), task="regression", optimizer="sgd", batch_size=20)
    error = failure(model, X, np.arange(200.0) / 200)
    assert (error.row, error.column) == (row, X.indices[place])


def test_a_huge_target_is_to_blame():
    X, y = numbers()
    y[17] = -1e25
    error = failure(MLP(**REGRESSION), X, y, validation=(X[:5], y[:5]))
    assert (error.blame, error.row, error.cells[0].array) == ("data", 17, "y")
    assert "y has -1e+25 at row 17, column 0" in str(error)


@pytest.mark.filterwarnings("ignore:X has .* beyond anything else:nbmlp.TrainingWarning")
def test_a_huge_value_of_an_earlier_batch_is_to_blame():
    X, y = numbers()
    X[5, 1] = 1e12
    error = failure(MLP(**REGRESSION, shuffle=False, optimizer="sgd(0.1)"), X, y)
    assert error.step > 0
    assert 5 not in error.batch_rows or error.step > 14
    assert (error.blame, error.row, error.column) == ("data", 5, 1)


def test_sound_data_are_not_blamed():
    X, y = numbers()
    X = np.exp(2 * X)  # heavy tails
    error = failure(MLP(**REGRESSION, optimizer="sgd(1e6)"), X, y)
    assert (error.blame, error.cells) == ("dynamics", ())
    bytes_, labels = children.rows(200, kind="uint8")
    error = failure(MLP(**SETTINGS, optimizer="sgd(1e38)", output="softmax"), bytes_, labels)
    assert error.blame == "dynamics"


def test_columns_that_a_plan_has_made_are_named():
    rng = np.random.default_rng(0)
    table = {"size": rng.normal(size=100), "town": np.array(["Bonn", "Ulm"] * 50)}
    y = table["size"] * 2
    y[40] = 1e36
    model = MLP(**{**REGRESSION, "batch_size": 10, "standardise": True, "output": "exp"})
    assert failure(model, table, y).cells[0].array == "y"


# -- what to do about it


def poisoned() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    X, y = numbers()
    X[30, 2], X[77, 4], X[78, 4] = np.nan, np.inf, -np.inf
    y[200] = np.nan
    return X, y, np.array([30, 77, 78, 200])


@pytest.mark.parametrize("form", ["array", "table", "sparse"])
def test_rows_are_dropped(form):
    X, y, bad = poisoned()
    keep = np.delete(np.arange(300), bad)

    def shaped(A: np.ndarray) -> Any:
        forms = {"table": {f"x{j}": A[:, j] for j in range(5)}, "sparse": sp.csr_array(A)}
        return forms.get(form, A)

    weight = np.arange(300.0)
    model = MLP(**REGRESSION, on_nonfinite="drop_rows")
    with pytest.warns(TrainingWarning, match=r"4 rows left out \(30, 77, 78, 200\)"):
        model.fit(shaped(X), y, sample_weight=weight)
    same = MLP(**REGRESSION).fit(shaped(X[keep]), y[keep], sample_weight=weight[keep])
    np.testing.assert_array_equal(model.get_flat(), same.get_flat())
    assert model.history.rows_dropped == 4
    with pytest.warns(TrainingWarning, match="4 rows left out"):
        model.partial_fit(shaped(X), y)
    assert model.history.rows_dropped == 8


def test_values_are_imputed():
    X, y, _ = poisoned()
    mended = X.copy()
    for row, column in ((30, 2), (77, 4), (78, 4)):
        mended[row, column] = np.median(X[np.isfinite(X[:, column]), column])
    keep = np.delete(np.arange(300), 200)
    same = MLP(**REGRESSION).fit(mended[keep], y[keep])
    for given in (X, sp.csr_array(X)):
        model = MLP(**REGRESSION, on_nonfinite="impute")
        with pytest.warns(TrainingWarning, match="2, 4: 1 row left out .* 3 values replaced"):
            model.fit(given, y)
        np.testing.assert_array_equal(model.get_flat(), same.get_flat())
        assert (model.history.values_imputed, model.history.rows_dropped) == (3, 1)
    assert np.isnan(X[30, 2])
    X[:, 3] = np.nan
    with pytest.raises(DataError, match="column 3 of X has no finite value"):
        model.fit(X, y)
    model = MLP(**REGRESSION, on_nonfinite="drop_rows")
    with pytest.raises(DataError, match="none is left"):
        model.fit(X, y)


def test_rows_that_are_left_keep_their_numbers():
    X, y, _ = poisoned()
    y[250] = 1e30
    model = MLP(**REGRESSION, on_nonfinite="drop_rows")
    with pytest.warns(TrainingWarning, match="4 rows"):
        error = failure(model, X, y, validation=(X, y))
    assert error.row == 250


def test_a_warning_ends_training_with_good_weights():
    X, y, _ = poisoned()
    y[200] = 0.0
    model = MLP(**REGRESSION, on_nonfinite="warn")
    with pytest.warns(TrainingWarning, match="training stopped: X has"):
        model.fit(X, y)
    assert model.history.stop_reason.startswith("X has")
    assert np.isfinite(model.get_flat()).all()
    assert model.net.state.step == children_step(model, X, y)


def children_step(model: MLP, X: np.ndarray, y: np.ndarray) -> int:
    return failure(MLP(**REGRESSION), X, y).step


def test_bad_batches_are_ignored_and_counted():
    X, y, _ = poisoned()
    y[200] = 0.0
    settings = {**REGRESSION, "shuffle": False, "optimizer": "sgd(0.01)", "epochs": 2}
    model = MLP(**settings, on_nonfinite="ignore")
    with pytest.warns(TrainingWarning, match="4 batches .* left out; the first: X has nan"):
        model.fit(X, y)
    assert model.history.batches_skipped == 4
    assert model.net.state.step == 30
    assert nbmlp.History.from_dict(model.history.to_dict()).batches_skipped == 4
    # Rows 20 to 39 and 60 to 79 were never learned from.
    keep = np.setdiff1d(np.arange(300), [*range(20, 40), *range(60, 80)])
    same = MLP(**settings).build(X[keep], y[keep])
    same.fit(X[keep], y[keep])
    np.testing.assert_array_equal(model.get_flat(), same.get_flat())


def test_ignored_rows_are_not_validated_on():
    X, y = numbers()
    X[::15, 0] = np.nan
    model = MLP(**{**REGRESSION, "batch_size": 5}, on_nonfinite="ignore")
    with pytest.warns(TrainingWarning) as caught:
        model.fit(X, y, validation=0.5)
    said = [str(w.message) for w in caught]
    assert said[0].startswith("validation data: NaN or infinite values in column 0: ")
    assert np.isfinite(model.history.val_loss).all()
    dropped = model.history.rows_dropped
    assert 0 < dropped < 20
    assert model.history.batches_skipped > 0


def test_data_that_were_changed_meanwhile():
    """What is gone when the update is repeated is still no reason to go on."""
    X, y = numbers(100)
    X[50] = np.nan

    model = MLP(**REGRESSION)
    rows = model.build(X, y).net.rows(X, y)
    engine = Engine(
        model.model_spec, model.train_spec, model.net.state, rows, 1, explain=explain
    )  # fmt: skip
    engine.start_epoch(np.full(engine.steps_per_epoch, 0.01))
    engine._good = lambda: X.__setitem__(50, 0.0)  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="do not change the data while"):
        engine.region()


def test_an_engine_alone_tells_the_bare_fact():
    X, y = numbers(100)
    X[50] = np.nan
    model = MLP(**REGRESSION).build(X, y)
    rows = model.net.rows(X, y, names=Names.of(np.arange(100) + 1000))
    train = model.train_spec.with_(shuffle=False)
    engine = Engine(model.model_spec, train, model.net.state, rows, 1)
    engine.start_epoch(np.full(engine.steps_per_epoch, 0.01))
    with pytest.raises(
        NonFiniteError, match=r"in update 3; the weights are .* it\.$"
    ) as told:
        engine.region()
    assert told.value.step == model.net.state.step == 2
    np.testing.assert_array_equal(told.value.batch_rows, np.arange(1040, 1060))


@pytest.mark.filterwarnings("ignore:X has .* beyond anything else:nbmlp.TrainingWarning")
def test_an_update_that_spoils_the_weights_is_ignored_exactly():
    X, y = numbers()
    X[100, 0] = 1e18
    settings = {**REGRESSION, "shuffle": False, "optimizer": "sgd(0.01)", "epochs": 1}
    settings |= {"hidden": (), "l2": 1e-3}
    model = MLP(**settings, on_nonfinite="ignore")
    X[100, 0] = 1e25  # the gradient is finite, the weights are too, their product is not
    y[100] = 1e15
    with pytest.warns(TrainingWarning, match="left out"):
        model.fit(X, y)
    keep = np.setdiff1d(np.arange(300), range(100, 120))
    np.testing.assert_array_equal(
        model.get_flat(), MLP(**settings).fit(X[keep], y[keep]).get_flat()
    )


def test_too_many_bad_batches_in_a_row_are_not_ignored():
    X, y = numbers()
    X[20:240:20, 0] = np.nan
    model = MLP(**REGRESSION, shuffle=False, on_nonfinite="ignore")
    assert failure(model, X, y).step == 11
    X[100, 0] = 0.0
    with pytest.warns(TrainingWarning, match="30 batches"):
        MLP(**REGRESSION, shuffle=False, on_nonfinite="ignore").fit(X, y)


def test_the_setting_is_checked():
    with pytest.raises(SpecError, match="on_nonfinite='drop': choose raise or warn or"):
        MLP(on_nonfinite="drop")


# -- estimators


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_name_the_row_of_the_data_given():
    X, y = numbers()
    X[100:110, 1] = 1e200 * np.arange(100, 110)
    settings = {"hidden_layer_sizes": (5,), "random_state": 1, "early_stopping": True}
    model = MLPRegressor(**settings, on_nonfinite="warn", solver="sgd")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    said = [str(w.message) for w in caught if issubclass(w.category, TrainingWarning)]
    assert "X has 1.0" in said[0]
    with pytest.raises(ValueError, match="non-finite parameter weights") as error:
        MLPRegressor(**settings | {"early_stopping": False}, solver="sgd").fit(X, y)
    cause = error.value.__cause__
    assert isinstance(cause, NonFiniteError)
    assert cause.cells
    assert [c.value / 1e200 for c in cause.cells] == pytest.approx([c.row for c in cause.cells])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("policy", ["drop_rows", "impute"])
@pytest.mark.parametrize("frame", [False, True])
def test_estimators_drop_and_impute(policy, frame):
    X, y, bad = poisoned()
    settings = {"hidden_layer_sizes": (5,), "random_state": 1, "max_iter": 3}
    given: Any = X
    if frame:
        given = pytest.importorskip("pandas").DataFrame(X, columns=list("abcde"))
    with pytest.warns(TrainingWarning, match="left out"):
        model = MLPRegressor(**settings, on_nonfinite=policy).fit(given, y)
    assert list(getattr(model, "feature_names_in_", [])) == list("abcde") * frame
    if policy == "drop_rows":
        keep = np.delete(np.arange(300), bad)
        same = MLPRegressor(**settings).fit(X[keep], y[keep])
        np.testing.assert_array_equal(model.coefs_[0], same.coefs_[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_ignore_a_batch():
    X, y = numbers()
    X[123, 1] = 1e200
    settings = {"hidden_layer_sizes": (5,), "random_state": 1, "max_iter": 3, "solver": "sgd"}
    model = MLPRegressor(**settings, batch_size=20, on_nonfinite="ignore")
    with pytest.warns(TrainingWarning, match="3 batches .*row 123, column 1"):
        model.fit(X, y)
    assert np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.coefs_[0]).all()


# -- errors travel


def test_errors_can_be_pickled():
    X, y, _ = poisoned()
    y[200] = 0.0
    error = failure(MLP(**REGRESSION), X, y)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.row, again.column, again.rows) == (error.row, error.column, error.rows)
