"""Opt-in, on a real project: the tests of `tests/e2e/test_parity.py` once more, with Google Cloud on the other side.

`LAKEGRAPH_LIVE_GCP=1 LAKEGRAPH_GCP_PROJECT=… LAKEGRAPH_GCP_BUCKET=… pytest tests/live` needs an empty project, and the
roles of infrastructure and of runs in docs/gcp.md; it costs some cents, and removes all it has made.
"""

import os

import pytest

if os.environ.get("LAKEGRAPH_LIVE_GCP") != "1":
    pytest.skip("LAKEGRAPH_LIVE_GCP=1 is not set: nothing is run on a real project", allow_module_level=True)

from test_parity import *  # noqa: F403 - its tests, its fixtures and its marks
