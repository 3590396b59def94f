"""From data and settings to a report: evidence, suspects, a trial of each cure, the order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.checks import number
from nbmlp.data import Given, Mended, as_table, infer_task
from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.report import Finding, Report, Trial, Where
from nbmlp.diagnostics.why.search import Progress, Search
from nbmlp.diagnostics.why.trials import Samples, Trainer
from nbmlp.errors import DataError, SpecError
from nbmlp.rows import Names
from nbmlp.settings import Settings

__all__ = ["diagnose"]

#: Fewer rows than this tell nothing.
_FEWEST = 10


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # broken nets have such numbers
def diagnose(
    settings: Settings,
    X: Any,
    y: ArrayLike,
    *,
    validation: tuple[Any, ArrayLike] | Given | float = 0.2,
    sample_weight: ArrayLike | None = None,
    seconds: float = 60.0,
    progress: Progress = lambda share, stage: None,
    row_numbers: Names | ArrayLike | None = None,
    rebuild: Callable[..., Any] | None = None,
) -> Report:
    """Find out why a training with these settings on these data fails, stalls or disappoints.

    Parameters
    ----------
    settings : Settings
    X, y, sample_weight, row_numbers
        As for :meth:`nbmlp.MLP.fit`; rows with NaN are allowed here.
    validation : (X, y), Given or float
        Rows to measure on, or the share of the rows to set aside for that.
    seconds : float
        About how long the trials may take in all; large data are sampled to keep to it.
    progress : callable
        Called before each trial with the share of the time that is over, and a few words.
    rebuild : callable, optional
        Makes a model of changed settings, for :meth:`Report.cured`.

    Returns
    -------
    Report
        Ctrl-C ends the trials; what they have found so far is reported.

    Raises
    ------
    DataError, SpecError
    """
    number("seconds", seconds, closed_low=False)
    began = time.perf_counter()
    missing = _fills_in(settings, X)
    whole = Given.of(X, y, sample_weight, row_numbers)
    given, mended = whole.without_bad_rows(_dtype(settings), missing)
    with given.names.telling():
        infer_task(given.y)  # refuses labels of two kinds, as long as it is known where they are
    samples = _samples(settings, given, validation, missing)
    trainer = Trainer(samples, _classes(settings, samples))
    work = Search(settings, trainer, seconds, progress)
    findings, complete, evidence = work.findings()
    if mended.dropped and settings.train.on_nonfinite in ("raise", "warn"):
        findings = [_nonfinite(mended, len(given.y), evidence), *findings]
    summary = {
        "rows": len(given.y), "sample": len(evidence.samples), "epochs": evidence.base.epochs,
        "trials": trainer.count, "seconds": time.perf_counter() - began,
        "first": None if evidence.first is None else evidence.first.to_dict(),
        "last": None if evidence.last is None else evidence.last.to_dict(),
    }  # fmt: skip
    stopped = findings and findings[0].cause == "nonfinite_inputs"
    error = math.inf if stopped else evidence.base.error
    return Report(tuple(findings), error, evidence.measure, summary, complete, rebuild)


def _dtype(settings: Settings) -> str:
    return str(settings.model.get("dtype", "float32"))


def _fills_in(settings: Settings, X: Any) -> bool:
    """Whether the training takes NaN among the inputs as missing values."""
    planned = settings.prepares or as_table(X) is not None
    return planned and settings.train.on_nonfinite not in ("drop_rows", "impute")


def _samples(settings: Settings, given: Given, validation: Any, missing: bool) -> Samples:
    """Finite rows to train on, and to measure on."""
    aside = isinstance(validation, Real)
    if aside and len(given.y) < _FEWEST:
        raise DataError(f"{len(given.y)} rows without NaN are too few for a diagnosis.")
    given, held = given.divided(validation, settings.train.seed, settings.task == "classes")
    if held is None:
        raise SpecError("validation must be (X, y) or a share of the rows, e.g. 0.1.")
    if aside:
        return Samples(given, held)
    held = Given.of(held.X, held.y, numbers=held.names)
    return Samples(given, held.without_bad_rows(_dtype(settings), missing)[0])


def _classes(settings: Settings, samples: Samples) -> NDArray[Any] | None:
    """All labels, so that a sample that lacks some still gives the same net."""
    task = infer_task(samples.y) if settings.task == "auto" else settings.task
    if task != "classes":
        return None
    return np.concatenate([samples.y, samples.y_val])


def _nonfinite(mended: Mended, n_good: int, e: Evidence) -> Finding:
    """Rows with NaN; the training of the others is their trial."""
    trial = Trial(
        math.inf, e.base.error, e.measure, e.base.epochs,
        len(e.samples), (), tuple(e.base.curve),
    )  # fmt: skip
    names = mended.words[:20] if e.samples.given.names.columns else ()
    where = Where(rows=mended.dropped[:20], columns=mended.columns[:20], names=names)
    columns = f"columns {', '.join(mended.words[:8])}" if mended.columns else "targets"
    n = len(mended.dropped)
    return Finding(
        "nonfinite_inputs", 1.0, where,
        f"{n} of {n + n_good} rows hold NaN or infinite values ({columns}); the first is row"
        f" {mended.dropped[0]}",
        "one such row in a batch makes every weight NaN; the larger the batch, the likelier it is"
        " to hold one",
        "mend these rows or leave them out: on_nonfinite='drop_rows'",
        {"on_nonfinite": "drop_rows"}, trial=trial,
    )  # fmt: skip
