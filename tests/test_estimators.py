"""The drop-in estimators: scikit-learn's own tests, its answers, and what is ours beside it."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import parity
import pytest
import sklearn.neural_network
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

import nbmlp
from nbmlp import MLPClassifier, MLPRegressor
from nbmlp.estimators.rules import rule_of

TESTS = Path(__file__).parent
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(120, 6)), rng.normal(size=(120, 2))
LABELS = np.array(["no", "perhaps", "yes"])[np.digitize(X[:, 0], [-0.4, 0.4])]
quiet = pytest.mark.filterwarnings("ignore")


#: Threads, in another process, beside others that test.
ONE = {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def test_scikit_learns_own_tests_pass():
    """All 59: two of them would be skipped without pandas."""
    pytest.importorskip("pandas", reason="scikit-learn's tests of feature names need pandas")
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider",
         "-p", "drop_in", "--pyargs", "sklearn.neural_network.tests.test_mlp"],
        env=os.environ | ONE | {"PYTHONPATH": os.pathsep.join(paths)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "59 passed" in done.stdout


def checks():
    for estimator in (MLPClassifier(), MLPRegressor()):
        for model, check in estimator_checks_generator(estimator):
            name = f"{type(model).__name__}-{getattr(check, 'func', check).__name__}"
            yield pytest.param(model, check, id=name)


CHECKS = list(checks())


@quiet
@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_check_estimator(estimator, check):
    check(estimator)


def test_weights_of_rows_are_checked_dense_and_sparse():
    for kind in ("MLPClassifier", "MLPRegressor"):
        for data in ("dense", "sparse"):
            assert any(
                p.id.startswith(kind) and f"sample_weight_equivalence_on_{data}_data" in p.id
                for p in CHECKS
            )


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_the_same_weights_as_scikit_learn(first):
    """200 settings drawn at random, half of them in tests/soak: weights, loss curves, epochs."""
    found = [parity.compare(seed) for seed in range(first, first + 20)]
    assert [f for f in found if f not in ("same", "chaotic")] == []
    assert found.count("chaotic") <= 2


@quiet
@pytest.mark.parametrize("extreme", [{"solver": "sgd", "momentum": 1.0}, {"epsilon": 1e-40}])
def test_the_ends_of_ranges(extreme):
    models = [p.MLPRegressor(**FEW | extreme).fit(X, Y) for p in (nbmlp, sklearn.neural_network)]
    np.testing.assert_allclose(*map(parity.parameters, models), atol=1e-12)


@quiet
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_lbfgs_ends_at_the_same_loss(kind, activation):
    y = LABELS if kind == "MLPClassifier" else Y
    settings = {"solver": "lbfgs", "activation": activation, "max_iter": 40, "random_state": 3}
    ours, theirs = (
        getattr(package, kind)((12,), alpha=0.1, **settings).fit(X, y)
        if kind == "MLPClassifier"
        else getattr(package, kind)(hidden_layer_sizes=(12,), alpha=0.1, **settings).fit(X, y)
        for package in (nbmlp, sklearn.neural_network)
    )
    assert ours.loss_ == pytest.approx(theirs.loss_, abs=1e-5)


@quiet
def test_partial_fits_and_warm_starts_go_on_like_scikit_learns():
    for start in ("partial", "warm"):
        models = [
            package.MLPClassifier((9,), solver="adam", max_iter=3, random_state=1,
                                  warm_start=start == "warm")
            for package in (nbmlp, sklearn.neural_network)
        ]  # fmt: skip
        for model in models:
            for _ in range(3):
                if start == "warm":
                    model.fit(X, LABELS)
                else:
                    model.partial_fit(X[:50], LABELS[:50], classes=np.unique(LABELS))
        ours, theirs = models
        np.testing.assert_allclose(parity.parameters(ours), parity.parameters(theirs), atol=1e-12)
        assert ours.t_ == theirs.t_
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, atol=1e-12)


@quiet
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fits_go_on_with_the_settings_of_the_first(solver):
    models = [p.MLPRegressor(**FEW, solver=solver) for p in (nbmlp, sklearn.neural_network)]
    changes = {"learning_rate_init": 0.1, "momentum": 0.1, "beta_1": 0.1, "epsilon": 0.1}
    for model in models:
        model.partial_fit(X, Y).set_params(**changes).partial_fit(X, Y)
    np.testing.assert_allclose(*map(parity.parameters, models), atol=1e-12)


@quiet
def test_a_pickle_whose_optimizer_was_changed_starts_anew():
    model = MLPRegressor(**FEW, solver="sgd", warm_start=True).fit(X, Y)
    again = pickle.loads(pickle.dumps(model)).set_params(momentum=0.0)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    model.set_params(momentum=0.0).fit(X, Y)
    np.testing.assert_array_equal(parity.parameters(again.fit(X, Y)), parity.parameters(model))


@quiet
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_trains_on_as_the_original_would(copied):
    """With the optimizer's memory, and without sharing anything."""
    model = (
        MLPRegressor(hidden_layer_sizes=(7,), random_state=1).partial_fit(X, Y).partial_fit(X, Y)
    )
    other = copied(model)
    before = model.predict(X)
    np.testing.assert_array_equal(other.predict(X), before)
    other.partial_fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), before)
    np.testing.assert_array_equal(model.partial_fit(X, Y).predict(X), other.predict(X))


