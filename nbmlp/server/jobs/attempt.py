"""One attempt at a job: its process on one side, the store on the other."""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from nbmlp.server.jobs.pauses import Pauses
from nbmlp.server.jobs.places import Place
from nbmlp.server.jobs.process import WorkerProcess, oom_kills
from nbmlp.server.jobs.protocol import Order, receive
from nbmlp.server.jobs.worker import BUSY
from nbmlp.server.ports import CheckpointInfo, EventKind, JobState, Live
from nbmlp.server.store.reports import Reports, StaleError

__all__ = ["Attempt"]

log = logging.getLogger(__name__)
_MOST = 64
#: Seconds of silence after which the time of a job is written down all the same.
_NOTED = 2.0


class Attempt:
    """Reads a process's reports and writes what they mean into the store.

    Reports that the store cannot take now (it is locked) wait, and with them the process.

    Parameters
    ----------
    reports, pauses
        Where it is written.
    order : Order
    used, left : float
        Seconds that earlier attempts have run, and those that this one may.

    Attributes
    ----------
    live : Live or None
        The last progress reported.
    over : bool
        The process has ended, and all is written down.
    short_of_space : bool
        It ended because the disk was full.
    """

    def __init__(
        self, reports: Reports, pauses: Pauses, order: Order, used: float, left: float
    ) -> None:
        self._reports, self._pauses, self.order = reports, pauses, order
        self._kills = oom_kills()
        self.process = WorkerProcess(order)
        # The time that this process has, whatever clocks say: neither the time between two
        # attempts counts nor that of a machine that sleeps.
        self._began = self._noted = time.monotonic()
        self._used, self._deadline = used, self._began + left
        self.live: Live | None = None
        self.over = self.short_of_space = False
        #: Bytes that it is about to write: a checkpoint beside those kept, as large as the last.
        self.writes = 0
        self._pending: deque[dict[str, Any]] = deque()
        self._gone = self._settled = self._deaf = False
        self._exit: int | None = None
        self._failing: tuple[str, str] | None = None
        self._full = ""

    @property
    def listening(self) -> bool:
        """Whether its process may say more."""
        return not self._gone and not self._pending

    @property
    def seconds(self) -> float:
        """That the job has run so far, this attempt included."""
        return self._used + time.monotonic() - self._began

    def abandon(self) -> None:
        """The job was ended by somebody: kill the process, believe it nothing more."""
        self._settled = True
        self._pending.clear()
        self.process.kill()

    def fill_up(self, reason: str) -> None:
        """The disk is full: end the process; once it has gone, its job waits for space."""
        self._full = reason
        self.give_up()

    def give_up(self) -> None:
        """What it said could not be taken: end it; whatever else it says has a gap before it."""
        self._deaf = True
        self._pending.clear()
        self.process.kill()

    def advance(self) -> bool:
        """Take what has been reported; returns whether anything changed.

        Raises
        ------
        ServiceError
            The store cannot be written now; call again later.
        """
        changed = self._take()
        changed |= self._take()  # what came while the first was written down is told with it
        if time.monotonic() > self._noted + _NOTED and not self._settled and not self._gone:
            self._note()
        if time.monotonic() > self._deadline and not self._settled:
            self._time_out()
            changed = True
        if self._gone and not self.over:
            self._end()
            changed = True
        return changed

    def _take(self) -> bool:
        """Write down what has been reported, if anything has."""
        self._read()
        changed = bool(self._pending)
        while self._pending:
            message = self._pending[0]
            if not self._settled and message.get("fence") == self.order.fence:
                try:
                    _HANDLERS[message["kind"]](self, message)
                except StaleError:
                    self.abandon()
                    break
            self._pending.popleft()
        return changed

    def _read(self) -> None:
        if self._gone or self._pending:
            return
        try:
            while len(self._pending) < _MOST and self.process.connection.poll():
                self._pending.append(receive(self.process.connection))
        except (EOFError, OSError, ValueError):  # it is gone, perhaps in the middle of a word
            self._gone = True
        if self._deaf:
            self._pending.clear()

    def _note(self) -> None:
        """How long the job has run: a server that dies now is to know it when it comes back."""
        try:
            self._reports.report(*self._mine, used_seconds=self._time())
        except StaleError:
            self.abandon()

    # -- reports

    @property
    def _mine(self) -> tuple[str, int]:
        return self.order.job_id, self.order.fence

    def _time(self) -> float:
        """Seconds that the job has run: goes with all that is written down."""
        self._noted = time.monotonic()
        return self.seconds

    def _tell(self, kind: EventKind, data: dict[str, Any], **values: Any) -> None:
        self._reports.report(*self._mine, [(kind, data)], **values, used_seconds=self._time())

    def _fail(self, kind: str, error: str) -> None:
        self._pauses.fail(*self._mine, kind, error, used_seconds=self._time())
        self._settled = True

    def _set_back(self, reason: str) -> None:
        self._pauses.set_back(*self._mine, reason, used_seconds=self._time())
        self._settled = True

    def _wait_for_space(self, reason: str) -> None:
        self._pauses.wait_for_space(*self._mine, reason, used_seconds=self._time())
        self._settled = self.short_of_space = True

    def _on_phase(self, message: dict[str, Any]) -> None:
        state = JobState.COMPILING if message["phase"] == "compiling" else JobState.RUNNING
        self._reports.phase(*self._mine, state, message["score_name"], used_seconds=self._time())

    def _on_epochs(self, message: dict[str, Any]) -> None:
        told = {"of": "epochs", "lagged": "lagged"}
        values = {column: message[name] for name, column in told.items() if name in message}
        self._reports.epochs(*self._mine, message["rows"], used_seconds=self._time(), **values)

    def _on_progress(self, message: dict[str, Any]) -> None:
        names = Live.__dataclass_fields__
        self.live = Live(**{name: message[name] for name in names})

    def _on_checkpoint(self, message: dict[str, Any]) -> None:
        values = {name: message[name] for name in ("epoch", "bytes", "sha256", "created")}
        info = CheckpointInfo(job_id=self.order.job_id, **values)
        self.writes = info.bytes
        self._reports.checkpoint(info, self.order.fence, used_seconds=self._time())

    def _on_resumed(self, message: dict[str, Any]) -> None:
        text = f"resumed from {Place(message['epoch'], message['rows'])}"
        epoch = min(message["epoch"], self.order.recorded)  # what is missing follows
        self._tell(EventKind.MESSAGE, {"text": text}, message=text, epoch=epoch)

    def _on_message(self, message: dict[str, Any]) -> None:
        self._tell(EventKind.MESSAGE, {"text": message["text"]})

    def _on_diagnosing(self, message: dict[str, Any]) -> None:
        text = "looking for the causes"
        self._tell(EventKind.MESSAGE, {"text": text}, message=text)
        # It keeps to its time by itself, unless something is very wrong.
        self._deadline = time.monotonic() + 30 + 2 * self.order.diagnosis_seconds

    def _on_failing(self, message: dict[str, Any]) -> None:
        self._failing = message["error_kind"], message["error"]

    def _on_diagnosis(self, message: dict[str, Any]) -> None:
        told = {"text": message["text"], "report": message["report"]}
        self._tell(EventKind.DIAGNOSIS, told)

    def _on_done(self, message: dict[str, Any]) -> None:
        order = self.order
        values = message["model"] | {
            "id": order.model.stem, "job_id": order.job_id, "created": time.time(),
            "dataset_id": order.spec.dataset_id,
        }  # fmt: skip
        self._reports.succeed(
            *self._mine, message["stop_reason"], values, used_seconds=self._time(),
            remark=message["remark"],
        )  # fmt: skip
        self._settled = True

    def _on_paused(self, message: dict[str, Any]) -> None:
        text = f"paused after {Place(message['epoch'], message['rows'])}"
        self._reports.finish(*self._mine, JobState.PAUSED, text, wish="", used_seconds=self._time())
        self._settled = True

    def _on_failed(self, message: dict[str, Any]) -> None:
        self._fail(message["error_kind"], message["error"])

    def _on_lost(self, message: dict[str, Any]) -> None:
        self._set_back(message["error"])

    def _on_full(self, message: dict[str, Any]) -> None:
        self._wait_for_space(message["error"])

    # -- ends

    def _time_out(self) -> None:
        if self._failing is not None:
            self._fail(*self._failing)
        else:
            self._fail("time", "the job has used up its time: raise its limit of wall_seconds.")
        self.process.kill()

    def _end(self) -> None:
        """The process has ended: with or without a last word."""
        if self._exit is None:
            self._exit = self.process.wait()
        if not self._settled:
            try:
                self._conclude(self._exit)
            except StaleError:
                self._settled = True
        self.over = True

    def _conclude(self, code: int) -> None:
        if self._failing is not None:
            self._fail(*self._failing)
        elif self._full:
            self._wait_for_space(self._full)
        elif code == -signal.SIGXCPU:
            self._fail("cpu_time", "the job has used up its CPU time: raise its limit.")
        elif code == -signal.SIGPROF:
            self._stuck(self.process.last_words())
        elif self._out_of_memory(code):
            self._fail("out_of_memory", "out of memory: train on fewer rows or a smaller net.")
        elif code == BUSY:
            self._set_back("its former process has not ended yet")
        else:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._set_back(f"its process ended with {how}")

    def _stuck(self, where: str) -> None:
        log.error("job %s: its process was stuck: %s", self.order.job_id, where)
        if "numba/core" in where:
            text = "out of memory: compiling got stuck for want of it; raise the job's memory_mb."
            self._fail("out_of_memory", text)
        else:
            self._fail("crash", "its process was stuck in one place: the server's log names it.")

    def _out_of_memory(self, code: int) -> bool:
        if code == -signal.SIGKILL:
            return oom_kills() > self._kills
        words = self.process.last_words().lower()
        signs = ("out of memory", "bad_alloc", "cannot allocate memory", "memoryerror")
        return code != 0 and any(sign in words for sign in signs)


_HANDLERS: dict[str, Callable[[Attempt, dict[str, Any]], None]] = {
    "phase": Attempt._on_phase, "epochs": Attempt._on_epochs, "progress": Attempt._on_progress,
    "checkpoint": Attempt._on_checkpoint, "resumed": Attempt._on_resumed,
    "message": Attempt._on_message, "diagnosing": Attempt._on_diagnosing,
    "failing": Attempt._on_failing, "diagnosis": Attempt._on_diagnosis, "done": Attempt._on_done,
    "paused": Attempt._on_paused, "failed": Attempt._on_failed, "lost": Attempt._on_lost,
    "full": Attempt._on_full,
}  # fmt: skip
