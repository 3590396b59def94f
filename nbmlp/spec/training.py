"""How to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from nbmlp.checks import flag, number, whole
from nbmlp.errors import SpecError
from nbmlp.optimizers import LBFGS, Adam, Optimizer, as_optimizer
from nbmlp.schedules import Cosine, Schedule, as_factor_schedule, as_schedule
from nbmlp.spec.factors import Factors, as_factors
from nbmlp.spec.values import assign, choice, from_dict, known

__all__ = ["ON_NONFINITE", "SYNC", "TrainSpec"]

DEFAULT_BATCH = 32
#: Settings that change steps, or what comes of them.
_NOT_WITH_LBFGS = (
    "weight_decay", "rate_factors", "decay_factors", "decay_schedule", "max_norm", "clip_norm",
    "clip_value", "ema",
)  # fmt: skip
#: What training may do about NaN and infinities.
ON_NONFINITE = ("raise", "warn", "drop_rows", "impute", "ignore")
#: How several processes train together.
SYNC = ("exact", "periodic")


@dataclass(frozen=True)
class TrainSpec:
    """How to train.

    Attributes
    ----------
    optimizer : Optimizer, str or dict
        Update rule, e.g. ``adam``, ``adam(0.002, beta2=0.99)``; in Python also ``Adam(1e-3)``.
    schedule : Schedule, str or dict
        Factor on the learning rate over the planned training.
    dropout_schedule, decay_schedule : Schedule or None
        Factor on the shares that are dropped, and on the decoupled decay of weights, over the
        planned training, e.g. ``flat_cos``. None = they stay.
    warmup : float
        Epochs over which the learning rate rises linearly from 0.
    batch_size : int or None
        Rows of one update; None = all. A left-over smaller batch is trained on too. The
        default takes all rows of data that have fewer.
    base_batch : int or None
        The learning rate is meant for batches of so many rows; others get it transferred, in
        proportion to the batch for SGD, to its square root for rules of Adam's kind. None = the
        rate as given.
    epochs : int
        Passes over the data.
    shuffle : bool or str
        Draw a new order each epoch, from `seed`. ``"blocks"`` draws blocks of 1,024 neighbouring
        rows, and shuffles 65,536 rows at a time: rows on a disk are read once, in long pieces.
    shards : int
        Parts of the rows, one behind the other, of which each batch takes its share. Each has an
        order and a gradient of its own, and these are added up so that several hosts, which have
        some shards each, get the same bits as one.
    sync : str
        How several hosts train together: ``"exact"`` sums their gradients at every update, with the
        bits of one; ``"periodic"`` lets each make updates of its own, on `batch_size` of its own
        rows, and averages the weights now and then, for slow networks. The learning rate is
        transferred to the batches of all together as by `base_batch`, and the result depends on
        the number of hosts.
    sync_every : int or None
        Updates from one average to the next, for ``"periodic"``; at the end of each epoch there is
        one in any case. None = as many as let averages take 5 % of the time, measured in the first
        updates and written into the history.
    l1, l2 : float
        Penalty l1*|W|_1 + l2/2*|W|^2; biases excluded, not divided by the batch.
    weight_decay : float
        Decoupled: w <- w*(1 - lr*weight_decay) before the update; biases excluded.
    rate_factors : Factors or None
        Factors on the learning rate of parts, by their names in files: ``bias=0.1`` for those of
        all layers, ``layer2``, ``layer2.weight``, ``embedding``; all that name a part multiply. A
        number, 0 to keep a part as it is, or ``1/sqrt(inputs)`` or ``sqrt(inputs)`` of its layer.
    decay_factors : Factors or None
        Likewise on the decoupled decay of weights, beside the factor that their rate has.
    max_norm : float or None
        Upper bound on the norm of a unit's incoming weights, enforced after each update.
    clip_norm : float or None
        Upper bound on the norm of the whole gradient (penalty included).
    clip_value : float or None
        Upper bound on each entry of the gradient (penalty included).
    ema : float or None
        Decay per update of a moving average of all parameters, e.g. 0.999. The average is what is
        validated, what early stopping keeps and what the model has in the end. None = no average.
    reduction : str
        ``"mean"`` divides the batch's loss by the sum of its weights, ``"sum"`` does not.
    seed : int
        Of first weights, order and dropout masks.
    threads : int or None
        Most threads to use; None = all cores this process may use. The result does not depend
        on it.
    gradient_norms : bool
        Record each layer's gradient norm (root mean square over the epoch's updates).
    on_nonfinite : str
        When a value is NaN or infinite: ``"raise"`` an error; ``"warn"`` and end the training with
        the last good weights; ``"drop_rows"`` that hold one, before training; ``"impute"`` the
        median of the column for it, before training; ``"ignore"`` the batches where one appears,
        ten in a row at most.
    """

    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=Cosine)
    dropout_schedule: Schedule | None = None
    decay_schedule: Schedule | None = None
    warmup: float = 0.0
    batch_size: int | None = DEFAULT_BATCH
    base_batch: int | None = None
    epochs: int = 30
    shuffle: bool | str = True
    shards: int = 1
    sync: str = "exact"
    sync_every: int | None = None
    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    rate_factors: Factors | None = None
    decay_factors: Factors | None = None
    max_norm: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    ema: float | None = None
    reduction: str = "mean"
    seed: int = 0
    threads: int | None = None
    gradient_norms: bool = False
    on_nonfinite: str = "raise"

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "reduction": ("mean", "sum"),
        "sync": SYNC,
        "on_nonfinite": ON_NONFINITE,
    }

    def __post_init__(self) -> None:
        for name, choices in self.CHOICES.items():
            choice(name, getattr(self, name), choices)
        assign(
            self,
            optimizer=as_optimizer(self.optimizer),
            schedule=as_schedule(self.schedule),
            dropout_schedule=as_factor_schedule("dropout_schedule", self.dropout_schedule),
            decay_schedule=as_factor_schedule("decay_schedule", self.decay_schedule),
            epochs=whole("epochs", self.epochs),
            shards=whole("shards", self.shards),
            seed=whole("seed", self.seed, 0),
            rate_factors=as_factors("rate_factors", self.rate_factors),
            decay_factors=as_factors("decay_factors", self.decay_factors, decaying=True),
        )
        for name in ("batch_size", "base_batch", "threads", "sync_every"):
            self._check_optional(name, whole)
        for name in ("max_norm", "clip_norm", "clip_value"):
            self._check_optional(name, partial(number, closed_low=False))
        self._check_optional("ema", partial(number, high=1.0, closed_low=False))
        for name in ("warmup", "l1", "l2", "weight_decay"):
            assign(self, **{name: number(name, getattr(self, name))})
        assign(self, gradient_norms=flag("gradient_norms", self.gradient_norms))
        self._check_shuffle()
        if self.sync_every is not None and self.sync != "periodic":
            raise SpecError(f"sync_every={self.sync_every} is for sync='periodic' alone.")
        if isinstance(self.optimizer, LBFGS):
            self._check_lbfgs()

    def _check_optional(self, name: str, check: Callable[[str, object], float]) -> None:
        value = getattr(self, name)
        if value is not None:
            assign(self, **{name: check(name, value)})

    def _check_shuffle(self) -> None:
        if isinstance(self.shuffle, bool | np.bool_):
            assign(self, shuffle=bool(self.shuffle))
        elif self.shuffle != "blocks":
            raise SpecError(f"shuffle={self.shuffle!r} must be True, False or 'blocks'.")

    def _check_lbfgs(self) -> None:
        for name in _NOT_WITH_LBFGS:
            if getattr(self, name):
                raise SpecError(f"{name} does not go with lbfgs, whose line search owns the step.")
        if self.sync == "periodic":
            raise SpecError("sync='periodic' does not go with lbfgs: each step takes all rows.")

    def batch_rows(self, n_rows: int) -> int:
        """Rows of one update on data of `n_rows` rows.

        Raises
        ------
        SpecError
            A batch larger than the data, unless it is the default, which takes all then.
        """
        if self.batch_size is None or (n_rows < self.batch_size == DEFAULT_BATCH):
            return n_rows
        if self.batch_size > n_rows:
            raise SpecError(
                f"batch_size={self.batch_size} is larger than the {n_rows} rows of the data: give"
                f" {n_rows} or less, or None for all rows."
            )
        return self.batch_size

    def learning_rate_for(self, batch: int) -> float:
        """Learning rate of updates on `batch` rows, before the factors of schedule and warm-up.

        With `base_batch`, the rate times batch / base_batch for SGD (Goyal et al. 2017,
        arXiv:1706.02677), times its square root for RMSprop, Adagrad, Adam and their kin
        (Malladi et al. 2022, arXiv:2205.10287); Rprop and L-BFGS, meant for full batches, keep
        theirs. With ``reduction="sum"`` SGD keeps it too: summed gradients grow with the batch by
        themselves. A left-over smaller batch takes the rate of the others.

        Parameters
        ----------
        batch : int
            Rows of an update.
        """
        rate, power = self.optimizer.learning_rate, self.optimizer.batch_power
        if self.base_batch is None or (self.reduction == "sum" and power == 1.0):
            return rate
        return rate * float((batch / self.base_batch) ** power)

    @property
    def decay(self) -> float:
        """Decoupled decay of this spec and of AdamW together."""
        return self.weight_decay + float(getattr(self.optimizer, "weight_decay", 0.0))

    def with_(self, **changes: Any) -> TrainSpec:
        """A copy with some settings changed; raises SpecError on an unknown one."""
        return replace(self, **known(TrainSpec, changes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {n: dict(v) if isinstance(v, Factors) else v for n, v in values.items()}
        rules = {n: v.to_dict() for n, v in values.items() if isinstance(v, Optimizer | Schedule)}
        return values | rules

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainSpec:
        """The inverse of :meth:`to_dict`; raises SpecError on an unknown setting."""
        return from_dict(cls, values)
