"""What a user may set on an MLP: one flat list of names, sorted into the specs they belong to."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from nbmlp.checks import flag
from nbmlp.coding import TASKS, choose_output
from nbmlp.errors import unknown_name
from nbmlp.spec import ModelSpec, TrainSpec

__all__ = ["MODEL_SETTINGS", "TRAIN_SETTINGS", "Settings", "signature"]

_FROM_DATA = ("n_inputs", "n_outputs")
#: Settings of the net: the fields of ModelSpec that data do not decide.
MODEL_SETTINGS = tuple(f.name for f in fields(ModelSpec) if f.name not in _FROM_DATA)
#: Settings of training: the fields of TrainSpec.
TRAIN_SETTINGS = tuple(f.name for f in fields(TrainSpec))
_OWN = {"task": "auto", "standardise": False, "learning_rate": None}
_AUTO = {"output": "auto", "loss": "auto"}


@dataclass
class Settings:
    """Settings before the data are known.

    Attributes
    ----------
    model : dict
        Of the net; output and loss may be ``"auto"``.
    train : TrainSpec
    task : str
    standardise : bool
    """

    model: dict[str, Any]
    train: TrainSpec
    task: str = "auto"
    standardise: bool = False

    @classmethod
    def parse(cls, hidden: int | Iterable[int], given: dict[str, Any]) -> Settings:
        """Sort and check keyword arguments.

        Raises
        ------
        SpecError
            An unknown name (the nearest one is suggested) or a wrong value.
        """
        valid = {*MODEL_SETTINGS, *TRAIN_SETTINGS, *_OWN}
        for name in given:
            if name not in valid:
                raise unknown_name("setting", name, valid)
        own: dict[str, Any] = _OWN | {k: v for k, v in given.items() if k in _OWN}
        if own["task"] not in TASKS:
            raise unknown_name("task", own["task"], TASKS)
        train = TrainSpec(**{k: v for k, v in given.items() if k in TRAIN_SETTINGS})
        if own["learning_rate"] is not None:
            train = train.with_(optimizer=train.optimizer.with_learning_rate(own["learning_rate"]))
        several = isinstance(hidden, Iterable) and not isinstance(hidden, str)
        model = _AUTO | {"hidden": tuple(hidden) if several else hidden}  # type: ignore[arg-type]
        model |= {k: v for k, v in given.items() if k in MODEL_SETTINGS}
        settings = cls(model, train, str(own["task"]), flag("standardise", own["standardise"]))
        # Names and ranges are wrong now or never; more goes with classes than with numbers.
        settings.specify(1, "regression" if settings.task == "regression" else "classes", 2, 1)
        return settings

    def with_(self, **changes: Any) -> Settings:
        """A copy with some settings changed, checked as a whole.

        Raises
        ------
        SpecError
            An unknown setting, a wrong value, or one that contradicts the others.
        """
        given = {**self.model, **{n: getattr(self.train, n) for n in TRAIN_SETTINGS}}
        given |= {"task": self.task, "standardise": self.standardise, **changes}
        return Settings.parse(given.pop("hidden"), given)

    @property
    def dtype(self) -> str:
        """Element type of the net."""
        return str(self.model.get("dtype", "float32"))

    def output_and_loss(self, task: str, n_classes: int) -> tuple[str, str]:
        """What ``"auto"`` means for a task."""
        return choose_output(task, n_classes, self.model["output"], self.model["loss"])

    def specify(self, n_inputs: int, task: str, n_classes: int, n_outputs: int) -> ModelSpec:
        """The net for data of that kind."""
        output, loss = self.output_and_loss(task, n_classes)
        settings = {**self.model, "output": output, "loss": loss}
        return ModelSpec(n_inputs=n_inputs, n_outputs=n_outputs, **settings)


def signature() -> inspect.Signature:
    """What help() shows: every setting with its default, from the specs themselves."""
    parameter = inspect.Parameter
    train = TrainSpec()
    defaults = {f.name: f.default for f in fields(ModelSpec) if f.name in MODEL_SETTINGS}
    defaults = {**_OWN, **defaults, **_AUTO, **{n: getattr(train, n) for n in TRAIN_SETTINGS}}
    shown = [parameter("hidden", parameter.POSITIONAL_OR_KEYWORD, default=defaults.pop("hidden"))]
    shown += [parameter(n, parameter.KEYWORD_ONLY, default=v) for n, v in defaults.items()]
    return inspect.Signature(shown)
