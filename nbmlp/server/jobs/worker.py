"""``python -m nbmlp.server.jobs.worker FD SERVER``: a job's process; limits, lease, last words."""

from __future__ import annotations

import errno
import fcntl
import gc
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

from nbmlp.errors import NbmlpError
from nbmlp.server import faults
from nbmlp.server.jobs.limits import PULSE, Bounds, die_with, end_when_stuck, live_on
from nbmlp.server.jobs.protocol import Order, failure, receive, send
from nbmlp.server.space import is_full

__all__ = ["BUSY", "LOST", "main"]

#: Exit codes: another process holds the job's lease; the attempt failed, another may not.
BUSY, LOST = 75, 76
_LEASE_SECONDS = 10.0


def main() -> int:
    """Do what the server at the other end of the socket orders; returns the exit code."""
    die_with(int(sys.argv[2]))
    faults.arm("worker")
    faults.reach("start")
    connection = Connection(int(sys.argv[1]))
    order = Order.from_dict(receive(connection))
    bounds = list[Bounds]()

    def tell(message: dict[str, Any]) -> None:
        faults.reach("report")
        send(connection, message | {"fence": order.fence})
        if message["kind"] == "diagnosing":
            bounds[0].widen()
        elif message.get("phase") == "training":
            bounds[0].narrow()

    try:
        lease = _lease(order.folder)
        if lease is None:
            return BUSY
        faults.reach("leased")
        _work(connection, order, tell, bounds)
    except Exception as error:
        return _fail(error, order, tell, bool(bounds) and bounds[0].before_last_words())
    return 0


def _work(connection: Connection, order: Order, tell: Any, bounds: list[Bounds]) -> None:
    """Train; `bounds` takes the limits as soon as they are set."""
    gc.disable()  # importing Numba, which stays, would look through everything several times
    from nbmlp.server.jobs import ensembles, training
    from nbmlp.server.jobs.wishes import Wishes

    gc.freeze()
    gc.enable()
    wishes = Wishes(stop=order.wish == "stop", pause=order.wish == "pause")
    end_when_stuck()
    given = connection, wishes, order.threads
    threading.Thread(target=_listen, args=given, daemon=True).start()
    bounds.append(Bounds(order))
    train = ensembles.train if order.spec.preset else training.train
    train(order, tell, wishes)


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


def _fail(error: Exception, order: Order, tell: Any, short: bool) -> int:
    """Say why; returns LOST when another attempt may fare better."""
    traceback.print_exception(error)
    cause = error if isinstance(error, OSError) else error.__cause__
    if is_full(cause):
        tell({"kind": "full", "error": str(error)})
        return LOST
    if isinstance(cause, OSError) and cause.errno not in (errno.ENOMEM, errno.EFBIG):
        tell({"kind": "lost", "error": str(error)})
        return LOST
    kind, sentence = _reason(error, cause, order, short)
    tell({"kind": "failed", "error": sentence, "error_kind": kind})
    return 0


def _reason(
    error: Exception, cause: BaseException | None, order: Order, short: bool
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
    return failure(error)


if __name__ == "__main__":
    sys.exit(main())
