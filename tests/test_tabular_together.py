"""Ensembles that several processes train together: the nets of one process, whole on each."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ensembles import assert_same, flat
from test_hosts import Comm, mpiexec, together
from test_hosts_checkpoints import Talking

import nbmlp
from nbmlp import Callback, SpecError, TabularClassifier, TabularRegressor
from nbmlp.cli import tabular
from nbmlp.io import archive
from nbmlp.tabular import race, restart, team
from nbmlp.train.hosts import EndedElsewhere
from nbmlp.train.hosts.fence import Fence, FencedOff, number_of
from nbmlp.train.interrupt import Interrupted

__all__ = ["mpiexec"]  # a fixture

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 10))
Y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * RNG.normal(size=240)
LABELS = (X[:, 0] > 0).astype(int)
SMALL: dict[str, Any] = {"n_members": 6, "epochs": 10, "random_state": 0, "n_jobs": 1}


class Shortly(Callback):
    """Processes meet after every epoch, and something is done after one of them."""

    def __init__(self, after: int = 0, act: Any = None) -> None:
        self.after, self.act, self.told = after, act, 0

    def on_fit_begin(self, run: Any) -> None:
        run.stretch = 0.0

    def on_epoch_end(self, run: Any, record: Any) -> None:
        self.told += 1
        if record.epoch == self.after:
            self.act(run)


@pytest.fixture(scope="module")
def alone() -> Any:
    """One process's ensemble, of which some nets have lagged behind."""
    model = TabularClassifier(**SMALL).fit(X, LABELS)
    assert any("lagged" in m["ended"] for m in model.members_)
    return model


@pytest.mark.parametrize(("size", "shortly"), [(2, True), (3, False)])
def test_all_have_the_ensemble_of_one(alone: Any, size: int, shortly: bool) -> None:
    callbacks = [Shortly() if shortly else Callback() for _ in range(size)]

    def fit(comm: Comm) -> Any:
        own = SMALL | {"n_jobs": 1 + comm.Get_rank(), "callbacks": callbacks[comm.Get_rank()]}
        return TabularClassifier(**own).fit(X, LABELS, comm=comm)

    for model in together(size, fit):
        assert_same(model, alone, X)
    if shortly:  # those of process 0 are told of all nets
        epochs = sum(member["epochs"] for member in alone.members_)
        assert [callback.told for callback in callbacks] == [epochs, 0]


def test_a_seed_that_nobody_names_is_the_same_in_all() -> None:
    small = {"n_members": 2, "epochs": 2, "n_folds": 2, "n_jobs": 1}
    one, other = together(2, lambda comm: TabularRegressor(**small).fit(X, Y, comm=comm))
    assert_same(one, other, X)


