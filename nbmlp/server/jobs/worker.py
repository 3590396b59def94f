"""``python -m nbmlp.server.jobs.worker FD SERVER``: a job's process; limits, lease, last words."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nbmlp.errors import DataError, NbmlpError, NonFiniteError, SpecError
from nbmlp.server import faults
from nbmlp.server.jobs.limits import PULSE, Bounds, die_with, end_when_stuck, live_on
from nbmlp.server.jobs.protocol import Order, receive, send

__all__ = ["BUSY", "LOST", "main"]

#: Exit codes: another process holds the job's lease; the attempt failed, another may not.
BUSY, LOST = 75, 76
_LEASE_SECONDS = 10.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> int:
    """Do what the server at the other end of the socket orders; returns the exit code."""
    die_with(int(sys.argv[2]))
    faults.arm("worker")
    faults.reach("start")
    connection = Connection(int(sys.argv[1]))
    order = Order.from_dict(receive(connection))
    lease = _lease(order.folder)
    if lease is None:
        return BUSY
    faults.reach("leased")

    from nbmlp.server.jobs.training import Wishes, train

    wishes = Wishes(stop=order.wish == "stop", pause=order.wish == "pause")
    end_when_stuck()
    given = connection, wishes, order.threads
    threading.Thread(target=_listen, args=given, daemon=True).start()
    bounds = Bounds(order)

    def tell(message: dict[str, Any]) -> None:
        faults.reach("report")
        send(connection, message | {"fence": order.fence})
        if message["kind"] == "diagnosing":
            bounds.widen()
        elif message.get("phase") == "training":
            bounds.narrow()

    try:
        train(order, tell, wishes)
    except (Exception, MemoryError) as error:
        return _fail(error, order, tell, bounds.before_last_words())
    return 0


def _lease(folder: Path) -> int | None:
    """Hold the job until this process ends, however it ends; None while another one holds it."""
    handle = os.open(folder / "lease", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + _LEASE_SECONDS
    while time.monotonic() < end:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        time.sleep(0.05)
    return None


def _listen(connection: Connection, wishes: Any, threads: int) -> None:
    """Take wishes, live on; a server that is gone takes this process and its group with it."""
    with suppress(EOFError, OSError):
        while True:
            live_on(threads)
            if not connection.poll(PULSE):
                continue
            wish = receive(connection)["wish"]
            wishes.stop, wishes.pause = wish == "stop", wish == "pause"
    os.killpg(0, signal.SIGKILL)


def _fail(error: BaseException, order: Order, tell: Any, short: bool) -> int:
    """Say why; returns LOST when another attempt may fare better."""
    traceback.print_exception(error)
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno != errno.ENOMEM and cause.errno not in _FULL:
        tell({"kind": "lost", "error": str(error)})
        return LOST
    kind, sentence = _reason(error, cause, order, short)
    tell({"kind": "failed", "error": sentence, "error_kind": kind})
    return 0


def _reason(
    error: BaseException, cause: BaseException | None, order: Order, short: bool
) -> tuple[str, str]:
    """Kind and sentence of a failure; `short` of memory, an error without a name is no surprise."""
    unnamed = not isinstance(error, NbmlpError | OSError)
    refused = isinstance(cause, OSError) and cause.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or refused or (short and unnamed):
        return "out_of_memory", (
            f"out of memory: the job may use {order.memory_mb} MB; raise its limit, or train on"
            " fewer rows or columns."
        )
    if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
        return "no_space", (
            f"the job's files have outgrown its {order.disk_mb} MB of disk: make the net smaller."
        )
    if isinstance(cause, OSError):
        return "no_space", f"the disk is full: {error}"
    kinds = {NonFiniteError: "non_finite", SpecError: "settings", DataError: "data"}
    for class_, kind in kinds.items():
        if isinstance(error, class_):
            return kind, str(error)
    if isinstance(error, NbmlpError):
        return "data", str(error)
    return "crash", f"an error inside of the training: {type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
