"""The SQL of the target gcp is GoogleSQL: the lint catches what it says, and finds nothing in what a run sends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gcp
import pytest
from googlesql import offences

from lake.gcp import bigquery_client
from lake.settings import Settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MONTHS = '{"from_month": "2023-01-01", "to_month": "2023-01-01"}'

WRONG = {
    "select x::int64 from t": "operator ::",
    "select a // b from t": "operator //",
    "select try_cast(a as int64)": "try_cast",
    "select hash(a)": "hash",
    "select epoch_us(a)": "epoch_us",
    "select quantile_disc(a, 0.5)": "quantile_disc",
    "select median(a)": "median",
    "select json_extract_string(a, '$.b')": "json_extract_string",
    "select list_sort(a)": "list_sort",
    "select * from read_parquet('x')": "read_parquet",
    "select * exclude (a) from t": "exclude",
    "select a ilike 'b'": "ilike",
    "select cast(a as double)": "type of GoogleSQL: double",
    "select safe_cast(a as VARCHAR)": "type of GoogleSQL: varchar",
    "select cast(a as double precision)": "double precision",
    "select cast(a + cast(b as int64) as hugeint)": "type of GoogleSQL: hugeint",
    "select cast(a as numeric(18, 2))": "parameters inside CAST",
    "select cast(cast(a as string(3)) as int64)": "parameters inside CAST",
    "select 'a' || length(b)": "|| joins texts",
    "select 'a' || (b + 1) || 'c'": "|| joins texts",
    "select 'a' || cast(b as int64)": "|| joins texts",
    "select 'a' || 1": "|| joins texts",
    'select "a" from t': "double quotes",
    'create table t options(description="a (b) c") as select "x" as y': "double quotes",
    "select 1 +": "does not parse",
    "select (1": "does not parse",
    "selec x": "not a statement",
}
RIGHT = (
    "select cast(a as numeric), safe_cast(b as float64), 'a' || cast(length(b) as string) || c from `p`.`d`.`t`",
    "select * except (a) from t qualify row_number() over (partition by b order by c) = 1",
    "select array_agg(a ignore nulls order by a)[safe_ordinal(1)], to_hex(md5('x')), json_value(b, '$.a') from t",
    'select \'x::y // try_cast(\', """it\'s""" -- hash(a) ilike\n, `double` /* median(x) */ # a::b\n from t',
    "begin transaction; delete from `t` where m >= date '0001-01-01'; insert into `t` (`a`) select 1; commit transaction;",
    'create table `t` cluster by m with connection `p.us.c` options(description="a \'b\' (c)", labels=[("a", "b")]) as (select 1 as m)',
    "select concat('a', 1), substr('https://x', 1), cast(sum(x) as bigint) from t group by all",
)


@pytest.mark.parametrize("sql", WRONG)
def test_what_bigquery_refuses_is_found(sql: str) -> None:
    assert any(WRONG[sql] in offence for offence in offences(sql)), offences(sql)


@pytest.mark.parametrize("sql", RIGHT)
def test_what_bigquery_takes_is_passed_over(sql: str) -> None:
    assert offences(sql) == []


def test_offences_of_each_statement_are_found_and_say_where() -> None:
    found = offences("select 1;\nselect a::string, hash(b) from t;\nselect 'x' || 2")
    assert [one.split(":", 1)[0] for one in found] == ["operator ", "not GoogleSQL", "|| joins texts, not"]
    assert "a::string" in found[0]


@pytest.mark.gcp
@pytest.mark.slow
def test_every_statement_of_a_run_is_googlesql(tmp_path: Path) -> None:
    """Of a first run over everything (loads, models, tests, unit tests), and of models that replace a month."""
    with gcp.running(tmp_path / "home") as variables:
        env = {**os.environ, **variables, "DAGSTER_DISABLE_TELEMETRY": "1"}
        month = ("--from", "2023-01", "--to", "2023-01")
        first = [BIN / "lakegraph", "materialize", "--select", "*", *month]
        done = subprocess.run(first, env=env, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        with gcp.variables(variables):
            settings = Settings()
            (folder,) = (path for path in settings.dbt_target.iterdir() if (path / "compiled").is_dir())
            again = [BIN / "dbt", "run", "--profiles-dir", ".", "--target-path", tmp_path / "dbt", "--vars", MONTHS]
            again += ["--log-path", tmp_path / "dbt"]
            env |= {"LAKEGRAPH_GCP_CONNECTION_NAME": settings.gcp().connection_name}
            env |= {"LAKEGRAPH_LAKE_URI": settings.gcp().lake_uri}
            done = subprocess.run(again, env=env, capture_output=True, text=True, check=False, cwd=ROOT / "dbt_project")
            assert done.returncode == 0, done.stdout
            jobs = bigquery_client(settings.gcp()).query_and_wait(
                "SELECT DISTINCT query FROM `region-us`.INFORMATION_SCHEMA.JOBS WHERE query IS NOT NULL"
            )
            sent = [row[0] for row in jobs]
        manifest = json.loads((ROOT / "dbt_project" / "target" / "gcp" / "manifest.json").read_text())
        nodes = [n for n in manifest["nodes"].values() if n["resource_type"] in {"model", "test"}]
        names = {path.stem for path in (folder / "compiled").rglob("*.sql")}
        known = {Path(node["path"]).stem for node in nodes} | {u["name"] for u in manifest["unit_tests"].values()}
        assert known <= names
        files = [path.read_text() for part in ("compiled", "run") for path in (folder / part).rglob("*.sql")]
    assert any("merge into" in sql for sql in sent)
    assert any("begin transaction" in sql for sql in sent)
    assert {offence: sql for sql in (*files, *sent) for offence in offences(sql)} == {}
