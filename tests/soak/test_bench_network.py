"""bench.hosts on real namespaces: a measurement, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from bench.hosts import __main__ as command
from bench.hosts import network


@pytest.mark.soak
def test_two_hosts(tmp_path):
    if lacking := network.missing(2):
        pytest.skip(lacking)
    at = tmp_path / "f.json"
    words = ["--only", "transfer", "--networks", "0", "--rounds", "1", "--json", str(at)]
    assert command.main(words) == 0
    assert json.loads(at.read_text())["found"]["transfer 0 0"]["seconds"] > 0
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert f"nbh{os.getpid() % 10**6}-" not in left.stdout
    with pytest.raises(network.Failed, match="no end after 1 s"), network.Network(2, 0) as two:
        two.run("timeit", "-s", "import time", "time.sleep(600)", timeout=1.0)
