"""The browser of the tests: what takes the README's picture takes theirs.

What belongs here: `docs/screenshot.py` as a module, and who is left out where there is no browser. What does not: pages,
and what is expected of them.
"""

import importlib.util
import os
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("screenshot", Path(__file__).parents[2] / "docs" / "screenshot.py")
assert _spec is not None
assert _spec.loader is not None
screenshot = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(screenshot)

NEEDS_CHROMIUM = pytest.mark.skipif(
    screenshot.chromium() is None and not os.environ.get("CI"),
    reason="no chromium, chromium-browser or google-chrome is installed: apt-get install chromium",
)
