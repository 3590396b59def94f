"""``nbmlp serve``: the server's settings as options."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from nbmlp.kernels.code_folder import usable_folder
from nbmlp.server.http.run import Renewal, serve
from nbmlp.server.service import LocalService
from nbmlp.server.settings import ServerSettings, settings_from

__all__ = ["run"]

_PREFIX = str(ServerSettings.model_config["env_prefix"])
_HELP = (
    "Train on this machine for people and programs: a page, and an API.\n\n"
    "The first start shows a token; every request needs it. Every option is also a variable."
)


def _parameter(name: str) -> inspect.Parameter:
    """A setting as an option; what is not given is left to the variable and the default."""
    field = ServerSettings.model_fields[name]
    kind = bool if field.annotation is bool else str
    default = field.get_default(call_default_factory=True, validated_data={})
    shown = "" if default in (None, "") else f"default {default}; "
    option = typer.Option(
        help=f"{field.description} ({shown}{_PREFIX}{name.upper()})", show_default=False,
        metavar=None if kind is bool else "VALUE",
    )  # fmt: skip
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=None, annotation=annotation)


#: What is asked for at one start, and must not be a variable.
_FLAGS = {
    "new_token": "Show a new token; all others are refused from now on.",
    "replace_token_file": "Overwrite the file of --token-file.",
    "adopt": "Use a data folder that is not known to be a server's, or has lost its database.",
}


def _command(new_token: bool, replace_token_file: bool, adopt: bool, **given: Any) -> None:
    settings = settings_from({name: v for name, v in given.items() if v is not None})
    wanted = Renewal(new_token, replace_token_file)
    usable_folder()  # what is wrong with it is said now, not in the log of each job
    serve(LocalService(settings, adopt), settings, wanted, lambda text: print(text, flush=True))


def _flag(name: str) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", help=_FLAGS[name])
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=False, annotation=Annotated[bool, option])


def _app() -> typer.Typer:
    command = lambda **given: _command(**given)  # noqa: E731
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*map(_flag, _FLAGS), *map(_parameter, ServerSettings.model_fields)]
    )
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )  # fmt: skip
    app.command(help=_HELP)(command)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run ``nbmlp serve`` with its arguments; returns the exit code."""
    done = _app()(list(arguments), prog_name="nbmlp serve", standalone_mode=False)
    return done or 0
