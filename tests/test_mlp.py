"""The class users meet: what it takes, what it returns, and what it says to bad input."""

from __future__ import annotations

import gc
import re
import sys
import tracemalloc
import types
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from nbmlp import MLP, mlp
from nbmlp.coding import TargetCoding
from nbmlp.data import Table
from nbmlp.errors import DataError, ModelFileError, NbmlpError, NotFittedError, SpecError
from nbmlp.net import Net
from nbmlp.plan import make_plan
from nbmlp.predict import Pace
from nbmlp.train import loop
from nbmlp.train.callbacks import Callback
from nbmlp.train.engine import Engine
from nbmlp.train.standard import EarlyStopping
from tests import children

FAST = {"hidden": (9,), "epochs": 2, "batch_size": 25, "seed": 1}


def model(**changes: Any) -> MLP:
    return MLP(**{**FAST, **changes})


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    return children.rows(110)


class Untouched:
    """A fitted model that must not change while errors are provoked."""

    def __init__(self, fitted: MLP) -> None:
        self.model, self.flat = fitted, fitted.get_flat()
        self.spec, self.history = fitted.model_spec, fitted.history.to_dict()
        self.train = fitted.train_spec

    def check(self) -> None:
        np.testing.assert_array_equal(self.model.get_flat(), self.flat)
        assert self.model.model_spec == self.spec
        assert self.model.train_spec == self.train
        assert self.model.history.to_dict() == self.history


# ------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"activaton": "relu"}, "unknown setting 'activaton': did you mean 'activation'?"),
        ({"activation": "rellu"}, "unknown activation 'rellu': did you mean 'relu'?"),
        ({"output": "softmx"}, "unknown output 'softmx': did you mean 'softmax'?"),
        ({"loss": "hubber"}, "unknown loss 'hubber': did you mean 'huber'?"),
        ({"optimizer": "adamm"}, "unknown optimizer 'adamm': did you mean 'adam'?"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'?"),
        ({"init": "he_unifrm"}, "unknown init 'he_unifrm': did you mean 'he_uniform'?"),
        ({"task": "class"}, "unknown task 'class': did you mean 'classes'?"),
        ({"dtype": "float16"}, "dtype='float16': choose float32 or float64."),
        ({"batch_size": 0}, "batch_size=0 must be a whole number, 1 or more."),
        ({"epochs": 1.5}, "epochs=1.5 must be a whole number, 1 or more."),
        ({"threads": 0}, "threads=0 must be a whole number, 1 or more."),
        ({"hidden": 0}, "hidden=0 must be a whole number, 1 or more."),
        ({"hidden": "300"}, "hidden='300' must be a whole number, 1 or more."),
        ({"hidden": 3.5}, "hidden=3.5 must be a whole number, 1 or more."),
        ({"hidden": None}, "hidden=None must be a whole number, 1 or more."),
        ({"hidden": (5, -1)}, "hidden=-1 must be a whole number, 1 or more."),
        ({"learning_rate": 0}, "adam: learning_rate=0.0 must be a number in (0, inf)."),
        ({"standardise": "yes"}, "standardise='yes' must be True or False."),
    ],
)
def test_settings_are_refused_at_once(settings, sentence):
    with pytest.raises(SpecError) as caught:
        model(**settings)
    assert str(caught.value) == sentence


