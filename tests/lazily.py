"""Packages that only the process imports that runs the tests of them, not each that lists them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazy:
    """A module, imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
