"""From suspects to findings: a trial of each cure and of all at once, and what they weigh."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.label_noise import label_noise
from nbmlp.diagnostics.why.never_predicted import never_predicted
from nbmlp.diagnostics.why.report import PROBLEM, Finding, Trial
from nbmlp.diagnostics.why.rules_data import DATA_RULES
from nbmlp.diagnostics.why.rules_net import NET_RULES
from nbmlp.diagnostics.why.rules_steps import STEP_RULES
from nbmlp.diagnostics.why.suspects import Cure, Suspect
from nbmlp.diagnostics.why.trials import Outcome, Samples, Trainer
from nbmlp.errors import DataError, SpecError
from nbmlp.settings import Settings

__all__ = ["Progress", "Search"]

Progress = Callable[[float, str], object]
#: Cause -> the settings that cure it.
_Changes = dict[str, dict[str, Any]]

#: A diagnosis makes about so many trainings.
_TRIALS = 15
#: Fewest rows of a sample.
_LEAST_ROWS = 1_000
#: Floating-point operations per second that are hoped for before any was measured.
_FIRST_FLOPS = 2e10
#: Errors below this share of a guess's are as good as none.
_NEGLIGIBLE = 0.02
#: An error above this share of a guess's is none that was learned to.
_LEARNED = 0.97
#: By this much, as log(before / after), all cures have to be better than the best alone.
_MORE = 0.2
#: A net whose error is below this share of a guess's has learned: a setting of which nothing shows
#: that it is wrong is a hint then, however much better another does, and weighs no more than this.
_HAS_LEARNED, _BEST_HINT = 0.5, 0.9 * PROBLEM
#: Most weight of a finding whose trial has a measure of its own: what makes the usual error smaller
#: comes first.
_BEST_OWN = 0.6
#: Weight of a finding without a sign of its own below which it is not worth a word.
_UNSEEN = 0.25


@dataclass(frozen=True)
class _Tried:
    """A cure, and the training with it."""

    cure: Cure
    outcome: Outcome


class Search:
    """The trials of one diagnosis.

    Parameters
    ----------
    settings : Settings
    trainer : Trainer
    seconds : float
        About how long they may take.
    progress : callable
        See :func:`nbmlp.diagnostics.why.diagnose`.
    """

    def __init__(
        self, settings: Settings, trainer: Trainer, seconds: float, progress: Progress
    ) -> None:
        self.settings, self.trainer, self._progress = settings, trainer, progress
        self._begin, self._seconds = time.perf_counter(), seconds
        self._each = seconds / _TRIALS
        self._tried: dict[str, Outcome | None] = {}

    @property
    def _share(self) -> float:
        """Share of the time that is over."""
        return (time.perf_counter() - self._begin) / self._seconds

    def _say(self, stage: str) -> None:
        self._progress(min(self._share, 1.0), stage)

    def findings(self) -> tuple[list[Finding], bool, Evidence]:
        """All findings, heaviest first; whether all trials were made; what they rest on."""
        evidence = self._base()
        complete, found = True, []
        try:
            suspects = self._suspects(evidence)
            sure = [s for s in suspects if s.sure]
            found = self._each_alone(evidence, sure)
            found = self._together(evidence, sure, found)
            found += self._each_alone(evidence, [s for s in suspects if not s.sure])
            complete = self._share <= 1.0
        except KeyboardInterrupt:
            complete = False
        return sorted(found, key=lambda f: -f.weight), complete, evidence

    def _each_alone(self, e: Evidence, suspects: list[Suspect]) -> list[Finding]:
        """Findings about some suspects; of those that there is no time to try, only the signs."""
        found = []
        for suspect in suspects:
            if suspect.trial is not None:
                found.append(_weigh_own(suspect, suspect.trial))
                continue
            tried = self._try(e, suspect) if self._share <= 1.0 else None
            finding = _weigh(e, suspect, tried)
            found += [] if finding is None else [finding]
        return found

    def _base(self) -> Evidence:
        """Training as it is, on a sample and for as long as the time allows."""
        samples = self._sample()
        self.trainer.samples = samples
        self._say("training as it is")
        base = self.trainer.train(self.settings, seconds=3 * self._each)
        if base.cut_short:  # schedules look to the end: all trials have to have the same
            self.settings = self.settings.with_(epochs=base.epochs)
            base = self.trainer.train(self.settings)
        return Evidence(self.settings, samples, self.trainer, base)

    def _sample(self) -> Samples:
        """As many rows as can be trained on in a trial's time, by a rough estimate."""
        samples = self.trainer.samples
        spec = self.trainer.net(self.settings).spec
        flops = 6.0 * spec.n_parameters * self.settings.train.epochs * len(samples)
        share = self._each * _FIRST_FLOPS / flops
        if share >= 1 or len(samples) <= _LEAST_ROWS:
            return samples
        n = max(_LEAST_ROWS, int(share**0.5 * len(samples)))
        rng = np.random.Generator(np.random.Philox(self.settings.train.seed))
        return samples.take(np.sort(rng.permutation(len(samples))[:n]))

    def _suspects(self, e: Evidence) -> list[Suspect]:
        """What may be wrong, the surest first."""
        found: list[Suspect] = []
        for rule in (*DATA_RULES, *NET_RULES, *STEP_RULES, label_noise, never_predicted):
            suspects = rule(e)
            found += suspects if isinstance(suspects, list) else [suspects] if suspects else []
        return sorted(found, key=lambda s: -s.trust)

    def _try(self, e: Evidence, suspect: Suspect) -> _Tried | None:
        """The best of a suspect's cures; a ladder is climbed as long as it goes down."""
        best: _Tried | None = None
        for cure in suspect.cures:
            words = cure.words or suspect.cure
            self._say(f"{suspect.cause}: {words}")
            outcome = self._train(e, cure)
            if outcome is None:
                continue
            if best is None or outcome.error < best.outcome.error:
                best = _Tried(cure, outcome)
            elif suspect.ladder and outcome.failure is None:
                break
            if suspect.ladder and outcome.failure is None and outcome.error >= e.error:
                break
        return best

    def _together(
        self, e: Evidence, suspects: list[Suspect], found: list[Finding]
    ) -> list[Finding]:
        """Faults that only show when the others are cured: all at once, then all but one.

        What the error rises by when a cure is left out is that cure's own part.
        """
        seen = [s for s in suspects if s.cures and s.cures[0].change and s.trial is None]
        cures = {s.cause: dict(s.cures[0].change) for s in seen}
        if len({repr(change) for change in cures.values()}) < 2 or self._share > 1.0:
            return found
        alone = min([f.trial.after for f in found if f.trial is not None], default=math.inf)
        kept, outcome = self._best_together(e, cures)
        least = _NEGLIGIBLE * e.guess
        if outcome is None or _gain(min(alone, e.error) + least, outcome.error + least) < _MORE:
            return found
        tried, better = _Tried(_merged(kept), outcome), list(found)
        for suspect in (s for s in seen if s.cause in kept):
            without = self._all_but(e, kept, suspect.cause)
            error = e.error if without is None else min(without.error, 3.0 * e.guess)
            part = _gain(error + least, outcome.error + least)
            finding = _found(e, suspect, tried, max(part, 0.0))
            better = [f for f in better if f.cause != suspect.cause or f.weight > finding.weight]
            better += [finding] if all(f.cause != suspect.cause for f in better) else []
        return better

    def _best_together(self, e: Evidence, cures: _Changes) -> tuple[_Changes, Outcome | None]:
        """All cures, or all but one where that is better: a cure may do harm to others."""
        self._say(f"{', '.join(cures)}: all cures at once")
        best: tuple[_Changes, Outcome | None] = cures, self._train(e, _merged(cures))
        for cause in cures if len(cures) > 2 else ():
            rest = {name: change for name, change in cures.items() if name != cause}
            outcome = self._all_but(e, cures, cause)
            if outcome and (best[1] is None or outcome.error < 0.8 * best[1].error):
                best = rest, outcome
        return best

    def _all_but(self, e: Evidence, cures: _Changes, cause: str) -> Outcome | None:
        """Training with all cures but one."""
        self._say(f"{cause}: all cures but this")
        rest = {name: change for name, change in cures.items() if name != cause}
        return self._train(e, _merged(rest))

    def _train(self, e: Evidence, cure: Cure) -> Outcome | None:
        """Several suspects may ask for the same cure: it is tried once."""
        key = repr((sorted(cure.change.items()), cure.drop, cure.repeat, cure.columns))
        if key not in self._tried:
            self._tried[key] = self._train_anew(e, cure)
        return self._tried[key]

    def _train_anew(self, e: Evidence, cure: Cure) -> Outcome | None:
        samples = e.samples
        if cure.columns:
            samples = samples.without_columns(cure.columns)
        if cure.drop or cure.repeat:
            rows = np.setdiff1d(np.arange(len(samples)), cure.drop)
            samples = samples.take(np.concatenate([rows, np.array(cure.repeat, np.int64)]))
        try:
            settings = self.settings.with_(**cure.change)
            return self.trainer.train(settings, samples, seconds=8 * max(e.base.seconds, 0.5))
        except (SpecError, DataError):
            return None


