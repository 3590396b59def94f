"""The names users write and what each one means: activations, losses, initialisers, and a grammar.

One grammar serves the API, the TOML file and the command line: ``"huber"``, ``"huber(1.5)"``,
``"uniform(-1, 1)"``, ``"adam(beta2=0.99)"``. The tables are append-only: model files hold names.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import NamedTuple

from nbmlp.errors import SpecError, unknown_name

__all__ = [
    "ACTIVATIONS",
    "INITIALISERS",
    "LOSSES",
    "OUTPUTS",
    "ActivationTraits",
    "Call",
    "LossTraits",
    "parse_call",
    "resolve",
]


class Call(NamedTuple):
    """A parsed ``name(args, key=value)``."""

    name: str
    args: tuple[float, ...]
    kwargs: dict[str, float | bool | str | None]


def parse_call(text: str, kind: str) -> Call:
    """Parse ``name`` or ``name(1, key=2)``; numbers, booleans, strings and None only.

    Parameters
    ----------
    text : str
        What the user wrote.
    kind : str
        What it stands for, named in the error.

    Raises
    ------
    SpecError
        When it is neither a name nor a name with literal arguments.
    """
    try:
        node = ast.parse(str(text).strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return Call(node.id, (), {})
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            args = tuple(ast.literal_eval(a) for a in node.args)
            kwargs = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
            return Call(node.func.id, args, kwargs)
    except (SyntaxError, ValueError):
        pass
    raise SpecError(f'{kind} {text!r} cannot be read: write a name, or "name(1.5)".')


@dataclass(frozen=True)
class ActivationTraits:
    """What plan and kernels need to know of an activation.

    Attributes
    ----------
    needs_z : bool
        The derivative is computed from the pre-activation z, not from the output a.
    default : float
        The parameter (slope or alpha) when none is given; 0.0 where it has none.
    has_parameter : bool
        ``name(value)`` may be written.
    """

    needs_z: bool = False
    default: float = 0.0
    has_parameter: bool = False


ACTIVATIONS: dict[str, ActivationTraits] = {
    "identity": ActivationTraits(),
    "logistic": ActivationTraits(),
    "tanh": ActivationTraits(),
    "relu": ActivationTraits(),
    "leaky_relu": ActivationTraits(default=0.01, has_parameter=True),
    "elu": ActivationTraits(default=1.0, has_parameter=True),
    "selu": ActivationTraits(),
    "gelu": ActivationTraits(needs_z=True),
    "silu": ActivationTraits(needs_z=True),
    "mish": ActivationTraits(needs_z=True),
    "softplus": ActivationTraits(),
    "exp": ActivationTraits(),
}
#: What the last layer may be: any activation, or softmax over its units.
OUTPUTS: tuple[str, ...] = (*ACTIVATIONS, "softmax")


@dataclass(frozen=True)
class LossTraits:
    """What plan and kernels need to know of a loss.

    Attributes
    ----------
    canonical : str or None
        The output with which value and delta are computed from the logits in one formula.
    only_canonical : bool
        No other output makes sense with it.
    default, low, high : float
        Default and open range of its parameter.
    parameter : str or None
        The parameter's name.
    """

    canonical: str | None = None
    only_canonical: bool = False
    parameter: str | None = None
    default: float = 0.0
    low: float = 0.0
    high: float = float("inf")


LOSSES: dict[str, LossTraits] = {
    "squared_error": LossTraits(),
    "binary_cross_entropy": LossTraits(canonical="logistic", only_canonical=True),
    "cross_entropy": LossTraits(canonical="softmax", only_canonical=True),
    "absolute_error": LossTraits(),
    "huber": LossTraits(parameter="delta", default=1.0),
    "quantile": LossTraits(parameter="q", default=0.5, high=1.0),
    "poisson": LossTraits(canonical="exp", only_canonical=True),
}

#: Initialisers and how many numbers each takes: (fewest, most).
INITIALISERS: dict[str, tuple[int, int]] = {
    "glorot_uniform": (0, 1),
    "glorot_normal": (0, 1),
    "he_uniform": (0, 1),
    "he_normal": (0, 1),
    "lecun_uniform": (0, 1),
    "lecun_normal": (0, 1),
    "uniform": (2, 2),
    "normal": (1, 1),
    "orthogonal": (0, 1),
    "zeros": (0, 0),
}

_ALIASES = {
    "sigmoid": "logistic",
    "linear": "identity",
    "swish": "silu",
    "mse": "squared_error",
    "mae": "absolute_error",
    "bce": "binary_cross_entropy",
    "log_loss": "cross_entropy",
}


def resolve(name: str, valid: tuple[str, ...] | dict[str, object], kind: str) -> str:
    """Turn a name or alias into the name of the table, or raise with the nearest one.

    Raises
    ------
    SpecError
        When `name` is in neither.
    """
    name = _ALIASES.get(name, name)
    if name not in valid:
        raise unknown_name(kind, name, valid)
    return name
