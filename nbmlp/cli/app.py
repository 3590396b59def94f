"""The commands and their options; the work is done in the modules beside this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from nbmlp import __version__
from nbmlp.cli import failures, files
from nbmlp.cli.arguments import Config, Json, ModelPath, Part
from nbmlp.cli.groups import Source
from nbmlp.cli.options import DATA, GRADIENTS, SCAN, TRAIN, WHY, names_of, pick, with_options
from nbmlp.errors import SpecError, missing_package

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="nbmlp",
    help="Multilayer perceptrons trained on CPUs, from files to predictions.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _source(values: dict[str, Any]) -> Source:
    return Source(**pick(DATA, {}, values))


@app.callback(invoke_without_command=True)
def _program(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"nbmlp {__version__}")
        raise typer.Exit


@app.command()
@with_options(TRAIN)
def train(values: dict[str, Any], context: typer.Context, config: Config = None) -> int:
    """Train a net on data and say how well it does on test data.

    Where the data bring no test part, a fifth of the rows is set aside for it. Ctrl-C ends the
    training early; the model so far is saved all the same, and the exit code is 1.
    """
    from nbmlp.cli import training

    picked = pick(TRAIN, files.read_config(config), values)
    return training.train(picked, config, context.obj)


@app.command()
@with_options(DATA)
def predict(
    values: dict[str, Any],
    model: ModelPath,
    row: Annotated[
        int | None, typer.Option(metavar="N", help="Only this row, counted from 0, in words.")
    ] = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="Add each class's probability to the CSV.")
    ] = False,
    out: Annotated[
        str | None, typer.Option(metavar="PATH", help="Write the CSV here instead of to stdout.")
    ] = None,
    part: Part = None,
    json: Annotated[bool, typer.Option("--json", help="With --row: one JSON object.")] = False,
) -> int:
    """Predict rows with a trained model, as CSV; the data need the same columns as in training.

    A target column may be there or not. Without --row all rows are predicted.
    """
    from nbmlp.cli import using

    return using.predict(model, _source(values), row, proba, out, part, json)


@app.command()
@with_options(DATA)
def evaluate(
    values: dict[str, Any],
    model: ModelPath,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Scores to tell, e.g. f1,roc_auc or rmse,pinball(0.9); by default the usual ones.",
        ),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Draw confusion matrix and calibration, or predicted over true values, here"
            " (.png, .pdf or .svg).",
        ),
    ] = None,
    part: Part = None,
    json: Json = False,
) -> int:
    """Measure a trained model on data with targets."""
    from nbmlp.cli import using

    return using.evaluate(model, _source(values), names_of(metric), plot, part, json)


@app.command()
@with_options(DATA)
def importance(
    values: dict[str, Any],
    model: ModelPath,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Score that gets worse; accuracy or R2 by default."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(metavar="N", help="Times that each column is shuffled.")
    ] = 5,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the orders.")] = 0,
    plot: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Draw a bar for each column here (.png, .pdf, .svg)."),
    ] = None,
    part: Part = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    json: Json = False,
) -> int:
    """Say which columns a model's predictions rest on: each is shuffled, and the score falls.

    Take data that the model has not learned from. Columns are those of the file.
    """
    from nbmlp.cli import using

    wanted = using.Shuffling(metric, repeats, seed)
    return using.importance(model, _source(values), wanted, plot, part, quiet, json)


@app.command()
def info(
    model: Annotated[
        str, typer.Argument(metavar="FILE", help="File that train --out wrote, or data.")
    ],
    target: Annotated[
        str | None, typer.Option(help="With data: the column to predict.", metavar="COLUMN")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show how a step of its training is computed instead.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(help="With --plan: rows of an update, instead of its own.", metavar="ROWS"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="With --plan: most threads, instead of its own.", metavar="N"),
    ] = None,
    json: Json = False,
) -> int:
    """Show what a model is and how it was trained, or how a step of that is computed.

    Of data, such as table.csv, show what would become of each column.
    """
    from nbmlp.cli import using

    if plan:
        return using.plan(model, batch, threads, json)
    if batch is not None or threads is not None:
        raise SpecError("--batch and --threads go with --plan.")
    return using.info(model, target, json)


@app.command()
def replay(
    path: Annotated[str, typer.Argument(metavar="FILE", help="File that train --replay wrote.")],
    json: Json = False,
) -> int:
    """Repeat an update that failed, bit for bit, and show it layer by layer.

    Exit code 1 if a value has other bits than in the training.
    """
    from nbmlp.cli import using

    return using.replay(path, json)


@app.command("check-gradients")
@with_options(GRADIENTS)
def check_gradients(
    values: dict[str, Any],
    config: Config = None,
    function: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.py:NAME",
            help="Check this function instead: it takes theta, X and y and returns loss and"
            " gradient, or outputs. The file is executed.",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Compare a net's gradients with finite differences in float64; nothing is trained.

    Takes the first 256 rows at most. With --function, NumPy code of your own is compared with the
    net instead, and the lines that are wrong are named. Exit code 1 if something differs.
    """
    from nbmlp.cli import training, users_code

    settings = pick(GRADIENTS, files.read_config(config), values)
    code = None if function is None else users_code.load(function)
    return training.check_gradients({**settings, "json": json}, code)


