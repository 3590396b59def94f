"""Checkpoints of a job: written now and then, two of them kept, each trusted only if whole."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from nbmlp import __version__
from nbmlp.errors import ModelFileError
from nbmlp.io import archive, model_file
from nbmlp.server.faults import reach
from nbmlp.server.jobs.places import Place, checkpoint_place, checkpoints_in
from nbmlp.server.jobs.protocol import Order
from nbmlp.train.callbacks import Callback, Progress, Run
from nbmlp.train.history import EpochRecord

__all__ = ["Checkpoints", "Found", "newest", "provenance"]

Send = Callable[[dict[str, Any]], None]
#: Writing may take this share of the time that training takes.
_SHARE = 0.02
_KEPT = 2


def provenance(order: Order) -> dict[str, Any]:
    """What a checkpoint has to be of, to be gone on from."""
    return {
        "job": order.job_id,
        "data_sha256": order.data_sha256,
        "versions": {
            "nbmlp": __version__,
            "numpy": np.__version__,
            "numba": version("numba"),
            "machine": platform.machine(),
        },
    }


class Found:
    """The checkpoint to go on from.

    Attributes
    ----------
    path : Path or None
        None when there is none that can be used.
    place : Place
        Where it was written.
    remarks : list of str
        What is wrong with others, or different from when it was written.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self.place, self.remarks = Place(0), list[str]()


def newest(order: Order) -> Found:
    """The newest checkpoint that is whole and of this job and these data; others are removed."""
    found, now = Found(), provenance(order)
    for path in checkpoints_in(order.folder):
        try:
            stored = model_file.load(path, "checkpoint")
            then = stored.extra["notes"]["job"]
        except (ModelFileError, KeyError, TypeError) as error:
            found.remarks.append(f"{path.name} cannot be used: {error}")
        else:
            if {**then, "versions": {}} == {**now, "versions": {}}:
                found.path, found.place = path, checkpoint_place(path) or Place(0)
                if then["versions"] != now["versions"]:
                    found.remarks.append(
                        f"resumed with other versions ({then['versions']} then): the result may"
                        " differ in its last bits."
                    )
                return found
            found.remarks.append(f"{path.name} belongs to another job or other data.")
        path.unlink(missing_ok=True)
    return found


class Checkpoints(Callback):
    """Write a checkpoint when it is due, at the end of an epoch or within, and after the last one.

    Parameters
    ----------
    order : Order
    send : callable
        Told of each that is on disk.
    """

    def __init__(self, order: Order, send: Send) -> None:
        self._folder, self._seconds, self._send = order.folder, order.checkpoint_seconds, send
        self._written, self._due = Place(0), time.monotonic() + order.checkpoint_seconds

    def on_progress(self, run: Run, progress: Progress) -> None:
        """Write within a long epoch, unless checkpoints are asked for at the ends of epochs."""
        if progress.between_batches and self._seconds and time.monotonic() >= self._due:
            self.save(run, Place(progress.epoch - 1, progress.rows_done))

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Write when it is due."""
        reach("epoch")
        if time.monotonic() >= self._due or record.epoch == run.epochs:
            self.save(run, Place(record.epoch))

    def save(self, run: Run, place: Place) -> None:
        """Write one, unless that of this place is there; then remove those before the last two."""
        if self._written == place:
            return
        began = time.monotonic()
        path = self._folder / place.file_name
        run.save_checkpoint(path)
        self._written = place
        reach("checkpoint")
        self._send({
            "kind": "checkpoint", "epoch": place.epoch, "bytes": path.stat().st_size,
            "sha256": archive.stored_digest(path), "created": time.time(),
        })  # fmt: skip
        for old in checkpoints_in(self._folder)[_KEPT:]:
            old.unlink()
        now = time.monotonic()
        pause = max(self._seconds, (now - began) / _SHARE) if self._seconds else 0.0
        self._due = now + pause
