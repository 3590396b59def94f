"""What one epoch of a training left behind, and which of it is watched."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from nbmlp.errors import SpecError
from nbmlp.names import larger_is_better

__all__ = ["MONITORS", "EpochRecord", "choose_monitor", "direction", "plain", "record_of"]

#: What may be watched, best choice first.
MONITORS = ("val_score", "val_loss", "train_loss")
#: What a record of a single net lacks.
_OF_NETS = ("net", "net_epoch")


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch.

    Attributes
    ----------
    epoch : int
        From 1; goes on counting when a training is resumed. Of an ensemble: among the epochs of
        all its nets, in the order in which they ended.
    net, net_epoch : int or None
        Of an ensemble: which net, by its place among `members_`, and which of its own epochs.
    data_loss : float
        Mean over the epoch's updates of the loss on the data, without penalty.
    penalty : float
        L1 and L2 penalty of the weights at the epoch's end.
    val_loss, val_score : float or None
        Data loss and score (accuracy or R2, or what `eval_metric` names) on the validation data
        after the epoch; None without validation data.
    learning_rate : float
        Of the epoch's last update, schedule and warm-up included.
    samples_per_second : float
        Rows trained on per second, validation and callbacks excluded.
    seconds : float
        Wall time of the epoch, validation included.
    threads : int
        Threads that really ran.
    gradient_norms : tuple of float or None
        Root mean square over the updates of each layer's gradient norm; None if not asked for.
    """

    epoch: int
    net: int | None = None
    net_epoch: int | None = None
    data_loss: float
    penalty: float
    val_loss: float | None = None
    val_score: float | None = None
    learning_rate: float
    samples_per_second: float
    seconds: float
    threads: int
    gradient_norms: tuple[float, ...] | None = None

    @property
    def train_loss(self) -> float:
        """Data part plus penalty: what training minimises."""
        return self.data_loss + self.penalty

    def to_row(self) -> dict[str, float | int | None]:
        """One entry per column of a table; gradient norms as ``gradient_norm_1``, ...

        Only those of an ensemble have `net` and `net_epoch`.
        """
        left_out = {"gradient_norms", *(_OF_NETS if self.net is None else ())}
        names = [f.name for f in fields(self) if f.name not in left_out]
        names.insert(names.index("penalty") + 1, "train_loss")
        norms = enumerate(self.gradient_norms or (), start=1)
        return {n: getattr(self, n) for n in names} | {f"gradient_norm_{i}": g for i, g in norms}


def choose_monitor(record: EpochRecord, monitor: str = "auto") -> str:
    """The value to watch: the one named, or the best that the record holds.

    Parameters
    ----------
    record : EpochRecord
    monitor : str
        A name of `MONITORS`, or ``"auto"`` for the first of them that was recorded.

    Raises
    ------
    SpecError
        It needs validation data that the fit did not get.
    """
    if monitor == "auto":
        return next(name for name in MONITORS if getattr(record, name) is not None)
    if getattr(record, monitor) is None:
        raise SpecError(f"{monitor} cannot be watched without validation data: give validation=.")
    return monitor


def direction(monitor: str, score_name: str) -> float:
    """The sign that makes larger better, of a name of `MONITORS`; `score_name` as in a history."""
    return 1.0 if monitor == "val_score" and larger_is_better(score_name) else -1.0


def plain(record: EpochRecord) -> dict[str, Any]:
    """Its values, fit for JSON; those of a single net as older versions know them."""
    values = {k: v for k, v in asdict(record).items() if v is not None or k not in _OF_NETS}
    norms = record.gradient_norms
    return {**values, "gradient_norms": None if norms is None else list(norms)}


def record_of(values: dict[str, Any]) -> EpochRecord:
    """The inverse of :func:`plain`."""
    norms = values["gradient_norms"]
    return EpochRecord(**{**values, "gradient_norms": None if norms is None else tuple(norms)})
