"""Losses: one row each. Their code: kernels/losses.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from nbmlp.names.function import FunctionRow, Parameter

__all__ = ["LOSSES", "PROBABLE", "Loss"]


@dataclass(frozen=True, kw_only=True)
class Loss(FunctionRow):
    """What is to be known of a loss.

    Attributes
    ----------
    canonical : str or None
        The one output that goes with it: value and delta are computed from that output's logits,
        in one formula. None where it is computed from the outputs, whatever they are.
    classes : bool
        A loss of probabilities of classes: labels can be smoothed, a guess has a known loss.
    absolute : bool
        It grows with the residual, not with its square, where that is large.
    kink : callable (parameter) -> float, or None
        Size of the residual at which its formula changes; None where it never does.
    sklearn : str or None
        What scikit-learn calls it.
    """

    canonical: str | None
    classes: bool
    absolute: bool
    kink: Callable[[float], float] | None
    sklearn: str | None


#: Upper bound of a cross-entropy: as if probabilities were clipped before their logarithm.
_MOST = Parameter("most", math.inf, closed_low=False)
_ROWS = (
    Loss(
        name="squared_error", aliases=("mse",), parameter=None, canonical=None,
        classes=False, absolute=False, kink=None, sklearn="squared_error",
    ),
    Loss(
        name="binary_cross_entropy", aliases=("bce",), parameter=_MOST, canonical="logistic",
        classes=True, absolute=False, kink=None, sklearn="log_loss",
    ),
    Loss(
        name="cross_entropy", aliases=("log_loss",), parameter=_MOST, canonical="softmax",
        classes=True, absolute=False, kink=None, sklearn="log_loss",
    ),
    Loss(
        name="absolute_error", aliases=("mae",), parameter=None, canonical=None,
        classes=False, absolute=True, kink=lambda _: 0.0, sklearn=None,
    ),
    Loss(
        name="huber", parameter=Parameter("delta", 1.0, closed_low=False), canonical=None,
        classes=False, absolute=True, kink=lambda delta: delta, sklearn=None,
    ),
    Loss(
        name="quantile", parameter=Parameter("q", 0.5, high=1.0, closed_low=False),
        canonical=None, classes=False, absolute=True, kink=lambda _: 0.0, sklearn=None,
    ),
    Loss(
        name="poisson", parameter=None, canonical="exp",
        classes=False, absolute=False, kink=None, sklearn="poisson",
    ),
)  # fmt: skip
LOSSES: dict[str, Loss] = {row.name: row for row in _ROWS}
#: Outputs that are probabilities of classes.
PROBABLE = tuple(row.canonical for row in _ROWS if row.classes and row.canonical)
