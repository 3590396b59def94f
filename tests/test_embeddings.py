"""Embeddings of numbers and of categories: what test_features.py does not ask of all features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference as ref
from engine_twin import (
    PLAIN,
    Problem,
    engine_gradient,
    engine_outputs,
    engine_train,
    oracle_train,
    problem,
    worst_error,
)
from scipy.sparse import csr_array

from nbmlp import MLP, ColumnPlan, DataError, NonFiniteError, SpecError
from nbmlp.predict import Rows
from nbmlp.settings import Settings
from nbmlp.spec import ModelSpec, TrainSpec
from nbmlp.tabular.targets import Targets

BOTH: dict[str, Any] = {"number_embedding": "pbld(5, 4)", "code_counts": (3, 70)}
RNG = np.random.default_rng(8)
X = np.column_stack([RNG.normal(size=(90, 4)), RNG.integers(0, 3, 90), RNG.integers(0, 70, 90)])
Y = np.sin(3 * X[:, 0]) + (X[:, 4] == 1)


def cosines(x: Any, dtype: str, frequency: float = 1.0, phase: float = 0.0) -> Any:
    """cos(2 pi frequency x + phase) as the embedding has it."""
    spec = ModelSpec(1, 1, (), dtype=dtype, number_embedding="pbld(1, 2)")
    own = [np.full((1, 1), value) for value in (1.0, frequency, phase, 0.0)]
    params = ref.Params([np.array([[0.0], [1.0]])], [np.zeros(1)], embedding=own)
    column = np.asarray(x, dtype)[:, None]
    return engine_outputs(spec, params, Rows(column, np.zeros_like(column)))[0][:, 0]


@pytest.mark.parametrize(("dtype", "error"), [("float32", 2e-7), ("float64", 1e-15)])
def test_cosines_of_many_turns_are_as_good_as_those_of_few(dtype: str, error: float) -> None:
    few = np.linspace(-2.0, 2.0, 3001).astype(dtype)
    many = np.linspace(-3000.0, 3000.0, 3001).astype(dtype)
    for x in (few, many):
        turns = x.astype(np.float64) % 1.0  # exact
        assert np.abs(cosines(x, dtype) - np.cos(2 * np.pi * turns)).max() <= error
    shifted = cosines(few, dtype, 0.0, 1.25)
    assert np.abs(shifted - np.cos(1.25)).max() <= error


def test_cosines_of_more_turns_than_there_are_digits_are_bounded() -> None:
    for size in (1e9, 1e25, 1e38):
        assert np.abs(cosines([size, -size, 0.3 * size], "float32")).max() <= 1.0 + 1e-6


CUTS = [((9,), 20), ((208, 208), 7), ((17,), 700), ((), 30)]


@pytest.mark.parametrize(("hidden", "rows"), CUTS)
def test_any_number_of_threads_has_the_same_bits(hidden: tuple[int, ...], rows: int) -> None:
    spec = ModelSpec(40, 2, hidden, "tanh", **BOTH)
    train = TrainSpec(optimizer="adam(0.01)", schedule="constant", batch_size=rows, epochs=2)
    given = problem(spec, 2 * rows)
    ends = [engine_train(spec, train, given, threads).params[-1].flat() for threads in (1, 2, 3, 7)]
    for end in ends[1:]:
        assert np.array_equal(end, ends[0])


def test_only_the_first_numbers_are_embedded() -> None:
    spec = ModelSpec(40, 3, (9,), "tanh", dtype="float64", n_numbers=33, **BOTH)
    assert spec.layer_sizes[0] == 38 + 33 * 3 + 2 * 8
    given = problem(spec, 30)
    expected = ref.loss_and_gradient(spec, PLAIN, given.params, *given.wide())
    _, gradient = engine_gradient(spec, PLAIN, given, 2)
    assert max(ref.block_errors(gradient, expected.gradient)) < 1e-12


def test_codes_are_not_dropped_and_bytes_are_codes() -> None:
    spec = ModelSpec(9, 2, (9,), dtype="float64", input_dropout=0.4, **BOTH)
    train = TrainSpec(optimizer="sgd(0.1)", schedule="constant", batch_size=20, epochs=2)
    given = problem(spec, 40)
    expected = oracle_train(spec, train, given)[-1][-1].params
    assert worst_error(engine_train(spec, train, given).params[-1], expected) < 1e-10
    whole = np.abs(given.X * 3).astype(np.uint8)
    rows = Problem(given.params, whole, given.Y).rows()
    few = [engine_outputs(spec, given.params, each)[0] for each in (rows, rows.first(1))]
    scaled = whole / 255.0
    scaled[:, 7:] = whole[:, 7:]
    expected_outputs = ref.forward(spec, given.params, scaled).output
    np.testing.assert_allclose(few[0], expected_outputs, rtol=1e-11)
    assert np.array_equal(few[0][:1], few[1])


def test_a_code_that_is_none_counts_as_the_first() -> None:
    model = MLP(8, epochs=1, batch_size=30, **BOTH).fit(X, Y)
    rows = np.repeat(X[:1], 5, axis=0)
    rows[:, 4] = (0, -1, 3, 1e9, -1e30)
    assert np.ptp(model.outputs(rows)) == 0.0
    rows[1, 4] = 2
    assert np.ptp(model.outputs(rows)) > 0.0


def test_first_values() -> None:
    """As RealMLP begins, whatever the type of elements."""
    nets = [
        MLP(8, epochs=1, learning_rate=1e-30, dtype=dtype, number_embedding="pbld(64, 4, 0.5)")
        for dtype in ("float32", "float64")
    ]
    parts = [
        {block.name_of(part): values for block, part, values in net.fit(X, Y).net.state.parts()}
        for net in nets
    ]
    first = parts[1]
    assert first["embedding.frequency"].std() == pytest.approx(0.5, rel=0.1)
    assert 3.0 < np.abs(first["embedding.phase"]).max() <= np.pi
    for name in ("weight", "bias"):
        assert 0.1 < np.abs(first[f"embedding.{name}"]).max() <= 1 / 8
    for name, values in first.items():
        np.testing.assert_allclose(parts[0][name], values, rtol=1e-6)


def test_first_frequencies_of_many_deviations() -> None:
    wide = "pbld(512, 2, 0.05, 10.0)"
    net = MLP(8, epochs=1, learning_rate=1e-30, number_embedding=wide).fit(X, Y).net
    (drawn,) = (v for b, part, v in net.state.parts() if part.name == "frequency")
    size = np.log(np.abs(drawn))
    # Of a log-uniform deviation times a normal number, whose log has mean -0.635, deviation 1.11.
    assert size.mean() == pytest.approx(np.log(0.05 * 10) / 2 - 0.635, abs=0.1)
    assert size.std() == pytest.approx(np.hypot(np.log(10 / 0.05) / 12**0.5, 1.11), rel=0.05)
    assert net.spec.number_embedding == wide


def test_what_is_not_finite_is_named() -> None:
    bad = X.copy()
    bad[7, 2] = np.nan
    with pytest.raises(DataError, match="row 7, column 2"):
        MLP(8, epochs=1, **BOTH).fit(X, Y).outputs(bad)
    with pytest.raises(NonFiniteError, match="row 7, column 2"):
        MLP(8, epochs=1, **BOTH).fit(bad, Y)
    with pytest.raises(NonFiniteError, match=r"embedding\.weight|W\d|loss|layer"):
        MLP(8, epochs=9, optimizer="sgd(1e30)", **BOTH).fit(X, Y)


def test_what_does_not_go_together(tmp_path: Path) -> None:
    for name, value in BOTH.items():
        with pytest.raises(SpecError, match=rf"{name} does not go with sparse rows: .*\.$"):
            MLP(8, epochs=1, **{name: value}).fit(csr_array(X), Y)
    deviations = ("4, 4, -1", "4, 4, 2, 1", "4, 4, 0, 1", "4, 4, 1, inf")
    for numbers in ("0", "16, 1", "16, 9", *deviations, "1, 2, 3, 4, 5"):
        with pytest.raises(SpecError, match="number_embedding"):
            MLP(8, number_embedding=f"pbld({numbers})")
    for text in ("plr", "pbld(width=3, bias=1)"):
        with pytest.raises(SpecError, match=r"number_embedding|pbld"):
            MLP(8, number_embedding=text)
    with pytest.raises(SpecError, match=r"n_numbers=7 must be a whole number, 6 or less"):
        MLP(8, number_embedding="pbld", n_numbers=7).fit(X, Y)
    with pytest.raises(SpecError, match=r"code_counts is for inputs that are taken as they are"):
        MLP(8, standardise=True, **BOTH).fit(X, Y)
    with pytest.raises(SpecError, match=r"code_counts names 7 inputs; there are 6\.$"):
        MLP(8, code_counts=(2,) * 7).fit(X, Y)


def test_settings_go_through_files_and_clones(tmp_path: Path) -> None:
    model = MLP(8, epochs=2, batch_size=30, code_width=3, n_numbers=2, **BOTH).fit(X, Y)
    model.save(tmp_path / "model")
    other = MLP.load(tmp_path / "model")
    assert other.model_spec == model.model_spec
    assert np.array_equal(other.outputs(X), model.outputs(X))
    assert other.get_params()["code_counts"] == (3, 70)
    again = MLP(**other.get_params()).fit(X, Y)
    assert again.get_flat().shape == model.get_flat().shape
    assert MLP(8, number_embedding="pbld", code_counts=(4, 4)).get_params()["code_counts"] == (4, 4)


def test_they_learn_what_is_not_smooth() -> None:
    """A wave that a plain net of this size does not follow, and a category."""
    plain, own = (
        MLP((32, 32), epochs=60, batch_size=30, learning_rate=0.01, **settings).fit(X, Y)
        for settings in ({}, BOTH)
    )
    losses = [model.history.train_loss[-1] for model in (plain, own)]
    assert losses[1] < 0.5 * losses[0]


def test_the_plan_of_columns_says_which_inputs_are_embedded() -> None:
    """Also for nets of ensembles, of numbers and of several labels a row."""
    table = {"a": X[:, 0], "shop": [f"s{int(code)}" for code in X[:, 5]], "b": X[:, 1]}
    plan = ColumnPlan.fit(table, embed=True, overrides={"shop": "embedded"})
    settings = Settings.parse({"number_embedding": "pbld"})
    labels = np.column_stack([Y > 0, Y > 1]).astype(int)
    specs = [settings.specify(plan.n_features, "regression", 0, 1, plan)]
    for targets in (Targets.fit(Y, "regression"), Targets.fit(labels, "labels")):
        own = Settings.parse({"number_embedding": "pbld", **targets.settings})
        specs.append(targets.specify(own, plan))
    for spec in specs:
        assert (spec.n_inputs, spec.numbers) == (3, 2)
        assert spec.code_counts == plan.code_counts
        assert 10 < spec.code_counts[0] <= 71
    plain = ColumnPlan.fit({"a": X[:, 0], "b": X[:, 1]})
    assert settings.specify(2, "regression", 0, 1, plain).code_counts == ()
