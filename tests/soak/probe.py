"""Asks a server whether it lives, all the time: ``python -m tests.soak.probe HOST PORT``.

Prints a line for each answer: when it was asked for, by the clock that all processes share, and the
milliseconds until it came (a connection that breaks counts as ten seconds). Ends with its input.
"""

from __future__ import annotations

import http.client
import sys
import threading
import time

PERIOD, BROKEN = 0.02, 10_000.0


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    threading.Thread(target=run, args=(host, port), daemon=True).start()
    sys.stdin.read()


def run(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    while True:
        start = time.monotonic()
        try:
            connection.request("GET", "/v2/health/live")
            ok = connection.getresponse().read() == b'{"live":true}'
        except (OSError, http.client.HTTPException):
            connection.close()
            ok = False
        took = 1e3 * (time.monotonic() - start)
        print(f"{start:.6f} {took if ok else max(took, BROKEN):.3f}", flush=True)
        time.sleep(max(0.0, PERIOD - took / 1e3))


if __name__ == "__main__":
    main()
