"""A training of many nets in a file: written while it goes on, and gone on from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.errors import ModelFileError, NbmlpError, SpecError
from nbmlp.io.archive import read, write
from nbmlp.schedules import PlateauState
from nbmlp.tabular.trainee import FOUND, Rest, Trainee
from nbmlp.train.history import History
from nbmlp.train.hosts.fence import NO_FENCE, Fence

__all__ = ["bring_back", "epochs_in", "restore", "save"]

_KIND = "tabular checkpoint"
_Path = str | os.PathLike[str]
_ARRAYS = ("theta", "slots", "average", "weights", "outputs")


def save(
    path: Path, trainees: Sequence[Trainee], of: Mapping[str, Any], passed: Sequence[Any],
    fence: Fence = NO_FENCE,
) -> None:  # fmt: skip
    """Write where all nets stand, whole or not at all.

    Parameters
    ----------
    path : Path
    trainees : sequence of Trainee
        Each at rest, or with what it was at its last.
    of : mapping
        Settings and data, which going on must find again.
    passed : sequence
        Rungs that are behind them.
    fence : Fence
        Who may write.
    """
    arrays: dict[str, NDArray[Any]] = {}
    nets = []
    for i, trainee in enumerate(trainees):
        rest = trainee.rest or trainee.at_rest()
        nets.append({**rest.plain, "counts": rest.counts, "history": rest.history})
        arrays |= {f"net{i}.{name}": array for name, array in rest.arrays.items()}
    metadata = {"of": dict(of), "passed": [list(p) for p in passed], "nets": nets}

    def written(path: Path, own: Mapping[str, NDArray[Any]]) -> None:
        extra = {f"extra.{name}": array for name, array in own.items()}
        write(path, arrays | extra, metadata, kind=_KIND)

    fence.replace(path, {}, written)


def epochs_in(path: _Path) -> int:
    """Epochs of all nets in a whole checkpoint.

    Raises
    ------
    ModelFileError
        Missing, damaged, or no such checkpoint.
    """
    _, metadata = read(path, kind=_KIND)
    return sum(len(History.from_dict(net["history"])) for net in metadata["nets"])


def restore(
    path: _Path, trainees: Sequence[Trainee], of: Mapping[str, Any]
) -> list[tuple[int, ...]]:
    """Bring nets to where a file says they stood; returns the rungs behind them.

    Raises
    ------
    ModelFileError
        Missing, damaged, or no such checkpoint.
    SpecError
        Of other settings or data.
    """
    arrays, metadata = read(path, kind=_KIND)
    try:
        before, nets = dict(metadata["of"]), metadata["nets"]
        changed = sorted(name for name in of if before.get(name) != of[name])
        if changed or len(nets) != len(trainees):
            raise SpecError(
                f"{os.fspath(path)} was written with another {', '.join(changed) or 'n_members'}:"
                " resume with the settings and data of the first fit."
            )
        for i, (trainee, values) in enumerate(zip(trainees, nets, strict=True)):
            own = {n: arrays[f"net{i}.{n}"] for n in _ARRAYS if f"net{i}.{n}" in arrays}
            bring_back(trainee, Rest(0, values, values["counts"], own, values["history"]))
        return [tuple(map(int, p)) for p in metadata["passed"]]
    except SpecError:
        raise
    except (KeyError, TypeError, ValueError, NbmlpError) as error:
        raise ModelFileError(
            f"{os.fspath(path)} is not a checkpoint that fits together: {error}"
        ) from error


def bring_back(trainee: Trainee, rest: Rest) -> None:
    """Make of a net what it was at a rest.

    Raises
    ------
    KeyError, TypeError, ValueError
        The rest is no such net's.
    """
    known = {"failure": "", **rest.plain}  # older checkpoints have none
    for name in FOUND:
        setattr(trainee, name, type(getattr(trainee, name))(known[name]))
    arrays, counts = rest.arrays, rest.counts
    trainee.weights, trainee.outputs = arrays.get("weights"), arrays.get("outputs")
    trainee.history = History.from_dict(rest.history)
    trainee.state = None
    if (theta := arrays.get("theta")) is None:
        return
    state, slots = trainee.begin(), arrays["slots"]
    if theta.shape != state.theta.shape or slots.shape != state.slots.shape:
        raise ValueError("a net has another number of parameters")
    np.copyto(state.theta, theta)
    np.copyto(state.slots, slots)
    if (average := arrays.get("average")) is not None:
        state.begin_updates(averaged=True)
        np.copyto(state.average, average)
        state.end_updates()
    state.step, state.epoch = int(counts["step"]), int(counts["epoch"])
    state.plateau = PlateauState(**counts["plateau"])
