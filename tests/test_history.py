"""Epoch records and the history that holds them."""

from __future__ import annotations

import dataclasses
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbmlp.errors import MissingPackageError, ModelFileError, SpecError
from nbmlp.train.history import (
    EpochRecord,
    History,
    brief_rate,
    brief_seconds,
    choose_monitor,
)


def record(epoch: int = 1, **values: object) -> EpochRecord:
    settings = {
        "data_loss": 1.0 / epoch,
        "penalty": 0.25,
        "learning_rate": 0.1,
        "samples_per_second": 1000.0 * epoch,
        "seconds": 2.0,
        "threads": 2,
    }
    return EpochRecord(epoch=epoch, **{**settings, **values})


def validated(*scores: float) -> History:
    return History(
        [record(i, val_loss=2.0 / i, val_score=s) for i, s in enumerate(scores, start=1)],
        score_name="accuracy",
    )


class TestRecord:
    def test_train_loss_is_the_sum(self):
        assert record(2).train_loss == 0.75

    def test_frozen_and_comparable(self):
        assert record(2) == record(2) != record(3)
        with pytest.raises(dataclasses.FrozenInstanceError):
            record().epoch = 2  # type: ignore[misc]

    def test_row_has_one_entry_per_column(self):
        row = record(2, val_loss=0.5, gradient_norms=(1.0, 3.0)).to_row()
        assert list(row) == [
            "epoch", "data_loss", "penalty", "train_loss", "val_loss", "val_score",
            "learning_rate", "samples_per_second", "seconds", "threads",
            "gradient_norm_1", "gradient_norm_2",
        ]  # fmt: skip
        assert row["train_loss"] == 0.75
        assert row["val_score"] is None
        assert row["gradient_norm_2"] == 3.0


    def test_a_row_of_an_ensemble_tells_its_net(self):
        row = record(7, net=2, net_epoch=3).to_row()
        assert list(row)[:3] == ["epoch", "net", "net_epoch"]
        assert (row["epoch"], row["net"], row["net_epoch"]) == (7, 2, 3)


def of_nets(*courses: tuple[float, ...]) -> History:
    """Epochs of several nets, in turn."""
    ends = [
        {"net": net, "net_epoch": epoch, "val_loss": 1.0, "val_score": score}
        for epoch, scores in enumerate(zip(*courses, strict=True), start=1)
        for net, score in enumerate(scores)
    ]
    records = [record(i, **end) for i, end in enumerate(ends, start=1)]
    return History(records, score_name="log_loss", chosen=(1,))


class TestNets:
    def test_each_has_a_course_of_its_own(self):
        nets = of_nets((0.9, 0.8), (0.5, 0.4)).by_net()
        assert list(nets) == [0, 1]
        np.testing.assert_array_equal(nets[1].epoch, [1, 2])
        np.testing.assert_array_equal(nets[1].val_score, [0.5, 0.4])
        assert validated(0.5).by_net() == {}

    def test_the_best_is_of_one_net(self):
        history = of_nets((0.9, 0.8), (0.4, 0.5))
        assert history.best is history[1]
        assert history.best_epoch == 2
        assert "4 epochs of 2 nets" in repr(history)
        assert "net 1, epoch 1 (log_loss 0.4000)" in repr(history)

    def test_plain_values(self):
        history = of_nets((0.9,), (0.4,))
        assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history
        single = validated(0.5).to_dict()
        assert {"net", "net_epoch", "chosen"}.isdisjoint({*single, *single["records"][0]})


class TestMonitor:
    def test_auto_takes_the_first_recorded(self):
        assert choose_monitor(record()) == "train_loss"
        assert choose_monitor(record(val_loss=1.0)) == "val_loss"
        assert choose_monitor(record(val_loss=1.0, val_score=1.0)) == "val_score"

    def test_validation_that_is_missing(self):
        assert choose_monitor(record(), "train_loss") == "train_loss"
        with pytest.raises(SpecError, match="val_loss cannot be watched without validation data"):
            choose_monitor(record(), "val_loss")


