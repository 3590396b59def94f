"""Signs in how the net is trained: step, batch, penalty, length; one function per cause."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.diagnostics.figures import beside_usual, moved
from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.report import Where
from nbmlp.diagnostics.why.suspects import Cure, Suspect
from nbmlp.optimizers import LBFGS, SGD, Rprop

__all__ = ["STEP_RULES", "usual_rate"]


#: Learning rates of so many times the usual are a sign by themselves.
_HIGH = 3.5
#: Trainings of so few epochs are.
_EARLY = 5
#: The training rows' error beside the validation rows' from which on a net overfits ...
_GAP = 0.6
#: ... and how much more an error has to be to have risen: three digits show it.
_ROSE = 1.02


def _ended_early(e: Evidence) -> bool:
    return e.train.epochs <= _EARLY


def usual_rate(e: Evidence) -> float:
    """The learning rate at which the optimizer is usually begun with."""
    optimizer = e.train.optimizer
    if isinstance(optimizer, SGD):
        return 0.1 * (1.0 - optimizer.momentum)
    return type(optimizer)().learning_rate


def _rate(e: Evidence, factor: float) -> Cure:
    rate = e.train.optimizer.learning_rate * factor
    return Cure({"learning_rate": rate}, words=f"learning_rate={rate:.3g}")


def _ladder(e: Evidence, ratio: float, step: float) -> tuple[Cure, ...]:
    """Rates one, two and three steps away; the usual rate and the next where those end short."""
    if np.log(1.0 / ratio) / np.log(step) > 3.0:
        return _rate(e, 1.0 / ratio), _rate(e, step / ratio)
    return tuple(_rate(e, step**k) for k in (1, 2, 3))


def _beside_usual(e: Evidence) -> str:
    """The rate, what is usual, and what the rate acts like."""
    rate, usual, name = e.train.optimizer.learning_rate, usual_rate(e), e.train.optimizer.name
    seen = f"learning rate {rate:g} is {beside_usual(rate, usual)} for {name}"
    if not e.summed:
        return seen
    acts = f"acts like {e.acting_rate:g}, {beside_usual(e.acting_rate, usual)}"
    return f"{seen}; by the sum over {e.batch} rows it {acts}"


def summed_gradient(e: Evidence) -> Suspect | None:
    """A gradient that grows with the batch, under a rule whose steps grow with it."""
    if not e.summed:
        return None
    rate, acts, usual = e.train.optimizer.learning_rate, e.acting_rate, usual_rate(e)
    cures = [Cure({"reduction": "mean"}, words="reduction='mean'")]
    # The rate may have been chosen for the sum, or be wrong besides.
    rates = [usual] if not 0.5 <= rate / usual <= 2.0 else []
    rates += [0.1 * acts] if 0.1 * acts > 2.0 * max(rate, usual) else []
    for other in rates:
        change = {"reduction": "mean", "learning_rate": other}
        cures.append(Cure(change, words=f"reduction='mean', learning_rate={other:.3g}"))
    return Suspect(
        "summed_gradient", Where(),
        f"reduction='sum' makes the gradient of a batch of {e.batch} rows {e.batch} times its mean:"
        f" learning rate {rate:g} acts like {acts:g}, {beside_usual(acts, usual)} for"
        f" {e.train.optimizer.name}",
        "a rate that suits one batch size is far too long a step for a larger one, and saturates"
        " every unit on the way",
        "reduction='mean' makes the step independent of the batch", tuple(cures),
        trust=1.0 if e.batch >= _HIGH else 0.5, optimises=False,
    )  # fmt: skip


def learning_rate(e: Evidence) -> list[Suspect]:
    """Shorter or longer steps: what the range test is tried with."""
    if isinstance(e.train.optimizer, LBFGS | Rprop):
        return []
    ratio = e.acting_rate / usual_rate(e)
    far = ratio >= _HIGH
    high = Suspect(
        "learning_rate_high", Where(), _beside_usual(e),
        "steps overshoot: the loss jumps about or units are thrown onto their flat ends",
        "lower the learning rate", _ladder(e, ratio, 0.1),
        trust=0.6 if e.summed or not far else 1.0, optimises=not far, ladder=True, sign=False,
        better="" if far else "a lower learning rate learns more",
    )  # fmt: skip
    short = ratio <= (0.05 if _ended_early(e) else 0.2)
    low = Suspect(
        "learning_rate_low", Where(), _beside_usual(e),
        "steps so short come less far in as many updates",
        "raise the learning rate", _ladder(e, ratio, 10.0),
        trust=1.0 if short else 0.5, ladder=True, sign=False,
        better="" if short else "a higher learning rate learns more",
    )  # fmt: skip
    # By a sum every rate is high: then that is the cause, unless the rate is high by itself.
    by_sum = e.summed and e.train.optimizer.learning_rate < _HIGH * usual_rate(e)
    return [low] if by_sum else [high, low]


def batch_too_large(e: Evidence) -> Suspect | None:
    """Few updates from batches that average far more than the noise asks for."""
    n = len(e.samples)
    if isinstance(e.train.optimizer, LBFGS | Rprop) or e.batch < 64:
        return None
    rare = e.updates < 150 and not _ended_early(e)
    share = e.batch / n
    # Of a summed gradient smaller batches also mean smaller steps.
    clear = (rare or share >= 0.2) and e.train.reduction == "mean"
    sizes = [max(16, e.batch // part) for part in (16, 64)]
    noise = f"about {e.noise:.3g} rows" if math.isfinite(e.noise) else "more than can be told"
    return Suspect(
        "batch_too_large", Where(),
        f"a batch of {e.batch} ({share:.0%} of the rows) makes {e.updates} updates in"
        f" {e.base.epochs} epochs; the gradient's noise scale is {noise}",
        "beyond the noise scale more rows per update hardly make it better, only rarer"
        if e.batch > e.noise
        else "more updates come further in as many epochs",
        f"a batch of {sizes[0]}",
        tuple(Cure({"batch_size": size}, words=f"batch_size={size}") for size in sizes),
        trust=1.0 if clear else 0.5, ladder=True, sign=False,
        better="" if clear else "smaller batches learn more",
    )  # fmt: skip


def l2_too_strong(e: Evidence) -> Suspect | None:
    """A penalty that keeps the weights small at the data's expense."""
    names = [n for n in ("l2", "l1", "weight_decay") if getattr(e.train, n) > 0]
    optimizer_decay = float(getattr(e.train.optimizer, "weight_decay", 0.0))
    if not names and not optimizer_decay:
        return None
    change = dict.fromkeys(names, 0.0)
    values = ", ".join(f"{n}={getattr(e.train, n):g}" for n in names)
    weights = e.base.net.state.weights()
    penalty = sum(
        0.5 * e.train.l2 * _squares(W) + e.train.l1 * float(np.abs(W).sum()) for W in weights
    )
    losses = [loss for loss in e.base.losses[-1:] if math.isfinite(loss)]
    beside = "".join(f" beside a data loss of {loss:.3g}" for loss in losses)
    first, last = (math.sqrt(sum(map(_squares, W))) for W in (e.before.state.weights(), weights))
    return Suspect(
        "l2_too_strong", Where(),
        f"{values or 'weight decay'}: the penalty is {penalty:.3g}{beside}; the norm of all"
        f" weights: {moved(first, last, digits=3)}",
        "weights that may not grow cannot fit the data",
        "lower the penalty, or leave it out",
        (Cure(change, words="no penalty"),) if change else (),
    )  # fmt: skip


