"""``nbmlp train --preset``, and what the other commands print of an ensemble."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbmlp.cli import files, report, together
from nbmlp.cli.failures import FAILED, say
from nbmlp.cli.groups import Ensemble, Learning, Outputs, Parts, Source, Task, take
from nbmlp.cli.guard import Guard
from nbmlp.cli.rows import Rows, read_training
from nbmlp.data import Dataset, Table, infer_task
from nbmlp.data.columns import table_of
from nbmlp.errors import SpecError
from nbmlp.rows import Names
from nbmlp.train.history import brief_seconds
from nbmlp.train.hosts.copies import second_writer

if TYPE_CHECKING:
    from nbmlp.mlp import MLP
    from nbmlp.tabular.fitting import Trained
    from nbmlp.tabular.model import TabularModel
    from nbmlp.tabular.options import Extras, Options
    from nbmlp.train.hosts import Hosts

__all__ = ["one_of", "print_info", "train", "understand"]

#: Settings of MLP that an ensemble has, too, by what it calls them.
_SHARED = {
    "class_weight": "class_weight", "column_kinds": "column_kinds", "epochs": "epochs",
    "eval_metric": "eval_metric", "seed": "seed", "threads": "jobs",
    "tune_threshold": "tune_threshold",
}  # fmt: skip


def train(values: dict[str, Any], config: str | None, comm: Any = None) -> int:
    """Train an ensemble as the options say.

    Parameters
    ----------
    values : dict
        Of :data:`nbmlp.cli.options.TRAIN`, by name.
    config : str or None
        File that some came from; never written to.
    comm : mpi4py.MPI.Comm, optional
        Processes that train together.

    Returns
    -------
    int
        0, or 1 when Ctrl-C ended the training early.
    """
    from nbmlp.mlp import MLP
    from nbmlp.tabular.model import TabularModel
    from nbmlp.tabular.team import hosts_of

    values, hosts = dict(values), hosts_of(comm)
    ensemble, source = take(Ensemble, values), take(Source, values)
    parts, learning = take(Parts, values), take(Learning, values)
    outputs = take(Outputs, values)
    options = _options(ensemble, parts, learning, outputs, values)
    outputs = outputs.silent() if hosts.rank > 0 else outputs
    written = {name: getattr(outputs, name) for name in ("out", "plot", "log", "checkpoint")}
    guard = Guard(outputs.checkpoint)
    with hosts.told():
        files.check_outputs(written, (source.data, parts.test, config))
        reader = MLP(task=values.get("task", "auto"), seed=options.seed)
        rows = read_training(source, parts, Learning(standardise=True), reader)
        task = _task(reader, rows)
    began = time.perf_counter()
    names = rows.train.names
    with _extras(outputs, names, hosts, comm, guard) as extras, hosts.told(), names.telling():
        model, found = TabularModel.fit(
            _table(rows.train), rows.targets, task, options, extras=extras
        )
    seconds = time.perf_counter() - began
    model.notes["origin"] = {**rows.origin.to_dict(), "table": True}
    return _finish(model, found, rows, outputs, seconds, guard) if hosts.rank == 0 else 0


def understand(values: dict[str, Any], preset: str) -> tuple[Task, Options]:
    """What ``nbmlp why --preset`` asks for; the model knows how data are read."""
    from nbmlp.mlp import MLP

    values = dict(values)
    source, parts = take(Source, values), take(Parts, values)
    learning, outputs = take(Learning, values), take(Outputs, values)
    options = _options(Ensemble(preset=preset), parts, learning, Outputs(), values)
    reader = MLP(task=values.get("task", "auto"), seed=options.seed)
    return Task(source, parts, Learning(standardise=True), outputs, reader), options


def one_of(rows: Rows, options: Options, member: int, reader: MLP) -> tuple[Rows, MLP]:
    """The rows as columns, and the net of an ensemble over them that is asked for."""
    from nbmlp.tabular.alone import alone

    table = _table(rows.train)
    net = alone(table, _task(reader, rows), options, member)
    return replace(rows, train=replace(rows.train, X=table)), net


def _task(reader: MLP, rows: Rows) -> str:
    """What the targets are, where nobody said."""
    said = str(reader.get_params()["task"])
    return infer_task(rows.targets) if said == "auto" else said


def _options(
    ensemble: Ensemble, parts: Parts, learning: Learning, outputs: Outputs,
    values: Mapping[str, Any],
) -> Options:  # fmt: skip
    """Settings of the ensemble; refuses what is said of one net."""
    from nbmlp.tabular.options import Options
    from nbmlp.tabular.recipe import preset_of

    preset_of(ensemble.preset)
    strange = [name for name in values if name not in _SHARED and name != "task"]
    strange += ["replay"] if outputs.replay is not None else []
    strange += [n for n in ("standardise", "sample_weight") if getattr(learning, n) is not None]
    if strange:
        flag = strange[0].replace("_", "-")
        raise SpecError(f"--{flag} is said of one net, and --preset trains many: leave it out.")
    given = {_SHARED[name]: value for name, value in values.items() if name in _SHARED}
    return Options(
        preset=str(ensemble.preset), n_members=ensemble.members, time_limit=ensemble.time_limit,
        patience=learning.early_stopping, validation_fraction=parts.share, n_folds=ensemble.folds,
        **given,
    )  # fmt: skip


@contextmanager
def _extras(
    outputs: Outputs, names: Names, hosts: Hosts, comm: Any, guard: Guard
) -> Iterator[Extras]:
    """What a training writes and goes on from; all processes come here."""
    from nbmlp.tabular.options import Extras
    from nbmlp.tabular.restart import epochs_in
    from nbmlp.train.standard import CSVLog, ProgressBar

    callbacks: list[object] = [guard] if outputs.quiet else [guard, ProgressBar()]
    if outputs.log is not None:
        callbacks.append(CSVLog(outputs.log))
    path = None if outputs.checkpoint is None else Path(outputs.checkpoint)
    going_on = together.going_on(comm, outputs.checkpoint, outputs.resume, steps_in=epochs_in)
    with going_on as found:
        second = comm is not None and path is not None and second_writer(comm, path) == hosts.rank
        yield Extras(
            callbacks, path, None if found is None else Path(found), names=names, hosts=hosts,
            writes=second,
        )  # fmt: skip


def _table(data: Dataset) -> Table:
    """Columns by name, so that what becomes of them can be told."""
    if isinstance(data.X, Table):
        return data.X
    return Table(dict(zip(data.feature_names, np.asarray(data.X).T, strict=True)))


def _finish(
    model: TabularModel, found: Trained, rows: Rows, outputs: Outputs, seconds: float, guard: Guard
) -> int:
    """Save first, so that nothing that goes wrong later costs the training."""
    from nbmlp.tabular import files as tabular_files
    from nbmlp.tabular.race import INTERRUPTED

    if outputs.out is not None:
        with guard.guarding():
            tabular_files.save(model, outputs.out)
    if outputs.plot is not None:
        with guard.guarding():
            files.write_picture(outputs.plot, model.history.plot())
    result = _results(model, found, rows, seconds)
    if outputs.json:
        report.print_json(result)
    elif not outputs.quiet:
        _print_training(model, rows, result, outputs)
    if found.cut != INTERRUPTED:
        return 0
    kept = "nothing was saved" if outputs.out is None else f"the model so far is in {outputs.out}"
    say(f"interrupted: {kept}.")
    return FAILED


def _results(model: TabularModel, found: Trained, rows: Rows, seconds: float) -> dict[str, Any]:
    """All that there is to say about a training, as plain values."""
    result: dict[str, Any] = {}
    for name, data in (("train", rows.train), ("test", rows.test)):
        if data is not None and data.y is not None:
            with data.names.telling():
                found_there = model.evaluate(_table(data), data.y)
            result |= {f"{name}_{k}": v for k, v in found_there.items()}
            result[f"{name}_rows"] = len(data)
    return result | {
        "validation": {found.criterion.name: found.score}, "validation_rows": len(found.truth),
        "members": found.members(), "nets": len(model.kept), "seconds": seconds,
        "stopped_by": found.cut, "remarks": found.remarks,
        "columns": [one.to_dict() for one in model.columns],
    }  # fmt: skip


def _print_training(
    model: TabularModel, rows: Rows, result: Mapping[str, Any], outputs: Outputs
) -> None:
    """The summary of a training."""
    pairs = _about(model)
    ((name, score),) = result["validation"].items()
    pairs.append((f"held-out {name}", f"{score:.5g}  ({result['validation_rows']:,} rows)"))
    for part, data in (("train", rows.train), ("test", rows.test)):
        if data is not None:
            own = {k.removeprefix(f"{part}_"): v for k, v in result.items()}
            pairs += [(f"{part} {k}", v) for k, v in report.worded(own)]
            pairs.append((f"{part} rows", f"{len(data):,}"))
    members = {m["member"] for m in result["members"]}
    epochs = sum(m["epochs"] for m in result["members"])
    stopped = f" ({result['stopped_by']})" if result["stopped_by"] else ""
    took = brief_seconds(result["seconds"])
    pairs.append(("time", f"{took}, {len(members)} members, {epochs} epochs{stopped}"))
    pairs += [("remark", text) for text in result["remarks"]]
    written = {
        "model": outputs.out, "learning curve": outputs.plot, "log": outputs.log,
        "checkpoint": outputs.checkpoint,
    }  # fmt: skip
    pairs += [(name, path) for name, path in written.items() if path is not None]
    report.print_pairs(rows.train.source, pairs)


def print_info(model: TabularModel, path: str, as_json: bool) -> None:
    """What an ensemble is, its nets and columns."""
    columns = model.columns
    if as_json:
        labels = None if model.classes is None else model.classes.tolist()
        nets = [
            {
                "weight": k.weight, "plan": k.plan, "model": k.spec.to_dict(),
                "settings": k.settings, "columns": k.columns,
            }
            for k in model.kept
        ]
        report.print_json(
            {
                "path": path, "task": model.targets.task, "labels": labels,
                "threshold": model.threshold, "nets": nets,
                "inputs": [one.to_dict() for one in columns], "notes": model.notes,
            }
        )  # fmt: skip
        return
    report.print_pairs(path, _about(model))
    print(table_of(columns))


def _about(model: TabularModel) -> list[tuple[str, str]]:
    """What an ensemble is, in pairs of words."""
    from nbmlp.tabular.words import in_words

    sizes = [sum(k.spec.n_parameters for k in model.kept)]
    pairs = [
        ("nets", f"{len(model.kept)}, {sizes[0]:,} parameters in all"),
        ("task", "several labels a row" if model.targets.task == "labels" else model.targets.task),
    ]
    if model.classes is not None:
        pairs += report.told_threshold(model.classes.tolist(), model.threshold)
    for kept in model.kept:
        pairs.append((f"{kept.weight:.1%}", in_words(kept.settings, kept.columns)))
    return pairs
