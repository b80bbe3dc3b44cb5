"""The command: what it prints, where, with which exit code. An error is one line: the thing and the reason."""

import csv
import io
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import lakes
import pytest
from homes import LAKEGRAPH, Home, serving, write_sources

from orchestration.served import served_tables
from sandbox import tlc

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-cli")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that does not exist yet, without sources."""
    return Home(tmp_path / "home", str(tmp_path / "tlc"))


def publish_by_hand(home: Home, *statements: str) -> None:
    home.settings.published_path.parent.mkdir(parents=True)
    with duckdb.connect(str(home.settings.published_path)) as connection:
        for statement in statements:
            connection.execute(statement)


# -- query ---------------------------------------------------------------------------------------------------

ODD = (
    "CREATE SCHEMA gold",
    """CREATE TABLE gold.odd AS SELECT * FROM (VALUES
    (1, 'plain', DATE '2023-01-31', 1.50::DECIMAL(18, 2)), (2, 'a,b', NULL, NULL), (3, 'say "hi"', NULL, 0.00),
    (4, 'two' || chr(10) || 'lines', NULL, NULL), (5, NULL, NULL, NULL), (6, '[/bold] :smile: [red]x', NULL, NULL)
    ) AS t (n, text, day, amount)""",
)
ROWS = "SELECT * FROM gold.odd ORDER BY n"


def test_query_prints_csv_that_a_reader_reads_back(home, here):
    publish_by_hand(home, *ODD)
    done = here(home, "query", "--format", "csv", ROWS)
    assert (done.code, done.err) == (0, "")
    lines = ["n,text,day,amount", "1,plain,2023-01-31,1.50", '2,"a,b",,', '3,"say ""hi""",,0.00', '4,"two', 'lines",,']
    assert done.out.splitlines()[:6] == lines
    read = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["text"] for row in read] == ["plain", "a,b", 'say "hi"', "two\nlines", "", "[/bold] :smile: [red]x"]
    empty = here(home, "query", "--format", "csv", "SELECT * FROM gold.odd WHERE false")
    assert empty.out == "n,text,day,amount\n"


def test_query_prints_json_and_tables(home, here):
    publish_by_hand(home, *ODD)
    rows = json.loads(here(home, "query", "--format", "json", ROWS).out)
    assert rows[0] == {"n": 1, "text": "plain", "day": "2023-01-31", "amount": "1.50"}
    assert rows[3]["text"] == "two\nlines"
    assert rows[4] == {"n": 5, "text": None, "day": None, "amount": None}
    table = here(home, "query", ROWS)
    assert table.code == 0
    assert "6 rows" in table.out
    assert "[/bold] :smile: [red]x" in table.out  # data is no markup
    assert "None" not in table.out


def test_query_from_a_shell(home):
    publish_by_hand(home, *ODD)
    done = home.run("query", "--format", "csv", "SELECT count(*) AS n FROM gold.odd")
    assert (done.code, done.out, done.err) == (0, "n\n6\n", "")
    pipe = f"'{LAKEGRAPH}' query --format csv 'SELECT range AS n FROM range(200000)' | head -n 2"
    cut = subprocess.run(
        ["/bin/bash", "-c", pipe], capture_output=True, text=True, check=False, env=home.environment(), timeout=120
    )
    assert (cut.stdout, cut.stderr) == ("n\n0\n", "")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT * FROM gold.nowhere", "Table with name nowhere does not exist"),
        ("SELEC 1", "syntax error"),
        ("CREATE TABLE gold.mine AS SELECT 1", "read-only"),
        ("SELECT nope FROM gold.odd", "nope"),
    ],
)
def test_query_says_in_one_line_what_is_wrong(home, here, sql, reason):
    publish_by_hand(home, *ODD)
    done = here(home, "query", sql)
    assert (done.code, done.out) == (1, "")
    assert done.first.startswith("error: ")
    assert reason in done.first
    assert done.err.count("\n") == 1


