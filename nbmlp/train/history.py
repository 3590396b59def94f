"""What every epoch of a training left behind, and how it ended."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import ModelFileError, missing_package
from nbmlp.plots import curves_of_nets, learning_curve
from nbmlp.train.record import (
    MONITORS,
    EpochRecord,
    choose_monitor,
    direction,
    plain,
    record_of,
)

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

Floats = NDArray[np.float64]
#: A training of so many epochs whose loss has fallen by less than this share has stalled.
_LONG, _MOVED = 5, 0.005
#: What a history counts beside the epochs; files of older versions lack it.
_COUNTS = ("rows_dropped", "values_imputed", "batches_skipped", "sync_hosts", "sync_every")


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
    chosen : tuple of int
        Of many nets, those that the ensemble was put together from.
    """

    records: list[EpochRecord] = field(default_factory=list)
    stop_reason: str = ""
    score_name: str = "score"
    rows_dropped: int = 0
    values_imputed: int = 0
    batches_skipped: int = 0
    sync_hosts: int = 0
    sync_every: int = 0
    chosen: tuple[int, ...] = ()

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
    def best(self) -> EpochRecord | None:
        """The epoch with the best validation score, else validation loss, else training loss.

        The first one on a tie; None before the first epoch or when nothing is finite.
        """
        if not self.records:
            return None
        monitor = choose_monitor(self.records[-1])
        values = direction(monitor, self.score_name) * self._column(monitor)
        if np.isnan(values).all():
            return None
        return self.records[int(np.nanargmax(values))]

    @property
    def best_epoch(self) -> int | None:
        """Number of the :attr:`best` one."""
        return None if self.best is None else self.best.epoch

    def by_net(self) -> dict[int, History]:
        """Of an ensemble, the course of each net by itself; of a single net nothing."""
        nets: dict[int, History] = {}
        for record in self.records:
            if record.net is not None and record.net_epoch is not None:
                own = nets.setdefault(record.net, History(score_name=self.score_name))
                own.append(replace(record, epoch=record.net_epoch, net=None, net_epoch=None))
        return dict(sorted(nets.items()))

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
        """Draw the learning curve, see :func:`nbmlp.plots.learning_curve`.

        That of an ensemble has a line for each net: :func:`nbmlp.plots.curves_of_nets`.

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
        if nets := self.by_net():
            curves = {net: (own.epoch, own.val_score) for net, own in nets.items()}
            best = None if self.best is None else (self.best.net, self.best.net_epoch)
            return curves_of_nets(
                curves, self.score_name, best=best, chosen=self.chosen, path=path, ax=ax
            )
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
        lines = [f"History: {len(self)} epoch" + "s" * (len(self) > 1) + self._of_nets()]
        if self.stop_reason:
            lines[0] += f", {self.stop_reason}"
        if not self._of_nets():
            lines += self._losses()
        if self.best is not None:
            lines.append(f"  best        {self._best(self.best)}")
        last, total = self.records[-1], float(self.seconds.sum())
        rate = brief_rate(float(np.median(self.samples_per_second)))
        threads = "1 thread" if last.threads == 1 else f"{last.threads} threads"
        lines.append(f"  speed       {rate}, {threads}, {brief_seconds(total)} in all")
        if averages := self.describe_averages():
            lines.append(f"  averaged    {averages}")
        return "\n".join(lines)

    def _of_nets(self) -> str:
        nets = len({record.net for record in self.records} - {None})
        return f" of {nets} net{'s' * (nets > 1)}" if nets else ""

    def _losses(self) -> list[str]:
        """Those of the last epoch."""
        last = self.records[-1]
        loss = f"  training    loss {last.train_loss:.4g}"
        if last.penalty:
            loss += f" = data {last.data_loss:.4g} + penalty {last.penalty:.4g}"
        lines = [loss]
        if last.val_loss is not None:
            lines.append(f"  validation  loss {last.val_loss:.4g}")
            if last.val_score is not None:
                lines[-1] += f", {self.score_name} {brief_score(last.val_score)}"
        return lines

    def _best(self, best: EpochRecord) -> str:
        own = best.net is None
        place = f"epoch {best.epoch}" if own else f"net {best.net}, epoch {best.net_epoch}"
        monitor = choose_monitor(self.records[-1])
        value = getattr(best, monitor)
        if monitor == "val_score":
            return f"{place} ({self.score_name} {brief_score(value)})"
        return f"{place} ({monitor} {value:.4g})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for Python's json (a diverged loss may be NaN)."""
        return {
            "records": [plain(r) for r in self.records],
            "stop_reason": self.stop_reason,
            "score_name": self.score_name,
            **{name: getattr(self, name) for name in _COUNTS},
            **({"chosen": list(self.chosen)} if self.chosen else {}),
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
            records = [record_of(r) for r in values["records"]]
            counts = {name: int(values.get(name, 0)) for name in _COUNTS}
            chosen = tuple(map(int, values.get("chosen", ())))
            reason, score = str(values["stop_reason"]), str(values["score_name"])
            return cls(records, reason, score, **counts, chosen=chosen)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(f"the training history is damaged: {error!r}.") from error


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
