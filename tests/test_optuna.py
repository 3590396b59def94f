"""Optuna's trials hear of every epoch, and end when they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nbmlp import MLP, MLPClassifier, SpecError, TabularClassifier

optuna = pytest.importorskip("optuna", reason='needs optuna: "nbmlp[optuna]"')
pruning = pytest.importorskip("nbmlp.optuna")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4)).astype("float32")
Y = (X[:, 0] > 0).astype(int)
SETTINGS: dict[str, Any] = {"task": "classes", "batch_size": 20, "epochs": 5, "seed": 0}


def study_of(direction: str, **given: Any) -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction=direction, **given)


def fit(trial: Any, rate: float, monitor: str = "auto") -> MLP:
    callbacks = [pruning.Pruning(trial, monitor)]
    net = MLP(8, learning_rate=rate, **SETTINGS)
    return net.fit(X, Y, validation=(X, Y), callbacks=callbacks)


@pytest.mark.parametrize(
    ("monitor", "direction", "field"),
    [("auto", "maximize", "val_score"), ("val_loss", "minimize", "val_loss")],
)
def test_a_trial_hears_of_every_epoch(monitor: str, direction: str, field: str) -> None:
    found: list[Any] = []

    def objective(trial: Any) -> float:
        net = fit(trial, 0.01, monitor)
        found.extend(getattr(record, field) for record in net.history)
        return float(found[-1])

    study = study_of(direction, pruner=optuna.pruners.NopPruner())
    study.optimize(objective, n_trials=1)
    assert study.trials[0].intermediate_values == dict(enumerate(found, start=1))


def test_a_worse_trial_is_pruned() -> None:
    after: list[int] = []

    def objective(trial: Any) -> float:
        rate = trial.suggest_categorical("rate", [0.01, 1e-9])
        net = MLP(8, learning_rate=rate, **SETTINGS)
        epochs = lambda run, record: after.append(record.epoch)  # noqa: E731
        net.fit(X, Y, validation=(X, Y), callbacks=[epochs, pruning.Pruning(trial, "val_loss")])
        return float(net.history[-1].val_loss or 0.0)

    pruner = optuna.pruners.MedianPruner(n_startup_trials=1)
    study = study_of("minimize", pruner=pruner)
    study.enqueue_trial({"rate": 0.01})
    study.enqueue_trial({"rate": 1e-9})
    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert after == [1, 2, 3, 4, 5, 1]


def test_estimators_take_it_too() -> None:
    study = study_of("minimize", pruner=optuna.pruners.ThresholdPruner(upper=0.0))

    def objective(trial: Any) -> float:
        callback = pruning.Pruning(trial, "train_loss")
        MLPClassifier((8,), max_iter=3, callbacks=[callback]).fit(X, Y)
        raise AssertionError("it has not been pruned")

    study.optimize(objective, n_trials=1)
    assert study.trials[0].state.name == "PRUNED"


def test_what_does_not_go_together() -> None:
    trial = study_of("minimize").ask()
    with pytest.raises(SpecError, match="accuracy is for a study of direction='maximize'"):
        fit(trial, 0.01)
    with pytest.raises(SpecError, match="unknown monitor 'val_los'"):
        pruning.Pruning(trial, "val_los")
    with pytest.raises(SpecError, match="this callback is for one net"):
        TabularClassifier("fast", callbacks=pruning.Pruning(trial)).fit(X, Y)


def test_a_trial_that_is_fixed_has_no_study() -> None:
    net = fit(optuna.trial.FixedTrial({}), 0.01)
    assert len(net.history) == 5
