"""A net of an ensemble by itself, for the diagnosis of one net: its settings, its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nbmlp.checks import whole
from nbmlp.data import Table
from nbmlp.data.columns.rules import Rules
from nbmlp.data.given import Given
from nbmlp.errors import SpecError
from nbmlp.mlp import MLP
from nbmlp.tabular.fitting import seeds_of
from nbmlp.tabular.options import Options
from nbmlp.tabular.recipe import draw
from nbmlp.tabular.rows import inputs_of

if TYPE_CHECKING:  # else loaded by those who ask: most trainings need no diagnosis
    from nbmlp.diagnostics.why import Report

__all__ = ["alone", "why"]

#: What :meth:`nbmlp.ColumnPlan.fit` calls settings of MLP.
_OF_COLUMNS = {"numbers": "scaling", "bins": "bins", "embed": "category_embedding"}


def alone(
    X: Any, task: str, options: Options, member: int = 0,
    drawn: Mapping[str, Any] | None = None, apart: bool = False,
) -> MLP:  # fmt: skip
    """A net with the settings of one of an ensemble, which prepares columns as that one's.

    Parameters
    ----------
    X : Table or ndarray
        Rows to train on.
    task : str
        ``"classes"`` or ``"regression"``.
    options : Options
        Of the ensemble.
    member : int
        Which net, from 0.
    drawn : mapping, optional
        Its settings, where they are known; else those that rows as many as these lead to.
    apart : bool
        Rows to validate on were given apart.

    Raises
    ------
    SpecError
        There is no such net, or several labels a row.
    """
    preset = options.recipe(len(X), task, apart)
    if whole("member", member, low=0) >= preset.n_members and drawn is None:
        raise SpecError(f"member={member}: there are {preset.n_members} nets, counted from 0.")
    if task == "labels":
        raise SpecError("there is no diagnosis of several labels a row: ask for one at a time.")
    own = dict(drawn or draw(options.preset, options.seed, member, task, len(X)))
    plan = preset.plans[int(own.pop("plan", 0))]
    own |= {_OF_COLUMNS[name]: value for name, value in plan.items()}
    own |= {
        "task": task, "column_kinds": _kinds(X, options) or None,
        "class_weight": options.class_weight, "epochs": preset.epochs, "threads": options.jobs,
        "seed": int(seeds_of(options.seed, member).integers(1 << 31)),
    }  # fmt: skip
    return MLP(**own)


def _kinds(X: Any, options: Options) -> dict[str, str]:
    """What was said of columns, by their names."""
    names = X.names if isinstance(X, Table) else [f"x{j}" for j in range(X.shape[1])]
    said = options.categorical_features
    rules = Rules(
        categorical_features="auto" if said is None else said, overrides=options.column_kinds or {}
    )
    return rules.wanted(names)


def why(
    X: Any, y: Any, task: str, options: Options, *, member: int = 0,
    drawn: Mapping[str, Any] | None = None, validation: Any = None, **given: Any,
) -> Report:  # fmt: skip
    """Find out why one net of an ensemble fails, stalls or disappoints; nothing is changed.

    Parameters
    ----------
    X, y
        Rows to train on.
    task, options, member, drawn
        See :func:`alone`.
    validation : (X, y), Given or float, optional
        Rows to measure on, or their share of those given; the ensemble's share unless named.
    **given
        See :meth:`nbmlp.MLP.why`.
    """
    X, y = _columns_of(inputs_of(X)), np.asarray(y)
    if isinstance(validation, tuple):
        validation = (_columns_of(inputs_of(validation[0])), np.asarray(validation[1]))
    apart = isinstance(validation, tuple | Given)
    if validation is None:
        validation = options.recipe(len(X), task).validation_fraction
    net = alone(X, task, options, member, drawn, apart)
    return net.why(X, y, validation=validation, **given)


def _columns_of(X: Any) -> Any:
    """A matrix that holds more than numbers as columns, each of a kind of its own."""
    if isinstance(X, Table) or X.dtype.kind in "biuf":
        return X
    return Table({f"x{j}": X[:, j] for j in range(X.shape[1])})
