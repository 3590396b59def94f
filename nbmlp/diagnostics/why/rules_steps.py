"""Signs in how the net is trained: step, batch, penalty, length; one function per cause."""

from __future__ import annotations

import numpy as np

from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.report import Where
from nbmlp.diagnostics.why.suspects import Cure, Suspect
from nbmlp.optimizers import LBFGS, SGD, Rprop

__all__ = ["STEP_RULES", "usual_rate"]


#: Learning rates of so many times the usual are a sign by themselves.
_HIGH = 3.5
#: Trainings of so few epochs are.
_EARLY = 5


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


def summed_gradient(e: Evidence) -> Suspect | None:
    """A gradient that grows with the batch."""
    if e.train.reduction != "sum" or isinstance(e.train.optimizer, LBFGS | Rprop):
        return None
    rate = e.train.optimizer.learning_rate
    return Suspect(
        "summed_gradient", Where(),
        f"reduction='sum' makes the gradient of a batch of {e.batch} rows {e.batch} times its mean:"
        f" learning rate {rate:g} acts like {rate * e.batch:g}",
        "a rate that suits one batch size is far too long a step for a larger one, and saturates"
        " every unit on the way",
        "reduction='mean' makes the step independent of the batch",
        (Cure({"reduction": "mean"}),), optimises=False,
    )  # fmt: skip


def learning_rate(e: Evidence) -> list[Suspect]:
    """Shorter or longer steps: what the range test is tried with."""
    if isinstance(e.train.optimizer, LBFGS | Rprop):
        return []
    rate = e.train.optimizer.learning_rate
    ratio = rate / usual_rate(e)
    high = Suspect(
        "learning_rate_high", Where(),
        f"learning rate {rate:g} is {ratio:.3g} times what is usual for {e.train.optimizer.name}",
        "steps overshoot: the loss jumps about or units are thrown onto their flat ends",
        "lower the learning rate",
        _ladder(e, ratio, 0.1),
        trust=0.6 if ratio < _HIGH or e.train.reduction == "sum" else 1.0, optimises=ratio < _HIGH,
        ladder=True, sign=False,
    )  # fmt: skip
    low = Suspect(
        "learning_rate_low", Where(),
        f"learning rate {rate:g} is {ratio:.3g} times what is usual for {e.train.optimizer.name}",
        "the loss is still on its way down when training ends",
        "raise the learning rate",
        _ladder(e, ratio, 10.0),
        trust=1.0 if ratio <= (0.05 if _ended_early(e) else 0.2) else 0.5, ladder=True, sign=False,
    )  # fmt: skip
    return [high, low]


