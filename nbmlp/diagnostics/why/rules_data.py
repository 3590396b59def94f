"""Signs in the data, and between the data and the output: one function per cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp.data.outliers import Usual
from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.report import Where
from nbmlp.diagnostics.why.suspects import Cure, Suspect
from nbmlp.diagnostics.why.trials import log_losses

__all__ = ["DATA_RULES"]

#: Inputs of a larger root mean square, or a smaller one, are out of scale.
_LARGE, _SMALL = 12.0, 0.02
_FEW = 20


def _numbers(evidence: Evidence, rows: NDArray[Any]) -> tuple[int, ...]:
    """Row numbers of the user's data, the first few."""
    return evidence.samples.numbers(rows[:_FEW])


def unscaled_inputs(e: Evidence) -> Suspect | None:
    """Columns whose size or offset drowns the others."""
    if e.base.net.columns is not None:
        return None
    facts = e.inputs
    live = facts.size > 0
    if not live.any():
        return None
    size = facts.size[live]
    offset = np.abs(facts.mean[live]) / np.maximum(facts.deviation[live], 0.1 * size)
    large = float(size.max())
    offset = np.where(size > 2.0, offset, 0.0)
    shifted = float(offset.max())
    if _SMALL < large < _LARGE and shifted < 5.0:
        return None
    # Of sizes that would do it is the offset that does not.
    worst = np.flatnonzero(live)[np.argsort(-(offset if _SMALL < large < _LARGE else size))]
    j = int(worst[0])
    seen = (
        f"inputs range from a root mean square of {size.min():.3g} to {large:.3g}; column"
        f" {e.column(j)} has mean {facts.mean[j]:.3g} and deviation {facts.deviation[j]:.3g}"
    )
    moving = facts.deviation[worst][facts.size[worst] >= _LARGE]
    cause = "constant_inputs" if len(moving) and not moving.any() else "unscaled_inputs"
    return Suspect(
        cause, e.where(worst), seen,
        "a step that suits one column is far too long or short for another, and large inputs"
        " drive units into their flat ends",
        "standardise=True scales every column to mean 0 and deviation 1",
        (Cure({"standardise": True}),), optimises=False,
    )  # fmt: skip


def _targets(e: Evidence) -> NDArray[np.float64]:
    """Numeric targets of some rows as the net gets them, (rows, outputs)."""
    assert e.rows.y is not None
    return e.rows.y.astype(np.float64)


def unreachable_target(e: Evidence) -> Suspect | None:
    """Numeric targets beyond the output's range."""
    if e.classes:
        return None
    output = e.spec.functions[-1]
    low, high = output.row.reach(output.parameter)
    y = _targets(e)
    slack = 1e-6
    outside = ((y < low - slack) | (y > high + slack)).any(axis=1)
    share = float(outside.mean())
    if share < 0.01:
        return None
    rows = _numbers(e, np.flatnonzero(outside))
    return Suspect(
        "unreachable_target", Where(layer=len(e.spec.layer_sizes) - 1, rows=rows),
        f"{share:.0%} of the targets lie outside of [{low:g}, {high:g}], all that the output"
        f" {output.name!r} can be; they range from {y.min():.3g} to {y.max():.3g}",
        "no weights give these targets: training pushes the output to its end, where it has no"
        " slope left",
        "take the identity as output, with standardised targets",
        (
            Cure({"output": "identity", "loss": _numeric_loss(e), "standardise": True}),
            Cure({"output": "identity", "loss": _numeric_loss(e)}),
        ),
        least=0.05, optimises=False,
    )  # fmt: skip


def _numeric_loss(e: Evidence) -> str:
    """The loss, where it goes with the identity."""
    return "squared_error" if e.spec.loss_function.row.canonical else e.spec.loss


