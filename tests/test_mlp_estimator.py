"""MLP among scikit-learn's tools: parameters, clones, tags, folds, searches, pipelines."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from nbmlp import MLP, SGD, Adam, RMSprop, SpecError
from nbmlp.settings import signature
from tests import children

FAST: dict[str, Any] = {"hidden": (9,), "epochs": 2, "batch_size": 25, "seed": 1}
X, Y = children.rows(150)
NUMBERS = X @ np.linspace(-1, 1, X.shape[1])


def model(**changes: Any) -> MLP:
    return MLP(**{**FAST, **changes})


# --------------------------------------------------------------------------- parameters


def test_parameters_are_as_they_were_given() -> None:
    given = {
        "hidden": [8, 4], "optimizer": SGD(0.1), "activation": "tanh", "class_weight": {0: 2.0},
        "schedule": {"name": "step", "every": 3}, "learning_rate": 0.5,
    }  # fmt: skip
    found = MLP(**given).get_params()
    assert list(found) == list(signature().parameters)
    assert all(found[name] is value for name, value in given.items())
    rest = {name: p.default for name, p in signature().parameters.items() if name not in given}
    assert {name: found[name] for name in rest} == rest
    assert MLP().get_params(deep=False) == MLP().get_params()


def test_an_iterator_is_read_once() -> None:
    made = MLP(hidden=iter((8, 4)))
    assert made.get_params()["hidden"] == clone(made).get_params()["hidden"] == (8, 4)


def test_another_name_or_value_is_refused_and_nothing_changes() -> None:
    made = model()
    before = made.get_params()
    for changes, sentence in (
        ({"hiden": 3, "epochs": 9}, "unknown setting 'hiden': did you mean 'hidden'?"),
        ({"epochs": 0, "l2": 0.1}, "epochs=0 must be a whole number, 1 or more."),
        ({"optimizer__beta1": 0.5}, "unknown setting 'optimizer__beta1'"),
        ({"dropout": (0.1, 0.2)}, "dropout has 2 entries for 1 hidden layers"),
    ):
        with pytest.raises(SpecError) as caught:
            made.set_params(**changes)
        assert str(caught.value).startswith(sentence)
        assert made.get_params() == before


def test_parameters_that_are_set_count_at_the_next_fit() -> None:
    made = model().fit(X, Y)
    outputs, spec = made.outputs(X), made.model_spec
    assert made.set_params(hidden=(7, 5), dtype="float64", epochs=1) is made
    np.testing.assert_array_equal(made.outputs(X), outputs)
    assert made.model_spec == spec
    assert repr(made) == repr(model().fit(X, Y))
    fresh = model(hidden=(7, 5), dtype="float64", epochs=1).fit(X, Y)
    np.testing.assert_array_equal(made.fit(X, Y).get_flat(), fresh.get_flat())


def test_a_rate_that_was_named_stays_with_another_rule() -> None:
    """As in scikit-learn each parameter stands for itself; `with_` takes the new rule's rate."""
    made = model(learning_rate=0.3)
    assert made.set_params(optimizer="sgd(0.1)").train_spec.optimizer == SGD(0.3)
    assert made.with_(optimizer="sgd(0.1)").train_spec.optimizer == SGD(0.1)
    assert made.with_(learning_rate=0.2).train_spec.optimizer == SGD(0.2)


@pytest.mark.parametrize("rule", [RMSprop(0.01), Adam(0.01), SGD(0.1)])
def test_another_rule_trains_a_net_on_without_memory_of_the_last(rule: Any) -> None:
    made, twin = model(optimizer="sgd(0.1, momentum=0.9)"), model(optimizer=rule)
    made.partial_fit(X, Y)
    twin.partial_fit(X, Y)
    for one in (made.set_params(optimizer=rule), twin):
        one.set_params(optimizer="adagrad").set_params(optimizer=rule)  # forgets
    twin.set_flat(made.get_flat())
    np.testing.assert_array_equal(
        made.partial_fit(X, Y).get_flat(), twin.partial_fit(X, Y).get_flat()
    )


def test_epochs_of_a_fit_are_those_of_the_next() -> None:
    made = model().fit(X, Y, epochs=1)
    assert made.get_params()["epochs"] == made.train_spec.epochs == 1
    assert len(made.fit(X, Y).history) == 1


def test_a_model_of_a_file_takes_other_layers(tmp_path: Path) -> None:
    made = model(activation="tanh", dropout=0.1, class_weight={2: 3.0}).fit(X, Y)
    made.save(tmp_path / "m.safetensors")
    read = MLP.load(tmp_path / "m.safetensors", threads=1)
    assert read.get_params()["threads"] == 1
    assert read.get_params()["class_weight"] == {2: 3.0}
    other = read.set_params(hidden=(8, 4), threads=None).fit(X, Y)
    wanted = made.with_(hidden=(8, 4)).fit(X, Y)
    np.testing.assert_array_equal(other.get_flat(), wanted.get_flat())


# ------------------------------------------------------------------------ clones and tags


def test_a_clone_has_the_settings_alone() -> None:
    made = model(activation=["tanh"], class_weight={0: 1, 2: 5}).fit(X, Y)
    copy = clone(made)
    assert copy.get_params() == made.get_params()
    assert copy.get_params()["activation"] is not made.get_params()["activation"]
    assert repr(copy) == "MLP(hidden=(9,), not fitted)"
    np.testing.assert_array_equal(copy.fit(X, Y).get_flat(), made.get_flat())


