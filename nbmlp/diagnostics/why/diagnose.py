"""From data and settings to a report: evidence, suspects, a trial of each cure, the order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nbmlp.checks import number
from nbmlp.data import Given, Mended, infer_task
from nbmlp.diagnostics.why.evidence import Evidence
from nbmlp.diagnostics.why.noise import label_noise
from nbmlp.diagnostics.why.report import Finding, Report, Trial, Where
from nbmlp.diagnostics.why.rules_data import DATA_RULES
from nbmlp.diagnostics.why.rules_net import NET_RULES
from nbmlp.diagnostics.why.rules_steps import STEP_RULES
from nbmlp.diagnostics.why.suspects import Cure, Suspect
from nbmlp.diagnostics.why.trials import Outcome, Samples, Trainer, name_of_error
from nbmlp.errors import DataError, SpecError
from nbmlp.settings import Settings

__all__ = ["diagnose"]

Progress = Callable[[float, str], object]

#: A diagnosis makes about so many trainings.
_TRIALS = 15
#: Fewest rows of a sample.
_LEAST_ROWS = 1_000
#: Floating-point operations per second that are hoped for before any was measured.
_FIRST_FLOPS = 2e10
#: Fewer rows than this tell nothing.
_FEWEST = 10
#: Errors below this share of a guess's are as good as none.
_NEGLIGIBLE = 0.02


def diagnose(
    settings: Settings,
    X: Any,
    y: ArrayLike,
    *,
    validation: tuple[Any, ArrayLike] | float = 0.2,
    sample_weight: ArrayLike | None = None,
    seconds: float = 60.0,
    progress: Progress = lambda share, stage: None,
    rebuild: Callable[..., Any] | None = None,
) -> Report:
    """Find out why a training with these settings on these data fails, stalls or disappoints.

    Parameters
    ----------
    settings : Settings
    X, y, sample_weight
        As for :meth:`nbmlp.MLP.fit`; rows with NaN are allowed here.
    validation : (X, y) or float
        Rows to measure on, or the share of the rows to set aside for that.
    seconds : float
        About how long the trials may take in all; large data are sampled to keep to it.
    progress : callable
        Called before each trial with the share of the time that is over, and a few words.
    rebuild : callable, optional
        Makes a model of changed settings, for :meth:`Report.cured`.

    Returns
    -------
    Report
        Ctrl-C ends the trials; what they have found so far is reported.

    Raises
    ------
    DataError, SpecError
    """
    number("seconds", seconds, closed_low=False)
    began = time.perf_counter()
    dtype = str(settings.model.get("dtype", "float32"))
    given, mended = Given.of(X, y, sample_weight).without_bad_rows(dtype)
    samples = _samples(settings, given, validation, dtype)
    trainer = Trainer(samples, _classes(settings, samples))
    work = _Work(settings, trainer, seconds, progress)
    findings, complete, evidence = work.findings()
    if mended.dropped and settings.train.on_nonfinite in ("raise", "warn"):
        findings = [_nonfinite(mended, len(given.y), evidence), *findings]
    summary = {
        "rows": len(given.y), "sample": len(evidence.samples), "epochs": evidence.base.epochs,
        "trials": trainer.count, "seconds": time.perf_counter() - began,
        "first": None if evidence.first is None else evidence.first.to_dict(),
        "last": None if evidence.last is None else evidence.last.to_dict(),
    }  # fmt: skip
    measure = name_of_error(evidence.base.net.coding, evidence.spec.loss)
    stopped = findings and findings[0].cause == "nonfinite_inputs"
    error = math.inf if stopped else evidence.base.error
    return Report(tuple(findings), error, measure, summary, complete, rebuild)


def _samples(settings: Settings, given: Given, validation: Any, dtype: str) -> Samples:
    """Finite rows to train on, and to measure on."""
    if isinstance(validation, tuple | list) and len(validation) == 2:
        return Samples(given, Given.of(*validation).without_bad_rows(dtype)[0])
    share = number("validation", validation, high=1.0, closed_low=False)
    if len(given.y) < _FEWEST:
        raise DataError(f"{len(given.y)} rows without NaN are too few for a diagnosis.")
    return Samples(*given.set_aside(share, settings.train.seed, settings.task == "classes"))


def _classes(settings: Settings, samples: Samples) -> NDArray[Any] | None:
    """All labels, so that a sample that lacks some still gives the same net."""
    task = infer_task(samples.y) if settings.task == "auto" else settings.task
    if task != "classes":
        return None
    return np.concatenate([samples.y, samples.y_val])


def _nonfinite(mended: Mended, n_good: int, e: Evidence) -> Finding:
    """Rows with NaN; the training of the others is their trial."""
    trial = Trial(
        math.inf, e.base.error, name_of_error(e.base.net.coding, e.spec.loss), e.base.epochs,
        len(e.samples), (), tuple(e.base.curve),
    )  # fmt: skip
    n, where = len(mended.dropped), Where(rows=mended.dropped[:20], columns=mended.columns[:20])
    columns = f"columns {', '.join(map(str, mended.columns[:8]))}" if mended.columns else "targets"
    return Finding(
        "nonfinite_inputs", 1.0, where,
        f"{n} of {n + n_good} rows hold NaN or infinite values ({columns}); the first is row"
        f" {mended.dropped[0]}",
        "one such row in a batch makes every weight NaN; the larger the batch, the likelier it is"
        " to hold one",
        "mend these rows or leave them out: on_nonfinite='drop_rows'",
        {"on_nonfinite": "drop_rows"}, trial=trial,
    )  # fmt: skip


@dataclass(frozen=True)
class _Tried:
    """A cure, and the training with it."""

    cure: Cure
    outcome: Outcome


class _Work:
    """The trials of one diagnosis."""

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
        complete = True
        found: list[Finding] = []
        try:
            for suspect in self._suspects(evidence):
                late = self._share > 1.0
                complete = complete and not late
                tried = None if late else self._try(evidence, suspect)
                finding = _weigh(evidence, suspect, tried)
                found += [] if finding is None else [finding]
        except KeyboardInterrupt:
            complete = False
        return sorted(found, key=lambda f: -f.weight), complete, evidence

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
        for rule in (*DATA_RULES, *NET_RULES, *STEP_RULES, label_noise):
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
            better = best is None or outcome.error < best.outcome.error
            if better:
                best = _Tried(cure, outcome)
            elif suspect.ladder:
                break
            if suspect.ladder and outcome.error >= e.error:
                break
        return best

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


def _weigh(e: Evidence, suspect: Suspect, tried: _Tried | None) -> Finding | None:
    """A finding with the weight that its trial gives it; None for nothing."""
    said = (suspect.cause, suspect.where, suspect.seen, suspect.hurts, suspect.cure)
    weight, place, seen, hurts, cure = suspect.floor, *said[1:]
    if tried is None:
        return Finding(said[0], weight, place, seen, hurts, cure) if suspect.sign else None
    least = _NEGLIGIBLE * e.guess
    gain = _gain(e.error + least, tried.outcome.error + least)
    if suspect.optimises:
        before = min(e.base.train_error, 3 * e.guess)
        of_training = _gain(before + least, tried.outcome.train_error + least)
        gain = min(gain, 2.0 * max(of_training, 0.0) + 0.02)
    score = suspect.trust * max(gain, 0.0)
    weight = max(score / (score - math.log(1.0 - suspect.least)), suspect.floor)
    if weight < 0.25 and not suspect.sign:
        return None
    trial = Trial(
        e.base.error, tried.outcome.error, name_of_error(e.base.net.coding, e.spec.loss),
        tried.outcome.epochs, len(e.samples), tuple(e.base.curve), tuple(tried.outcome.curve),
    )  # fmt: skip
    words = f"{cure}; tried: {tried.cure.words}" if tried.cure.words else cure
    number = e.samples.numbers
    return Finding(
        said[0], weight, place, seen, hurts, words, dict(tried.cure.change),
        number(np.array(tried.cure.drop, np.int64)),
        number(np.array(tried.cure.repeat, np.int64)), trial,
    )  # fmt: skip


def _gain(before: float, after: float) -> float:
    """log(before / after), within reason."""
    if not math.isfinite(after):
        return -1.0
    return min(math.log(max(before, 1e-12) / max(after, 1e-12)), 6.0)
