"""What is to be said of an ensemble's nets: how they ended, which failed, what none answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nbmlp.metrics.classes import unanswered
from nbmlp.tabular.criteria import Truth
from nbmlp.tabular.targets import Targets
from nbmlp.tabular.trainee import Trainee

__all__ = ["remarks"]


def remarks(
    nets: Sequence[Trainee], targets: Targets, truth: Truth, outputs: NDArray[np.float64],
    weighs_classes: bool,
) -> list[str]:  # fmt: skip
    """Sentences, the first of all nets.

    Parameters
    ----------
    nets : sequence of Trainee
    targets : Targets
        With the threshold of the ensemble.
    truth : Truth
    outputs : ndarray (rows, outputs)
        Of the ensemble on the held-out rows.
    weighs_classes : bool
        A `class_weight` was set.
    """
    rare = _never_predicted(targets, truth, outputs, weighs_classes)
    return [_ends(nets), *_failures(nets), *rare]


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


def _never_predicted(
    targets: Targets, truth: Truth, outputs: NDArray[np.float64], weighs_classes: bool
) -> list[str]:
    """The rarest class of the held-out rows that the ensemble answers for none of them."""
    coding = targets.coding
    labels = None if coding is None else coding.labels
    if coding is None or labels is None:
        return []
    k, codes = len(labels), truth.codes.ravel().astype(np.intp)
    cells = codes * k + coding.codes(outputs)
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
