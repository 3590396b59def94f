"""What is to be learned from data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nbmlp.checks import flag, number
from nbmlp.errors import SpecError, unknown_name
from nbmlp.names import read_score
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
    eval_metric : str or None
        Score that is taken on the validation rows after each epoch, and that early stopping goes
        by; accuracy of classes and R2 of numbers unless named, e.g. ``roc_auc``, ``pinball(0.9)``.
    tune_threshold : str or None
        Of two classes: score that the validation rows are to have at its best, once training ends,
        by choice of the probability beyond which the second class is answered, e.g. ``f1``,
        ``balanced_accuracy``; 0.5 unless named.
    """

    task: str = "auto"
    standardise: bool = False
    class_weight: ClassWeight | None = None
    eval_metric: str | None = None
    tune_threshold: str | None = None

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"task": TASKS}

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise unknown_name("task", self.task, TASKS)
        weight = _checked(self.class_weight)
        if weight is not None and self.task == "regression":
            raise SpecError("class_weight goes with classes, not with task='regression'.")
        known = None if self.task == "auto" else self.task == "classes"
        if self.eval_metric is not None:
            assign(self, eval_metric=str(read_score(self.eval_metric, known)))
        if self.tune_threshold is not None:
            if self.task == "regression":
                raise SpecError("tune_threshold goes with two classes, not with task='regression'.")
            assign(self, tune_threshold=str(read_score(self.tune_threshold, True)))
        assign(self, standardise=flag("standardise", self.standardise), class_weight=weight)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, whose keys are text: weights by label are pairs."""
        weight = self.class_weight
        pairs = [list(pair) for pair in weight.items()] if isinstance(weight, Mapping) else weight
        known = {
            "class_weight": pairs, "eval_metric": self.eval_metric,
            "tune_threshold": self.tune_threshold,
        }  # fmt: skip
        known = {name: value for name, value in known.items() if value is not None}
        return {"task": self.task, "standardise": self.standardise, **known}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskSpec:
        """The inverse of :meth:`to_dict`, out of a mapping that may hold more."""
        weight = values.get("class_weight")
        pairs = dict(weight) if isinstance(weight, list) else weight
        return cls(
            values["task"], values["standardise"], pairs, values.get("eval_metric"),
            values.get("tune_threshold"),
        )  # fmt: skip


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
