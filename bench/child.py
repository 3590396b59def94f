"""The child's end of the pipe: ``python -m bench.child PEER`` serves pickled commands.

Commands come from standard input as (name of a method of Server, arguments); answers go to
standard output as (True, result) or (False, reason), the first one unasked: the peer's version.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.machine import installed
from bench.nets import Layer, Net, make_problem
from bench.peers import Peer, load_peer
from bench.worker import Turn


class Server:
    """One peer, prepared or not."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.rows, self.last = peer, 0, 0.0

    def prepare(self, net: Net, batch: int, threads: int, shuffle: bool) -> None:
        self.peer.prepare(make_problem(net), batch, threads, shuffle)
        self.rows = net.rows
        self._epoch()  # compile

    def _epoch(self) -> None:
        start = time.perf_counter()
        self.peer.epoch()
        self.last = time.perf_counter() - start

    def run(self, seconds: float) -> Turn:
        """Time epochs; after an untimed one, where that is cheap, since all caches went cold."""
        whole = time.process_time()
        if self.last < seconds / 4:
            self._epoch()
        cpu, start, epochs = time.process_time(), time.perf_counter(), 0
        while not epochs or time.perf_counter() - start < seconds:
            self._epoch()
            epochs += 1
        wall, end = time.perf_counter() - start, time.process_time()
        return Turn(epochs * self.rows / wall, (end - cpu) / wall, end - whole)

    def check(self, net: Net, batch: int, threads: int) -> tuple[list[Layer], str | None]:
        self.peer.prepare(make_problem(net), batch, threads, False)
        self.peer.epoch()
        return [
            (np.array(w), None if b is None else np.array(b)) for w, b in self.peer.layers()
        ], self.peer.why_unlike(net)

    def release(self) -> None:
        """Drop the peer's arrays; refuse a net that has left the finite numbers meanwhile."""
        parts = [part for layer in self.peer.layers() for part in layer if part is not None]
        self.peer = type(self.peer)()
        if not all(np.isfinite(part).all() for part in parts):
            raise FloatingPointError("weights became non-finite while timed")


def guarded(work: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
    """(True, result) or (False, one line about the exception)."""
    try:
        return True, work(*args)
    except Exception as error:
        first = str(error).strip().splitlines() or [""]
        return False, f"{type(error).__name__}: {first[0]}"


def main() -> None:
    """Serve until standard input ends."""
    # Libraries may print: what they write to standard output must not mix with the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(reply: tuple[bool, Any]) -> None:
        pickle.dump(reply, answers)
        answers.flush()

    ok, peer = guarded(load_peer, sys.argv[1])
    send((ok, installed(peer.package) if ok else peer))
    if not ok:
        return
    server = Server(peer)
    while True:
        try:
            command, args = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        send(guarded(getattr(server, command), *args))


if __name__ == "__main__":
    main()
