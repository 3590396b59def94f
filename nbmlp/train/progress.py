"""How a training shows itself on a terminal: a live bar, or plain lines where there is none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TextIO

from nbmlp.train.history import brief_rate, brief_score, brief_seconds

__all__ = ["Display", "LineDisplay", "LiveDisplay", "Status", "open_display"]

_COMPILING = "compiling kernels"
#: Columns of a terminal that all figures and a bar fit into.
_WIDE = 100


@dataclass(frozen=True)
class Status:
    """What is known at one moment of a training.

    Attributes
    ----------
    epoch, epochs : int
        Number of this epoch and of the last one planned.
    done, total : int
        Rows trained on and rows of the whole plan, all epochs together.
    rate : float
        Rows per second.
    loss : float
        Training loss; NaN when not known yet.
    val_loss, val_score : float or None
        Of the last epoch that was validated.
    score_name : str
        What the score is.
    """

    epoch: int
    epochs: int
    done: int
    total: int
    rate: float
    loss: float
    val_loss: float | None = None
    val_score: float | None = None
    score_name: str = "score"

    @property
    def heading(self) -> str:
        """Which epoch this is, in constant width."""
        return f"epoch {self.epoch:{len(str(self.epochs))}}/{self.epochs}"

    def figures(self, brief: bool = False) -> str:
        """Speed, losses, score and time left; in brief, a score stands for the loss beside it."""
        parts = [brief_rate(self.rate)] if self.rate > 0 else []
        if not math.isnan(self.loss):
            parts.append(f"loss {self.loss:.3g}")
        if self.val_loss is not None and not (brief and self.val_score is not None):
            parts.append(f"val {self.val_loss:.3g}")
        if self.val_score is not None:
            parts.append(f"{self.score_name} {brief_score(self.val_score)}")
        if self.done < self.total and self.rate > 0:
            parts.append(f"{brief_seconds((self.total - self.done) / self.rate)} left")
        return "  ".join(parts)


class Display(Protocol):
    """Shows statuses until it is closed."""

    def compiling(self) -> None:
        """Say that kernels are being compiled."""

    def within_epoch(self, status: Status) -> None:
        """Show how far the epoch is."""

    def after_epoch(self, status: Status) -> None:
        """Show a whole epoch."""

    def close(self, farewell: str) -> None:
        """Leave the terminal as it was, with a last line unless it is empty."""


class LineDisplay:
    """One plain line per epoch, but not more often than every `interval` seconds.

    Parameters
    ----------
    stream : text stream
    interval : float
        Seconds.
    clock : callable
        Seconds since some moment.
    """

    def __init__(
        self,
        stream: TextIO,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._interval, self._clock = stream, interval, clock
        self._next = -math.inf
        self._waiting: Status | None = None
        self._said = False

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    def compiling(self) -> None:
        """See :class:`Display`."""
        if not self._said:
            self._print(f"{_COMPILING} ...")
        self._said = True

    def within_epoch(self, status: Status) -> None:
        """See :class:`Display`."""

    def after_epoch(self, status: Status) -> None:
        """See :class:`Display`."""
        self._waiting = status
        now = self._clock()
        if now >= self._next:
            self._show()
            self._next = now + self._interval

    def _show(self) -> None:
        if self._waiting is not None:
            self._print(f"{self._waiting.heading}  {self._waiting.figures()}")
        self._waiting = None

    def close(self, farewell: str) -> None:
        """See :class:`Display`."""
        self._show()
        if farewell:
            self._print(farewell)


class LiveDisplay:
    """A bar that rich redraws in place.

    Parameters
    ----------
    stream : text stream
        A terminal.

    Raises
    ------
    ImportError
        rich is not installed.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}", markup=False),
            console=Console(file=stream),
            expand=True,
        )
        self._task = self._bar.add_task("starting", total=None, figures="")
        self._bar.start()

    def compiling(self) -> None:
        """See :class:`Display`."""
        self._bar.update(self._task, description=_COMPILING)

    def within_epoch(self, status: Status) -> None:
        """See :class:`Display`."""
        self._bar.update(
            self._task,
            description=status.heading,
            figures=status.figures(brief=self._bar.console.width < _WIDE),
            completed=status.done,
            total=status.total,
        )

    def after_epoch(self, status: Status) -> None:
        """See :class:`Display`."""
        self.within_epoch(status)

    def close(self, farewell: str) -> None:
        """See :class:`Display`."""
        self._bar.stop()
        if farewell:
            self._bar.console.print(farewell, markup=False, highlight=False)


def open_display(stream: TextIO) -> Display:
    """The live bar where `stream` is a terminal and rich is installed, else plain lines."""
    if stream.isatty():
        try:
            return LiveDisplay(stream)
        except ImportError:
            pass
    return LineDisplay(stream)