def loss_mismatch(e: Evidence) -> Suspect | None:
    """A loss that does not go with classes or with the output."""
    if not e.classes:
        return None
    several = e.spec.n_outputs > 2
    name = e.loss_name
    if name == "cross_entropy" or (name == "binary_cross_entropy" and not several):
        return None
    output = e.spec.functions[-1].name
    if name == "binary_cross_entropy":
        seen = f"{e.spec.n_outputs} classes, each with a logistic unit of its own"
        hurts = "the units do not know that exactly one class is right"
    else:
        seen = f"classes are learned with {name} on output {output!r}"
        hurts = (
            "its derivative vanishes where the net is sure and wrong; the cross-entropy's does not"
        )
    return Suspect(
        "loss_mismatch", Where(layer=len(e.spec.layer_sizes) - 1), seen, hurts,
        "leave output and loss to 'auto': softmax with cross-entropy (one logistic unit for two"
        " classes)",
        (Cure({"output": "auto", "loss": "auto"}),), least=0.1, optimises=False,
    )  # fmt: skip


def initial_loss(e: Evidence) -> Suspect | None:
    """Numeric targets far from the first outputs, so that training begins with a long way."""
    if e.classes:
        return _loss_beyond_a_guess(e)
    if e.base.net.coding.scale is not None:
        return None
    y = _targets(e)
    deviation = np.maximum(y.std(axis=0), 1e-300)
    offset = float(np.max(np.abs(y.mean(axis=0)) / deviation))
    size = float(np.max(np.sqrt(np.mean(y * y, axis=0))))
    if size < 5.0 and (offset < 4.0 or size < 1.5) and size > 0.02:
        return None
    first = "" if e.first is None else f"; the first loss is {e.first.loss:.3g}"
    return Suspect(
        "initial_loss", Where(step=0),
        f"targets have mean {y.mean():.4g} and deviation {y.std():.4g}, outputs begin near 0"
        f"{first}",
        "most of the training goes into reaching the targets' mean and scale, with errors so"
        " large or so small that no usual learning rate suits them",
        "standardise=True scales targets (and inputs), predictions come back in your units",
        (Cure({"standardise": True}),), optimises=False,
    )  # fmt: skip


def _loss_beyond_a_guess(e: Evidence) -> Suspect | None:
    """Classes: first outputs that are sure of themselves, and wrong."""
    if e.first is None or not e.spec.loss_function.row.classes:
        return None
    classes = max(e.spec.n_outputs, 2)
    guess = np.log(classes)
    if e.first.loss < 4.0 * guess:
        return None
    return Suspect(
        "initial_loss", Where(step=0),
        f"the first loss is {e.first.loss:.3g}, where a guess among {classes} classes has"
        f" {guess:.3g}",
        "training begins by unlearning answers that the net is sure of",
        "smaller first weights (init='auto') or inputs (standardise=True)",
        (
            Cure({"init": "auto"}, words="init='auto'"),
            Cure({"standardise": True}, words="standardise=True"),
        ),
        trust=0.9, optimises=False,
    )  # fmt: skip


def class_imbalance(e: Evidence) -> Suspect | None:
    """Classes that are rare in training, though not where they are measured."""
    labels = e.base.net.coding.labels
    if labels is None:
        return None
    codes, held = labels.encode(e.samples.y), labels.encode(e.samples.y_val)
    counts = np.bincount(codes, minlength=len(labels))
    of_held = np.bincount(held, minlength=len(labels)) / len(held)
    share = counts / len(codes)
    lack = of_held / np.maximum(share, 0.5 / len(codes))
    if counts.max() < 3 * max(counts.min(), 1):
        return None
    order = np.argsort(share)
    rare = order[0]
    names = [str(name) for name in labels.decode(np.arange(len(labels)))]
    burden = _burden(e, held, lack > 2.0)
    seen = (
        f"class {names[rare]!r} has {counts[rare]} of {len(codes)} training rows"
        f" ({share[rare]:.1%}), {names[order[-1]]!r} {share[order[-1]]:.1%}; of the validation"
        f" rows {of_held[rare]:.1%} are {names[rare]!r}; classes rarer in training make"
        f" {burden:.0%} of the error"
    )
    repeat = _repeats(codes, counts, of_held)
    cures = (Cure(repeat=repeat),) if lack.max() > 2.0 and repeat else ()
    return Suspect(
        "class_imbalance", Where(), seen,
        "the net does best by leaving the rare classes out of account",
        "weigh the rows of rare classes up (sample_weight), or repeat them as the trial did",
        cures, optimises=False, floor=0.1 + 0.8 * burden if lack.max() > 3.0 else 0.1,
    )  # fmt: skip


