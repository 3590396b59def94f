"""Resuming within an epoch: the bits of a training without a cut, wherever it was cut."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_twin import PLAIN, all_threads, problem, state_of

from nbmlp import MLP
from nbmlp.errors import DataError, NonFiniteError, SpecError, TrainingWarning
from nbmlp.io import archive
from nbmlp.spec import ModelSpec
from nbmlp.train.callbacks import Callback
from nbmlp.train.engine import MOST_SKIPPED, Engine
from nbmlp.train.interrupt import Interrupted
from nbmlp.train.standard import Checkpoint, EarlyStopping
from tests import children

SETTINGS = {
    "hidden": (19, 7), "dropout": 0.2, "input_dropout": 0.1, "batch_size": 20, "epochs": 5,
    "schedule": "constant",
}  # fmt: skip


class AnyPace:
    """Regions of random lengths."""

    def __init__(self, flops_per_row: float, seconds: float) -> None:
        self._random = random.Random(7)

    @property
    def rows(self) -> int:
        return self._random.randint(1, 90)

    def measure(self, rows: int, seconds: float) -> None:
        """Nothing is learned."""


@pytest.fixture(autouse=True)
def any_regions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("nbmlp.train.engine.Pace", AnyPace)
    with all_threads():
        yield


class KeepAll(Callback):
    """Leaves a checkpoint wherever one can be written; counts the places where none can."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths, self.half_done = folder, list[Path](), 0

    def on_progress(self, run: Any, progress: Any) -> None:
        path = self.folder / f"{progress.epoch}-{progress.rows_done}"
        if progress.between_batches:
            run.save_checkpoint(path)
            self.paths.append(path)
        elif 0 < progress.rows_done < progress.rows_total:
            with pytest.raises(SpecError, match="while a batch is half done"):
                run.save_checkpoint(path)
            self.half_done += 1


def told(model: MLP) -> list[dict[str, Any]]:
    """The history, without what is measured by a clock."""
    clock = {"samples_per_second": 0.0, "seconds": 0.0, "threads": 0}
    return [{**asdict(record), **clock} for record in model.history]


def check(folder: Path, settings: dict[str, Any], n: int = 230, bad: tuple[int, ...] = ()) -> Any:
    """Resume at some places with other numbers of threads; the whole training is returned."""
    X, y = children.rows(n)
    X[list(bad)] = np.nan
    held = children.rows(30)
    keep = KeepAll(folder)
    whole = MLP(**settings, threads=2).fit(X, y, validation=held, callbacks=[keep])
    assert len(keep.paths) >= 6
    for i, path in enumerate(random.Random(len(keep.paths)).sample(keep.paths, 3)):
        resumed = MLP(**settings, threads=1 + i)
        resumed.fit(X, y, validation=held, resume=path)
        np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())
        np.testing.assert_array_equal(resumed.net.state.slots, whole.net.state.slots)
        np.testing.assert_array_equal(resumed.net.state.trained, whole.net.state.trained)
        assert resumed.net.state.step == whole.net.state.step
        assert told(resumed) == told(whole)
        assert resumed.history.batches_skipped == whole.history.batches_skipped
    return whole, keep


@pytest.mark.parametrize("optimizer", ["sgd(0.1, momentum=0.9)", "adam", "rmsprop", "rprop"])
def test_rules(tmp_path: Path, optimizer: str) -> None:
    check(tmp_path, {**SETTINGS, "optimizer": optimizer})


@pytest.mark.parametrize("schedule", ["on_plateau(0.5, patience=1)", "one_cycle", "cosine"])
def test_schedules(tmp_path: Path, schedule: str) -> None:
    settings = {**SETTINGS, "schedule": schedule, "optimizer": "sgd(2.0, momentum=0.9)"}
    whole, _ = check(tmp_path, {**settings, "warmup": 1.5})
    assert len({r.learning_rate for r in whole.history}) > 2


def test_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several parts each, so that regions end within a batch, and within a shard's rows."""
    monkeypatch.setattr("nbmlp.tuning.SUB_BATCH", 5)
    _, keep = check(tmp_path, {**SETTINGS, "shards": 3, "optimizer": "adam", "clip_norm": 0.5})
    assert keep.half_done


