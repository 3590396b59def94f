"""Many trainings on a Dask cluster: workers are prepared once, data are sent once and kept.

Dask starts, feeds and watches the processes; joblib hands it the tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import stat
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from nbmlp import __version__, tuning
from nbmlp.checks import flag, whole
from nbmlp.errors import SpecError, missing_package
from nbmlp.kernels import code_folder

try:
    import dask
    from distributed import Client, Worker, WorkerPlugin
    from joblib import parallel_config
except ImportError as error:
    raise missing_package("nbmlp.dask", "distributed", "dask") from error

__all__ = ["Prepared", "parallel", "setup"]


class Prepared(NamedTuple):
    """What a worker trains with.

    Attributes
    ----------
    threads : int
        Most threads of one training.
    cache : str
        Folder of its compiled code.
    target : str
        Its instruction set.
    """

    threads: int
    cache: str
    target: str


def setup(
    client: Client,
    threads: int = 1,
    cache: str | os.PathLike[str] | None = None,
    warm: Callable[[], object] | None = None,
    mixed: bool = False,
) -> dict[str, Prepared]:
    """Prepare all workers of a cluster, those that will join later too.

    Each limits the threads of a training, keeps compiled code in a folder of its own machine that
    belongs to its user, and compiles there what is trained, before its first task: workers of one
    machine one after the other, so that only the first one has to.

    Parameters
    ----------
    client : distributed.Client
    threads : int
        Of one training. A worker runs as many tasks at once as it has threads of Dask's, so more
        than one is for workers with more cores than those.
    cache : path, optional
        Folder for compiled code on each machine. By default what ``NUMBA_CACHE_DIR`` says there,
        else ``nbmlp-UID`` in its folder for temporary files.
    warm : callable, optional
        Called on each worker to compile what it needs, e.g. ``partial(model.fit, X[:99], y[:99])``.
        By default common nets are trained for a moment.
    mixed : bool
        Let workers of several instruction sets take part, now or later.

    Returns
    -------
    dict of str to Prepared
        By the worker's address.

    Raises
    ------
    SpecError
        A worker has another version of nbmlp, a folder that others could write to, or another
        instruction set than others: then a score depends on who computes it.
    """
    folder = None if cache is None else os.fspath(cache)
    target = None if flag("mixed", mixed) else _only_target(client)
    client.register_plugin(_Prepare(whole("threads", threads), folder, warm, target))
    found: dict[str, Prepared] = client.run(_prepared)
    return found


def _only_target(client: Client) -> str | None:
    """The instruction set of all workers; None as long as there are none."""
    each = {address: found.name for address, found in client.run(tuning.detect).items()}
    first = next(iter(each), None)
    for address, name in each.items():
        if first is not None and name != each[first]:
            raise _mixed(address, name, first, each[first])
    return None if first is None else each[first]


def _mixed(address: str, name: str, other: str, wanted: str) -> SpecError:
    return SpecError(
        f"worker {address} computes with {name} and {other} with {wanted}, so that the last digits"
        " of a score would depend on who computes it: start workers of one kind, or say"
        " setup(client, mixed=True)."
    )


@contextlib.contextmanager
def parallel(client: Client, **given: Any) -> Iterator[None]:
    """``joblib.parallel_config("dask")`` with data that outlive workers.

    joblib sends an array of more than 1 kB once, and not with each task, to one worker; if that one
    dies before others have fetched it, the search ends with ``FutureCancelledError``. Here the
    scheduler keeps what was sent, and sends it again.

    Parameters
    ----------
    client : distributed.Client
    **given
        Passed on to ``joblib.parallel_config``.
    """
    # Dask warns of data within tasks, which is what is meant here.
    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PB"}),
        parallel_config("dask", client=_Keeping(client), **given),
    ):
        yield


class _Keeping:
    """A client whose scattered data are results of tasks: those can be had again."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def scatter(self, data: Any, asynchronous: bool = False, **_: Any) -> Any:
        """As joblib calls it: with a list of data, or awaited and with one."""
        if isinstance(data, list | tuple):
            return [self._keep(each) for each in data]
        return self._awaited(data) if asynchronous else self._keep(data)

    async def _awaited(self, data: Any) -> Any:
        return self._keep(data)

    def _keep(self, data: Any) -> Any:
        return self._client.submit(_itself, data, key=f"data-{uuid.uuid4().hex}")


