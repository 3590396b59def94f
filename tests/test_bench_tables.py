"""The benchmark on tables: splits, kept cells, arithmetic; no peer has to be installed."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.machine import describe
from bench.tables import cells, data, promises, ranks, tuned
from bench.tables.__main__ import keys_of, main, parser
from bench.tables.cells import Key, Outcome, Store, run_missing
from bench.tables.peers import CONTESTANTS
from bench.tables.problem import align, make_problem, scores
from bench.tables.report import (
    Results,
    geometric_ratio,
    means,
    normalised,
    overview,
    quiet_told,
    total_ratio,
    wins,
)


def classes(*counts: int) -> data.Table:
    """A table of so many rows a class, and a column of each kind."""
    y = np.repeat([f"c{i}" for i in range(len(counts))], counts).astype(object)
    words = np.array([None if i % 7 == 0 else "ab"[i % 2] for i in range(len(y))], object)
    numbers = np.arange(len(y), dtype=float)
    numbers[::5] = np.nan
    return data.Table("made", data.CLASSES, {"number": numbers, "word": words}, y)


def numbers(rows: int) -> data.Table:
    x = np.arange(rows, dtype=float)
    return data.Table("made", data.REGRESSION, {"x": x}, np.sin(x))


# -- splits


@pytest.mark.parametrize("seed", range(5))
def test_splits_are_stratified_and_whole(seed: int) -> None:
    table = classes(500, 93, 2)
    split = table.split(seed)
    assert [len(rows) for rows in split] == [381, 95, 119]
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(595))
    for label, count in (("c0", 500), ("c1", 93), ("c2", 2)):
        found = [np.sum(table.target[rows] == label) for rows in split]
        for part, share in zip(found, (0.64, 0.16, 0.2), strict=True):
            assert abs(part - share * count) <= 1 + 1e-9
        assert found[0]


def test_a_split_is_the_same_for_whoever_asks_and_another_for_each_seed() -> None:
    table = classes(60, 40)
    again, other = table.split(3), table.split(4)
    assert all(map(np.array_equal, table.split(3), again))
    assert not np.array_equal(table.split(3).test, other.test)
    one, two = (make_problem(table, again, 3, cores, 9.0) for cores in (1, 2))
    assert one[0].X.equals(two[0].X)
    assert np.array_equal(one[2], two[2])


@pytest.mark.parametrize("table", [classes(300, 50, 2), numbers(500)])
def test_development_rows_are_never_test_rows(table: data.Table) -> None:
    test = table.split(0).test
    seen = [np.concatenate(table.split(seed, development=True)) for seed in range(4)]
    for rows in seen:
        assert np.array_equal(np.union1d(rows, test), np.arange(table.rows))
        assert not np.intersect1d(rows, test).size
    tests = [table.split(seed, development=True).test for seed in range(2)]
    assert not np.array_equal(*tests)


def test_tables_keep_text_and_gaps(data_dir: Path) -> None:
    sick = data.load("sick")
    assert (sick.rows, len(sick.columns), len(sick.categories)) == (3772, 29, 22)
    assert set(sick.columns["sex"]) == {"F", "M", None}
    assert np.isnan(sick.columns["TBG"]).all()
    bike = data.load("bike")
    assert list(bike.columns) == [f"c{i}" for i in range(15)]
    assert bike.target[0] == 1.3855
    bank = data.load("bank8FM")
    assert (bank.columns["mxql"][-1], bank.target[-1]) == (7.0, 0.03401)
    pendigits = data.load("pendigits")
    assert set(pendigits.target) == set("0123456789")
    housing = data.load("california")
    assert housing.categories == ["ocean_proximity"]
    assert np.isnan(housing.columns["total_bedrooms"]).sum() == 207
    nursery = data.load("nursery")
    for seed in range(5):
        assert "recommend" in nursery.target[nursery.split(seed).train]


def test_kernels_are_compiled_on_few_rows_of_all_classes() -> None:
    table = classes(800, 100, 2)
    split = cells.few(table, table.split(0))
    assert set(table.target[split.train]) == {"c0", "c1", "c2"}
    assert len(split.train) <= cells.WARM_ROWS + 3
    assert len(cells.few(numbers(500), numbers(500).split(0)).train) == cells.WARM_ROWS


# -- scores


def test_errors_and_log_loss() -> None:
    table = classes(3, 3)
    predicted = np.array([[0.9, 0.1], [0.4, 0.6], [0.0, 1.0]])
    found = scores(table, np.array([0, 0, 1]), predicted)
    assert found["error"] == pytest.approx(1 / 3)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 1.0]).mean())
    table = numbers(100)
    error = scores(table, table.target, table.target + 0.3)["error"]
    assert error == pytest.approx(0.3 / np.std(table.target))


@pytest.mark.parametrize("known", [np.array([0, 2]), np.array(["c0", "c2"])])
def test_a_class_that_a_model_never_saw_has_no_probability(known: np.ndarray) -> None:
    class Model:
        classes_ = known

        def predict_proba(self, X):
            return np.tile([0.25, 0.75], (len(X), 1))

    table = classes(30, 30, 30)
    problem, X, _ = make_problem(table, table.split(0), 0, 1, 0.0)
    assert np.array_equal(align(Model(), problem, X)[0], [0.25, 0, 0.75])


# -- cells


def outcome(key: Key, error: float = 0.5, fit: float = 1.0, **more) -> Outcome:
    return Outcome(key, error, rows=200, fit=fit, fit_cpu=2 * fit, predict=0.1, **more)


def test_finished_cells_are_kept_and_failed_ones_tried_again(tmp_path: Path) -> None:
    keys = [Key("a", "lightgbm", seed) for seed in range(4)]
    store, asked = Store(tmp_path / "new"), []

    def run(key: Key) -> Outcome:
        asked.append(key.seed)
        return outcome(key, failed="broke" if asked == [0, 1] else "")

    assert len(list(run_missing(keys, store, 2, run))) == 2
    assert asked == [0, 1]
    with store.path.open("a") as f:
        f.write('{"table": "a", "contes')  # it was stopped while it wrote
    list(run_missing(keys, store, None, run))
    assert asked == [0, 1, 1, 2, 3]
    assert list(run_missing(keys, store, None, run)) == []
    assert list(store.read()) == [keys[0], keys[1], keys[2], keys[3]]
    assert not any(o.failed for o in store.read().values())
    other = [keys[0]._replace(development=True), keys[0]._replace(cores=1)]
    assert len(list(run_missing(other, store, None, run))) == 2
    assert len(list(run_missing(keys, store, 1, run, anew=True))) == 1


def test_a_cell_is_measured_in_a_process_of_its_own(data_dir: Path) -> None:
    found = cells.run_in_child(Key("abalone", "sklearn-mlp", 0, cores=1))
    assert not found.failed
    assert 0.5 < found.error < 0.8
    assert found.rows == 835
    assert found.log_loss is None
    assert found.fit > 0
    assert found.fit_cpu > 0
    assert found.others is None or found.others >= 0
    assert found.versions["scikit-learn"]
    assert found.machine["cores"] == 1
    assert Outcome.from_json(found.to_json()) == found


def test_what_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = cells.run_in_child(Key("no such table", "sklearn-mlp", 0))
    assert "KeyError" in broken.failed
    monkeypatch.setattr(cells.sys, "executable", "false")
    assert "ended with 1" in cells.run_in_child(Key("abalone", "sklearn-mlp", 0)).failed


def test_command(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    line = ["--tables", "abalone,sick", "--contestants", "histgb,sklearn-mlp", "--seeds", "0,7"]
    keys = keys_of(parser().parse_args([*line, "--cores", "3", "--development"]))
    assert len(keys) == 8
    assert keys[0] == Key("abalone", "histgb", 0, True, 3)
    store = Store(tmp_path)
    for i, key in enumerate(keys_of(parser().parse_args(line))):
        store.add(
            outcome(key, 0.1 + i / 100, log_loss=0.3, machine=describe(), versions={"x": "1"})
        )
    assert main([*line, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "| sick " in shown
    assert f"Python {platform.python_version()}, x 1\n" in shown
    assert "load" not in shown
    assert (tmp_path / "report.md").read_text(encoding="utf-8").strip() in shown
    for name in ("ranks.png", "pareto.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setitem(CONTESTANTS, "histgb", CONTESTANTS["histgb"]._replace(packages=("no_no",)))
    assert main([*line, "--out", str(tmp_path), "--report"]) == 0
    assert keys_of(parser().parse_args(line))[0].contestant == "sklearn-mlp"
    assert "histgb: SKIPPED, no_no is not installed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--contestants", "oracle"])
    assert "choose from nbmlp-fast" in capsys.readouterr().err


def test_a_search_keeps_the_best_and_begins_with_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model here is what it predicts; the right answer is 1."""
    asked, timeouts = [], []

    class Study:
        def optimize(self, objective, timeout: float) -> None:
            timeouts.append(timeout)
            assert [objective(value) for value in (0.9, 1.2)] == pytest.approx([0.01, 0.04])

    def fit(problem, settings: dict, trees: int, patience: int, deadline: float):
        asked.append(settings)
        value = settings.get("value", 1.5)
        return SimpleNamespace(predict=lambda X: np.full(len(X), value)), problem, lambda X: X

    optuna = SimpleNamespace(
        logging=SimpleNamespace(set_verbosity=lambda level: None, WARNING=0),
        samplers=SimpleNamespace(TPESampler=lambda seed: None),
        create_study=lambda sampler: Study(),
    )
    monkeypatch.setitem(sys.modules, "optuna", optuna)
    monkeypatch.setitem(tuned.SEARCHES, "made", (fit, lambda trial: {"value": trial}))
    table = data.Table("made", data.REGRESSION, {"x": np.arange(50.0)}, np.ones(50))
    problem = make_problem(table, table.split(0), 0, 1, 60.0)[0]
    model, _, _ = tuned.search(problem, "made")
    assert model.predict([0]) == [0.9]
    assert asked == [{}, {"value": 0.9}, {"value": 1.2}]
    assert 0 < timeouts[0] <= 60


