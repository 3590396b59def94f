"""Settings of a training -> what its job is told: batches, penalties, bounds, rule, dropout."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from nbmlp.kernels.optim import rule_settings
from nbmlp.optimizers import SGD
from nbmlp.plan import ParameterBlock
from nbmlp.spec import TrainSpec, factor_of
from nbmlp.workspace import Workspace

__all__ = ["bind_dropout", "bind_training"]


def bind_training(
    work: Workspace, train: TrainSpec, batch: int, order: NDArray[np.int64] | None
) -> None:
    """Set all that is the same for every update, and the pieces that it takes.

    Parameters
    ----------
    work : Workspace
    train : TrainSpec
    batch : int
        Rows of an update.
    order : ndarray (rows,) or None
        Which row comes when, read in every epoch; None: as they lie.
    """
    job = work.job
    job.train_on(batch, order, train.seed, train.reduction == "mean")
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
    _bind_factors(work, train)
    plain = isinstance(optimizer, SGD) and not optimizer.momentum
    plain &= work.strategy.shards.count == 1
    if plain and not _touches_gradient(train) and not work.plan.scaled_copy:
        job.descend_plainly()


def _touches_gradient(train: TrainSpec) -> bool:
    """Whether anything comes between a gradient and the weights, or looks at it."""
    penalties = train.l1 or train.l2 or train.decay or train.rate_factors
    return bool(penalties or train.clip_value or train.clip_norm or train.gradient_norms)


def _bind_factors(work: Workspace, train: TrainSpec) -> None:
    """Let parts that are named have a learning rate and a decay of their own."""
    if train.rate_factors or train.decay_factors:
        for k, block in enumerate(work.plan.blocks):
            work.pace_rows(k, np.array(_runs(block, train, _inputs(work, block))))


def _inputs(work: Workspace, block: ParameterBlock) -> int:
    return work.plan.layers[block.layer].n_in if block.layer >= 0 else 1


def _runs(block: ParameterBlock, train: TrainSpec, inputs: int) -> list[list[float]]:
    """Parts of a block that follow each other and have the same factors: see `Workspace`."""
    found: list[list[float]] = []
    first = 0
    for part in block.parts:
        known = block.layer, part.name, inputs
        rate, decay = factor_of(train.rate_factors, *known), 0.0
        if part.bounded:
            decay = factor_of(train.decay_factors, *known)
        if found and first != block.weights and found[-1][2:] == [rate, decay]:
            found[-1][1] += part.rows
        else:
            found.append([first, first + part.rows, rate, decay])
        first += part.rows
    return found


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
