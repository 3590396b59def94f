"""What a diagnosis says: findings in the order of their weight, as text, dict, JSON or picture."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nbmlp.data import Given
from nbmlp.diagnostics.figures import moved
from nbmlp.errors import listing
from nbmlp.io.metadata import without_special
from nbmlp.plots import compare_curves
from nbmlp.rows import Names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CAUSES", "PROBLEM", "Finding", "Report", "Trial", "Where"]

#: From this weight on a finding is a problem; below, it is a hint.
PROBLEM = 0.5
#: Rows or columns that a line names.
_LISTED = 8
#: Every cause that a finding may have, and what it is in a few words.
CAUSES: dict[str, str] = {
    "nonfinite_inputs": "NaN or infinite values in the data",
    "extreme_values": "single values far outside of their column",
    "unreachable_target": "targets outside of what the output can be",
    "loss_mismatch": "loss and output that do not suit the targets",
    "summed_gradient": "a gradient summed over the batch",
    "learning_rate_high": "learning rate too high",
    "learning_rate_low": "learning rate too low",
    "batch_too_large": "too few updates: the batch is large",
    "unscaled_inputs": "inputs of very different or large scale",
    "initial_loss": "a first loss far above that of a guess",
    "initial_weights_large": "first weights too large for the width",
    "vanishing_gradient": "gradients that vanish on their way down",
    "exploding_gradient": "gradients that grow on their way down",
    "saturated_units": "saturated logistic or tanh units",
    "dead_relu": "relu units that never fire",
    "l2_too_strong": "a penalty that keeps the net from fitting the data",
    "label_noise": "targets that do not fit their rows",
    "class_imbalance": "classes of very different size",
    "never_predicted": "a rare class that is never predicted",
    "overfitting": "overfitting",
    "underfitting": "underfitting: training ends too early or the net is too small",
    "constant_inputs": "columns that never change",
    "duplicated_inputs": "columns that are copies of others",
}


@dataclass(frozen=True)
class Where:
    """The place of a finding; what does not apply is None.

    Attributes
    ----------
    layer : int
        1 = first hidden.
    unit_share : float
        Share of the layer's units (or outputs) concerned.
    rows, columns : tuple of int
        Of the data as given, the first few.
    names : tuple of str
        Of these columns, in quotes; empty where they have none.
    epoch, step : int
    """

    layer: int | None = None
    unit_share: float | None = None
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    epoch: int | None = None
    step: int | None = None

    def __str__(self) -> str:
        parts = []
        if self.layer is not None:
            parts.append(f"layer {self.layer}")
        if self.unit_share is not None:
            parts.append(f"{self.unit_share:.0%} of its units")
        if self.rows:
            parts.append(f"rows {listing(self.rows, _LISTED)}")
        if self.columns:
            parts.append(f"columns {listing(self.names or self.columns, _LISTED)}")
        if self.epoch is not None:
            parts.append(f"epoch {self.epoch}")
        if self.step is not None:
            parts.append(f"step {self.step}")
        return ", ".join(parts) or "the whole training"


@dataclass(frozen=True)
class Trial:
    """A short training with the cure beside one without, on the same rows.

    Attributes
    ----------
    before, after : float
        Error on the validation rows: see `measure`. Infinite where training failed.
    measure : str
        What was compared, e.g. ``"log loss"``.
    epochs, rows : int
        Of each training.
    curve_before, curve_after : tuple of float
        The error after each epoch.
    """

    before: float
    after: float
    measure: str
    epochs: int
    rows: int
    curve_before: tuple[float, ...] = ()
    curve_after: tuple[float, ...] = ()

    @property
    def improved(self) -> bool:
        """Whether the error fell by 5 % or more."""
        return self.after < 0.95 * self.before

    def __str__(self) -> str:
        size = f"{self.epochs} epochs on {self.rows} rows"
        return f"{self.measure} {moved(self.before, self.after)} ({size})"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or could be better, and what changes it.

    Attributes
    ----------
    cause : str
        A name of :data:`CAUSES`.
    weight : float
        From 0 to 1: how much it matters; from 0.5 on it is a problem, below a hint.
    where : Where
    seen, hurts, cure : str
        The numbers; why they hurt; what to do.
    change : dict
        Settings of :class:`~nbmlp.MLP` that cure it.
    drop_rows : tuple of int
        Rows of X and y that the cure leaves out.
    repeat_rows : tuple of int
        Rows that the cure takes once more, as often as they are named.
    trial : Trial or None
        What the cure did, where one was tried.
    better : str
        Where nothing shows that a setting is wrong: that another does better, in a few words.
    """

    cause: str
    weight: float
    where: Where
    seen: str
    hurts: str
    cure: str
    change: Mapping[str, Any] = field(default_factory=dict)
    drop_rows: tuple[int, ...] = ()
    repeat_rows: tuple[int, ...] = ()
    trial: Trial | None = None
    better: str = ""

    @property
    def problem(self) -> bool:
        """Something is wrong; else it is a hint."""
        return self.weight >= PROBLEM

    @property
    def title(self) -> str:
        """What it is in a few words."""
        return self.better or CAUSES[self.cause]

    @property
    def verified(self) -> bool:
        """A trial has shown that the cure works."""
        return self.trial is not None and self.trial.improved

    def __str__(self) -> str:
        lines = [f"{self.title} ({self.cause}; {self.where})"]
        parts = {"seen": self.seen, "hurts": self.hurts, "cure": self.cure}
        if self.trial is not None:
            parts["trial"] = str(self.trial)
        for name, text in parts.items():
            lines.append(
                textwrap.fill(
                    text, 96, initial_indent=f"   {name + ':':7s}", subsequent_indent=" " * 10
                )
            )
        return "\n".join(lines)

    def brief(self) -> str:
        """One line, as of a hint: what was seen, and what a trial that helped has changed."""
        tried = f"; {self.cure}: {self.trial}" if self.verified else ""
        return f"{self.title}: {self.seen}{tried}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {"problem": self.problem, "title": self.title, **asdict(self)}
        return values | {"change": {k: _plain(v) for k, v in self.change.items()}}


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Report:
    """Result of a diagnosis; prints as text.

    Attributes
    ----------
    findings : tuple of Finding
        Heaviest first. Those of a weight of 0.5 or more are problems, the others hints.
    error, measure : float, str
        Of the training as it is, on the validation rows.
    summary : dict
        What was looked at: ``rows`` given, ``sample`` of them trained on, ``epochs``, ``trials``,
        ``seconds``; ``first`` and ``last``, the layers before and after the training.
    complete : bool
        False when time ran out or Ctrl-C ended the trials.
    rebuild : callable or None
        Makes a model of changed settings.
    """

    findings: tuple[Finding, ...]
    error: float
    measure: str
    summary: Mapping[str, Any]
    complete: bool = True
    rebuild: Callable[..., Any] | None = None

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings of what is wrong."""
        return tuple(f for f in self.findings if f.problem)

    @property
    def hints(self) -> tuple[Finding, ...]:
        """The others: what could be better, and what is worth knowing."""
        return tuple(f for f in self.findings if not f.problem)

    @property
    def healthy(self) -> bool:
        """There is none."""
        return not self.problems

    @property
    def top(self) -> Finding | None:
        """The heaviest problem."""
        return self.problems[0] if self.problems else None

    def cured(self) -> Any:
        """A new model, not fitted, with the settings that the heaviest problem asks for.

        None where nothing is wrong or no setting cures it. Fit it on :meth:`cure_rows`.
        """
        top = self.top
        if top is None or self.rebuild is None:
            return None
        return self.rebuild(**top.change)

    def cure_rows(
        self, X: Any, y: Any, row_numbers: Names | ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """The rows to fit it on: without those to be dropped, with those to be repeated.

        Parameters
        ----------
        X, y, row_numbers
            As they were diagnosed.
        """
        top = self.top
        if top is None or not (top.drop_rows or top.repeat_rows):
            return X, y
        given = Given.of(X, y, numbers=row_numbers)
        numbers = given.names.row_numbers(np.arange(len(given.y)))
        places = {number: place for place, number in enumerate(numbers.tolist())}
        kept = np.flatnonzero(~np.isin(numbers, top.drop_rows))
        again = [places[number] for number in top.repeat_rows]
        found = given.take(np.concatenate([kept, np.array(again, np.int64)]))
        return found.X, found.y

    def __str__(self) -> str:
        lines = [self._headline()]
        for number, finding in enumerate(self.problems, start=1):
            lines += ["", f"{number}. {finding}"]
        if self.hints:
            lines += ["", "hints:"]
        lines += [
            textwrap.fill(f.brief(), 99, initial_indent=" - ", subsequent_indent="   ")
            for f in self.hints
        ]
        return "\n".join(lines)

    def _headline(self) -> str:
        looked = f"{self.measure} {self.error:.4g} as it is"
        trials = f"{self.summary.get('trials', 0)} trials in {self.summary.get('seconds', 0):.0f} s"
        partly = "" if self.complete else "; ended early, not every cure was tried: raise seconds"
        if self.healthy:
            so_far = "" if self.complete else " so far"
            return f"nothing wrong was found{so_far} ({looked}; {trials}{partly})"
        n = len(self.problems)
        return f"{n} problem{'s' * (n > 1)} found ({looked}; {trials}{partly})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "healthy": self.healthy, "error": self.error, "measure": self.measure,
            "complete": self.complete, "summary": dict(self.summary),
            "findings": [f.to_dict() for f in self.findings],
        }  # fmt: skip

    def to_json(self) -> str:
        """One JSON object; infinite errors are null."""
        return json.dumps(without_special(self.to_dict()), indent=2, allow_nan=False)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the error over the epochs, as it is and with each cure tried.

        Raises
        ------
        MissingPackageError
            matplotlib is not installed.
        DataError
            No trial was made, or the file cannot be written.
        """
        tried = [f for f in self.findings if f.trial and f.trial.measure == self.measure]
        curves = {"as it is": tried[0].trial.curve_before} if tried and tried[0].trial else {}
        for f in tried[:5]:
            assert f.trial is not None
            curves[f"cure of {f.cause}"] = f.trial.curve_after
        return compare_curves(curves, f"validation {self.measure}", path=path)
