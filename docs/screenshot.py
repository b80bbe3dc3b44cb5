"""A picture of the asset graph, taken of the running UI by headless Chromium.

What belongs here: starting `dagster dev` on a free port and opening its lineage page; `make screenshot` and
the browser test use it. What does not: assertions.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GROUPS = ("infra", "bronze", "silver", "gold", "serving", "ops")
PICTURED = (  # one lineage, from the folders to its readers
    '+key:"gold/mobility/green_trips_by_payment_type" or key:"serving/*/mobility_green_trips_by_payment_type"'
    ' or key:"serving/duckdb" or key:"serving/kpi_report" or key:"serving/superset/mobility" or key:"serving/power_bi"'
)
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    return next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def dagster_dev(log: Path, home: Path, deadline: float = 180.0) -> Iterator[str]:
    """`lakegraph dev` on a free port, stopped on exit; yields its URL.

    Args:
        log: file for its output.
        home: LAKEGRAPH_HOME.
        deadline: seconds to wait until it answers.

    Raises:
        RuntimeError: it ended, or did not answer in time; its last output follows.
    """
    port = _free_port()
    command = [str(Path(sys.executable).with_name("lakegraph")), "dev", "--port", str(port)]
    with log.open("w") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            command,
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "DAGSTER_DISABLE_TELEMETRY": "1", "LAKEGRAPH_HOME": str(home)},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - one thread here
        )
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + deadline
        try:
            while True:
                try:
                    urllib.request.urlopen(f"{url}/server_info", timeout=5).close()  # noqa: S310 - loopback
                    break
                except (urllib.error.URLError, OSError):
                    if process.poll() is not None or time.monotonic() > end:
                        raise RuntimeError(f"dagster dev did not come up:\n{log.read_text()[-4000:]}") from None
                    time.sleep(0.2)  # polling with a deadline
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                pass
            finally:  # its children share its session
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    process.wait(1)


@contextmanager
def browser_page(width: int = 3300, height: int = 1200) -> Iterator[Any]:
    """A page of headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGS)
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()


def lineage_url(base: str) -> str:
    """The global lineage with every group expanded; they are collapsed by default."""
    groups = "%2C".join(f"global%40global%3A{group}" for group in GROUPS)
    return f"{base}/asset-groups?expanded={groups}"


def select(page: Any, selection: str) -> None:
    """Narrow the lineage page to `selection`, as a person does: by typing it."""
    page.locator(".CodeMirror").first.click()
    page.keyboard.type(selection)
    page.keyboard.press("Enter")


def main(target: Path) -> None:
    """Save the lineage of the default instance (`data/`) as a PNG."""
    if chromium() is None:
        sys.exit("error: no chromium found; apt-get install chromium")
    home = Path(os.environ.get("LAKEGRAPH_HOME", ROOT / "data")).absolute()
    log = home / "dagster" / "dev.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with dagster_dev(log, home) as url, browser_page() as page:
        page.goto(lineage_url(url), wait_until="domcontentloaded")
        page.locator("[data-tooltip]").first.wait_for(state="attached", timeout=90_000)  # nodes in sight are drawn
        select(page, PICTURED)
        page.locator('[data-tooltip="iceberg_namespaces"]').wait_for(timeout=90_000)
        page.locator('[data-tooltip="trips_by_zone_day"]').wait_for(state="detached", timeout=30_000)
        page.wait_for_load_state("networkidle")
        # Each node loads by itself. Dagster's policy of content forbids wait_for_function, which evaluates a string.
        loading = page.get_by_text("Loading")
        for _ in range(loading.count()):
            loading.first.wait_for(state="detached", timeout=60_000)
        page.screenshot(path=str(target))
    print(target)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
