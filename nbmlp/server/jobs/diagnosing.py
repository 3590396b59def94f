"""Causes of a training that failed or came to nothing, as far as a job's time allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nbmlp.errors import NbmlpError
from nbmlp.server.jobs.protocol import Order
from nbmlp.server.jobs.telling import Send

if TYPE_CHECKING:  # else loaded by those who ask: most trainings need no diagnosis
    from nbmlp.diagnostics.why import Report

__all__ = ["diagnose"]


def diagnose(ask: Callable[..., Report], order: Order, send: Send, of: str = "") -> None:
    """Tell the causes; what goes wrong in looking for them is told, too.

    Parameters
    ----------
    ask : callable
        Takes `seconds`, which the trials may last.
    order : Order
    send : callable
    of : str
        What they are the causes of, if it is not the whole training.
    """
    if not (order.spec.diagnose and order.diagnosis_seconds):
        return
    send({"kind": "diagnosing"})
    try:
        report = ask(seconds=order.diagnosis_seconds)
    except (NbmlpError, MemoryError) as error:
        send({"kind": "message", "text": f"no diagnosis: {error or 'out of memory'}"})
        return
    send({"kind": "diagnosis", "text": f"{of}{report}", "report": report.to_dict()})
