"""One diagnosis, asked for as a user would, and whether it was right."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.diagnosis.measure import lost, train
from bench.diagnosis.recipe import Problem
from bench.diagnosis.setups import Setup, names_planted, stored
from nbmlp import MLP, NonFiniteError

__all__ = ["FELL", "Verdict", "ask", "judge", "judge_stored"]

#: A cure counts when the loss on rows that nobody saw falls to at most this share.
FELL = 0.95


@dataclass
class Verdict:
    """What was said about a set-up, and what came of it.

    Attributes
    ----------
    number : int
    real : bool
    source : str
    faults : list of str
        As planted.
    twin_loss, loss : float
        Validation losses of the healthy twin and of the set-up, as planted.
    causes : list of (str, float)
        As found, with weights, heaviest first.
    left_alone : bool
        Whether the report calls it healthy.
    named : bool
        Whether the first cause names a planted fault.
    both : bool
        Whether the first two name two planted faults.
    change : dict
        The settings that the first finding would change.
    promised : bool or None
        Whether the first finding's own trial improved; None without a trial.
    before, after : float
        Loss on the test rows as it was, and with the cure; `after` is None without a cure.
    seconds : float
        Of the diagnosis.
    error : str
        Of a diagnosis that failed.
    """

    number: int
    real: bool
    source: str
    faults: list[str]
    twin_loss: float
    loss: float
    causes: list[tuple[str, float]] = field(default_factory=list)
    left_alone: bool = False
    named: bool = False
    both: bool = False
    change: dict[str, Any] = field(default_factory=dict)
    promised: bool | None = None
    before: float = math.inf
    after: float | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def own_name(self) -> bool:
        """Whether the first cause is the planted fault's own name, not another of it."""
        return self.named and self.causes[0][0] in self.faults

    @property
    def cured(self) -> bool:
        """Whether the cure lowered the loss on rows that neither side saw."""
        if self.after is None or math.isinf(self.after):
            return False
        return self.after <= FELL * self.before

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, infinities as text."""
        values = {**asdict(self), "cured": self.cured}
        return {k: str(v) if v in (math.inf, -math.inf) else v for k, v in values.items()}


def ask(model: MLP, problem: Problem) -> Any:
    """The report, asked for as a user would."""
    return model.why(problem.X, problem.y, validation=(problem.Xv, problem.yv))


def test_loss(model: MLP, problem: Problem) -> float:
    """On rows that the diagnosis never saw."""
    return lost(model, problem.Xt, problem.yt, problem.kind)


def after_cure(report: Any, problem: Problem) -> float | None:
    """Train the cure from the start and measure it; None when none is offered."""
    model = report.cured()
    if model is None:
        return None
    X, y = report.cure_rows(problem.X, problem.y)
    try:
        model.fit(X, y, validation=(problem.Xv, problem.yv))
    except NonFiniteError:
        return math.inf
    return test_loss(model, problem)


def examine(setup: Setup, verdict: Verdict) -> None:
    """Fill in the verdict."""
    problem = setup.problem
    model, finite = train(setup.settings, problem)
    verdict.before = test_loss(model, problem) if finite else math.inf
    start = time.perf_counter()
    report = ask(model, problem)
    verdict.seconds = time.perf_counter() - start
    findings = report.findings
    verdict.causes = [(f.cause, float(f.weight)) for f in findings]
    verdict.left_alone = bool(report.healthy)
    if report.healthy or not findings:
        return
    named = [names_planted(setup, f.cause) for f in findings[:2]]
    verdict.named = bool(named[0])
    verdict.both = len(setup.faults) == 2 and set(setup.faults) <= {*named[0], *named[-1]}
    verdict.change = {k: str(v) for k, v in findings[0].change.items()}
    verdict.promised = None if findings[0].trial is None else bool(findings[0].trial.improved)
    verdict.after = after_cure(report, problem)


def judge(setup: Setup) -> Verdict:
    """Diagnose a set-up; a diagnosis that fails counts as wrong, with its error."""
    source, losses = setup.recipe["source"], (setup.healthy_loss, setup.loss)
    verdict = Verdict(setup.number, setup.real, source, setup.faults, *losses)
    try:
        examine(setup, verdict)
    except Exception as error:  # whatever it is: the other set-ups are to be judged still
        verdict.error = f"{type(error).__name__}: {error}"
    return verdict


def judge_stored(folder: Path | None, seed: int, number: int) -> Verdict:
    """Make or read a set-up, and judge what is said about it."""
    return judge(stored(folder, seed, number))
