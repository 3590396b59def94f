"""Trainings in a child process that get SIGINT again and again."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests import children
from tests.waiting import PATIENCE


def interrupt_often(
    name: str, times: int, seed: int, patience: float = PATIENCE
) -> list[dict[str, Any]]:
    """Reports of a child that gets SIGINT at so many seeded moments; with seconds until the end.

    The last comes once a first update is done.
    """
    moments = random.Random(seed)
    child = children.start("interruptible", case=name)
    reports = []
    watchdog = threading.Timer(patience, child.kill)
    watchdog.start()
    try:
        with child:
            lines = _lines(child)
            for turn in range(times):
                child.stdin.write("again\n")
                child.stdin.flush()
                assert next(lines) == "training"
                if turn + 1 < times:
                    time.sleep(moments.uniform(0.0, 0.4))
                else:
                    assert next(lines) == "updated"
                asked = time.monotonic()
                child.send_signal(signal.SIGINT)
                line = next(lines)
                report = json.loads(next(lines) if line == "updated" else line)
                reports.append({**report, "seconds": report["ended"] - asked})
    finally:
        watchdog.cancel()
    return reports


def _lines(child: Any) -> Iterator[str]:
    """What the child says, line by line; AssertionError with its last words once it is silent."""
    for line in child.stdout:
        yield line.rstrip("\n")
    raise AssertionError(f"the child has ended: {child.stderr.read()[-1500:]}")
