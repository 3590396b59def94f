"""What a job's process is ordered to do, made of the job's row and the server's settings."""

from __future__ import annotations

from typing import Any

from nbmlp.errors import DataError, SpecError
from nbmlp.server.files import DataFolder, new_id
from nbmlp.server.jobs.protocol import Order
from nbmlp.server.jobs.spec import stored_spec, unknown_settings
from nbmlp.server.settings import ServerSettings

__all__ = ["order_for", "seconds_left"]


def order_for(row: Any, fence: int, files: DataFolder, settings: ServerSettings) -> Order:
    """The order for the next attempt at a job.

    Parameters
    ----------
    row : mapping
        Of the job.
    fence : int
        The attempt's token.
    files : DataFolder
    settings : ServerSettings

    Raises
    ------
    SpecError
        The job was submitted to a version that knew other settings.
    DataError
        Its data are gone.
    OSError
        Its folder cannot be made.
    """
    if unknown := unknown_settings(row["spec"]):
        raise SpecError(
            f"the job has settings that this version does not know ({', '.join(unknown)}):"
            " submit it again without them."
        )
    spec, s = stored_spec(row["spec"]), settings
    data = files.dataset(row["data_sha256"])
    if not data.is_file():
        raise DataError("the file of its data set is gone: upload the table again.")
    return Order(
        job_id=row["id"], fence=fence, spec=spec, folder=files.job(row["id"]), data=data,
        model=files.model(new_id()), data_sha256=row["data_sha256"], threads=row["threads"],
        recorded=row["epoch"], wish=row["wish"], disk_mb=s.job_disk_mb,
        memory_mb=min(spec.limits.memory_mb or s.job_memory_mb, s.job_memory_mb),
        cpu_seconds=min(spec.limits.cpu_seconds or s.job_cpu_seconds, s.job_cpu_seconds),
        checkpoint_seconds=s.checkpoint_seconds, diagnosis_seconds=s.diagnosis_seconds,
    )  # fmt: skip


def seconds_left(row: Any, settings: ServerSettings) -> float:
    """Of the time that a job may run, all of its attempts together."""
    most, used = settings.job_wall_seconds, float(row["used_seconds"])
    wanted = stored_spec(row["spec"]).limits.wall_seconds or most
    return max(0.0, min(wanted, most) - used)