def batch_too_large(e: Evidence) -> Suspect | None:
    """Few updates from batches that average far more than the noise asks for."""
    n = len(e.samples)
    if isinstance(e.train.optimizer, LBFGS | Rprop) or e.batch < 64:
        return None
    small = max(16, e.batch // 16)
    rare = e.updates < 150 and not _ended_early(e)
    share = e.batch / n
    # Of a summed gradient smaller batches also mean smaller steps.
    clear = (rare or share >= 0.2) and e.train.reduction == "mean"
    return Suspect(
        "batch_too_large", Where(),
        f"a batch of {e.batch} ({share:.0%} of the rows) makes {e.updates} updates in"
        f" {e.base.epochs} epochs; the gradient's noise scale is about {e.noise:.3g} rows",
        "beyond the noise scale more rows per update hardly make it better, only rarer",
        f"a batch of {small}",
        (
            Cure({"batch_size": small}, words=f"batch_size={small}"),
            Cure({"batch_size": max(16, e.batch // 64)},
                 words=f"batch_size={max(16, e.batch // 64)}"),
        ),
        trust=1.0 if clear else 0.5, ladder=True, sign=False,
    )  # fmt: skip


def l2_too_strong(e: Evidence) -> Suspect | None:
    """A penalty that keeps the weights small at the data's expense."""
    names = [n for n in ("l2", "l1", "weight_decay") if getattr(e.train, n) > 0]
    optimizer_decay = float(getattr(e.train.optimizer, "weight_decay", 0.0))
    if not names and not optimizer_decay:
        return None
    change = dict.fromkeys(names, 0.0)
    values = ", ".join(f"{n}={getattr(e.train, n):g}" for n in names)
    penalty = sum(
        0.5 * e.train.l2 * float(np.sum(np.square(W, dtype=np.float64)))
        + e.train.l1 * float(np.abs(W).sum())
        for W in e.base.net.state.weights()
    )
    loss = e.base.losses[-1] if e.base.losses else float("nan")
    return Suspect(
        "l2_too_strong", Where(),
        f"{values or 'weight decay'}: the penalty is {penalty:.3g} beside a data loss of"
        f" {loss:.3g}, and the weights have shrunk",
        "weights that may not grow cannot fit the data",
        "lower the penalty, or leave it out",
        (Cure(change, words="no penalty"),) if change else (),
    )  # fmt: skip


def overfitting(e: Evidence) -> Suspect | None:
    """Validation got worse while training went on getting better."""
    curve = np.array(e.base.curve)
    if len(curve) < 3 or not np.isfinite(curve).all():
        return None
    best = int(np.argmin(curve)) + 1
    gap = e.base.train_error < 0.6 * e.base.error
    if not gap:
        return None
    cures = [
        Cure({"l2": 1e-3} if e.train.l2 < 1e-3 else {"l2": 10 * e.train.l2}, words="l2"),
        Cure({"dropout": 0.3} if e.spec.hidden else {"input_dropout": 0.2}, words="dropout"),
    ]
    if best < 0.8 * len(curve):
        cures.insert(0, Cure({"epochs": best}, words=f"end after epoch {best} (EarlyStopping)"))
    return Suspect(
        "overfitting", Where(epoch=best),
        f"after epoch {best} the validation error rose from {curve[best - 1]:.3g} to"
        f" {curve[-1]:.3g}; on the training rows it is {e.base.train_error:.3g}",
        "the net learns the training rows by heart, their noise included",
        "EarlyStopping, dropout, l2, or more data",
        tuple(cures), trust=0.8, optimises=False,
    )  # fmt: skip


def underfitting(e: Evidence) -> list[Suspect]:
    """Training ends too early, or the net is too small, to fit even the training rows."""
    epochs, hidden = max(e.base.epochs, 1), e.spec.hidden
    few = _ended_early(e)
    longer = Suspect(
        "underfitting", Where(epoch=epochs),
        f"after {epochs} epochs the error on the training rows is {e.base.train_error:.3g} and"
        " still falling",
        "training ends before the net has learned what it could",
        "train for longer",
        (
            Cure({"epochs": 4 * epochs}, words=f"epochs={4 * epochs}"),
            *((Cure({"epochs": 16 * epochs}, words=f"epochs={16 * epochs}"),) if few else ()),
        ),
        trust=1.0 if few else 0.4, least=0.2, ladder=True, sign=False,
    )  # fmt: skip
    wide = tuple(max(64, 4 * h) for h in hidden) or (64,)
    narrow = not hidden or min(hidden) <= 4
    activation = e.spec.activation[0] if hidden else "relu"
    smaller = "no hidden layer" if not hidden else f"hidden layers of {', '.join(map(str, hidden))}"
    wider = Suspect(
        "underfitting", Where(layer=1),
        f"{smaller} {'has' if not hidden else 'have'} {e.spec.n_parameters} parameters in all; the"
        f" error on the training rows stays at {e.base.train_error:.3g}",
        "the net is too small to express what the data hold",
        f"more units, e.g. hidden={wide}",
        (Cure({"hidden": wide, "activation": activation, "dropout": 0.0}, words=f"hidden={wide}"),),
        trust=1.0 if narrow else 0.4, least=0.15, sign=False,
    )  # fmt: skip
    return [longer, wider]


STEP_RULES = (
    summed_gradient, learning_rate, batch_too_large, l2_too_strong, overfitting, underfitting,
)  # fmt: skip