X0, Y0 = children.rows(110)
BAD_DATA: dict[str, tuple[Any, Any, str]] = {
    "one dimension": (X0[:, 0], Y0, "X has shape (110,): rows and columns are needed"),
    "three dimensions": (X0[:, :, None], Y0, "X has shape (110, 20, 1)"),
    "a number": (3.0, Y0, "X has shape (): rows and columns are needed"),
    "nothing": (None, Y0, "X holds None"),
    "no rows": (X0[:0], Y0[:0], "X has shape (0, 20): at least one row and column"),
    "no columns": (X0[:, :0], Y0, "X has shape (110, 0): at least one row and column"),
    "text": ([["1", "a"]] * 110, Y0, "X holds '1' at row 0, column 0"),
    "objects": (X0.astype(object), Y0, "X holds Python objects (object): pass it as .astype"),
    "complex": (X0 * 1j, Y0, "X holds complex numbers"),
    "dates": (X0.astype("M8[s]"), Y0, "X holds datetime64[s]: turn it into numbers"),
    "ragged": ([[1, 2], [3]], [0, 1], "X has rows of different lengths"),
    "sparse, complex": (scipy.sparse.csr_array(X0 * 1j), Y0, "X holds complex"),
    "y too short": (X0, Y0[:-1], "y has 109 rows and X has 110"),
    "y too long": (X0, [*Y0, 1], "y has 111 rows and X has 110"),
    "numbers too short": (X0, X0[:9, 0], "y has 9 rows and X has 110"),
    "one class": (X0, np.full(110, 7), "y has the one class 7: two are needed"),
    "one class of text": (X0, ["a"] * 110, "y has the one class 'a': two are needed"),
    "missing labels": (X0, [None] * 110, "y has no value at row 0"),
    "labels of two kinds": (X0, np.array(["a", 1] * 55, object), "y mixes str with int at row 1"),
    "too large": (X0, X0[:, 0] * np.float64(1e200), "too large for float32"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_leave_the_model_as_it_was(data, case):
    X, y, sentence = BAD_DATA[case]
    new = model()
    for fit in (new.fit, new.partial_fit):
        with pytest.raises(DataError, match=re.escape(sentence)):
            fit(X, y)
        with pytest.raises(NotFittedError):
            new.predict(X0)
    fitted = model().fit(*data)
    before = Untouched(fitted)
    with pytest.raises(DataError, match=re.escape(sentence)):
        fitted.fit(X, y)
    before.check()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"validation": (X0[:, 1:], Y0)}, "X has 19 columns: the model was fitted on 20."),
        ({"validation": (X0, Y0[1:])}, "y has 109 rows and X has 110"),
        ({"validation": (X0, Y0 + 1)}, "y has the label 3 at row"),
        ({"validation": (X0,)}, "validation must be (X, y) or a share of the rows, e.g. 0.1."),
        ({"validation": "0.1"}, "validation names files, and X is data: give (X, y) there"),
        ({"validation": 0}, "validation=0 must be a number in (0, 1)."),
        ({"validation": 1.0}, "validation=1.0 must be a number in (0, 1)."),
        ({"validation": True}, "validation=True must be a number in (0, 1)."),
        ({"sample_weight": [1.0]}, "sample_weight has shape (1,): one weight for each of 110"),
        ({"sample_weight": np.zeros(110)}, "sample_weight is 0 in every row"),
        ({"sample_weight": ["a"] * 110}, "sample_weight holds 'a'"),
        ({"epochs": 0}, "epochs=0 must be a whole number, 1 or more."),
        ({"callbacks": 3}, "callbacks=3: give a list of them."),
        ({"callbacks": [3]}, "callback 3 is neither a Callback nor a function"),
        ({"callbacks": [EarlyStopping]}, "callback EarlyStopping is a class"),
        ({"resume": "no such file"}, "cannot read no such file: No such file or directory"),
    ],
)
def test_bad_arguments_leave_the_model_as_it_was(data, arguments, sentence):
    fitted = model().fit(*data)
    before = Untouched(fitted)
    with pytest.raises(NbmlpError, match=re.escape(sentence)):
        fitted.fit(*data, **arguments)
    before.check()


def test_batch_larger_than_the_data(data):
    new = model(batch_size=111)
    with pytest.raises(SpecError, match="batch_size=111 is larger than the 110 rows of the data"):
        new.fit(*data)
    with pytest.raises(SpecError, match="is larger than the 88 rows"):
        model(batch_size=100).fit(*data, validation=0.2)
    assert len(model(batch_size=110).fit(*data).history) == 2
    assert new.partial_fit(*data).net.state.step == 1  # blocks of a stream may be smaller


def test_a_later_fit_may_change_everything(data):
    X, y = data
    fitted = model().fit(X, y)
    fitted.fit(X[:, :3], X[:, 4])
    assert fitted.model_spec.layer_sizes == (3, 9, 1)
    assert fitted.predict(X[:, :3]).shape == (110,)


