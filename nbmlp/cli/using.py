"""Commands about a model that exists: predict, evaluate, info."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nbmlp.cli import files, prediction, report, streaming, tabular
from nbmlp.cli.failures import FAILED
from nbmlp.cli.groups import Source
from nbmlp.cli.rows import read_again
from nbmlp.data import read, told_of
from nbmlp.diagnostics.replay import replay as repeat
from nbmlp.errors import SpecError
from nbmlp.io.archive import is_archive
from nbmlp.mlp import MLP
from nbmlp.names import read_score
from nbmlp.plan import Outline
from nbmlp.tabular.loading import load_plain
from nbmlp.tuning import SUB_BATCH, available_threads

__all__ = ["Shuffling", "evaluate", "importance", "info", "plan", "predict", "replay"]


def predict(
    path: str,
    source: Source,
    row: int | None,
    proba: bool,
    out: str | None,
    part: str | None,
    as_json: bool,
) -> int:
    """Predict all rows as CSV, or one in words."""
    if as_json and row is None:
        raise SpecError("--json goes with --row; all rows are printed as CSV.")
    if row is not None and (proba or out is not None):
        raise SpecError("--row prints one row in words: leave --proba and --out away.")
    files.check_outputs({"out": out}, (path, source.data))
    model = load_plain(path)
    if row is None and streaming.wanted(source):
        return streaming.predict(model, source, proba, out)
    data = read_again(model.notes, source, part)
    if row is not None:
        prediction.print_row(model, data, row, as_json)
    else:
        prediction.predict_rows(model, data, proba).save(out)
    return 0


def evaluate(
    path: str,
    source: Source,
    metrics: Sequence[str] | None,
    plot: str | None,
    part: str | None,
    as_json: bool,
) -> int:
    """Measure a model on data, by the scores named or the usual ones; draw it if asked to."""
    files.check_outputs({"plot": plot}, (path, source.data))
    model = load_plain(path)
    for name in metrics or ():
        read_score(name)  # before the data are read
    if streaming.wanted(source):
        data = streaming.held_for(model, source)
    else:
        data = read_again(model.notes, source, part, targets=True)
    report.print_evaluation(model, data, metrics, as_json)
    if plot is not None and data.y is not None:
        title, names = f"{len(data):,} rows of {Path(data.source).name}", data.target_names
        files.write_picture(plot, model.plot_evaluation(data.X, data.y, names=names, title=title))
    return 0


class Shuffling(NamedTuple):
    """How importance is measured; see :meth:`nbmlp.MLP.importance`."""

    metric: str | None
    repeats: int
    seed: int


def importance(
    path: str,
    source: Source,
    wanted: Shuffling,
    plot: str | None,
    part: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Say which columns a model's predictions rest on."""
    files.check_outputs({"plot": plot}, (path, source.data))
    model = load_plain(path)
    data = read_again(model.notes, source, part, targets=True)
    assert data.y is not None
    with report.progress(quiet) as progress, data.names.telling():
        found = model.importance(
            data.X, data.y, wanted.metric, repeats=wanted.repeats, seed=wanted.seed,
            names=data.feature_names, progress=progress,
        )  # fmt: skip
    if as_json:
        report.print_json({"rows": len(data), **found.to_dict()})
    else:
        print(f"{data.source}: {found}")
    if plot is not None:
        files.write_picture(plot, found.plot())
    return 0


def info(path: str, target: str | None, as_json: bool) -> int:
    """Show a model, or what would become of the columns of data."""
    if not is_archive(path):
        data = read(path, target=target, require_target=target is not None)
        with data.names.telling():
            report.print_columns(data, told_of(data), as_json)
        return 0
    if target is not None:
        raise SpecError("--target goes with data; a model has its own.")
    model = load_plain(path)
    if isinstance(model, MLP):
        report.print_info(model, path, as_json)
    else:
        tabular.print_info(model, path, as_json)
    return 0


def plan(path: str, batch: int | None, threads: int | None, as_json: bool) -> int:
    """Show how a step of a model's training is computed, with another batch or threads if given."""
    model = MLP.load(path)
    train = model.train_spec
    train = train.with_(
        batch_size=train.batch_size if batch is None else batch,
        threads=train.threads if threads is None else threads,
    )
    outline = Outline.of(
        model.model_spec, train.batch_size or SUB_BATCH, train.threads or available_threads(),
        train.clip_norm is not None or train.gradient_norms,
    )  # fmt: skip
    if as_json:
        report.print_json(outline.to_dict())
    else:
        print(outline)
    return 0


def replay(path: str, as_json: bool) -> int:
    """Repeat a failed update; 0 if it has the same bits again, else 1."""
    found = repeat(path)
    if as_json:
        report.print_json(found.to_dict())
    else:
        print(found)
    return 0 if found.same else FAILED
