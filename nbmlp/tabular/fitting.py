"""One fit over a table: rows divided, columns prepared, members trained, an ensemble chosen."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nbmlp import tuning
from nbmlp.data import ColumnPlan
from nbmlp.errors import NonFiniteError, TrainingWarning
from nbmlp.settings import Settings
from nbmlp.tabular.cluster import Cluster, client_of_joblib
from nbmlp.tabular.criteria import Criterion, Truth, criterion_of
from nbmlp.tabular.division import arranged, divide
from nbmlp.tabular.intervals import calibrate, spread
from nbmlp.tabular.options import NOTHING, Extras, Options
from nbmlp.tabular.race import INTERRUPTED, PAUSED, TIME_LIMIT, Race
from nbmlp.tabular.recipe import FEW_GROUPS, Preset, draw
from nbmlp.tabular.remarks import remarks
from nbmlp.tabular.rows import Sample, fold_of, joined
from nbmlp.tabular.select import select
from nbmlp.tabular.targets import Targets
from nbmlp.tabular.team import Team, check_alike
from nbmlp.tabular.trainee import Fold, Trainee
from nbmlp.train.history import History
from nbmlp.train.hosts import Hosts
from nbmlp.train.interrupt import Interrupted

__all__ = ["Trained", "seeds_of", "train"]

#: Bytes of nets that are told before they are trained.
_LARGE = 2e9


@dataclass(eq=False)
class Trained:
    """What a fit has found.

    Attributes
    ----------
    targets : Targets
    plans : tuple of ColumnPlan
    trainees : list of Trainee
    settings : list of dict
        Of each member.
    prepared : tuple of dict
        What :meth:`nbmlp.ColumnPlan.fit` was asked for, of each plan.
    chosen : list of (Trainee, float)
        Nets of the ensemble with their weights.
    criterion : Criterion
    value : float
        Of the ensemble on the held-out rows.
    cut : str
        Why members ended before they should have, or empty.
    outputs, deviations : ndarray (rows, outputs)
        Of the ensemble on the held-out rows, and of its nets there.
    truth : Truth
        Of these rows.
    held : ndarray of int64 or None
        Which of the rows given these are, those of weight 0 not counted; None where they were
        given apart.
    remarks : list of str
        See :func:`nbmlp.tabular.remarks.remarks`.
    history : History
        Epochs of all nets.
    """

    targets: Targets
    plans: tuple[ColumnPlan, ...]
    trainees: list[Trainee]
    settings: list[dict[str, Any]]
    criterion: Criterion
    truth: Truth
    cut: str = ""
    prepared: tuple[dict[str, Any], ...] = ()
    chosen: list[tuple[Trainee, float]] = field(default_factory=list)
    value: float = float("nan")
    outputs: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    deviations: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    held: NDArray[np.int64] | None = None
    remarks: list[str] = field(default_factory=list)
    history: History = field(default_factory=History)

    @property
    def score(self) -> float:
        """Of the ensemble, in the sign that the criterion has for people."""
        return self.criterion.sign * self.value

    def calibration(self) -> NDArray[np.float64]:
        """Of intervals; empty where targets are classes."""
        targets = self.targets
        if targets.task != "regression":
            return np.empty((0, 0))
        values = targets.in_units(targets.clipped(self.outputs))
        truth = targets.in_units(self.truth.codes)
        return calibrate(truth - values, self.deviations * targets.scale)

    def members(self) -> list[dict[str, Any]]:
        """What became of each net, as plain values."""
        weights = {id(trainee): weight for trainee, weight in self.chosen}
        return [
            {
                "net": net, "member": t.member, "fold": t.fold,
                "settings": self.settings[t.member], "columns": self.prepared[t.plan],
                "score": self.criterion.sign * t.best, "best_epoch": t.best_epoch,
                "epochs": t.epoch, "ended": t.ended, "failure": t.failure,
                "weight": weights.get(id(t), 0.0),
            }
            for net, t in enumerate(self.trainees)
        ]  # fmt: skip


def train(
    sample: Sample, held: Sample | None, task: str, options: Options, extras: Extras = NOTHING
) -> Trained:
    """Train members and choose among them.

    Parameters
    ----------
    sample : Sample
    held : Sample or None
        Rows to hold out, instead of some of `sample`.
    task : str
    options : Options
    extras : Extras

    Raises
    ------
    DataError, SpecError
        Before anything is trained.
    NonFiniteError
        No net has a finite value.
    Interrupted
        A callback has asked for a pause.
    """
    hosts = extras.hosts
    options = replace(options, seed=hosts.agree(options.seed)[0])
    preset = options.recipe(len(sample), task, held is not None or _has_few_groups(sample))
    targets = Targets.fit(sample.y, task)
    criterion = criterion_of(options.eval_metric, targets)
    plans = tuple(_plan(sample, options, each) for each in preset.plans)
    folds = _folds(sample, held, targets, plans, options, preset)
    truth = joined([fold.truth for fold in folds])
    # What can't be tuned in the end is refused before training.
    _tuned(targets, options, truth, np.zeros((len(truth), targets.n_outputs)))
    n_rows = len(folds[0].train[0])
    settings = [
        draw(options.preset, options.seed, member, task, n_rows)
        for member in range(preset.n_members)
    ]
    trainees = [
        trainee
        for member, own in enumerate(settings)
        for trainee in _members(member, own, targets, plans, folds, options, preset)
    ]
    need = needed_bytes(trainees, folds, preset)
    if need > _LARGE:
        warnings.warn(
            f"{len(trainees)} nets take up to {need / 1e9:.1f} GB beside the data while they are"
            " trained: fewer n_members take less.", TrainingWarning, stacklevel=4,
        )  # fmt: skip
    of = {**_of(sample, plans, targets, options, preset), **extras.of}
    check_alike(hosts, trainees, folds, of)
    leads = hosts.rank == 0
    race = Race(
        trainees, folds, criterion, preset,
        _workers(hosts, folds, criterion, options.jobs, len(trainees)), options.time_limit,
        extras.callbacks if leads else None, of,
        extras.checkpoint if leads or extras.writes else None, extras.model,
    )  # fmt: skip
    if extras.resume is not None:
        race.resume(extras.resume)
    race.fence_off(hosts, extras.resume)
    race.run()
    if race.cut == INTERRUPTED and not race.usable:
        raise KeyboardInterrupt
    if race.cut == PAUSED:
        raise Interrupted(PAUSED)
    found = Trained(targets, plans, trainees, settings, criterion, truth)
    found.cut, found.history = race.cut, race.board.history
    found.prepared = preset.plans
    places = [fold.places for fold in folds if fold.places is not None]
    found.held = np.concatenate(places) if places else None
    _choose(found, preset, len(folds))
    found.targets = _tuned(targets, options, truth, found.outputs)
    weighs = options.class_weight is not None
    found.remarks = remarks(trainees, found.targets, truth, found.outputs, weighs)
    _tell(found, options)
    return found


def _has_few_groups(sample: Sample) -> bool:
    return sample.groups is not None and len(np.unique(sample.groups)) < FEW_GROUPS


def _workers(
    hosts: Hosts, folds: Sequence[Fold], criterion: Criterion, jobs: int | None, nets: int
) -> int | Cluster | Team:
    """Who trains the nets."""
    threads = jobs or tuning.available_threads()
    if hosts.size > 1:
        return Team(hosts, folds, criterion, threads)
    client = client_of_joblib() if nets > 1 else None
    return threads if client is None else Cluster(client, folds, criterion, jobs)


def needed_bytes(trainees: Sequence[Trainee], folds: Sequence[Fold], preset: Preset) -> int:
    """Bytes that nets take at most: those of a wave at rest, of all the best epoch."""
    held = sum(len(f.truth) for f in folds) // len(folds)
    best = sum(4 * (t.spec.n_parameters + held * t.spec.n_outputs) for t in trainees)
    size = preset.wave or len(trainees)
    waves = [
        sum(t.nbytes for t in trainees if t.member // size == k)
        for k in range(-(-len(trainees) // size))
    ]
    return best + max(waves)


def _of(
    sample: Sample, plans: tuple[ColumnPlan, ...], targets: Targets, options: Options,
    preset: Preset,
) -> dict[str, Any]:  # fmt: skip
    """What a checkpoint must have been written with to be gone on with, as plain values."""
    return {
        "preset": options.preset, "recipe": repr(preset), "random_state": options.seed,
        "eval_metric": options.eval_metric, "time_ordered": options.time_ordered,
        "class_weight": repr(options.class_weight), "rows": len(sample),
        "columns": digest([p.to_dict() for p in plans]), "targets": digest(targets.to_dict()),
    }  # fmt: skip


def digest(values: Any) -> str:
    """A short name of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _plan(sample: Sample, options: Options, wanted: Mapping[str, Any]) -> ColumnPlan:
    said = options.categorical_features
    return ColumnPlan.fit(
        sample.X, categorical_features="auto" if said is None else said,
        overrides=options.column_kinds, **wanted,
    )  # fmt: skip


