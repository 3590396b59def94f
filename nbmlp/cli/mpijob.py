"""One start of mpiexec: its processes heard, its deadlines kept, its end understood."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from nbmlp.cli.failures import FAILED
from nbmlp.cli.reports import Reader

__all__ = ["End", "Job", "stop"]

_TURN = 0.2  # seconds
#: For mpiexec to end by itself when its processes have.
_GRACE = 5.0
#: With which MPICH's and Open MPI's launchers begin to say that something has gone wrong.
_BANNER = re.compile(rb"\n?^(={60}|-{60}|\[proxy:|\[mpiexec@)", re.MULTILINE)
_DIED = (
    re.compile(r"PID (?P<pid>\d+) RUNNING AT (?P<host>\S+)"),
    re.compile(r"process rank (?P<rank>\d+)"),
    re.compile(r"Process name: \[\S+,(?P<rank>\d+)\]"),
)
#: Of Open MPI's processes: whose end has ended one, and which one that was.
_PEER = re.compile(r"Peer host: +(\S+)")
_ABORTED = re.compile(r"reported by process \[\d+,(\d+)\]")
_BY_SIGNAL = 128  # and its number: Open MPI's exit code, as a shell's
_SIGNAL = re.compile(r"\(signal (?P<a>\d+)\)|on signal (?P<b>\d+)|EXIT CODE: (?P<c>\d+)")


class End(NamedTuple):
    """How a job has ended.

    Attributes
    ----------
    code : int
        Of the command.
    reason : str
        Who has died, as a sentence; empty if nobody has: it is done, or an error was told.
    gone : frozenset of int
        The ranks to go on without.
    """

    code: int
    reason: str = ""
    gone: frozenset[int] = frozenset()


class Job:
    """One start of mpiexec.

    Parameters
    ----------
    command : sequence of str
    told : mapping of str to str
        What its processes find in their environment, beside everything else.
    hosts : sequence of str
        Of each process.
    seconds : float
        For all to start, and for all to meet; also until those of a process that has died are to
        have ended.
    """

    def __init__(
        self, command: Sequence[str], told: Mapping[str, str], hosts: Sequence[str], seconds: float
    ) -> None:
        self._hosts, self._seconds = hosts, seconds
        self._process = subprocess.Popen(
            command, env=os.environ | told, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True, bufsize=0,
        )  # fmt: skip
        self._heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._open = {"out", "err"}
        self._reader, self._told = Reader(), set[bytes]()
        self._banner = {"out": b"", "err": b""}  # what mpiexec says of one that has died
        #: By rank what each has reported: started (with host and pid), met, lost, ended, gone.
        self._by: dict[str, dict[int, dict[str, Any]]] = {}
        self._since = time.monotonic()
        pipes = (("out", self._process.stdout), ("err", self._process.stderr))
        self._listeners = [
            threading.Thread(target=self._listen, args=pipe, daemon=True) for pipe in pipes
        ]
        for listener in self._listeners:
            listener.start()

    def _listen(self, name: str, pipe: BinaryIO) -> None:
        with pipe:
            while piece := pipe.read(1 << 16):
                self._heard.put((name, piece))
            self._heard.put((name, b""))

    def run(self) -> End:
        """Hand on what the processes write until they have ended, or until a deadline."""
        with self._interruptible():
            while self._open:
                with contextlib.suppress(queue.Empty):
                    self._take(*self._heard.get(timeout=_TURN))
                if reason := self._too_late():
                    return self._ended(*reason)
            return self._understood()

    def _take(self, name: str, piece: bytes) -> None:
        if not piece:
            self._open.discard(name)
        elif name == "out":
            self._hand_on(name, piece, sys.stdout)
        else:
            text, records = self._reader.take(piece)
            for record in records:
                self._note(record)
            self._hand_on(name, text, sys.stderr)

    def _note(self, record: dict[str, Any]) -> None:
        what, rank = record["what"], record["rank"]
        first = rank not in self._by.setdefault(what, {})
        if first and 0 <= rank < len(self._hosts):
            self._by[what][rank] = record
            self._since = time.monotonic()

    def _hand_on(self, name: str, text: bytes, to: Any) -> None:
        """What processes say; what mpiexec says of one that has died is kept for itself."""
        if self._banner[name]:
            text, self._banner[name] = b"", self._banner[name] + text
        elif found := _BANNER.search(text):
            text, self._banner[name] = text[: found.start()], text[found.start() :]
        for line in text.splitlines(keepends=True):
            if line.startswith(b"nbmlp: ") and line in self._told:
                continue  # all processes meet the same error
            self._told.add(line)
            to.write(line.decode(errors="replace"))
        to.flush()

    # -- deadlines

    @property
    def _met(self) -> bool:
        return len(self._by.get("met", ())) == len(self._hosts)

    def _too_late(self) -> tuple[str, frozenset[int]] | None:
        """Who has not come, or not ended, in time."""
        waited = time.monotonic() - self._since
        everybody = range(len(self._hosts))
        started, ended = self._by.get("started", {}), self._by.get("ended", {})
        if len(ended) == len(self._hosts) or "lost" in self._by or self._process.poll() is not None:
            return ("", frozenset()) if waited > _GRACE else None
        if waited <= self._seconds or self._met or ended:
            return None
        missing = frozenset(k for k in everybody if k not in started)
        if missing:
            return (
                f"{self._named(missing)} did not start within {self._seconds:g} seconds: see"
                " whether ssh reaches it without a password, and Python is there as here.",
                missing,
            )
        absent = frozenset(k for k in everybody if k not in self._by.get("met", {}))
        return (
            f"{self._named(absent)} did not meet the others within {self._seconds:g} seconds: name"
            " the network interface that all share with --interface, and see whether a firewall"
            " lies between them.",
            frozenset(),
        )

    def _named(self, ranks: frozenset[int]) -> str:
        return " and ".join(f"process {k} on {self._hosts[k]}" for k in sorted(ranks))

    # -- the end

    def _ended(self, reason: str, gone: frozenset[int]) -> End:
        stop(self._process)
        return End(FAILED, reason, gone) if reason else self._understood()

    def _understood(self) -> End:
        """From what was reported, and else from what mpiexec says."""
        stop(self._process)
        code = self._process.returncode
        ended = self._by.get("ended", {})
        codes = {record.get("code", 0) for record in ended.values()}
        lost = [record for record in self._by.get("lost", {}).values() if record["silent"]]
        if lost:  # who misses more is the one that is cut off
            found = min(lost, key=lambda record: len(record["silent"]))
            return End(FAILED, str(found["text"]), frozenset(found["silent"]))
        if codes - {0}:
            return End(min(codes - {0}))
        if len(ended) == len(self._hosts):
            return End(0)
        died, started = self._died(), self._by.get("started", {})
        missing = frozenset(k for k in range(len(self._hosts)) if k not in started)
        if missing:
            sys.stderr.write(self._last_words)
            return End(
                FAILED,
                f"{self._named(missing)} could not be started, as mpiexec says above: see whether"
                " ssh reaches them without a password, and name the network interface that all"
                " share with --interface.",
                frozenset(),
            )
        if not died:  # what mpiexec says is then all that is known
            sys.stderr.write(self._last_words)
        who = self._named(frozenset(died)) if died else "a process"
        return End(FAILED, f"{who} {self._manner(code)}.", frozenset(died))

    @property
    def _last_words(self) -> str:
        return b"".join(self._banner.values()).decode(errors="replace")

    def _died(self) -> list[int]:
        """The rank that has died, if that can be known."""
        if missed := self._missed():
            return missed
        said = self._by.get("lost", {}).keys() | self._by.get("ended", {}).keys()
        for rank in self._by.get("gone", {}):  # in the order of their ends
            if rank not in said:
                return [rank]
        text = self._last_words
        for pattern in _DIED:
            for found in pattern.finditer(text):
                facts = found.groupdict()
                for rank, record in self._by.get("started", {}).items():
                    pid, host = facts.get("pid"), facts.get("host")
                    same = pid == str(record.get("pid")) and host in (
                        self._hosts[rank], record.get("host"),
                    )  # fmt: skip
                    if same or facts.get("rank") == str(rank):
                        return [rank]
        # else who has said nothing, where all others have said that MPI failed
        silent = [rank for rank in range(len(self._hosts)) if rank not in said]
        return silent if len(silent) == 1 else []

    def _missed(self) -> list[int]:
        """The rank that others of Open MPI's have lost, and then ended themselves."""
        aborted = {int(rank) for rank in _ABORTED.findall(self._last_words)}
        started = self._by.get("started", {})
        for host in _PEER.findall(self._last_words):
            there = [rank for rank, record in started.items() if record.get("host") == host]
            if len(there) == 1 and there[0] not in aborted:
                return there
        return []

    def _manner(self, code: int) -> str:
        if self._missed():  # the code is that of another
            return "has ended without a word"
        found = _SIGNAL.search(self._last_words)
        number = next((int(n) for n in found.groups() if n), code) if found else code
        number -= _BY_SIGNAL if number > _BY_SIGNAL else 0
        try:
            return f"was killed ({signal.Signals(number).name})"
        except ValueError:
            return f"has ended without a word (exit code {code})"

    # -- Ctrl-C

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C goes to process 0, which ends the training in order; a second one ends all."""
        main = threading.current_thread() is threading.main_thread()
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)} if main else {}
        try:
            if main:
                signal.signal(signal.SIGINT, self._pass_on)
                signal.signal(signal.SIGTERM, self._terminate)
            yield
        except BaseException:
            stop(self._process)
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._close()

    def _close(self) -> None:
        """Without waiting for what still holds an end of a pipe, as ssh to a host cut off may."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        for listener in self._listeners:
            listener.join(_TURN)

    def _pass_on(self, *_: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if 0 not in self._by.get("met", {}):
            raise KeyboardInterrupt
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(b"\n")

    def _terminate(self, *_: Any) -> None:
        stop(self._process)
        raise SystemExit(128 + signal.SIGTERM)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End mpiexec and what it has started here; after a cut cable it takes no notice of SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # proxies, and ssh to those elsewhere