def test_query_before_anything_is_published(home, here):
    done = here(home, "query", "SELECT 1")
    assert done.code == 1
    assert done.err == (
        f"error: {home.settings.published_path} does not exist yet: materialize something first "
        "(`lakegraph materialize --select ...`)\n"
    )
    assert not home.path.exists()


# -- infrastructure ------------------------------------------------------------------------------------------


def test_apply_does_what_plan_says_and_drift_is_what_is_missing(home, here):
    plan = here(home, "infra", "plan")
    assert plan.code == 0
    assert not home.path.exists()  # plan writes nothing
    assert f"create folder {home.path}" in plan.out.splitlines()
    assert here(home, "infra", "apply").out == plan.out
    assert here(home, "infra", "apply").out == "nothing changed\n"
    assert here(home, "infra", "plan").out == "nothing to change\n"
    assert here(home, "infra", "drift").out == "no drift\n"
    shutil.rmtree(home.settings.reports)
    drift = here(home, "infra", "drift")
    assert drift.code == 1
    assert drift.first == "error: 1 resources differ from their declaration; `lakegraph infra apply` repairs them"
    assert drift.out == f"create folder {home.settings.reports}\n"
    assert not home.settings.reports.exists()
    assert here(home, "infra", "apply").out == drift.out


# -- sandbox -------------------------------------------------------------------------------------------------


def test_the_sandbox_outlives_its_command_and_is_found_again(tmp_path, here):
    home = Home(tmp_path / "home", "")  # an empty variable is as good as none: the sandbox decides
    home.users_api = ""
    assert (
        here(home, "sandbox", "status").out == "mongodb: stopped\ns3: stopped\nstarrocks: stopped\nsources: stopped\n"
    )
    assert here(home, "sandbox", "status").code == 1
    assert here(home, "sandbox", "down").out == "was not running\n"
    try:
        up = home.run("sandbox", "up")
        assert up.code == 0, up.err
        urls = dict(line.split(": ") for line in up.out.splitlines())
        assert urls.keys() == {
            "membership_folder",
            "sales_database",
            "shop_mongodb",
            "shop_s3",
            "starrocks",
            "starrocks_http",
            "tlc_base",
            "users_api",
        }
        status = here(home, "sandbox", "status")
        assert status.code == 0
        assert f"sources: running {urls['tlc_base']} pid " in status.out
        assert here(home, "sandbox", "up").out == up.out  # nothing is started twice
        assert here(home, "sandbox", "status").out == status.out
        doctor = here(home, "doctor")
        assert doctor.code == 0
        assert f"ok       tlc_base: {urls['tlc_base']}" in doctor.out.splitlines()
        assert f"ok       sales_database: {urls['sales_database']}" in doctor.out.splitlines()
        assert "ok       starrocks: 127.0.0.1:" in doctor.out
        lost = here(
            Home(home.path, "", "", {"LAKEGRAPH_SALES_DATABASE": f"sqlite:///{home.path}/nowhere.db"}), "doctor"
        )
        assert lost.code == 1
        assert (
            f"MISSING  sales_database: sqlite:///{home.path}/nowhere.db: there is no such file" in lost.out.splitlines()
        )
    finally:
        down = here(home, "sandbox", "down")
    assert (down.code, down.out) == (0, "stopped\n")
    assert here(home, "sandbox", "status").code == 1
    assert (home.settings.sandbox_home / "tlc" / "taxi_zone_lookup.csv").exists()


# -- serving -------------------------------------------------------------------------------------------------


