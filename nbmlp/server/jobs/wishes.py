"""What a job is asked for while it trains, and who does it."""

from __future__ import annotations

from dataclasses import dataclass

from nbmlp.server.jobs.checkpoints import Checkpoints
from nbmlp.server.jobs.places import Place
from nbmlp.train.callbacks import Callback

__all__ = ["Obey", "Wishes"]


@dataclass
class Wishes:
    """What the server has asked for since; looked at between batches, a few times a second."""

    pause: bool = False
    stop: bool = False


class Obey(Callback):
    """Base of the callbacks that do what was asked for.

    Parameters
    ----------
    wishes : Wishes
    checkpoints : Checkpoints
        Who saves the training that is paused.

    Attributes
    ----------
    paused : Place or None
        Where the job was paused.
    """

    def __init__(self, wishes: Wishes, checkpoints: Checkpoints) -> None:
        self._wishes, self._checkpoints = wishes, checkpoints
        self.paused: Place | None = None
