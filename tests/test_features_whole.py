"""Further kinds of layers outside of the engine: files, estimators, command line, reports."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_twin import FEATURES_ON
from sklearn.base import clone
from typer.testing import CliRunner

from nbmlp import MLP, MLPClassifier, MLPRegressor, ModelFileError, SpecError
from nbmlp.cli.app import app
from nbmlp.io import archive
from nbmlp.plan import Outline
from nbmlp.spec import FEATURES, FLAGS, ModelSpec

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
ALL = FEATURES_ON
#: What scikit-learn's estimators have of them.
FLAGS_ON: dict[str, Any] = dict.fromkeys(FLAGS, True)
RNG = np.random.default_rng(3)
X = RNG.normal(size=(80, 6))
LABELS = (X[:, 0] * X[:, 1] > 0).astype(int)
VECTORS = ["alpha", "gain", "shift"]
NAMES = {"layer1.scale", *(f"layer{k}.{name}" for k in (1, 2) for name in VECTORS)}


def fitted(**settings: Any) -> MLP:
    return MLP((8, 8), epochs=3, batch_size=20, **ALL | settings).fit(X, LABELS)


def rewritten(path: Path, **changes: Any) -> Path:
    """The file with some of its metadata changed; None takes them out."""
    arrays, metadata = archive.read(path, kind="model")
    metadata = {k: v for k, v in (metadata | changes).items() if v is not None}
    archive.write(path, arrays, metadata, kind="model")
    return path


def test_files_name_features_and_vectors(tmp_path: Path) -> None:
    model = fitted()
    model.save(tmp_path / "model")
    arrays, metadata = archive.read(tmp_path / "model", kind="model")
    assert metadata["features"] == list(FEATURES)
    assert arrays.keys() > NAMES
    assert arrays["layer1.scale"].shape == (28,)
    assert arrays["embedding.frequency"].shape == arrays["embedding.phase"].shape == (5, 4)
    assert arrays["embedding.weight"].shape == (10, 4)
    assert arrays["embedding.table2"].shape == (4, 8)
    assert not np.array_equal(arrays["layer2.alpha"], np.ones(8))
    other = MLP.load(tmp_path / "model")
    assert np.array_equal(other.outputs(X), model.outputs(X))
    assert other.model_spec == model.model_spec


def test_a_feature_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    fitted().save(tmp_path / "model")
    path = rewritten(tmp_path / "model", features=["layer_norm", "wavelets"])
    with pytest.raises(ModelFileError, match=r"its net has wavelets, which .* upgrade nbmlp\.$"):
        MLP.load(path)


def test_files_of_before_have_no_features(tmp_path: Path) -> None:
    model = MLP(8, epochs=2).fit(X, LABELS)
    model.save(tmp_path / "model")
    _, metadata = archive.read(tmp_path / "model", kind="model")
    assert metadata["features"] == []
    assert not set(FEATURES) & metadata["model"].keys()  # an older version reads it
    other = MLP.load(rewritten(tmp_path / "model", features=None))
    assert np.array_equal(other.outputs(X), model.outputs(X))


def test_the_order_of_flat_parameters_is_that_of_the_layers() -> None:
    model = fitted()
    state = model.net.state
    names = [f"{part.name}{block.layer + 1}" for block, part, _ in state.parts()]
    assert names == [
        "weight0", "frequency0", "phase0", "bias0", "table10", "table20",
        "weight1", "bias1", "scale1", "gain1", "shift1", "alpha1",
        "weight2", "bias2", "gain2", "shift2", "alpha2", "weight3", "bias3",
    ]  # fmt: skip
    assert state.get_flat().size == model.model_spec.n_parameters


def test_first_values_leave_the_net_as_it_was() -> None:
    """Factors begin at one: nothing but layer_norm and the ways past change the first outputs."""
    plain, factors = (
        MLP((8, 8), epochs=1, learning_rate=1e-30, **settings).fit(X, LABELS)
        for settings in ({}, {"parametric_activation": True, "input_scale": True})
    )
    np.testing.assert_allclose(factors.outputs(X), plain.outputs(X), rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "rprop(0.01)"])
def test_all_rows_at_once(optimizer: str) -> None:
    model = MLP((8, 8), optimizer=optimizer, batch_size=None, epochs=10, dtype="float64", **ALL)
    losses = model.fit(X, LABELS).history.train_loss
    assert losses[-1] < 0.9 * losses[0]
    assert model.check_gradients(X, LABELS).passed


def test_reports_name_them() -> None:
    shown = str(Outline.of(ModelSpec(6, 2, (8, 8), "gelu", dropout=0.1, **ALL), 20, 1))
    assert "norm, parametric gelu, dropout\n" not in shown.splitlines()[0]
    assert "norm, parametric gelu, dropout, residual" in shown
    assert "4 numbers, each by 5 cosines to 2 more; 2 codes, each to 8\n" in shown
    checked = {block.name for block in fitted().check_gradients(X, LABELS).blocks}
    assert checked >= {"scale1", "gain2", "embedding.frequency"}


def test_what_does_not_go_together() -> None:
    with pytest.raises(SpecError, match=r"residual needs a hidden layer .*\(8, 4\) has none\.$"):
        MLP((8, 4), residual=True)
    with pytest.raises(SpecError, match=r"function= .* layer_norm does not go with it\.$"):
        fitted(dtype="float64").check_gradients(X, LABELS, function=lambda *_: (0.0, []))
    with pytest.raises(SpecError, match=r"layer_norm needs solver='sgd' or 'adam'"):
        MLPClassifier((8, 8), solver="lbfgs", layer_norm=True).fit(X, LABELS)
    with pytest.raises(ValueError, match="residual"):
        MLPClassifier((8, 8), residual=3).fit(X, LABELS)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_estimators(early_stopping: bool) -> None:
    settings = {"max_iter": 8, "n_iter_no_change": 2, "early_stopping": early_stopping}
    model = MLPClassifier((8, 8), random_state=0, **settings, **FLAGS_ON)
    clone(model).fit(X, LABELS)
    model.fit(X, LABELS)
    assert model.vectors_.keys() == NAMES
    copied = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copied.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(copied.vectors_["layer2.gain"], model.vectors_["layer2.gain"])
    native = model.to_mlp()
    np.testing.assert_allclose(native.predict_proba(X), model.predict_proba(X), rtol=1e-12)
    again = MLPClassifier.from_mlp(native)
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_estimators_go_on_with_what_they_have_learned() -> None:
    """A changed setting, or a pickle between two calls, changes nothing of it."""
    y, ends = X[:, 0] + X[:, 1], []
    for between in (lambda m: m, lambda m: pickle.loads(pickle.dumps(m))):
        model = MLPRegressor(hidden_layer_sizes=(8, 8), random_state=0, shuffle=False, **FLAGS_ON)
        model.partial_fit(X, y)
        ends.append(between(model).partial_fit(X, y).predict(X))
    assert np.array_equal(*ends)
    before = {name: values.copy() for name, values in model.vectors_.items()}
    model.set_params(dropout=0.2).predict(X)
    assert all(np.array_equal(model.vectors_[name], before[name]) for name in before)


def test_estimators_go_back_to_the_best_vectors() -> None:
    """Those of the epoch whose weights early stopping takes: its score is met again."""
    model = MLPRegressor(
        hidden_layer_sizes=(8, 8), random_state=0, early_stopping=True, learning_rate_init=0.3,
        max_iter=12, n_iter_no_change=3, validation_fraction=0.3, **FLAGS_ON,
    )  # fmt: skip
    y = X[:, 0] + X[:, 1]
    held: list[Any] = []

    def keep(model: Any) -> None:
        held.append(model._best_vectors["layer1.alpha"].copy())

    model.set_params(callbacks=[keep])
    model.fit(X, y)
    best = int(np.argmax(model.validation_scores_))
    assert best < len(model.validation_scores_) - 1
    assert np.array_equal(model.vectors_["layer1.alpha"], held[best])


def test_command_line(tmp_path: Path) -> None:
    table, out = tmp_path / "table.csv", tmp_path / "net.safetensors"
    rows = np.column_stack([X, X[:, 0]])
    np.savetxt(table, rows, delimiter=",", header="a,b,c,d,e,f,y", comments="")
    flags = ["--" + name.replace("_", "-") for name in FLAGS]
    flags += ["--number-embedding", ALL["number_embedding"], "--n-numbers", "4"]
    arguments = ["train", "--data", str(table), "--target", "y", "--hidden", "8,8", "--epochs", "2"]
    ran = CliRunner().invoke(app, [*arguments, *flags, "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    spec = MLP.load(out).model_spec
    assert spec.features == (*FLAGS, "number_embedding")
    assert (spec.numbers, spec.number_embedding) == (4, "pbld(5, 3, 0.5)")
