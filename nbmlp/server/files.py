"""The data folder: what lies where, new names, moving into place, sweeping up.

::

    lock            held by the server that owns the folder
    ballast         given up when the disk is full, so that this can still be written down
    nbmlp.sqlite    the database
    uploads/        files on their way in; emptied at every start
    datasets/       <sha256>.safetensors
    jobs/<id>/      checkpoints of a job that has not ended, and what its process said
    models/         <id>.safetensors

All names are made here: nothing that a user sent is ever part of a path.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ulid import ULID

from nbmlp.io.atomic import sync_folder
from nbmlp.server.faults import reach
from nbmlp.server.ports import NoSpaceError, NotFoundError, ServiceError

__all__ = ["DataFolder", "Place", "checkpoint_place", "checkpoints_in", "new_id"]

_SUFFIX = ".safetensors"
_CHECKPOINT = re.compile(r"checkpoint-(\d{9})(?:-(\d{12}))?\.safetensors")
_ID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")
_KEPT = 2
_BALLAST = 4 << 20
#: Seconds that a measure of the folder stays good, and share of the time that measuring may take.
_FRESH, _SHARE = 5.0, 0.01


def new_id() -> str:
    """A ULID: 26 characters that sort by time."""
    return str(ULID())


class Place(NamedTuple):
    """Where a training stands: epochs done, and rows of the next one."""

    epoch: int
    rows: int = 0

    def __str__(self) -> str:
        """As a message names it."""
        return f"row {self.rows} of epoch {self.epoch + 1}" if self.rows else f"epoch {self.epoch}"

    @property
    def file_name(self) -> str:
        """Of its checkpoint."""
        rows = f"-{self.rows:012d}" if self.rows else ""
        return f"checkpoint-{self.epoch:09d}{rows}{_SUFFIX}"


def checkpoint_place(path: Path) -> Place | None:
    """The place in a checkpoint's name, None for any other file."""
    found = _CHECKPOINT.fullmatch(path.name)
    return Place(int(found[1]), int(found[2] or 0)) if found else None


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a job by their names, newest first; whether they are whole is unknown."""
    places = {path: checkpoint_place(path) for path in folder.glob("checkpoint-*")}
    found = {path: place for path, place in places.items() if place is not None}
    return sorted(found, key=lambda path: found[path], reverse=True)


class DataFolder:
    """The files of one server.

    Parameters
    ----------
    root : Path
        Made when it does not exist, for its owner only.
    quota, reserve : int
        Bytes that it may hold; bytes of the disk that are left free.

    Raises
    ------
    ServiceError
        It cannot be used, or another server uses it.
    """

    def __init__(self, root: Path, quota: int, reserve: int) -> None:
        self.root, self._quota, self._reserve = root.absolute(), quota, reserve
        self.database = self.root / "nbmlp.sqlite"
        self._uploads, self._datasets = self.root / "uploads", self.root / "datasets"
        self._jobs, self._models = self.root / "jobs", self.root / "models"
        self._measuring, self._measured, self._stale = threading.Lock(), 0, 0.0
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._uploads, self._datasets, self._jobs, self._models):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ServiceError(
                f"the data folder {root} cannot be used ({error.strerror}): choose another"
                " with --data-dir."
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise ServiceError(
                f"another server uses the data folder {root}: end it, or choose another folder"
                " with --data-dir."
            ) from error

    def close(self) -> None:
        """Let another server have the folder."""
        os.close(self._lock)

    def load_ballast(self) -> None:
        """Keep some space for what has to be written when the disk is full."""
        ballast = self.root / "ballast"
        with suppress(OSError):
            if not ballast.exists() or ballast.stat().st_size < _BALLAST:
                with ballast.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, _BALLAST)

    def drop_ballast(self) -> None:
        """Free that space."""
        with suppress(OSError):
            (self.root / "ballast").unlink(missing_ok=True)

    # -- places

    def upload(self) -> Path:
        """A new place for a file on its way in."""
        return self._uploads / f"tmp-{new_id()}"

    def dataset(self, sha256: str) -> Path:
        """Where content of that hash lies."""
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise NotFoundError("that is no SHA-256.")
        return self._datasets / f"{sha256}{_SUFFIX}"

    def model(self, model_id: str) -> Path:
        """Where a model lies."""
        return self._models / f"{_checked(model_id)}{_SUFFIX}"

    def job_place(self, job_id: str) -> Path:
        """Where a job's own folder is, if there is one."""
        return self._jobs / _checked(job_id)

    def job(self, job_id: str) -> Path:
        """A job's own folder, made if need be."""
        folder = self.job_place(job_id)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    # -- changes

    def adopt(self, upload: Path, sha256: str) -> Path:
        """Move an uploaded file to the place of its content."""
        if upload.parent != self._uploads:
            raise ServiceError("only files from the upload folder can become data sets.")
        place = self.dataset(sha256)
        reach("adopt")
        with upload.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(upload, place)
        sync_folder(self._datasets)
        reach("adopted")
        return place

    def remove_dataset(self, sha256: str) -> None:
        """Remove content that nobody refers to."""
        self.dataset(sha256).unlink(missing_ok=True)

    def remove_model(self, model_id: str) -> None:
        """Remove a model's file, if there is one."""
        self.model(model_id).unlink(missing_ok=True)

    def remove_job(self, job_id: str) -> None:
        """Remove a job's folder with all that is in it; what stays is swept at the next start."""
        with suppress(OSError):
            reach("remove")
            shutil.rmtree(self.job_place(job_id), ignore_errors=True)

    def thin_checkpoints(self, job_id: str) -> None:
        """Keep the two newest checkpoints."""
        for path in checkpoints_in(self._jobs / _checked(job_id))[_KEPT:]:
            reach("remove")
            path.unlink(missing_ok=True)

    def sweep(self, datasets: Iterable[str], jobs: Iterable[str], models: Iterable[str]) -> int:
        """Remove what a crash left: uploads, half-written files, content without a row.

        Parameters
        ----------
        datasets, jobs, models : iterable of str
            Hashes and names that the database knows; jobs: those that have not ended.

        Returns
        -------
        int
            Files and folders removed.
        """
        known = {self.dataset(h) for h in datasets} | {self.model(m) for m in models}
        living = {self._jobs / _checked(j) for j in jobs}
        gone = list(self._uploads.iterdir())
        for folder in (self._datasets, self._models):
            gone += [p for p in folder.iterdir() if p not in known]
        gone += [p for p in self._jobs.iterdir() if p not in living]
        gone += [p for job in living for p in job.glob(".tmp-*")]
        for path in gone:
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return len(gone)

    # -- space

    def free(self) -> int:
        """Bytes free on its disk."""
        return shutil.disk_usage(self.root).free

    def used(self) -> int:
        """Bytes that its files take."""
        total = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    def used_lately(self) -> int:
        """The same as measured a moment ago: however often asked, however many files."""
        with self._measuring:
            start = time.monotonic()
            if start >= self._stale:
                self._measured = self.used()
                end = time.monotonic()
                self._stale = end + max(_FRESH, (end - start) / _SHARE)
            return self._measured

    def check_space(self, wanted: int = 0, *, lately: bool = False) -> None:
        """Refuse what would not fit.

        Parameters
        ----------
        wanted : int
            Bytes.
        lately : bool
            A measure of a moment ago will do.

        Raises
        ------
        NoSpaceError
            Less than the reserve would be left, or the quota used up.
        """
        if self.free() - wanted < self._reserve:
            raise NoSpaceError(
                f"the disk of {self.root} has only {self.free() >> 20} MB left: free some space."
            )
        used = self.used_lately() if lately else self.used()
        if used + wanted > self._quota:
            raise NoSpaceError(
                f"the data folder has reached its quota of {self._quota >> 20} MB: delete data"
                " sets or models."
            )


def _checked(name: str) -> str:
    """The name, if it is one of ours: a path cannot be made of anything else."""
    if not _ID.fullmatch(name):
        raise NotFoundError("that is no id of this server.")
    return name
