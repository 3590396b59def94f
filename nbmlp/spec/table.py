"""All that may be set on an MLP, by name: what signatures, command line and server are made of."""

from __future__ import annotations

from nbmlp.spec.fields import Setting, described
from nbmlp.spec.net import ModelSpec
from nbmlp.spec.task import TaskSpec
from nbmlp.spec.training import TrainSpec

__all__ = ["MODEL_SETTINGS", "SETTINGS", "TASK_SETTINGS", "TRAIN_SETTINGS"]

_FROM_DATA = ("n_inputs", "n_outputs")
_TASK, _TRAIN = described(TaskSpec), described(TrainSpec)
_MODEL = {name: s for name, s in described(ModelSpec).items() if name not in _FROM_DATA}
_RATE = Setting("learning_rate", "float | None", None, "Instead of the optimizer's own.")
#: What MLP finds out from the data unless it is named.
_AUTO = {name: _MODEL[name]._replace(default="auto") for name in ("output", "loss")}

#: Settings of the net: the fields of ModelSpec that data do not decide.
MODEL_SETTINGS = tuple(_MODEL)
#: Settings of training: the fields of TrainSpec.
TRAIN_SETTINGS = tuple(_TRAIN)
#: Fields of TaskSpec.
TASK_SETTINGS = tuple(_TASK)
#: All of them in the order of signatures; ``learning_rate`` is a part of the optimizer.
SETTINGS: dict[str, Setting] = {
    "hidden": _MODEL["hidden"], **_TASK, "learning_rate": _RATE, **(_MODEL | _AUTO), **_TRAIN,
}  # fmt: skip
