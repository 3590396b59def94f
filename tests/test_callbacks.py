"""Callbacks on a run that is only played."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from nbmlp.errors import DataError, SpecError, TrainingWarning
from nbmlp.train.callbacks import Callback, CallbackList, FunctionCallback, Progress, as_callback
from nbmlp.train.history import EpochRecord, History
from nbmlp.train.progress import LineDisplay, Status, open_display
from nbmlp.train.standard import Checkpoint, CSVLog, EarlyStopping, ProgressBar

ROOT = Path(__file__).parent.parent


def record(epoch: int, **values: object) -> EpochRecord:
    settings = {
        "data_loss": 1.0 / epoch,
        "penalty": 0.0,
        "learning_rate": 0.1,
        "samples_per_second": 2000.0,
        "seconds": 0.05,
        "threads": 2,
    }
    return EpochRecord(epoch=epoch, **{**settings, **values})


class FakeRun:
    """A run whose weights after epoch e are [e] and whose losses are given."""

    def __init__(
        self,
        epochs: int = 10,
        history: Iterable[EpochRecord] = (),
        carry_at: int = 0,
        carried: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.carry_at, self.carried = carry_at, carried or {}
        self.model = object()
        self.history = History(list(history), score_name="accuracy")
        self.epochs = epochs
        self.n_samples = 100
        self.phase = "training"
        self.rows_done = 0
        self.weights = np.array([float(self._done)])
        self.reason = ""
        self.checkpoints: list[tuple[Path, int]] = []

    @property
    def _done(self) -> int:
        return self.history[-1].epoch if len(self.history) else 0

    def stop(self, reason: str) -> None:
        self.reason = reason

    def get_weights(self) -> np.ndarray:
        return self.weights.copy()

    def set_weights(self, weights: np.ndarray) -> None:
        self.weights = weights.copy()

    def save_checkpoint(self, path: Path) -> None:
        self.checkpoints.append((path, self._done))

    def play(self, callbacks: Iterable[object], records: Iterable[EpochRecord]) -> FakeRun:
        """Train as the loop does, until a callback stops it."""
        calls = CallbackList(callbacks)
        with calls.around(self):
            calls.restore(self.carried)
            for r in records:
                if self.reason:
                    break
                calls.on_progress(self, Progress(r.epoch, 50, 100, 2000.0, r.train_loss))
                self.weights = np.array([float(r.epoch)])
                self.history.append(r)
                calls.on_epoch_end(self, r)
                if r.epoch == self.carry_at:
                    self.carried = calls.carry()
            self.history.stop_reason = self.reason or "epochs done"
        return self


def scored(*scores: float, start: int = 1) -> list[EpochRecord]:
    return [record(i, val_loss=1.0, val_score=s) for i, s in enumerate(scores, start=start)]


class Diary(Callback):
    """Writes down what is called; raises at one occasion."""

    def __init__(self, name: str, pages: list[str], raise_at: str = "") -> None:
        self.name, self.pages, self.raise_at = name, pages, raise_at

    def _write(self, occasion: str) -> None:
        self.pages.append(f"{self.name} {occasion}")
        if occasion == self.raise_at:
            raise RuntimeError(f"{self.name} at {occasion}")

    def on_fit_begin(self, run):
        self._write("begin")

    def on_progress(self, run, progress):
        self._write(f"progress {progress.rows_done}")

    def on_epoch_end(self, run, record):
        self._write(f"epoch {record.epoch}")

    def on_fit_end(self, run):
        self._write("end")


class TestList:
    def test_order(self):
        pages: list[str] = []
        FakeRun().play([Diary("a", pages), Diary("b", pages)], [record(1)])
        assert pages == [
            "a begin", "b begin", "a progress 50", "b progress 50", "a epoch 1", "b epoch 1",
            "a end", "b end",
        ]  # fmt: skip

    @pytest.mark.parametrize("occasion", ["progress 50", "epoch 1", "end"])
    def test_who_raises_does_not_keep_the_others_from_their_end(self, occasion):
        pages: list[str] = []
        callbacks = [Diary("a", pages), Diary("b", pages, raise_at=occasion), Diary("c", pages)]
        with pytest.raises(RuntimeError, match=f"b at {occasion}"):
            FakeRun().play(callbacks, [record(1), record(2)])
        assert pages[-3:] == ["a end", "b end", "c end"]
        assert "a epoch 2" not in pages or occasion == "end"

    def test_only_those_end_that_began(self):
        pages: list[str] = []
        callbacks = [Diary("a", pages), Diary("b", pages, raise_at="begin"), Diary("c", pages)]
        with pytest.raises(RuntimeError, match="b at begin"):
            FakeRun().play(callbacks, [record(1)])
        assert pages == ["a begin", "b begin", "a end"]

    def test_all_end_even_if_two_raise_there(self):
        pages: list[str] = []
        callbacks = [Diary(n, pages, raise_at="end") for n in "ab"] + [Diary("c", pages)]
        with pytest.raises(RuntimeError):
            FakeRun().play(callbacks, [])
        assert pages[-3:] == ["a end", "b end", "c end"]

    def test_interrupt_goes_on_after_the_end(self):
        pages: list[str] = []
        calls = CallbackList([Diary("a", pages)])
        with pytest.raises(KeyboardInterrupt), calls.around(FakeRun()):
            raise KeyboardInterrupt
        assert pages == ["a begin", "a end"]

    def test_base_does_nothing(self):
        run = FakeRun().play([Callback()], [record(1)])
        assert run.history.stop_reason == "epochs done"


class TestAsCallback:
    def test_function(self):
        seen = []
        run = FakeRun()
        run.play([lambda run, record: seen.append((run, record))], [record(1)])
        assert seen == [(run, record(1))]

    def test_callback_itself(self):
        callback = Callback()
        assert as_callback(callback) is callback
        assert isinstance(as_callback(print), FunctionCallback)

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            (EarlyStopping, "callback EarlyStopping is a class: write EarlyStopping()."),
            (3, "callback 3 is neither a Callback nor a function f(run, record)."),
        ],
    )
    def test_anything_else(self, value, sentence):
        with pytest.raises(SpecError) as caught:
            CallbackList([value])
        assert str(caught.value) == sentence


class TestEarlyStopping:
    def test_stops_after_patience_and_restores_the_best(self):
        stopper = EarlyStopping(patience=2)
        run = FakeRun().play([stopper], scored(0.5, 0.8, 0.7, 0.6, 0.9))
        assert run.history.stop_reason == "early stopping at epoch 4"
        assert len(run.history) == 4
        assert stopper.best_epoch == 2
        assert run.weights == [2.0]

    def test_best_is_restored_when_the_plan_ends_first(self):
        run = FakeRun().play([EarlyStopping(patience=5)], scored(0.5, 0.8, 0.7))
        assert run.history.stop_reason == "epochs done"
        assert run.weights == [2.0]

    def test_best_is_restored_after_an_error(self):
        def spoil(run, record):
            run.weights = np.array([99.0])
            raise ZeroDivisionError

        run = FakeRun()
        with pytest.raises(ZeroDivisionError):
            run.play([EarlyStopping(), spoil], scored(0.5))
        assert run.weights == [1.0]

    def test_weights_stay_without_restore(self):
        run = FakeRun().play([EarlyStopping(patience=1, restore_best=False)], scored(0.8, 0.7))
        assert run.weights == [2.0]

    def test_a_tie_is_no_improvement(self):
        run = FakeRun().play([EarlyStopping(patience=2)], scored(0.5, 0.5, 0.5, 0.9))
        assert run.history.stop_reason == "early stopping at epoch 3"
        assert run.weights == [1.0]

    def test_the_last_of_tied_epochs_does_not_wait_any_longer(self):
        rows = scored(0.2, 0.5, 0.4, 0.5, 0.5, 0.9)
        stopper = EarlyStopping(patience=3, ties="last")
        run = FakeRun().play([stopper], rows)
        assert run.history.stop_reason == "early stopping at epoch 5"
        assert stopper.best_epoch == 5
        assert run.weights == [5.0]
        assert FakeRun().play([EarlyStopping(patience=3)], rows).weights == [2.0]

    def test_what_never_improved_is_no_tie(self):
        rows = [record(i + 1, val_loss=math.inf) for i in range(3)]
        stopper = EarlyStopping(patience=9, ties="last")
        FakeRun().play([stopper], rows)
        assert stopper.best_epoch == 0

    def test_min_delta(self):
        stopper = EarlyStopping(patience=2, min_delta=0.1)
        run = FakeRun().play([stopper], scored(0.5, 0.55, 0.59, 0.9))
        assert len(run.history) == 3
        run = FakeRun().play([stopper], scored(0.5, 0.55, 0.65, 0.66, 0.67))
        assert run.history.stop_reason == "early stopping at epoch 5"
        assert stopper.best_epoch == 3

    @pytest.mark.parametrize(
        ("monitor", "values", "best"),
        [
            ("auto", {"val_score": [1, 2, 3], "val_loss": [1, 2, 3]}, 3),
            ("auto", {"val_loss": [3, 1, 2]}, 2),
            ("auto", {"data_loss": [1, 2, 3]}, 1),
            ("val_loss", {"val_score": [1, 2, 3], "val_loss": [1, 2, 3]}, 1),
            ("train_loss", {"val_score": [1, 2, 3], "data_loss": [2.0, 1.0, 3.0]}, 2),
            ("train_loss", {"data_loss": [1.0, 0.5, 0.9], "penalty": [0.0, 2.0, 0.0]}, 3),
        ],
    )
    def test_monitor(self, monitor, values, best):
        rows = [record(i + 1, **{k: float(v[i]) for k, v in values.items()}) for i in range(3)]
        stopper = EarlyStopping(monitor)
        assert FakeRun().play([stopper], rows).weights == [best]
        assert stopper.best_epoch == best

    def test_nan_and_infinity_never_improve(self):
        rows = [record(i + 1, val_loss=v) for i, v in enumerate([math.nan, math.inf, 5, math.nan])]
        stopper = EarlyStopping(patience=9)
        assert FakeRun().play([stopper], rows).weights == [3.0]

    def test_monitor_without_validation_data(self):
        with pytest.raises(SpecError, match="val_loss cannot be watched without validation data"):
            FakeRun().play([EarlyStopping("val_loss")], [record(1)])

    def test_serves_two_fits(self):
        stopper = EarlyStopping(patience=2)
        FakeRun().play([stopper], scored(0.9, 0.1, 0.1))
        run = FakeRun().play([stopper], scored(0.2, 0.3, 0.1))
        assert run.history.stop_reason == "epochs done"
        assert run.weights == [2.0]

    @pytest.mark.parametrize("cut", [1, 2, 3, 4])
    @pytest.mark.parametrize(("ties", "best"), [("first", 2.0), ("last", 4.0)])
    def test_resumed_training_stops_where_the_whole_one_does(self, cut, ties, best):
        rows = scored(0.5, 0.8, 0.7, 0.8, 0.5, 0.4)
        settings = {"patience": 3, "ties": ties}
        whole = FakeRun().play([EarlyStopping(**settings)], rows)
        first = FakeRun(carry_at=cut).play([EarlyStopping(**settings)], rows)
        resumed = FakeRun(history=rows[:cut], carried=first.carried)
        resumed.play([EarlyStopping(**settings)], rows[cut:])
        assert resumed.weights == whole.weights == [best]
        assert resumed.history.stop_reason == whole.history.stop_reason

    def test_resumed_after_the_end_it_does_not_go_on(self):
        rows = scored(0.8, 0.7, 0.6, 0.9)
        whole = FakeRun(carry_at=3).play([EarlyStopping(patience=2)], rows)
        resumed = FakeRun(history=rows[:3], carried=whole.carried)
        resumed.play([EarlyStopping(patience=2)], rows[3:])
        assert len(resumed.history) == 3
        assert resumed.weights == whole.weights == [1.0]

    def test_a_checkpoint_written_before_the_epoch_was_judged(self):
        rows = scored(0.5, 0.4, 0.8, 0.1)
        first = FakeRun(carry_at=2).play([EarlyStopping()], rows)
        resumed = FakeRun(history=rows[:3], carried=first.carried)  # carries epoch 1, best is 3
        assert resumed.play([EarlyStopping()], rows[3:]).weights == [3.0]

    @pytest.mark.parametrize("carries", [False, True])
    def test_a_best_epoch_that_was_not_kept(self, carries):
        rows = scored(0.9, 0.5, 0.4)
        other = FakeRun(carry_at=2).play([EarlyStopping()], scored(0.1, 0.2))
        resumed = FakeRun(history=rows[:2], carried=other.carried if carries else {})
        with pytest.warns(TrainingWarning, match="weights of the best epoch, 1, are not in the"):
            resumed.play([EarlyStopping()], rows[2:])
        assert resumed.weights == [3.0]

    def test_the_second_of_two_gets_its_own(self):
        rows = [record(i + 1, val_loss=v, data_loss=1.0 / (i + 1)) for i, v in enumerate([1.0, 2])]
        callbacks = [EarlyStopping("train_loss"), Diary("a", []), EarlyStopping("val_loss")]
        first = FakeRun(carry_at=2).play(callbacks, rows)
        assert first.carried["EarlyStopping1.weights"] == [1.0]
        assert first.carried["EarlyStopping0.weights"] == [2.0]

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"monitor": "val_los"}, "unknown monitor 'val_los': did you mean 'val_loss'?"),
            ({"patience": 0}, "patience=0 must be a whole number, 1 or more."),
            ({"min_delta": -1}, "min_delta=-1 must be a number in [0, inf)."),
            ({"restore_best": "yes"}, "restore_best='yes' must be True or False."),
            ({"ties": "lats"}, "unknown ties 'lats': did you mean 'last'?"),
        ],
    )
    def test_settings(self, settings, sentence):
        with pytest.raises(SpecError) as caught:
            EarlyStopping(**settings)
        assert str(caught.value) == sentence


class TestCheckpoint:
    @pytest.mark.parametrize(
        ("every", "epochs", "written"),
        [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (10, 4, [4]), (3, 9, [3, 6])],
    )
    def test_when(self, tmp_path, every, epochs, written):
        path = tmp_path / "run.ckpt"
        run = FakeRun(epochs=epochs)
        run.play([Checkpoint(str(path), every=every)], map(record, range(1, min(epochs, 7) + 1)))
        assert run.checkpoints == [(path, e) for e in written]

    def test_place_is_checked_before_training(self, tmp_path):
        run = FakeRun()
        with pytest.raises(DataError, match=r"the folder .* is missing"):
            run.play([Checkpoint(tmp_path / "no" / "run.ckpt")], [record(1)])
        with pytest.raises(DataError, match="is a folder: name a file"):
            run.play([Checkpoint(tmp_path)], [record(1)])
        assert len(run.history) == 0

    def test_every(self):
        with pytest.raises(SpecError, match="every=0 must be a whole number, 1 or more"):
            Checkpoint("a", every=0)


class TestCSVLog:
    def test_a_line_per_epoch_readable_at_once(self, tmp_path):
        path = tmp_path / "log.csv"
        counts = []

        def count(run, record):
            counts.append(len(path.read_text().splitlines()))

        rows = [record(e, val_loss=0.1 * e, gradient_norms=(1.0, 2.0)) for e in (1, 2, 3)]
        FakeRun().play([CSVLog(path), count], rows)
        assert counts == [2, 3, 4]
        with path.open(newline="") as file:
            read = list(csv.DictReader(file))
        assert [r["epoch"] for r in read] == ["1", "2", "3"]
        assert [float(r["val_loss"]) for r in read] == [0.1 * e for e in (1, 2, 3)]
        assert {r["val_score"] for r in read} == {""}
        assert read[0]["gradient_norm_2"] == "2.0"
        assert float(read[1]["train_loss"]) == rows[1].train_loss

    def test_resumed_log_equals_the_log_of_a_whole_training(self, tmp_path):
        rows = [record(e) for e in range(1, 7)]
        FakeRun().play([CSVLog(tmp_path / "whole.csv")], rows)
        log = CSVLog(tmp_path / "log.csv")
        FakeRun().play([log], rows[:5])  # the checkpoint is of epoch 3
        FakeRun(history=rows[:3]).play([log], rows[3:])
        assert (tmp_path / "log.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()

    def test_new_training_replaces_the_log(self, tmp_path):
        log = CSVLog(tmp_path / "log.csv")
        FakeRun().play([log], [record(1), record(2)])
        FakeRun().play([log], [record(1)])
        assert len((tmp_path / "log.csv").read_text().splitlines()) == 2

    def test_place_that_cannot_be_written(self, tmp_path):
        run = FakeRun()
        with pytest.raises(DataError, match=r"log .*log.csv cannot be written: No such file"):
            run.play([CSVLog(tmp_path / "no" / "log.csv")], [record(1)])
        assert len(run.history) == 0

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    def test_full_disk(self):
        with pytest.raises(DataError, match="cannot be written: No space left"):
            FakeRun().play([CSVLog("/dev/full")], [record(1)])


class Clock:
    def __init__(self, *times: float) -> None:
        self.times = iter(times)

    def __call__(self) -> float:
        return next(self.times)


def status(epoch: int, **values: object) -> Status:
    settings = {"epochs": 10, "done": epoch * 100, "total": 1000, "rate": 200.0, "loss": 0.5}
    return Status(epoch=epoch, **{**settings, **values})


class TestStatus:
    def test_text(self):
        shown = status(3, val_loss=0.25, val_score=0.98765, score_name="accuracy")
        assert shown.heading == "epoch  3/10"
        figures = "200 samples/s  loss 0.5  val 0.25  accuracy 0.9877  3.5 s left"
        assert shown.figures() == figures
        assert shown.figures(brief=True) == figures.replace("val 0.25  ", "")

    def test_what_is_unknown_is_left_out(self):
        assert status(1, rate=0.0, loss=math.nan).figures() == ""
        assert status(10).figures() == "200 samples/s  loss 0.5"
        assert status(10, val_loss=0.25).figures(brief=True).endswith("val 0.25")


class TestLines:
    def test_at_most_one_a_second_and_the_last_one_always(self):
        out = io.StringIO()
        lines = LineDisplay(out, interval=1.0, clock=Clock(0.0, 0.3, 0.9, 1.1, 1.2))
        for epoch in range(1, 6):
            lines.after_epoch(status(epoch))
        lines.close("")
        shown = [line.split("/")[0] for line in out.getvalue().splitlines()]
        assert shown == ["epoch  1", "epoch  4", "epoch  5"]

    def test_compiling_is_said_once(self):
        out = io.StringIO()
        lines = LineDisplay(out)
        lines.compiling()
        lines.compiling()
        assert out.getvalue() == "compiling kernels ...\n"

    def test_farewell(self):
        out = io.StringIO()
        LineDisplay(out).close("interrupted")
        assert out.getvalue() == "interrupted\n"


def without_codes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestProgressBar:
    def test_plain_lines(self):
        out = io.StringIO()
        run = FakeRun(epochs=2)
        run.phase = "compiling"

        def compiled(run, record):
            run.phase = "training"

        run.play([ProgressBar(out), compiled], scored(0.5, 0.75))
        assert out.getvalue().splitlines() == [
            "compiling kernels ...",
            "epoch 1/2  2k samples/s  loss 1  val 1  accuracy 0.5000  0.1 s left",
            "epoch 2/2  2k samples/s  loss 0.5  val 1  accuracy 0.7500",
        ]

    def test_says_why_it_ended_before_the_plan(self):
        out = io.StringIO()
        FakeRun().play([EarlyStopping(patience=1), ProgressBar(out)], scored(0.5, 0.4))
        assert out.getvalue().splitlines()[-1] == "early stopping at epoch 2"

    def test_goes_to_standard_error(self, capsys):
        FakeRun(epochs=1).play([ProgressBar()], [record(1)])
        captured = capsys.readouterr()
        assert captured.err == "epoch 1/1  2k samples/s  loss 1\n"
        assert captured.out == ""

    def test_plain_lines_on_a_terminal_without_rich(self, monkeypatch):
        for name in ["rich", *(n for n in sys.modules if n.startswith("rich."))]:
            monkeypatch.setitem(sys.modules, name, None)
        assert isinstance(open_display(Terminal()), LineDisplay)

    def test_live_bar(self, monkeypatch):
        pytest.importorskip("rich", reason="rich is not installed")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        out = Terminal()
        FakeRun(epochs=2).play([ProgressBar(out)], scored(0.5, 0.75))
        frames = [f for f in re.split(r"[\r\n]", without_codes(out.getvalue())) if f.strip()]
        assert re.fullmatch(
            r"epoch 2/2 \S+ 2k samples/s  loss 0.5  val 1  accuracy 0.7500 *", frames[-1]
        )
        assert all(len(f) <= 100 for f in frames)

    def test_live_bar_while_compiling(self, monkeypatch):
        pytest.importorskip("rich", reason="rich is not installed")
        monkeypatch.setenv("TERM", "xterm")
        out, run = Terminal(), FakeRun()
        run.phase = "compiling"
        run.play([ProgressBar(out)], [])
        assert "compiling kernels" in out.getvalue()

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_terminal_is_left_in_order_after_an_error(self, monkeypatch, error):
        pytest.importorskip("rich", reason="rich is not installed")
        monkeypatch.setenv("TERM", "xterm")
        out = Terminal()

        def fail(run, record):
            raise error

        before = sys.stdout, sys.stderr
        with pytest.raises(error):
            FakeRun().play([ProgressBar(out), fail], [record(1)])
        assert (sys.stdout, sys.stderr) == before
        text = out.getvalue()
        assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # cursor hidden, shown
        assert text.rindex("\x1b[?25h") > text.rindex("epoch  1/10")

    def test_rich_is_not_imported_before_it_is_needed(self):
        code = "import sys, nbmlp.train.standard; sys.exit('rich' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
