"""What every epoch of a training left behind, and how it ended."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import ModelFileError, SpecError, missing_package
from nbmlp.names import larger_is_better
from nbmlp.plots import learning_curve

__all__ = [
    "MONITORS",
    "EpochRecord",
    "History",
    "brief_rate",
    "brief_score",
    "brief_seconds",
    "choose_monitor",
    "direction",
]

#: What may be watched, best choice first.
MONITORS = ("val_score", "val_loss", "train_loss")

Floats = NDArray[np.float64]
#: A training of so many epochs whose loss has fallen by less than this share has stalled.
_LONG, _MOVED = 5, 0.005
#: What a history counts beside the epochs; files of older versions lack it.
_COUNTS = ("rows_dropped", "values_imputed", "batches_skipped", "sync_hosts", "sync_every")


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch.

    Attributes
    ----------
    epoch : int
        From 1; goes on counting when a training is resumed.
    data_loss : float
        Mean over the epoch's updates of the loss on the data, without penalty.
    penalty : float
        L1 and L2 penalty of the weights at the epoch's end.
    val_loss, val_score : float or None
        Data loss and score (accuracy or R2, or what `eval_metric` names) on the validation data
        after the epoch; None without validation data.
    learning_rate : float
        Of the epoch's last update, schedule and warm-up included.
    samples_per_second : float
        Rows trained on per second, validation and callbacks excluded.
    seconds : float
        Wall time of the epoch, validation included.
    threads : int
        Threads that really ran.
    gradient_norms : tuple of float or None
        Root mean square over the updates of each layer's gradient norm; None if not asked for.
    """

    epoch: int
    data_loss: float
    penalty: float
    val_loss: float | None = None
    val_score: float | None = None
    learning_rate: float
    samples_per_second: float
    seconds: float
    threads: int
    gradient_norms: tuple[float, ...] | None = None

    @property
    def train_loss(self) -> float:
        """Data part plus penalty: what training minimises."""
        return self.data_loss + self.penalty

    def to_row(self) -> dict[str, float | int | None]:
        """One entry per column of a table; gradient norms as ``gradient_norm_1``, ..."""
        names = [f.name for f in fields(self) if f.name != "gradient_norms"]
        names.insert(names.index("penalty") + 1, "train_loss")
        norms = enumerate(self.gradient_norms or (), start=1)
        return {n: getattr(self, n) for n in names} | {f"gradient_norm_{i}": g for i, g in norms}


def choose_monitor(record: EpochRecord, monitor: str = "auto") -> str:
    """The value to watch: the one named, or the best that the record holds.

    Parameters
    ----------
    record : EpochRecord
    monitor : str
        A name of `MONITORS`, or ``"auto"`` for the first of them that was recorded.

    Raises
    ------
    SpecError
        It needs validation data that the fit did not get.
    """
    if monitor == "auto":
        return next(name for name in MONITORS if getattr(record, name) is not None)
    if getattr(record, monitor) is None:
        raise SpecError(f"{monitor} cannot be watched without validation data: give validation=.")
    return monitor


def direction(monitor: str, score_name: str) -> float:
    """The sign that makes larger better, of a name of `MONITORS`; `score_name` as in a history."""
    return 1.0 if monitor == "val_score" and larger_is_better(score_name) else -1.0