def test_use_before_fit(data):
    X, y = data
    new = model()
    uses = {
        "predict": lambda: new.predict(X), "predict_proba": lambda: new.predict_proba(X),
        "evaluate": lambda: new.evaluate(X, y), "get_flat": new.get_flat,
        "set_flat": lambda: new.set_flat([1.0]), "weights": lambda: new.weights,
        "save": lambda: new.save("never written"), "classes": lambda: new.classes,
        "loss_and_gradient": lambda: new.loss_and_gradient(X, y),
        "model_spec": lambda: new.model_spec,
    }  # fmt: skip
    for use in uses.values():
        with pytest.raises(NotFittedError, match="has not seen data yet: call fit or load first"):
            use()
    assert not Path("never written").exists()
    assert repr(new) == "MLP(hidden=(9,), not fitted)"


def test_bad_data_after_a_fit(data):
    X, y = data
    fitted = model().fit(X, y)
    before = Untouched(fitted)
    for use in (fitted.partial_fit, fitted.evaluate, fitted.loss_and_gradient):
        with pytest.raises(DataError, match="X has 19 columns: the model was fitted on 20"):
            use(X[:, 1:], y)
        with pytest.raises(DataError, match=r"y has the label 3 at row .*: they are 0, 1, 2"):
            use(X, y + 1)
        with pytest.raises(DataError, match=r"y has the label '.' at row .*: they are 0, 1, 2"):
            use(X, y.astype(str))
    for use in (fitted.predict, fitted.predict_proba, fitted.outputs):
        with pytest.raises(DataError, match="X has 19 columns"):
            use(X[:, 1:])
        with pytest.raises(DataError, match="at least one row"):
            use(X[:0])
    for flat in ([1.0], ["a"] * 200, None):
        with pytest.raises(DataError):
            fitted.set_flat(flat)
    before.check()


def test_probabilities_of_a_regression(data):
    X, _ = data
    with pytest.raises(SpecError, match="predict_proba needs classes"):
        model().fit(X, X[:, 0]).predict_proba(X)


# ------------------------------------------------------------------- targets and outputs


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, -7, 90]), np.array(["cat", "dog", "a bird"]), np.array([True, False]),
        np.array([1.5, 2.5]), np.array([b"x", b"y"]), np.array([200, 3], np.uint8),
        np.array(["u", "v", "w"], object),
    ],
    ids=lambda v: f"{v.dtype}",
)  # fmt: skip
def test_labels_come_back_in_their_kind(data, labels):
    X, y = data
    given = labels[y % len(labels)]
    fitted = model(task="classes", epochs=30, schedule="constant", learning_rate=0.01)
    fitted.fit(X, given)
    found = fitted.predict(X)
    text = given.astype(str) if given.dtype.kind in "SO" else given
    assert found.dtype.kind == {"S": "U", "O": "U", "u": "i"}.get(
        given.dtype.kind, found.dtype.kind
    )
    assert np.mean(found == text) > 0.8
    assert fitted.classes.tolist() == np.unique(text).tolist()
    shares = fitted.predict_proba(X)
    assert shares.shape == (110, len(labels))
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-5)
    assert np.mean(fitted.classes[shares.argmax(axis=1)] == found) == 1.0
    result = fitted.evaluate(X, given)
    assert result["accuracy"] == pytest.approx(np.mean(found == text))
    assert result["error"] == pytest.approx(1 - result["accuracy"])
    rows = np.searchsorted(fitted.classes, text)
    loss = -np.log(shares[np.arange(110), rows]).mean()
    assert result["loss"] == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize(
    ("y", "task", "sizes", "output", "loss", "shape"),
    [
        (Y0, "auto", 3, "softmax", "cross_entropy", (110,)),
        (Y0 > 0, "auto", 1, "logistic", "binary_cross_entropy", (110,)),
        (Y0 * 1.0, "auto", 1, "identity", "squared_error", (110,)),
        (Y0 * 1.0, "classes", 3, "softmax", "cross_entropy", (110,)),
        (Y0, "regression", 1, "identity", "squared_error", (110,)),
        (np.arange(110), "auto", 1, "identity", "squared_error", (110,)),
        (X0[:, :2], "auto", 2, "identity", "squared_error", (110, 2)),
        (X0[:, :1], "auto", 1, "identity", "squared_error", (110, 1)),
    ],
)
def test_task_and_shapes(y, task, sizes, output, loss, shape):
    fitted = model(task=task).fit(X0, y)
    spec = fitted.model_spec
    assert (spec.n_inputs, spec.n_outputs, spec.output, spec.loss) == (20, sizes, output, loss)
    assert fitted.predict(X0).shape == shape
    assert fitted.predict(X0[:1]).shape == (1, *shape[1:])
    assert fitted.outputs(X0).shape == (110, sizes)


