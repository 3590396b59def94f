"""A server that listens on a free port, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from nbmlp.server.http.app import create_app
from nbmlp.server.http.run import Listener, open_socket
from nbmlp.server.settings import ServerSettings
from tests.waiting import PATIENCE


def settings(folder: Path, **more: object) -> ServerSettings:
    """On any port, and without a limit on requests."""
    return ServerSettings(**{"data_dir": folder, "port": 0, "rate": 1e6, "burst": 10**6, **more})


@dataclass
class Live:
    service: Any
    settings: ServerSettings
    port: int
    secret: str
    app: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def head(self, method: str, path: str, *more: str, token: str = "") -> bytes:
        """Of a request, for a plain socket."""
        secret = f"Authorization: Bearer {token or self.secret}"
        lines = (f"{method} {path} HTTP/1.1", "Host: localhost", secret, *more, "", "")
        return "\r\n".join(lines).encode()

    def connect(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def client(self, signed_in: bool = True, **headers: str) -> httpx.Client:
        given = self.bearer if signed_in else {}
        # Nothing is to be verified; certificates for it take longer to load than most requests.
        return httpx.Client(
            base_url=self.url, headers={**given, **headers}, timeout=PATIENCE, verify=False
        )


@contextmanager
def live(service: Any, settings: ServerSettings) -> Iterator[Live]:
    app = create_app(service, settings)
    listener = Listener(app, settings)
    with open_socket(settings) as listening:
        thread = threading.Thread(target=listener.run, args=([listening],))
        thread.start()
        try:
            while not listener.started and thread.is_alive():
                time.sleep(0.01)
            _, secret = service.create_token("test")
            yield Live(service, settings, listening.getsockname()[1], secret, app)
        finally:
            listener.should_exit = True
            thread.join()