def _folds(
    sample: Sample, held: Sample | None, targets: Targets, plans: tuple[ColumnPlan, ...],
    options: Options, preset: Preset,
) -> list[Fold]:  # fmt: skip
    if held is not None:
        _warn_of_unknown(targets, held)
        return [fold_of(sample, held, targets, plans, options.class_weight)]
    n = len(sample)
    strata = targets.encode(sample.y, n).ravel() if targets.task == "classes" else None
    divisions = divide(
        n, preset.folds, preset.validation_fraction, options.seed, strata, sample.groups,
        options.time_ordered,
    )  # fmt: skip
    order, stretches = arranged(divisions)
    X = sample.take(order).X
    matrices = [plan.transform(X) for plan in plans]
    return [
        fold_of(
            sample.take(order[train]), sample.take(order[held]), targets, plans,
            options.class_weight, [(m[train], m[held]) for m in matrices], order[held],
        )
        for train, held in stretches
    ]  # fmt: skip


def _warn_of_unknown(targets: Targets, held: Sample) -> None:
    known = targets.known(held.y)
    if known.all():
        return
    label = held.y.ravel().tolist()[int(np.argmin(known))]
    rows = int((~known).sum())
    warnings.warn(
        f"class {label!r} occurs in the validation rows only: {rows} of them count as misses.",
        TrainingWarning, stacklevel=6,
    )  # fmt: skip