# -- arithmetic

HAND = {
    "one": {"a": 0.1, "b": 0.3, "c": 0.2},
    "two": {"a": 0.5, "b": 0.4, "c": 0.6},
    "three": {"a": 0.2, "b": 0.2, "c": 0.2},
}


def test_normalised_errors_wins_and_ratios() -> None:
    assert normalised(HAND) == pytest.approx({"a": 0.5 / 3, "b": 1 / 3, "c": 1.5 / 3})
    assert wins(HAND, "a", "b") == 1
    assert wins(HAND, "a", "c") == 2
    assert total_ratio(HAND, "a", "b") == pytest.approx(0.8 / 0.9)
    assert geometric_ratio(HAND, "a", "b") == pytest.approx((1 / 3 * 1.25) ** (1 / 3))


def test_results_compare_the_seeds_that_all_have() -> None:
    made = [outcome(Key("t", "lightgbm", s), e) for s, e in ((0, 0.2), (1, 0.4), (2, 9.0))]
    made += [outcome(Key("t", "catboost", s), e) for s, e in ((0, 0.3), (1, 0.1))]
    made += [
        outcome(Key("t", "catboost", 2), failed="broke"),
        outcome(Key("t", "catboost", 3, development=True)),
        outcome(Key("u", "lightgbm", 0), 0.7),
    ]
    results = Results(made)
    found = results.compared(("lightgbm", "catboost"))
    assert found == {"t": pytest.approx({"lightgbm": 0.3, "catboost": 0.2})}
    assert results.complete() == ["lightgbm"]
    assert results.row("t", "lightgbm").values["error"] == pytest.approx(3.2)
    assert Results(made, development=True).seeds("t", ("catboost",)) == [3]
    assert "| t     | 3.2000     | **0.2000** |" in means(results, "error")
    assert "| lightgbm   | 0.000" in overview(results)


