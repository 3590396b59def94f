"""Listening: where, who may ask first, and uvicorn with our limits."""

from __future__ import annotations

import errno
import gc
import ipaddress
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from nbmlp.errors import SpecError
from nbmlp.server.http.app import create_app
from nbmlp.server.http.connections import bounded_protocol
from nbmlp.server.http.memory import keep_large_blocks_apart
from nbmlp.server.http.observe import configure_logging
from nbmlp.server.ports import Service, ServiceError
from nbmlp.server.settings import ServerSettings

__all__ = ["Listener", "Renewal", "first_token", "open_socket", "serve"]

_BACKLOG = 2048
#: Seconds of a thread's turn while others wait.
_TURN = 0.001


class Listener(uvicorn.Server):
    """uvicorn's server; open event streams end as soon as it is told to stop.

    Parameters
    ----------
    app : FastAPI
        From :func:`~nbmlp.server.http.app.create_app`.
    settings : ServerSettings
    """

    def __init__(self, app: FastAPI, settings: ServerSettings) -> None:
        proxies = settings.trusted_proxies
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, ws="none", lifespan="on",
            http=bounded_protocol(settings), backlog=_BACKLOG,
            proxy_headers=bool(proxies), forwarded_allow_ips=proxies or None,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )  # fmt: skip
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let streams end, then all the rest."""
        self._app.state.feed.close()
        await super().shutdown(sockets)
        # uvicorn raises what it was told by once more: Ctrl-C would end in a traceback.
        self._captured_signals = [s for s in self._captured_signals if s != signal.SIGINT]


def open_socket(settings: ServerSettings) -> socket.socket:
    """Listen at the address of the settings.

    Raises
    ------
    SpecError
        It is not this machine's own address, and that was not allowed explicitly.
    ServiceError
        The system refuses.
    """
    if not settings.allow_remote and not _is_local(settings.host):
        raise SpecError(
            f"{settings.host} can be reached from other machines: add --allow-remote to listen"
            " there, and put a proxy with TLS in front."
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ServiceError(
            f"cannot listen at {settings.host}:{settings.port}: {error.strerror or error}; choose"
            " another --port."
        ) from None


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Renewal:
    """What is wanted about the first token.

    Attributes
    ----------
    new : bool
        Make a new one; all old ones are refused once it has been told.
    replace : bool
        Write it to the settings' ``token_file`` although there is a file of that name.
    """

    new: bool = False
    replace: bool = False


def first_token(
    service: Service, settings: ServerSettings, wanted: Renewal, say: Callable[[str], object]
) -> None:
    """Make a token when there is none yet or a new one is wanted; old ones count until it is told.

    Parameters
    ----------
    service : Service
    settings : ServerSettings
        With ``token_file`` the secret goes there instead of to `say`.
    wanted : Renewal
    say : callable

    Raises
    ------
    ServiceError
        It cannot be told; the old ones still count.
    """
    old = service.list_tokens()
    if old and not wanted.new:
        return
    made, secret = service.create_token("first")
    try:
        if settings.token_file is None:
            say(f"The token, which is shown only this once: {secret}")
        else:
            _write_secret(settings.token_file, secret, wanted.replace)
    except BaseException:
        service.delete_token(made.id)
        raise
    for token in old:
        service.delete_token(token.id)


def _write_secret(place: Path, secret: str, replace: bool) -> None:
    """To a new file for its owner only; a link is never followed."""
    target = place
    try:
        if replace:
            if place.exists() and not place.is_file():
                raise OSError(errno.EINVAL, "it is not a regular file")
            target = place.with_name(f".tmp-{secrets.token_hex(6)}-{place.name[-40:]}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(target, flags, 0o600), "w") as file:
            try:
                file.write(secret + "\n")
                file.flush()
                os.fsync(file.fileno())
                if replace:
                    os.replace(target, place)
            except BaseException:
                target.unlink()
                raise
    except FileExistsError:
        raise ServiceError(
            f"{place} exists already: add --replace-token-file to write the token there all the"
            " same, or name another --token-file."
        ) from None
    except OSError as error:
        reason = f"{place} cannot be written: {error.strerror or error}."
        raise ServiceError(reason) from None


def serve(
    service: Service, settings: ServerSettings, wanted: Renewal, say: Callable[[str], object]
) -> None:
    """Listen until told to stop.

    Parameters
    ----------
    service : Service
    settings : ServerSettings
    wanted : Renewal
        See :func:`first_token`.
    say : callable
        Tells people where to go.
    """
    # Threads that work on long requests hand the interpreter on to the event loop this often: an
    # answer takes a few turns. By default a turn is 5 ms.
    sys.setswitchinterval(_TURN)
    keep_large_blocks_apart()
    with open_socket(settings) as listening:
        configure_logging(settings.log_level)
        host, port = listening.getsockname()[:2]
        say(f"nbmlp serves at http://{f'[{host}]' if ':' in host else host}:{port}")
        first_token(service, settings, wanted, say)
        listener = Listener(create_app(service, settings), settings)
        _keep_what_is_loaded()
        listener.run(sockets=[listening])


def _keep_what_is_loaded() -> None:
    """Some 180,000 objects that stay: searching them for garbage stops all answers for 0.2 s."""
    gc.collect()
    gc.freeze()