def _merged(cures: _Changes) -> Cure:
    change: dict[str, Any] = {}
    for one in cures.values():
        change = one | change
    return Cure(change, words=f"the cures of {', '.join(cures)} together")


def _weigh(e: Evidence, suspect: Suspect, tried: _Tried | None) -> Finding | None:
    """A finding with the weight that its trial gives it; None for nothing."""
    if tried is None:
        return _hint(suspect) if suspect.sign else None
    least = _NEGLIGIBLE * e.guess
    gain = _gain(e.error + least, tried.outcome.error + least)
    if tried.outcome.error > _LEARNED * e.guess:  # from worse than a guess to a guess
        gain *= 0.3
    if suspect.optimises:
        before = min(e.base.train_error, 3 * e.guess)
        of_training = _gain(before + least, tried.outcome.train_error + least)
        gain = min(gain, 2.0 * max(of_training, 0.0) + 0.02)
    finding = _found(e, suspect, tried, suspect.trust * max(gain, 0.0))
    if suspect.better and e.error < _HAS_LEARNED * e.guess:
        finding = replace(finding, weight=min(finding.weight, _BEST_HINT))
    return finding if suspect.sign or finding.weight >= _UNSEEN else None


def _weigh_own(suspect: Suspect, trial: Trial) -> Finding:
    """A finding whose trial the rule has made."""
    score = max(_gain(trial.before + _NEGLIGIBLE, trial.after + _NEGLIGIBLE), 0.0)
    weight = max(min(_weight(score, suspect), _BEST_OWN), suspect.floor)
    return replace(_hint(suspect), weight=weight, trial=trial, change=dict(suspect.cures[0].change))