def _members(
    member: int, drawn: Mapping[str, Any], targets: Targets, plans: tuple[ColumnPlan, ...],
    folds: list[Fold], options: Options, preset: Preset,
) -> list[Trainee]:  # fmt: skip
    """A member's nets, one for each fold; seeds are its own."""
    own = {**drawn, **targets.settings}
    plan = int(own.pop("plan", 0))
    seeds = seeds_of(options.seed, member)
    made = []
    for k, fold in enumerate(folds):
        rows = fold.train[plan]
        seed = int(seeds.integers(1 << 31))
        batch = own.get("batch_size")
        batch = batch if batch is None else min(batch, len(rows))
        settings = Settings.parse(
            {**own, "epochs": preset.epochs, "seed": seed, "batch_size": batch}
        )
        spec = targets.specify(settings, plans[plan])
        made.append(Trainee(member, k, plan, spec, settings.train, preset.patience))
    return made


def seeds_of(seed: int, member: int) -> np.random.Generator:
    """Of which a member's seeds come, one for each fold."""
    return np.random.Generator(np.random.Philox(key=[seed, 1 << 32 | member]))


def _choose(found: Trained, preset: Preset, n_folds: int) -> None:
    """Put the ensemble together from the members that were trained on every fold."""
    members: dict[int, list[Trainee]] = {}
    for trainee in found.trainees:
        if trainee.weights is not None and not trainee.lagged:
            members.setdefault(trainee.member, []).append(trainee)
    whole = [own for own in members.values() if len(own) == n_folds]
    if not whole:
        failed = [trainee for trainee in found.trainees if trainee.failure]
        first = f" Net {failed[0].member}: {failed[0].failure}" if failed else ""
        raise NonFiniteError(f"no net has a finite score on the held-out rows.{first}")
    outputs = [np.concatenate([t.outputs for t in own]) for own in whole]
    weights, found.value = select(outputs, found.truth, found.criterion, preset.rounds)
    found.outputs, found.deviations = spread(outputs, weights.tolist())
    for own, weight in zip(whole, weights.tolist(), strict=True):
        if weight > 0:
            found.chosen += [(trainee, weight / n_folds) for trainee in own]
    chosen = {id(trainee) for trainee, _ in found.chosen}
    found.history.chosen = tuple(n for n, t in enumerate(found.trainees) if id(t) in chosen)


def _tuned(
    targets: Targets, options: Options, truth: Truth, outputs: NDArray[np.float64]
) -> Targets:
    """With the threshold that is best on the held-out rows, where one is asked for."""
    if options.tune_threshold is None:
        return targets
    return targets.tuned(options.tune_threshold, outputs, truth.codes, truth.own_weights)


def _tell(found: Trained, options: Options) -> None:
    if found.cut != TIME_LIMIT:
        return
    started = len({t.member for t in found.trainees if t.epoch})
    whole = len({t.member for t in found.trainees if t.ended not in ("", TIME_LIMIT)})
    total = len(found.settings)
    warnings.warn(
        f"time_limit={options.time_limit:g} ended training: of {total} members {started} were"
        f" begun and {whole} trained to their end, so another run may differ.",
        TrainingWarning, stacklevel=5,
    )  # fmt: skip