def test_a_checkpoint_of_several_goes_on_alone(alone: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    pause = Shortly(20, lambda run: (run.save_checkpoint(path), run.pause()))

    def fit(comm: Comm) -> str:
        with pytest.raises(Interrupted) as caught:
            TabularClassifier(**SMALL, callbacks=pause).fit(X, LABELS, comm=comm)
        return str(caught.value)

    assert together(2, fit) == ["paused"] * 2
    assert_same(TabularClassifier(**SMALL).fit(X, LABELS, resume=path), alone, X)


def test_a_process_that_is_left_over_ends_its_training(tmp_path: Path, monkeypatch: Any) -> None:
    """A newer start writes while it trains."""
    monkeypatch.setattr(race, "_BETWEEN", 0.0)
    at = tmp_path / "c"

    def newer(run: Any) -> None:
        assert number_of(at)[0] == 1
        Fence(9, 9).replace(at, {}, lambda path, own: write_archive(path, own))

    def fit(comm: Comm) -> Any:
        own = SMALL | {"callbacks": Shortly(20, newer)}
        return TabularClassifier(**own).fit(X, LABELS, checkpoint=at, comm=comm)

    first, second = together(2, fit)
    assert isinstance(first, FencedOff)
    assert "FencedOff" in str(second)
    assert number_of(at) == (9, 9)


def write_archive(path: Path, own: dict[str, Any]) -> None:
    archive.write(path, {f"extra.{n}": a for n, a in own.items()}, {}, kind="tabular checkpoint")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    np.savetxt(path, np.column_stack([X, LABELS]), delimiter=",")
    return path


def test_after_a_loss_fewer_go_on_with_the_same_bits(
    table: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """By the command line, each with a folder of its own; process 0's is lost."""
    monkeypatch.setattr(race, "_BETWEEN", 0.0)
    monkeypatch.setattr(team, "_STRETCH", 0.0)
    homes = [tmp_path / f"host{k}" for k in range(3)]
    for home in homes:
        home.mkdir()

    def train(comm: Any, home: Path, **more: Any) -> int:
        return tabular.train(
            {
                "data": str(table), "target": "x10", "preset": "default", "members": 6,
                "epochs": 10, "threads": 1, "quiet": True, "checkpoint": str(home / "c"),
                "out": str(home / "m"), **more,
            },
            None, None if comm is None else Talking(comm._world, comm.Get_rank()),
        )  # fmt: skip

    save, written = restart.save, []

    def fails(path: Path, *given: Any) -> None:
        save(path, *given)
        written.append(path)
        if written.count(homes[0] / "c") == 9:
            raise ArithmeticError("lost")

    monkeypatch.setattr(restart, "save", fails)
    assert not any(r == 0 for r in together(3, lambda comm: train(comm, homes[comm.Get_rank()])))
    assert [sorted(p.name for p in home.iterdir()) for home in homes] == [["c"], ["c"], []]
    assert 0 < restart.epochs_in(homes[1] / "c") < 60
    monkeypatch.setattr(restart, "save", save)
    again = together(2, lambda comm: train(comm, homes[1 + comm.Get_rank()], resume=True))
    assert again == [0, 0]
    assert number_of(homes[1] / "c")[0] == number_of(homes[2] / "c")[0] == 2
    assert train(None, homes[0]) == 0
    assert_same_nets(*(nbmlp.load(home / "m") for home in homes[:2]))


def assert_same_nets(one: Any, other: Any) -> None:
    assert [(k.weight, k.settings) for k in one.model_.kept] == [
        (k.weight, k.settings) for k in other.model_.kept
    ]
    np.testing.assert_array_equal(flat(one), flat(other))


def test_a_callback_ends_the_nets_of_all() -> None:
    stop = Shortly(9, lambda run: run.stop("enough"))
    settings = {"n_members": 3, "epochs": 10**6, "callbacks": stop, "random_state": 0}
    one, other = together(2, lambda comm: TabularRegressor(**settings).fit(X, Y, comm=comm))
    assert one.stopped_by_ == other.stopped_by_ == "enough"
    assert np.isfinite(one.predict(X)).all()


def test_time_is_limited_for_all() -> None:
    settings = {"n_members": 5, "epochs": 10**6, "time_limit": 0.5, "random_state": 0}

    def fit(comm: Comm) -> Any:
        return TabularRegressor(**settings).fit(X, Y, comm=comm)

    with pytest.warns(nbmlp.TrainingWarning, match="time_limit=0.5 ended"):
        one, other = together(2, fit)
    assert one.stopped_by_ == "time limit"
    assert_same(one, other, X)


def test_an_error_of_one_ends_all() -> None:
    def fails(run: Any) -> None:
        raise ArithmeticError("of a callback")

    def fit(comm: Comm) -> Any:
        return TabularClassifier(**SMALL, callbacks=Shortly(3, fails)).fit(X, LABELS, comm=comm)

    first, second = together(2, fit)
    assert str(first) == "of a callback"
    assert isinstance(second, EndedElsewhere)
    assert "process 0 has ended the training of all: ArithmeticError" in str(second)


def test_other_settings_and_rows_are_refused() -> None:
    def other(**changes: Any) -> Any:
        def fit(comm: Comm) -> Any:
            own = changes if comm.Get_rank() else {}
            rows = X[: own.pop("rows", 240)]
            return TabularClassifier(**SMALL | own).fit(rows, LABELS[: len(rows)], comm=comm)

        return together(2, fit)

    for errors, what in ((other(eval_metric="accuracy"), "eval_metric"), (other(rows=200), "set")):
        for error in errors:
            assert isinstance(error, SpecError)
            assert f"process 1 has another {what}" in str(error)


def test_the_command_line_under_mpiexec(mpiexec: Any, table: Path, tmp_path: Path) -> None:
    ends = []
    options = ["--target", "x10", "--json", "--preset", "default", "--members", "3"]
    options += ["--epochs", "3", "--threads", "1"]
    for name, run in (("two", mpiexec), ("one", None)):
        out = tmp_path / name
        command = ["-m", "nbmlp", "train", "--data", str(table), *options, "--out", str(out)]
        if run is None:
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
        else:
            assert len(json.loads(run(*command))["members"]) == 3  # one process tells, not both
        ends.append(nbmlp.load(out))
    assert_same(*ends, X)
