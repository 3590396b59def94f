"""Settings that the drop-in estimators share with MLP: the same names, defaults and results."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

from nbmlp import MLP, AdamW, MLPClassifier, MLPRegressor, SpecError
from nbmlp.estimators.extensions import NOT_TAKEN, OF_NET, OF_TRAINING
from nbmlp.spec import SETTINGS

RNG = np.random.default_rng(4)
#: Three numbers and a code of three.
X = np.column_stack([RNG.normal(size=(100, 3)), RNG.integers(0, 3, 100)])
Y = np.sin(3 * X[:, 0]) + (X[:, 3] == 1)
EMBEDDED: dict[str, Any] = {
    "number_embedding": "pbld(4, 3, 0.3)", "code_counts": (3,), "code_width": 2,
}  # fmt: skip
TRAINED: dict[str, Any] = {
    "ema": 0.8, "rate_factors": {"bias": 0.5, "layer2.weight": "1/sqrt(inputs)"},
    "decay_factors": {"layer1.weight": 3.0}, "decay_schedule": "flat_cos",
}  # fmt: skip
FEW: dict[str, Any] = {
    "hidden_layer_sizes": (8, 6), "random_state": 0, "shuffle": False, "max_iter": 4,
    "n_iter_no_change": 100, "alpha": 0.0, "batch_size": 25,
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_each_setting_of_mlp_is_a_parameter_or_a_reason_says_why_not(kind: Any) -> None:
    parameters = inspect.signature(kind).parameters
    shared = {name for name in SETTINGS if name not in NOT_TAKEN}
    own = shared - ({"class_weight", "label_smoothing"} if kind is MLPRegressor else set())
    assert own <= set(parameters)
    assert {*OF_NET, *OF_TRAINING} <= own
    for name in {*OF_NET, *OF_TRAINING}:
        assert parameters[name].default == SETTINGS[name].default


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_what_scikit_learn_s_order_of_rows_excludes_is_told(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"takes no shards: .* order, .*: MLP\(shards=\.\.\.\) has"):
        kind(shards=4)
    with pytest.raises(TypeError, match=r"takes no bias: of MLP alone\.$"):
        kind(bias=False)
    with pytest.raises(SpecError, match=r"takes no comm: .* order, .*; MLP\(shards=\.\.\.\)\.fit"):
        kind().fit(X, Y > 0, comm=object())


@pytest.mark.parametrize("embedded", [{}, EMBEDDED])
def test_they_do_what_they_do_in_mlp(embedded: dict[str, Any]) -> None:
    rule = AdamW(0.02, weight_decay=0.3)
    native = MLP(
        (8, 6), optimizer=rule, schedule="constant", batch_size=25, epochs=4, shuffle=False,
        dtype="float64", task="regression", **embedded, **TRAINED,
    ).build(X, Y)  # fmt: skip
    model = MLPRegressor.from_mlp(native)
    assert model.coefs_[0].shape == ((3 + 3 * 2 + 2 if embedded else 4), 8)
    model.set_params(**FEW, optimizer=rule, warm_start=True, **TRAINED).fit(X, Y)
    native.fit(X, Y)
    np.testing.assert_allclose(model.predict(X), native.predict(X), rtol=1e-9)
    back = model.to_mlp()
    np.testing.assert_allclose(back.predict(X), native.predict(X), rtol=1e-9)
    for name, value in (TRAINED | embedded).items():
        assert back.get_params()[name] == value


def test_embeddings_begin_at_random_and_are_learned() -> None:
    first, other = (
        MLPRegressor(**{**FEW, "random_state": seed, "max_iter": 1}, **EMBEDDED).fit(X, Y)
        for seed in (0, 1)
    )
    assert first.vectors_.keys() == other.vectors_.keys() != set()
    assert not any(np.array_equal(v, other.vectors_[n]) for n, v in first.vectors_.items())
    whole = MLPRegressor(**{**FEW, "max_iter": 60}, **EMBEDDED, learning_rate_init=0.02).fit(X, Y)
    assert whole.score(X, Y) > 0.9 > first.score(X, Y)
    assert clone(whole).fit(X, Y).score(X, Y) == whole.score(X, Y)
    with pytest.raises(SpecError, match="number_embedding does not go with sparse rows"):
        whole.predict(csr_array(X))
    with pytest.raises(SpecError, match="number_embedding does not go with sparse rows"):
        clone(whole).fit(csr_array(X), Y)


def test_the_average_is_what_is_validated_and_kept() -> None:
    seen: list[Any] = []
    model = MLPRegressor(
        **FEW, ema=0.9, learning_rate_init=0.05, callbacks=[lambda m: seen.append(m.predict(X))]
    ).fit(X[:80], Y[:80], X_val=X[80:], y_val=Y[80:])  # fmt: skip
    np.testing.assert_array_equal(seen[-1], model.predict(X))
    loss = 0.5 * np.mean((Y[80:] - model.predict(X[80:])) ** 2)
    assert model.validation_loss_curve_[-1] == pytest.approx(loss)
    plain = clone(model).set_params(ema=None, callbacks=None).fit(X[:80], Y[:80])
    np.testing.assert_array_equal(plain.loss_curve_, model.loss_curve_)  # training is the same
    assert not np.allclose(plain.predict(X), model.predict(X))


def test_a_pickle_between_two_calls_changes_nothing() -> None:
    ends = []
    for between in (lambda m: m, lambda m: pickle.loads(pickle.dumps(m))):
        model = MLPRegressor(**FEW, **EMBEDDED, ema=0.9)
        for _ in range(3):
            model = between(model.partial_fit(X, Y))
        ends.append(model.predict(X))
    np.testing.assert_array_equal(*ends)
    changed = pickle.loads(pickle.dumps(model))
    changed.coefs_ = [0.5 * W for W in changed.coefs_]
    changed.partial_fit(X, Y)
    assert not np.array_equal(changed.predict(X), model.partial_fit(X, Y).predict(X))


def test_the_shares_that_are_dropped_follow_their_schedule() -> None:
    settings: dict[str, Any] = {**FEW, "dropout": 0.5, "max_iter": 6}
    whole = MLPRegressor(**settings).fit(X, Y)
    less = MLPRegressor(**settings, dropout_schedule="flat_cos").fit(X, Y)
    np.testing.assert_array_equal(whole.loss_curve_[:2], less.loss_curve_[:2])  # flat at first
    assert whole.loss_curve_[-1] != less.loss_curve_[-1]
    once = MLPRegressor(**settings).partial_fit(X, Y)
    again = MLPRegressor(**settings, dropout_schedule="flat_cos").partial_fit(X, Y)
    np.testing.assert_array_equal(once.predict(X), again.predict(X))  # its end is not known


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ema": 2.0}, r"ema=2\.0 must be a number"),
        ({"rate_factors": {"layer9.weight": 2.0}}, "layer9"),
        ({"decay_factors": {"bias": 2.0}}, "bias"),
        ({"number_embedding": "pdlb"}, "pbld"),
        ({"code_counts": (3, 3, 3, 3, 3)}, "code_counts|inputs"),
        ({"dropout_schedule": "flatcos"}, "flat_cos"),
        ({"ema": 0.9, "solver": "lbfgs"}, "ema needs solver='sgd' or 'adam'"),
        ({**EMBEDDED, "solver": "lbfgs"}, "number_embedding needs solver='sgd' or 'adam'"),
    ],
)
def test_wrong_settings_get_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        MLPRegressor(**{**FEW, **settings}).fit(X, Y)
