"""Many nets at once, one a core: nobody waits for anybody but at rungs, which epochs count."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nbmlp.errors import DataError
from nbmlp.tabular import restart
from nbmlp.tabular.board import Board
from nbmlp.tabular.cluster import Cluster
from nbmlp.tabular.criteria import Criterion
from nbmlp.tabular.recipe import Preset
from nbmlp.tabular.team import Team, wait_for
from nbmlp.tabular.trainee import TIME_LIMIT, Fold, Trainee
from nbmlp.train.history import EpochRecord
from nbmlp.train.hosts import Hosts
from nbmlp.train.interrupt import Interrupt, Interrupted
from nbmlp.train.standard import checkpoints_among

__all__ = ["INTERRUPTED", "PAUSED", "TIME_LIMIT", "Race"]

INTERRUPTED, PAUSED = "interrupted", "paused"
#: Seconds between two checkpoints.
_BETWEEN = 20.0


class Race:
    """Trains nets side by side; what becomes of each does not depend on the others' pace.

    Parameters
    ----------
    trainees : sequence of Trainee
        All folds of member 0, then those of member 1, ...
    folds : sequence of Fold
    criterion : Criterion
    preset : Preset
    jobs : int, Cluster or Team
        Cores of this machine to use, or workers of other ones, or processes that train together.
    time_limit : float or None
        Seconds from now on after which all end, once a member has an epoch on each fold.
    callbacks : Callback, callable or iterable of them, or None
    of : mapping
        Settings and data, which a checkpoint must have been written with.
    checkpoint : Path or None
        Where to write one now and then.
    model : object
        For callbacks.

    Attributes
    ----------
    cut : str
        Why the nets ended before they should have: :data:`TIME_LIMIT`, :data:`INTERRUPTED`,
        :data:`PAUSED`, a callback's reason, or empty.
    board : Board
    usable : bool
        A member has an epoch on each fold.
    """

    def __init__(
        self,
        trainees: Sequence[Trainee],
        folds: Sequence[Fold],
        criterion: Criterion,
        preset: Preset,
        jobs: int | Cluster | Team,
        time_limit: float | None = None,
        callbacks: object = None,
        of: Mapping[str, Any] | None = None,
        checkpoint: Path | None = None,
        model: object = None,
    ) -> None:
        self.trainees, self.folds, self.criterion, self.preset = trainees, folds, criterion, preset
        self.jobs, self.cut, self._of = jobs, "", of or {}
        n_rows = len(folds[0].train[0])
        self.board = Board(trainees, criterion, n_rows, callbacks, self.save, model)
        if checkpoint is not None and not checkpoint.parent.is_dir():
            raise DataError(f"checkpoint {checkpoint}: the folder {checkpoint.parent} is missing.")
        self._checkpoint = checkpoint
        self._deadline = math.inf if time_limit is None else time.monotonic() + time_limit
        self._written = time.monotonic()
        self._lock = threading.RLock()
        self._interrupt = Interrupt()
        self._halt = self.usable = False
        self._since: dict[int, float] = {}
        self._passed: list[tuple[int, ...]] = []

    # -- what trainees see

    def check(self, late: float = 0.0) -> None:
        """Raise Interrupted where a training is to end, if for the time then so much later."""
        if self._interrupt.asked or self._halt:
            self.cut = INTERRUPTED
        elif self.usable and self.left() + late <= 0.0:
            self.cut = self.cut or TIME_LIMIT
        elif self.usable and self.board.stop_reason:
            self.cut = self.cut or self.board.stop_reason
        if self.cut:
            raise Interrupted(self.cut)

    def after_epoch(self, trainee: Trainee, record: EpochRecord) -> bool:
        """Tell of an epoch; a net rests after a while, which changes nothing in it."""
        with self._lock:
            self._tell(trainee, record)
            rested = time.monotonic() - self._since[id(trainee)]
            return self.board.pausing or rested >= self.board.stretch

    def _tell(self, trainee: Trainee, record: EpochRecord) -> None:
        if not self.usable:
            own = [t for t in self.trainees if t.member == trainee.member]
            self.usable = all(t.weights is not None for t in own)
        self.board.after_epoch(trainee, record)

    # -- what a cluster or a team sees

    def goes_on(self) -> bool:
        """Whether nets are to be trained further."""
        over = self.usable and (self.left() <= 0.0 or self.board.stop_reason)
        return not over and not self.board.pausing

    def agreed(self, hosts: Hosts) -> bool:
        """Whether nets are to be trained further, by what all processes say."""
        with suppress(Interrupted):
            self.check()
        board = self.board
        asked = board.stop_reason, board.pausing, board.stretch
        said = hosts.agree((self.cut, asked))
        self.cut = next((cut for cut, _ in said if cut), "")
        board.stop_reason, board.pausing, board.stretch = said[0][1]  # its callbacks are told
        return not (self.cut or board.pausing)

    def left(self) -> float:
        """Seconds to the time limit; negative behind it."""
        return self._deadline - time.monotonic()

    def stretch(self) -> float:
        """Seconds after which a net is to rest."""
        return self.board.stretch

    def take(self, trainee: Trainee, records: Sequence[EpochRecord]) -> None:
        """Tell of the epochs of a net that has come back."""
        for record in records:
            self._tell(trainee, record)
        self._write_now_and_then()

    # -- the course

    def run(self) -> None:
        """Train all to their ends, wave by wave."""
        members = sorted({t.member for t in self.trainees})
        size = self.preset.wave or len(members)
        with self._interrupt, self.board.callbacks.around(self.board):
            for start in range(0, len(members), size):
                among = set(members[start : start + size])
                self._wave(start, [t for t in self.trainees if t.member in among])
            if self.board.pausing and not self.cut:
                self.cut = PAUSED  # who goes on from here loses nothing
            self.board.history.stop_reason = self.cut or "epochs done"

    def _wave(self, start: int, wave: list[Trainee]) -> None:
        for epoch, share in self.preset.rests:
            self._advance(wave, epoch)
            with self._lock:
                unsettled = self.cut or self.board.pausing or self.board.stop_reason
                if (start, epoch) not in self._passed and not unsettled:
                    self._drop_worst(wave, share, epoch)
                    self._passed.append((start, epoch))
        self._advance(wave, self.preset.epochs)

    def _drop_worst(self, wave: list[Trainee], share: float, epoch: int) -> None:
        """End the worst of the members that have not lagged behind so far."""
        members: dict[int, list[Trainee]] = {}
        for trainee in wave:
            members.setdefault(trainee.member, []).append(trainee)
        scores = {
            member: float(np.mean([t.best for t in own]))
            for member, own in members.items()
            if not any(t.lagged for t in own)
        }
        ranked = sorted(scores, key=lambda member: (scores[member], member))
        for member in ranked[len(ranked) - int(share * len(ranked)) :]:
            for trainee in members[member]:
                trainee.lagged = True
                trainee.end(f"lagged behind at epoch {epoch}")

    def _advance(self, wave: list[Trainee], until: int) -> None:
        """Bring all that go on to that epoch."""
        running = [t for t in wave if not t.ended and t.epoch < until]
        # The longest first, so that no core waits long for the last one.
        running.sort(key=lambda t: -t.spec.n_parameters)
        if not isinstance(self.jobs, int):
            self.jobs.bring(running, until, self)
            return
        workers = min(self.jobs, len(running))
        if workers <= 1:
            for trainee in running:
                self._bring(trainee, until, self.jobs)
            return
        with ThreadPoolExecutor(workers, "nbmlp-member") as pool:
            found = [pool.submit(self._bring, trainee, until, 1) for trainee in running]
            try:
                wait_for(found)
            except BaseException:  # of a net, or a second Ctrl-C
                self._halt = True
                raise

    def _bring(self, trainee: Trainee, until: int, threads: int) -> None:
        """Stretch after stretch."""
        while not trainee.ended and trainee.epoch < until and not self.board.pausing:
            try:
                self.check()
            except Interrupted as end:
                trainee.end(str(end))
                return
            with self._lock:
                trainee.rest = trainee.at_rest()
                self._since[id(trainee)] = time.monotonic()
            trainee.advance(self.folds[trainee.fold], self.criterion, until, threads, self)
            with self._lock:
                trainee.rest = None
                self._write_now_and_then()

    # -- checkpoints

    def _write_now_and_then(self) -> None:
        due = time.monotonic() - self._written >= _BETWEEN
        if self._checkpoint is not None and due and not self.cut:
            self.save(self._checkpoint)

    def save(self, path: Path) -> None:
        """Write where all nets stand; those under way as they were at their last rest."""
        with self._lock:
            restart.save(path, self.trainees, self._of, self._passed, self.board.fence)
            self._written = time.monotonic()

    def fence_off(self, hosts: Hosts, resume: Path | None) -> None:
        """Agree on who may write checkpoints from now on.

        One that is gone on from is written anew at once: who is left over of an older start finds
        out, however soon this one is done.
        """
        files = [*checkpoints_among(self.board.callbacks), self._checkpoint, resume]
        self.board.fence = hosts.fence([path for path in files if path is not None], {})
        if self.board.fence.number and resume is not None and self._checkpoint is not None:
            self.save(self._checkpoint)

    def resume(self, path: Path) -> None:
        """Go on from such a file."""
        self._passed = restart.restore(path, self.trainees, self._of)
        members: dict[int, list[Trainee]] = {}
        for trainee in self.trainees:
            members.setdefault(trainee.member, []).append(trainee)
        self.usable = any(all(t.weights is not None for t in own) for own in members.values())
        self.board.resume()