def test_norms_limits_and_penalties(tmp_path: Path) -> None:
    limits = {"clip_norm": 0.2, "max_norm": 1.0, "l2": 1e-3, "gradient_norms": True}
    check(tmp_path, {**SETTINGS, **limits, "dtype": "float64"})


def test_schedules_of_dropout_and_decay_and_factors_of_parts(tmp_path: Path) -> None:
    fading = {"dropout_schedule": "flat_cos", "decay_schedule": "flat_cos(0.2)"}
    factors = {"rate_factors": {"bias": 0.1, "layer2": 3}, "decay_factors": {"layer1": 2}}
    check(tmp_path, {**SETTINGS, **fading, **factors, "weight_decay": 0.3})


def test_average_of_the_weights(tmp_path: Path) -> None:
    whole, _ = check(tmp_path, {**SETTINGS, "ema": 0.9})
    assert not np.array_equal(whole.get_flat(), whole.net.state.get_flat(whole.net.state.trained))


def test_batches_longer_than_a_region(tmp_path: Path) -> None:
    _, keep = check(tmp_path, {**SETTINGS, "batch_size": 1100}, n=3400)
    assert keep.half_done > 0


@pytest.mark.filterwarnings("ignore::nbmlp.errors.TrainingWarning")
def test_batches_left_out(tmp_path: Path) -> None:
    settings = {**SETTINGS, "on_nonfinite": "ignore", "batch_size": 7, "ema": 0.9}
    whole, _ = check(tmp_path, settings, bad=(3, 70, 71, 150))
    assert whole.history.batches_skipped > 2 * SETTINGS["epochs"]


def test_sums_of_each_batch() -> None:
    """As for estimators, whose engine keeps them."""
    spec = ModelSpec(5, 2, (4,), output="identity", loss="mse")
    train = PLAIN.with_(batch_size=8, l2=0.01)
    given = problem(spec, 61, weighted=True)

    def started() -> Engine:
        state = state_of(spec, given.params)
        engine = Engine(spec, train, state, given.rows(), 2, per_batch=True)
        engine.start_epoch(np.full(engine.steps_per_epoch, 0.1))
        return engine

    whole, cut, resumed = started(), started(), started()
    while not whole.region():
        pass
    cut.region(24)
    assert cut.between_batches
    assert 0 < cut.rows_done < 61
    resumed.state.theta[:] = cut.state.theta
    resumed.refresh()
    resumed.resume(cut.carry())
    assert resumed.rows_done == cut.rows_done
    while not resumed.region():
        pass
    np.testing.assert_array_equal(resumed.batches, whole.batches)
    np.testing.assert_array_equal(resumed.state.theta, whole.state.theta)
    assert resumed.mean_loss == whole.mean_loss


@pytest.mark.parametrize("ema", [None, 0.9])
def test_early_stopping_goes_back_to_the_same_weights(tmp_path: Path, ema: float | None) -> None:
    X, y = children.rows(210)
    held = children.rows(40)
    settings = {"hidden": (19, 7), "batch_size": 7, "epochs": 60, "optimizer": "adam(0.01)"}
    settings |= {"ema": ema}

    def fit(*more: Callback, resume: Path | None = None) -> MLP:
        callbacks = [EarlyStopping("val_loss", patience=6), *more]
        return MLP(**settings).fit(X, y, validation=held, callbacks=callbacks, resume=resume)

    keep = KeepAll(tmp_path)
    whole = fit(keep)
    best, last = min(whole.history, key=lambda r: r.val_loss).epoch, whole.history[-1].epoch
    assert 1 < best < best + 6 == last < 60
    for epoch in (best, best + 1, last):
        path = next(p for p in keep.paths if p.name.startswith(f"{epoch}-"))
        resumed = fit(resume=path)
        np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())
        assert told(resumed) == told(whole)
        assert resumed.history.stop_reason == whole.history.stop_reason


def test_early_stopping_does_not_take_half_an_epoch_for_the_best(tmp_path: Path) -> None:
    X, y = children.rows(60)
    keep = KeepAll(tmp_path)
    MLP(**SETTINGS).fit(X, y, callbacks=[keep], epochs=2)  # nothing is carried
    path = next(p for p in keep.paths if p.name.startswith("2-"))
    resumed = MLP(**SETTINGS)
    with pytest.warns(TrainingWarning, match="the best epoch, 1, are not in the checkpoint"):
        resumed.fit(
            X, y, resume=path, epochs=1, callbacks=[EarlyStopping("train_loss")]
        )  # fmt: skip