def test_evaluate_a_regression(data):
    X, _ = data
    y, weight = X[:, :2] * 2 + 1, np.linspace(0, 1, 110)
    fitted = model(epochs=30, learning_rate=0.02).fit(X, y)
    found = fitted.predict(X)
    result = fitted.evaluate(X, y)
    assert result["mean_squared_error"] == pytest.approx(np.mean((found - y) ** 2), rel=1e-5)
    assert result["mean_absolute_error"] == pytest.approx(np.mean(np.abs(found - y)), rel=1e-5)
    assert result["loss"] == pytest.approx(np.mean((found - y) ** 2), rel=1e-5)  # 1/2 * 2 outputs
    assert 0 < result["r2"] < 1
    weighted = fitted.evaluate(X, y, weight)["loss"]
    expected = np.average(0.5 * ((found - y) ** 2).sum(axis=1), weights=weight)
    assert weighted == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------- kinds of data


def other_forms(X: np.ndarray, folder: Path) -> dict[str, Any]:
    """The same numbers, lying otherwise."""
    np.save(folder / "x.npy", X)
    wide = np.zeros((len(X), 2 * X.shape[1]), X.dtype)
    wide[:, ::2] = X
    raw = np.zeros(X.nbytes + 1, np.uint8)
    odd = raw[1:].view(X.dtype).reshape(X.shape)
    odd[:] = X
    return {
        "mapped": np.load(folder / "x.npy", mmap_mode="r"),
        "Fortran": np.asfortranarray(X),
        "backwards": X[::-1].copy()[::-1],
        "apart": np.repeat(X, 2, axis=0)[::2],
        "part of a wider one": np.hstack([X, X])[:, : X.shape[1]],
        "every other column": wide[:, ::2],
        "big-endian": X.astype(X.dtype.newbyteorder(">")),
        "not aligned": odd,
        "read only": np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
        "list": X.tolist(),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_may_lie_in_any_way(data, tmp_path, dtype):
    X, y = data[0].astype(dtype), data[1]
    expected = model(dtype=dtype).fit(X, y)
    for name, form in other_forms(X, tmp_path).items():
        found = model(dtype=dtype).fit(form, y)
        np.testing.assert_array_equal(found.get_flat(), expected.get_flat(), name)
        np.testing.assert_array_equal(found.outputs(form), expected.outputs(X), name)


@pytest.mark.parametrize("kind", ["int8", "int64", "uint16", "float16", "bool"])
def test_other_numbers_are_converted(data, kind):
    X, y = np.abs(data[0] * 5).astype(kind), data[1]
    found, expected = model().fit(X, y), model().fit(X.astype(np.float32), y)
    np.testing.assert_array_equal(found.get_flat(), expected.get_flat())


def test_bytes_are_shares_of_255():
    X, y = children.rows(110, kind="uint8")
    fitted = model().fit(X, y)
    expected = model().fit(X.astype(np.float32) / 255, y)
    np.testing.assert_allclose(fitted.get_flat(), expected.get_flat(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(fitted.outputs(X.astype(np.float32)), fitted.outputs(X))


def table(n: int) -> tuple[dict[str, Any], np.ndarray]:
    """Columns such as a census has."""
    rng = np.random.default_rng(n)
    age = rng.integers(17, 80, n).astype(float)
    work = np.array(["Private", "State-gov", "?", "Self-emp"])[rng.integers(0, 4, n)]
    hours = np.where(rng.random(n) < 0.1, np.nan, rng.normal(40, 10, n))
    rich = (age > 45) ^ (work == "Private")
    return {"age": age, "workclass": work, "hours": hours}, np.where(rich, ">50K", "<=50K")


@pytest.mark.parametrize("kind", [Table, pd.DataFrame])
def test_tables(tmp_path, kind):
    columns, y = table(400)
    fitted = model(hidden=(16,), epochs=30, learning_rate=0.01).fit(kind(columns), y)
    assert fitted.evaluate(kind(columns), y)["accuracy"] > 0.9
    new, _ = table(9)
    new["workclass"][0], new["hours"][1] = "never seen before", np.nan
    found = fitted.predict_proba(kind(new))
    assert np.isfinite(found).all()
    fitted.save(tmp_path / "m")
    loaded = MLP.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict_proba(kind(new)), found)
    with pytest.raises(DataError, match="hours"):
        fitted.predict(kind({k: v for k, v in new.items() if k != "hours"}))


def test_validation_share_of_a_table():
    columns, y = table(400)
    fitted = model().fit(Table(columns), y, validation=0.25, sample_weight=np.arange(400.0))
    assert fitted.history[-1].val_loss is not None
    assert fitted.net.state.step == 2 * 300 // 25


def test_standardise(data):
    X, _ = data
    far = X.astype(np.float64) * 1000 + 5e5
    y = X[:, 0] * 300 + 7000
    fitted = model(standardise=True, epochs=60, learning_rate=0.02).fit(far, y)
    assert fitted.evaluate(far, y)["r2"] > 0.9
    assert abs(fitted.predict(far).mean() - 7000) < 100
    plain = model(epochs=60, learning_rate=0.02).fit((far - far.mean(0)) / far.std(0), y)
    assert plain.evaluate((far - far.mean(0)) / far.std(0), y)["r2"] < 0


# ----------------------------------------------------------------------------- training


def test_weights_count_as_repeated_rows(data):
    X, y = data[0].astype(np.float64), data[1]
    times = np.random.default_rng(0).integers(0, 4, 110)
    settings = {"dtype": "float64", "batch_size": None, "optimizer": "sgd", "epochs": 20}
    weighted = model(**settings).fit(X, y, sample_weight=times)
    repeated = model(**settings)
    repeated.fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.get_flat(), repeated.get_flat(), rtol=1e-10, atol=1e-12)
    assert weighted.history.train_loss == pytest.approx(repeated.history.train_loss, rel=1e-12)


def test_validation_share(data):
    X, y = data
    names = np.array(["a", "b", "c"])[y]
    first, second = (model().fit(X, names, validation=0.2) for _ in range(2))
    assert first.net.state.step == 2 * -(-88 // 25)
    np.testing.assert_array_equal(first.get_flat(), second.get_flat())
    assert first.history[0].val_loss == second.history[0].val_loss > 0


def test_history(data):
    X, y = data
    fitted = model(epochs=4, l2=0.1, gradient_norms=True, schedule="exponential(0.5)")
    fitted.fit(X, y, validation=(X, y))
    history = fitted.history
    assert [r.epoch for r in history] == [1, 2, 3, 4]
    for record in history:
        assert record.train_loss == record.data_loss + record.penalty
        assert record.penalty > 0
        assert record.samples_per_second > 0
        assert 0 < record.seconds < 60
        assert record.threads >= 1
        assert len(record.gradient_norms) == 2
        assert min(record.gradient_norms) > 0
    result = fitted.evaluate(X, y)
    assert history[-1].val_loss == result["loss"]
    assert history[-1].val_score == result["accuracy"]
    penalty = 0.05 * sum(float((W.astype(np.float64) ** 2).sum()) for W in fitted.weights)
    assert history[-1].penalty == pytest.approx(penalty)
    assert history[-1].learning_rate < 0.6 * history[-2].learning_rate
    assert history.stop_reason == "epochs done"
    assert fitted.fit(X, y).history is not history


class Counted:
    """Something that can be made an array of, as a list can; counts how often it was."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.times = values, 0

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.times += 1
        return np.array(self.values, dtype)


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("task", ["auto", "classes", "regression"])
@pytest.mark.parametrize("use", ["fit", "partial_fit", "fit and validate", "scan_batch"])
def test_lists_become_arrays_once(data, use, task, standardise):
    given = [Counted(values) for values in data]
    if use == "scan_batch":
        options = {"sizes": (10,), "seconds": 0.1}
    else:
        options = {"validation": tuple(map(Counted, data))} if "validate" in use else {}
    fitted = model(task=task, standardise=standardise)
    getattr(fitted, use.split()[0])(*given, **options)
    given += options.get("validation", ())
    assert [one.times for one in given] == [1] * len(given)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.bool_, "<U", scipy.sparse.csr_array])
def test_other_numbers_are_converted_once(data, kind, monkeypatch):
    """What the net learns its shape from is what it is trained on."""
    X, y = (data[0] * 100).astype(np.int64), data[1]
    if kind == "<U":
        X = pd.DataFrame({"text": np.array(["a", "b"])[X[:, 0] % 2], "number": X[:, 1]})
    else:
        X = kind(X) if kind is scipy.sparse.csr_array else X.astype(kind)
    seen = []
    learn, rows = Net.learn.__func__, Net.rows
    monkeypatch.setattr(Net, "learn", classmethod(lambda *a: (seen.append(a[2]), learn(*a))[1]))
    monkeypatch.setattr(Net, "rows", lambda *a, **k: (seen.append(a[1]), rows(*a, **k))[1])
    fitted = model().fit(X, y)
    assert seen[0] is seen[1] is not X or kind is np.uint8
    assert fitted.net.inputs(seen[1]) is seen[1] or kind == "<U"


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
@pytest.mark.parametrize("rows", [10, 2000])
def test_a_bad_target_is_named_however_many_there_are(rows, value, kind):
    """Many are looked through by compiled code first."""
    X, Y = np.random.default_rng(0).normal(size=(rows, 3)), np.ones((rows, 40), kind)
    fitted = model(task="regression").partial_fit(X, Y)
    before = fitted.get_flat()
    with np.errstate(over="ignore"):
        Y[[rows - 2, rows - 1], 13] = value
    with pytest.raises(DataError, match=f"^y has .* at row {rows - 2}, column 13 "):
        fitted.partial_fit(X, Y)
    np.testing.assert_array_equal(fitted.get_flat(), before)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_targets_are_not_copied_to_learn_their_shape(kind):
    y = np.zeros((50_000, 4), kind)
    tracemalloc.start()
    coding = TargetCoding.fit(y, "auto", softmax=False, scaled=False)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert coding.n_outputs == 4
    assert most < y.nbytes / 2


class Progresses(Callback):
    def on_fit_begin(self, run):
        self.seen = []

    def on_progress(self, run, progress):
        self.seen.append((run.phase, progress.loss_so_far))


def test_loss_so_far_is_without_penalty(data):
    told = Progresses()
    fitted = model(epochs=1, l2=0.1).fit(*data, callbacks=[told])
    assert told.seen[-1][1] == fitted.history[0].data_loss < fitted.history[0].train_loss


def test_kernels_are_compiled_before_the_first_epoch_without_asserts_too(data, monkeypatch):
    """As ``python -O`` runs it."""
    source = Path(loop.__file__).read_text()
    plain = types.ModuleType("plain_loop")
    monkeypatch.setitem(sys.modules, plain.__name__, plain)
    exec(compile(source, loop.__file__, "exec", optimize=1), plain.__dict__)
    monkeypatch.setattr(mlp, "Loop", plain.Loop)
    told = Progresses()
    model().fit(*data, callbacks=[told])
    assert [phase for phase, _ in told.seen[:2]] == ["compiling", "training"]


def test_partial_fit_is_an_epoch(data):
    X, y = data
    whole = model(schedule="constant", epochs=3, dropout=0.2).fit(X, y)
    parts = model(schedule="cosine", dropout=0.2)
    for _ in range(3):
        parts.partial_fit(X, y)
    np.testing.assert_array_equal(parts.get_flat(), whole.get_flat())
    assert [r.data_loss for r in parts.history] == [r.data_loss for r in whole.history]
    resumed = model(schedule="constant", dropout=0.2).fit(X, y).partial_fit(X, y)
    np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())


def test_partial_fit_takes_other_rows_each_time(data):
    X, y = data
    fitted, slow = model(), model()
    for rows in (slice(0, 50), slice(50, 100), slice(100, 110), slice(20, 70)):
        fitted.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
        slow.partial_fit(X[rows].astype(np.float64), y[rows], classes=[0, 1, 2])
    np.testing.assert_array_equal(fitted.get_flat(), slow.get_flat())
    assert fitted.net.state.step == 2 + 2 + 1 + 2


def test_partial_fit_with_classes_to_come(data):
    X, y = data
    some = y < 2
    fitted = model().partial_fit(X[some], y[some], classes=[0, 1, 2])
    assert fitted.classes.tolist() == [0, 1, 2]
    fitted.partial_fit(X, y)
    named = model().partial_fit(X, np.array(list("abc"))[y], classes=list("abcd"))
    assert named.predict_proba(X).shape == (110, 4)
    with pytest.raises(DataError, match=r"y has the label 2 at row .*: they are 0, 1"):
        model().partial_fit(X, y, classes=[0, 1])


def test_flat_parameters(data):
    X, y = data
    fitted = model(hidden=(9, 17)).fit(X, y)
    flat = fitted.get_flat()
    assert flat.shape == (fitted.model_spec.n_parameters,)
    blocks = zip(fitted.weights, fitted.biases, strict=True)
    expected = np.concatenate([np.concatenate([W.ravel(), b]) for W, b in blocks])
    np.testing.assert_array_equal(flat, expected)
    new = np.random.default_rng(0).normal(size=flat.size).astype(np.float32)
    fitted.set_flat(new)
    np.testing.assert_array_equal(fitted.get_flat(), new)
    hidden = np.maximum(X @ fitted.weights[0] + fitted.biases[0], 0)
    hidden = np.maximum(hidden @ fitted.weights[1] + fitted.biases[1], 0)
    z = hidden @ fitted.weights[2] + fitted.biases[2]
    np.testing.assert_array_equal(fitted.predict(X), z.argmax(axis=1))
    fitted.weights[2][:] = 0  # a view
    fitted.biases[2][:] = 0
    np.testing.assert_allclose(fitted.predict_proba(X), 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("init", ["uniform(-0.5, 0.25)", "normal(0.3)", "orthogonal(1.5)", "zeros"])
def test_initialisers_of_a_given_size(init):
    X, y = np.zeros((200, 300), np.float32), np.arange(200) % 200
    net = MLP(hidden=(400,), init=init, task="classes").build(X, y)
    W = net.weights[0].astype(np.float64)
    assert all(not b.any() for b in net.biases)
    if init == "zeros":
        assert not W.any()
    elif init.startswith("orthogonal"):
        np.testing.assert_allclose(W @ W.T, 1.5**2 * np.eye(300), atol=1e-4)
        V = net.weights[1].astype(np.float64)
        np.testing.assert_allclose(V.T @ V, 1.5**2 * np.eye(200), atol=1e-4)
    elif init.startswith("uniform"):
        assert (W.min(), W.max()) == pytest.approx((-0.5, 0.25), abs=1e-3)
        assert W.mean() == pytest.approx(-0.125, abs=0.005)
    else:
        assert (W.mean(), W.std()) == pytest.approx((0.0, 0.3), abs=0.005)


@pytest.mark.parametrize("family", ["glorot", "he", "lecun"])
@pytest.mark.parametrize("shape", ["uniform", "normal"])
def test_initialisers_that_follow_the_shape(family, shape):
    X, y = np.zeros((200, 300), np.float32), np.arange(200) % 200
    W = MLP(hidden=(400,), init=f"{family}_{shape}(2)", task="classes").build(X, y).weights[0]
    deviation = 2 * {"glorot": 2 / 700, "he": 2 / 300, "lecun": 1 / 300}[family] ** 0.5
    assert (W.mean(), W.std()) == pytest.approx((0.0, deviation), abs=0.01 * deviation)
    largest = np.abs(W).max() / deviation
    assert largest < 3**0.5 + 1e-5 if shape == "uniform" else largest > 3.5


@pytest.mark.parametrize(
    ("activation", "init"),
    [("relu", "he_uniform"), ("tanh", "glorot_uniform"), ("selu", "lecun_normal")],
)
def test_automatic_initialiser(data, activation, init):
    automatic = model(activation=activation).build(*data).weights[0]
    np.testing.assert_array_equal(automatic, model(init=init).build(*data).weights[0])


# ------------------------------------------------------------------------------- files


def test_save_and_load(data, tmp_path):
    X, y = data
    fitted = model(dropout=0.1, optimizer="sgd(0.1, momentum=0.5)", l1=1e-4)
    fitted.fit(X, np.array(["x", "y", "z"])[y], validation=0.2)
    fitted.save(tmp_path / "m.safetensors")
    loaded = MLP.load(tmp_path / "m.safetensors")
    assert loaded.model_spec == fitted.model_spec
    assert loaded.train_spec == fitted.train_spec
    assert loaded.history.to_dict() == fitted.history.to_dict()
    assert repr(loaded) == repr(fitted)
    np.testing.assert_array_equal(loaded.get_flat(), fitted.get_flat())
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(loaded.outputs(X), fitted.outputs(X))
    loaded.partial_fit(X, np.array(["x", "y", "z"])[y])
    assert loaded.net.state.epoch == 3


def test_a_file_that_is_no_model(data, tmp_path):
    X, y = data
    path = tmp_path / "m"
    model().fit(X, y).save(path)
    good = path.read_bytes()
    for damaged in (good[:-1], good[:100], b"", b"PK" + good[2:], good[:-8] + b"12345678"):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match=str(path)):
            MLP.load(path)
    with pytest.raises(ModelFileError, match="No such file"):
        MLP.load(tmp_path / "other")
    with pytest.raises(ModelFileError, match="create its folder first"):
        model().fit(X, y).save(tmp_path / "no" / "m")


# ------------------------------------------------------------------------------ memory


def engine_of(net: MLP, X: np.ndarray, y: np.ndarray, threads: int = 2) -> Engine:
    return Engine(net.model_spec, net.train_spec, net.net.state, net.net.rows(X, y), threads)


def test_a_step_allocates_nothing():
    from numba.core.runtime import _nrt_python, rtsys

    _nrt_python.memsys_enable_stats()
    X, y = children.rows(10_100)
    settings = {"dropout": 0.1, "clip_norm": 1.0, "optimizer": "adam", "threads": 2}
    net = model(batch_size=10, **settings).build(X, y)
    engine = engine_of(net, X, y)
    engine.start_epoch(np.full(engine.steps_per_epoch, 0.01))

    def region(steps: int) -> tuple[int, int]:
        """NRT allocations, and the most bytes that Python and NumPy held, of so many steps."""
        engine._pace = Pace(1.0, 0.0)
        engine._pace.rows = 10 * steps
        before, first = rtsys.get_allocation_stats().alloc, net.net.state.step
        tracemalloc.start()
        engine.region()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert net.net.state.step == first + steps
        return rtsys.get_allocation_stats().alloc - before, peak

    region(10)  # whatever is made once
    few, many = region(10), region(980)
    assert many[0] == few[0]
    assert many[1] <= few[1] + 1024


@pytest.mark.parametrize("sizes", [((300,), 10), ((250,), 2)])
def test_full_batch_of_42000_rows_within_8_megabytes(sizes):
    hidden, classes = sizes
    X = np.zeros((42_000, 784), np.uint8)
    y = np.arange(42_000) % classes
    net = MLP(hidden=hidden, batch_size=None).build(X, y)
    engine_of(net, X[:2], y[:2]).start_epoch(np.ones(1))  # compile
    rows = net.net.rows(X, y)
    tracemalloc.start()
    engine = Engine(net.model_spec, net.train_spec, net.net.state, rows, 2)
    engine.start_epoch(np.full(1, 1e-3))
    while not engine.region():
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert net.net.state.step == 1
    work = engine.work
    copies = work.gradient.nbytes + work.transposed.nbytes
    beside = work.nbytes - copies
    assert beside <= 8 * 2**20
    planned = make_plan(net.model_spec, 42_000).workspace_bytes
    assert planned <= beside <= 1.02 * planned
    snapshot = net.net.state.theta.nbytes
    assert peak - copies - snapshot <= 8 * 2**20


def test_an_engine_goes_before_the_next_one_comes(monkeypatch):
    """Else both have buffers and a copy of the weights for a moment: twice the memory."""
    rng = np.random.default_rng(0)
    X, y = rng.random((60, 4)), rng.integers(0, 2, 60)
    net = MLP(8, batch_size=50)
    net.partial_fit(X[:5], y[:5], classes=[0, 1])
    first, seen = weakref.ref(net._engine), []

    class Watched(Engine):
        def __init__(self, *args, **options):
            gc.collect()
            seen.append(first())
            super().__init__(*args, **options)

    monkeypatch.setattr("nbmlp.train.hosts.agreement.Engine", Watched)
    net.partial_fit(X, y)
    assert seen == [None]
