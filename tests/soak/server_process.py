"""A server without HTTP, to be killed: ``python -m tests.soak.server_process FOLDER [add]``.

Prints a line when it is ready, then works on what is queued until the end; or adds data only.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from nbmlp.server.service import LocalService
from tests.server_jobs import add_table, make_settings


def main() -> None:
    service = LocalService(make_settings(Path(sys.argv[1]), max_attempts=1000))
    service.start()
    if sys.argv[2:] == ["add"]:
        add_table(service, 50)
        service.close()
        return
    print("ready", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