def test_seconds_of_a_busy_machine_are_not_to_be_taken() -> None:
    quiet, busy = (outcome(Key("t", "lightgbm", s), others=s / 2) for s in range(2))
    assert quiet_told(Results([quiet])).endswith("0.00 at most.")
    assert "NOT QUIET during 1: take no" in quiet_told(Results([quiet, busy]))
    # What counts for pictures and promises then is the time of all processors.
    assert (Results([quiet]).seconds, Results([quiet, busy]).seconds) == ("fit", "fit_cpu")
    assert quiet_told(Results([outcome(Key("t", "lightgbm", 0))])) == ""


def test_ranks_by_demsar() -> None:
    """Table 5 and the example of table 6 of Demšar 2006."""
    for k, q in ((2, 1.960), (4, 2.569), (10, 3.164)):
        unit = (k * (k + 1) / (6 * 14)) ** 0.5
        assert ranks.critical_difference(k, 14) == pytest.approx(q * unit, abs=1e-3)
    test = ranks.friedman([3.143, 2.000, 2.893, 1.964], 14)
    assert test.chi_square == pytest.approx(9.28, abs=0.02)
    assert test.f == pytest.approx(3.69, abs=0.02)
    assert 0.01 < test.p < 0.05
    assert ranks.average_ranks(HAND) == pytest.approx({"a": 5 / 3, "b": 2.0, "c": 7 / 3})
    assert ranks.groups([1.0, 4.0, 1.5, 2.1], 1.0) == [(0, 1), (1, 2)]


