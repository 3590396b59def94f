"""What a job may be: names out of the library's tables and bounded numbers, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    create_model,
    model_validator,
)

from nbmlp.names import COLUMN_KINDS
from nbmlp.settings import Settings
from nbmlp.spec import SETTINGS, Setting
from nbmlp.tabular.recipe import PRESETS

__all__ = [
    "NOT_TAKEN", "OF_ENSEMBLES", "EarlyStop", "Hyper", "JobSpec", "Limits", "stored_spec",
    "unknown_settings",
]  # fmt: skip

#: A name of the library's tables, perhaps with literals: ``relu``, ``huber(1.5)``.
Call = Annotated[
    str, StringConstraints(pattern=r"^[a-z_0-9]+(\([-+a-z_0-9.,= ]*\))?$", max_length=120)
]
#: A column by its name or its number.
Column = (
    Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    | Annotated[int, Field(ge=-100_000, le=100_000)]
)
#: Of many that are wrong only the first is told.
Targets = Annotated[list[Column], Field(min_length=1, max_length=1000, fail_fast=True)]
Columns = Annotated[list[Column], Field(min_length=1, max_length=100_000, fail_fast=True)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e6)]
NotNegative = Annotated[float, Field(ge=0.0, le=1e6)]
_Label = Annotated[str, StringConstraints(max_length=1000)]
_Name = Annotated[str, StringConstraints(max_length=60)]
#: Who mistypes it is told so by the library.
_Word = Annotated[str, Field(max_length=120, json_schema_extra={"enum": ["balanced"]})]

_Kind = Annotated[str, Field(max_length=120, json_schema_extra={"enum": list(COLUMN_KINDS)})]
_Factors = Annotated[dict[_Name, NotNegative | _Name], Field(max_length=100)]

#: What a server asks of settings beyond what MLP does: bounds of whatever has a size. One value
#: serves all hidden layers.
_BOUNDS: dict[str, Any] = {
    "hidden": Annotated[
        list[Annotated[int, Field(ge=1, le=16_384)]], Field(max_length=16, fail_fast=True)
    ],
    "class_weight": _Word | Annotated[dict[_Label, NotNegative], Field(max_length=1000)],
    "bins": Annotated[int, Field(ge=0, le=256)],
    "column_kinds": Annotated[
        dict[Annotated[str, StringConstraints(max_length=1000)], _Kind], Field(max_length=100_000)
    ],
    "dropout": Share,
    "input_dropout": Share,
    "label_smoothing": Share,
    "n_numbers": Annotated[int, Field(ge=0, le=1_000_000)],
    "code_counts": Annotated[
        list[Annotated[int, Field(ge=1, le=1_000_000)]], Field(max_length=1000, fail_fast=True)
    ],
    "code_width": Annotated[int, Field(ge=1, le=64)],
    "learning_rate": Positive,
    "warmup": NotNegative,
    "shuffle": bool | Literal["blocks"],
    "batch_size": Annotated[int, Field(ge=1, le=10_000_000)],
    "base_batch": Annotated[int, Field(ge=1, le=10_000_000)],
    "epochs": Annotated[int, Field(ge=1, le=100_000)],
    "shards": Annotated[int, Field(ge=1, le=1024)],
    "l1": NotNegative,
    "l2": NotNegative,
    "weight_decay": NotNegative,
    "rate_factors": _Factors,
    "decay_factors": _Factors,
    "max_norm": Positive,
    "clip_norm": Positive,
    "clip_value": Positive,
    "ema": Annotated[float, Field(gt=0.0, lt=1.0)],
    "seed": Annotated[int, Field(ge=0, le=2**31 - 1)],
}
#: Settings that a server does not take, and why.
NOT_TAKEN = {
    "threads": "how many cores a job occupies is told beside its net: JobSpec.threads",
    **dict.fromkeys(("sync", "sync_every"), "of several processes, and a job is one"),
}
#: Settings that an ensemble has, too.
OF_ENSEMBLES = frozenset(
    {"task", "class_weight", "column_kinds", "eval_metric", "tune_threshold", "seed"}
)
_TYPES = {"bool": bool, "str": Call, "tuple[str, ...]": Call, "Optimizer": Call, "Schedule": Call}


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _field(setting: Setting) -> Any:
    """Type and default of a setting; None where a number lacks its bounds."""
    kind = setting.kind.removesuffix(" | None")
    taken = _BOUNDS.get(setting.name, _TYPES.get(kind))
    if setting.choices:
        taken = Literal.__getitem__(setting.choices)
    if taken is None:
        return None
    default = getattr(setting.default, "name", setting.default)  # of a rule
    default = list(default) if isinstance(default, tuple) else default
    text = setting.help.replace("None", "null")
    if kind.startswith("tuple") and kind != "tuple[int, ...]":
        text += " Here one value serves all."
    return (taken if kind == setting.kind else taken | None, Field(default, description=text))


_TAKEN = {s.name: _field(s) for s in SETTINGS.values() if s.name not in NOT_TAKEN}
_TAKEN["standardise"] = (
    bool | None,
    Field(None, description=f"{SETTINGS['standardise'].help} null: where it helps."),
)
_Fields: Any = create_model(
    "_Fields", __base__=_Frozen, **{name: field for name, field in _TAKEN.items() if field}
)


class Hyper(_Fields):  # type: ignore[misc]  # its base is made of the table of settings
    """Settings of the net and of its training, as those of MLP."""

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of :class:`~nbmlp.MLP`; `standardise` where it is decided."""
        known = dict(vars(self))
        return {n: v for n, v in known.items() if n != "standardise" or v is not None}

    @model_validator(mode="after")
    def _known_to_the_library(self) -> Self:
        Settings.parse(self.settings())  # a SpecError is a ValueError
        return self


