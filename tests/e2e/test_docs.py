"""What the documents tell a reader to type is typed here: every command of a `bash` block, in order, in one home.

docs/gcp.md is typed in one shell, on the stand-ins of Google Cloud; docs/bi.md in one, in an empty folder; the session with
StarRocks into MariaDB's client. Blocks marked `norun` need something a test has not (a folder of real files); `make` targets
are only looked up, for they run elsewhere: `make test` is this run. `gcloud` and `bq` need an account, and what is exported
there names a real project.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import gcp
import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```bash([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = ("README.md", "docs/operate.md")
GCP = "docs/gcp.md"
BI = "docs/bi.md"
EVERY_PAGE = (*PAGES, GCP, BI)
NEEDS_AN_ACCOUNT = ("gcloud ", "bq ", "export ", "echo ")


def commands(page: str) -> list[str]:
    blocks = BLOCK.findall((ROOT / page).read_text())
    lines = [line for flags, block in blocks if "norun" not in flags for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def session_with_starrocks(env: dict[str, str]) -> str | None:
    """What the client prints when the README's session is typed into it; None: there is no client here."""
    if shutil.which("mariadb") is None:
        return None
    readme = (ROOT / "README.md").read_text()
    (client,) = re.findall(r"^(mariadb .*?)  +#", readme, re.MULTILINE)
    (statements,) = re.findall(r"^```sql\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    said = subprocess.check_output(["lakegraph", "sandbox", "status"], env=env, text=True)
    port = re.findall(r"mysql://root@127\.0\.0\.1:(\d+)", said)[0]
    done = subprocess.run(
        shlex.split(client.replace("PORT", port)),
        env=env, input=statements, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [(ROOT / page).read_text() for page in EVERY_PAGE]
    blocks = [block for text in texts for _, block in BLOCK.findall(text)]
    named = {m for text in texts for m in re.findall(r"`make ([a-z-]+)", text)}
    named |= {m for block in blocks for m in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)}
    assert {"demo", "test", "superset"} <= named
    assert named <= targets


def test_links_lead_somewhere() -> None:
    for page in EVERY_PAGE:
        for target in re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
def test_every_command_in_the_documents_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "LAKEGRAPH_HOME": str(home), "PATH": path}
    env.pop("LAKEGRAPH_TLC_BASE", None)
    env.pop("LAKEGRAPH_USERS_API", None)
    outputs: dict[str, str] = {}
    try:
        # `doctor` rightly misses the sandbox before it is up; a reader's first run says so and exits with 1.
        for command in (c for page in PAGES for c in commands(page) if c.startswith("lakegraph ")):
            done = subprocess.run(
                ["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == (1 if command == "lakegraph doctor" else 0), f"{command}\n{done.stderr[-2000:]}"
            assert "leaked" not in done.stderr, "DuckDB's bindings tell what was not let go"
            outputs[command] = done.stdout
        session = session_with_starrocks(env)
    finally:
        subprocess.run([Path(sys.executable).with_name("lakegraph"), "sandbox", "down"], env=env, check=False)
    accounting = next(o for c, o in outputs.items() if "__accounting" in c).splitlines()
    assert accounting[0].startswith("service,source_month,bronze_rows")
    assert [line.split(",")[-1] for line in accounting[1:]] == ["0", "0", "0"]
    assert (home / "reports" / "kpi.html").stat().st_size > 1_000_000
    assert (home / "reports" / "dbt.html").exists()
    if session is None:
        reason = "no MariaDB client: apt-get install mariadb-client"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    assert "-standin\n" in session
    assert "mobility_trips_by_zone_day\n" in session
    assert re.search(r"^2023-03-31\t\d+\t\d+\.\d\d$", session, re.MULTILINE), session
    assert re.search(r"^Manhattan\t\d+$", session, re.MULTILINE), session
    assert "CREATE EXTERNAL TABLE `shop_orders_daily`" in session


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
def test_every_command_of_the_page_on_bi_tools_runs(tmp_path: Path) -> None:
    typed = [line for line in commands(BI) if not line.startswith(("gcloud ", "bq "))]
    assert all(line.startswith(("export LAKEGRAPH_", "lakegraph bi ")) for line in typed), typed
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEGRAPH_", "GOOGLE_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**kept, "LAKEGRAPH_HOME": str(tmp_path / "home"), "PATH": path}
    script = "set -ex\n" + "\n".join(typed)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (written,) = tmp_path.glob("*.pbids")
    project = json.loads(written.read_text())["connections"][0]["options"]["BillingProject"]
    assert f"ds.projectId={project}&ds.datasetId=gold&ds.tableId=shop_orders_daily\n" in done.stdout


@pytest.mark.gcp
@pytest.mark.slow
@pytest.mark.xdist_group("docs")
def test_every_command_of_the_page_on_google_cloud_runs(tmp_path: Path) -> None:
    with gcp.running(
        tmp_path / "home"
    ):  # skips where there is no Python 3.13; the page's own `up` starts nothing twice
        typed = [line for line in commands(GCP) if not line.startswith(NEEDS_AN_ACCOUNT)]
        assert all(line.startswith(("lakegraph ", 'eval "$(lakegraph ')) for line in typed), typed
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAKEGRAPH_", "DAGSTER_", "DBT_", "GOOGLE_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**kept, "LAKEGRAPH_HOME": str(tmp_path / "home"), "PATH": path}
        script = "set -ex\n" + "\n".join(typed)
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "create bucket gs://" in done.stdout
    assert done.stdout.rstrip().endswith("stopped")
