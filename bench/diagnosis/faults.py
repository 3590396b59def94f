"""The faults, how each is planted into a healthy set-up, and which findings name it.

A fault's name is the cause that the first finding must carry. `accepts` holds it and, only where
the thing planted literally is two of them at once, the other cause with the reason. All of this
was written before any diagnosis was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bench.diagnosis.twins import Twin, Wish, brief

__all__ = ["FAULTS", "PAIRS", "Fault", "Planted"]

Rng = np.random.Generator
SIGMOIDS = ("logistic", "tanh")
PLAIN = ("sgd", "sgd(momentum=0.9)")

FLATTENED = "inputs of that size drive the sigmoids of the first layer flat: one fact, two names"
OVERSIZED = "the units are flat because the first weights are too large: the init is the fault"
FAR_OFF = "weights so large put the first outputs, and with them the first loss, far off"
GROWN = "gradients grow from layer to layer because the first weights are too large"
KILLED = "the units die in the first updates because the rate is too high: the rate is the fault"
RAW = "the constant is also far larger than any other column"


class Planted(NamedTuple):
    """Changes to a twin: of settings, of data; what names them; what must be seen of them."""

    settings: dict[str, Any]
    alter: list[dict[str, Any]]
    accepts: dict[str, str]
    symptom: str = ""


class Fault(NamedTuple):
    """`plant` (twin, generator, level 0 to 2) changes a twin that grants the `wish`."""

    name: str
    wish: Wish
    plant: Callable[[Twin, Rng, int], Planted]


def wide(rng: Rng, value: float) -> float:
    """The value times 0.7 to 1.4, two figures."""
    return brief(value * 2 ** rng.uniform(-0.5, 0.5))


def with_settings(changes: dict[str, Any], symptom: str = "", **also: str) -> Planted:
    """Planted by settings alone; `also` are other names of it."""
    return Planted(changes, [], also, symptom)


def with_data(
    *alter: dict[str, Any], settings: dict[str, Any] | None = None, **also: str
) -> Planted:
    """Planted into the data."""
    return Planted(settings or {}, list(alter), also)


def activation(twin: Twin) -> str:
    return str(twin.settings["activation"])


def sum_gradient(twin: Twin, rng: Rng, level: int) -> Planted:
    return with_settings({"reduction": "sum"})


def raise_rate(twin: Twin, rng: Rng, level: int) -> Planted:
    factor = wide(rng, (10, 30, 100)[level])
    return with_settings({"learning_rate": brief(twin.settings["learning_rate"] * factor)})


def lower_rate(twin: Twin, rng: Rng, level: int) -> Planted:
    factor = wide(rng, (30, 100, 400)[level])
    return with_settings({"learning_rate": brief(twin.settings["learning_rate"] / factor)})


def saturate(twin: Twin, rng: Rng, level: int) -> Planted:
    if rng.random() < 0.5:
        gain = wide(rng, (8, 20, 60)[level])
        return with_settings(
            {"init": f"glorot_normal({gain})"}, "saturated", initial_weights_large=OVERSIZED
        )
    factor = wide(rng, (20, 60, 300)[level])
    planted = with_data({"how": "scale_columns", "factor": factor}, unscaled_inputs=FLATTENED)
    return planted._replace(symptom="saturated")


def kill_units(twin: Twin, rng: Rng, level: int) -> Planted:
    if rng.random() < 0.6:
        low = wide(rng, 2 / np.sqrt(twin.problem.X.shape[1]))
        high = low * (0.1, 0.03, 0.0)[level]
        return with_settings({"init": f"uniform({-low:.3g}, {high:.3g})"}, "dead")
    factor = wide(rng, (10, 30, 100)[level])
    changed = {"learning_rate": brief(twin.settings["learning_rate"] * factor)}
    return with_settings(changed, "dead", learning_rate_high=KILLED)


def let_vanish(twin: Twin, rng: Rng, level: int) -> Planted:
    if rng.random() < 0.5:
        return with_settings({"activation": "logistic"}, "vanished")
    deviation = wide(rng, (0.05, 0.02, 0.005)[level])
    return with_settings({"init": f"normal({deviation})"}, "vanished")


def let_explode(twin: Twin, rng: Rng, level: int) -> Planted:
    gain = wide(rng, (2, 3, 5)[level])
    return with_settings({"init": f"he_normal({gain})"}, "exploded", initial_weights_large=GROWN)


def enlarge_weights(twin: Twin, rng: Rng, level: int) -> Planted:
    deviation = wide(rng, (1, 3, 8)[level])
    also = {"initial_loss": FAR_OFF}
    if activation(twin) in SIGMOIDS:
        also["saturated_units"] = OVERSIZED
    return with_settings({"init": f"normal({deviation})"}, **also)


def shift_targets(twin: Twin, rng: Rng, level: int) -> Planted:
    return with_data({"how": "shift_targets", "by": wide(rng, (20, 100, 1000)[level])})


def bound_output(twin: Twin, rng: Rng, level: int) -> Planted:
    names = ("tanh", "logistic", "relu")
    return with_settings({"output": str(rng.choice(names[: 3 - level]))})


def mismatch_loss(twin: Twin, rng: Rng, level: int) -> Planted:
    pairs = (
        ("softmax", "squared_error"),
        ("logistic", "squared_error"),
        ("logistic", "binary_cross_entropy"),
    )
    output, loss = pairs[int(rng.integers(len(pairs)))]
    return with_settings({"output": output, "loss": loss})


def unscale(twin: Twin, rng: Rng, level: int) -> Planted:
    also = {"saturated_units": FLATTENED} if activation(twin) in SIGMOIDS else {}
    if twin.settings["standardise"]:
        return with_settings({"standardise": False}, **also)
    way = int(rng.integers(3))
    if way == 0:
        factor = wide(rng, (100, 1000, 1e5)[level])
        return with_data({"how": "scale_columns", "factor": factor}, **also)
    if way == 1:
        factor = wide(rng, (1000, 1e4, 1e6)[level])
        return with_data({"how": "scale_columns", "factor": factor, "share": 0.3})
    return with_data({"how": "shift_columns", "by": wide(rng, (30, 200, 2000)[level])}, **also)


def add_constants(twin: Twin, rng: Rng, level: int) -> Planted:
    if rng.random() < 0.5:
        columns = int(wide(rng, (30, 100, 300)[level]))
        return with_data({"how": "add_constants", "columns": columns, "value": wide(rng, 2)})
    entry = {"how": "add_constants", "columns": 1, "value": wide(rng, (100, 1000, 1e4)[level])}
    return with_data(entry, unscaled_inputs=RAW)


def add_copies(twin: Twin, rng: Rng, level: int) -> Planted:
    return with_data({"how": "add_copies", "copies": int(wide(rng, (50, 150, 500)[level]))})


def spoil_rows(twin: Twin, rng: Rng, level: int) -> Planted:
    value = str(rng.choice(["nan", "inf", "-inf"]))
    rows = int(rng.integers(1, 2 + twin.rows // 100))
    return with_data({"how": "spoil_rows", "rows": rows, "value": value})


def corrupt_labels(twin: Twin, rng: Rng, level: int) -> Planted:
    share = (0.25, 0.4, 0.55)[level] * rng.uniform(0.9, 1.1)
    if twin.problem.kind == "classes":  # the given label must stay the likeliest
        share = min(share, 0.7 * (1 - 1 / twin.problem.classes))
    return with_data({"how": "noise_in_labels", "share": round(share, 2)})


def thin_classes(twin: Twin, rng: Rng, level: int) -> Planted:
    return with_data({"how": "rare_classes", "keep": wide(rng, (0.1, 0.04, 0.01)[level])})


def penalise(twin: Twin, rng: Rng, level: int) -> Planted:
    return with_settings({"l2": wide(rng, (0.03, 0.15, 1.0)[level])})


def overfit(twin: Twin, rng: Rng, level: int) -> Planted:
    rows = max(60, twin.rows // (6, 15, 40)[level])
    epochs = min(400, twin.settings["epochs"] * (4, 8, 16)[level])
    settings = {
        "hidden": [max(256, h) for h in twin.settings["hidden"]],
        "epochs": epochs,
        "l2": 0.0,
        "dropout": 0.0,
        "batch_size": min(twin.settings["batch_size"], 16),
    }
    planted = with_data({"how": "few_rows", "rows": rows}, settings=settings)
    return planted._replace(symptom="overfits")


def underfit(twin: Twin, rng: Rng, level: int) -> Planted:
    if rng.random() < 0.5:
        return with_settings({"hidden": [3 - level] * len(twin.settings["hidden"])})
    return with_settings({"epochs": max(1, twin.settings["epochs"] // (8, 20, 50)[level])})


def enlarge_batch(twin: Twin, rng: Rng, level: int) -> Planted:
    return with_settings({"batch_size": (twin.rows // 4, twin.rows // 2, None)[level]})


CLASSES: Wish = {"kind": "classes", "many": True}
READY: Wish = {"inputs": "standard"}
DEEP: Wish = {"depth": (5, 7), "optimizer": PLAIN, "activation": ("relu", "elu", "leaky_relu")}

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("summed_gradient", {"optimizer": PLAIN}, sum_gradient),
        Fault("learning_rate_high", {}, raise_rate),
        Fault("learning_rate_low", {}, lower_rate),
        Fault("saturated_units", {"activation": SIGMOIDS, **READY}, saturate),
        Fault("dead_relu", {"activation": ("relu",), "inputs": "unit"}, kill_units),
        Fault("vanishing_gradient", {**DEEP, **READY}, let_vanish),
        Fault("exploding_gradient", {**DEEP, **READY}, let_explode),
        Fault("initial_weights_large", {"depth": (1, 2)}, enlarge_weights),
        Fault("initial_loss", {"kind": "regression", **READY}, shift_targets),
        Fault("unreachable_target", {"kind": "regression"}, bound_output),
        Fault("loss_mismatch", CLASSES, mismatch_loss),
        Fault("unscaled_inputs", {}, unscale),
        Fault("constant_inputs", READY, add_constants),
        Fault("duplicated_inputs", READY, add_copies),
        Fault("nonfinite_inputs", READY, spoil_rows),
        Fault("label_noise", {}, corrupt_labels),
        Fault("class_imbalance", {"kind": "classes"}, thin_classes),
        Fault("l2_too_strong", {}, penalise),
        Fault("overfitting", {"rows": (800, 6000)}, overfit),
        Fault("underfitting", {}, underfit),
        Fault("batch_too_large", {"rows": (1000, 6000)}, enlarge_batch),
    )
}

#: Faults that are planted together: they touch different settings, and either does harm alone.
PAIRS = (
    ("label_noise", "learning_rate_low"),
    ("label_noise", "l2_too_strong"),
    ("label_noise", "unscaled_inputs"),
    ("class_imbalance", "l2_too_strong"),
    ("class_imbalance", "learning_rate_high"),
    ("label_noise", "batch_too_large"),
    ("unscaled_inputs", "l2_too_strong"),
    ("unscaled_inputs", "summed_gradient"),
    ("learning_rate_low", "l2_too_strong"),
    ("learning_rate_low", "loss_mismatch"),
    ("unreachable_target", "learning_rate_low"),
    ("unreachable_target", "unscaled_inputs"),
    ("underfitting", "label_noise"),
    ("loss_mismatch", "label_noise"),
)
