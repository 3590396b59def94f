"""What may be set on the command line or in a TOML file: groups of dataclass fields.

A field's name makes the option, its type says how text is read, and its help is the line of the
class's docstring: nothing is written twice. Settings of MLP come from its table as they are.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from nbmlp.cli.groups import Diagnosing, Ensemble, Learning, Outputs, Parts, Scanning, Source
from nbmlp.cli.machines import Machines
from nbmlp.errors import SpecError, unknown_name
from nbmlp.names import ACTIVATIONS, INITIALISERS, LOSSES, OUTPUTS, SCORES
from nbmlp.optimizers import OPTIMIZERS
from nbmlp.schedules import SCHEDULES
from nbmlp.spec import MODEL_SETTINGS, SETTINGS, TRAIN_SETTINGS, Setting, described

__all__ = [
    "DATA", "GRADIENTS", "SCAN", "TRAIN", "WHY", "Option", "names_of", "pick", "with_options",
]  # fmt: skip

_FACTORS = [name for name in SCHEDULES if name != "on_plateau"]
_NAMES: dict[str, Iterable[str]] = {
    "activation": ACTIVATIONS,
    "output": ("auto", *OUTPUTS),
    "loss": ("auto", *LOSSES),
    "init": ("auto", *INITIALISERS),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "eval_metric": SCORES,
    "dropout_schedule": _FACTORS,
    "decay_schedule": _FACTORS,
}
#: Where the default is better said in a word.
_SHOWN = {"standardise": "auto"}
#: Options that may be given several times are named after one of what they add up to.
_FLAGS = {"column_kinds": "column_kind"}
_METAVARS = {
    "bool | str": "true|false|WORD",
    "int": "N",
    "float": "X",
    "float | str": "X|FILES",
    "bool": "",
    "ColumnKinds": "NAME=KIND",
    "ClassWeight": "balanced|LABEL=X,...",
    "Factors": "NAME=X,...",
    "Columns": "COLUMNS",
    "tuple[int, ...]": "N,N,...",
    "tuple[float, ...]": "X,X,...",
    "tuple[str, ...]": "NAME,...",
    "Optimizer": "NAME(...)",
    "Schedule": "NAME(...)",
}


def _number(text: str) -> object:
    """A number where it is one; what else it is, the specs complain about."""
    if text.lower() in ("none", "all"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _several(text: str, read: Callable[[str], object]) -> object:
    """Parts between commas that are not within brackets; one alone stands for itself."""
    text = text.strip().removeprefix("[").removesuffix("]")
    if text.lower() in ("", "none"):
        return ()
    parts = [read(part.strip()) for part in re.split(r",(?![^(]*\))", text)]
    return parts[0] if len(parts) == 1 else tuple(parts)


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Names between commas, e.g. ``f1,pinball(0.9)``; None where nothing was written."""
    if text is None:
        return None
    found = _several(text, str)
    return (found,) if isinstance(found, str) else tuple(found)  # type: ignore[arg-type]


def _columns(text: str) -> object:
    """Names and numbers; ``0-4`` counts from 0 to 4."""
    refs: list[str | int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)-(\d+)\s*", part)
        refs += range(int(ends[1]), int(ends[2]) + 1) if ends else [part.strip()]
    return refs[0] if len(refs) == 1 else refs


def _class_weight(text: str) -> object:
    """A word, or weights by label: ``yes=5,no=1``."""
    if "=" not in text:
        return text.strip()
    return _pairs(text, "class_weight", "LABEL")


def _factors(text: str) -> object:
    """Numbers by name: ``bias=0.1,layer1.weight=2``; or ``none``."""
    return None if text.strip().lower() == "none" else _pairs(text, "factors", "NAME")


def _pairs(text: str, setting: str, name: str) -> dict[str, object]:
    pairs = [part.rpartition("=") for part in text.split(",")]
    for _, sign, value in pairs:
        if not sign:
            raise SpecError(f"{setting}: {value!r} has no number: write {name}=NUMBER,...")
    return {label.strip(): _number(value.strip()) for label, _, value in pairs}