def test_what_no_starrocks_is_set_for_is_not_done_and_a_script_can_tell(home):
    """Beside other assets the run goes on (`test_demo.py`); asked for alone, a green step would have done nothing."""
    home.more["LAKEGRAPH_SOURCES"] = "live"
    done = home.run("materialize", "--select", "serving/starrocks/*")
    assert (done.code, done.err) == (1, "error: nothing was materialized; the lines above say why\n")
    (line,) = [line for line in done.out.splitlines() if line.startswith("not done: ")]
    served = [one.table for one in served_tables()]
    assert line.startswith(f"not done: serving/starrocks/{min(served)} and {len(served)} more: starrocks: ")  # a shape
    assert line.endswith("set LAKEGRAPH_STARROCKS")
    assert "│ serving/starrocks/" not in done.out
    with closing(sqlite3.connect(next(home.settings.dagster_home.rglob("index.db")))) as index:
        names = index.execute("SELECT asset_key FROM asset_keys WHERE last_materialization IS NOT NULL").fetchall()
    assert not [name for (name,) in names if "starrocks" in name]


# -- doctor, help, settings ----------------------------------------------------------------------------------


def test_doctor_says_what_is_missing_and_how_to_get_it(home, here):
    home.users_api = ""
    done = here(home, "doctor")
    assert done.code == 1
    lines = done.out.splitlines()
    assert all(line[:9].strip() in {"ok", "MISSING", "optional"} for line in lines)
    missing = [line for line in lines if line.startswith("MISSING")]
    assert [line.split()[1] for line in missing] == ["users_api:", "shop_mongodb:", "shop_s3:", "sales_database:"]
    assert all("lakegraph sandbox up" in line for line in missing)
    assert any(line.startswith("ok       duckdb: ") for line in lines)


def test_every_command_has_help(here, home):
    import typer

    from orchestration.cli import app

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, (*path, name))

    paths = list(walk(typer.main.get_command(app), ()))
    assert {("materialize",), ("query",), ("infra", "drift"), ("sandbox", "up"), ("doctor",)} <= set(paths)
    for path in paths:
        done = here(home, *path, "--help")
        assert done.code == 0, path
        assert "Usage:" in done.out, path
    assert not home.path.exists()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("TARGET", "foo", "LAKEGRAPH_TARGET: Input should be 'local' or 'gcp'"),
        ("HTTP_ATTEMPTS", "0", "LAKEGRAPH_HTTP_ATTEMPTS: Input should be greater than or equal to 1"),
    ],
)
@pytest.mark.parametrize("command", [("infra", "plan"), ("materialize", "--select", "*")], ids=["infra", "materialize"])
def test_a_wrong_setting_is_one_line(home, here, command, name, value, reason):
    home.more[f"LAKEGRAPH_{name}"] = value
    done = here(home, *command)
    assert (done.code, done.out, done.err) == (1, "", f"error: {reason}\n")


def test_a_wrong_setting_in_a_process_of_its_own(home):
    home.more["LAKEGRAPH_TARGET"] = "foo"
    done = home.run("materialize", "--select", "*")
    assert (done.code, done.err) == (1, "error: LAKEGRAPH_TARGET: Input should be 'local' or 'gcp'\n")


def test_wrong_usage_is_exit_code_2(home, here):
    assert here(home, "materialize").code == 2
    assert here(home, "query", "--format", "xml", "SELECT 1").code == 2


