"""What is to be said of an ensemble's nets: how they ended, which failed, what none answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nbmlp.metrics.classes import unanswered
from nbmlp.tabular.trainee import Trainee

if TYPE_CHECKING:
    from nbmlp.tabular.fitting import Trained

__all__ = ["remarks"]


def remarks(found: Trained, weighs_classes: bool) -> list[str]:
    """Sentences, the first of all nets.

    Parameters
    ----------
    found : Trained
    weighs_classes : bool
        A `class_weight` was set.
    """
    return [
        _ends(found.trainees), *_failures(found.trainees), *_never_predicted(found, weighs_classes)
    ]  # fmt: skip


def _ends(nets: Sequence[Trainee]) -> str:
    counts = Counter(map(_end, nets))
    ends = ", ".join(f"{count} {end}" for end, count in counts.most_common())
    return f"{len(nets)} net{'s' * (len(nets) > 1)}: {ends}."


def _end(net: Trainee) -> str:
    if net.failure:
        return "left the finite numbers"
    if net.lagged:
        return "lagged behind"
    if net.ended.startswith("early stopping"):
        return "ended early"
    if net.ended == "epochs done":
        return "trained to the end"
    return "cut short" if net.epoch else "not begun"


def _failures(nets: Sequence[Trainee]) -> list[str]:
    failed = [net for net in nets if net.failure]
    if not failed:
        return []
    first, more = failed[0], f", and {len(failed) - 1} more" * (len(failed) > 1)
    return [f"net {first.member} failed{more} (after {first.epoch} epochs): {first.failure}"]


def _never_predicted(found: Trained, weighs_classes: bool) -> list[str]:
    """The rarest class of the held-out rows that the ensemble answers for none of them."""
    labels = None if found.targets.coding is None else found.targets.coding.labels
    if labels is None:
        return []
    assert found.targets.coding is not None
    k, codes = len(labels), found.truth.codes.ravel().astype(np.intp)
    cells = codes * k + found.targets.coding.codes(found.outputs)
    matrix = np.bincount(cells, minlength=k * k).reshape(k, k)
    rare = unanswered(matrix, matrix.sum(1))
    if not len(rare):
        return []
    ways = [] if weighs_classes else ["class_weight='balanced' lets all classes count the same"]
    ways += ["tune_threshold='f1' moves the border between the two"] if k == 2 else []
    cure = f": {', '.join(ways)}" if ways else ""
    return [
        f"class {str(labels.classes[rare[0]])[:80]!r} has {matrix[rare[0]].sum()} of {len(codes)}"
        f" held-out rows and is never predicted{cure}."
    ]
