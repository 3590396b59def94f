"""NaN and infinity in data, weights and dynamics: met at once, named, and the weights stay good."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nbmlp import MLP
from nbmlp.errors import DataError, NonFiniteError
from tests import children

SETTINGS = {"hidden": (17, 5), "batch_size": 20, "schedule": "constant", "epochs": 3, "seed": 2}


def fails(settings: dict[str, Any], X: np.ndarray, y: np.ndarray) -> tuple[MLP, NonFiniteError]:
    """A fit that must stop, with the weights of a whole number of steps."""
    model = MLP(**settings)
    with pytest.raises(NonFiniteError) as caught:
        model.fit(X, y)
    error = caught.value
    assert model.net.state.step == error.step
    expected = children.whole_steps(settings, X, y, error.step)
    np.testing.assert_array_equal(model.get_flat(), expected)
    return model, error


class TestInputs:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("kind", ["float32", "float64"])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_row_and_column_are_named(self, value, kind, dtype, threads):
        X, y = children.rows(150, kind=kind)
        X[97, 11] = value
        model, error = fails({**SETTINGS, "dtype": dtype, "threads": threads}, X, y)
        assert (error.row, error.column, error.layer) == (97, 11, None)
        assert str(error) == (
            f"X has {value} at row 97, column 11 (counted from 0): training stopped before"
            f" update {error.step + 1},"
            " the weights are as before it; mend or drop that row, e.g. with"
            " on_nonfinite='drop_rows'."
        )
        X[97, 11] = 0.0
        assert np.isfinite(model.outputs(X)).all()
        before = model.get_flat()
        model.partial_fit(X, y)
        assert not np.array_equal(model.get_flat(), before)
        assert model.net.state.step == error.step + 8

    def test_the_first_row_of_several(self):
        X, y = children.rows(100)
        X[[30, 31, 70], [2, 1, 0]] = np.nan
        settings = {**SETTINGS, "shuffle": False, "threads": 2}
        _, error = fails(settings, X, y)
        assert (error.row, error.column, error.step) == (30, 2, 1)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_in_steps_cut_by_columns(self, threads):
        X, y = children.rows(60)
        X[[41, 44], [7, 8]] = np.nan
        settings = {**SETTINGS, "hidden": (300, 280), "batch_size": 6, "shuffle": False}
        _, error = fails({**settings, "threads": threads}, X, y)
        assert (error.row, error.column, error.step) == (41, 7, 6)

    @pytest.mark.parametrize("row", [0, 1023, 1024, 1999])
    def test_nothing_of_a_large_batch_counts_when_a_part_of_it_is_bad(self, row):
        X, y = children.rows(2000)
        X[row, 19] = np.inf
        _, error = fails({**SETTINGS, "batch_size": None, "shuffle": False}, X, y)
        assert (error.row, error.column, error.step) == (row, 19, 0)

    def test_lbfgs(self):
        X, y = children.rows(100)
        X[5, 6] = np.nan
        model = MLP(5, optimizer="lbfgs")
        with pytest.raises(NonFiniteError, match="X has nan at row 5, column 6"):
            model.fit(X, y)
        np.testing.assert_array_equal(model.get_flat(), MLP(5).build(X, y).get_flat())

    @pytest.mark.filterwarnings("ignore:X has .* beyond anything else:nbmlp.TrainingWarning")
    def test_too_large_for_the_net(self):
        X, y = children.rows(100, kind="float64")
        X[8, 3] = 1e50
        _, error = fails(SETTINGS, X, y)
        assert (error.row, error.column) == (8, 3)
        assert "X has 1e+50 at row 8, column 3" in str(error)
        assert len(MLP(**SETTINGS, dtype="float64").fit(X, y).history) == 3

    @pytest.mark.parametrize("kind", ["float32", "float64"])
    def test_predict(self, kind):
        X, y = children.rows(500, kind=kind)
        model = MLP(**SETTINGS).fit(X, y)
        expected = model.outputs(X)
        for value, row, column in [(np.nan, 0, 0), (np.inf, 499, 19), (-np.inf, 250, 7)]:
            bad = X.copy()
            bad[row, column] = value
            named = f"X has {value} at row {row}, column {column} .*: predictions need finite"
            for use in (model.predict, model.predict_proba, lambda Z: model.evaluate(Z, y)):
                with pytest.raises(DataError, match=named):
                    use(bad)
        np.testing.assert_array_equal(model.outputs(X), expected)
        if kind == "float64":
            bad[250, 7] = 1e39
            with pytest.raises(DataError, match=r"X has 1e\+39 at row 250, column 7"):
                model.predict(bad)

    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_predict_names_the_first_row_whichever_thread_meets_one_first(self, threads):
        X, y = children.rows(3000)
        model = MLP(**{**SETTINGS, "threads": threads}).fit(X, y)
        X[[17, 1200, 1201, 2999], 3] = np.nan
        for _ in range(20):
            with pytest.raises(DataError, match="X has nan at row 17, column 3"):
                model.predict(X)

    def test_validation_rows(self):
        X, y = children.rows(100)
        bad = X.copy()
        bad[40, 2] = np.nan
        model = MLP(**SETTINGS).fit(X, y)
        before = model.get_flat()
        with pytest.raises(DataError, match="validation X has NaN at row 40, column 2"):
            model.fit(X, y, validation=(bad, y))
        np.testing.assert_array_equal(model.get_flat(), before)


class TestTargets:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_targets(self, value):
        X, _ = children.rows(100)
        y = X[:, :2].copy()
        model = MLP(**SETTINGS).fit(X, y)
        before = model.get_flat()
        y[61, 1] = value
        with pytest.raises(DataError, match=r"y has .* at row 61, column 1"):
            model.fit(X, y)
        with pytest.raises(DataError, match=r"y has .* at row 61, column 1"):
            model.partial_fit(X, y)
        np.testing.assert_array_equal(model.get_flat(), before)

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            (np.nan, "sample_weight has NaN at row 9"),
            (np.inf, "sample_weight has an infinite value at row 9"),
            (-0.5, "sample_weight is -0.5 at row 9 .*: weights must be 0 or more"),
        ],
    )
    def test_weights(self, value, sentence):
        X, y = children.rows(100)
        weights = np.ones(100)
        weights[9] = value
        with pytest.raises(DataError, match=sentence):
            MLP(**SETTINGS).fit(X, y, sample_weight=weights)


class TestDynamics:
    @pytest.mark.parametrize(
        ("optimizer", "dtype"),
        [
            ("sgd(1e30)", "float32"), ("sgd(1e30)", "float64"), ("rmsprop(1e38)", "float32"),
            ("sgd(1e25, momentum=0.9)", "float64"), ("adam(1e30)", "float32"),
            ("adam(1e160)", "float64"),
        ],
    )  # fmt: skip
    def test_a_learning_rate_that_is_too_high(self, optimizer, dtype):
        X, _ = children.rows(100)
        settings = {**SETTINGS, "optimizer": optimizer, "dtype": dtype, "epochs": 60}
        settings |= {"task": "regression", "batch_size": 30}
        _, error = fails(settings, X, X[:, :2] * 3)
        assert error.layer in (1, 2, 3)
        assert error.column is None
        assert "lower the learning rate" in str(error)

    def test_squares_that_overflow_do_not_stop_training_in_silence(self):
        X, _ = children.rows(60)
        settings = {**SETTINGS, "task": "regression", "loss": "huber", "optimizer": "adagrad"}
        settings |= {"hidden": (), "init": "zeros", "batch_size": None}
        model = MLP(**settings)
        with pytest.raises(NonFiniteError, match="optimizer's sum_square of W1 became infinite"):
            model.fit(X * 1e25, X[:, 0] * 1e3)
        assert not model.get_flat().any()
        assert np.isfinite(model.net.state.slots).all()

    @pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "gelu", "silu", "mish"])
    def test_activations_do_not_hide_nan(self, activation):
        X, y = children.rows(60)
        model = MLP(**{**SETTINGS, "activation": activation}).build(X, y)
        model.weights[0][::2] = 3e38
        model.weights[0][1::2] = -3e38
        before = model.get_flat()
        with pytest.raises(NonFiniteError) as caught:
            model.partial_fit(np.abs(X) * 100, y)  # inf - inf
        assert (caught.value.layer, caught.value.step) == (1, 0)
        np.testing.assert_array_equal(model.get_flat(), before)

    def test_weights_that_were_bad_before(self):
        X, y = children.rows(60)
        model = MLP(**SETTINGS).fit(X, y)
        model.weights[1][0, 0] = np.nan
        with pytest.raises(NonFiniteError, match="NaN or infinite values before any update"):
            model.partial_fit(X, y)
        with pytest.raises(DataError, match="the parameters given have nan at position 357"):
            model.set_flat(model.get_flat())
        assert len(model.fit(X, y).history) == 3

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("size", [1e4, 1e6])
    def test_large_logits(self, dtype, classes, size):
        X, y = children.rows(60)
        y = y % classes
        settings = {**SETTINGS, "hidden": (), "dtype": dtype, "bias": False}
        model = MLP(**settings).build(X, y)
        model.weights[0][:] = 0.0
        model.weights[0][0] = np.linspace(-size, size, model.model_spec.n_outputs + 1)[1:]
        logits = X.astype(dtype) @ model.weights[0]
        assert np.abs(logits).max() > size
        loss, gradient = model.loss_and_gradient(X, y)
        if classes == 2:
            expected = np.maximum(logits[:, 0], 0) - logits[:, 0] * y
        else:
            expected = logits.max(axis=1) - logits[np.arange(60), y]
        assert loss == pytest.approx(expected.mean(), rel=1e-5)
        assert np.isfinite(gradient).all()
        assert np.isfinite(model.predict_proba(X)).all()
        assert model.evaluate(X, y)["loss"] == pytest.approx(loss, rel=1e-6)
        model.partial_fit(X, y)


@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_are_told_even_where_their_loss_is_not_finite(threads: int) -> None:
    X = children.rows(700)[0]
    model = MLP(hidden=4, epochs=1, seed=0, threads=threads, task="regression").fit(X, X[:, 0])
    model.weights[0][:] = 1e30
    model.weights[1][:] = np.array([[3e30], [-3e30], [3e30], [-3e30]])
    outputs, loss = model.predictor.outputs_and_loss(model.net.rows(X, X[:, 0]))
    assert np.isnan(loss)
    np.testing.assert_array_equal(outputs, model.outputs(X))
