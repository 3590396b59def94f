"""What is to be learned from data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nbmlp.checks import flag, number
from nbmlp.errors import SpecError, unknown_name
from nbmlp.spec.values import assign

__all__ = ["TASKS", "ClassWeight", "TaskSpec"]

TASKS = ("auto", "classes", "regression")
#: ``"balanced"``, or weights by label.
ClassWeight = str | Mapping[Any, float]


@dataclass(frozen=True)
class TaskSpec:
    """What is to be learned.

    Attributes
    ----------
    task : str
        ``classes``, ``regression``, or ``auto``: text, booleans and few whole numbers are
        classes, other numbers are quantities.
    standardise : bool
        Scale each input column (and numeric targets) to mean 0 and deviation 1, as learned at
        fit. Tables are always prepared so, text columns one-hot encoded.
    class_weight : ClassWeight or None
        Weights that the rows of each class have in training beside their own: ``balanced``, in
        inverse proportion to the rows that it has, or a weight for each label; 1 where none is
        named.
    """

    task: str = "auto"
    standardise: bool = False
    class_weight: ClassWeight | None = None

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"task": TASKS}

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise unknown_name("task", self.task, TASKS)
        weight = _checked(self.class_weight)
        if weight is not None and self.task == "regression":
            raise SpecError("class_weight goes with classes, not with task='regression'.")
        assign(self, standardise=flag("standardise", self.standardise), class_weight=weight)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, whose keys are text: weights by label are pairs."""
        weight = self.class_weight
        pairs = [list(pair) for pair in weight.items()] if isinstance(weight, Mapping) else weight
        known = {} if pairs is None else {"class_weight": pairs}
        return {"task": self.task, "standardise": self.standardise, **known}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskSpec:
        """The inverse of :meth:`to_dict`, out of a mapping that may hold more."""
        weight = values.get("class_weight")
        pairs = dict(weight) if isinstance(weight, list) else weight
        return cls(values["task"], values["standardise"], pairs)


def _checked(weight: object) -> ClassWeight | None:
    if weight is None:
        return None
    if isinstance(weight, str):
        if weight != "balanced":
            raise unknown_name("class_weight", weight, ["balanced"])
        return weight
    if not isinstance(weight, Mapping):
        raise SpecError(f"class_weight={weight!r} must be 'balanced' or a dict, label: weight.")
    plain = {k.item() if isinstance(k, np.generic) else k: w for k, w in weight.items()}
    return {label: number(f"class_weight[{label!r}]", w) for label, w in plain.items()}