@app.command()
@with_options(SCAN)
def scan(values: dict[str, Any], config: Config = None) -> int:
    """Find the batch size that learns soonest: short trainings with one size after the other.

    Shows for each size the samples/s, and the updates and seconds to a target loss, with the
    learning rate transferred from --base-batch, or from --batch-size; and the gradient noise scale.
    Ctrl-C shows what has been measured so far; the exit code is 1 then.
    """
    from nbmlp.cli import training

    return training.scan(pick(SCAN, files.read_config(config), values), config)


@app.command()
@with_options(WHY)
def why(values: dict[str, Any], config: Config = None) -> int:
    """Say why training with these settings fails, stalls or disappoints, and what cures it.

    Looks at data and net, trains for short times with and without each likely cure, and names
    the layer, rows, columns or setting to blame. Exit code 1 if there is a problem.
    """
    from nbmlp.cli import training

    return training.why(pick(WHY, files.read_config(config), values), config)


@app.command()
def case(
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="Which one: a, b, c or d.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Folder of real data sets, or a file for c and d; else what NBMLP_DATA names.",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="For pictures; case-LETTER by default.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less data, fewer epochs.")] = False,
    json: Json = False,
) -> int:
    """Run a net that somebody got stuck with: as written, then why it fails, then cured.

    a: gradients that shrink as the batch grows. b: gradients that fail their check, on MNIST.
    c: NaN when the batch is large. d: a loss that does not change at all.
    """
    from nbmlp import cases
    from nbmlp.cli import report

    say: Callable[[str], object] = (lambda text: None) if json else print
    found = cases.run(letter, out or f"case-{letter}", data, quick, say)
    if json:
        report.print_json(found)
    return 0


@app.command()
def cache(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="Which; all by default.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them.")] = False,
    json: Json = False,
) -> int:
    """List the ready rows that training on Parquet files has left in a folder, or remove them.

    NBMLP_ROWS_DIR names another folder than that of the user's caches, NBMLP_ROWS_GB its size.
    """
    from nbmlp.cli import cache as of_rows

    return of_rows.run(keys or (), remove, json)


#: Commands of the server take their options themselves: they need its packages.
_PASSED_ON: dict[str, Any] = {
    "context_settings": {
        "allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": [],
    },
    "add_help_option": False,
}  # fmt: skip


@contextmanager
def _server_packages(command: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_package(command, error.name or "more packages", "server") from None


@app.command(**_PASSED_ON)
def serve(context: typer.Context) -> int:
    """Train on this machine for people and programs: a page, and an API over HTTP.

    ``nbmlp serve --help`` explains every setting.
    """
    with _server_packages("nbmlp serve"):
        from nbmlp.cli import serving
    return serving.run(context.args)


@app.command(**_PASSED_ON)
def token(context: typer.Context) -> int:
    """Say who may ask a server: add, list or revoke tokens, while it runs or not."""
    with _server_packages("nbmlp token"):
        from nbmlp.cli import keeping
    return keeping.run_token(context.args)


@app.command(**_PASSED_ON)
def quarantine(context: typer.Context) -> int:
    """List or remove files of a server's data folder that its database does not know."""
    with _server_packages("nbmlp quarantine"):
        from nbmlp.cli import keeping
    return keeping.run_quarantine(context.args)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str
        Without the program's name; none at all shows the help.

    Returns
    -------
    int
        0 done; 1 data, files or training went wrong, or Ctrl-C; 2 the command or a setting is
        wrong. What was wrong is said in one sentence on stderr.
    """
    try:
        with failures.plain_warnings():
            given = list(arguments) or ["--help"]
            done = app(given, prog_name="nbmlp", standalone_mode=False, obj=list(given))
        sys.stdout.flush()
    except BrokenPipeError:  # who read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failures.FAILED
    except (KeyboardInterrupt, typer.Abort):
        done = _INTERRUPTED
    except Exception as error:
        text = failures.sentence(error)
        if text is None:
            raise
        failures.say(text)
        return failures.exit_code(error)
    if done == _INTERRUPTED:
        failures.say("interrupted.")
        return failures.FAILED
    return done or 0


#: What typer makes of a KeyboardInterrupt.
_INTERRUPTED = 130


def main() -> None:
    """Entry of the ``nbmlp`` command; always raises SystemExit."""
    raise SystemExit(run(sys.argv[1:]))
