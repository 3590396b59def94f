"""The page's colours are far enough apart in both schemes: contrast, as WCAG 2 defines it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import nbmlp.server.page as package

STATIC = Path(package.__file__).parent / "static"


def schemes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root(\[[^]]*\])? \{(.*?)\n\}", (STATIC / "style.css").read_text(), re.S)
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for _, block in blocks)
    assert light.keys() == dark.keys()
    return {"light": light, "dark": dark}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


TEXT = [
    *itertools.product(("text", "muted"), ("page", "panel", "sunken")),
    *itertools.product(("accent", "accent-strong"), ("page", "panel")),
    *((name, f"{name}-soft") for name in ("good", "warn", "bad")),
    *(("text", f"{name}-soft") for name in ("accent", "good", "warn", "bad")),
    ("accent-strong", "accent-soft"), ("on-accent", "accent"), ("on-accent", "accent-strong"),
    ("bad", "panel"), ("bad", "sunken"),
]  # fmt: skip
#: Lines and borders that carry a meaning.
GRAPHICS = [
    (line, "panel")
    for line in ("control", "train", "validation", "score", *(f"run-{i}" for i in range(1, 7)))
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"), [(*p, 4.5) for p in TEXT] + [(*p, 3.0) for p in GRAPHICS]
)
def test_contrast(scheme: str, front: str, back: str, least: float) -> None:
    colours = schemes()[scheme]
    assert contrast(colours[front], colours[back]) >= least