class TestHistory:
    def test_is_a_sequence(self):
        history = History()
        assert len(history) == 0
        for epoch in (1, 2, 3):
            history.append(record(epoch))
        assert len(history) == 3
        assert [r.epoch for r in history] == [1, 2, 3]
        assert history[-1] == record(3)
        with pytest.raises(IndexError):
            history[3]

    def test_columns_as_arrays(self):
        history = History([record(1, gradient_norms=(1.0, 2.0)), record(2, val_loss=0.5)])
        np.testing.assert_array_equal(history.epoch, [1, 2])
        np.testing.assert_array_equal(history.data_loss, [1.0, 0.5])
        np.testing.assert_array_equal(history.penalty, [0.25, 0.25])
        np.testing.assert_array_equal(history.train_loss, [1.25, 0.75])
        np.testing.assert_array_equal(history.val_loss, [np.nan, 0.5])
        np.testing.assert_array_equal(history.val_score, [np.nan, np.nan])
        np.testing.assert_array_equal(history.learning_rate, [0.1, 0.1])
        np.testing.assert_array_equal(history.samples_per_second, [1000, 2000])
        np.testing.assert_array_equal(history.seconds, [2, 2])
        np.testing.assert_array_equal(history.threads, [2, 2])
        np.testing.assert_array_equal(history.gradient_norms, [[1, 2], [np.nan, np.nan]])
        assert history.epoch.dtype == history.threads.dtype == np.int64
        assert history.val_loss.dtype == np.float64

    def test_columns_of_nothing(self):
        history = History()
        assert history.train_loss.shape == (0,)
        assert history.gradient_norms.shape == (0, 0)
        assert History([record(1), record(2)]).gradient_norms.shape == (2, 0)
        assert history.columns() == {}
        assert history.best_epoch is None

    def test_best_epoch_watches_the_best_there_is(self):
        assert validated(0.5, 0.9, 0.9, 0.7).best_epoch == 2
        losses = [3.0, math.nan, 1.0, 2.0]
        assert History([record(i + 1, val_loss=v) for i, v in enumerate(losses)]).best_epoch == 3
        assert History([record(1), record(2), record(3, penalty=9.0)]).best_epoch == 2
        assert History([record(1, data_loss=math.nan)]).best_epoch is None

    def test_best_epoch_of_a_resumed_training(self):
        assert History([record(7, data_loss=2.0), record(8, data_loss=1.0)]).best_epoch == 8

    def test_table_leaves_out_what_was_never_recorded(self):
        columns = History([record(1), record(2)]).columns()
        assert "val_loss" not in columns
        assert "train_loss" in columns
        columns = History([record(1), record(2, val_loss=0.5, gradient_norms=(3.0,))]).columns()
        np.testing.assert_array_equal(columns["val_loss"], [np.nan, 0.5])
        np.testing.assert_array_equal(columns["gradient_norm_1"], [np.nan, 3.0])
        assert columns["epoch"].dtype == np.int64

    def test_polars_frame(self):
        polars = pytest.importorskip("polars", reason="polars is not installed")
        frame = validated(0.5, 0.75).to_frame()
        assert isinstance(frame, polars.DataFrame)
        assert frame["val_score"].to_list() == [0.5, 0.75]
        assert frame.shape == (2, 10)

    def test_pandas_frame_without_polars(self, monkeypatch):
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        monkeypatch.setitem(sys.modules, "polars", None)
        frame = validated(0.5, 0.75).to_frame()
        assert isinstance(frame, pandas.DataFrame)
        assert frame["epoch"].tolist() == [1, 2]

    def test_frame_without_either(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "polars", None)
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(MissingPackageError) as caught:
            validated(0.5).to_frame()
        sentence = 'a data frame needs polars or pandas: pip install "nbmlp[cli]".'
        assert str(caught.value) == sentence


class TestSummary:
    def test_empty(self):
        assert repr(History()) == "History(no epochs)"

    def test_with_validation(self):
        history = validated(0.5, 0.75, 0.25)
        history.stop_reason = "early stopping at epoch 3"
        assert repr(history).splitlines() == [
            "History: 3 epochs, early stopping at epoch 3",
            "  training    loss 0.5833 = data 0.3333 + penalty 0.25",
            "  validation  loss 0.6667, accuracy 0.2500",
            "  best        epoch 2 (accuracy 0.7500)",
            "  speed       2k samples/s, 2 threads, 6.0 s in all",
        ]

    def test_without_validation_penalty_or_reason(self):
        assert repr(History([record(1, penalty=0.0, threads=1)])).splitlines() == [
            "History: 1 epoch",
            "  training    loss 1",
            "  best        epoch 1 (train_loss 1)",
            "  speed       1k samples/s, 1 thread, 2.0 s in all",
        ]

    @pytest.mark.parametrize(
        ("rate", "text"),
        [
            (0.0, "0 samples/s"),
            (12.34, "12.3 samples/s"),
            (999.4, "999 samples/s"),
            (999.6, "1k samples/s"),
            (1_270_000, "1.27M samples/s"),
            (999_900, "1M samples/s"),
            (2.5e9, "2.5G samples/s"),
        ],
    )
    def test_rate(self, rate, text):
        assert brief_rate(rate) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (99.4, "99 s"),
            (99.6, "1:40 min"),
            (187, "3:07 min"),
            (3599.7, "1:00:00 h"),
            (7509, "2:05:09 h"),
        ],
    )
    def test_duration(self, seconds, text):
        assert brief_seconds(seconds) == text


maybe = st.none() | st.floats(allow_nan=False)


@given(
    st.lists(
        st.builds(
            record,
            epoch=st.integers(1, 10**6),
            data_loss=st.floats(allow_nan=False),
            val_loss=maybe,
            val_score=maybe,
            gradient_norms=st.none() | st.tuples(st.floats(0, 1e30), st.floats(0, 1)),
        ),
        max_size=4,
    ),
    st.text(),
)
def test_round_trip_through_json(records, reason):
    history = History(records, reason, "R2")
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history


def test_nan_survives_python_json():
    history = History([record(1, data_loss=math.nan)])
    back = History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert math.isnan(back[0].data_loss)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"records": None, "stop_reason": "", "score_name": ""},
        {"records": [{}], "stop_reason": "", "score_name": ""},
        {"records": ["a"], "stop_reason": "", "score_name": ""},
        {"records": [{"epoch": 1, "gradient_norms": None}], "stop_reason": "", "score_name": ""},
        None,
    ],
)
def test_damaged_history_is_refused(values):
    with pytest.raises(ModelFileError, match="the training history is damaged"):
        History.from_dict(values)