@quiet
def test_a_pickle_holds_plain_arrays_only():
    """Nothing of the machine: no addresses, no layout of an instruction set."""
    model = MLPClassifier((5,), max_iter=2, random_state=0).fit(X, LABELS)
    state = model.__getstate__()
    assert "_weights" not in state
    assert all(a.flags.c_contiguous and a.base is None for a in state["coefs_"])


@quiet
def test_weights_put_in_by_hand_are_honoured():
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(X, Y[:, 0])
    model.coefs_[1][...] = 0.0  # in place
    model.intercepts_[1] = np.array([2.5])  # another array
    np.testing.assert_array_equal(model.predict(X), 2.5)
    model.coefs_ = [np.zeros_like(W) for W in model.coefs_]  # another list
    np.testing.assert_array_equal(model.predict(X[:1]), 2.5)


@quiet
def test_what_the_last_fit_has_left_stays():
    """A new fit has new arrays; partial fits and warm starts go on in the old ones."""
    model = MLPRegressor(**FEW).fit(X, Y)
    kept, before = model.coefs_[0], model.coefs_[0].copy()
    model.set_params(random_state=1).fit(X, Y)
    np.testing.assert_array_equal(kept, before)
    assert model.partial_fit(X, Y).coefs_[0] is model.set_params(warm_start=True).coefs_[0]


@quiet
@pytest.mark.parametrize("units", [3, 1])
def test_layers_cut_by_hand(units):
    models = [p.MLPRegressor(**FEW).fit(X, Y) for p in (nbmlp, sklearn.neural_network)]
    for model in models:
        model.predict(X)
        (first, second), (bias, last) = model.coefs_, model.intercepts_
        model.coefs_ = [first[:, :units].copy(), second[:units].copy()]
        model.intercepts_ = [bias[:units].copy(), last]
    ours, theirs = models
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X))
    ours.coefs_[1] = np.ones((5, 2))
    with pytest.raises(ValueError, match=r"coefs_\[1\] has shape \(5, 2\)"):
        ours.predict(X)


@quiet
def test_an_activation_changed_after_fit_is_used():
    models = [p.MLPRegressor(**FEW).fit(X, Y) for p in (nbmlp, sklearn.neural_network)]
    for model in models:
        model.predict(X)
        model.set_params(activation="tanh")
    np.testing.assert_allclose(models[0].predict(X), models[1].predict(X))


@quiet
@pytest.mark.parametrize("classes", [LABELS, LABELS == "yes", np.c_[LABELS == "yes", X[:, 1] > 0]])
def test_predictions_of_plain_arrays_are_those_of_all_others(classes):
    """The short way for exact arrays, and scikit-learn's own for lists."""
    model = MLPClassifier((8,), max_iter=5, random_state=0).fit(X, np.asarray(classes))
    np.testing.assert_array_equal(model.predict(X), model.predict(X.tolist()))
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X.tolist()))


@quiet
def test_predictions_refuse_what_scikit_learn_refuses():
    model = MLPClassifier((8,), max_iter=5, random_state=0).fit(X, LABELS)
    bad = X.copy()
    bad[3, 2] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(bad)
    with pytest.raises(ValueError, match="expecting 6 features"):
        model.predict(X[:, :5])
    with pytest.raises(ValueError, match="Expected 2D array"):
        model.predict(X[0])


