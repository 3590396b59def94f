"""The benchmark of the diagnosis: set-ups are what they claim, verdicts are counted rightly."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.diagnosis import faults, judge, measure, recipe, report, setups, symptoms, twins
from bench.diagnosis.__main__ import main
from nbmlp import MLP

HERE = Path(recipe.__file__).parent
BLOBS = {
    "source": "blobs", "options": {"columns": 6, "kinds": 4, "spread": 0.4}, "rows": 400,
    "held": 200, "seed": 5, "inputs": "standard", "targets": "standard", "alter": [],
}  # fmt: skip
TEACHER = BLOBS | {"source": "teacher", "options": {"columns": 5, "units": 4, "noise": 0.1}}
NET = {
    "hidden": [24], "task": "classes", "activation": "relu", "optimizer": "adam",
    "learning_rate": 0.01, "batch_size": 32, "epochs": 12, "standardise": False,
}  # fmt: skip


def altered(base: dict, **entry) -> recipe.Problem:
    return recipe.build(base | {"alter": [entry]})


def made(number: int, fault: str, **values) -> setups.Setup:
    """A set-up of the simple net with one planted fault, not verified."""
    planted = [{"name": fault, "settings": {}, "alter": [], "accepts": {fault: "", "other": ""}}]
    base = setups.Setup(number, False, BLOBS, NET, planted, {}, 1.0, 2.0)
    return replace(base, **values)


# -- independence


def imported(path: Path) -> set[str]:
    """Names of modules that a file imports, with what it takes from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_planting_shares_nothing_with_detecting() -> None:
    files = sorted(HERE.glob("*.py"))
    assert len(files) > 8
    for path in files:
        ours = {name for name in imported(path) if name.startswith("nbmlp")}
        assert ours <= {
            "nbmlp", "nbmlp.MLP", "nbmlp.NonFiniteError", "nbmlp.errors.TrainingWarning",
        }, path  # fmt: skip


# -- data


