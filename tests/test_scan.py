"""The batch scan: noise scale against NumPy, trainings that repeat, what is shown of it."""

from __future__ import annotations

import itertools
import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from nbmlp import MLP, DataError, NotFittedError, SpecError
from nbmlp.cli import run
from nbmlp.diagnostics.noise import NoiseScale, noise_scale
from nbmlp.diagnostics.scan_result import BatchPoint, BatchScan

SIZES = (4, 16, 64)


def clock(tick=1e-5):
    """Time that passes by looking at it: outcomes do not depend on the machine."""
    return itertools.count(0.0, tick).__next__


def problem(rows=400, columns=6):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(rows, columns))
    return X, (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)


def model(**settings):
    return MLP(**{"hidden": 8, "batch_size": 16, "learning_rate": 0.01} | settings)


def scan(net=None, data=None, **options):
    X, y = data or problem()
    options = {"sizes": SIZES, "seconds": 0.5, "clock": clock()} | options
    return (net or model()).scan_batch(X, y, **options)


# ------------------------------------------------------------------------------ noise scale


def linear(rows, columns=4, **settings):
    """A linear model at first weights, and the gradient (rows, parameters) of each row alone."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(rows, columns))
    y = X @ rng.normal(size=columns) + 2.0 + rng.normal(size=rows)
    net = MLP((), dtype="float64", task="regression", **settings).build(X, y)
    error = net.outputs(X)[:, 0] - y
    return net, net.net.rows(X, y), error[:, None] * np.column_stack([X, np.ones(rows)])


def measured(net, rows, **options):
    return noise_scale(net.net.spec, net.train_spec, net.net.state, rows, 2, **options)


@pytest.mark.parametrize("settings", [{}, {"l2": 3.0, "l1": 1.0}, {"reduction": "sum"}])
def test_noise_of_single_rows_is_their_covariance(settings):
    net, rows, gradients = linear(100, **settings)
    before = net.get_flat()
    found = measured(net, rows)
    trace = np.trace(np.cov(gradients.T))
    norm = float(np.sum(gradients.mean(0) ** 2)) - trace / 100
    assert found.trace == pytest.approx(trace, rel=1e-9)
    assert found.squared_norm == pytest.approx(norm, rel=1e-9)
    assert found.batch == pytest.approx(trace / norm, rel=1e-9)
    assert found.rows == 100
    np.testing.assert_array_equal(net.get_flat(), before)
    assert net.net.state.step == 0


def test_noise_of_batches_agrees_with_that_of_rows():
    net, rows, gradients = linear(20_000)
    trace, norm = np.trace(np.cov(gradients.T)), np.sum(gradients.mean(0) ** 2)
    found = measured(net, rows)
    assert found.rows == 128 * (20_000 // 128)
    assert found.trace == pytest.approx(trace, rel=0.2)  # 128 batches tell it to 1/sqrt(128 * 5/2)
    assert found.squared_norm == pytest.approx(norm, rel=0.05)
    assert measured(net, rows, most_rows=1000).rows == 896


def test_without_a_common_direction_the_scale_is_infinite():
    assert NoiseScale(2.0, 0.5, 10).batch == 4.0
    assert NoiseScale(2.0, -0.1, 10).batch == math.inf


# ------------------------------------------------------------------------------ scan


def test_scan_finds_the_batch_that_is_there_soonest():
    stages = []
    found = scan(progress=lambda share, stage: stages.append((share, stage)))
    assert [p.batch for p in found.points] == list(SIZES)
    assert [p.outcome for p in found.points] == ["reached"] * 3
    assert [p.learning_rate for p in found.points] == pytest.approx([0.005, 0.01, 0.02])
    assert all(p.samples_per_second > 0 for p in found.points)
    assert all(p.samples == pytest.approx(p.updates * p.batch, rel=0.1) for p in found.points)
    assert found.best == min(found.points, key=lambda p: p.seconds).batch
    assert found.own == 16
    assert found.complete
    assert found.noise_first.trace > 0
    assert found.noise_trained.trace > 0
    assert [s for s, _ in stages] == sorted(s for s, _ in stages)
    assert 0 == stages[0][0] < stages[-1][0] <= 1
    assert {"compiling kernels", "gradient noise", "batch 64"} <= {s for _, s in stages}


def test_trainings_repeat_and_do_not_see_the_threads():
    ways = [scan(model(threads=t), validation=0.25, target=0.6) for t in (1, 2)]
    updates = [[p.updates for p in found.points] for found in ways]
    assert updates[0] == updates[1]
    assert ways[0].watched == "validation"


def test_the_target_is_met_where_the_scan_says():
    X, y = problem()
    found = scan(model(schedule="constant"), sizes=[], target=0.55)
    (point,) = found.points
    epochs = math.ceil(point.samples / len(X))
    net = model(schedule="constant")
    losses = [net.partial_fit(X, y).evaluate(X, y)["loss"] for _ in range(epochs)]
    assert losses[-1] < 0.55
    assert epochs == 1 or losses[-2] > 0.54


def test_the_model_stays_as_it_is():
    net = model()
    scan(net)
    with pytest.raises(NotFittedError):
        net.get_flat()
    net.fit(*problem())
    before = net.get_flat()
    found = scan(net)
    np.testing.assert_array_equal(net.get_flat(), before)
    assert len(net.history) == net.train_spec.epochs
    assert [p.updates for p in found.points] == [p.updates for p in scan().points]


def test_sizes_are_powers_of_two_and_the_models_own():
    brief = {"sizes": None, "seconds": 0.05, "clock": clock(1e-3)}
    found = scan(model(batch_size=10), problem(100), **brief)
    assert [p.batch for p in found.points] == [1, 2, 4, 8, 10, 16, 32, 64, 100]
    found = scan(model(batch_size=None, base_batch=11), problem(1100), **brief)
    assert [p.batch for p in found.points] == [8, 16, 32, 64, 128, 256, 512, 1024, 1100]
    assert found.points[-1].learning_rate == pytest.approx(0.1)


def test_sparse_rows_are_scanned():
    X, y = problem()
    assert scan(data=(csr_array(np.where(X > 0, X, 0)), y)).best in SIZES


def test_a_rate_that_is_too_large_for_a_batch_diverges():
    X, _ = problem()
    data = X, X @ np.arange(6.0)
    net = MLP((), optimizer="sgd(0.05)", batch_size=4, task="regression")
    found = scan(net, data, sizes=[4, 400])
    assert [p.outcome for p in found.points] == ["reached", "diverged"]
    assert found.best == 4
    assert "diverged" in str(found)


def test_a_model_that_does_not_learn_is_not_compared():
    found = scan(model(optimizer="sgd(1e-30)", learning_rate=None))
    assert found.target is None
    assert found.best is None
    assert {p.outcome for p in found.points} == {"not tried"}
    assert "did not lower the loss" in str(found)


@pytest.mark.parametrize(("stage", "speeds", "outcomes"), [
    ("speed, round 1 of 5", 0, 0), ("batch 64", 3, 2),
])  # fmt: skip
def test_an_interrupted_scan_says_what_it_knows(stage, speeds, outcomes):
    def progress(share, now):
        if now == stage:
            signal.raise_signal(signal.SIGINT)

    found = scan(progress=progress)
    assert not found.complete
    assert sum(math.isfinite(p.samples_per_second) for p in found.points) == speeds
    assert sum(p.outcome == "reached" for p in found.points) == outcomes
    assert str(found).endswith("interrupted: the rest was not measured")


@pytest.mark.parametrize(
    ("settings", "options", "sentence"),
    [
        ({}, {"sizes": [0]}, "sizes=0 must be a whole number, 1 or more."),
        ({}, {"sizes": "8"}, "sizes='8' must be a whole number"),
        ({}, {"sizes": 401}, "sizes has 401, more than the 400 rows"),
        ({}, {"seconds": 0}, r"seconds=0 must be a number in \(0, inf\)."),
        ({}, {"target": "low"}, "target='low' must be a number"),
        ({}, {"target": 99}, "target=99 is no aim: at first weights the loss is"),
        ({}, {"validation": 2.0}, "validation=2.0 must be a number"),
        ({"batch_size": 401}, {}, "batch_size=401 is larger than the 400 rows"),
        ({"optimizer": "lbfgs"}, {}, "lbfgs is meant for all rows at once"),
        ({"optimizer": "rprop"}, {}, "rprop is meant for all rows at once"),
    ],
)
def test_what_cannot_be_scanned_is_refused(settings, options, sentence):
    with pytest.raises(SpecError, match=sentence):
        scan(model(**settings), **options)


def test_bad_data_are_named():
    X, y = problem()
    X[7, 2] = np.nan
    with pytest.raises(DataError, match=r"row 7.*column 2"):
        scan(data=(X, y))
    with pytest.raises(DataError, match="two rows or more"):
        scan(model(batch_size=1), (X[:1], y[:1] + 0.5), sizes=None)


# ------------------------------------------------------------------------------ what is shown

FOUND = BatchScan(
    points=(
        BatchPoint(8, 0.5, 1e5, 1000.0, 8000.0, "reached"),
        BatchPoint(64, 1.0, 4e5, 200.0, 12_800.0, "reached"),
        BatchPoint(512, 2.0, 8e5, None, None, "not reached"),
    ),
    own=8, n_rows=2000, target=0.25, watched="validation", noise_first=NoiseScale(6.0, 2.0, 900),
    noise_trained=NoiseScale(6.0, -1.0, 900), complete=True,
)  # fmt: skip


def test_table():
    assert str(FOUND).splitlines() == [
        "batch scan on 2,000 rows, to a validation loss of 0.25",
        "   batch       rate   samples/s   updates   epochs  seconds",
        "       8        0.5     100,000     1,000        4     0.08  own",
        "      64          1     400,000       200      6.4    0.032  soonest",
        "     512          2     800,000         -        -        -  not reached",
        "gradient noise scale: 3 rows at first weights, more than the 900 rows looked at can tell"
        " after some training",
        "batch 64 is there soonest, in 0.032 s; the model's own, 8, needs 0.08 s",
        "not reached: too little time (raise seconds), or too large a rate",
    ]


def test_the_soonest_is_seen_to_be():
    points = FOUND.points[0], replace(FOUND.points[1], samples=31_960.0)
    (note,) = (n for n in str(replace(FOUND, points=points)).splitlines() if "soonest, in" in n)
    assert note == "batch 64 is there soonest, in 0.0799 s; the model's own, 8, needs 0.08 s"
    same = FOUND.points[0], replace(FOUND.points[1], samples=32_000.0)
    assert "in 0.08 s" in str(replace(FOUND, points=same))
    assert "needs" not in str(replace(FOUND, points=same))


def test_plain_values():
    values = FOUND.to_dict()
    assert values["best"] == 64
    assert values["points"][1]["seconds"] == pytest.approx(0.032)
    assert values["points"][2]["seconds"] is None
    assert values["noise_first"] == {
        "batch": 3.0, "trace": 6.0, "squared_norm": 2.0, "rows": 900,
    }  # fmt: skip
    json.dumps(values)


def test_picture(tmp_path):
    figure = FOUND.plot(tmp_path / "scan.png")
    speed, way, updates = figure.axes
    np.testing.assert_array_equal(speed.lines[0].get_ydata(), [1e5, 4e5, 8e5])
    np.testing.assert_allclose(way.lines[0].get_ydata(), [0.08, 0.032, np.nan])
    np.testing.assert_array_equal(updates.lines[0].get_ydata(), [1000, 200, np.nan])
    assert way.get_ylabel() == "seconds to validation loss 0.25"
    assert [ax.get_yscale() for ax in figure.axes] == ["log"] * 3
    assert speed.lines[1].get_xdata()[0] == 64
    assert (tmp_path / "scan.png").stat().st_size > 5000


def test_no_speed_no_picture():
    empty = BatchScan((BatchPoint(8, 0.1),), 8, 100, None, "training", None, None, False)
    with pytest.raises(DataError, match="no speed to draw"):
        empty.plot()


# ------------------------------------------------------------------------------ command line


@pytest.fixture
def nbmlp(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = run(["scan", "--data", "digits", "--hidden", "8", *map(str, arguments)])
        return code, *capsys.readouterr()

    return call


def test_command_prints_one_object_and_draws(nbmlp, tmp_path):
    code, out, err = nbmlp("--sizes", "32,256", "--batch-size", "64", "--seconds", "0.5",
                           "--base-batch", "16", "--learning-rate", "0.004", "--plot", "scan.png",
                           "--json", "--quiet")  # fmt: skip
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert [p["batch"] for p in values["points"]] == [32, 64, 256]
    assert values["points"][1]["learning_rate"] == pytest.approx(0.008)
    assert values["n_rows"] == 1438  # a fifth is set aside, as when training
    assert (tmp_path / "scan.png").exists()


def test_command_prints_a_table_and_says_what_it_does(nbmlp, tmp_path):
    (tmp_path / "net.toml").write_text("sizes = [64]\nseconds = 0.5\ntarget_loss = 2.2\n")
    code, out, err = nbmlp("--config", "net.toml", "--validation", "0.2")
    assert code == 0
    assert out.startswith("digits: batch scan on 1,150 rows, to a validation loss of 2.2\n")
    assert "batch 64" in err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--sizes", "8,x"), 2, "sizes='x' must be a whole number"),
        (("--target-loss", "low"), 2, "target='low' must be a number"),
        (("--optimizer", "lbfgs"), 2, "lbfgs is meant for all rows at once"),
        (("--plot", "scan.txt"), 2, "end the name in .png"),
        (("--plot", "none/scan.png"), 1, "there is no folder none"),
        (("--out", "m.safetensors"), 2, "--out"),
    ],
)
def test_a_mistake_gives_one_sentence(nbmlp, arguments, code, sentence):
    given, out, err = nbmlp(*arguments)
    assert (given, out) == (code, "")
    assert sentence in err
    assert err.startswith("nbmlp: ")
    assert err.count("\n") == 1