# -- promises


def everywhere(errors: dict[str, float], fits: dict[str, float]) -> Results:
    """The same cells on all tables, on which some take the time that they are given."""
    return Results(
        outcome(Key(table, name, seed), error, fits.get(name, 1.0))
        for table in data.READERS
        for name, error in errors.items()
        for seed in range(2)
    )


ERRORS = {
    "nbmlp-fast": 0.2, "nbmlp-default": 0.1, "nbmlp-best": 0.09, "sklearn-mlp": 0.3,
    "lightgbm": 0.2, "catboost": 0.15, "realmlp": 0.2, "lightgbm-tuned": 0.12,
    "catboost-tuned": 0.11,
}  # fmt: skip
FITS = {"nbmlp-default": 5.0, "realmlp": 9.0}


def test_promises_kept_broken_and_open() -> None:
    judged = list(promises.verdicts(everywhere(ERRORS, FITS)))
    assert len(judged) == 13
    assert all(v.kept for v in judged), [str(v) for v in judged]
    worse = ERRORS | {"nbmlp-default": 0.16, "nbmlp-fast": 0.4}
    slow = {"nbmlp-default": 7.0, "nbmlp-fast": 2.0}
    broken = [v.text for v in promises.verdicts(everywhere(worse, slow)) if v.kept is False]
    assert len(broken) == 10, broken
    assert not any("beats LightGBM" in text or "best" in text.split(":")[0] for text in broken)
    few = {name: error for name, error in ERRORS.items() if name != "catboost"}
    still_open = [v for v in promises.verdicts(everywhere(few, FITS)) if v.kept is None]
    assert len(still_open) == 8
    assert "no common cells on cpu.act" in str(still_open[0])


def test_errors_on_sick_are_counted() -> None:
    """1.5 of 200 test rows are .0075."""
    for more, kept in ((0.0074, True), (0.0076, False)):
        results = everywhere(ERRORS | {"nbmlp-default": 0.15 + more}, FITS)
        assert promises.sick(results).kept is kept


def test_lines_are_plain_json() -> None:
    line = outcome(Key("t", "lightgbm", 0)).to_json()
    assert json.loads(line)["contestant"] == "lightgbm"
    assert "\n" not in line
