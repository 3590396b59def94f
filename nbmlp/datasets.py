"""Data sets that need no download: ``from nbmlp import datasets; datasets.glyphs(20_000)``."""

from __future__ import annotations

from nbmlp.data.glyphs import glyphs
from nbmlp.data.samples import digits

__all__ = ["digits", "glyphs"]