@quiet
@pytest.mark.parametrize("early", [False, True])
def test_a_fit_that_diverges_ends_as_scikit_learns(early):
    settings = {
        "hidden_layer_sizes": (5,), "solver": "sgd", "learning_rate_init": 1e4, "max_iter": 6,
        "activation": "identity", "early_stopping": early, "random_state": 0,
    }  # fmt: skip
    models = [p.MLPRegressor(**settings) for p in (nbmlp, sklearn.neural_network)]
    for model in models:
        with np.errstate(all="ignore"):
            if early:
                model.fit(X, 100 * Y)
            else:
                with pytest.raises(ValueError, match="non-finite parameter weights"):
                    model.fit(X, 100 * Y)
    ours, theirs = models
    assert ours.n_iter_ == theirs.n_iter_
    if early:
        np.testing.assert_array_equal(
            np.isnan(ours.validation_scores_), np.isnan(theirs.validation_scores_)
        )
        np.testing.assert_allclose(parity.parameters(ours), parity.parameters(theirs), rtol=1e-9)


def test_messages_are_scikit_learns(capsys):
    for package in (nbmlp, sklearn.neural_network):
        model = package.MLPClassifier((4,), max_iter=3, verbose=True, random_state=0)
        with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
            model.fit(X, LABELS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[:3] == lines[3:]


@quiet
def test_float32_stays_float32():
    images, digits = load_digits(return_X_y=True)
    model = MLPClassifier((20,), max_iter=3, random_state=0).fit(images.astype(np.float32), digits)
    assert {W.dtype for W in model.coefs_} == {np.dtype(np.float32)}
    assert model.predict_proba(images[:3].astype(np.float32)).dtype == np.float32
    assert model.predict_proba(images[:3]).dtype == np.float64


# ------------------------------------------------------------------------------ beyond scikit-learn

FEW = {"hidden_layer_sizes": (12,), "max_iter": 8, "random_state": 0}


@quiet
@pytest.mark.parametrize(
    "extra",
    [
        {"activation": "mish"},
        {"activation": ["elu", "leaky_relu(0.2)"], "hidden_layer_sizes": (9, 7)},
        {"dropout": 0.3, "input_dropout": 0.1},
        {"optimizer": "rmsprop(0.01)"},
        {"optimizer": nbmlp.AdamW(0.01, weight_decay=0.1)},
        {"optimizer": "rprop", "batch_size": 120},
        {"clip_norm": 0.05},
        {"n_jobs": 1},
    ],
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_extensions_train_and_differ_from_the_default(kind, extra):
    y = LABELS if kind is MLPClassifier else Y
    more = {"max_iter": 60} | extra
    plain, other = kind(**FEW | {"max_iter": 60}).fit(X, y), kind(**FEW | more).fit(X, y)
    assert other.loss_curve_[-1] < other.loss_curve_[0]
    if "n_jobs" in extra:
        np.testing.assert_array_equal(parity.parameters(plain), parity.parameters(other))
    else:
        assert plain.loss_curve_ != other.loss_curve_


@quiet
@pytest.mark.parametrize("loss", ["absolute_error", "huber", "huber(0.2)", "quantile(0.9)"])
def test_other_losses(loss):
    model = MLPRegressor(loss, **FEW | {"max_iter": 60, "learning_rate_init": 0.01}).fit(X, Y[:, 0])
    above = (model.predict(X) > Y[:, 0]).mean()
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert (above > 0.75) == (loss == "quantile(0.9)")


@quiet
def test_class_weights_are_weights_of_rows():
    weight = {"no": 1.0, "perhaps": 5.0, "yes": 0.5}
    by_class = MLPClassifier(**FEW, class_weight=weight).fit(X, LABELS)
    by_row = MLPClassifier(**FEW).fit(X, LABELS, np.array([weight[c] for c in LABELS]))
    np.testing.assert_array_equal(parity.parameters(by_class), parity.parameters(by_row))
    balanced = MLPClassifier(**FEW, class_weight="balanced").fit(X, LABELS == "yes")
    plain = MLPClassifier(**FEW).fit(X, LABELS == "yes")
    assert balanced.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()
    with pytest.raises(ValueError, match="needs all rows at once"):
        MLPClassifier(**FEW, class_weight="balanced").partial_fit(X, LABELS, classes=weight)


@quiet
def test_own_validation_rows():
    settings = FEW | {"max_iter": 300, "learning_rate_init": 0.05}
    model = MLPClassifier(**settings, early_stopping=True)
    model.fit(X[:80], LABELS[:80], X_val=X[80:], y_val=LABELS[80:])
    assert model.n_iter_ < 300
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_
    assert model.score(X[80:], LABELS[80:]) == pytest.approx(model.best_validation_score_)
    watched = MLPRegressor(**FEW).fit(X[:80], Y[:80], X_val=X[80:], y_val=Y[80:])
    error = 0.5 * ((watched.predict(X[80:]) - Y[80:]) ** 2).mean()
    assert watched.validation_loss_curve_[-1] == pytest.approx(error)
    says = "y_val has the label 'never' at row 1 .*, which y does not have"
    with pytest.raises(ValueError, match=says):
        model.fit(X, LABELS, X_val=X[:2], y_val=["no", "never"])
    with pytest.raises(ValueError, match="X_val and y_val belong together"):
        model.fit(X, LABELS, X_val=X[:2])


@quiet
def test_early_stopping_by_another_metric():
    model = MLPClassifier(**FEW, early_stopping=True, metric="neg_log_loss").fit(X, LABELS)
    assert all(score < 0 for score in model.validation_scores_)
    np.testing.assert_allclose(model.validation_scores_, np.negative(model.validation_loss_curve_))


@quiet
def test_a_metric_does_not_ask_for_the_names_of_columns():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=list("abcdef"))
    model = MLPClassifier(**FEW, early_stopping=True, metric="accuracy", tol=10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(table, LABELS)
    assert list(model.feature_names_in_) == list("abcdef")


@quiet
def test_the_validation_curve_is_of_the_last_fit():
    model = MLPRegressor(**FEW).fit(X, Y, X_val=X, y_val=Y)
    assert len(model.fit(X, Y, X_val=X, y_val=Y).validation_loss_curve_) == model.n_iter_
    assert not hasattr(model.fit(X, Y), "validation_loss_curve_")


@quiet
def test_a_batch_without_weight_has_no_loss():
    weight = np.repeat([0.0, 1.0], 60)
    settings = FEW | {"batch_size": 20, "shuffle": False, "alpha": 0.0}
    half = MLPRegressor(**settings).fit(X, Y, weight)
    alone = MLPRegressor(**settings | {"solver": "sgd", "momentum": 0.0}).fit(X[60:], Y[60:])
    both = MLPRegressor(**settings | {"solver": "sgd", "momentum": 0.0}).fit(X, Y, weight)
    assert np.isfinite(half.loss_curve_).all()
    np.testing.assert_allclose(both.loss_curve_, np.divide(alone.loss_curve_, 2))


@quiet
def test_callbacks_see_the_model_and_may_stop_it():
    seen = []

    def watch(model):
        seen.append(model.predict(X[:1])[0])
        return len(seen) == 3

    assert MLPClassifier(**FEW, callbacks=[watch]).fit(X, LABELS).n_iter_ == 3
    assert len(seen) == 3
    assert MLPClassifier(**FEW, callbacks=lambda m: m.loss_ > 0).fit(X, LABELS).n_iter_ == 1


@quiet
def test_nbmlps_callbacks(tmp_path, capsys):
    log, bar = nbmlp.CSVLog(tmp_path / "log.csv"), nbmlp.ProgressBar()
    model = MLPClassifier(**FEW, callbacks=[log, bar], early_stopping=True).fit(X, LABELS)
    header, *rows = [line.split(",") for line in log.path.read_text().splitlines()]
    found = {name: [float(row[i]) for row in rows] for i, name in enumerate(header)}
    np.testing.assert_allclose(found["train_loss"], model.loss_curve_)
    np.testing.assert_allclose(found["val_score"], model.validation_scores_)
    np.testing.assert_allclose(found["val_loss"], model.validation_loss_curve_)
    assert found["epoch"] == list(range(1, model.n_iter_ + 1))
    assert f"epoch {model.n_iter_}/{model.max_iter}" in capsys.readouterr().err
    again = clone(pickle.loads(pickle.dumps(model))).fit(X, LABELS)
    np.testing.assert_array_equal(parity.parameters(again), parity.parameters(model))


@quiet
def test_nbmlps_early_stopping_goes_back_to_the_best_weights():
    settings = FEW | {"max_iter": 200, "learning_rate_init": 0.05, "n_iter_no_change": 200}
    stopping = nbmlp.EarlyStopping("val_loss", patience=5)
    model = MLPRegressor(**settings, callbacks=stopping)
    model.fit(X[:60], Y[:60], X_val=X[60:], y_val=Y[60:])
    best = np.min(model.validation_loss_curve_)
    assert model.n_iter_ == stopping.best_epoch + 5 < 200
    assert 0.5 * np.mean((model.predict(X[60:]) - Y[60:]) ** 2) == pytest.approx(best)


@quiet
def test_what_only_the_native_model_writes_is_refused(tmp_path):
    with pytest.raises(nbmlp.SpecError, match="checkpoints are for"):
        MLPClassifier(**FEW, callbacks=nbmlp.Checkpoint(tmp_path / "net")).fit(X, LABELS)


class Told(nbmlp.train.callbacks.Callback):
    """All that callbacks are told of a training, without what depends on the clock."""

    def on_fit_begin(self, run):
        self.seen = [("begin", run.epochs, run.n_samples, len(run.history))]

    def on_progress(self, run, progress):
        if run.phase == "training" and progress.rows_done:
            done = (progress.epoch, progress.rows_done, progress.rows_total)
            self.seen.append(("progress", *done, np.isfinite(progress.loss_so_far)))

    def on_epoch_end(self, run, record):
        skipped = run.history.batches_skipped
        self.seen.append(("epoch", record.epoch, run.rows_done, skipped, record.learning_rate))

    def on_fit_end(self, run):
        self.seen.append(("end", run.history.stop_reason, len(run.history)))


@quiet
def test_callbacks_are_told_the_same_as_by_the_native_model():
    X, y = np.random.default_rng(0).normal(size=(2, 100, 3))
    X[30, 1] = 1e30
    estimator, native = Told(), Told()
    with pytest.warns(nbmlp.TrainingWarning, match="left out"):
        MLPRegressor(
            hidden_layer_sizes=5, solver="sgd", max_iter=3, batch_size=20, momentum=0.0,
            callbacks=[estimator], on_nonfinite="ignore", shuffle=False,
        ).fit(X.astype(np.float32), y)  # fmt: skip
    with pytest.warns(nbmlp.TrainingWarning, match="left out"):
        nbmlp.MLP(
            5, task="regression", optimizer="sgd(0.001)", epochs=3, batch_size=20, shuffle=False,
            schedule="constant", on_nonfinite="ignore",
        ).fit(X.astype(np.float32), y, callbacks=[native])  # fmt: skip
    assert estimator.seen == native.seen
    assert [one[3] for one in native.seen if one[0] == "epoch"] == [1, 2, 3]


@quiet
def test_scikit_learns_callbacks():
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(**FEW).set_callbacks(monitor).fit(X, LABELS)
    same = MLPClassifier(**FEW).fit(X, LABELS)
    np.testing.assert_array_equal(parity.parameters(model), parity.parameters(same))
    assert monitor.get_logs()


@quiet
def test_a_diverging_fit_may_keep_its_last_good_weights():
    settings = FEW | {"solver": "sgd", "learning_rate_init": 1e4, "activation": "identity"}
    model = MLPRegressor(**settings, on_nonfinite="warn")
    with pytest.warns(nbmlp.TrainingWarning, match="lower the learning rate"):
        model.fit(X, 100 * Y)
    assert np.isfinite(parity.parameters(model)).all()


@pytest.mark.parametrize("policy", ["raise", "warn", "ignore"])
def test_nan_in_the_data_is_refused_unless_it_is_to_be_mended(policy):
    spoiled = X.copy()
    spoiled[17, 3] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        MLPClassifier(**FEW, on_nonfinite=policy).fit(spoiled, LABELS)


@quiet
@pytest.mark.parametrize("bad", ["X", "y", "label"])
def test_a_score_names_the_row(bad):
    """As fit and predict do, and once."""
    model = (MLPClassifier if bad == "label" else MLPRegressor)(**FEW)
    y = LABELS.astype(object) if bad == "label" else Y[:, 0].copy()
    rows = X.copy()
    model.fit(X, y)
    if bad == "X":
        rows[17, 3] = np.inf
    else:
        y[17] = None if bad == "label" else np.nan
    with pytest.raises(ValueError, match="at row 17") as told:
        model.score(rows, y)
    assert str(told.value).count("at row 17") == 1


@quiet
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "rleu"}, "rleu"),
        ({"dropout": 1.0}, "dropout"),
        ({"optimizer": "lbfgs"}, "does not go with solver='adam'"),
        ({"optimizer": "adam", "solver": "lbfgs"}, "does not go with solver='lbfgs'"),
        ({"dropout": 0.5, "solver": "lbfgs"}, "dropout needs solver"),
        ({"clip_norm": -1.0}, "clip_norm"),
        ({"callbacks": [3]}, "callback 3 is neither"),
        ({"callbacks": print, "solver": "lbfgs"}, "callbacks and X_val need solver"),
        ({"activation": np.array(["relu"])}, "'activation' parameter"),
        ({"on_nonfinite": "cry"}, "on_nonfinite"),
        ({"metric": "acuracy", "early_stopping": True}, "acuracy"),
    ],
)
def test_wrong_extensions_get_a_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**FEW | settings).fit(X, LABELS)