def test_the_same_recipe_gives_the_same_arrays() -> None:
    first, second = recipe.build(BLOBS), recipe.build(json.loads(json.dumps(BLOBS)))
    for one, two in zip(vars(first).values(), vars(second).values(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert first.X.shape == (400, 6)
    assert len(first.Xv) == len(first.Xt) == 200
    rows = np.vstack([first.X, first.Xv, first.Xt])
    assert len(np.unique(rows, axis=0)) == 800  # no row is in two parts
    np.testing.assert_allclose(first.X.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(first.X.std(axis=0), 1, rtol=1e-5)


def test_what_spoils_rows_leaves_the_held_out_ones_alone() -> None:
    clean = recipe.build(BLOBS)
    noisy = altered(BLOBS, how="noise_in_labels", share=0.3)
    assert np.mean(noisy.y != clean.y) == pytest.approx(0.3)
    rare = altered(BLOBS, how="rare_classes", keep=0.1)
    before, after = np.bincount(clean.y), np.bincount(rare.y)
    assert sorted(np.round(after / before, 1).tolist()) == [0.1, 0.1, 1.0, 1.0]
    spoilt = altered(BLOBS, how="spoil_rows", rows=3, value="inf")
    assert np.isinf(spoilt.X).sum() == 3
    few = altered(BLOBS, how="few_rows", rows=60)
    assert len(few.y) == len(few.X) == 60
    assert np.bincount(few.y).min() >= 2
    for problem in (noisy, rare, spoilt, few):
        np.testing.assert_array_equal(problem.Xv, clean.Xv)
        np.testing.assert_array_equal(problem.yv, clean.yv)
        np.testing.assert_array_equal(problem.Xt, clean.Xt)


def test_what_changes_columns_changes_all_parts() -> None:
    clean = recipe.build(BLOBS)
    scaled = altered(BLOBS, how="scale_columns", factor=100.0, share=0.5)
    factors = scaled.Xv.std(axis=0) / clean.Xv.std(axis=0)
    assert sorted(np.round(factors).tolist()) == [1, 1, 1, 100, 100, 100]
    copies = altered(BLOBS, how="add_copies", copies=4)
    assert copies.X.shape == (400, 10)
    assert (copies.Xt[:, 6:] == copies.Xt[:, 6:7]).all()
    constants = altered(BLOBS, how="add_constants", columns=2, value=7.0)
    assert (constants.Xv[:, 6:] == 7).all()
    shifted = altered(TEACHER, how="shift_targets", by=50.0)
    for y in (shifted.y, shifted.yv, shifted.yt):
        assert 49 < y.mean() < 51


# -- measures


def test_losses_do_not_depend_on_the_nets_own_loss() -> None:
    problem = recipe.build(BLOBS)
    squared = NET | {"output": "logistic", "loss": "squared_error"}
    model = measure.train(squared, problem).model
    p = model.outputs(problem.Xv).astype(float)
    p /= p.sum(axis=1, keepdims=True)
    truth = -np.log(p[np.arange(len(problem.yv)), problem.yv]).mean()
    assert measure.lost(model, problem.Xv, problem.yv, "classes") == pytest.approx(truth, rel=1e-5)
    numbers = recipe.build(TEACHER)
    fitted = measure.train(NET | {"task": "regression", "standardise": True}, numbers).model
    found = measure.lost(fitted, numbers.Xv, numbers.yv, "regression")
    assert found == pytest.approx(np.mean((fitted.predict(numbers.Xv) - numbers.yv) ** 2))
    assert measure.baseline(numbers) == pytest.approx(np.mean((numbers.yv - numbers.y.mean()) ** 2))


def test_a_class_that_the_model_never_saw_has_no_probability() -> None:
    problem = recipe.build(BLOBS)
    keep = problem.y != 3
    model = MLP(**NET, threads=1).fit(problem.X[keep], problem.y[keep])
    rows = problem.yv == 3
    loss = measure.lost(model, problem.Xv[rows], problem.yv[rows], "classes")
    assert loss == pytest.approx(-math.log(measure.SMALLEST))


def test_training_that_breaks_off_loses_without_bound() -> None:
    problem = altered(BLOBS, how="spoil_rows", rows=5, value="nan")
    assert measure.median_loss(NET, problem) == math.inf


def test_symptoms_are_seen_where_they_are() -> None:
    problem = recipe.build(TEACHER | {"inputs": "unit"})
    deep = NET | {"hidden": [32] * 6, "task": "regression", "optimizer": "sgd"}
    cases = {
        "dead": {"init": "uniform(-0.5, 0)"},
        "vanished": {"activation": "logistic"},
        "exploded": {"init": "he_normal(4)"},
    }
    for name, change in cases.items():
        assert symptoms.SYMPTOMS[name](deep | change, problem)
        assert not symptoms.SYMPTOMS[name](deep, problem)
    assert symptoms.has_vanished(deep | {"init": "normal(0.01)"}, problem)
    flat = deep | {"activation": "tanh", "hidden": [32]}
    assert symptoms.is_saturated(flat | {"init": "normal(20)"}, problem)
    assert not symptoms.is_saturated(flat, problem)


# -- set-ups


def test_the_plan_is_even() -> None:
    plan = [setups.wanted(3, number) for number in range(210)]
    assert sum(not names for names in plan) == 70
    pairs = [names for names in plan if len(names) == 2]
    assert len(pairs) == 20
    single = [names[0] for names in plan if len(names) == 1]
    counts = [single.count(name) for name in faults.FAULTS]
    assert min(counts) >= 5
    assert max(counts) - min(counts) <= 1
    assert plan != [setups.wanted(4, number) for number in range(210)]


def test_every_fault_names_itself_and_pairs_do_not_undo_each_other() -> None:
    problem = recipe.build(TEACHER)
    twin = twins.Twin(TEACHER, problem, NET)
    causes = set(faults.FAULTS)
    for name, fault in faults.FAULTS.items():
        planted = fault.plant(twin, np.random.default_rng(0), 1)
        assert planted.settings or planted.alter
        assert set(planted.accepts) <= causes - {name}
        assert {entry["how"] for entry in planted.alter} <= set(recipe.ALTER)
        assert not planted.symptom or planted.symptom in symptoms.SYMPTOMS
    for pair in faults.PAIRS:
        first, second = (faults.FAULTS[n] for n in pair)
        one, two = (f.plant(twin, np.random.default_rng(0), 1) for f in (first, second))
        assert not set(one.settings) & set(two.settings)
        shared = set(first.wish) & set(second.wish)
        assert all(first.wish[key] == second.wish[key] for key in shared)


def test_faults_do_the_harm_that_they_claim() -> None:
    """From its plain values, a set-up and its twin are trained again."""
    setup = setups.make_setup(1, 7)
    assert setup.faults == setups.wanted(1, 7)
    assert not setup.real
    again = setups.Setup(**json.loads(json.dumps(asdict(setup))))
    twin = recipe.build(again.twin["recipe"])
    healthy = measure.median_loss(again.twin["settings"], twin)
    assert healthy == setup.healthy_loss <= twins.LEARNED * measure.baseline(twin)
    loss = measure.median_loss(again.settings, again.problem)
    assert loss == setup.loss >= 1.2 * healthy


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for set-ups, with the third in it."""
    folder = tmp_path_factory.mktemp("kept")
    setups.stored(folder, 1, 3)
    return folder


def test_a_set_up_is_made_once_and_kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = setups.make_setup(1, 3)
    monkeypatch.setattr(setups, "make_setup", lambda *a: pytest.fail("made anew"))
    assert setups.stored(kept, 1, 3) == made
    assert made.faults == []
    assert made.loss == made.healthy_loss


# -- verdicts


def finding(cause: str, weight: float = 1.0, improved: bool = True) -> SimpleNamespace:
    trial = SimpleNamespace(before=2.0, after=1.0, improved=improved)
    return SimpleNamespace(cause=cause, weight=weight, change={"epochs": 12}, trial=trial)


def says(monkeypatch: pytest.MonkeyPatch, *causes: str, cure: dict | None = None) -> None:
    """Let every diagnosis say this."""

    def why(self: MLP, X, y, *, validation) -> SimpleNamespace:
        return SimpleNamespace(
            findings=tuple(map(finding, causes)),
            healthy=not causes,
            cured=lambda: None if cure is None else MLP(**cure, threads=1),
            cure_rows=lambda X, y: (X, y),
        )

    monkeypatch.setattr(MLP, "why", why, raising=False)


def test_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = NET | {"learning_rate": 1e-6}
    says(monkeypatch, "other", "label_noise", cure=NET)
    right = judge.judge(made(1, "learning_rate_low", settings=slow))
    assert right.error == ""
    assert right.named
    assert not right.own_name
    assert right.cured
    assert right.after < 0.95 * right.before
    says(monkeypatch, "label_noise", "learning_rate_low", cure=slow)
    wrong = judge.judge(made(1, "learning_rate_low", settings=slow))
    assert not wrong.named
    assert not wrong.cured
    assert wrong.promised
    says(monkeypatch)
    silent = judge.judge(made(1, "learning_rate_low", settings=slow))
    assert silent.left_alone
    assert silent.after is None
    assert not silent.cured


def test_two_faults_are_both_named_only_where_each_is(monkeypatch: pytest.MonkeyPatch) -> None:
    both = made(1, "a").planted + made(1, "b").planted
    for fault in both:
        fault["accepts"] = {fault["name"]: ""}
    for causes, expected in ((("b", "a"), True), (("a", "x"), False), (("a",), False)):
        says(monkeypatch, *causes)
        assert judge.judge(made(1, "a", planted=both)).both is expected


def test_a_diagnosis_that_fails_is_wrong_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def why(self: MLP, X, y, *, validation) -> None:
        raise ZeroDivisionError("no rows")

    monkeypatch.setattr(MLP, "why", why, raising=False)
    verdict = judge.judge(made(1, "label_noise"))
    assert verdict.error == "ZeroDivisionError: no rows"
    assert not verdict.named
    assert not verdict.left_alone


def test_wilson_intervals() -> None:
    # Newcombe 1998, table I, and the closed forms at 0 and n.
    assert report.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert report.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert report.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert report.wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert report.wilson(29, 29)[1] == pytest.approx(1.0)
    assert report.wilson(0, 0) == (0.0, 1.0)


def test_shares_and_tables() -> None:
    def verdict(**values) -> judge.Verdict:
        base = {"real": True, "source": "x", "faults": ["label_noise"], "twin_loss": 1, "loss": 2}
        return judge.Verdict(0, **base | values)

    verdicts = [
        verdict(named=True, causes=[("label_noise", 1.0)], before=2.0, after=1.0, promised=True),
        verdict(causes=[("overfitting", 1.0)], before=2.0, after=1.95, promised=True),
        verdict(left_alone=True, real=False),
        verdict(faults=[], left_alone=True),
        verdict(faults=[], error="ValueError: x"),
    ]
    shares = list(report.figures(verdicts).values())
    assert [tuple(share) for share in shares] == [
        (1, 3), (1, 3), (1, 2), (1, 2), (1, 1), (1, 3), (1, 2), (0, 0),
    ]  # fmt: skip
    assert report.confusion(verdicts) == {
        "(healthy)": {"(healthy)": 1, "(failed)": 1},
        "label_noise": {"label_noise": 1, "overfitting": 1, "(healthy)": 1},
    }
    text = report.markdown(1234, verdicts)
    assert "seed 1234, 4 on real data" in text
    assert "| label_noise | 3 | 1 | 1 | label_noise 1, overfitting 1, (healthy) 1 |" in text
    stored = json.loads(json.dumps(report.to_json(1234, verdicts), allow_nan=False))
    assert stored["verdicts"][2]["before"] == "inf"
    assert stored["figures"]["healthy: left alone"]["hits"] == 1


def test_command(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    says(monkeypatch)
    options = ["--seed", "1", "--limit", "4", "--only", "healthy", "--cache", str(kept)]
    main([*options, "--out", str(tmp_path / "t.md"), "--json", str(tmp_path / "v.json")])
    shown = capsys.readouterr().out
    assert "3 right healthy: (healthy)" in shown
    assert "healthy: left alone: 2/2 = 100.0%" in shown
    assert "2 set-ups from seed 1" in (tmp_path / "t.md").read_text(encoding="utf-8")
    verdicts = json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))["verdicts"]
    assert [v["number"] for v in verdicts] == [0, 3]
    main([*options, "--save-setups", str(tmp_path / "s.json")])
    assert len(json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))) == 2
    main(["--seed", "1", "--cache", str(kept), "--show", "3"])
    assert '"left_alone": true' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--only", "gremlins"])
    assert "choose from healthy, summed_gradient" in capsys.readouterr().err