def _weight(score: float, suspect: Suspect) -> float:
    """Of a score: log(before / after) as far as it is trusted."""
    return score / (score - math.log(1.0 - suspect.least))


def _hint(suspect: Suspect) -> Finding:
    s = suspect
    return Finding(s.cause, s.floor, s.where, s.seen, s.hurts, s.cure, better=s.better)


def _found(e: Evidence, suspect: Suspect, tried: _Tried, score: float) -> Finding:
    """What was tried, with the weight of a score: log(before / after) as far as it is trusted."""
    weight = max(_weight(score, suspect), suspect.floor)
    trial = Trial(
        e.base.error, tried.outcome.error, e.measure,
        tried.outcome.epochs, len(e.samples), tuple(e.base.curve), tuple(tried.outcome.curve),
    )  # fmt: skip
    cure, numbers = tried.cure, e.samples.numbers
    return replace(
        _hint(suspect), weight=weight, change=dict(cure.change), trial=trial,
        cure=f"{suspect.cure}; tried: {cure.words}" if cure.words else suspect.cure,
        drop_rows=numbers(np.array(cure.drop, np.int64)),
        repeat_rows=numbers(np.array(cure.repeat, np.int64)),
    )  # fmt: skip


def _gain(before: float, after: float) -> float:
    """log(before / after), within reason."""
    if not math.isfinite(after):
        return -1.0
    return min(math.log(max(before, 1e-12) / max(after, 1e-12)), 6.0)