@quiet
def test_another_optimizer_starts_anew():
    """Between two partial fits: what the first one kept is of another kind and number."""
    model = MLPRegressor(**FEW, solver="sgd").partial_fit(X, Y)
    for optimizer in ("rmsprop_gains", nbmlp.Adam(0.02), None):
        fresh = MLPRegressor(**FEW, optimizer=optimizer, solver="sgd").partial_fit(X, Y)
        fresh.coefs_ = [np.array(W) for W in model.coefs_]
        fresh.intercepts_ = [np.array(b) for b in model.intercepts_]
        fresh._compiled().start(rule_of(fresh))
        model.set_params(optimizer=optimizer).partial_fit(X, Y)
        np.testing.assert_array_equal(
            parity.parameters(model), parity.parameters(fresh.partial_fit(X, Y))
        )


# ------------------------------------------------------------------------------------ conversions


@quiet
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_scikit_learns_models_and_back(kind, solver):
    y = LABELS if kind == "MLPClassifier" else Y
    theirs = getattr(sklearn.neural_network, kind)(**FEW, solver=solver).fit(X, y)
    ours = getattr(nbmlp, kind).from_sklearn(theirs)
    back = ours.to_sklearn()
    assert type(back) is type(theirs)
    assert back.get_params() == theirs.get_params()
    same = np.testing.assert_array_equal if kind == "MLPClassifier" else np.testing.assert_allclose
    same(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(back.predict(X), theirs.predict(X))
    if solver != "lbfgs":
        before = theirs.predict(X)
        back.partial_fit(X, y)
        ours.partial_fit(X, y)
        np.testing.assert_array_equal(theirs.predict(X), before)


@quiet
def test_what_scikit_learn_does_not_have_is_named():
    with pytest.raises(nbmlp.SpecError, match=r"dropout=0\.5 is not known"):
        MLPClassifier(**FEW, dropout=0.5).fit(X, LABELS).to_sklearn()


@quiet
def test_models_of_another_kind_are_refused():
    regressor = sklearn.neural_network.MLPRegressor(**FEW).fit(X, Y)
    with pytest.raises(nbmlp.SpecError, match="is no MLPClassifier"):
        MLPClassifier.from_sklearn(regressor)
    with pytest.raises(NotFittedError):
        MLPRegressor.from_sklearn(sklearn.neural_network.MLPRegressor())


@quiet
@pytest.mark.parametrize("labels", [LABELS, LABELS == "yes"])
def test_the_native_model_and_back(labels, tmp_path):
    model = MLPClassifier(**FEW, dropout=0.1).fit(X, labels)
    native = model.to_mlp()
    np.testing.assert_array_equal(native.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(native.predict(X), model.predict(X))
    native.save(tmp_path / "net.safetensors")
    again = MLPClassifier.from_mlp(nbmlp.MLP.load(tmp_path / "net.safetensors"))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    again.partial_fit(X, labels)
    native.partial_fit(X, labels)


@quiet
def test_native_regressions_and_back():
    for y in (Y, Y[:, 0]):
        model = MLPRegressor(**FEW | {"hidden_layer_sizes": ()}).fit(X, y)
        again = MLPRegressor.from_mlp(model.to_mlp())
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        np.testing.assert_array_equal(model.to_mlp().predict(X), model.predict(X))


@quiet
def test_native_models_that_are_no_estimators():
    table = nbmlp.MLP(3, epochs=1, standardise=True).fit(X, LABELS)
    with pytest.raises(nbmlp.SpecError, match="prepared columns"):
        MLPClassifier.from_mlp(table)
    with pytest.raises(nbmlp.SpecError, match="numbers with MLPRegressor"):
        MLPRegressor.from_mlp(nbmlp.MLP(3, epochs=1).fit(X, LABELS))
    several = MLPClassifier(**FEW).fit(X, np.c_[X[:, 0] > 0, X[:, 1] > 0])
    with pytest.raises(nbmlp.SpecError, match="several labels a row"):
        several.to_mlp()
