"""Debian's Chromium under Playwright, cut off from the network, for tests; and what it looks at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from waiting import PATIENCE

_VIOLATIONS = """axe.run({ resultTypes: ["violations"] })
  .then(({ violations }) => ({ violations }))"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def browser() -> Iterator[Any]:
    """A browser that can resolve no name; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: {', '.join(BROWSERS)}")
    with api.sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield started
        started.close()


def window(started: Any, **options: Any) -> Any:
    """A context of its own whose waits end only when what they wait for will never come."""
    context = started.new_context(**options)
    context.set_default_timeout(1000 * PATIENCE)
    return context


def looks(page: Any) -> Iterator[str]:
    """The page light and wide, then dark and narrow: contrast is the theme's, room the width's."""
    for theme, width in (("light", 1280), ("dark", 400)):
        page.emulate_media(color_scheme=theme)
        page.wait_for_selector(f"html[data-theme={theme}]")
        page.set_viewport_size({"width": width, "height": 800})
        # A chart follows the window in the next frame.
        page.wait_for_function(f"() => document.documentElement.scrollWidth <= {width}")
        yield f"{page.url}, {width} px, {theme}"


def assert_accessible(page: Any, look: str) -> None:
    """axe-core finds nothing to object to, neither by WCAG A and AA nor by good practice."""
    axe = pytest.importorskip("axe_playwright_python.base")
    if not page.evaluate("'axe' in window"):  # once for all looks: it is half a megabyte
        page.evaluate(axe.AXE_SCRIPT)
    found = axe.AxeResults(page.evaluate(_VIOLATIONS))
    assert not found.violations_count, f"{look}\n{found.generate_report()}"