def _squares(W: NDArray[Any]) -> float:
    return float(np.sum(np.square(W, dtype=np.float64)))


def overfitting(e: Evidence) -> Suspect | None:
    """The training rows are fitted far better than the others."""
    curve = np.array(e.base.curve)
    if len(curve) < 3 or not np.isfinite(curve).all():
        return None
    if e.base.train_error >= _GAP * e.base.error:
        return None
    best, last = int(np.argmin(curve)) + 1, float(curve[-1])
    rose = last > _ROSE * curve[best - 1]
    cures = [
        Cure({"l2": 1e-3} if e.train.l2 < 1e-3 else {"l2": 10 * e.train.l2}, words="l2"),
        Cure({"dropout": 0.3} if e.spec.hidden else {"input_dropout": 0.2}, words="dropout"),
    ]
    if best < 0.8 * len(curve):
        cures.insert(0, Cure({"epochs": best}, words=f"end after epoch {best} (EarlyStopping)"))
    course = (
        f"after epoch {best} the validation {e.measure} rose from {curve[best - 1]:.3g} to"
        if rose
        else f"the validation {e.measure} is"
    )
    return Suspect(
        "overfitting", Where(epoch=best) if rose else Where(),
        f"{course} {last:.3g}; on the training rows it is {e.base.train_error:.3g}",
        "the net learns the training rows by heart, their noise included",
        "EarlyStopping, dropout, l2, or more data",
        tuple(cures), trust=0.8, optimises=False,
    )  # fmt: skip


def underfitting(e: Evidence) -> list[Suspect]:
    """Training ends too early, or the net is too small, to fit even the training rows."""
    epochs, hidden = max(e.base.epochs, 1), e.spec.hidden
    few = _ended_early(e)
    of_training = f"the {e.measure} on the training rows is {e.base.train_error:.3g}"
    longer = Suspect(
        "underfitting", Where(epoch=epochs),
        f"after {epochs} epochs {of_training}{_still_falling(e)}",
        "training ends before the net has learned what it could",
        "train for longer",
        (
            Cure({"epochs": 4 * epochs}, words=f"epochs={4 * epochs}"),
            *((Cure({"epochs": 16 * epochs}, words=f"epochs={16 * epochs}"),) if few else ()),
        ),
        trust=1.0 if few else 0.4, least=0.2, ladder=True, sign=False,
        better="" if few else "training for longer learns more",
    )  # fmt: skip
    wide = tuple(max(64, 4 * h) for h in hidden) or (64,)
    narrow = not hidden or min(hidden) <= 4
    activation = e.spec.activation[0] if hidden else "relu"
    smaller = "no hidden layer" if not hidden else f"hidden layers of {', '.join(map(str, hidden))}"
    wider = Suspect(
        "underfitting", Where(layer=1),
        f"{smaller}: {e.spec.n_parameters} parameters in all; {of_training}",
        "the net is too small to express what the data hold"
        if narrow
        else "more units come further in as many epochs",
        f"more units, e.g. hidden={wide}",
        (Cure({"hidden": wide, "activation": activation, "dropout": 0.0}, words=f"hidden={wide}"),),
        trust=1.0 if narrow else 0.4, least=0.15, sign=False,
        better="" if narrow else "a wider net learns more",
    )  # fmt: skip
    return [longer, wider]


def _still_falling(e: Evidence) -> str:
    """What the training loss did in the last fifth of the epochs, if it fell."""
    last = e.base.losses[-max(2, len(e.base.losses) // 5) :]
    if len(last) < 2 or not last[-1] < last[0] / _ROSE:
        return ""
    return f"; in the last {len(last)} epochs the loss fell from {last[0]:.3g} to {last[-1]:.3g}"


STEP_RULES = (
    summed_gradient, learning_rate, batch_too_large, l2_too_strong, overfitting, underfitting,
)  # fmt: skip
