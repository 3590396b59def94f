"""Why training fails: signs, suspects, and a short trial of each cure."""

from __future__ import annotations

from nbmlp.diagnostics.why.diagnose import diagnose
from nbmlp.diagnostics.why.report import CAUSES, Finding, Report, Trial, Where

__all__ = ["CAUSES", "Finding", "Report", "Trial", "Where", "diagnose"]
