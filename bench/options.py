"""Parts of the commands' lines, each with a sentence for what is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

__all__ = ["names_of", "whole"]


def names_of(text: str, valid: Sequence[str]) -> list[str]:
    """Split a comma-separated option; unknown names end the command with a sentence."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in valid:
            raise argparse.ArgumentTypeError(f"unknown {name!r}: choose from {', '.join(valid)}.")
    return names


def whole(text: str) -> int:
    """A whole number above zero."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0.")
    return int(text)
