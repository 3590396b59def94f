"""What may be set beside the specs, in groups: each field becomes an option, its line the help."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from nbmlp.checks import number, whole
from nbmlp.cli.machines import Machines
from nbmlp.errors import SpecError

if TYPE_CHECKING:
    from nbmlp.mlp import MLP

__all__ = [
    "Diagnosing", "Ensemble", "Learning", "Outputs", "Parts", "Scanning", "Source", "Task", "take",
]  # fmt: skip

#: One column or several, by name or number.
Columns = str | int | list[str | int]


@dataclass(frozen=True)
class Source:
    """Which data.

    Attributes
    ----------
    data : path or name
        A .csv or other text table (also .gz), .npy, .npz, .mat, .parquet or IDX file, a folder
        with MNIST's files, ``digits`` or ``glyphs``; or Parquet files that are read by batches: a
        folder of them, a pattern such as ``'folder/*.parquet'``, or an address.
    target : columns
        Target column, by name or number; several separated by commas.
    columns : columns
        Input columns, by name or number, e.g. ``0-4,7``; all but the target by default.
    variables : names
        Variables of an .npz or .mat file that hold X, y, X_test, y_test, in this order.
    header : bool
        Whether the first line of a text table holds names; guessed by default.
    decimal : mark
        Decimal mark of a text table's numbers, ``.`` or ``,``; by default all of its numbers
        decide together. A column that is not all numbers then is text.
    encoding : name
        Of a text table, e.g. ``cp1252``; by default what its mark says, else UTF-8.
    separator : character
        Between the fields of a text table, or ``tab``; guessed by default.
    stream : bool
        Read a single Parquet file by batches, too, so that it need not fit into memory.
    """

    data: str | None = None
    target: Columns | None = None
    columns: Columns | None = None
    variables: Columns | None = None
    header: bool | None = None
    decimal: str | None = None
    encoding: str | None = None
    separator: str | None = None
    stream: bool = False


@dataclass(frozen=True)
class Parts:
    """Which rows are kept from training.

    Attributes
    ----------
    test : path
        Test data with the same columns.
    test_fraction : float
        Share of the rows set aside as test data, 0 for none. Unused where the data bring a test
        part, --test names one, or files are read by batches.
    validation : float or path
        Share of the training rows to validate on after each epoch; none by default. Where files
        are read by batches, also files of such rows.
    """

    test: str | None = None
    test_fraction: float = 0.2
    validation: float | str | None = None

    def __post_init__(self) -> None:
        number("test_fraction", self.test_fraction, high=1.0)
        if self.validation is not None and not isinstance(self.validation, str):
            number("validation", self.validation, high=1.0, closed_low=False)

    @property
    def share(self) -> float | None:
        """Of the rows, to validate on. Raises SpecError where files are named."""
        if isinstance(self.validation, str):
            number("validation", self.validation, high=1.0, closed_low=False)
        return None if self.validation is None else float(self.validation)


@dataclass(frozen=True)
class Learning:
    """How to learn, beside the settings of MLP.

    Attributes
    ----------
    standardise : bool
        Scale inputs and numeric targets to mean 0 and deviation 1. By default where it helps;
        tables with text always are.
    early_stopping : int
        Stop after so many epochs without improvement and go back to the best weights.
    ties : str
        Which of several epochs is the best that are equally good: first or last.
    sample_weight : column
        What each row counts, where files are read by batches.
    """

    standardise: bool | None = None
    early_stopping: int | None = None
    ties: str = "first"
    sample_weight: str | None = None

    def __post_init__(self) -> None:
        if self.early_stopping is not None:
            whole("early_stopping", self.early_stopping)


@dataclass(frozen=True)
class Ensemble:
    """Many nets instead of one.

    Attributes
    ----------
    preset : name
        Train nets whose settings are drawn, on all cores, and keep those whose average is best on
        held-out rows: ``default``, ``best``, or ``fast`` for one net. Settings of one net do not
        go with it.
    members : int
        Nets to train, instead of the preset's.
    time_limit : float
        Seconds after which what has been trained counts.
    folds : int
        Train each net so often, each time on other rows, so that every row is held out once: the
        preset's own number unless given, which is 5 where rows are few.
    """

    preset: str | None = None
    members: int | None = None
    time_limit: float | None = None
    folds: int | None = None

    def __post_init__(self) -> None:
        for name in ("members", "time_limit", "folds"):
            if self.preset is None and getattr(self, name) is not None:
                raise SpecError(f"--{name.replace('_', '-')} goes with --preset.")


@dataclass(frozen=True)
class Scanning:
    """What a scan of batch sizes tries.

    Attributes
    ----------
    sizes : tuple of int
        Batch sizes; powers of two by default, and always the one of --batch-size.
    target_loss : float
        Loss to reach, penalty excluded; chosen from a short training by default.
    seconds : float
        Time for the whole scan.
    """

    sizes: tuple[int, ...] | None = None
    target_loss: float | None = None
    seconds: float = 30.0


@dataclass(frozen=True)
class Diagnosing:
    """What a diagnosis looks at, and how long it may take.

    Attributes
    ----------
    seconds : float
        Time for all trials; large data are sampled to keep to it.
    preset : name
        Look at one of the nets that this preset trains on a table: ``fast``, ``default`` or
        ``best``.
    member : int
        Which of them, from 0; the first by default.
    """

    seconds: float = 60.0
    preset: str | None = None
    member: int | None = None

    def __post_init__(self) -> None:
        if self.member is not None and self.preset is None:
            raise SpecError("--member goes with --preset.")


@dataclass(frozen=True)
class Outputs:
    """What to write.

    Attributes
    ----------
    out : path
        Write the model here (safetensors).
    plot : path
        Draw the learning curve here (.png, .pdf or .svg).
    log : path
        Write a line per epoch here (CSV), while training.
    checkpoint : path
        After each epoch, write all that resuming needs here.
    replay : path
        When an update fails on NaN or infinity, write it here, for nbmlp replay.
    resume : bool
        Go on from the checkpoint.
    json : bool
        Print one JSON object instead of the summary.
    quiet : bool
        Print nothing but errors (and the JSON object).
    """

    out: str | None = None
    plot: str | None = None
    log: str | None = None
    checkpoint: str | None = None
    replay: str | None = None
    resume: bool = False
    json: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.checkpoint is None:
            raise SpecError("--resume needs --checkpoint, the file to go on from.")

    def silent(self) -> Outputs:
        """Those of a process that others train with: process 0 writes and tells all."""
        return replace(self, quiet=True, out=None, plot=None, log=None, replay=None)


class Task(NamedTuple):
    """What the options of a command ask for."""

    source: Source
    parts: Parts
    learning: Learning
    outputs: Outputs
    model: MLP


Group = TypeVar("Group", Source, Parts, Learning, Outputs, Ensemble, Scanning, Diagnosing, Machines)


def take(cls: type[Group], values: dict[str, Any]) -> Group:
    """The options of one group, out of `values`."""
    names = [f.name for f in fields(cls) if f.name in values]
    return cls(**{name: values.pop(name) for name in names})
