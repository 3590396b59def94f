"""Listening: where, who may ask first, and uvicorn with our limits."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from nbmlp.errors import SpecError
from nbmlp.server.http.app import create_app
from nbmlp.server.http.connections import bounded_protocol
from nbmlp.server.http.observe import configure_logging
from nbmlp.server.ports import Service, ServiceError
from nbmlp.server.settings import ServerSettings

__all__ = ["Listener", "first_token", "open_socket", "serve", "settings_from"]

_BACKLOG = 2048


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


def settings_from(given: Mapping[str, Any]) -> ServerSettings:
    """Options, else variables, else defaults; raises SpecError."""
    try:
        return ServerSettings(**given)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        prefix = ServerSettings.model_config["env_prefix"]
        raise SpecError(
            f"--{name.replace('_', '-')} (or {prefix}{name.upper()}): {wrong['msg']}."
        ) from None


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


def first_token(service: Service, settings: ServerSettings, new: bool) -> str | None:
    """A secret to be shown once, when there is no token yet or a new one is wanted.

    Parameters
    ----------
    service : Service
    settings : ServerSettings
        With ``token_file`` the secret goes there instead of being returned.
    new : bool
        Make a new token; all old ones are refused from then on.
    """
    old = service.list_tokens()
    if old and not new:
        return None
    _, secret = service.create_token("first")
    for token in old:
        service.delete_token(token.id)
    if settings.token_file is None:
        return secret
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(os.open(settings.token_file, flags, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(secret + "\n")
    except OSError as error:
        reason = f"{settings.token_file} cannot be written: {error.strerror or error}."
        raise ServiceError(reason) from None
    return None


def serve(
    service: Service, settings: ServerSettings, new_token: bool, say: Callable[[str], object]
) -> None:
    """Listen until told to stop.

    Parameters
    ----------
    service : Service
    settings : ServerSettings
    new_token : bool
        See :func:`first_token`.
    say : callable
        Tells people where to go.
    """
    with open_socket(settings) as listening:
        secret = first_token(service, settings, new_token)
        configure_logging(settings.log_level)
        host, port = listening.getsockname()[:2]
        say(f"nbmlp serves at http://{f'[{host}]' if ':' in host else host}:{port}")
        if secret:
            say(f"The token, which is shown only this once: {secret}")
        Listener(create_app(service, settings), settings).run(sockets=[listening])
