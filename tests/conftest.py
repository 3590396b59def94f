"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and none fails because the machine was busy.
settings.register_profile(
    "nbmlp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("nbmlp")


def data_root() -> Path:
    """Folder with the real data sets: NBMLP_DATA, else shared/data beside the checkout."""
    given = os.environ.get("NBMLP_DATA")
    return Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the real data sets; the test is skipped, visibly, where there is none."""
    root = data_root()
    if not root.is_dir():
        pytest.skip(f"no data sets in {root}: set NBMLP_DATA to the folder that holds them")
    return root