# -- materialize: what cannot begin --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("",), "--select is empty"),
        (("*nothing_like_it*",), "selects nothing; `lakegraph assets` lists all keys"),
        (("bronze/mobility/nowhere",), "nowhere"),
        (("key:(",), "--select 'key:('"),
        (("*green*",), "is partitioned: say which with --partition KEY or --from KEY --to KEY"),
        (("*green*", "--partition", "2023-13"), "partition '2023-13': a month is written YYYY-MM"),
        (("*green*", "--partition", "January"), "partition 'January': a month is written YYYY-MM"),
        (("*green*", "--partition", "2022-12"), "partition 2022-12 is not one of 2023-01 to "),
        (("*green*", "--partition", "2199-01"), "partition 2199-01 is not one of 2023-01 to "),
        (("*green*", "--from", "2023-03", "--to", "2023-01"), "--from 2023-03 is after --to 2023-01"),
        (("*green*", "--partition", "2023-01", "--from", "2023-01"), "--partition and --from/--to exclude each other"),
    ],
    ids=lambda value: " ".join(value) or "empty" if isinstance(value, tuple) else "",
)
def test_a_run_that_cannot_begin(home, here, arguments, reason):
    done = here(home, "materialize", "--select", *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.first.startswith("error: ")
    assert reason in done.first
    assert done.err.count("\n") == 1
    assert not home.path.exists()


def test_silver_on_bronze_that_was_never_loaded(home):
    done = home.start("materialize", "--select", "gold/mobility/users_by_city silver/mobility/users").wait()
    assert done.code == 1
    assert done.first == (
        "error: dbt_build: bronze.mobility_users is not loaded yet: materialize bronze/mobility/users first"
    )


def test_an_empty_query(home, here):
    done = here(home, "query", " ")
    assert (done.code, done.out) == (1, "")
    assert done.first.startswith("error: the query is empty")


# -- materialize: what fails ---------------------------------------------------------------------------------

GREEN = ("materialize", "--select", "bronze/mobility/green_trips", "--partition")


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[Home, Path]]:
    """A home with one month of bronze and its silver users, that reads over HTTP; and the folder behind that."""
    base = tmp_path_factory.mktemp("cli")
    files = write_sources(base / "tlc", ("2023-01",), {"green": 300})
    with serving(files) as server:
        home = Home(base / "home", server.tlc_base, server.users_api)
        done = home.run(*GREEN, "2023-01")
        assert done.code == 0, done.err
        assert "materialized serving/duckdb" in done.out.splitlines()
        assert done.err == ""
        yield home, files


def test_what_one_run_made_can_be_queried(served):
    home, _ = served
    assert home.rows("SELECT count(*) FROM bronze.mobility_green_trips") == [(300,)]


@pytest.mark.parametrize(
    ("month", "content", "reason"),
    [
        ("2023-03", None, "not there (HTTP 404 Not Found)"),
        ("2023-04", b"<!DOCTYPE html><html>gone</html>", "is a web page, not a Parquet file"),
        ("2023-05", b"PAR1 and so on", "the Parquet file is truncated at 14 bytes"),
        ("2023-06", b"", "the file is empty (0 bytes)"),
    ],
)
def test_a_month_that_cannot_be_loaded(served, month, content, reason):
    home, files = served
    if content is not None:
        (files / tlc.file_name("green", month)).write_bytes(content)
    before = lakes.state(home.settings), home.contents(), home.settings.published_path.stat().st_ino
    done = home.start(*GREEN, month).wait()
    assert done.code == 1
    assert "materialized" not in done.out
    url = f"{home.tlc_base}/{tlc.file_name('green', month)}"
    assert done.first.startswith(f"error: bronze/mobility/green_trips: {url}: {reason}")
    assert "Traceback" not in done.err
    assert str(home.settings.dagster_home / "lakegraph.log") in done.err
    assert "checks passed" not in done.err, "there is nothing to tell of checks"
    assert (lakes.state(home.settings), home.contents(), home.settings.published_path.stat().st_ino) == before


def test_a_model_that_fails_says_why_and_nothing_else(served):
    """The fault: at its end the process printed a page of what DuckDB's bindings had left."""
    home, _ = served
    done = home.run(
        "materialize", "--select", "bronze/mobility/taxi_zones silver/mobility/taxi_zones gold/mobility/users_by_city"
    )
    assert done.code == 1
    assert done.first.startswith("error: dbt_build: mobility_users_by_city: ")
    assert "mobility_users does not exist" in done.first
    assert "nanobind" not in done.out + done.err


def test_what_is_published_is_what_the_run_has_built(served):
    """Silver alone, without the gold between it and the published copy: publishing comes last all the same."""
    home, _ = served
    done = home.run("materialize", "--select", "bronze/mobility/users silver/mobility/users")
    assert done.code == 0, done.err
    assert home.rows("SELECT count(*) FROM silver.mobility_users") == [(10,)]
    order = [line.removeprefix("materialized ") for line in done.out.splitlines() if line.startswith("materialized ")]
    assert order.index("silver/mobility/users") < order.index("serving/duckdb")
