"""The form to train: its choices, what it begins with, and a job's settings as flat names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nbmlp.names import ACTIVATIONS, SCALINGS, SCORES, Reads
from nbmlp.optimizers import OPTIMIZERS
from nbmlp.schedules import SCHEDULES
from nbmlp.server.jobs.spec import OF_ENSEMBLES, JobSpec
from nbmlp.server.page.words import plain
from nbmlp.server.ports import Dataset

__all__ = ["SHOWN", "Form", "flat"]

Choices = list[tuple[str, str]]

#: Where a form departs from the defaults of a JobSpec: early stopping makes many epochs harmless.
_BEGIN = {
    "model.epochs": 100,
    "model.batch_size": 64,
    "validation": None,  # what is usual with one net, or with the preset
    "test": 0.15,
    "early_stopping.patience": 10,
}
#: Settings that have a field; all others travel along with a job that is trained again.
SHOWN = (
    "target", "name", "validation", "test", "threads", "priority", "early_stopping.patience",
    "preset", "n_members", "time_limit", "n_folds",
    *(f"model.{name}" for name in (
        "task", "hidden", "epochs", "batch_size", "optimizer", "learning_rate", "activation",
        "dropout", "l2", "schedule", "seed", "standardise", "column_kinds", "eval_metric",
        "tune_threshold", "class_weight", "scaling", "bins", "category_embedding",
    )),
)  # fmt: skip
#: Settings that are shown of every job, defaults or not.
_ALWAYS = (
    "target", "model.hidden", "model.activation", "model.epochs", "model.batch_size",
    "model.optimizer", "model.learning_rate", "early_stopping.patience", "validation", "test",
    "model.seed",
)  # fmt: skip


def _leaves(values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Settings of a part by its name and theirs; a setting may itself be a mapping."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", v) for inner, v in value.items())
        else:
            yield name, value


def _given(spec: JobSpec) -> dict[str, Any]:
    """Settings by name, without those that are as they are by default."""
    return dict(_leaves(spec.model_dump(exclude={"dataset_id", "name"}, exclude_defaults=True)))


def flat(spec: JobSpec, brief: bool = False) -> dict[str, Any]:
    """Settings by names such as ``model.epochs``; if brief, the usual and the unusual ones."""
    values = dict(_leaves(spec.model_dump(exclude={"dataset_id", "name"})))
    if not brief:
        return values
    given = _given(spec)
    always = _ALWAYS if spec.preset is None else ("target", "test", "model.seed")
    return {n: v for n, v in values.items() if n in always or n in given}


#: What a form may train.
_PRESETS = {
    "": "one net, as set below", "fast": "fast: one good net",
    "default": "default: an ensemble", "best": "best: a large ensemble",
}  # fmt: skip


def _choices(names: Iterable[str], value: Any) -> Choices:
    """Names as options; a value with numbers of its own, such as ``sgd(0.1)``, is kept."""
    return [(name, name) for name in dict.fromkeys([*names, *([value] if value else [])])]


def _label(score: str) -> str:
    return SCORES[score].label if score in SCORES else score


#: What a column may be taken as, as people say it; the empty word leaves it to the column.
_KINDS = {
    "": "what it holds", "drop": "left out", "number": "a number", "category": "a category",
    "date": "a date", "boolean": "true or false",
}  # fmt: skip
#: Ways to scale numbers, as people say them.
_SCALED = {
    "standard": "mean and deviation", "robust": "median and quartiles, what lies far out pulled in",
}  # fmt: skip
#: Tables of more columns have no choice beside each.
_MOST_CHOICES = 300


class Form:
    """What a form offers and begins with.

    Parameters
    ----------
    table : Dataset
    like : JobSpec, optional
        A job whose settings are taken over.

    Attributes
    ----------
    unseen : dict
        Settings of that job which have no field, by names such as ``model.loss``.
    carried : dict
        They, and its target if that is no single column: what goes with the fields.
    """

    def __init__(self, table: Dataset, like: JobSpec | None = None) -> None:
        spec = like or JobSpec(dataset_id=table.id)
        self.names = [column.name for column in table.columns]
        self._values = flat(spec) | ({} if like else _BEGIN)
        self._kinds = spec.model.column_kinds or {}
        self.unseen = {n: v for n, v in _given(spec).items() if n not in SHOWN}
        self.carried = dict(self.unseen)
        if self._kinds and not self.offers_kinds:
            self.carried["model.column_kinds"] = dict(self._kinds)
        if isinstance(spec.model.class_weight, Mapping):  # weights by label have no field
            self.carried["model.class_weight"] = dict(spec.model.class_weight)
        self._other_target = like is not None and spec.target not in self.names
        if self._other_target and spec.target is not None:
            self.carried["target"] = spec.target
        elif not like:
            self._values["target"] = table.target_guess

    def __getitem__(self, name: str) -> Any:
        """The value of a field, as it is typed."""
        value = self._values.get(name)
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return "" if value is None else plain(value)

    @property
    def targets(self) -> Choices:
        """Columns; before them what no single column says, as it was with the job."""
        columns = _choices(self.names, None)
        if not self._other_target:
            return columns
        return [("", str(self["target"] or "the targets that the file names")), *columns]

    @property
    def target(self) -> str:
        """The column to begin with: the last is the usual one if nothing speaks for another."""
        if self._other_target:
            return ""
        return str(self["target"] or (self.names[-1] if self.names else ""))

    @property
    def standardise(self) -> str:
        """Whether all columns are to be scaled: a word for yes and no, none if it is left open."""
        value = self._values.get("model.standardise")
        return "" if value is None else str(value).lower()

    @property
    def scalings(self) -> Choices:
        """Ways to scale numbers."""
        return [(name, _SCALED.get(name, name)) for name in SCALINGS]

    @property
    def embedding(self) -> str:
        """Whether columns of many categories are embedded: a word for yes and no."""
        return str(self._values["model.category_embedding"]).lower()

    @staticmethod
    def of(name: str) -> str:
        """What a field is said of: ``"net"``, ``"ensemble"``, or both where it is empty."""
        part, _, setting = name.partition(".")
        if part == "early_stopping" or (part == "model" and setting not in OF_ENSEMBLES):
            return "net"
        return "ensemble" if name in ("n_members", "time_limit", "n_folds") else ""

    @property
    def one_net(self) -> list[str]:
        """Names of what is carried that goes with one net only."""
        return [name for name in self.carried if self.of(name) == "net"]

    @property
    def presets(self) -> Choices:
        """One net, or an ensemble."""
        return list(_PRESETS.items())

    @property
    def offers_kinds(self) -> bool:
        """Whether each column has a choice of what it is taken as."""
        return len(self.names) <= _MOST_CHOICES

    @property
    def kinds(self) -> Choices:
        """What a column may be taken as."""
        chosen = dict.fromkeys(self._kinds.values())
        return [*_KINDS.items(), *((kind, kind) for kind in chosen if kind not in _KINDS)]

    def kind_of(self, name: str) -> str:
        """What a column begins with."""
        return str(self._kinds.get(name, ""))

    @property
    def class_weights(self) -> Choices:
        """How much the rows of each class count."""
        other = "as in that job" if "model.class_weight" in self.carried else "as many as they are"
        return [("", other), ("balanced", "all the same together")]

    @property
    def class_weight(self) -> str:
        """Which of them to begin with."""
        value = self._values.get("model.class_weight")
        return value if isinstance(value, str) else ""

    @property
    def scores(self) -> Choices:
        """What the rows to validate on are watched by."""
        named = _choices(SCORES, self["model.eval_metric"])
        return [("", "the usual one"), *((n, _label(n)) for n, _ in named)]

    @property
    def thresholds(self) -> Choices:
        """What a threshold between two classes may be best for."""
        named = [n for n, row in SCORES.items() if row.reads is Reads.LABELS]
        return [("", "no score: it is 0.5"), *((n, _label(n)) for n in named)]

    @property
    def optimizers(self) -> Choices:
        """By name."""
        return _choices(OPTIMIZERS, self["model.optimizer"])

    @property
    def schedules(self) -> Choices:
        """By name."""
        return _choices(SCHEDULES, self["model.schedule"])

    @property
    def activations(self) -> Choices:
        """By name."""
        return _choices(ACTIVATIONS, self["model.activation"])
