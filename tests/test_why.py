"""why(): each fault planted by hand is named, healthy nets are left alone, cures really cure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from why_nets import HEALTHY, ask, blobs, waves

from nbmlp import MLP, DataError, EarlyStopping, NonFiniteError, SpecError, Watch
from nbmlp.cli import run
from nbmlp.diagnostics.why import CAUSES, Finding, Report, Trial, Where, rules_data
from nbmlp.diagnostics.why.trials import log_losses
from nbmlp.spec import ModelSpec
from nbmlp.train.statistics import layer_statistics


def cured_error(report: Report, data: tuple[Any, ...]) -> tuple[float, float]:
    """Validation error rate without and with the cure, trained anew."""
    X, y, X_val, y_val = data
    model = report.cured()
    rows = report.cure_rows(X, y)
    return report.error, model.fit(*rows).evaluate(X_val, y_val)["loss"]


FAULTS: dict[str, dict[str, Any]] = {
    "learning_rate_low": {"learning_rate": 1e-5},
    "learning_rate_high": {"learning_rate": 0.5},
    "summed_gradient": {"optimizer": "sgd(0.1)", "learning_rate": None, "reduction": "sum",
                        "batch_size": 300},
    "batch_too_large": {"batch_size": None, "learning_rate": 0.003},
    "l2_too_strong": {"l2": 0.7},
    "initial_weights_large": {"init": "normal(6)", "activation": "tanh"},
    "dead_relu": {"init": "uniform(-0.9, -0.3)", "standardise": False},
    "underfitting": {"hidden": (1,), "learning_rate": 0.02},
    "loss_mismatch": {"loss": "squared_error", "output": "logistic", "learning_rate": 0.03,
                      "epochs": 20},
}  # fmt: skip


@pytest.mark.parametrize("cause", FAULTS)
def test_settings_to_blame(cause: str) -> None:
    data = blobs()
    if cause == "dead_relu":
        data = tuple(np.abs(part) if part.ndim == 2 else part for part in data)
    report = ask(FAULTS[cause], data)
    assert report.top is not None
    assert report.top.cause == cause, str(report)
    assert report.top.verified
    assert report.top.change
    before, after = cured_error(report, data)
    assert after < 0.8 * before


def test_healthy_nets_are_left_alone() -> None:
    report = ask({"epochs": 30}, blobs(3000))
    assert report.healthy, str(report)
    assert report.top is None
    assert report.cured() is None
    assert str(report).startswith("nothing wrong was found (log loss")


def test_rows_with_nan_are_named_as_the_user_numbers_them() -> None:
    X, y, X_val, y_val = blobs()
    X[[41, 500]], X[41, 3], X[500, 7] = 0.0, np.nan, np.inf
    model = MLP(**HEALTHY)
    with pytest.raises(NonFiniteError):
        model.fit(X, y)
    report = model.why(X, y, validation=(X_val, y_val))
    assert report.top is not None
    assert (report.top.cause, report.top.weight) == ("nonfinite_inputs", 1.0)
    assert report.top.where == Where(rows=(41, 500), columns=(3, 7))
    assert report.error == float("inf")
    assert report.cured().train_spec.on_nonfinite == "drop_rows"


def test_unscaled_columns() -> None:
    data = blobs()
    for part in (data[0], data[2]):
        part[:, 4] *= 3e4
    report = ask({"activation": "tanh"}, data)
    assert report.top is not None
    assert report.top.cause == "unscaled_inputs"
    assert report.top.where.columns[0] == 4
    assert report.cured().get_params()["standardise"]


def test_targets_out_of_reach_and_out_of_scale() -> None:
    X, y, X_val, y_val = waves()
    settings = {"task": "regression", "output": "tanh", "epochs": 30}
    report = ask(settings, (X, 3 * y, X_val, 3 * y_val))
    assert report.top is not None
    assert report.top.cause == "unreachable_target"
    assert report.top.where.rows
    far = ask({"task": "regression"}, (X, y + 3000, X_val, y_val + 3000))
    assert far.top is not None
    assert far.top.cause == "initial_loss"


@pytest.mark.parametrize(
    ("output", "low"),
    [("elu", -1.0), ("elu(0.1)", -0.1), ("selu", -1.7581), ("gelu", -0.17), ("mish", -0.309)],
)
def test_what_an_output_cannot_reach_depends_on_its_parameter(output: str, low: float) -> None:
    def found(y: float) -> Any:
        rows = SimpleNamespace(y=np.full((5, 1), y))
        samples = SimpleNamespace(numbers=lambda places: places)
        spec = ModelSpec(2, 1, (), output=output)
        evidence: Any = SimpleNamespace(classes=False, spec=spec, rows=rows, samples=samples)
        return rules_data.unreachable_target(evidence)

    assert found(low - 0.01).cause == "unreachable_target"
    assert found(low + 0.01) is None


def test_wrong_labels_are_found_row_by_row() -> None:
    X, y, X_val, y_val = blobs(1500)
    rng = np.random.default_rng(5)
    wrong = rng.choice(1500, 450, replace=False)
    spoiled = y.copy()
    spoiled[wrong] = (y[wrong] + rng.integers(1, 6, 450)) % 6
    report = ask({"epochs": 20}, (X, spoiled, X_val, y_val))
    assert report.top is not None
    assert report.top.cause == "label_noise", str(report)
    assert np.isin(report.top.drop_rows, wrong).mean() > 0.9
    kept_X, kept_y = report.cure_rows(X, spoiled)
    assert len(kept_X) == len(kept_y) == 1500 - len(report.top.drop_rows)


def test_classes_that_are_rare_in_training_only() -> None:
    X, y, X_val, y_val = blobs(3000)
    kept = (y > 2) | (np.arange(3000) % 60 == 0)
    report = ask({}, (X[kept], y[kept], X_val, y_val))
    assert report.top is not None
    assert report.top.cause == "class_imbalance", str(report)
    assert report.top.repeat_rows
    grown, _ = report.cure_rows(X[kept], y[kept])
    assert len(grown) == kept.sum() + len(report.top.repeat_rows)


def test_a_rare_class_that_is_never_predicted() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 4)).astype(np.float32)
    rare = X[:, 0] + rng.normal(size=1200) > 3.2
    assert 8 < rare.sum() < 40
    y = np.where(rare, "fraud", "fine")
    report = ask({"epochs": 8, "hidden": (8,)}, (X[:800], y[:800], X[800:], y[800:]))
    found = {f.cause: f for f in report.findings}["never_predicted"]
    assert f"class 'fraud' has {rare[:800].sum()} of 800 rows and is never predicted" in found.seen
    assert found.verified
    assert found.problem
    assert found.change == {"class_weight": "balanced"}
    assert re.search(r"with it \d+ of its \d+ validation rows are, or tune_threshold", found.cure)
    assert "share of rows missed of each class 0.5" in str(found)


def test_gradients_that_vanish() -> None:
    data = blobs(1500)
    report = ask({"hidden": (16,) * 6, "activation": "logistic", "epochs": 15}, data)
    assert report.top is not None
    assert report.top.cause == "vanishing_gradient", str(report)
    assert report.top.where.layer == 1


def test_overfitting_names_the_epoch() -> None:
    X, y, X_val, y_val = blobs(2000)
    report = ask(
        {"hidden": (128, 128), "epochs": 60, "learning_rate": 0.002}, (X[:90], y[:90], X_val, y_val)
    )
    assert report.top is not None
    assert report.top.cause == "overfitting", str(report)
    assert 1 <= (report.top.where.epoch or 0) < 100


def test_columns_that_say_nothing_are_hints() -> None:
    X, y, X_val, y_val = blobs(3000)
    X, X_val = (np.column_stack([part, np.ones(len(part)), part[:, 2]]) for part in (X, X_val))
    report = ask({}, (X.astype(np.float32), y, X_val.astype(np.float32), y_val))
    hints = {f.cause: f for f in report.findings if f.weight < 0.5}
    assert hints["constant_inputs"].where.columns == (10,)
    assert hints["duplicated_inputs"].where.columns == (11,)


def test_two_faults_that_only_show_together() -> None:
    settings = {
        "task": "regression", "activation": "logistic", "output": "logistic", "bias": False,
        "init": "uniform(-1, 1)", "optimizer": "sgd(0.5)", "learning_rate": None,
        "reduction": "sum", "batch_size": None, "hidden": (250,), "schedule": "constant",
        "epochs": 60,
    }  # fmt: skip
    X, y, X_val, y_val = waves(600)
    data = (X, 1 / (1 + np.exp(-2 * y)), X_val, 1 / (1 + np.exp(-2 * y_val)))
    report = ask(settings, data)
    assert {f.cause for f in report.problems} >= {"summed_gradient", "initial_weights_large"}
    assert report.top is not None
    assert set(report.top.change) == {"reduction", "init"}


def test_the_model_stays_as_it_is_and_fitted_ones_answer_alike() -> None:
    X, y, X_val, y_val = blobs()
    model = MLP(**HEALTHY, l2=0.7)
    fresh = model.why(X, y, validation=(X_val, y_val))
    model.fit(X, y)
    weights, epochs = model.get_flat(), len(model.history)
    fitted = model.why(X, y, validation=(X_val, y_val))
    assert np.array_equal(model.get_flat(), weights)
    assert len(model.history) == epochs
    assert fitted.to_dict()["findings"] == fresh.to_dict()["findings"]


def test_tables_sparse_rows_and_a_share_to_validate_on() -> None:
    from scipy.sparse import csr_array

    X, y, _, _ = blobs()
    table = {f"column {j}": X[:, j] for j in range(10)}
    for data in (table, csr_array(X)):
        report = MLP(**{**HEALTHY, "learning_rate": 1e-5}).why(data, y, validation=0.3)
        assert report.top is not None
        assert report.top.cause == "learning_rate_low"


def test_report_in_all_forms(tmp_path: Any) -> None:
    report = ask({"learning_rate": 1e-5}, blobs())
    text = str(report)
    assert "1 problem found" in text.splitlines()[0] or "problems found" in text.splitlines()[0]
    assert "learning rate too low" in text
    assert "log loss" in text
    found = json.loads(report.to_json())
    assert found["findings"][0]["cause"] == "learning_rate_low"
    assert found["findings"][0]["trial"]["after"] < found["error"]
    assert set(CAUSES) >= {finding["cause"] for finding in found["findings"]}
    report.plot(tmp_path / "why.png")
    assert (tmp_path / "why.png").stat().st_size > 5_000


def test_an_infinite_error_is_null_in_json() -> None:
    trial = Trial(float("inf"), 0.5, "log loss", 3, 10)
    finding = Finding("nonfinite_inputs", 1.0, Where(rows=(2,)), "a", "b", "c", trial=trial)
    report = Report((finding,), float("inf"), "log loss", {"trials": 1, "seconds": 1.0})
    assert json.loads(report.to_json())["error"] is None
    assert trial.improved
    assert "rows 2" in str(report)


def test_little_time_is_kept_to_and_said() -> None:
    report = ask({"epochs": 400}, blobs(), seconds=0.05)
    assert not report.complete
    assert "ended early" in str(report).splitlines()[0]


def test_ctrl_c_reports_what_was_found_so_far() -> None:
    stages: list[str] = []

    def interrupt(share: float, stage: str) -> None:
        assert 0.0 <= share <= 1.0
        stages.append(stage)
        if len(stages) == 3:
            raise KeyboardInterrupt

    report = ask({"learning_rate": 1e-5}, blobs(), progress=interrupt)
    assert not report.complete
    assert len(stages) == 3


def test_bad_input_gets_a_sentence() -> None:
    X, y, _, _ = blobs()
    model = MLP(**HEALTHY)
    with pytest.raises(DataError, match=r"899|900"):
        model.why(X, y[:-1])
    with pytest.raises(SpecError, match="validation"):
        model.why(X, y, validation=1.5)
    with pytest.raises(SpecError, match="seconds"):
        model.why(X, y, seconds=0)
    with pytest.raises(DataError, match="none is left"):
        model.why(np.full((20, 3), np.nan), np.arange(20))
    with pytest.raises(DataError, match="too few"):
        model.why(X[:8], y[:8])


def test_log_losses_whatever_the_outputs() -> None:
    codes = np.array([0, 1])
    assert log_losses(codes, np.array([[0.2], [0.9]])) == pytest.approx(-np.log([0.8, 0.9]))
    loose = np.array([[0.5, 0.5, 1.0], [0.0, 0.0, 0.0]])
    assert log_losses(codes, loose) == pytest.approx(-np.log([0.25, 1 / 3]))
    assert np.isfinite(log_losses(codes, np.array([[0.0, 1.0], [1.0, 0.0]]))).all()


# -- looking at a net


def test_statistics_against_numpy() -> None:
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(60, 5)), rng.normal(size=60)
    model = MLP(
        hidden=(7, 4), activation=("tanh", "relu"), task="regression", dtype="float64"
    ).build(X, y)
    net = model.net
    view = layer_statistics(net.spec, model.train_spec, net.state, net.rows(X, y))
    (W1, W2, W3), (b1, b2, b3) = model.weights, model.biases
    a1 = np.tanh(X @ W1 + b1)
    a2 = np.maximum(a1 @ W2 + b2, 0.0)
    d3 = (a2 @ W3 + b3)[:, 0] - y
    d2 = d3[:, None] * W3[:, 0] * (a2 > 0)
    d1 = d2 @ W2.T * (1 - a1 * a1)

    def rms(values: Any) -> float:
        return float(np.sqrt(np.mean(np.square(values))))

    expected = zip((a1, a2, a2 @ W3 + b3), (d1, d2, d3), (X, a1, a2), (W1, W2, W3), strict=True)
    for layer, (a, d, below, W) in zip(view.layers, expected, strict=True):
        assert layer.output == pytest.approx(rms(a), rel=1e-12)
        assert layer.delta == pytest.approx(rms(d), rel=1e-12)
        assert layer.gradient == pytest.approx(rms(below.T @ d.reshape(60, -1) / 60), rel=1e-10)
        assert layer.weight == pytest.approx(rms(W), rel=1e-12)
    assert view.layers[0].saturated == pytest.approx((1 - a1 * a1 < 0.04).mean())
    assert view.layers[1].dead == pytest.approx((a2 <= 0).all(axis=0).mean())
    assert view.loss == pytest.approx(0.5 * np.mean(d3**2))


def test_watch_sees_units_saturate_and_leaves_the_training_as_it_was(tmp_path: Any) -> None:
    X, y, _, _ = blobs()
    settings = {**HEALTHY, "activation": "logistic", "init": "normal(5)", "epochs": 12}
    plain = MLP(**settings).fit(X, y)
    watch = Watch(share=1.0)
    watched = MLP(**settings).fit(X, y, callbacks=[watch])
    assert np.array_equal(plain.get_flat(), watched.get_flat())
    assert watch.epochs[0] == 1  # how often after that, the time says
    assert watch.column("saturated").shape == (len(watch.epochs), 2)
    assert watch.column("saturated")[-1, 0] > 0.5
    watch.plot(tmp_path / "watch.png")
    assert (tmp_path / "watch.png").stat().st_size > 5_000
    seldom = Watch(share=1e-9)
    MLP(**settings).fit(X, y, callbacks=[seldom, EarlyStopping()])
    assert len(seldom.views) == 1


def test_watch_needs_a_share() -> None:
    with pytest.raises(SpecError, match="share"):
        Watch(share=0.0)
    with pytest.raises(DataError, match="no epoch"):
        Watch().plot()


# -- the command


def test_command(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(tmp_path / "why.png")
    common = ["why", "--data", "digits", "--hidden", "16", "--learning-rate", "0.00001"]
    more = ["--epochs", "10", "--batch-size", "64"]
    assert run([*common, *more, "--plot", picture]) == 1
    shown = capsys.readouterr()
    assert "learning rate too low" in shown.out
    assert "drawn in" in shown.out
    assert "training as it is" in shown.err
    assert run([*common, *more, "--json", "--quiet"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["findings"][0]["cause"] == "learning_rate_low"
    assert run([*common, "--seconds", "-1"]) == 2


def test_command_names_rows_with_nan(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    X, y, _, _ = blobs(300)
    X[17, 2] = np.inf
    np.save(tmp_path / "x.npy", np.column_stack([X, y]))
    common = ["why", "--data", str(tmp_path / "x.npy"), "--target", "10", "--task", "classes"]
    assert run([*common, "--no-standardise", "--json", "--quiet"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"][0]
    assert (found["cause"], found["where"]["columns"]) == ("nonfinite_inputs", [2])
    assert found["where"]["rows"] == [17]  # of the file, though test rows were set aside


def test_rows_have_the_numbers_that_they_were_given() -> None:
    X, y, _, _ = blobs(300)
    X[17, 2] = np.nan
    numbers = np.arange(1000, 1300)
    report = MLP(16, epochs=4, task="classes").why(X, y, row_numbers=numbers)
    assert report.findings[0].where.rows == (1017,)
    dropping = replace(report.findings[0], drop_rows=(1017, 1020), repeat_rows=(1005, 1005))
    kept, targets = replace(report, findings=(dropping,)).cure_rows(X, y, numbers)
    np.testing.assert_array_equal(kept[-2:], X[[5, 5]])
    assert (len(kept), len(targets)) == (300, 300)
    assert np.isfinite(kept).all()


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_missing_values_that_are_filled_in_are_no_fault(missing: float) -> None:
    X, y, _, _ = blobs(300)
    X[17, 2] = missing
    tables: tuple[Any, ...] = (
        (X, {"standardise": True}),
        ({f"c{j}": x for j, x in enumerate(X.T)}, {}),
    )
    for given, settings in tables:
        report = MLP(16, epochs=4, task="classes", **settings).why(given, y)
        named = [f for f in report.findings if f.cause == "nonfinite_inputs"]
        assert [f.where.rows for f in named] == ([(17,)] if np.isinf(missing) else [])