def _column_kinds(pairs: list[str]) -> dict[str, str]:
    """Kinds by name of a column: ``shop=category``, each an option of its own."""
    found = {}
    for pair in pairs:
        name, sign, kind = pair.rpartition("=")
        if not sign:
            raise SpecError(f"column_kind: {pair!r} names no kind: write NAME=KIND.")
        found[name.strip()] = kind.strip()
    return found


_READERS: dict[str, Callable[[str], object]] = {
    "bool | str": lambda text: {"true": True, "false": False}.get(text.strip().lower(), text),
    "int": _number,
    "float": _number,
    "float | str": _number,
    "ClassWeight": _class_weight,
    "Factors": _factors,
    "Columns": _columns,
    "tuple[int, ...]": lambda text: _several(text, _number),
    "tuple[float, ...]": lambda text: _several(text, _number),
    "tuple[str, ...]": lambda text: _several(text, str),
}
#: What a TOML file may hold where no spec checks it.
_TYPES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "int": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "float": ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
    "float | str": ("a number or files", lambda v: isinstance(v, int | float | str)),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "str": ("text", lambda v: isinstance(v, str)),
    "Columns": ("a column or a list of them", lambda v: isinstance(v, str | int | list)),
}


@dataclass(frozen=True)
class Option:
    """One thing that may be set.

    Attributes
    ----------
    name : str
        Of the field.
    kind : str
        Its type as written, None aside.
    default : object
        None where the class computes one or needs the data.
    help : str
    panel : str
        Heading in the help.
    checked : bool
        Who takes the value checks it.
    """

    name: str
    kind: str
    default: object
    help: str
    panel: str
    checked: bool

    @property
    def flag(self) -> str:
        """As written on the command line."""
        return "--" + _FLAGS.get(self.name, self.name).replace("_", "-")

    def value(self, given: object) -> object:
        """The setting's value from text or from TOML's types.

        Raises
        ------
        SpecError
            It is of the wrong type, unless a spec will say so.
        """
        read = _READERS.get(self.kind)
        value = read(given) if read and isinstance(given, str) else given
        if self.kind == "ColumnKinds" and isinstance(given, list):
            value = _column_kinds(given)
        if not self.checked:
            expected, fits = _TYPES[self.kind]
            if not fits(value):
                raise SpecError(f"{self.name}={value!r} must be {expected}.")
        return value

    def taken(self, given: dict[str, Any]) -> object:
        """Its value out of a command's arguments, which are left without it."""
        value = given.pop(self.name)
        return False if given.pop(f"no_{self.name}", None) else value

    def parameters(self) -> Iterator[inspect.Parameter]:
        """The parameters that make typer offer it; None means not given.

        What takes words has a flag of its own for no.
        """
        yield self._parameter()
        if self.kind == "bool | str":
            no = typer.Option(
                f"--no-{self.flag[2:]}", help=f"The same as {self.flag} false.",
                show_default=False, rich_help_panel=self.panel,
            )  # fmt: skip
            yield _named(f"no_{self.name}", Annotated[bool | None, no])

    def _parameter(self) -> inspect.Parameter:
        flags = [self.flag]
        if self.kind == "bool" and self.default is not False:
            flags.append("--no-" + self.flag[2:])
        option = typer.Option(
            "/".join(flags),
            help=self._help_with_default(),
            metavar=_METAVARS.get(self.kind, "TEXT") or None,
            show_default=False,
            rich_help_panel=self.panel,
        )
        flag, text = Annotated[bool | None, option], Annotated[str | None, option]
        several = Annotated[list[str] | None, option]
        taken: Any = {"bool": flag, "ColumnKinds": several}.get(self.kind, text)
        return _named(self.name, taken)

    def _help_with_default(self) -> str:
        default = _SHOWN.get(self.name, self.default)
        if default is None or default is False:
            return self.help
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        return f"{self.help} Default: {str(getattr(default, 'name', default)).lower()}."