class EarlyStop(_Frozen):
    """End when nothing has improved for a while, and go back to the best epoch's weights."""

    monitor: Literal["auto", "val_score", "val_loss", "train_loss"] = "auto"
    patience: Annotated[int, Field(ge=1, le=100_000)] = 10
    min_delta: NotNegative = 0.0
    ties: Literal["first", "last"] = Field(
        default="first", description="Which of several epochs is the best that are equally good."
    )


class Limits(_Frozen):
    """What the job's process may use; the server's own limits hold besides."""

    memory_mb: Annotated[int, Field(ge=256, le=1_048_576)] | None = None
    wall_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    cpu_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None


class JobSpec(_Frozen):
    """A training to be done."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "dataset_id": "01J9ZC4N3V0000000000000000",
                    "target": "price",
                    "model": {"hidden": [64, 64], "epochs": 50},
                    "early_stopping": {"patience": 10},
                }
            ]
        }
    )

    dataset_id: Annotated[str, StringConstraints(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
    name: Annotated[str, StringConstraints(max_length=200)] = Field(
        default="", description="A label; by default that of the data."
    )
    target: Column | Targets | None = Field(
        default=None, description="Column(s) to predict; null: the targets that the file names."
    )
    columns: Columns | None = Field(
        default=None, description="Columns to predict from; null: all others."
    )
    test: Share = Field(default=0.0, description="Share of the rows to measure on at the end.")
    validation: Share | None = Field(
        default=0.1,
        description="Share of the rest to watch each epoch; with a preset, and null: its own.",
    )
    model: Hyper = Field(default_factory=Hyper)
    preset: Literal["fast", "default", "best"] | None = Field(
        default=None,
        description="Train an ensemble of nets on a table, as this preset says, instead of one net"
        f" with settings; of those it has {', '.join(sorted(OF_ENSEMBLES))}.",
    )
    n_members: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Nets of the ensemble, instead of the preset's."
    )
    n_folds: Annotated[int, Field(ge=1, le=20)] | None = Field(
        default=None,
        description="Train each net so often, each time on other rows, so that every row is held"
        " out once; null: the preset's, more than once where rows are few.",
    )
    time_limit: Annotated[float, Field(gt=0.0, le=31_536_000)] | None = Field(
        default=None,
        description="Seconds of training after which the ensemble so far counts; a resumed job has"
        " them anew.",
    )
    early_stopping: EarlyStop | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = Field(
        default=0, description="Larger ones start first."
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="Cores it occupies; null: the server's default."
    )
    limits: Limits = Field(default_factory=Limits)
    diagnose: bool = Field(
        default=True,
        description="Look for causes when it fails or stalls; of an ensemble by one of its nets.",
    )

    @property
    def planned_epochs(self) -> int:
        """Epochs at most; of an ensemble those of all its nets."""
        if self.preset is None:
            return int(self.model.epochs)
        preset = PRESETS[self.preset]
        return (self.n_members or preset.n_members) * (self.n_folds or 1) * preset.epochs

    @model_validator(mode="before")
    @classmethod
    def _validation_of_the_preset(cls, values: Any) -> Any:
        """A share that nobody names is what is usual with one net, or the preset's."""
        if not isinstance(values, Mapping):
            return values
        if values.get("preset") is None:
            return {n: v for n, v in values.items() if n != "validation" or v is not None}
        return {"validation": None, **values}

    @model_validator(mode="after")
    def _one_net_or_many(self) -> Self:
        if self.preset is None:
            for name in ("n_members", "n_folds", "time_limit"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is of an ensemble: give a preset beside it.")
            return self
        given = self.model.model_dump(exclude_defaults=True).keys() - OF_ENSEMBLES
        of_one = sorted(f"model.{name}" for name in given)
        of_one += ["early_stopping"] if self.early_stopping else []
        if of_one:
            raise ValueError(
                f"{of_one[0]} is said of one net, and a preset trains nets of its own: leave one of"
                " them out."
            )
        if self.validation == 0.0:
            raise ValueError("an ensemble is chosen on held-out rows: validation must be above 0.")
        most = self.limits.wall_seconds
        if most is not None and self.time_limit is not None and self.time_limit >= most:
            raise ValueError(
                f"time_limit must be below the job's limit of {most} wall_seconds: the end of"
                " training is to come first."
            )
        return self


# -- specs of long ago

_PARTS: dict[str, type[_Frozen]] = {"model": Hyper, "early_stopping": EarlyStop, "limits": Limits}


def stored_spec(values: Mapping[str, Any]) -> JobSpec:
    """A spec that was accepted once, as it was: bounds may have become tighter since.

    Parameters
    ----------
    values : mapping
        What ``model_dump(mode="json")`` gave, perhaps of another version: settings that it
        lacks have their defaults, those that are not known are left out.
    """
    parts = {
        name: class_.model_construct(**values[name])
        for name, class_ in _PARTS.items()
        if isinstance(values.get(name), Mapping)
    }
    return JobSpec.model_construct(**{**values, **parts})


def unknown_settings(values: Mapping[str, Any]) -> list[str]:
    """Names, such as ``model.colour``, that :func:`stored_spec` leaves out."""
    return list(_unknown(values, JobSpec, ""))


def _unknown(values: Mapping[str, Any], class_: type[_Frozen], start: str) -> Iterator[str]:
    for name, value in values.items():
        if name not in class_.model_fields:
            yield start + name
        elif name in _PARTS and isinstance(value, Mapping):
            yield from _unknown(value, _PARTS[name], f"{name}.")
