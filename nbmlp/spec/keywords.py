"""Keyword arguments of MLP for type checkers; tests hold them to the table of settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from nbmlp.optimizers import Optimizer
from nbmlp.schedules import Schedule

__all__ = ["Chosen", "Further"]


class _Task(TypedDict, total=False):
    task: Literal["auto", "classes", "regression"]
    standardise: bool
    scaling: Literal["standard", "robust"]
    bins: int
    category_embedding: bool
    column_kinds: Mapping[str, str] | None
    class_weight: Literal["balanced"] | Mapping[Any, float] | None
    eval_metric: str | None
    tune_threshold: str | None
    learning_rate: float | None


class _Net(TypedDict, total=False):
    activation: str | Sequence[str]
    output: str
    loss: str
    bias: bool
    init: str
    dtype: Literal["float32", "float64"]
    dropout: float | Sequence[float]
    input_dropout: float
    dropout_scale_at: Literal["training", "predict"]
    label_smoothing: float
    layer_norm: bool
    residual: bool
    parametric_activation: bool
    input_scale: bool
    number_embedding: str
    n_numbers: int | None
    code_counts: int | Iterable[int]
    code_width: int


class _Training(TypedDict, total=False):
    optimizer: str | Optimizer | Mapping[str, Any]
    schedule: str | Schedule | Mapping[str, Any]
    dropout_schedule: str | Schedule | Mapping[str, Any] | None
    decay_schedule: str | Schedule | Mapping[str, Any] | None
    warmup: float
    batch_size: int | None
    base_batch: int | None
    epochs: int
    shuffle: bool | Literal["blocks"]
    shards: int
    sync: Literal["exact", "periodic"]
    sync_every: int | None
    l1: float
    l2: float
    weight_decay: float
    rate_factors: Mapping[str, float | str] | None
    decay_factors: Mapping[str, float | str] | None
    max_norm: float | None
    clip_norm: float | None
    clip_value: float | None
    ema: float | None
    reduction: Literal["mean", "sum"]
    seed: int
    threads: int | None
    gradient_norms: bool
    on_nonfinite: Literal["raise", "warn", "drop_rows", "impute", "ignore"]


class Further(_Task, _Net, _Training, total=False):
    """All settings but the first."""


class Chosen(Further, total=False):
    """All settings, named."""

    hidden: int | Iterable[int]