def test_tags_know_the_task_where_it_is_known() -> None:
    assert (is_classifier(model()), is_regressor(model())) == (False, False)
    assert is_classifier(model(task="classes"))
    assert is_regressor(model(task="regression"))
    assert is_classifier(model().fit(X, Y))
    assert is_regressor(model().fit(X, NUMBERS))
    for made, mends in ((model(), False), (model(on_nonfinite="impute"), True)):
        tags = get_tags(made)
        assert tags.target_tags.required
        assert (tags.input_tags.allow_nan, tags.input_tags.sparse) == (mends, True)


def test_fitted_is_what_scikit_learn_takes_for_it() -> None:
    made = model()
    with pytest.raises(NotFittedError):
        check_is_fitted(made)
    assert not hasattr(made, "classes_")
    assert not hasattr(made, "n_features_in_")
    check_is_fitted(made.fit(X, Y))
    assert made.classes_.tolist() == [0, 1, 2]
    assert made.n_features_in_ == X.shape[1]
    assert not hasattr(model().fit(X, NUMBERS), "classes_")


def test_columns_are_counted_before_they_are_prepared() -> None:
    table = {"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "y", "z", "x"]}
    assert model(batch_size=None).fit(table, [0, 1, 0, 1]).n_features_in_ == 2


def test_scikit_learn_is_not_loaded_for_any_of_it() -> None:
    code = (
        "import sys; from nbmlp import MLP; m = MLP(3).set_params(epochs=2);"
        "m.__sklearn_clone__().get_params(); m.fit([[0.0], [1.0]] * 9, [0, 1] * 9);"
        "m.score([[0.0]], [0]); sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------- scores


def test_scores_are_scikit_learns() -> None:
    weight = np.random.default_rng(0).random(len(X))
    made = model().fit(X, Y)
    for w in (None, weight):
        wanted = accuracy_score(Y, made.predict(X), sample_weight=w)
        assert made.score(X, Y, w) == pytest.approx(wanted)
    both = np.column_stack([NUMBERS, NUMBERS**2])
    for y in (NUMBERS, both):
        made = model().fit(X, y)
        for w in (None, weight):
            wanted = r2_score(y, made.predict(X), sample_weight=w)
            assert made.score(X, y, sample_weight=w) == pytest.approx(wanted)


def test_a_label_that_was_not_there_in_training_is_a_miss() -> None:
    made, strange = model().fit(X, Y), np.where(Y == 0, 7, Y)
    assert made.score(X, strange) == accuracy_score(strange, made.predict(X))
    assert made.score(X, Y.astype(str)) == 0.0


# --------------------------------------------------------------------------- their tools


def test_cross_validation_draws_folds_of_classes() -> None:
    found = cross_val_score(model(task="classes"), X, Y, cv=3)
    folds = StratifiedKFold(3).split(X, Y)
    wanted = [model(task="classes").fit(X[a], Y[a]).score(X[b], Y[b]) for a, b in folds]
    assert found.tolist() == wanted
    losses = cross_val_score(model(task="classes"), X, Y, cv=2, scoring="neg_log_loss")
    assert np.isfinite(losses).all()
    shares = cross_val_predict(model(task="classes"), X, Y, cv=2, method="predict_proba")
    assert shares.shape == (len(X), 3)


def test_weights_of_rows_go_through_cross_validation() -> None:
    weight = np.where(Y == 0, 0.01, 1.0)
    found = cross_val_score(
        model(task="classes", epochs=20), X, Y, cv=2, params={"sample_weight": weight}
    )
    plain = cross_val_score(model(task="classes", epochs=20), X, Y, cv=2)
    assert found.tolist() != plain.tolist()


def test_a_pipeline_with_other_tools() -> None:
    shifted = X * 50 + 1000
    pipe = make_pipeline(StandardScaler(), model(task="classes", epochs=20))
    pipe.set_params(mlp__hidden=(12,), mlp__learning_rate=0.01).fit(shifted, Y)
    assert pipe.score(shifted, Y) > 0.6
    assert pipe.classes_.tolist() == [0, 1, 2]
    assert is_classifier(pipe)
    assert "MLP(20-12-3" in repr(pipe)
    assert "MLP(20-12-3" in pipe._repr_html_()
    again = pickle.loads(pickle.dumps(pipe))
    np.testing.assert_array_equal(again.predict(shifted), pipe.predict(shifted))


def test_a_vote_among_models() -> None:
    models = [(str(seed), model(task="classes", seed=seed)) for seed in range(2)]
    vote = VotingClassifier(models, voting="soft").fit(X, Y)
    shares = np.mean([m.predict_proba(X) for m in vote.estimators_], axis=0)
    np.testing.assert_allclose(vote.predict_proba(X), shares)


def test_a_search_over_layers_and_rules() -> None:
    """In processes of their own: tests/test_joblib.py."""
    grid = {"hidden": [(9,), (8, 4)], "optimizer": ["sgd(0.001)", Adam(0.01)]}
    search = GridSearchCV(model(task="classes", epochs=20), grid, cv=2).fit(X, Y)
    assert search.best_params_["optimizer"] == Adam(0.01)
    best = model(task="classes", epochs=20, **search.best_params_).fit(X, Y)
    np.testing.assert_array_equal(search.best_estimator_.get_flat(), best.get_flat())
    assert search.predict(X).tolist() == best.predict(X).tolist()
