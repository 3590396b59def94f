"""The data folder: what lies where, new names, moving into place, sweeping up.

::

    nbmlp.json      says that the folder is a server's (see folder.py)
    lock            held by the server that owns the folder
    nbmlp.ballast   given up when the disk is full, so that this can still be written down
    nbmlp.sqlite    the database
    uploads/        files on their way in; emptied at every start
    datasets/       <sha256>.safetensors
    jobs/<id>/      checkpoints of a job that has not ended, and what its process said
    models/         <id>.safetensors
    quarantine/     what the database does not know (see quarantine.py)

All names are made here: nothing that a user sent is ever part of a path.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from ulid import ULID

from nbmlp.io.atomic import sync_folder
from nbmlp.server import quarantine
from nbmlp.server.faults import reach
from nbmlp.server.folder import BALLAST, DATABASE, claim, data_folder, settle
from nbmlp.server.jobs.places import checkpoints_in
from nbmlp.server.ports import NoSpaceError, NotFoundError, ServiceError
from nbmlp.server.space import Promises, missing
from nbmlp.server.store.recognise import SIDE_FILES

__all__ = ["DataFolder", "new_id"]

_SUFFIX = ".safetensors"
_ID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")
_KEPT = 2
_BALLAST, _BALLAST_HEAD = 4 << 20, b"ballast of an nbmlp server\n"
#: Seconds that a measure of the folder stays good, and share of the time that measuring may take.
_FRESH, _SHARE = 5.0, 0.01


def new_id() -> str:
    """A ULID: 26 characters that sort by time."""
    return str(ULID())


class DataFolder:
    """The files of one server.

    Parameters
    ----------
    root : Path
        Made when it does not exist, for its owner only.
    quota, reserve : int
        Bytes that it may hold; bytes of the disk that are left free.
    adopt : bool
        See :func:`.folder.claim`.

    Raises
    ------
    ServiceError
        It cannot be used, it is somebody's, or another server uses it.
    """

    def __init__(self, root: Path, quota: int, reserve: int, adopt: bool = False) -> None:
        self.root, self._quota, self._reserve = data_folder(root), quota, reserve
        self.database = self.root / DATABASE
        self._uploads, self._datasets = self.root / "uploads", self.root / "datasets"
        self._jobs, self._models = self.root / "jobs", self.root / "models"
        self._measuring, self._measured, self._stale = threading.Lock(), 0, 0.0
        self._promises, self._promising = Promises(), threading.Lock()
        self._ballast = self.root / BALLAST
        self._lock = claim(self.root, adopt)

    def close(self) -> None:
        """Let another server have the folder."""
        os.close(self._lock)

    def settle(self) -> None:
        """The database has been made: see :func:`.folder.settle`."""
        settle(self.root)

    def load_ballast(self) -> None:
        """Keep some space for what has to be written when the disk is full."""
        with suppress(OSError):
            if self._is_loaded():
                return
            with self._ballast.open("xb") as file:
                file.write(_BALLAST_HEAD)
                file.flush()
                os.posix_fallocate(file.fileno(), 0, _BALLAST)

    def drop_ballast(self) -> None:
        """Free that space."""
        with suppress(OSError):
            if self._is_loaded():
                self._ballast.unlink()

    def _is_loaded(self) -> bool:
        """Whether our ballast is there; one cut short is removed, a file that is not ours stays."""
        with suppress(FileNotFoundError):
            with self._ballast.open("rb") as file:
                ours = _BALLAST_HEAD.startswith(file.read(len(_BALLAST_HEAD)))
                whole = os.fstat(file.fileno()).st_size == _BALLAST
            if ours and not whole:
                self._ballast.unlink()
            return ours and whole
        return False

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
        self._promises.end(upload)
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
        """Remove a job's folder with what it has written; the rest is swept at the next start."""
        with suppress(OSError):
            reach("remove")
            quarantine.remove_job(self.root, _checked(job_id))

    def thin_checkpoints(self, job_id: str) -> None:
        """Keep the two newest checkpoints."""
        for path in checkpoints_in(self._jobs / _checked(job_id))[_KEPT:]:
            reach("remove")
            path.unlink(missing_ok=True)

    def sweep(self, known: quarantine.Known) -> quarantine.Swept:
        """See :func:`.quarantine.sweep`."""
        return quarantine.sweep(self.root, known)

    def quarantined(self) -> int:
        """Number of things that the database did not know."""
        return len(quarantine.kept(self.root))

    # -- space

    def free(self) -> int:
        """Bytes free on its disk."""
        return shutil.disk_usage(self.root).free

    def used(self) -> int:
        """Bytes that its files take; what others keep beside them does not count."""
        paths = [self._ballast, *(self.root / f"{DATABASE}{end}" for end in ("", *SIDE_FILES))]
        for kind in quarantine.FOLDERS:
            paths += [Path(at, n) for at, _, names in os.walk(self.root / kind) for n in names]
        total = 0
        for path in paths:
            with suppress(OSError):
                total += os.lstat(path).st_size
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

    def promise(self, path: Path, size: int) -> None:
        """Let a file that is being written have so many bytes in all; of what is left it is gone.

        Raises
        ------
        NoSpaceError
            See :meth:`check_space`; the file has no promise any longer.
        """
        with self._promising:
            self._promises.end(path)
            self.check_space(missing(path, size))
            self._promises.make(path, size)

    def expect(self, job_id: str, size: int) -> None:
        """Count so many bytes as taken that a running job is about to write; 0 when it has ended.

        Never refused: a job is not ended by what others have been promised.
        """
        place = self.job_place(job_id) / "next"
        with self._promising:
            self._promises.end(place)
            if size:
                self._promises.make(place, size)

    def discard(self, upload: Path) -> None:
        """Remove a file on its way in, if it is still there, and what it was promised."""
        upload.unlink(missing_ok=True)
        self._promises.end(upload)

    def check_space(self, wanted: int = 0, *, lately: bool = False) -> None:
        """Refuse what would not fit.

        Parameters
        ----------
        wanted : int
            Bytes, beside those that others have been promised.
        lately : bool
            A measure of a moment ago will do.

        Raises
        ------
        NoSpaceError
            Less than the reserve would be left, or the quota used up.
        """
        wanted += self._promises.open()
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
