"""What is asked of one fit of an ensemble: what decides its result, and what does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from nbmlp.checks import flag, number, whole
from nbmlp.names import read_score
from nbmlp.rows import PLAIN, Names
from nbmlp.spec import ClassWeight
from nbmlp.tabular.recipe import Preset, preset_of
from nbmlp.train.hosts import ALONE, Hosts

__all__ = ["NOTHING", "Extras", "Options"]


@dataclass(frozen=True)
class Options:
    """What may be set of a fit; see :class:`~nbmlp.TabularClassifier`."""

    preset: str = "default"
    n_members: int | None = None
    epochs: int | None = None
    patience: int | None = None
    time_limit: float | None = None
    eval_metric: str | None = None
    categorical_features: Any = "auto"
    column_kinds: Mapping[str, str] | None = None
    class_weight: ClassWeight | None = None
    tune_threshold: str | None = None
    seed: int = 0
    jobs: int | None = None
    validation_fraction: float | None = None
    n_folds: int | None = None
    time_ordered: bool = False

    def __post_init__(self) -> None:
        for name in ("n_members", "epochs", "patience", "n_folds"):
            self._check(name, whole)
        self._check("time_limit", partial(number, closed_low=False))
        self._check("validation_fraction", partial(number, high=1.0, closed_low=False))
        self._check("tune_threshold", lambda name, value: read_score(value, True))
        flag("time_ordered", self.time_ordered)

    def _check(self, name: str, check: Callable[[str, object], object]) -> None:
        value = getattr(self, name)
        if value is not None:
            check(name, value)

    def recipe(self, n_rows: int, task: str, apart: bool = False) -> Preset:
        """The preset with what was set beside it.

        Parameters
        ----------
        n_rows : int
            Rows to train on.
        task : str
        apart : bool
            Rows to hold out were given apart, or can be divided in few ways only.
        """
        preset = preset_of(self.preset).for_task(task)
        said = (self.n_members, self.validation_fraction, self.n_folds)
        if not apart and not self.time_ordered and said == (None, None, None):
            preset = preset.for_rows(n_rows)
        names = ("n_members", "epochs", "patience", "validation_fraction")
        given = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
        return replace(preset, **given, folds=self.n_folds or preset.folds)


@dataclass(frozen=True)
class Extras:
    """What goes with one fit and does not change its result.

    Attributes
    ----------
    callbacks : Callback, callable or iterable of them, or None
    checkpoint, resume : Path or None
        Where to write one now and then; which one to go on from.
    model : object
        For callbacks.
    of : mapping
        Plain values that a checkpoint must have been written with, beside settings and data.
    names : Names
        What rows and columns are called in sentences about them.
    hosts : Hosts
        Processes that train together; callbacks and checkpoints are those of process 0.
    writes : bool
        This process writes checkpoints even if it is not process 0: its folder is another one.
    """

    callbacks: Any = None
    checkpoint: Path | None = None
    resume: Path | None = None
    model: Any = None
    of: Mapping[str, Any] = field(default_factory=dict)
    names: Names = PLAIN
    hosts: Hosts = ALONE
    writes: bool = False


NOTHING: Extras = Extras()
