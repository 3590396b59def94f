"""Ctrl-C while training: noticed between two regions, never in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupt", "Interrupted"]


class Interrupted(Exception):
    """Training is to end here, after a whole number of updates; the message says why."""


class Interrupt:
    """Within the context a first SIGINT sets :attr:`asked`; a second one raises as usual.

    Only where Python's own handler is in place and in the main thread; elsewhere (servers,
    notebooks with handlers of their own) nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._installed = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def check(self) -> None:
        """Raise :class:`Interrupted` once Ctrl-C was pressed."""
        if self.asked:
            raise Interrupted("interrupted")

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._before)