def _named(name: str, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def _option(setting: Setting, panel: str, checked: bool, help: str | None = None) -> Option:
    text = setting.help if help is None else help
    if setting.name in _NAMES:
        text += " Names: " + ", ".join(_NAMES[setting.name]) + "."
    kind = setting.kind.removesuffix(" | None")
    return Option(setting.name, kind, setting.default, text, panel, checked)


def _settings(names: Iterable[str], panel: str) -> tuple[Option, ...]:
    """Settings of MLP, which checks them."""
    return tuple(_option(SETTINGS[name], panel, True) for name in names)


def _group(
    cls: type, panel: str, leave_out: Iterable[str] = (), reworded: Mapping[str, str] | None = None
) -> tuple[Option, ...]:
    told = reworded or {}
    return tuple(
        _option(setting, panel, cls in _CHECKED, told.get(name))
        for name, setting in described(cls).items()
        if name not in leave_out
    )


#: The functions that these go to check all values themselves.
_CHECKED = (Scanning, Diagnosing, Ensemble, Machines)
_MODEL = _settings(MODEL_SETTINGS, "Net")
_TRAINING = (
    *_settings(("task", "scaling", "bins", "category_embedding", "column_kinds"), "Training"),
    *_settings(
        ("class_weight", "eval_metric", "tune_threshold", "learning_rate"), "Training"
    ),
    *_group(Learning, "Training", ("sample_weight",)),
    *_settings(TRAIN_SETTINGS, "Training"),
)
#: The options of each command.
DATA = _group(Source, "Data")
GRADIENTS = (*DATA, *_MODEL, *_TRAINING)
TRAIN = (
    *DATA,
    *_group(Parts, "Data"),
    *_group(Ensemble, "Many nets"),
    *_MODEL,
    *_TRAINING,
    *_group(Learning, "Training", ("standardise", "early_stopping", "ties")),
    *_group(Machines, "Several machines"),
    *_group(Outputs, "Output"),
)
_PICTURE = {"plot": "Draw the result here (.png, .pdf or .svg)."}
_FILES = ("out", "log", "checkpoint", "replay", "resume")
_SHOWN_ONLY = _group(Outputs, "Output", _FILES, _PICTURE)
_MEASURED = {"validation": "Share of the training rows to measure trials on; 0.2 by default."}
SCAN = (
    *DATA,
    *_group(Parts, "Data"),
    *_group(Scanning, "Scan"),
    *_MODEL,
    *_TRAINING,
    *_SHOWN_ONLY,
)
WHY = (
    *DATA,
    *_group(Parts, "Data", reworded=_MEASURED),
    *_group(Diagnosing, "Diagnosis"),
    *_MODEL,
    *_TRAINING,
    *_SHOWN_ONLY,
)


def pick(
    options: Iterable[Option], config: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Values by name: those given on the command line, else those of the file.

    The file may be one for ``train``: what this command has no use for is left out.

    Raises
    ------
    SpecError
        The file sets something unknown, or a value is of the wrong type.
    """
    known = {option.name: option for option in options}
    unknown = config.keys() - known.keys() - {option.name for option in TRAIN}
    if unknown:
        raise unknown_name("setting", min(unknown), known)
    ours = {name: value for name, value in config.items() if name in known}
    chosen = {**ours, **{name: value for name, value in given.items() if value is not None}}
    return {name: known[name].value(value) for name, value in chosen.items()}


def with_options(options: Iterable[Option]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Let a command take `options` beside its own parameters, as the dict `values`."""

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        own = inspect.signature(command, eval_str=True)
        kept = [p for p in own.parameters.values() if p.name != "values"]

        def adapter(**given: Any) -> int:
            values = {option.name: option.taken(given) for option in options}
            return command(values=values, **given)

        offered = [parameter for option in options for parameter in option.parameters()]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept]
        adapter.__signature__ = inspect.Signature(keyword + offered)  # type: ignore[attr-defined]
        adapter.__name__ = command.__name__
        # typer keeps the line breaks of all paragraphs but the first
        adapter.__doc__ = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(command) or "")
        return adapter

    return decorate