def _itself(data: Any) -> Any:
    return data


class _Prepare(WorkerPlugin):  # type: ignore[misc]
    """What :func:`setup` does on each worker."""

    name = "nbmlp"

    def __init__(
        self, threads: int, cache: str | None, warm: Callable[[], object] | None,
        target: str | None = None,
    ) -> None:  # fmt: skip
        self._target = target
        self._threads, self._cache, self._warm = threads, cache, warm or _compile_common
        self._version, self._call = __version__, uuid.uuid4().hex

    async def setup(self, worker: Worker) -> None:
        """Beside the worker's loop, whose heartbeats go on meanwhile."""
        await asyncio.to_thread(self._prepare, worker.address)

    def _prepare(self, address: str) -> None:
        if self._version != __version__:
            raise SpecError(
                f"worker {address} has nbmlp {__version__}, this process {self._version}: install"
                " the same version there."
            )
        if self._target not in (None, name := tuning.detect().name):
            raise _mixed(address, name, "others", str(self._target))
        tuning.limit_threads(self._threads)
        _keep_code_in(self._cache or os.environ.get("NUMBA_CACHE_DIR"), address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _first_alone(self._warm, code_folder.usable_folder(), self._call)


def _prepared() -> Prepared:
    threads, folder = tuning.available_threads(), code_folder.cache_folder()
    return Prepared(threads, str(folder), tuning.detect().name)


# ------------------------------------------------------------------------------ on a worker


def _keep_code_in(root: str | None, address: str) -> None:
    """Use that folder, or one for temporary files, if nobody else could write to it."""
    folder = Path(root) if root else _own_folder()
    if folder is None:
        return
    try:
        reason = code_folder.who_else(Path(os.path.realpath(folder)) / "nbmlp")
    except OSError as error:
        reason = str(error)
    if reason:
        raise SpecError(f"worker {address}: {reason}; setup(cache=...) names another folder.")
    code_folder.move(folder)


def _own_folder() -> Path | None:
    """A folder of this user's on this machine; None where the usual one is always local.

    A home folder may be shared by many machines, which would all write there at once.
    """
    if not hasattr(os, "getuid") or sys.platform == "darwin":
        return None
    folder = Path(tempfile.gettempdir()) / f"nbmlp-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = os.lstat(folder)  # anybody may have put a link here
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SpecError(f"{folder} is not this user's folder; setup(cache=...) names another one.")
    return folder


def _first_alone(compile_it: Callable[[], object], folder: Path | None, call: str) -> None:
    """Compile; of the processes of one machine the others wait for the first, then all load.

    Where there is no folder, or files cannot be locked, nobody waits. The locked file names the
    call of :func:`setup` whose first process has ended.
    """
    with contextlib.suppress(ImportError, OSError), _locked(folder) as file:
        if file is not None and file.read() != call:
            compile_it()
            file.truncate(0)
            file.write(call)
            return
    compile_it()


@contextlib.contextmanager
def _locked(folder: Path | None) -> Iterator[TextIO | None]:
    """A file of the folder that one process has at a time; None without a folder."""
    if folder is None:
        yield None
        return
    import fcntl

    with open(folder / "compiling.lock", "a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def _compile_common() -> None:
    import numpy as np

    from nbmlp.estimators import MLPClassifier, MLPRegressor
    from nbmlp.mlp import MLP
    from nbmlp.warmup import warm_up

    warm_up(io.StringIO())
    X = np.random.default_rng(0).normal(size=(200, 10))
    MLP(epochs=1).fit(X, X[:, 0] > 0)
    MLPClassifier((20,), max_iter=1).fit(X, X[:, 0] > 0)
    MLPRegressor(hidden_layer_sizes=(20,), max_iter=1).fit(X, X[:, 0])
