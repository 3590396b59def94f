"""The names users write and what each one means: activations, losses, initialisers, and a grammar.

One grammar serves the API, the TOML file and the command line: ``"huber"``, ``"huber(1.5)"``,
``"uniform(-1, 1)"``, ``"adam(beta2=0.99)"``. The tables are append-only: model files hold names.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

from nbmlp.errors import SpecError, unknown_name

__all__ = [
    "ACTIVATIONS",
    "INITIALISERS",
    "LOSSES",
    "OUTPUTS",
    "ActivationTraits",
    "Call",
    "LossTraits",
    "build",
    "names",
    "parse_call",
    "resolve",
]


Built = TypeVar("Built")


class Call(NamedTuple):
    """A parsed ``name(args, key=value)``; what the arguments must be is for the name to say."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


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
            args = tuple(_literal(a) for a in node.args)
            kwargs = {str(k.arg): _literal(k.value) for k in node.keywords}
            if len(kwargs) == len(node.keywords):  # none is given twice
                return Call(node.func.id, args, kwargs)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass  # all that ast raises on text that is no call of a name with literals
    raise SpecError(f'{kind} {text!r} cannot be read: write a name, or "name(1.5)".')


def _literal(node: ast.expr) -> float | bool | str | None:
    value: object = ast.literal_eval(node)
    if value is None or isinstance(value, int | float | str):
        return value
    raise ValueError


def build(
    value: object, kind: str, table: Mapping[str, type[Built]], *, positional: int | None = None
) -> Built:
    """Make the settings object that a name, ``"name(1, key=2)"`` or a dict with ``name`` means.

    Parameters
    ----------
    value : str or dict
        What the user wrote.
    kind : str
        What it stands for, named in the errors.
    table : mapping of str to dataclass
        The classes by name.
    positional : int, optional
        Settings that may be written without their name; all when not given.

    Raises
    ------
    SpecError
        Unknown name, unknown setting (nearest valid one named) or a value out of range.
    """
    if isinstance(value, dict):
        call = Call(value.get("name", ""), (), {k: v for k, v in value.items() if k != "name"})
    else:
        call = parse_call(str(value), kind)
    name, args, settings = call
    if not isinstance(name, str) or name not in table:
        raise unknown_name(kind, name, table)
    names = [f.name for f in fields(table[name])]  # type: ignore[arg-type]
    first = names[:positional]
    if len(args) > len(first) or (settings and not names):
        takes = ", ".join(first) or "no settings"
        rest = ", the others as name=value" if len(first) < len(names) else ""
        given = len(args) + len(settings)
        raise SpecError(f"{kind} {name} takes {takes}{rest}: {given} given.")
    for key in settings:
        if key not in names:
            raise unknown_name(f"setting of {name}", key, names)
        if key in first[: len(args)]:
            raise SpecError(f"{kind} {name}: {key} is given twice.")
    return table[name](**dict(zip(first, args, strict=False)), **settings)


@dataclass(frozen=True)
class ActivationTraits:
    """What plan and kernels need to know of an activation.

    Attributes
    ----------
    needs_z : bool
        The derivative is computed from the pre-activation z, not from the output a.
    parameter : str or None
        The parameter's name; it must be 0 or more, so that the output keeps the sign of z.
    default : float
        The parameter when none is given; 0.0 where there is none.
    """

    needs_z: bool = False
    parameter: str | None = None
    default: float = 0.0


ACTIVATIONS: dict[str, ActivationTraits] = {
    "identity": ActivationTraits(),
    "logistic": ActivationTraits(),
    "tanh": ActivationTraits(),
    "relu": ActivationTraits(),
    "leaky_relu": ActivationTraits(parameter="slope", default=0.01),
    "elu": ActivationTraits(parameter="alpha", default=1.0),
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
    "binary_cross_entropy": LossTraits(
        canonical="logistic", only_canonical=True, parameter="most", default=float("inf")
    ),
    "cross_entropy": LossTraits(
        canonical="softmax", only_canonical=True, parameter="most", default=float("inf")
    ),
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


def names(valid: Iterable[str]) -> dict[str, str]:
    """What may be written for the names of a table, aliases included, and what it means."""
    known = {n: n for n in valid}
    return known | {alias: n for alias, n in _ALIASES.items() if n in known}


def resolve(name: str, valid: Iterable[str], kind: str) -> str:
    """Turn a name or alias into the name of the table, or raise with the nearest one.

    Raises
    ------
    SpecError
        When `name` is in neither.
    """
    known = names(valid)
    if name not in known:
        raise unknown_name(kind, name, known)
    return known[name]
