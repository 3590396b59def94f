"""Settings of a training -> what its job is told: batches, penalties, bounds, rule, dropout."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from nbmlp.kernels.optim import rule_settings
from nbmlp.optimizers import SGD
from nbmlp.spec import TrainSpec
from nbmlp.workspace import Workspace

__all__ = ["bind_dropout", "bind_training"]


def bind_training(work: Workspace, train: TrainSpec, batch: int, order: NDArray[np.int64]) -> None:
    """Set all that is the same for every update, and the pieces that it takes.

    Parameters
    ----------
    work : Workspace
    train : TrainSpec
    batch : int
        Rows of an update.
    order : ndarray (rows,)
        Which row comes when; read in every epoch that is shuffled.
    """
    job = work.job
    job.train_on(batch, order if train.shuffle else None, train.seed, train.reduction == "mean")
    job.penalise(train.l1, train.l2, train.decay)
    job.clip(train.clip_value, train.clip_norm)
    if train.gradient_norms:
        job.measure_gradients()
    if train.max_norm:
        job.bound_columns(train.max_norm)
    optimizer = train.optimizer
    if optimizer.rule is not None:  # else gradients only: scipy updates
        settings = asdict(optimizer)
        own = [settings[key] for key in rule_settings(optimizer.rule)]
        beta1, beta2 = settings.get("beta1", 0.0), settings.get("beta2", 0.0)
        job.update_by(optimizer.rule, own, beta1, beta2, optimizer.by_block)
    plain = isinstance(optimizer, SGD) and not optimizer.momentum
    if plain and not _touches_gradient(train) and not work.plan.scaled_copy:
        job.descend_plainly()


def _touches_gradient(train: TrainSpec) -> bool:
    """Whether anything comes between a gradient and the weights, or looks at it."""
    penalties = train.l1 or train.l2 or train.decay
    return bool(penalties or train.clip_value or train.clip_norm or train.gradient_norms)


def bind_dropout(work: Workspace, deterministic: bool) -> None:
    """Set shares and factors of the units and inputs that are kept; all, if `deterministic`."""
    inverted = work.spec.dropout_scale_at == "training"

    def settings(drop: float) -> tuple[float, float]:
        """Share kept and factor on the kept."""
        if deterministic:
            return 1.0, 1.0 if inverted else 1.0 - drop
        return 1.0 - drop, 1.0 / (1.0 - drop) if inverted else 1.0

    for i, drop in work.dropouts:
        keep, factor = settings(drop)
        work.keep(i, keep, factor)
