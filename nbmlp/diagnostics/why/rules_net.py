"""Signs in the net itself, at its first weights and as trained: one function per cause."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.report import Where
from nbmlp.diagnostics.why.suspects import Cure, Suspect
from nbmlp.init import usual_deviation
from nbmlp.names import OUTPUTS, Flat
from nbmlp.train.statistics import LayerStatistics

__all__ = ["NET_RULES"]

#: First weights beyond these multiples of the usual are out of scale.
_LARGE, _SMALL = 2.5, 0.2
#: So small a share of the output's error is left in the first layer where gradients vanish.
_VANISHED = 0.02
#: So large a share of a layer's relu units dead is no accident.
_DEAD = 0.4


def _ratios(e: Evidence) -> list[float]:
    """First weights of each layer over the usual, as root mean squares."""
    layers = zip(e.before.state.weights(), e.spec.functions, strict=True)
    return [
        float(np.sqrt(np.mean(np.square(W, dtype=np.float64)))) / usual_deviation(f.row, *W.shape)
        for W, f in layers
    ]


def initial_weights_large(e: Evidence) -> Suspect | None:
    """First weights too large for the number of inputs."""
    ratios = _ratios(e)
    k = int(np.argmax(ratios))
    if ratios[k] < _LARGE or _dead_at_first(e) >= _DEAD:
        return None
    first = "" if e.first is None else f"; the first loss is {e.first.loss:.3g}"
    deep = len(e.spec.hidden) >= 3 and not _bounded(e)
    cause = "exploding_gradient" if deep else "initial_weights_large"
    return Suspect(
        cause, Where(layer=k + 1, step=0),
        f"init {e.spec.init!r} gives layer {k + 1} weights {ratios[k]:.1f} times as large as its"
        f" {e.spec.layer_sizes[k]} inputs bear{first}",
        "sums of so many large terms saturate units, and make outputs and gradients grow from"
        " layer to layer",
        "init='auto' takes the width into account",
        (Cure({"init": "auto"}),), optimises=False,
    )  # fmt: skip


def _bounded(e: Evidence) -> bool:
    """Whether a hidden layer is of units with two flat ends."""
    return any(f.row.flat is Flat.BOTH for f in e.spec.functions[:-1])


def vanishing_gradient(e: Evidence) -> Suspect | None:
    """The first layer's gradient is next to nothing beside the last one's."""
    if e.first is None or not e.spec.hidden:
        return None
    deltas = [layer.delta for layer in e.first.layers]
    top = max(deltas[-1], 1e-300)
    share = deltas[0] / top * math.sqrt(e.spec.layer_sizes[1] / e.spec.n_outputs)
    ratios = _ratios(e)
    small = min(ratios) < _SMALL
    if share > _VANISHED and not small:
        return None
    k = int(np.argmin(ratios)) + 1 if small else 1
    cures, seen = [], []
    if share <= _VANISHED:
        seen.append(
            f"at the first weights the error sent back to layer 1 is {share:.2g} of that at the"
            " output"
        )
    if small:
        seen.append(f"the first weights of layer {k} are {min(ratios):.2g} of the usual size")
        cures.append(Cure({"init": "auto"}, words="init='auto'"))
    if _bounded(e) and len(e.spec.hidden) >= 2:
        change = {"activation": "relu", "init": "auto"}
        cures.append(Cure(change, words="activation='relu'"))
    if not cures:
        return None
    return Suspect(
        "vanishing_gradient", Where(layer=k, step=0),
        "; ".join(seen),
        "the lower layers stand still, so those above learn from noise",
        "keep the signal's size through the layers: " + " or ".join(c.words for c in cures),
        tuple(cures),
    )  # fmt: skip


def exploding_gradient(e: Evidence) -> Suspect | None:
    """Signals grow from layer to layer."""
    if len(e.spec.hidden) < 2 or max(_ratios(e)) >= _LARGE:
        return None
    if e.first is None:
        seen = "are not finite"
    else:
        outputs = [layer.output for layer in e.first.layers[:-1]]
        growth = outputs[-1] / max(outputs[0], 1e-300)
        if growth < 10.0:
            return None
        seen = f"grow {growth:.2g}-fold from layer 1 to layer {len(e.spec.hidden)}"
    return Suspect(
        "exploding_gradient", Where(layer=len(e.spec.hidden), step=0),
        f"at the first weights outputs {seen}",
        "gradients grow alike on their way down, and steps with them",
        "init='auto' keeps sizes from layer to layer; clip_norm=1 bounds the step",
        (Cure({"init": "auto"}), Cure({"clip_norm": 1.0}, words="clip_norm=1")),
    )  # fmt: skip


class _Worst(NamedTuple):
    """The hidden layer of which the largest share is without slope, and when it was seen."""

    share: float
    k: int = 0
    late: bool = False

    @property
    def when(self) -> str:
        return "after the training" if self.late else "at the first weights"

    @property
    def where(self) -> Where:
        step = None if self.late else 0
        return Where(layer=self.k + 1, unit_share=self.share, step=step)


def _worst(e: Evidence, share: Callable[[LayerStatistics], float]) -> _Worst:
    """The largest share in a hidden layer, at the first weights or after the training."""
    found = [
        _Worst(share(layer), k, late)
        for late, view in ((False, e.first), (True, e.last))
        if view is not None
        for k, layer in enumerate(view.layers[: len(e.spec.hidden)])
    ]
    return max(found, default=_Worst(0.0))


def saturated_units(e: Evidence) -> Suspect | None:
    """Hidden logistic or tanh units on their flat ends, from the first step or since."""
    worst = _worst(e, lambda layer: layer.saturated)
    if worst.share < 0.5:
        return None
    return Suspect(
        "saturated_units", worst.where,
        f"{worst.share:.0%} of the outputs of layer {worst.k + 1} ({e.spec.activation[worst.k]})"
        f" lie on its flat ends {worst.when}",
        "where there is no slope, no gradient passes and the weights below stand still",
        "activation='relu' has no flat upper end; or smaller inputs, weights and steps",
        (Cure({"activation": "relu", "init": "auto"}, words="activation='relu'"),),
        trust=0.7,
    )  # fmt: skip


def _dead(layer: LayerStatistics) -> float:
    """Share of the units that are relu and dead."""
    return layer.dead if OUTPUTS[layer.activation].flat is Flat.BELOW else 0.0


def _dead_at_first(e: Evidence) -> float:
    """Largest share of a layer's relu units that are dead at the first weights."""
    layers = () if e.first is None else e.first.layers[: len(e.spec.hidden)]
    return max(map(_dead, layers), default=0.0)


def dead_relu(e: Evidence) -> Suspect | None:
    """Relu units that fire for no row."""
    worst = _worst(e, _dead)
    if worst.share < _DEAD:
        return None
    cures = (
        Cure({"init": "auto"}, words="init='auto'"),
        Cure({"activation": "leaky_relu", "init": "auto"}, words="activation='leaky_relu'"),
    )
    return Suspect(
        "dead_relu", worst.where,
        f"{worst.share:.0%} of the relu units of layer {worst.k + 1} give 0 for every row looked at"
        f" {worst.when}",
        "such a unit has no gradient and never comes back; the net is as narrow as what is left",
        "first weights of mean 0 (init='auto'), a lower learning rate, or leaky_relu",
        cures[worst.late :], trust=0.75 if worst.late else 1.0,
    )  # fmt: skip


NET_RULES = (
    initial_weights_large, exploding_gradient, vanishing_gradient, dead_relu, saturated_units,
)  # fmt: skip
