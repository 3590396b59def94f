"""What the figures were measured on, and how quiet it was."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nbmlp.tuning import available_threads

__all__ = ["busy_seconds", "describe"]

PACKAGES = ("nbmlp", "numpy", "numba", "llvmlite", "scikit-learn", "torch", "jax", "jaxlib")


def installed(package: str) -> str | None:
    """Version of an installed package, None where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_name() -> str:
    """The CPU's name, with family and model where the system tells: clouds blank the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(reversed([[p.strip() for p in x.split(":", 1)] for x in lines if ":" in x]))
    name = facts.get("model name", platform.machine())
    family, model = facts.get("cpu family"), facts.get("model")
    return f"{name} (family {family}, model {model})" if family else name


def describe() -> dict[str, object]:
    """CPU, cores, system, versions: plain values for JSON."""
    return {
        "cpu": cpu_name(),
        "cores": available_threads(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {p: v for p in PACKAGES if (v := installed(p))},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def busy_seconds() -> float | None:
    """Processor seconds that the whole machine has spent on anything, or that were stolen from it.

    None where the system does not tell.
    """
    try:
        with open("/proc/stat", encoding="ascii") as f:
            user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    except (OSError, ValueError):
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq + steal) / ticks
