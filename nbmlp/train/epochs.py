"""What both ways of training, the native loop and the estimators, do with an epoch."""

from __future__ import annotations

from nbmlp.train.engine import Engine

__all__ = ["describe_skipped"]


def describe_skipped(engine: Engine) -> str:
    """What was left out of the training, in a sentence; empty if nothing was."""
    if not engine.skipped:
        return ""
    batches = f"{engine.skipped} batch{'es' * (engine.skipped > 1)}"
    return f"{batches} with NaN or infinite values left out; the first: {engine.first_skip}"