@dataclass(repr=False)
class History:
    """The epochs of a training, in order; index it, iterate over it, or take a column.

    Attributes
    ----------
    records : list of EpochRecord
    stop_reason : str
        Why training ended, e.g. ``"epochs done"`` or ``"early stopping at epoch 12"``.
    score_name : str
        What `val_score` is, e.g. ``"accuracy"`` or ``"R2"``: a label of :mod:`nbmlp.names.scores`.
    rows_dropped, values_imputed, batches_skipped : int
        What was done about values that are not finite, as ``on_nonfinite`` says.
    sync_hosts, sync_every : int
        With ``sync="periodic"``: over how many processes weights were averaged, and after how many
        updates each time. Who gives both again gets the same bits. Else 0.
    """

    records: list[EpochRecord] = field(default_factory=list)
    stop_reason: str = ""
    score_name: str = "score"
    rows_dropped: int = 0
    values_imputed: int = 0
    batches_skipped: int = 0
    sync_hosts: int = 0
    sync_every: int = 0

    def append(self, record: EpochRecord) -> None:
        """Add the next epoch."""
        self.records.append(record)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self.records)

    def __getitem__(self, index: int) -> EpochRecord:
        return self.records[index]

    def _column(self, name: str) -> Floats:
        """One value per epoch, shape (epochs,); NaN where it was not recorded."""
        return np.array([getattr(r, name) for r in self.records], dtype=np.float64)

    @property
    def epoch(self) -> NDArray[np.int64]:
        """Number of each epoch, shape (epochs,)."""
        return np.array([r.epoch for r in self.records], dtype=np.int64)

    @property
    def data_loss(self) -> Floats:
        """Training loss without penalty, shape (epochs,)."""
        return self._column("data_loss")

    @property
    def penalty(self) -> Floats:
        """L1 and L2 penalty, shape (epochs,)."""
        return self._column("penalty")

    @property
    def train_loss(self) -> Floats:
        """Data loss plus penalty, shape (epochs,)."""
        return self._column("train_loss")

    @property
    def val_loss(self) -> Floats:
        """Loss on the validation data, shape (epochs,); NaN without them."""
        return self._column("val_loss")

    @property
    def val_score(self) -> Floats:
        """Score on the validation data, shape (epochs,); NaN without them."""
        return self._column("val_score")

    @property
    def learning_rate(self) -> Floats:
        """Learning rate of each epoch's last update, shape (epochs,)."""
        return self._column("learning_rate")

    @property
    def samples_per_second(self) -> Floats:
        """Training speed in rows per second, shape (epochs,)."""
        return self._column("samples_per_second")

    @property
    def seconds(self) -> Floats:
        """Wall time of each epoch in seconds, shape (epochs,)."""
        return self._column("seconds")

    @property
    def threads(self) -> NDArray[np.int64]:
        """Threads that ran, shape (epochs,)."""
        return np.array([r.threads for r in self.records], dtype=np.int64)

    @property
    def gradient_norms(self) -> Floats:
        """Gradient norm of each layer, shape (epochs, layers); NaN where not recorded."""
        layers = max((len(r.gradient_norms or ()) for r in self.records), default=0)
        blank = (math.nan,) * layers
        rows = [r.gradient_norms or blank for r in self.records]
        return np.array(rows, dtype=np.float64).reshape(len(rows), layers)

    @property
    def stalled(self) -> bool:
        """Whether five epochs or more have not lowered the training loss by half a percent."""
        losses = self.train_loss
        return len(losses) >= _LONG and bool(losses.min() > (1 - _MOVED) * losses[0] > 0)

    def describe_averages(self) -> str:
        """Over whom weights were averaged, and how often; empty if they were not."""
        every = "update" if self.sync_every == 1 else f"{self.sync_every} updates"
        return f"over {self.sync_hosts} processes, every {every}" if self.sync_every else ""

    def describe_stall(self) -> str:
        """That it has :attr:`stalled`, in a sentence; empty if it has not."""
        if not self.stalled:
            return ""
        first, *_, last = self.train_loss
        return (
            f"the training loss has not moved in {len(self)} epochs ({first:.4g} -> {last:.4g}):"
            " why(X, y), or nbmlp why with the same data and settings, looks for the cause."
        )

    @property
    def best_epoch(self) -> int | None:
        """Epoch with the best validation score, else validation loss, else training loss.

        The first one on a tie; None before the first epoch or when nothing is finite.
        """
        if not self.records:
            return None
        monitor = choose_monitor(self.records[-1])
        values = direction(monitor, self.score_name) * self._column(monitor)
        if np.isnan(values).all():
            return None
        return self.records[int(np.nanargmax(values))].epoch

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of a table with one row per epoch, see :meth:`EpochRecord.to_row`.

        What no epoch recorded is left out; what some did not is NaN there.
        """
        rows = [r.to_row() for r in self.records]
        names = dict.fromkeys(name for row in rows for name in row if row[name] is not None)
        values = {n: [math.nan if row.get(n) is None else row[n] for row in rows] for n in names}
        return {n: np.array(v) for n, v in values.items()}

    def to_frame(self) -> Any:
        """One row per epoch as a data frame of polars, or of pandas where polars is missing.

        Returns
        -------
        polars.DataFrame or pandas.DataFrame
            See :meth:`columns`.

        Raises
        ------
        MissingPackageError
            Neither is installed.
        """
        for package in ("polars", "pandas"):
            try:
                return import_module(package).DataFrame(self.columns())
            except ImportError:
                continue
        raise missing_package("a data frame", "polars or pandas", "cli")

    def plot(self, path: str | os.PathLike[str] | None = None, ax: Any = None) -> Any:
        """Draw the learning curve. See :func:`nbmlp.plots.learning_curve`.

        Parameters
        ----------
        path : path-like, optional
            File to write, e.g. ``"curve.png"``.
        ax : matplotlib.axes.Axes, optional
            Draw the losses there, and nothing else.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return learning_curve(
            self.epoch,
            self.train_loss,
            data_loss=self.data_loss,
            val_loss=self.val_loss,
            val_score=self.val_score,
            gradient_norms=self.gradient_norms,
            best_epoch=self.best_epoch,
            score_name=self.score_name,
            path=path,
            ax=ax,
        )

    def __repr__(self) -> str:
        """A summary of a few lines."""
        if not self.records:
            return "History(no epochs)"
        last, lines = self.records[-1], [f"History: {len(self)} epoch" + "s" * (len(self) > 1)]
        if self.stop_reason:
            lines[0] += f", {self.stop_reason}"
        loss = f"  training    loss {last.train_loss:.4g}"
        if last.penalty:
            loss += f" = data {last.data_loss:.4g} + penalty {last.penalty:.4g}"
        lines.append(loss)
        if last.val_loss is not None:
            lines.append(f"  validation  loss {last.val_loss:.4g}")
            if last.val_score is not None:
                lines[-1] += f", {self.score_name} {brief_score(last.val_score)}"
        if self.best_epoch is not None:
            lines.append(f"  best        {self._best()}")
        total, rate = float(self.seconds.sum()), float(np.median(self.samples_per_second))
        threads = "1 thread" if last.threads == 1 else f"{last.threads} threads"
        lines.append(f"  speed       {brief_rate(rate)}, {threads}, {brief_seconds(total)} in all")
        if averages := self.describe_averages():
            lines.append(f"  averaged    {averages}")
        return "\n".join(lines)

    def _best(self) -> str:
        best = next(r for r in self.records if r.epoch == self.best_epoch)
        monitor = choose_monitor(self.records[-1])
        value = getattr(best, monitor)
        if monitor == "val_score":
            return f"epoch {best.epoch} ({self.score_name} {brief_score(value)})"
        return f"epoch {best.epoch} ({monitor} {value:.4g})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for Python's json (a diverged loss may be NaN)."""
        records = [asdict(r) for r in self.records]
        for record in records:
            if record["gradient_norms"] is not None:
                record["gradient_norms"] = list(record["gradient_norms"])
        return {
            "records": records,
            "stop_reason": self.stop_reason,
            "score_name": self.score_name,
            **{name: getattr(self, name) for name in _COUNTS},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        ModelFileError
            The values do not describe a history.
        """
        try:
            records = [_record(r) for r in values["records"]]
            counts = {name: int(values.get(name, 0)) for name in _COUNTS}
            return cls(records, str(values["stop_reason"]), str(values["score_name"]), **counts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(f"the training history is damaged: {error!r}.") from error


def _record(values: dict[str, Any]) -> EpochRecord:
    norms = values["gradient_norms"]
    return EpochRecord(**{**values, "gradient_norms": None if norms is None else tuple(norms)})


def brief_score(value: float) -> str:
    """Four digits behind the point, or as many as it takes to see four."""
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def brief_rate(rate: float) -> str:
    """Rows per second in three digits, e.g. ``"1.27M samples/s"``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rate >= size * 0.9995:
            return f"{rate / size:.3g}{unit} samples/s"
    return f"{rate:.3g} samples/s"


def brief_seconds(seconds: float) -> str:
    """A duration, e.g. ``"0.8 s"``, ``"42 s"``, ``"3:07 min"``, ``"2:05:09 h"``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02} h" if hours else f"{m}:{s:02} min"
