"""Fixtures that several test modules share."""

from __future__ import annotations

import gc
import inspect
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

from nbmlp import tuning
from tests.waiting import PATIENCE

# The same examples in every run, and none fails because the machine was busy.
settings.register_profile(
    "nbmlp", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("nbmlp")


# What is imported and collected stays: it is not searched for garbage again and again.
gc.disable()


def pytest_collection_finish() -> None:
    """Only what tests leave behind is."""
    gc.freeze()
    gc.enable()


#: Side by side, files begin in this order. While the first compiles what most others need, those
#: behind it compile nothing: two that began with nothing compiled would compile the same at once.
#: Then those that take longest, longest first, so that none is left to run alone at the end.
FIRST = (
    "test_compiled", "test_data_readers", "test_csv_dialects", "test_archive",
    "test_server_jobs", "test_server_lasting", "test_estimators", "test_concurrency",
    "test_server_browser", "test_server_page", "test_cli", "test_server_failures", "test_cases",
    "test_interrupt", "test_why", "test_bench", "test_oracle_gradients", "test_why_any_data",
    "test_joblib", "test_dask", "test_real_data", "test_bench_diagnosis", "test_reference",
    "test_oracle_training", "test_determinism", "test_server_stuck", "test_combinations",
    "test_docs", "test_torch",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put those files first."""
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(FIRST)))


def data_root() -> Path:
    """Folder with the real data sets: NBMLP_DATA, else shared/data beside the checkout."""
    given = os.environ.get("NBMLP_DATA")
    return Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """Let SIGINT do in tests and their children what it does in a terminal.

    Shells start background jobs (``make test &`` in a script) with SIGINT ignored. Python leaves
    it so, and children inherit it; a signal with a handler is theirs with its default action.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def share_of_cores() -> Iterator[None]:
    """Side by side (-n), nets and BLAS use a share of the cores unless a test names threads.

    Threads that wait for one another at every batch lose most of their time when a neighbour has
    the core. As in a container with fewer CPUs; child processes are not told.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        yield
        return
    share = max(1, (os.cpu_count() or 1) // workers)
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(share, "blas"):
        patch.setattr(tuning, "_cgroup_quota", lambda: share)
        yield


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """Let requests of tests wait longer than the five seconds that are httpx's default."""
    try:
        import httpx
    except ImportError:
        return
    default = inspect.signature(httpx.get).parameters["timeout"].default
    default.connect = default.read = default.write = default.pool = PATIENCE


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the real data sets; the test is skipped, visibly, where there is none."""
    root = data_root()
    if not root.is_dir():
        pytest.skip(f"no data sets in {root}: set NBMLP_DATA to the folder that holds them")
    return root