def _burden(e: Evidence, held: NDArray[Any], rare: NDArray[np.bool_]) -> float:
    """Share of the validation error that the rows of some classes make."""
    outputs = e.trainer.outputs(e.base.net, e.samples.held.X)
    errors = log_losses(held, outputs)
    return float(errors[rare[held]].sum() / max(errors.sum(), 1e-300))


def _repeats(
    codes: NDArray[Any], counts: NDArray[Any], wanted: NDArray[np.float64]
) -> tuple[int, ...]:
    """Rows to take again, so that the classes' shares come near those wanted."""
    aim = np.minimum(wanted / wanted.max() * counts.max(), 20 * counts)
    found: list[int] = []
    for label, count in enumerate(counts):
        missing = int(aim[label] - count)
        if count and missing > 0:
            found += np.resize(np.flatnonzero(codes == label), missing).tolist()
    return tuple(found)


def useless_columns(e: Evidence) -> list[Suspect]:
    """Columns that say nothing, or nothing new: hints."""
    found = []
    facts, n = e.inputs, len(e.inputs.size)
    if facts.constant and len(facts.constant) < n:
        found.append(
            Suspect(
                "constant_inputs", e.where(facts.constant),
                f"{len(facts.constant)} of {n} columns never change",
                "they only cost time, or act as a second bias that learns at another pace",
                "leave them out", _without(e, facts.constant), trust=0.95, least=0.15,
            )
        )  # fmt: skip
    if facts.copies:
        j, of = facts.copies[0]
        found.append(
            Suspect(
                "duplicated_inputs", e.where([j for j, _ in facts.copies]),
                f"{len(facts.copies)} columns repeat others, e.g. column {e.column(j)} column"
                f" {e.column(of)}",
                "what they say counts as often as it is said, and their weights move together in"
                " one step as long", "leave them out", _without(e, [j for j, _ in facts.copies]),
                trust=0.95,
            )
        )  # fmt: skip
    return found


def _without(e: Evidence, columns: Sequence[int]) -> tuple[Cure, ...]:
    """Trying the net without some columns, where they are the user's own."""
    if e.base.net.columns is not None:
        return ()
    return (Cure(columns=tuple(columns)),)


def extreme_values(e: Evidence) -> Suspect | None:
    """Single values that lie so far out that they decide the column's scale."""
    if e.base.net.columns is not None:
        return None
    far = Usual(e.rows.x).far(np.arange(len(e.rows)))
    rows = np.unique([one.place for one in far]).astype(np.int64)
    if not far or len(rows) > 0.02 * len(e.rows):
        return None
    worst, columns = far[0], sorted({one.column for one in far})
    return Suspect(
        "extreme_values", e.where(columns, _numbers(e, rows)),
        f"{len(rows)} rows hold values far beyond all others of their column: {worst.value:.4g} at"
        f" {e.rows.names.place('X', worst.place, worst.column)}, is"
        f" {worst.times:.3g} times the usual spread from its median",
        "one such row in a batch makes the step that all others have to undo",
        "drop or mend these rows",
        (Cure(drop=tuple(rows.tolist())),), optimises=False,
    )  # fmt: skip


DATA_RULES = (
    unreachable_target, loss_mismatch, unscaled_inputs, extreme_values, initial_loss,
    class_imbalance, useless_columns,
)  # fmt: skip
