"""Activations and outputs: one row each. Their code: kernels/activations.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from nbmlp.names.function import FunctionRow, Parameter

__all__ = ["ACTIVATIONS", "OUTPUTS", "Activation", "Flat"]

Reach = Callable[[float], tuple[float, float]]


class Flat(Enum):
    """Where a unit that is pushed far out stops learning."""

    NOWHERE = "nowhere"  #: or so far out, or so slowly, that units seldom stay there
    BELOW = "below"  #: no slope at all for z below 0
    BOTH = "both"  #: bounded: the slope goes as (a - low)*(high - a), outputs from low to high


@dataclass(frozen=True, kw_only=True)
class Activation(FunctionRow):
    """What is to be known of an activation.

    Attributes
    ----------
    needs_z : bool
        The derivative is computed from the pre-activation z, not from the output a.
    init : str
        First weights of the layer below it with ``init="auto"``.
    reach : callable (parameter) -> (low, high)
        What its outputs can be, or come as near to as you like: targets beyond are never met.
    kinked : bool
        Its formula changes where z, and with it the output, passes 0: no difference of losses
        may straddle that.
    flat : Flat
        Where units saturate, or die.
    """

    needs_z: bool
    init: str
    reach: Reach
    kinked: bool
    flat: Flat


def _from(low: float, high: float = math.inf) -> Reach:
    """A range that does not depend on the parameter."""
    return lambda _: (low, high)


_ANY = _from(-math.inf)
_ROWS = (
    Activation(
        name="identity", aliases=("linear",), parameter=None, needs_z=False,
        init="glorot_uniform", reach=_ANY, kinked=False, flat=Flat.NOWHERE,
    ),
    Activation(
        name="logistic", aliases=("sigmoid",), parameter=None, needs_z=False,
        init="glorot_uniform", reach=_from(0.0, 1.0), kinked=False, flat=Flat.BOTH,
    ),
    Activation(
        name="tanh", parameter=None, needs_z=False,
        init="glorot_uniform", reach=_from(-1.0, 1.0), kinked=False, flat=Flat.BOTH,
    ),
    Activation(
        name="relu", parameter=None, needs_z=False,
        init="he_uniform", reach=_from(0.0), kinked=True, flat=Flat.BELOW,
    ),
    # The parameters are 0 or more, so that the output keeps the sign of z, which tells the slope.
    Activation(
        name="leaky_relu", parameter=Parameter("slope", 0.01), needs_z=False,
        init="he_uniform", reach=lambda slope: (-math.inf if slope else 0.0, math.inf),
        kinked=True, flat=Flat.NOWHERE,
    ),
    Activation(
        name="elu", parameter=Parameter("alpha", 1.0), needs_z=False,
        init="he_uniform", reach=lambda alpha: (-alpha, math.inf), kinked=True, flat=Flat.NOWHERE,
    ),
    Activation(
        name="selu", parameter=None, needs_z=False,
        init="lecun_normal", reach=_from(-1.7581), kinked=True, flat=Flat.NOWHERE,
    ),
    Activation(
        name="gelu", parameter=None, needs_z=True,
        init="he_uniform", reach=_from(-0.16998), kinked=False, flat=Flat.NOWHERE,
    ),
    Activation(
        name="silu", aliases=("swish",), parameter=None, needs_z=True,
        init="he_uniform", reach=_from(-0.27847), kinked=False, flat=Flat.NOWHERE,
    ),
    Activation(
        name="mish", parameter=None, needs_z=True,
        init="he_uniform", reach=_from(-0.30885), kinked=False, flat=Flat.NOWHERE,
    ),
    Activation(
        name="softplus", parameter=None, needs_z=False,
        init="he_uniform", reach=_from(0.0), kinked=False, flat=Flat.NOWHERE,
    ),
    Activation(
        name="exp", parameter=None, needs_z=False,
        init="glorot_uniform", reach=_from(0.0), kinked=False, flat=Flat.NOWHERE,
    ),
)  # fmt: skip
#: What works unit by unit, and so in every layer.
ACTIVATIONS: dict[str, Activation] = {row.name: row for row in _ROWS}
#: What the last layer may be: any activation, or softmax over its units.
OUTPUTS: dict[str, Activation] = {
    **ACTIVATIONS,
    "softmax": Activation(
        name="softmax", parameter=None, needs_z=False,
        init="glorot_uniform", reach=_from(0.0, 1.0), kinked=False, flat=Flat.NOWHERE,
    ),
}  # fmt: skip
