"""Settings of a training -> fields of its job: rule, penalties, limits, dropout."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.kernels.optim import rule_settings
from nbmlp.optimizers import SGD, Optimizer
from nbmlp.spec import TrainSpec
from nbmlp.workspace import Workspace

__all__ = ["bind_batches", "bind_dropout", "bind_training"]


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
    state, touched = work.state, _touches_gradient(train)
    work.set(
        batch=batch, mean=train.reduction == "mean", l1=train.l1, l2=train.l2,
        decay=train.decay, clip_value=train.clip_value or 0.0,
        clip_norm=train.clip_norm or 0.0, norm_bound=train.max_norm or 0.0,
        want_norms=train.gradient_norms, seed=train.seed,
        slot_stride=state.plan.n_parameters * state.plan.element.compute_bytes,
        order=order.ctypes.data if train.shuffle else 0,
        block_norms=work.block_norms.ctypes.data,
    )  # fmt: skip
    for k, block in enumerate(state.plan.blocks):
        slots = state.slots.ctypes.data + block.offset * state.plan.element.compute_bytes
        work.set_parameters(k, slots=slots)
    _bind_rule(work, train.optimizer)
    plain = isinstance(train.optimizer, SGD) and not train.optimizer.momentum
    work.set(plain=plain and not touched)
    for piece, wanted in _pieces(train, len(work.parameters)).items():
        if wanted:
            work.bind(**{piece: piece})


def _touches_gradient(train: TrainSpec) -> bool:
    """Whether anything comes between a gradient and the weights, or looks at it."""
    penalties = train.l1 or train.l2 or train.decay
    return bool(penalties or train.clip_value or train.clip_norm or train.gradient_norms)


def _pieces(train: TrainSpec, layers: int) -> dict[str, Any]:
    """Pieces by the job's field, and whether they are needed."""
    return {
        "penalise": train.l1 > 0 or train.l2 > 0, "clip_values": train.clip_value,
        "scale": train.clip_norm, "descend": train.optimizer.by_block,
        "sum_squares": train.clip_norm or train.gradient_norms or train.optimizer.by_block,
        "max_norm": train.max_norm, "transpose": layers > 1,
    }  # fmt: skip


def _bind_rule(work: Workspace, optimizer: Optimizer) -> None:
    if optimizer.rule is None:  # gradients only: scipy updates
        return
    settings = asdict(optimizer)
    work.settings = np.array([settings[key] for key in rule_settings(optimizer.rule)], np.float64)
    work.bind(rule=f"{optimizer.rule}.rule")
    work.set(
        settings=work.settings.ctypes.data,
        beta1=settings.get("beta1", 0.0), beta2=settings.get("beta2", 0.0),
        lengths=work.lengths.ctypes.data,
    )  # fmt: skip


def bind_batches(
    work: Workspace, batches: NDArray[np.float64], squares: NDArray[np.float64]
) -> None:
    """Divide l2 by the weight of each batch and keep its sums, as scikit-learn does.

    Parameters
    ----------
    work : Workspace
    batches : ndarray (updates, 3)
        Filled by each epoch.
    squares : ndarray (blocks of W,), or of no length
        Scratch; without it the sums of squares stay 0.
    """
    work.set(l2_shared=1, batches=batches.ctypes.data)
    if len(squares):
        work.set(squares=squares.ctypes.data)
        work.bind(sum_squares="sum_squares")


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
        work.set_layer(i, keep=keep, factor=factor)
