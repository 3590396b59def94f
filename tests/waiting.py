"""Waiting for events, on machines that are busy with something else, too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Seconds after which what has not happened never will: far longer than anything takes.
PATIENCE = 300.0


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What the condition gives once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found
