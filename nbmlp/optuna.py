"""Searches by Optuna: a trial that is worse than others is ended after a few epochs."""

from __future__ import annotations

from nbmlp.errors import SpecError, missing_package, unknown_name
from nbmlp.train.callbacks import Callback, Run
from nbmlp.train.history import MONITORS, EpochRecord, choose_monitor, direction

try:
    from optuna import Trial, TrialPruned
except ImportError as error:
    raise missing_package("nbmlp.optuna", "optuna", "optuna") from error

__all__ = ["Pruning"]


class Pruning(Callback):
    """Report each epoch to a trial, and end the fit with ``optuna.TrialPruned`` when it should.

    For one fit of one net: a trial takes one value for each epoch.

    Parameters
    ----------
    trial : optuna.Trial
    monitor : str
        ``"val_score"`` or ``"score"`` (what `eval_metric` names), ``"val_loss"``,
        ``"train_loss"``, or ``"auto"``: the first of them that is recorded.
    """

    of_one_net = True

    def __init__(self, trial: Trial, monitor: str = "auto") -> None:
        if monitor not in (known := ("auto", "score", *MONITORS)):
            raise unknown_name("monitor", monitor, known)
        self.trial = trial
        self.monitor = "val_score" if monitor == "score" else monitor

    def on_epoch_end(self, run: Run, record: EpochRecord) -> None:
        """Report, and ask.

        Raises
        ------
        optuna.TrialPruned
            The trial should end here.
        SpecError
            The study looks for the worst value of what is watched.
        """
        watched = choose_monitor(record, self.monitor)
        self._check_direction(watched, run.history.score_name)
        self.trial.report(float(getattr(record, watched)), record.epoch)
        if self.trial.should_prune():
            raise TrialPruned(f"pruned at epoch {record.epoch}")

    def _check_direction(self, watched: str, score_name: str) -> None:
        study = getattr(self.trial, "study", None)  # a FixedTrial has none
        if study is None:
            return
        wanted = "maximize" if direction(watched, score_name) > 0 else "minimize"
        if study.direction.name.lower() != wanted:
            label = score_name if watched == "val_score" else watched
            raise SpecError(
                f"{label} is for a study of direction={wanted!r}: make the study so, or name"
                " another monitor."
            )
