"""Readers of uploads that go wrong, for processes that are to load nothing else."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from nbmlp.server.intake import parse


def crash(*given: Any) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def stumble(*given: Any) -> None:
    def broken(*given: Any) -> None:
        raise TypeError("a detail")

    parse.parse = broken
    parse.run(*given)


def leave(*given: Any) -> None:
    sys.exit(3)
