"""What may be set on the command line or in a TOML file: groups of dataclass fields.

A field's name makes the option, its type says how text is read, and its help is the line of the
class's docstring: nothing is written twice. ModelSpec and TrainSpec are such groups as they are.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Annotated, Any

import typer

from nbmlp.cli.groups import Diagnosing, Learning, Outputs, Parts, Scanning, Source
from nbmlp.errors import SpecError, unknown_name
from nbmlp.names import ACTIVATIONS, INITIALISERS, LOSSES, OUTPUTS
from nbmlp.optimizers import OPTIMIZERS
from nbmlp.schedules import SCHEDULES
from nbmlp.spec import ModelSpec, TrainSpec

__all__ = ["DATA", "GRADIENTS", "SCAN", "TRAIN", "WHY", "Option", "pick"]

_NAMES: dict[str, Iterable[str]] = {
    "activation": ACTIVATIONS,
    "output": ("auto", *OUTPUTS),
    "loss": ("auto", *LOSSES),
    "init": ("auto", *INITIALISERS),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
#: Where MLP's default is another than the spec's, or is better said in a word.
_SHOWN = {"output": "auto", "loss": "auto", "standardise": "auto"}
#: Where the docstring speaks of Python objects.
_REWORDED = {"optimizer": "Update rule, e.g. adam or adam(0.002, beta2=0.99)."}
_METAVARS = {
    "int": "N",
    "float": "X",
    "bool": "",
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


def _columns(text: str) -> object:
    """Names and numbers; ``0-4`` counts from 0 to 4."""
    refs: list[str | int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)-(\d+)\s*", part)
        refs += range(int(ends[1]), int(ends[2]) + 1) if ends else [part.strip()]
    return refs[0] if len(refs) == 1 else refs


_READERS: dict[str, Callable[[str], object]] = {
    "int": _number,
    "float": _number,
    "Columns": _columns,
    "tuple[int, ...]": lambda text: _several(text, _number),
    "tuple[float, ...]": lambda text: _several(text, _number),
    "tuple[str, ...]": lambda text: _several(text, str),
}
#: What a TOML file may hold where no spec checks it.
_TYPES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "int": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "float": ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
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
        return "--" + self.name.replace("_", "-")

    def value(self, given: object) -> object:
        """The setting's value from text or from TOML's types.

        Raises
        ------
        SpecError
            It is of the wrong type, unless a spec will say so.
        """
        read = _READERS.get(self.kind)
        value = read(given) if read and isinstance(given, str) else given
        if not self.checked:
            expected, fits = _TYPES[self.kind]
            if not fits(value):
                raise SpecError(f"{self.name}={value!r} must be {expected}.")
        return value

    def parameter(self) -> inspect.Parameter:
        """The parameter that makes typer offer it; None means not given."""
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
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=flag if self.kind == "bool" else text,
        )

    def _help_with_default(self) -> str:
        default = _SHOWN.get(self.name, self.default)
        if default is None or default is False:
            return self.help
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        return f"{self.help} Default: {str(getattr(default, 'name', default)).lower()}."


def _attribute_help(cls: type) -> dict[str, str]:
    """Name -> text of the Attributes section of a numpydoc docstring."""
    _, _, section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^(\S.*?) : .*\n((?:[ ]{4}.*\n?|\n)*)", section, re.MULTILINE):
        plain = " ".join(textwrap.dedent(text).split()).replace("``", "")
        found |= dict.fromkeys(names.split(", "), plain)
    return found


def _default(field: Field[Any]) -> object:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _group(
    cls: type, panel: str, leave_out: Iterable[str] = (), reworded: Mapping[str, str] = _REWORDED
) -> tuple[Option, ...]:
    help_of = _attribute_help(cls)
    options = []
    for field in fields(cls):
        if field.name in leave_out:
            continue
        text = reworded.get(field.name, help_of.get(field.name, ""))
        if field.name in _NAMES:
            text += " Names: " + ", ".join(_NAMES[field.name]) + "."
        kind = str(field.type).removesuffix(" | None")
        options.append(Option(field.name, kind, _default(field), text, panel, cls in _CHECKED))
    return tuple(options)


#: These, or the functions that they go to, check all values themselves.
_CHECKED = (ModelSpec, TrainSpec, Scanning, Diagnosing)
_MODEL = _group(ModelSpec, "Net", ("n_inputs", "n_outputs"))
_TRAINING = (*_group(Learning, "Training"), *_group(TrainSpec, "Training"))
#: The options of each command.
DATA = _group(Source, "Data")
GRADIENTS = (*DATA, *_MODEL, *_TRAINING)
TRAIN = (*DATA, *_group(Parts, "Data"), *_MODEL, *_TRAINING, *_group(Outputs, "Output"))
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
