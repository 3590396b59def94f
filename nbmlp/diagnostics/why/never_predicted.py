"""Rare classes that a net never answers: it does best by the loss, and is of no use for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.report import Trial, Where
from nbmlp.diagnostics.why.suspects import Cure, Suspect
from nbmlp.errors import DataError
from nbmlp.metrics.classes import balanced_accuracy_of, unanswered
from nbmlp.net import Net

__all__ = ["never_predicted"]

_MEASURE = "mean share of rows missed of each class"


def never_predicted(e: Evidence) -> Suspect | None:
    """A rare class that occurs among the rows to measure on, and that the net answers for none."""
    labels = e.base.net.coding.labels
    if labels is None or e.base.failure is not None:
        return None
    k = len(labels)
    counts = np.bincount(labels.encode(e.samples.y), minlength=k)
    before = _confusion(e, e.base.net)
    if before is None:
        return None
    ignored = unanswered(before, counts)
    if not len(ignored) or e.settings.class_weight is not None:
        return None
    rare, more = int(ignored[0]), len(ignored) - 1
    change = {"class_weight": "balanced"}
    trial, found = _trial(e, before, change, rare)
    two = ", or tune_threshold='f1', which moves the border between the two" if k == 2 else ""
    return Suspect(
        "never_predicted", Where(),
        f"class {str(labels.classes[rare])[:80]!r} has {counts[rare]} of {len(e.samples)} rows and"
        f" is never predicted{f'; nor are {more} more rare classes' if more else ''}",
        "the loss of so few rows hardly counts, and accuracy hides it: look at balanced accuracy",
        f"class_weight='balanced' lets all classes count the same{found}{two}",
        (Cure(change),), optimises=False, trial=trial, least=0.25,
    )  # fmt: skip


def _confusion(e: Evidence, net: Net) -> NDArray[np.float64] | None:
    """Rows to measure on by true and answered class; None where answers are not finite."""
    labels = net.coding.labels
    assert labels is not None
    try:
        answered = net.coding.codes(e.trainer.outputs(net, e.samples.held.X))
    except DataError:
        return None
    k = len(labels)
    cells = labels.encode(e.samples.y_val).astype(np.intp) * k + answered
    return np.bincount(cells, minlength=k * k).reshape(k, k).astype(np.float64)


def _trial(
    e: Evidence, before: NDArray[np.float64], change: dict[str, Any], rare: int
) -> tuple[Trial | None, str]:
    """The cure, measured by what each class loses; and what has become of the rare one."""
    settings = e.settings.with_(**change)
    outcome = e.trainer.train(settings, seconds=8 * max(e.base.seconds, 0.5))
    after = None if outcome.failure else _confusion(e, outcome.net)
    if after is None:
        return None, ""
    missed = 1.0 - float(balanced_accuracy_of(before)), 1.0 - float(balanced_accuracy_of(after))
    hits, rows = int(after[rare, rare]), int(after[rare].sum())
    said = f"; with it {hits} of its {rows} validation rows are"
    return Trial(*missed, _MEASURE, outcome.epochs, len(e.samples)), said
