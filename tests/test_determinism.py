"""The same bits for any number of threads, in every run, and after resuming from a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nbmlp import MLP
from nbmlp.errors import SpecError
from nbmlp.optimizers import OPTIMIZERS
from nbmlp.schedules import SCHEDULES
from nbmlp.train.callbacks import Callback
from nbmlp.train.standard import Checkpoint, EarlyStopping
from tests import children

THREADS = [1, 2, 5, 5]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, list[dict[str, Any]]]:
    return children.run(
        "outcomes", {"NUMBA_NUM_THREADS": "8"}, names=list(children.CASES), threads=THREADS
    )


class TestThreads:
    @pytest.mark.parametrize("case", children.CASES)
    def test_same_bits(self, outcomes, case):
        found = outcomes[case]
        for threads, outcome in zip(THREADS, found, strict=True):
            assert max(outcome["threads"]) == threads, "so many threads did not run"
        for part in ("weights", "predictions", "history"):
            assert [o[part] for o in found] == [found[0][part]] * len(found), part

    def test_same_bits_in_another_process(self, outcomes):
        again = children.run("outcomes", names=["dropout"], threads=[2])["dropout"][0]
        for part in ("weights", "predictions", "history"):
            assert again[part] == outcomes["dropout"][0][part]

    def test_another_seed_gives_other_bits(self):
        X, y = children.rows(100)
        first, second = (MLP(5, epochs=1, seed=s).fit(X, y).get_flat() for s in (0, 1))
        assert not np.array_equal(first, second)


SETTINGS = {"hidden": (19, 7), "dropout": 0.2, "input_dropout": 0.1, "batch_size": 40, "epochs": 6}


def keep_all(folder: Path) -> Callback:
    """A callback that leaves a checkpoint of every epoch."""

    class Keep(Callback):
        def on_epoch_end(self, run, record):
            run.save_checkpoint(folder / f"{record.epoch}.ckpt")

    return Keep()


def losses(model: MLP) -> list[tuple[float, float, float]]:
    return [(r.train_loss, r.val_loss, r.learning_rate) for r in model.history]


class TestResume:
    def check(self, folder: Path, settings: dict[str, Any], at: tuple[int, ...] = (1, 3, 5)) -> MLP:
        """Resume at some epochs; the undisturbed model is returned."""
        X, y = children.rows(210)
        validation = (X[:30], y[:30])
        whole = MLP(**settings).fit(X, y, callbacks=[keep_all(folder)], validation=validation)
        for epoch in at:
            resumed = MLP(**settings)
            resumed.fit(X, y, resume=folder / f"{epoch}.ckpt", validation=validation)
            np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())
            assert losses(resumed) == losses(whole)
        assert len(whole.history) == settings["epochs"]
        return whole

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("optimizer", sorted({*OPTIMIZERS, "sgd(0.1, momentum=0.9)"}))
    def test_every_optimizer(self, tmp_path, optimizer, dtype):
        settings = {**SETTINGS, "optimizer": optimizer, "dtype": dtype, "schedule": "constant"}
        whole = self.check(tmp_path, settings)
        assert whole.history[-1].train_loss < whole.history[0].train_loss

    def test_lbfgs_goes_on_past_the_plan_of_the_checkpoint(self, tmp_path):
        X, y = children.rows(210)
        settings = {**SETTINGS, "optimizer": "lbfgs"}
        MLP(**settings).fit(X, y, callbacks=[Checkpoint(tmp_path / "c")])
        for _ in range(2):  # a resumed run's checkpoint serves as well as the first one's
            resumed = MLP(**settings).fit(
                X, y, epochs=15, resume=tmp_path / "c", callbacks=[Checkpoint(tmp_path / "c", 9)]
            )
        whole = MLP(**settings).fit(X, y, epochs=15)
        np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())

    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_every_schedule(self, tmp_path, schedule):
        told = {"step": "step(2, gamma=0.3)", "on_plateau": "on_plateau(0.5, patience=1)"}
        settings = {**SETTINGS, "schedule": told.get(schedule, schedule), "warmup": 1.5}
        if schedule == "on_plateau":  # so fast that the loss rises: the state matters
            settings |= {"optimizer": "sgd(2.0, momentum=0.9)", "epochs": 8}
        whole = self.check(tmp_path, settings, (1, 2, 3, 4, 5))
        rates = {r.learning_rate for r in whole.history}
        assert len(rates) > 2 or schedule == "constant"

    def test_sub_batches_and_limits(self, tmp_path):
        settings = {
            **SETTINGS, "batch_size": 130, "clip_norm": 0.2, "max_norm": 1.0, "l2": 1e-3,
            "gradient_norms": True,
        }  # fmt: skip
        self.check(tmp_path, settings)

    @pytest.mark.parametrize("keeps_after", [True, False])
    def test_early_stopping_goes_back_to_the_best_epoch(self, tmp_path, keeps_after):
        X, y = children.rows(60)
        settings = {**SETTINGS, "epochs": 60, "optimizer": "adam(0.01)", "schedule": "constant"}
        settings |= {"dropout": 0.0, "input_dropout": 0.0}
        validation = children.rows(40)

        def callbacks(*more: Callback) -> list[Callback]:
            stop = EarlyStopping("val_loss", patience=6)
            return [stop, *more] if keeps_after else [*more, stop]

        whole = MLP(**settings)
        whole.fit(X, y, validation=validation, callbacks=callbacks(keep_all(tmp_path)))
        best = min(whole.history, key=lambda r: r.val_loss).epoch
        last = whole.history[-1].epoch
        assert 1 < best < best + 6 == last < 60
        for epoch in (best - 1, best, best + 1, last):
            resumed = MLP(**settings)
            path = tmp_path / f"{epoch}.ckpt"
            resumed.fit(X, y, validation=validation, callbacks=callbacks(), resume=path)
            np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())
            assert resumed.history.stop_reason == whole.history.stop_reason
            assert losses(resumed) == losses(whole)

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"seed": 3}, "seed"),
            ({"hidden": (19, 8)}, "hidden"),
            ({"activation": "tanh", "optimizer": "sgd"}, "activation, optimizer"),
        ],
    )
    def test_other_settings_are_refused(self, tmp_path, changes, named):
        X, y = children.rows(60)
        MLP(**SETTINGS).fit(X, y, epochs=1, callbacks=[Checkpoint(tmp_path / "c")])
        other = MLP(**{**SETTINGS, **changes})
        with pytest.raises(SpecError, match=f"was written with another {named}: resume with"):
            other.fit(X, y, resume=tmp_path / "c")
        assert not len(other.history)

    def test_threads_may_differ(self, tmp_path):
        X, y = children.rows(210)
        whole = MLP(**SETTINGS).fit(X, y, callbacks=[keep_all(tmp_path)])
        resumed = MLP(**SETTINGS, threads=1).fit(X, y, resume=tmp_path / "2.ckpt")
        np.testing.assert_array_equal(resumed.get_flat(), whole.get_flat())

    def test_a_checkpoint_is_no_model(self, tmp_path):
        X, y = children.rows(60)
        MLP(**SETTINGS).fit(X, y, epochs=1, callbacks=[Checkpoint(tmp_path / "c")])
        assert os.listdir(tmp_path) == ["c"]
        with pytest.raises(ValueError, match="checkpoint"):
            MLP.load(tmp_path / "c")
