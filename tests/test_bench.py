"""The benchmark's own parts: counts, the NumPy peer's mathematics, the limit, the table."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench import (
    commits,
    compare,
    latency,
    limit,
    measures,
    memory,
    reading,
    results,
    sklearn_compare,
)
from bench.nets import NETS, Net, draw_nets, make_problem
from bench.peers import OURS, PEERS, Entry, Variant, openblas_paths, thread_counts, xla
from bench.peers.numpy_net import Competitor
from bench.suites import common, correctness, training
from bench.worker import ROOT

# No second layer behind a relu: where all units before it rest, z is 0, the kink itself, and a
# central difference gives half the slope.
TINY = {
    "softmax": Net("T", (7, 5, 4, 3), "logistic", "softmax", "cross_entropy", 0.1, 50),
    "logistic": Net("T", (6, 5, 2), "logistic", "logistic", "squared_error", 0.5, 50),
    "no biases": Net("T", (6, 5, 1), "logistic", "logistic", "squared_error", 0.5, 50, bias=False),
    "linear": Net("T", (5, 8, 1), "relu", "identity", "squared_error", 0.1, 50),
}
LIMIT = limit.Limit(2, 200.0, 400.0, 10.0, 20.0, "avx2", 3.1)


def loss_of(net: Net, layers, x, y) -> float:
    """The mean loss of one batch, written as in a textbook, in float64."""
    for i, (w, b) in enumerate(layers):
        z = x @ w + (0 if b is None else b)
        name = net.output if i == len(layers) - 1 else net.hidden
        x = {
            "relu": lambda z: np.maximum(z, 0),
            "logistic": lambda z: 1 / (1 + np.exp(-z)),
            "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
            "identity": lambda z: z,
        }[name](z)
    if net.loss == "cross_entropy":
        return float(-np.log((x * y).sum(axis=1)).mean())
    return float(0.5 * ((x - y) ** 2).sum(axis=1).mean())


def numeric_step(net: Net, layers, x, y) -> None:
    """One update of plain SGD along central differences."""
    parts = [part for layer in layers for part in layer if part is not None]
    slopes = []
    for part in parts:
        slope = np.empty_like(part)
        for i in np.ndindex(part.shape):
            kept, h = part[i], 1e-6
            part[i] = kept + h
            up = loss_of(net, layers, x, y)
            part[i] = kept - h
            slope[i] = (up - loss_of(net, layers, x, y)) / (2 * h)
            part[i] = kept
        slopes.append(slope)
    for part, slope in zip(parts, slopes, strict=True):
        part -= net.rate * slope


@pytest.mark.parametrize("net", TINY.values(), ids=TINY.keys())
def test_numpy_epoch_equals_textbook_with_a_left_over_batch(net):
    problem = make_problem(net)
    peer = Competitor()
    peer.prepare(problem, batch=20, threads=1, shuffle=False)
    peer.epoch()
    layers = [(w.astype(float), None if b is None else b.astype(float)) for w, b in problem.layers]
    for start in (0, 20, 40):
        rows = slice(start, start + 20)
        numeric_step(net, layers, problem.X[rows].astype(float), problem.Y[rows].astype(float))
    assert compare.deviation(peer.layers(), layers, problem.layers) < 1e-4


def test_shuffled_epochs_differ_and_leave_the_problem_alone():
    problem = make_problem(TINY["linear"])
    first = problem.copy_layers()
    weights = []
    for shuffle in (False, True):
        peer = Competitor()
        peer.prepare(problem, batch=7, threads=1, shuffle=shuffle)
        peer.epoch()
        weights.append(peer.layers()[0][0])
    assert not np.array_equal(*weights)
    np.testing.assert_array_equal(problem.layers[0][0], first[0][0])


def test_a_problem_depends_on_the_seed_only_and_weights_not_on_rows():
    net = TINY["softmax"]
    one, same, other = make_problem(net), make_problem(net), make_problem(net, seed=1)
    np.testing.assert_array_equal(one.X, same.X)
    assert not np.array_equal(one.X, other.X)
    np.testing.assert_array_equal(one.Y.argmax(axis=1), one.labels)
    longer = make_problem(net.with_rows(80))
    np.testing.assert_array_equal(one.layers[0][0], longer.layers[0][0])
    assert longer.X.shape == (80, 7)


def test_flops_count_three_products_less_one_at_the_input():
    # 784-300-10: forward 2*(235200 + 3000), dW the same, sent back 2*3000.
    assert NETS["B"].flops_per_sample == 4 * 238_200 + 2 * 3_000
    assert NETS["E"].flops_per_sample == 4 * (784 * 512 + 512 * 522) + 2 * 512 * 522


def test_drawn_nets():
    drawn = draw_nets(7, 40)
    assert draw_nets(7, 40) == drawn
    assert draw_nets(7, 3) == drawn[:3]
    assert draw_nets(8, 3) != drawn[:3]
    assert {len(net.sizes) for net, _ in drawn} == {3, 4, 5, 6, 7}
    assert all(4 <= n <= 1024 for net, _ in drawn for n in net.sizes)
    assert all(8 <= batch <= 4096 <= 20 * net.rows for net, batch in drawn)
    assert {(net.hidden, net.output) for net, _ in drawn} == {
        (h, o) for h in ("relu", "logistic") for o in ("softmax", "identity")
    }


def test_summary_of_ratios():
    run = results.Run({}, limit.Limit(1, 1.0, 1.0, 1.0, 1.0, "generic", 1.0), {})
    for ours, jax, numpy in (([4.0, 4.0], [1.0, 4.0], [1.0, 1.0]), ([9.0], [3.0], [9.0])):
        found = {"nbmlp": ours, "jax": jax, "numpy": numpy}
        cell = results.Cell(NETS["A"], 20)
        cell.results = {name: results.Result("", 1, rates) for name, rates in found.items()}
        run.cells.append(cell)
    text = results.summary(run)
    assert "ours / best: geometric mean 1.58, least 1.00 (2 cells)" in text
    assert "ours / jax: geometric mean 2.74, least 2.50 (2 cells)" in text
    assert "ours / numpy: geometric mean 2.00, least 1.00 (2 cells)" in text
    assert "torch" not in text


def test_deviation_sees_one_wrong_array():
    first = make_problem(TINY["linear"]).layers
    moved = [(w + 1, b + 1) for w, b in first]
    assert compare.deviation(moved, moved, first) == 0
    wrong = [moved[0], (moved[1][0], first[1][1])]
    assert compare.deviation(wrong, moved, first) == pytest.approx(1)
    broken = [(moved[0][0] * np.nan, moved[0][1]), moved[1]]
    assert np.isnan(compare.deviation(broken, moved, first))


def test_kinks_are_allowed_for():
    assert compare.tolerance(NETS["A"]) == compare.TOLERANCE
    assert compare.tolerance(NETS["E"]) == compare.KINK_TOLERANCE > compare.TOLERANCE


def test_limit_is_positive_and_below_any_cpu():
    gflops = limit.fma_gflops(threads=1, seconds=0.02)
    # From a slow SSE2 core to six GHz with four 512-bit FMAs per cycle.
    assert 1 < gflops < 6 * 4 * 32
    assert 0.1 < limit.bandwidth(threads=1, seconds=0.02) < 2000


def test_configurations():
    assert thread_counts(1) == [1]
    assert thread_counts(6) == [1, 2, 4, 6]
    assert openblas_paths()[0] == ""
    assert [v.env["NPROC"] for v in xla(2)] == ["1", "2"]
    assert {str(v) for v in PEERS["torch"].variants(2)} == {"x1", "x2"}


def sample_run() -> results.Run:
    cell = results.Cell(NETS["B"], 100)
    cell.results = {
        OURS: results.Result("x2", 2, rates=[400e3, 500e3, 300e3], deviation=2e-6),
        "jax": results.Result("x1", 1, rates=[200e3, 100e3, 200e3], deviation=3e-6),
        "numpy": results.Result("x1", 1, rates=[9e6] * 3, wrong="weights differ"),
        "torch-bf16": results.Result("x1", 1, rates=[8e6] * 3, unlike="bfloat16 products"),
    }
    cell.skipped = {"torch": "ModuleNotFoundError: No module named 'torch'"}
    cell.others = [0.0, 0.5, 0.1]
    machine = {"cpu": "a CPU", "cores": 2, "system": "Linux", "load": 0.1, "python": "3.11",
               "versions": {"numpy": "2"}}  # fmt: skip
    return results.Run(machine, LIMIT, {}, [cell])


def test_ratio_pairs_rounds_and_counts_right_peers_of_the_same_precision_only():
    run = sample_run()
    assert run.cells[0].ratio() == (2.0, "jax")  # the pairs' ratios: 2, 5 and 1.5
    run.cells[0].results["jax"].rates = [100e3, 300e3, 200e3]
    assert run.cells[0].ratio() == (pytest.approx(5 / 3), "jax")  # 4, 5/3, 1.5; of medians: 2


def test_table_shows_rates_shares_threads_and_who_is_missing():
    run = sample_run()
    head, rule, row = results.table(run).splitlines()
    assert len(head) == len(rule) == len(row)
    share = 400e3 * NETS["B"].flops_per_sample / 400e9
    assert f"400 {100 * share:.0f}% x2" in row
    assert "skipped" in row
    assert "WRONG" in row
    assert "2.00 jax" in row
    told = results.notes(run)
    assert "torch skipped: ModuleNotFoundError: No module named 'torch' (B/100)" in told
    assert "numpy WRONG: weights differ (B/100)" in told
    assert "way moved 3.0e-06" in told
    assert "0.10 cores" in told
    assert "NOT QUIET" not in told
    run.cells[0].others = [0.3]
    assert "NOT QUIET" in results.notes(run)
    assert "400 on 2" in results.header(run)


@pytest.mark.parametrize(("rate", "text"), [(1_234_567, "1235"), (12_345, "12.3"), (999, "0.999")])
def test_thousands(rate, text):
    assert results.thousands(rate) == text


def test_compare_end_to_end_with_numpy_alone(tmp_path, capsys):
    out, picture = tmp_path / "out.json", tmp_path / "out.png"
    pytest.importorskip("matplotlib")
    code = compare.main(
        ["--nets", "C", "--batches", "50,100", "--peers", "numpy", "--rounds", "2",
         "--seconds", "0.01", "--rows", "130", "--json", str(out), "--png", str(picture)]
    )  # fmt: skip
    assert code == 0
    assert "| C 5-50-1 | 50 " in capsys.readouterr().out
    cells = json.loads(out.read_text())["cells"]
    assert [cell["batch"] for cell in cells] == [50, 100]
    found = cells[0]["results"]["numpy"]
    assert len(found["rates"]) == 2
    assert found["samples_per_second"] > 0
    assert found["deviation"] < compare.TOLERANCE
    assert 0 < found["fraction_of_limit"] < 1
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_missing_peer_is_shown_and_not_fatal(tmp_path, monkeypatch):
    (tmp_path / "sklearn.py").write_text('raise ModuleNotFoundError("No module named sklearn")')
    without = Entry(PEERS["sklearn"].module, lambda _: [Variant(1, {"PYTHONPATH": str(tmp_path)})])
    monkeypatch.setitem(PEERS, "sklearn", without)
    bench = compare.Bench(["sklearn", "numpy"], rounds=1, seconds=0.01)
    try:
        cell = bench.measure(TINY["linear"], 10)
    finally:
        bench.close()
    assert cell.skipped == {"sklearn": "ModuleNotFoundError: No module named sklearn"}
    assert len(cell.results["numpy"].rates) == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("--nets", "A,Z"), ("--peers", "jaks"), ("--batches", "20,many"), ("--rounds", "0")],
)
def test_a_bad_option_is_told_in_one_sentence(option, value, capsys):
    with pytest.raises(SystemExit) as end:
        compare.main([option, value])
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {option}: " in last
    assert "choose from" in last or "whole number above 0" in last


def test_two_checkouts_take_turns(monkeypatch, capsys):
    """Who begins changes; ratios are of pairs; the mean is over all cells."""
    said = []

    def rate(worker):
        said.append(worker)
        return 200.0 if worker == "new" else 100.0

    old, new = (partial(rate, name) for name in ("old", "new"))
    assert commits._pairs(3, old, new) == [(100.0, 200.0)] * 3
    assert said == ["old", "new", "new", "old", "old", "new"]
    assert commits._interval([1.0, 2.0, 2.0, 2.0, 9.0]) == (1.0, 9.0)
    assert commits._line("net", [(100.0, 99.0), (50.0, 50.0), (10.0, 20.0)]) == 1.0
    assert "| net | 50 | 50 | 1.000 |" in capsys.readouterr().out


def test_a_checkout_beside_itself(capsys):
    commits.main([str(ROOT), "--pairs", "1", "--nets", "C", "--batches", "100", "--no-processes"])
    shown = capsys.readouterr().out
    assert "1 pairs" in shown
    assert "geometric mean of 1 medians: " in shown


def test_asv_suites_track_what_they_train(monkeypatch):
    monkeypatch.setattr(common, "load_peer", lambda name: Competitor())
    monkeypatch.setattr(common, "UPDATES", 2)
    monkeypatch.setattr(common, "FEWEST_ROWS", 40)
    monkeypatch.setattr(common, "NET_BY_SIZES", {"5-8-1": TINY["linear"]})
    common._whole.cache_clear()
    common.trainer.cache_clear()
    assert common.problem("5-8-1", 20).X.shape == (40, 5)
    suite = training.Epoch()
    suite.setup("5-8-1", 20)
    before = suite.peer.layers()[0][0].copy()
    suite.time_epoch("5-8-1", 20)
    assert not np.array_equal(suite.peer.layers()[0][0], before)


def test_asv_suites_name_the_nets_and_read_one_table():
    nets, batches = training.Throughput.params
    assert nets[1] == "784-300-10"
    assert batches == [1, 8, 20, 100, 256, 1000, 2000, 10_000]
    net = NETS["B"]
    table = {(nets[1], 100, 1): 1e5, (nets[1], 100, common.all_threads()): 2e5}, 600.0
    assert training.Throughput().track_samples_per_second(table, nets[1], 100) == 2e5
    share = training.Throughput().track_fraction_of_peak(table, nets[1], 100)
    assert share == pytest.approx(2e5 * net.flops_per_sample / 600e9, abs=1e-3)


def test_asv_prediction_is_the_reference_s():
    assert 0 < correctness.Prediction().track_same_prediction() < 1e-5
    assert correctness.expected().sum(axis=1) == pytest.approx(1)


def test_measures_name_a_figure_once_and_take_ratios_by_round():
    case, other = measures.Case("B", 100, 2), measures.Case("B", 100, 1)
    rates = {case: [2e5, 3e5, 8e5], other: [1e5, 2e5, 8e5]}
    outcome = measures.Rounds(rates, [500.0, 500.0, 500.0])
    assert outcome.ratio(case, other) == 1.5
    assert outcome.share(case) == pytest.approx(3e5 * NETS["B"].flops_per_sample / 500e9)
    cases = measures.timed_cases(measures.SECTIONS)
    assert len(set(cases)) == len(cases)
    assert measures.Case("A", 1000, inputs="uint8") in cases


def test_measures_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(measures, "ROWS", 200)
    monkeypatch.setattr(measures, "SHARES", [measures.Case("C", 20)])
    measures._problem.cache_clear()
    report = tmp_path / "figures.json"
    options = ["--only", "limit,adam", "--rounds", "1", "--seconds", "0.01", "--json", str(report)]
    assert measures.main(options) == 0
    figures = json.loads(report.read_text())["figures"]
    assert [f["unit"] for f in figures] == [
        "GFLOP/s", "samples/s", "of the limit", "times plain SGD",
    ]  # fmt: skip
    assert all(f["value"] > 0 for f in figures)
    assert "thousand samples/s" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_memory_of_training_does_not_grow_with_the_batch():
    net = NETS["C"].with_rows(20_000)
    small, large = (memory.peak(net, batch, 1, "adam") for batch in (512, 20_000))
    assert large.workspace < 1.01 * small.workspace
    assert large.parameters == small.parameters > 0


def test_latency_compares_answers_and_renders(tmp_path, monkeypatch, capsys):
    """Without PyTorch, which takes seconds to import."""
    monkeypatch.delitem(latency.LIBRARIES, "torch")
    report = tmp_path / "latency.json"
    options = ["--one", "C", "--many", "C", "--rounds", "1", "--seconds", "0.01"]
    assert latency.main([*options, "--json", str(report)]) == 0
    timings = json.loads(report.read_text())["timings"]
    assert {"nbmlp", "sklearn"} <= {t["who"] for t in timings}
    assert all(len(t["seconds"]) == 1 and t["seconds"][0] > 0 for t in timings)
    assert "k rows/s" in capsys.readouterr().out


def test_latency_refuses_other_answers(monkeypatch):
    monkeypatch.setitem(latency.LIBRARIES, "sklearn", lambda *_: lambda X: np.full(len(X), 9.0))
    problem = make_problem(latency.classifier(NETS["C"]).with_rows(10))
    with pytest.raises(RuntimeError, match="sklearn answers otherwise in 10 of 10 rows"):
        latency.answers(problem, "predict", problem.X, 1)


def test_the_estimators_are_compared_with_scikit_learns(tmp_path, capsys):
    report = tmp_path / "tasks.json"
    assert (
        sklearn_compare.main(["--tasks", "regression", "--rounds", "2", "--json", str(report)]) == 0
    )
    [task] = json.loads(report.read_text())["tasks"]
    assert {name.split()[0] for name in task["seconds"]} == {"nbmlp", "sklearn"}
    assert all(len(seconds) == 2 for seconds in task["seconds"].values())
    scores = list(task["scores"].values())
    assert scores == pytest.approx([scores[0]] * len(scores), abs=1e-6)
    assert "times sooner" in capsys.readouterr().out


def test_reading_measures_tables_that_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for kind, (separator, decimal, *_) in reading.TABLES.items():
        reading.write_table(path, kind, 0.3)
        speeds = reading.measure(path, kind, rounds=1)
        assert list(speeds) == list(reading.READERS)
        expected = reading.pandas(path, separator, decimal)
        for reader in (reading.ours, reading.ours_alone):
            X = reader(path, separator, decimal).X
            for j, name in enumerate(expected.columns):
                column = X[:, j] if isinstance(X, np.ndarray) else X[name]
                if name == "town":
                    assert column.tolist() == expected[name].tolist()
                else:
                    np.testing.assert_allclose(column, expected[name], rtol=1e-12)