class EndAt(Callback):
    """Ends training at the first place after so many rows."""

    def __init__(self, epoch: int, rows: int) -> None:
        self.epoch, self.rows = epoch, rows

    def on_progress(self, run: Any, progress: Any) -> None:
        there = (progress.epoch, progress.rows_done) >= (self.epoch, self.rows)
        if progress.between_batches and there:
            raise Interrupted("enough")


def test_checkpoint_writes_by_time(tmp_path: Path) -> None:
    X, y = children.rows(230)
    whole = MLP(**SETTINGS).fit(X, y)
    path = tmp_path / "c"
    cut = MLP(**SETTINGS).fit(X, y, callbacks=[Checkpoint(path, 9, seconds=0), EndAt(3, 100)])
    assert cut.history.stop_reason == "enough"
    assert len(cut.history) == 2
    arrays, metadata = archive.read(path, kind="checkpoint")
    done, of = arrays["extra.epoch.rows"]
    assert (of, metadata["epoch"]) == (230, 2)
    assert 100 <= done < 230
    resumed = MLP(**SETTINGS).fit(X, y, resume=path, callbacks=[Checkpoint(path, seconds=0)])
    np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())
    again = MLP(**SETTINGS).fit(X, y, resume=path)  # of the end
    np.testing.assert_array_equal(again.get_flat(), whole.get_flat())


def test_checkpoint_waits_for_its_time(tmp_path: Path) -> None:
    X, y = children.rows(230)
    MLP(**SETTINGS).fit(X, y, callbacks=[Checkpoint(tmp_path / "c", 9), EndAt(3, 100)])
    assert not (tmp_path / "c").exists()


def test_a_checkpoint_written_before_going_on_is_the_same_place(tmp_path: Path) -> None:
    class AtOnce(Callback):
        def on_fit_begin(self, run: Any) -> None:
            run.save_checkpoint(tmp_path / "copy")

    X, y = children.rows(230)
    keep = KeepAll(tmp_path)
    whole = MLP(**SETTINGS).fit(X, y, callbacks=[keep])
    MLP(**SETTINGS).fit(X, y, resume=keep.paths[5], callbacks=[AtOnce()])
    resumed = MLP(**SETTINGS).fit(X, y, resume=tmp_path / "copy")
    np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())


def test_other_rows_are_refused(tmp_path: Path) -> None:
    X, y = children.rows(230)
    keep = KeepAll(tmp_path)
    MLP(**SETTINGS).fit(X, y, callbacks=[keep], epochs=1)
    other = MLP(**SETTINGS)
    with pytest.raises(DataError, match="an epoch over 230 rows, and these are 229: resume with"):
        other.fit(X[1:], y[1:], resume=keep.paths[0])
    assert not len(other.history)


@pytest.mark.filterwarnings("ignore::nbmlp.errors.TrainingWarning")
def test_rows_left_out_are_counted_once(tmp_path: Path) -> None:
    X, y = children.rows(230)
    X[[3, 70]] = np.nan
    settings, keep = {**SETTINGS, "on_nonfinite": "drop_rows"}, KeepAll(tmp_path)
    whole = MLP(**settings).fit(X, y, callbacks=[keep])
    resumed = MLP(**settings).fit(X, y, resume=keep.paths[3])
    assert resumed.history.rows_dropped == whole.history.rows_dropped == 2
    np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())


@pytest.mark.filterwarnings("ignore::nbmlp.errors.TrainingWarning")
def test_batches_left_out_in_a_row_are_counted_across_the_cut(tmp_path: Path) -> None:
    X, y = children.rows(230)
    X[40 : 40 + 7 * (MOST_SKIPPED + 4)] = np.nan
    settings = {**SETTINGS, "on_nonfinite": "ignore", "batch_size": 7, "shuffle": False}
    keep, failures = KeepAll(tmp_path), []
    with pytest.raises(NonFiniteError) as failed:
        MLP(**settings).fit(X, y, callbacks=[keep])
    for path in keep.paths[-1], keep.paths[-5], keep.paths[0]:
        with pytest.raises(NonFiniteError) as again:
            MLP(**settings).fit(X, y, resume=path)
        failures.append(again.value.step)
    assert failures == 3 * [failed.value.step]
