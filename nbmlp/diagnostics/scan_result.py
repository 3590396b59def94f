"""What a scan of batch sizes has found: a table, plain values, a picture."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nbmlp.diagnostics.figures import apart
from nbmlp.diagnostics.noise import NoiseScale
from nbmlp.plots import batch_scan
from nbmlp.train.history import brief_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BatchPoint", "BatchScan"]


@dataclass(frozen=True)
class BatchPoint:
    """One batch size.

    Attributes
    ----------
    batch : int
        Rows of an update.
    learning_rate : float
        Transferred to this batch.
    samples_per_second : float
        Rows trained on per second, median of the rounds; NaN if not measured.
    updates, samples : float or None
        Steps, and rows trained on, until the target loss, between two checks by interpolation;
        None if it was not reached.
    outcome : str
        ``"reached"``, ``"not reached"`` in its time, ``"diverged"`` or ``"not tried"``.
    """

    batch: int
    learning_rate: float
    samples_per_second: float = math.nan
    updates: float | None = None
    samples: float | None = None
    outcome: str = "not tried"

    @property
    def seconds(self) -> float | None:
        """Training time until the target: samples by samples per second."""
        return None if self.samples is None else self.samples / self.samples_per_second

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "seconds": self.seconds}


@dataclass(frozen=True)
class BatchScan:
    """Speed and progress by batch size; prints as a table.

    Attributes
    ----------
    points : tuple of BatchPoint
        Smallest batch first.
    own : int
        The model's own batch, from which learning rates were transferred.
    n_rows : int
        Rows of an epoch.
    target : float or None
        Loss to reach, penalty excluded; None where the model's own training did not lower it.
    watched : str
        ``"validation"`` or ``"training"``: the rows whose loss it is.
    noise_first, noise_trained : NoiseScale or None
        Gradient noise scale at first weights, and after the training of the own batch.
    complete : bool
        False if Ctrl-C ended the scan.
    """

    points: tuple[BatchPoint, ...]
    own: int
    n_rows: int
    target: float | None
    watched: str
    noise_first: NoiseScale | None
    noise_trained: NoiseScale | None
    complete: bool

    @property
    def best(self) -> int | None:
        """The batch that reaches the target soonest; None if none did."""
        done = [(p.seconds, p.batch) for p in self.points if p.seconds is not None]
        return min(done)[1] if done else None

    @property
    def measured(self) -> bool:
        """Whether there is anything to draw."""
        return any(math.isfinite(p.samples_per_second) for p in self.points)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON but for what is not finite."""
        noise = {
            name: None if (found := getattr(self, name)) is None else found.to_dict()
            for name in ("noise_first", "noise_trained")
        }
        values = {k: getattr(self, k) for k in ("own", "n_rows", "target", "watched", "complete")}
        points = [point.to_dict() for point in self.points]
        return {"best": self.best, **values, **noise, "points": points}

    def __str__(self) -> str:
        title = f"batch scan on {self.n_rows:,} rows"
        if self.target is not None:
            title += f", to a {self.watched} loss of {self.target:.4g}"
        heads = ("batch", "rate", "samples/s", "updates", "epochs", "seconds", "")
        lines = [title, _line(heads), *map(self._row, self.points), *self._notes()]
        return "\n".join(lines)

    def _row(self, point: BatchPoint) -> str:
        speed = point.samples_per_second
        figures = [f"{point.batch:,}", f"{point.learning_rate:.3g}"]
        figures.append("-" if math.isnan(speed) else f"{speed:,.0f}")
        if point.updates is None or point.samples is None:
            return _line([*figures, "-", "-", "-", point.outcome])
        figures += [f"{point.updates:,.0f}", f"{point.samples / self.n_rows:.3g}"]
        remarks = {"soonest": self.best, "own": self.own}
        remark = ", ".join(text for text, batch in remarks.items() if batch == point.batch)
        return _line([*figures, f"{point.seconds:.3g}", remark])

    def _notes(self) -> list[str]:
        notes = []
        if self.noise_first is not None:
            text = f"gradient noise scale: {_rows(self.noise_first)} at first weights"
            if self.noise_trained is not None:
                text += f", {_rows(self.noise_trained)} after some training"
            notes.append(text)
        if self.best is not None:
            seconds = {p.batch: p.seconds for p in self.points}
            best, own = _durations(seconds[self.best], seconds[self.own])
            text = f"batch {self.best:,} is there soonest, in {best}"
            if self.own != self.best and own:
                text += f"; the model's own, {self.own:,}, needs {own}"
            notes.append(text)
        elif self.complete:
            notes.append(
                "the model's own training did not lower the loss: find out why before its batch is"
                " changed"
                if self.target is None
                else "no batch reached the target: set an easier one"
            )
        if any(point.outcome == "not reached" for point in self.points):
            notes.append("not reached: too little time (raise seconds), or too large a rate")
        if not self.complete:
            notes.append("interrupted: the rest was not measured")
        return notes

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw speed, and seconds and updates to the target, against the batch size.

        Parameters
        ----------
        path : path-like, optional
            File to write; its ending chooses the format.

        Raises
        ------
        MissingPackageError
            matplotlib is not installed.
        DataError
            No speed was measured, or the file cannot be written.
        """
        noise = self.noise_trained or self.noise_first
        target = "" if self.target is None else f"{self.watched} loss {self.target:.3g}"
        return batch_scan(
            [p.batch for p in self.points],
            [p.samples_per_second for p in self.points],
            [math.nan if p.seconds is None else p.seconds for p in self.points],
            [math.nan if p.updates is None else p.updates for p in self.points],
            noise_scale=None if noise is None else noise.batch,
            best=self.best, target=target, path=path,
        )  # fmt: skip


def _line(cells: Any) -> str:
    """A line of the table: figures to the right, the remark to the left."""
    *figures, remark = cells
    widths = (8, 11, 12, 10, 9, 9)
    text = "".join(f"{cell:>{width}}" for cell, width in zip(figures, widths, strict=True))
    return f"{text}  {remark}".rstrip()


def _rows(noise: NoiseScale) -> str:
    if math.isinf(noise.batch):
        return f"more than the {noise.rows:,} rows looked at can tell"
    return f"{noise.batch:,.0f} rows" if noise.batch >= 10 else f"{noise.batch:.2g} rows"


def _durations(best: float | None, own: float | None) -> tuple[str, str]:
    """Both so that the difference is seen; the second is empty if it is not known."""
    assert best is not None
    if own is None or own == best:
        return _duration(best), ""
    texts = _duration(best), _duration(own)
    if texts[0] != texts[1]:
        return texts
    first, second = apart(best, own, digits=2)
    return f"{first} s", f"{second} s"


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 1 else brief_seconds(seconds)
