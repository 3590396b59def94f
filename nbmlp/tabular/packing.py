"""Ensembles <-> named arrays and plain values; bounds are checked on the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data import ColumnPlan
from nbmlp.optimizers import SGD
from nbmlp.plan import make_plan
from nbmlp.spec import ModelSpec
from nbmlp.state import State, new_state
from nbmlp.tabular.targets import Targets
from nbmlp.train.history import History

__all__ = ["Contents", "Kept", "bare_state", "packed", "unpacked"]

#: Nets and column plans that a file may have.
_MOST = 10_000


@dataclass(eq=False)
class Kept:
    """A net of the ensemble.

    Attributes
    ----------
    plan : int
        Which of the column plans prepares its inputs.
    weight : float
        Its share of the average.
    spec : ModelSpec
    state : State
        Parameters alone.
    settings, columns : dict
        From which it was trained; what :meth:`nbmlp.ColumnPlan.fit` was asked for, None in files
        of older versions.
    """

    plan: int
    weight: float
    spec: ModelSpec
    state: State
    settings: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] | None = None


@dataclass(eq=False)
class Contents:
    """What a model is, and a file holds.

    Attributes
    ----------
    targets : Targets
    plans : tuple of ColumnPlan
    kept : list of Kept
    notes : dict
        Plain values that travel with the model's file.
    calibration : ndarray
        Of intervals; see :func:`nbmlp.tabular.intervals.calibrate`.
    history : History
        Epochs of all nets that were trained; none in files of older versions.
    """

    targets: Targets
    plans: tuple[ColumnPlan, ...]
    kept: list[Kept]
    notes: dict[str, Any]
    calibration: NDArray[np.float64]
    history: History = field(default_factory=History)


def bare_state(spec: ModelSpec) -> State:
    """Parameters without an optimizer's vectors."""
    return new_state(make_plan(spec, 1), SGD())


def _named(state: State) -> dict[str, NDArray[Any]]:
    """Views of all parameters by the names that files of one net give them."""
    return {block.name_of(part): view for block, part, view in state.parts()}


def packed(model: Contents) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """All of a model as named arrays and plain values."""
    arrays: dict[str, NDArray[Any]] = {
        f"member{i}.{name}": np.ascontiguousarray(values)
        for i, kept in enumerate(model.kept)
        for name, values in _named(kept.state).items()
    }
    arrays["calibration"] = model.calibration
    metadata = {
        "features": sorted({name for kept in model.kept for name in kept.spec.features}),
        "targets": model.targets.to_dict(),
        "plans": [plan.to_dict() for plan in model.plans],
        "members": [
            {
                "plan": k.plan, "weight": k.weight, "model": k.spec.to_dict(),
                "settings": k.settings, "columns": k.columns,
            }
            for k in model.kept
        ],
        "notes": model.notes, "history": model.history.to_dict(),
    }  # fmt: skip
    return arrays, metadata


def unpacked(arrays: dict[str, NDArray[Any]], metadata: dict[str, Any]) -> Contents:
    """The inverse of :func:`packed`; whatever does not fit together raises an error."""
    targets = Targets.from_dict(metadata["targets"])
    members, plans = metadata["members"], metadata["plans"]
    if not (0 < len(members) <= _MOST and 0 < len(plans) <= _MOST):
        raise ValueError(f"it has {len(members)} nets and {len(plans)} column plans")
    read_plans = tuple(ColumnPlan.from_dict(plan) for plan in plans)
    if len({plan.columns for plan in read_plans}) > 1:
        raise ValueError("its column plans are of different columns")
    kept = [_kept(i, values, arrays, read_plans, targets) for i, values in enumerate(members)]
    if not math.isclose(sum(k.weight for k in kept), 1.0, rel_tol=1e-6):
        raise ValueError("the weights of its nets do not sum to 1")
    calibration = np.asarray(arrays["calibration"], np.float64)
    known = metadata.get("history")
    history = History() if known is None else History.from_dict(known)
    return Contents(targets, read_plans, kept, dict(metadata["notes"]), calibration, history)


def _kept(
    i: int, values: dict[str, Any], arrays: dict[str, NDArray[Any]], plans: tuple[ColumnPlan, ...],
    targets: Targets,
) -> Kept:  # fmt: skip
    plan, weight = int(values["plan"]), float(values["weight"])
    spec = ModelSpec.from_dict(values["model"])
    if not 0 <= plan < len(plans) or not 0 < weight <= 1:
        raise ValueError(f"net {i} has the plan {plan} and the weight {weight}")
    if (spec.n_inputs, spec.n_outputs) != (plans[plan].n_features, targets.n_outputs):
        raise ValueError(f"net {i} has other inputs or outputs than the columns and targets")
    own = sum(a.size for name, a in arrays.items() if name.startswith(f"member{i}."))
    if own < spec.n_parameters:  # before memory is asked for
        raise ValueError(f"net {i} has {spec.n_parameters} parameters, and {own} are there")
    state = bare_state(spec)
    for name, view in _named(state).items():
        array = arrays[f"member{i}.{name}"]
        if array.shape != view.shape or not np.isfinite(array).all():
            raise ValueError(f"member{i}.{name} has another shape, or values that are not finite")
        view[:] = array
    columns = values.get("columns")
    asked = None if columns is None else dict(columns)
    return Kept(plan, weight, spec, state, dict(values["settings"]), asked)
