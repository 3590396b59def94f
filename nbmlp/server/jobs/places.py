"""Where a training stands, and the checkpoint that says so: known to the server and its jobs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["Place", "checkpoint_place", "checkpoints_in"]

_CHECKPOINT = re.compile(r"checkpoint-(\d{9})(?:-(\d{12}))?\.safetensors")


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
        return f"checkpoint-{self.epoch:09d}{rows}.safetensors"


def checkpoint_place(path: Path) -> Place | None:
    """The place in a checkpoint's name, None for any other file."""
    found = _CHECKPOINT.fullmatch(path.name)
    return Place(int(found[1]), int(found[2] or 0)) if found else None


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a job by their names, newest first; whether they are whole is unknown."""
    places = {path: checkpoint_place(path) for path in folder.glob("checkpoint-*")}
    found = {path: place for path, place in places.items() if place is not None}
    return sorted(found, key=lambda path: found[path], reverse=True)
