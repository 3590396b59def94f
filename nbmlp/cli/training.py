"""``nbmlp train``, ``check-gradients``, ``scan`` and ``why``: read, work, draw, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbmlp.cli import files, launcher, report, streaming, together
from nbmlp.cli.failures import FAILED, say
from nbmlp.cli.groups import (
    Diagnosing,
    Ensemble,
    Learning,
    Outputs,
    Parts,
    Scanning,
    Source,
    Task,
    take,
)
from nbmlp.cli.guard import Guard
from nbmlp.cli.machines import Machines
from nbmlp.cli.rows import Rows, read_training
from nbmlp.errors import SpecError

if TYPE_CHECKING:
    from nbmlp.mlp import MLP
    from nbmlp.train.hosts import Hosts

__all__ = ["check_gradients", "scan", "train", "why"]


def _understand(values: dict[str, Any]) -> Task:
    """Settings checked, before any data are read."""
    from nbmlp.mlp import MLP

    values = dict(values)
    source, parts = take(Source, values), take(Parts, values)
    learning, outputs = take(Learning, values), take(Outputs, values)
    return Task(source, parts, learning, outputs, MLP(**values))


def _callbacks(learning: Learning, outputs: Outputs, guard: Guard) -> list[object]:
    from nbmlp.train.standard import Checkpoint, CSVLog, EarlyStopping, ProgressBar

    found: list[object] = [guard] if outputs.quiet else [guard, ProgressBar()]
    if learning.early_stopping is not None:
        found.append(EarlyStopping(patience=learning.early_stopping, ties=learning.ties))
    if outputs.log is not None:
        found.append(CSVLog(outputs.log))
    if outputs.checkpoint is not None:
        found.append(Checkpoint(outputs.checkpoint))
    return found


def train(values: dict[str, Any], config: str | None, arguments: Sequence[str] = ()) -> int:
    """Train a model as the options say.

    Parameters
    ----------
    values : dict
        Of :data:`nbmlp.cli.options.TRAIN`, by name.
    config : str or None
        File that some came from; never written to.
    arguments : sequence of str
        The command line, for processes that are started with it.

    Returns
    -------
    int
        0, or 1 when Ctrl-C ended the training early.

    Raises
    ------
    NbmlpError
        Settings, data or files are wrong, or the training diverged; nothing was written then
        but the log and the checkpoint of the epochs done.
    """
    machines = take(Machines, values)
    if machines.several and together.launched() is None:
        return launcher.run(machines, arguments, lambda: _understand(values), values)
    return together.run(lambda comm: _train(values, config, comm), machines.deadline)


def _train(values: dict[str, Any], config: str | None, comm: Any) -> int:
    """The part that each process has in it."""
    from nbmlp.train.hosts import Hosts

    if values.get("preset") is not None:
        from nbmlp.cli import tabular

        return tabular.train(values, config, comm)
    Ensemble(**{n: values[n] for n in ("members", "time_limit", "folds") if n in values})
    task = _understand(values)
    hosts = Hosts(comm, task.model.train_spec)
    outputs, model = task.outputs if hosts.rank == 0 else task.outputs.silent(), task.model
    if "ties" in values and task.learning.early_stopping is None:
        raise SpecError("--ties needs --early-stopping, which goes back to the best epoch.")
    written = {n: getattr(outputs, n) for n in ("out", "plot", "log", "checkpoint", "replay")}
    with hosts.told():
        files.check_outputs(written, (task.source.data, task.parts.test, config))
        guard = Guard(outputs.checkpoint)
        callbacks = _callbacks(task.learning, outputs, guard)
    rows, given = _read(task._replace(outputs=outputs), hosts, comm)
    began = time.perf_counter()
    with together.going_on(comm, outputs.checkpoint, outputs.resume) as resume:
        together.write_on_two(comm, outputs.checkpoint, callbacks)
        model.fit(**given, callbacks=callbacks, resume=resume, replay=outputs.replay, comm=comm)
    seconds = time.perf_counter() - began
    model.history.rows_dropped += len(rows.mended.dropped)
    model.history.values_imputed += rows.mended.imputed
    return _finish(model, rows, outputs, seconds, guard) if hosts.rank == 0 else 0


def _read(task: Task, hosts: Hosts, comm: Any) -> tuple[Rows, dict[str, Any]]:
    """The rows, and what `fit` is given of them; process 0 alone measures the model on others."""
    source, parts, learning, outputs, model = task
    if streaming.wanted(source):
        found = streaming.read(source, parts, learning, model, outputs.quiet, comm)
        with hosts.told():
            test = parts.test if hosts.rank == 0 else None
            return streaming.rows_of(found, test, outputs.quiet), {"X": found}
    with hosts.told():
        if learning.sample_weight is not None:
            raise SpecError(
                "--sample-weight names a column of Parquet files that are read by batches: add"
                " --stream for a single file."
            )
        rows = read_training(source, parts, learning, model)
    model.notes["origin"] = rows.origin.to_dict()
    given = {"X": rows.train.X, "y": rows.targets, "row_numbers": rows.train.names}
    return rows, {**given, "validation": parts.share}


def _finish(model: MLP, rows: Rows, outputs: Outputs, seconds: float, guard: Guard) -> int:
    """Save first, so that nothing that goes wrong later costs the training."""
    with guard.guarding():
        if outputs.out is not None:
            model.save(outputs.out)
        if outputs.plot is not None and len(model.history):
            files.write_picture(outputs.plot, model.history.plot())
    rows = rows.measurable(model.dtype)
    result = report.results(model, rows, seconds)
    if outputs.json:
        report.print_json(result)
    elif not outputs.quiet:
        report.print_training(model, rows, result, outputs)
    if model.history.stop_reason != "interrupted":
        return 0
    epochs = f"{len(model.history)} of {model.train_spec.epochs} epochs"
    kept = "nothing was saved" if outputs.out is None else f"the model so far is in {outputs.out}"
    say(f"interrupted after {epochs}: {kept}.")
    return FAILED


def check_gradients(values: dict[str, Any], function: Callable[..., Any] | None) -> int:
    """Compare the gradient, or a function of the user's, on some rows of the data.

    Parameters
    ----------
    values : dict
        Of :data:`nbmlp.cli.options.GRADIENTS` and perhaps ``json``, by name.
    function : callable or None
        As for :meth:`nbmlp.MLP.check_gradients`.

    Returns
    -------
    int
        0 if they agree, else 1.
    """
    task = _understand(values)
    whole = Parts(test_fraction=0)
    rows = read_training(task.source, whole, task.learning, task.model)
    with rows.train.names.telling():
        checked = task.model.check_gradients(rows.train.X, rows.targets, function=function)
    report.print_gradients(checked, task.outputs.json, str(Path(rows.train.source).name))
    return 0 if checked.passed else FAILED


def scan(values: dict[str, Any], config: str | None) -> int:
    """Measure which batch size learns soonest.

    Parameters
    ----------
    values : dict
        Of :data:`nbmlp.cli.options.SCAN`, by name.
    config : str or None
        File that some came from.

    Returns
    -------
    int
        0, or 1 when Ctrl-C ended the scan early.
    """
    values = dict(values)
    wanted = take(Scanning, values)
    task = _understand(values)
    outputs, model = task.outputs, task.model
    files.check_outputs({"plot": outputs.plot}, (task.source.data, task.parts.test, config))
    rows = read_training(task.source, task.parts, task.learning, model)
    with report.progress(outputs.quiet) as progress, rows.train.names.telling():
        found = model.scan_batch(
            rows.train.X, rows.targets, validation=task.parts.share, sizes=wanted.sizes,
            target=wanted.target_loss, seconds=wanted.seconds, progress=progress,
        )  # fmt: skip
    if outputs.plot is not None and found.measured:
        files.write_picture(outputs.plot, found.plot())
    report.print_scan(found, outputs, rows.train.source)
    if found.complete:
        return 0
    say("interrupted.")
    return FAILED


def why(values: dict[str, Any], config: str | None) -> int:
    """Diagnose a training.

    Parameters
    ----------
    values : dict
        Of :data:`nbmlp.cli.options.WHY`, by name.
    config : str or None
        File that some came from.

    Returns
    -------
    int
        0 if nothing is wrong, else 1.
    """
    values = dict(values)
    wanted = take(Diagnosing, values)
    if wanted.preset is None:
        task = _understand(values)
    else:
        from nbmlp.cli import tabular

        task, options = tabular.understand(values, wanted.preset)
    outputs, model = task.outputs, task.model
    files.check_outputs({"plot": outputs.plot}, (task.source.data, task.parts.test, config))
    rows = read_training(task.source, task.parts, task.learning, model, any_values=True)
    if wanted.preset is not None:
        rows, model = tabular.one_of(rows, options, wanted.member or 0, model)
    with report.progress(outputs.quiet) as progress:
        found = model.why(
            rows.train.X, rows.targets, validation=task.parts.share or 0.2,
            seconds=wanted.seconds, progress=progress, row_numbers=rows.train.names,
        )  # fmt: skip
    drawn = outputs.plot is not None and any(f.trial for f in found.findings)
    if outputs.plot is not None and drawn:
        files.write_picture(outputs.plot, found.plot())
    if outputs.json:
        report.print_json(found.to_dict())
    elif not outputs.quiet:
        print(f"{rows.train.source}: {found}")
        if drawn:
            print(f"\ndrawn in {outputs.plot}")
    return 0 if found.healthy else FAILED
