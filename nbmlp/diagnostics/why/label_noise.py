"""Targets that do not fit their rows, found by nets that have not seen those rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nbmlp.coding import TargetCoding
from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.report import Where
from nbmlp.diagnostics.why.suspects import Cure, Suspect

__all__ = ["label_noise"]

_FEW = 20
#: Rows are held against each other in so many parts.
_FOLDS = 3


def label_noise(e: Evidence) -> Suspect | None:
    """Rows whose target nets that were trained on the other rows contradict.

    Rows are suspected by confident disagreement (Northcutt, Jiang and Chuang 2021) or, for
    numbers, by residuals beyond the bulk. The validation rows, which no net has seen either, are
    the control: only what the training rows have in excess counts.
    """
    if not _worth_a_look(e):
        return None
    doubt, control = _held_out(e)
    excess = float((doubt > 1).mean()) - control
    if excess < 0.04:
        return None
    order = np.argsort(-doubt)
    n, rows = len(doubt), order[: int((doubt > 1).sum())]
    surest = order[: int(excess * len(doubt))]
    return Suspect(
        "label_noise", Where(rows=e.samples.numbers(rows[:_FEW])),
        f"{len(rows)} of {n} training rows ({len(rows) / n:.0%}) have a target that nets trained on"
        f" the other rows contradict; of the validation rows it is {control:.0%}",
        "the net bends to fit targets that are wrong",
        "look at these rows, mend or drop them; a robust loss (label_smoothing, huber) hurts less",
        (
            Cure(drop=tuple(surest.tolist()), words=f"without the {len(surest)} surest of them"),
            Cure(drop=tuple(rows.tolist()), words="without these rows"),
        ),
        optimises=False, floor=0.55 if excess > 0.12 else 0.1,
    )  # fmt: skip


def _worth_a_look(e: Evidence) -> bool:
    """Enough rows, a training that did not fail, and an error that is left to explain."""
    return len(e.samples) >= 60 and 0.1 * e.guess < e.base.error < 5 * e.guess


def _held_out(e: Evidence) -> tuple[NDArray[np.float64], float]:
    """How doubtful each training row is, (rows,); the share of the validation rows beyond 1."""
    n = len(e.samples)
    part = np.random.Generator(np.random.Philox(e.train.seed)).integers(0, _FOLDS, n)
    epochs = _best_epochs(e)
    outputs: NDArray[np.float64] | None = None
    held = []
    for fold in range(_FOLDS):
        out = np.flatnonzero(part == fold)
        done = e.trainer.train(
            e.settings, e.samples.take(np.flatnonzero(part != fold)), epochs,
            seconds=6 * max(e.base.seconds, 0.2),
        )  # fmt: skip
        if done.failure is not None:
            return np.zeros(n), 0.0
        found = e.trainer.outputs(done.net, e.samples.given.take(out).X)
        outputs = np.zeros((n, found.shape[1])) if outputs is None else outputs
        outputs[out] = found
        held.append(e.trainer.outputs(done.net, e.samples.held.X))
    assert outputs is not None
    coding = e.base.net.coding
    bound = _bulk(coding, e.samples.y, outputs)
    doubt = _doubt(coding, e.samples.y, outputs, bound)
    of_held = [_doubt(coding, e.samples.y_val, h, bound) > 1 for h in held]
    control = float(np.mean(of_held))
    return doubt, control


def _best_epochs(e: Evidence) -> int:
    """Where the validation error was least: later, a net knows its wrong targets by heart."""
    curve = np.array(e.base.curve)
    return max(int(np.argmin(curve)) + 1, 2) if np.isfinite(curve).all() else e.base.epochs


def _bulk(coding: TargetCoding, y: NDArray[np.generic], outputs: NDArray[np.float64]) -> float:
    """For numbers: the residual that hardly any row of the bulk exceeds."""
    if coding.labels is not None:
        return 0.0
    return 4.0 * 1.4826 * float(np.median(_residuals(coding, y, outputs)))


def _residuals(
    coding: TargetCoding, y: NDArray[np.generic], outputs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Largest |residual| of each row, in units of each target's deviation."""
    truth = y.astype(np.float64).reshape(len(y), -1)
    spread = np.where(truth.std(axis=0) > 0, truth.std(axis=0), 1.0)
    wrong = truth - coding.decode(outputs).astype(np.float64).reshape(truth.shape)
    return np.asarray(np.abs(wrong / spread).max(axis=1))


def _doubt(
    coding: TargetCoding, y: NDArray[np.generic], outputs: NDArray[np.float64], bound: float
) -> NDArray[np.float64]:
    """How unlikely each target is by the outputs: beyond 1, somebody should look at it."""
    if coding.labels is None:
        return _residuals(coding, y, outputs) / bound
    codes = coding.labels.encode(y)
    p = np.clip(np.asarray(outputs, np.float64), 0.0, 1.0)
    p = np.hstack([1 - p, p]) if p.shape[1] == 1 else p
    rows = np.arange(len(codes))
    return np.asarray(0.5 * p.max(axis=1) / np.maximum(p[rows, codes], 1e-9))
