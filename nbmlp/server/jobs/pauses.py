"""How an attempt at a job ends without its job: set back, waiting for space, or as it was asked."""

from __future__ import annotations

from typing import Any

from nbmlp.server.files import DataFolder
from nbmlp.server.jobs.places import checkpoint_place, checkpoints_in
from nbmlp.server.ports import EventKind, JobState
from nbmlp.server.store.jobs import JobStore
from nbmlp.server.store.reports import Reports

__all__ = ["WAITING_FOR_SPACE", "Pauses"]

#: In the message of a job that goes on as soon as the disk has room.
WAITING_FOR_SPACE = "waiting for space"


class Pauses:
    """Notes that a job has no process for now; `values` are further columns of its row.

    Parameters
    ----------
    jobs, reports
        Where it is written.
    files : DataFolder
        Knows where the job can go on.
    most_setbacks : int
        Attempts in a row without a new checkpoint until the job fails.
    """

    def __init__(
        self, jobs: JobStore, reports: Reports, files: DataFolder, most_setbacks: int
    ) -> None:
        self._jobs, self._reports, self._files = jobs, reports, files
        self._most = most_setbacks

    def where(self, job_id: str) -> str:
        """From where it goes on."""
        found = checkpoints_in(self._files.job_place(job_id))
        place = checkpoint_place(found[0]) if found else None
        return f"resuming from {place}" if place else "starting again"

    def interrupt(self, job_id: str, fence: int, why: str = "", **values: Any) -> None:
        """It goes on by itself, unless it was to pause.

        Parameters
        ----------
        why : str
            Stands before where it goes on.
        """
        row = self._jobs.row(job_id)
        pausing = row["wish"] == "pause"
        state = JobState.PAUSED if pausing else JobState.INTERRUPTED
        text = ", ".join(filter(None, (state.value, why, self.where(job_id))))
        wish = "" if pausing else row["wish"]
        self._reports.finish(job_id, fence, state, text, wish=wish, **values)

    def set_back(self, job_id: str, fence: int, reason: str, **values: Any) -> None:
        """The attempt got nowhere; after too many of these in a row the job fails."""
        setbacks = int(self._jobs.row(job_id)["setbacks"]) + 1
        if setbacks >= self._most:
            text = f"{setbacks} attempts in a row got nowhere; the last: {reason}."
            self.fail(job_id, fence, "crash", text, **values)
            return
        self._reports.report(job_id, fence, [(EventKind.MESSAGE, {"text": reason})])
        self.interrupt(job_id, fence, setbacks=setbacks, **values)

    def wait_for_space(self, job_id: str, fence: int, reason: str, **values: Any) -> None:
        """The disk is full: nobody's fault, so that it does not count as a setback."""
        self._reports.report(job_id, fence, [(EventKind.MESSAGE, {"text": reason})])
        self.interrupt(job_id, fence, f"{WAITING_FOR_SPACE} on the disk", **values)

    def fail(self, job_id: str, fence: int, kind: str, error: str, **values: Any) -> None:
        """The job ends."""
        self._reports.finish(
            job_id, fence, JobState.FAILED, error, error=error, error_kind=kind, **values
        )
