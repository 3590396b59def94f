"""Models and checkpoints: which arrays and settings lie in the archive."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import ModelFileError, NbmlpError, listing
from nbmlp.io.archive import read, write
from nbmlp.plan import make_plan
from nbmlp.schedules import PlateauState
from nbmlp.spec import FEATURES, ModelSpec, TrainSpec
from nbmlp.state import State, new_state

__all__ = ["Stored", "check_features", "load", "save"]

_Path = str | os.PathLike[str]


@dataclass
class Stored:
    """What a file holds.

    Attributes
    ----------
    spec, train : ModelSpec, TrainSpec
    state : State
        Its slots are fresh unless the file is a checkpoint.
    extra : dict
        Plain values of the model: task, labels, column plan, history.
    arrays : dict
        Further arrays, e.g. the best weights so far.
    """

    spec: ModelSpec
    train: TrainSpec
    state: State
    extra: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def save(path: _Path, stored: Stored, kind: str) -> None:
    """Write a model or a checkpoint, whole or not at all.

    Parameters
    ----------
    path : path-like
    stored : Stored
    kind : str
        ``"model"`` (weights only), or with the optimizer's vectors ``"checkpoint"`` and
        ``"replay"``.
    """
    state, train = stored.state, stored.train
    arrays: dict[str, NDArray[Any]] = {}
    for block, part, values in state.parts(state.theta if kind == "model" else state.trained):
        arrays[block.name_of(part)] = np.ascontiguousarray(values)
    if kind != "model":
        for (name, _), slot in zip(train.optimizer.slots, state.all_slots, strict=True):
            arrays[f"slot.{name}"] = state.get_flat(slot)
    if kind == "checkpoint" and state.average.size:
        arrays["average"] = state.get_flat(state.theta if state.averaged else state.average)
    arrays.update({f"extra.{name}": array for name, array in stored.arrays.items()})
    metadata = {
        "features": list(stored.spec.features),
        "model": stored.spec.to_dict(), "training": train.to_dict(), "extra": stored.extra,
        "step": state.step, "epoch": state.epoch, "plateau": asdict(state.plateau),
    }  # fmt: skip
    write(path, arrays, metadata, kind=kind)


def check_features(path: _Path, features: Any) -> None:
    """Refuse what this version could not compute; files of old ones name none."""
    unknown = [str(name)[:40] for name in features if name not in FEATURES]
    if unknown:
        raise ModelFileError(
            f"cannot read {os.fspath(path)}: its net has {listing(unknown, 5)}, which this"
            " version of nbmlp does not know; upgrade nbmlp."
        )


def load(path: _Path, kind: str) -> Stored:
    """Read what :func:`save` wrote.

    Raises
    ------
    ModelFileError
        Missing, damaged, newer or of another kind: one sentence says which.
    """
    arrays, metadata = read(path, kind=kind)
    check_features(path, metadata.get("features", ()))
    try:
        spec = ModelSpec.from_dict(metadata["model"])
        train = TrainSpec.from_dict(metadata["training"])
        state = new_state(make_plan(spec, 1), train.optimizer)
        for block, part, values in state.parts():
            values[:] = arrays[block.name_of(part)]
        if kind != "model":
            for (name, _), slot in zip(train.optimizer.slots, state.slots, strict=True):
                state.set_flat(arrays[f"slot.{name}"], slot)
        if kind == "checkpoint" and "average" in arrays:
            state.begin_updates(averaged=True)
            state.set_flat(arrays["average"], state.average)
            state.end_updates()
        state.step, state.epoch = int(metadata["step"]), int(metadata["epoch"])
        state.plateau = PlateauState(**metadata["plateau"])
        extra = {n[6:]: a for n, a in arrays.items() if n.startswith("extra.")}
        return Stored(spec, train, state, dict(metadata["extra"]), extra)
    except (KeyError, TypeError, ValueError, NbmlpError) as error:
        raise ModelFileError(
            f"{os.fspath(path)} is not a model that fits together: {error}"
        ) from error
