"""Peak memory against batch size: rows beyond a sub-batch cost nothing."""

from __future__ import annotations

from .common import all_threads, trainer

NET = "784-512-512-10"


class Peak:
    """One epoch of the largest net in a process of its own, data and libraries included."""

    param_names = ("batch_size",)
    params = ([100, 10_000],)
    timeout = 120

    def setup_cache(self) -> None:
        """Compile everything: the compiler's own memory is not the question."""
        for batch in self.params[0]:
            trainer(NET, batch, all_threads())

    def peakmem_epoch(self, batch_size: int) -> None:
        trainer(NET, batch_size, all_threads())
