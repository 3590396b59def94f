"""A confined process for each thing that is read: forked from a clean one, asked once, ended."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

__all__ = ["ask"]

#: Imported by the clean process, so that those forked from it begin at once.
_READERS = ("nbmlp.server.intake.parse", "nbmlp.server.intake.requests")
#: Seconds that a process has for ending by itself.
_LAST_SECOND = 1.0


def ask(
    run: Callable[..., None],
    given: tuple[Any, ...],
    seconds: float,
    longest: int,
    sent: bytes = b"",
    reply: Callable[[bytes], bytes | None] | None = None,
) -> tuple[bytes | None, int | None]:
    """What a process says, which is bytes: nothing that met hostile content is unpickled.

    Parameters
    ----------
    run : callable
        Called there with a pipe and what is `given`. It confines itself, then receives what was
        `sent`, if anything was.
    given : tuple
    seconds : float
    longest : int
        Bytes of the answer, at most.
    sent : bytes
    reply : callable, optional
        Given a message, what the process is told; None: that was its answer.

    Returns
    -------
    (bytes or None, int or None)
        The answer, and the exit code of a process that gave none.

    Raises
    ------
    TimeoutError
        It took too long.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_READERS))
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs, *given), daemon=True)
    answer, end = None, time.monotonic() + seconds
    with ours:
        process.start()
        theirs.close()
        try:
            if sent:
                ours.send_bytes(sent)
            while answer is None:
                if not ours.poll(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                message = ours.recv_bytes(longest)
                told = None if reply is None else reply(message)
                if told is None:
                    answer = message
                else:
                    ours.send_bytes(told)
            process.join(_LAST_SECOND)
        except TimeoutError:
            raise
        except (EOFError, OSError):  # it died without a word
            pass
        finally:
            process.kill()
            process.join()
    return answer, process.exitcode
