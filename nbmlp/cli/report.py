"""What the commands print on stdout: small tables for people, one JSON object for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import ROUNDED
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from nbmlp.cli.groups import Outputs
from nbmlp.cli.rows import Rows
from nbmlp.data import shown
from nbmlp.data.origin import Origin
from nbmlp.io.metadata import without_special
from nbmlp.names import label_of, read_score
from nbmlp.train.history import brief_rate, brief_seconds

if TYPE_CHECKING:
    from nbmlp.data import Dataset, Told
    from nbmlp.diagnostics.gradients import GradientReport
    from nbmlp.diagnostics.scan_result import BatchScan
    from nbmlp.diagnostics.user_code import FunctionReport
    from nbmlp.mlp import MLP
    from nbmlp.tabular.model import TabularModel

__all__ = [
    "describe",
    "print_columns",
    "print_evaluation",
    "print_gradients",
    "print_info",
    "print_json",
    "print_pairs",
    "print_scan",
    "print_told",
    "print_training",
    "progress",
    "results",
    "told_threshold",
    "worded",
]

_SHORT = {
    "root_mean_squared_error": "rmse", "mean_squared_error": "mse", "mean_absolute_error": "mae",
}  # fmt: skip
_MOST_LISTED = 12
#: Columns in a table of them.
_MOST_COLUMNS = 100


def print_json(values: Mapping[str, Any]) -> None:
    """One object on one line, strict JSON: what is not finite becomes null."""
    print(json.dumps(without_special(values), allow_nan=False))


def print_pairs(title: str, pairs: list[tuple[str, str]]) -> None:
    """A table of two columns of text."""
    table = Table(show_header=False, box=ROUNDED)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(value))
    console = Console()
    console.print(Text(title, style="bold"), soft_wrap=True)
    console.print(table)


def _measures(
    model: MLP | TabularModel, data: Dataset, metrics: Sequence[str] | None = None
) -> dict[str, float]:
    assert data.y is not None
    with data.names.telling():
        found = model.evaluate(data.X, data.y, metrics=metrics)
    return {_SHORT.get(name, name): value for name, value in found.items()}


def worded(measures: Mapping[str, float]) -> list[tuple[str, str]]:
    """The measures that people ask for first, as text."""
    measures = {_SHORT.get(name, name): value for name, value in measures.items()}
    if "error" in measures:
        return [("error", f"{measures['error']:.2%}"), ("loss", f"{measures['loss']:.4g}")]
    return [
        ("R2", f"{measures['r2']:.4f}"),
        ("mean absolute error", f"{measures['mae']:.5g}"),
        ("root mean squared error", f"{measures['rmse']:.5g}"),
    ]


def _scored(measures: Mapping[str, float]) -> list[tuple[str, str]]:
    """All of them, as text."""
    found = []
    for name, value in measures.items():
        score = None if name == "loss" else read_score(name)
        text = f"{value:.2%}" if score and score.row.share else f"{value:.5g}"
        undefined = "not defined on these rows" if math.isnan(value) else text
        found.append((label_of(score) if score else name, undefined))
    return found


def results(model: MLP, rows: Rows, seconds: float) -> dict[str, Any]:
    """All that there is to say about a training, as plain values.

    Parameters
    ----------
    model : MLP
    rows : Rows
    seconds : float
        That the training took, compilation included.

    Returns
    -------
    dict
        ``train_error``, ``train_loss``, ..., ``test_error``, ... (regression: ``train_mse``,
        ``train_mae``, ``train_r2``, ...), rows, seconds, speed, threads, settings.
    """
    history = model.history
    found: dict[str, Any] = {}
    for name, data in (("train", rows.train), ("test", rows.test)):
        if data is not None:
            found |= {f"{name}_{k}": v for k, v in _measures(model, data).items()}
            found[f"{name}_rows"] = len(data)
    found |= {
        "epochs": model.history[-1].epoch if len(history) else 0,
        "stop_reason": history.stop_reason,
        "seconds": seconds,
        "samples_per_second": float(np.median(history.samples_per_second)) if len(history) else 0.0,
        "threads": history[-1].threads if len(history) else 0,
        "rows_dropped": history.rows_dropped,
        "values_imputed": history.values_imputed,
        "batches_skipped": history.batches_skipped,
        "sync_hosts": history.sync_hosts,
        "sync_every": history.sync_every,
        "spec": {"model": model.model_spec.to_dict(), "training": model.train_spec.to_dict()},
    }
    return found


def describe(model: MLP) -> str:
    """The net in a line."""
    spec = model.model_spec
    sizes = "-".join(map(str, spec.layer_sizes))
    return f"{sizes}, {spec.output}, {spec.loss}, {spec.n_parameters:,} parameters"


def _shown_part(name: str, result: Mapping[str, Any], origin: str) -> list[tuple[str, str]]:
    measures = {k.removeprefix(f"{name}_"): v for k, v in result.items() if k.startswith(name)}
    (first, value), *rest = worded(measures)
    rows = f"{measures['rows']:,} rows{origin}"
    lines = [(f"{name} {first}", f"{value}  ({rows})")]
    return lines if "error" in measures else [*lines, *((f"{name} {k}", v) for k, v in rest)]


def print_training(model: MLP, rows: Rows, result: Mapping[str, Any], outputs: Outputs) -> None:
    """The summary of a training.

    Parameters
    ----------
    model, rows
    result : dict
        Of :func:`results`.
    outputs : Outputs
        What was written where.
    """
    pairs = [("net", describe(model)), *_shown_part("train", result, "")]
    if rows.test is not None:
        origin = " set aside, chosen at random" if rows.set_aside else ""
        pairs += _shown_part("test", result, origin)
    epochs = f"{result['epochs']} epochs" if result["epochs"] != 1 else "1 epoch"
    if result["stop_reason"] != "epochs done":
        epochs += f" ({result['stop_reason']})"
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    pairs.append(("time", f"{brief_seconds(result['seconds'])}, {epochs}"))
    pairs.append(("speed", f"{brief_rate(result['samples_per_second'])}, {threads}"))
    if averages := model.history.describe_averages():
        pairs.append(("averaged", averages))
    written = {
        "model": outputs.out, "learning curve": outputs.plot, "log": outputs.log,
        "checkpoint": outputs.checkpoint,
    }  # fmt: skip
    pairs += [(name, path) for name, path in written.items() if path is not None]
    print_pairs(rows.train.source, pairs)


def print_evaluation(
    model: MLP | TabularModel, data: Dataset, metrics: Sequence[str] | None, as_json: bool
) -> None:
    """Measures of a model on data with targets: those named, or the usual ones."""
    measures = _measures(model, data, metrics)
    if as_json:
        print_json({"rows": len(data), **measures})
    else:
        print_pairs(data.source, [("rows", f"{len(data):,}"), *_scored(measures)])


def print_gradients(checked: GradientReport | FunctionReport, as_json: bool, source: str) -> None:
    """The result of a gradient check."""
    if as_json:
        print_json(checked.to_dict())
    else:
        print(f"{source}: {checked}")


@contextmanager
def progress(quiet: bool) -> Iterator[Callable[[float, str], object]]:
    """A display of a share done and of what is being done, on stderr.

    A live bar on a terminal, else a line whenever something else is begun.
    """
    console = Console(stderr=True, quiet=quiet)
    said: list[str] = []

    def line(share: float, stage: str) -> None:
        if stage not in said[-1:]:
            said.append(stage)
            console.print(f"{share:4.0%}  {stage}", markup=False, highlight=False)

    if not console.is_terminal:
        yield line
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, stage: bar.update(task, completed=share, description=f"{stage:28}")


def print_scan(scan: BatchScan, outputs: Outputs, source: str) -> None:
    """The table of a batch scan, or its values as one object."""
    if outputs.json:
        print_json(scan.to_dict())
    elif not outputs.quiet:
        print(f"{source}: {scan}")
        if outputs.plot is not None and scan.measured:
            print(f"drawn in {outputs.plot}")


def _listed(values: list[Any]) -> str:
    shown = ", ".join(map(str, values[:_MOST_LISTED]))
    return shown if len(values) <= _MOST_LISTED else f"{shown}, ... ({len(values)} in all)"


def print_info(model: MLP, path: str, as_json: bool) -> None:
    """What a model is and how it was trained."""
    origin = Origin.noted(model.notes) or Origin((), (), False)
    columns = list(model.column_plan.columns if model.column_plan else origin.feature_names)
    labels = None if model.classes is None else model.classes.tolist()
    settings = {"model": model.model_spec.to_dict(), "training": model.train_spec.to_dict()}
    if as_json:
        history = model.history.to_dict()
        print_json(
            {
                "path": path, "task": model.coding.task, "labels": labels, "columns": columns,
                "target": list(origin.target_names), "source": origin.source or None,
                "threshold": model.threshold,
                "standardised": model.column_plan is not None,
                "inputs": [one.to_dict() for one in model.columns],
                "parameters": model.model_spec.n_parameters, "spec": settings, "history": history,
            }
        )  # fmt: skip
        return
    print_pairs(path, _about(model, origin, columns, labels))
    if model.column_plan is not None:
        print_told(model.columns)
    for title, values in settings.items():
        print_pairs(f"{title} settings", [(k, _setting(v)) for k, v in values.items()])


def print_told(columns: Sequence[Told]) -> None:
    """A row for each column; names may hold anything."""
    table = Table(box=ROUNDED)
    for title in ("column", "becomes", "why"):
        table.add_column(title, overflow="fold")
    for title in ("inputs", "missing"):
        table.add_column(title, justify="right")
    for one in columns[:_MOST_COLUMNS]:
        missing = "" if one.missing is None else str(one.missing)
        became = one.became if one.kind in (one.became, "number") else f"{one.kind}: {one.became}"
        cells = (one.column, became, one.reason, str(one.features), missing)
        table.add_row(*(Text(shown(cell, 200)) for cell in cells))
    console = Console()
    console.print(table)
    if len(columns) > _MOST_COLUMNS:
        rest = len(columns) - _MOST_COLUMNS
        console.print(Text(f"and {rest} more columns: --json lists them all."))


def print_columns(data: Dataset, columns: Sequence[Told], as_json: bool) -> None:
    """What would become of each column of data."""
    targets = list(data.target_names)
    if as_json:
        told = [one.to_dict() for one in columns]
        print_json({"path": data.source, "rows": len(data), "target": targets, "columns": told})
        return
    words = f"{data.source}: {len(data)} rows, {data.X.shape[1]} columns"
    beside = f" and the target {shown(', '.join(targets))}" if targets else ""
    Console().print(Text(f"{words}{beside}; by default they become:"), soft_wrap=True)
    print_told(columns)


def _about(
    model: MLP, origin: Origin, columns: list[str], labels: list[Any] | None
) -> list[tuple[str, str]]:
    pairs = [("net", describe(model)), ("task", model.coding.task)]
    if labels is not None:
        pairs.append(("labels", _listed(labels)))
        pairs += told_threshold(labels, model.threshold)
    if columns:
        pairs.append(("columns", _listed(columns)))
    if origin.source:
        pairs.append(("target", _listed(list(origin.target_names))))
        pairs.append(("trained on", origin.source))
    first = model.columns[0].became
    pairs.append(("inputs", first if model.column_plan is None else "as the table of columns says"))
    lines = str(model.history).splitlines()
    pairs.append(("history", lines[0].removeprefix("History: ").removesuffix(", epochs done")))
    for line in lines[1:]:
        name, _, value = line.strip().partition(" ")
        pairs.append((name, value.strip()))
    return pairs


def told_threshold(labels: Sequence[Any], threshold: float) -> list[tuple[str, str]]:
    """From where on the second of two classes is answered, unless it is the usual 0.5."""
    if threshold == 0.5:
        return []
    return [("threshold", f"{labels[1]} from a probability of {threshold:.4g} on")]


def _setting(value: Any) -> str:
    """A setting as it is written on the command line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{k}={v}" for k, v in value.items() if k != "name")
        return f"{value['name']}({inner})" if inner else str(value["name"])
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
