"""What a user may set on an MLP: one flat list of names, sorted into the specs they belong to."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nbmlp.coding import choose_output
from nbmlp.data import ColumnPlan
from nbmlp.errors import SpecError, unknown_name
from nbmlp.spec import (
    MODEL_SETTINGS,
    SETTINGS,
    TASK_SETTINGS,
    TRAIN_SETTINGS,
    ClassWeight,
    ModelSpec,
    TaskSpec,
    TrainSpec,
    check_layers,
    several,
)

__all__ = ["Settings", "signature"]

_AUTO = {"output": "auto", "loss": "auto"}


@dataclass(frozen=True)
class Settings:
    """Settings before the data are known.

    Attributes
    ----------
    model : dict
        Of the net; output and loss may be ``"auto"``.
    train : TrainSpec
    target : TaskSpec
    given : dict
        All that was named, as it was given.
    """

    model: dict[str, Any]
    train: TrainSpec
    target: TaskSpec = field(default_factory=TaskSpec)
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: dict[str, Any]) -> Settings:
        """Sort and check keyword arguments.

        Raises
        ------
        SpecError
            An unknown name (the nearest one is suggested) or a wrong value.
        """
        for name in given:
            if name not in SETTINGS:
                raise unknown_name("setting", name, SETTINGS)
        given = {name: _lasting(value) for name, value in given.items()}
        target = TaskSpec(**_part(given, TASK_SETTINGS))
        train = TrainSpec(**_part(given, TRAIN_SETTINGS))
        if given.get("learning_rate") is not None:
            rate = given["learning_rate"]
            train = train.with_(optimizer=train.optimizer.with_learning_rate(rate))
        hidden = given.get("hidden", SETTINGS["hidden"].default)
        layers = {"hidden": tuple(hidden) if several(hidden) else hidden}
        settings = cls(_AUTO | _part(given, MODEL_SETTINGS) | layers, train, target, given)
        # Names and ranges are wrong now or never; more goes with classes than with numbers.
        task = "regression" if settings.task == "regression" else "classes"
        n_layers = len(settings.specify(settings.least_inputs, task, 2, 1).hidden) + 1
        check_layers("rate_factors", train.rate_factors, n_layers)
        check_layers("decay_factors", train.decay_factors, n_layers)
        if train.dropout_schedule and settings.model.get("dropout_scale_at") == "predict":
            raise SpecError(
                "dropout_schedule needs dropout_scale_at='training': predictions know one share."
            )
        return settings

    @classmethod
    def of(
        cls, net: ModelSpec, train: TrainSpec, target: TaskSpec, prepared: bool = False
    ) -> Settings:
        """Those of a net that is there; what all its layers have in common is said once.

        Of `prepared` columns it is their plan that says which are embedded.
        """
        names = [n for n in MODEL_SETTINGS if not (prepared and n in ("n_numbers", "code_counts"))]
        given = {n: _once(n, getattr(net, n)) for n in names}
        given |= {n: getattr(train, n) for n in TRAIN_SETTINGS}
        given |= {n: getattr(target, n) for n in TASK_SETTINGS}
        return cls.parse(given)

    def with_(self, **changes: Any) -> Settings:
        """A copy with some settings changed, checked as a whole.

        Another optimizer comes with its own learning rate, unless one is named beside it.

        Raises
        ------
        SpecError
            An unknown setting, a wrong value, or one that contradicts the others.
        """
        given = dict(self.given)
        if "optimizer" in changes:
            given.pop("learning_rate", None)
        return Settings.parse(given | changes)

    def all(self) -> dict[str, Any]:
        """Every setting by name, as it was given, else its default."""
        return {name: self.given.get(name, s.default) for name, s in SETTINGS.items()}

    @property
    def task(self) -> str:
        """``"classes"``, ``"regression"`` or ``"auto"``."""
        return self.target.task

    @property
    def prepares(self) -> bool:
        """Whether columns of arrays are prepared, too."""
        return self.target.prepares

    @property
    def class_weight(self) -> ClassWeight | None:
        """What the rows of each class weigh in training."""
        return self.target.class_weight

    @property
    def least_inputs(self) -> int:
        """Inputs that there are at least."""
        known = self.model.get("n_numbers")
        numbers = known if isinstance(known, int) and known > 1 else 1
        return len(self._code_counts) + numbers

    @property
    def _code_counts(self) -> tuple[Any, ...]:
        given = self.model.get("code_counts", ())
        return tuple(given) if several(given) else (given,)

    @property
    def dtype(self) -> str:
        """Element type of the net."""
        return str(self.model.get("dtype", "float32"))

    def output_and_loss(self, task: str, n_classes: int) -> tuple[str, str]:
        """What ``"auto"`` means for a task."""
        return choose_output(task, n_classes, self.model["output"], self.model["loss"])

    def specify(
        self, n_inputs: int, task: str, n_classes: int, n_outputs: int,
        columns: ColumnPlan | None = None,
    ) -> ModelSpec:  # fmt: skip
        """The net for data of that kind.

        Raises
        ------
        SpecError
            Settings that contradict each other, or what the plan of `columns` says of embeddings.
        """
        output, loss = self.output_and_loss(task, n_classes)
        settings = {**self.model, "output": output, "loss": loss}
        if columns is not None:
            settings |= self._embedded(columns)
        return ModelSpec(n_inputs=n_inputs, n_outputs=n_outputs, **settings)

    def _embedded(self, columns: ColumnPlan) -> dict[str, Any]:
        """Settings of embeddings: which inputs are codes, and how many numbers if nobody said.

        Raises
        ------
        SpecError
            Codes were named of columns that the plan prepares.
        """
        if self._code_counts not in ((), columns.code_counts):
            raise SpecError(
                "code_counts is for inputs that are taken as they are: which columns of a table are"
                " categories is said by its own columns, and standardise=False leaves an array"
                " alone."
            )
        known = self.model.get("n_numbers")
        numbers = columns.n_numbers if known is None else known
        return {"code_counts": columns.code_counts, "n_numbers": numbers}


def _lasting(value: Any) -> Any:
    """What can be read more than once: an iterator becomes a tuple."""
    once = isinstance(value, Iterable) and not hasattr(value, "__len__")
    return tuple(value) if once else value


def _once(name: str, value: Any) -> Any:
    """A setting of layers as it holds for any number of them, if it is the same in all."""
    if name in ("hidden", "code_counts") or not isinstance(value, tuple) or len(set(value)) > 1:
        return value
    return value[0] if value else SETTINGS[name].default


def _part(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def signature() -> inspect.Signature:
    """What help() shows: every setting with its default, from the specs themselves."""
    parameter = inspect.Parameter
    first = {"hidden": parameter.POSITIONAL_OR_KEYWORD}
    shown = [
        parameter(name, first.get(name, parameter.KEYWORD_ONLY), default=s.default)
        for name, s in SETTINGS.items()
    ]
    return inspect.Signature(shown)
