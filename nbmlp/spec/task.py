"""What is to be learned from data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nbmlp.checks import flag, number, whole
from nbmlp.errors import SpecError, unknown_name
from nbmlp.names import COLUMN_KINDS, SCALINGS, read_score
from nbmlp.spec.values import assign

__all__ = ["TASKS", "ClassWeight", "ColumnKinds", "TaskSpec"]

TASKS = ("auto", "classes", "regression")
#: ``"balanced"``, or weights by label.
ClassWeight = str | Mapping[Any, float]
#: Words of :data:`nbmlp.names.COLUMN_KINDS` by name of a column.
ColumnKinds = Mapping[str, str]


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
        fit. Tables are always prepared so; text, booleans and dates become numbers, too.
    scaling : str
        How the numbers of prepared columns are scaled: ``standard``, or ``robust``: by median and
        quartiles, what lies far out pulled in smoothly, and columns left out that are constant
        or name rows.
    bins : int
        So many piecewise linear bins of each number in prepared columns, beside it.
    category_embedding : bool
        Columns of more than 8 categories are embedded, each category as `code_width` numbers that
        the net learns, instead of one-hot encoded; columns are left out as by ``robust``.
    column_kinds : ColumnKinds or None
        What to take columns as, by name, instead of what they seem to hold: ``drop``,
        ``number``, ``standard``, ``robust``, ``boolean``, ``date``, ``category``, ``one-hot``,
        ``embedded``.
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
    scaling: str = "standard"
    bins: int = 0
    category_embedding: bool = False
    column_kinds: ColumnKinds | None = None
    class_weight: ClassWeight | None = None
    eval_metric: str | None = None
    tune_threshold: str | None = None

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"task": TASKS, "scaling": SCALINGS}

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise unknown_name("task", self.task, TASKS)
        if self.scaling not in SCALINGS:
            raise unknown_name("scaling", self.scaling, SCALINGS)
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
        assign(
            self, standardise=flag("standardise", self.standardise), class_weight=weight,
            category_embedding=flag("category_embedding", self.category_embedding),
            bins=whole("bins", self.bins, low=0, high=1024), column_kinds=_kinds(self.column_kinds),
        )  # fmt: skip

    @property
    def prepares(self) -> bool:
        """Whether columns are prepared although they might be taken as they are."""
        scaled = self.standardise or self.scaling != "standard"
        return scaled or self.bins > 0 or self.category_embedding or bool(self.column_kinds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, whose keys are text: weights by label are pairs."""
        weight = self.class_weight
        pairs = [list(pair) for pair in weight.items()] if isinstance(weight, Mapping) else weight
        later = {name: getattr(self, name) for name in _LATER}
        unusual = {name: value for name, value in later.items() if value != getattr(TaskSpec, name)}
        known = {} if pairs is None else {"class_weight": pairs}
        return {"task": self.task, "standardise": self.standardise, **unusual, **known}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TaskSpec:
        """The inverse of :meth:`to_dict`, out of a mapping that may hold more."""
        weight = values.get("class_weight")
        pairs = dict(weight) if isinstance(weight, list) else weight
        later = {name: values[name] for name in _LATER if name in values}
        return cls(values["task"], values["standardise"], class_weight=pairs, **later)


#: Fields that files name where they are not as by default.
_LATER = (
    "scaling", "bins", "category_embedding", "column_kinds", "eval_metric", "tune_threshold",
)  # fmt: skip


def _kinds(kinds: object) -> ColumnKinds | None:
    if kinds is None:
        return None
    if not isinstance(kinds, Mapping):
        raise SpecError(f"column_kinds={kinds!r} must be a dict, name of a column: kind.")
    for name, kind in kinds.items():
        if kind not in COLUMN_KINDS:
            raise unknown_name(f"kind for column {name!r},", kind, COLUMN_KINDS)
    return {str(name): str(kind) for name, kind in kinds.items()}


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
