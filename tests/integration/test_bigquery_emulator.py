"""The BigQuery emulator under the official clients: loads, external tables, managed Iceberg, jobs, and its process."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import gcp
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery, storage

from lake.gcp import bigquery_client, storage_client
from lake.settings import Settings
from sandbox import control
from sandbox.endpoints import read_endpoints

pytestmark = pytest.mark.gcp

BUCKET = control.GCP_BUCKET
EXTERNAL = """
/* {{"app": "test"}} */
CREATE OR REPLACE EXTERNAL TABLE `lakegraph-local`.`{dataset}`.`trips` (
    id INT64 OPTIONS(description="number, of a trip"), fee NUMERIC, city STRING
) WITH PARTITION COLUMNS (source_month DATE)
WITH CONNECTION `lakegraph-local.us.lakegraph`
OPTIONS(format = 'PARQUET', uris = ['gs://{bucket}/{dataset}/trips/*'],
        hive_partition_uri_prefix = 'gs://{bucket}/{dataset}/trips')
"""


@pytest.fixture(scope="module")
def target(gcp_environment):
    with gcp.variables(gcp_environment):
        yield Settings().gcp()


@pytest.fixture(scope="module")
def client(target) -> bigquery.Client:
    return bigquery_client(target)


@pytest.fixture(scope="module")
def bucket(target) -> storage.Bucket:
    cloud = storage_client(target)
    return cloud.lookup_bucket(BUCKET) or cloud.create_bucket(BUCKET, location="US")


@pytest.fixture
def dataset(client) -> str:
    name = f"d{uuid4().hex[:8]}"
    client.create_dataset(name)
    return name


def put(bucket: storage.Bucket, name: str, table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    bucket.blob(name).upload_from_string(sink.getvalue().to_pybytes())
    return f"gs://{bucket.name}/{name}"


def rows(client: bigquery.Client, sql: str) -> list[tuple]:
    return [tuple(row.values()) for row in client.query_and_wait(sql)]


def put_months(bucket, dataset):
    """Two months: in the second the number is wider and the fee is there, and the columns' order differs."""
    january = pa.table({"city": ["A", "B"], "id": pa.array([1, 2], pa.int32())})
    february = pa.table(
        {"id": pa.array([3], pa.int64()), "fee": pa.array(["2.50"]).cast(pa.decimal128(38, 9)), "city": ["C"]}
    )
    for month, table in (("2023-01-01", january), ("2023-02-01", february)):
        put(bucket, f"{dataset}/trips/source_month={month}/part-0.parquet", table)


MONTHS = [(1, None, "A", date(2023, 1, 1)), (2, None, "B", date(2023, 1, 1)), (3, 2.5, "C", date(2023, 2, 1))]


def test_select(client):
    assert rows(client, "SELECT 1 AS x, [STRUCT(DATE '2023-01-01' AS d)] AS y") == [(1, [{"d": date(2023, 1, 1)}])]


def test_parquet_is_loaded_into_a_table_partitioned_by_month(client, bucket, dataset):
    uri = put(
        bucket, f"{dataset}/load/a.parquet", pa.table({"id": [1, 2], "month": [date(2023, 1, 1), date(2023, 2, 1)]})
    )
    config = bigquery.LoadJobConfig(
        source_format="PARQUET",
        write_disposition="WRITE_APPEND",
        time_partitioning=bigquery.TimePartitioning(type_="MONTH", field="month"),
        schema_update_options=["ALLOW_FIELD_ADDITION"],
    )
    job = client.load_table_from_uri(uri, f"{dataset}.t", job_config=config)
    job.result()
    assert job.output_rows == 2
    table = client.get_table(f"{dataset}.t")
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("MONTH", "month")
    assert rows(client, f"SELECT id FROM {dataset}.t WHERE month = '2023-02-01'") == [(2,)]


def test_an_external_table_has_its_declared_columns_over_drifting_files(client, bucket, dataset):
    put_months(bucket, dataset)
    ddl = EXTERNAL.format(dataset=dataset, bucket=BUCKET)
    client.query_and_wait(ddl)
    table = client.get_table(f"{dataset}.trips")
    assert table.table_type == "EXTERNAL"
    assert table.external_data_configuration.source_uris == [f"gs://{BUCKET}/{dataset}/trips/*"]
    assert table.external_data_configuration.connection_id == "lakegraph-local.us.lakegraph"
    assert [(f.name, f.field_type) for f in table.schema] == [
        ("id", "INTEGER"), ("fee", "NUMERIC"), ("city", "STRING"), ("source_month", "DATE")
    ]  # fmt: skip
    assert table.schema[0].description == "number, of a trip"
    assert rows(client, f"SELECT * FROM {dataset}.trips ORDER BY id") == MONTHS

    put(bucket, f"{dataset}/trips/source_month=2023-03-01/part-0.parquet", pa.table({"id": [4]}))
    client.query_and_wait(ddl)
    assert rows(client, f"SELECT * FROM {dataset}.trips WHERE source_month = '2023-03-01'") == [
        (4, None, None, date(2023, 3, 1))
    ]
    client.query_and_wait(f"DROP EXTERNAL TABLE {dataset}.trips")
    assert list(client.list_tables(dataset)) == []


def test_an_external_table_by_rest_is_read_again_when_it_is_updated(client, bucket, dataset):
    put_months(bucket, dataset)
    config = bigquery.ExternalConfig("PARQUET")
    config.source_uris = [f"gs://{BUCKET}/{dataset}/trips/*"]
    folders = bigquery.HivePartitioningOptions()
    folders.mode = "CUSTOM"
    folders.source_uri_prefix = f"gs://{BUCKET}/{dataset}/trips/{{source_month:DATE}}"
    config.hive_partitioning = folders
    fields = [("id", "INT64"), ("fee", "NUMERIC"), ("city", "STRING")]
    config.schema = [bigquery.SchemaField(*field) for field in fields]
    wanted = bigquery.Table(f"lakegraph-local.{dataset}.trips")
    wanted.external_data_configuration = config
    wanted.labels = {"a": "b"}
    client.create_table(wanted)
    select = f"SELECT * FROM {dataset}.trips ORDER BY id"
    assert rows(client, select) == MONTHS

    put(bucket, f"{dataset}/trips/source_month=2023-03-01/part-0.parquet", pa.table({"id": [4]}))
    current = client.get_table(wanted)
    current.external_data_configuration = config
    client.update_table(current, ["external_data_configuration"])
    assert rows(client, select) == [*MONTHS, (4, None, None, date(2023, 3, 1))]
    assert client.get_table(wanted).labels == {"a": "b"}


def test_a_column_of_another_type_is_refused(client, bucket, dataset):
    put(bucket, f"{dataset}/trips/source_month=2023-01-01/part-0.parquet", pa.table({"id": [1.5]}))
    with pytest.raises(BadRequest, match=r"Parquet column 'id' has type FLOAT which does not match .* INTEGER"):
        client.query_and_wait(EXTERNAL.format(dataset=dataset, bucket=BUCKET))


def test_labels_and_bytes_of_a_job_are_in_the_jobs_api_and_in_information_schema(client, dataset):
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT x FROM UNNEST(GENERATE_ARRAY(1, 1000)) AS x")
    client.query_and_wait(f"CREATE VIEW {dataset}.v AS SELECT x FROM {dataset}.t")
    sql = f"SELECT count(*) FROM {dataset}.v"
    dry = client.query(sql, job_config=bigquery.QueryJobConfig(dry_run=True))
    assert dry.total_bytes_processed == 8000
    job = client.query(sql, job_config=bigquery.QueryJobConfig(labels={"dbt_node": "model-t"}))
    job.result()
    known = client.get_job(job.job_id)
    assert known.labels["dbt_node"] == "model-t"
    assert (known.total_bytes_processed, known.total_bytes_billed) == (8000, 10 << 20)
    assert job.job_id in {
        listed.job_id for listed in client.list_jobs(min_creation_time=datetime.now(UTC) - timedelta(hours=1))
    }

    with pytest.raises(BadRequest):
        client.query_and_wait("SELECT nothing FROM UNNEST([1])")
    found = rows(
        client,
        "SELECT (SELECT l.value FROM UNNEST(labels) AS l WHERE l.key = 'dbt_node'), total_bytes_billed, total_bytes_processed, "
        "total_slot_ms >= 0, statement_type, state, error_result.reason, user_email IS NOT NULL "
        "FROM `lakegraph-local`.`region-us`.INFORMATION_SCHEMA.JOBS "
        f"WHERE creation_time > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 HOUR) AND job_id = '{job.job_id}'",
    )
    assert found == [("model-t", 10 << 20, 8000, True, "SELECT", "DONE", None, True)]
    failed = rows(
        client,
        "SELECT count(*) FROM `region-us`.INFORMATION_SCHEMA.JOBS_BY_PROJECT WHERE error_result.reason = 'invalidQuery'",
    )
    assert failed[0][0] >= 1


def test_a_query_over_the_limit_of_bytes_is_refused(client, dataset):
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    config = bigquery.QueryJobConfig(maximum_bytes_billed=1 << 20)
    with pytest.raises(BadRequest, match=r"limit for bytes billed: 1048576\. 10485760 or higher required"):
        client.query_and_wait(f"SELECT * FROM {dataset}.t", job_config=config)


@pytest.mark.parametrize("create", ["(id INT64, month DATE)", "AS (SELECT 1 AS id, DATE '2023-01-01' AS month)"])
def test_a_managed_iceberg_table_through_a_connection(client, bucket, dataset, create):
    before, after = (create, "") if create.startswith("(") else ("", create)
    uri = f"gs://{BUCKET}/{dataset}/t"
    client.query_and_wait(
        f"CREATE TABLE `lakegraph-local`.`{dataset}`.`t` {before} CLUSTER BY id "
        "WITH CONNECTION `lakegraph-local.us.lakegraph` "
        f"OPTIONS(description='d', file_format = 'PARQUET', table_format = 'ICEBERG', storage_uri = '{uri}') {after}"
    )
    table = client.get_table(f"{dataset}.t")
    assert table.to_api_repr()["biglakeConfiguration"] == {
        "connectionId": "lakegraph-local.us.lakegraph", "storageUri": uri, "fileFormat": "PARQUET", "tableFormat": "ICEBERG"
    }  # fmt: skip
    assert (table.description, table.clustering_fields) == ("d", ["id"])
    client.query_and_wait(
        f"MERGE {dataset}.t USING (SELECT 2 AS id) AS s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (id)"
    )
    assert (2,) in rows(client, f"SELECT id FROM {dataset}.t")
    with pytest.raises(BadRequest, match="require the storage_uri"):
        client.query_and_wait(
            f"CREATE TABLE {dataset}.u (id INT64) WITH CONNECTION `lakegraph-local.us.lakegraph` OPTIONS(table_format = 'ICEBERG')"
        )


def test_a_script_with_a_tuple_of_variables(client, dataset):
    client.query_and_wait(f"CREATE TABLE {dataset}.t AS SELECT 1 AS id, DATE '2023-01-01' AS month")
    script = (
        "DECLARE a INT64; DECLARE months ARRAY<DATE>; "
        f"SET (a, months) = (SELECT AS STRUCT max(id), array_agg(DISTINCT month IGNORE NULLS) FROM {dataset}.t); "
        "SELECT a, months"
    )
    assert rows(client, script) == [(1, [date(2023, 1, 1)])]


def test_a_temporary_table_lives_in_its_script_or_session(client, dataset):
    made = "CREATE TEMP TABLE numbers AS SELECT 7 AS n"
    assert rows(client, f"{made}; SELECT n FROM numbers") == [(7,)]
    started = client.query("SELECT 1", job_config=bigquery.QueryJobConfig(create_session=True))
    started.result()
    session = [bigquery.ConnectionProperty("session_id", started.session_info.session_id)]
    inside = bigquery.QueryJobConfig(connection_properties=session, default_dataset=f"{client.project}.{dataset}")
    client.query_and_wait(f"{made}; SELECT 1", job_config=inside)
    assert [row.n for row in client.query_and_wait("SELECT n FROM numbers", job_config=inside)] == [7]
    with pytest.raises((BadRequest, NotFound)):
        client.query_and_wait("SELECT n FROM numbers")


def test_what_one_connection_changes_others_see_at_once(client, target, dataset):
    """The emulator remembers its catalog: each change of it, by statement or by API, is one that all must see."""
    other, table = bigquery_client(target), f"{dataset}.t"

    def columns() -> list[str]:
        return [field.name for field in other.get_table(table).schema]

    client.query_and_wait(f"CREATE TABLE {table} (a INT64 NOT NULL)")
    assert [field.mode for field in other.get_table(table).schema] == ["REQUIRED"]
    client.query_and_wait(f"INSERT INTO {table} VALUES (1), (2)")
    assert other.get_table(table).num_rows == 2
    client.query_and_wait(f"ALTER TABLE {table} ADD COLUMN b STRING")
    assert columns() == ["a", "b"]
    client.query_and_wait(f"CREATE VIEW {dataset}.v AS SELECT * FROM {table}")
    assert rows(other, f"SELECT * FROM {dataset}.v ORDER BY a") == [(1, None), (2, None)]
    changed = client.get_table(table)
    changed.description = "numbers"
    client.update_table(changed, ["description"])
    assert other.get_table(table).description == "numbers"
    client.query_and_wait(f"CREATE OR REPLACE TABLE {table} AS SELECT 'x' AS c")
    assert columns() == ["c"]
    assert rows(other, f"SELECT * FROM {table}") == [("x",)]
    assert {item.table_id for item in other.list_tables(dataset)} == {"t", "v"}
    client.delete_table(table)
    assert [item.table_id for item in other.list_tables(dataset)] == ["v"]
    with pytest.raises(NotFound):
        other.get_table(table)
    client.delete_dataset(dataset, delete_contents=True)
    with pytest.raises(NotFound):
        other.query_and_wait(f"SELECT * FROM {dataset}.v")


def test_tables_made_at_once_are_all_there(client, target, dataset):
    def make(number: int) -> tuple[list[tuple], int]:
        own, table = bigquery_client(target), f"{dataset}.t{number}"
        own.query_and_wait(f"CREATE TABLE {table} AS SELECT {number} AS n")
        own.query_and_wait(f"INSERT INTO {table} VALUES ({number + 100})")
        return rows(own, f"SELECT n FROM {table} ORDER BY n"), own.get_table(table).num_rows

    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(make, range(12)))
    assert made == [([(n,), (n + 100,)], 2) for n in range(12)]
    assert {item.table_id for item in client.list_tables(dataset)} == {f"t{n}" for n in range(12)}


def test_a_second_up_starts_nothing_twice_and_down_leaves_no_process(tmp_path: Path, gcp_environment):
    settings = Settings(home=tmp_path / "home")
    with gcp.running(settings.home) as environment:
        before = control.status(settings)
        assert [(one.name, one.state) for one in before] == [
            (name, "running") for name in ("mongodb", "s3", "starrocks", "sources", "gcp", "bigquery")
        ]
        assert control.environment(settings, gcp.up(settings)) == environment
        assert control.status(settings) == before
        with gcp.variables(environment):
            client = bigquery_client(Settings().gcp())
            client.create_dataset("kept")
            client.query_and_wait("CREATE TABLE kept.t AS SELECT 7 AS x")
        children = [child for one in before for child in psutil.Process(one.pid).children(recursive=True)]
        assert control.down(settings) is True
        for process in (*(one.pid for one in before), *(child.pid for child in children)):
            assert not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE
        assert not settings.endpoints_file.exists()
        assert {one.state for one in control.status(settings)} == {"stopped"}

        again = control.environment(settings, gcp.up(settings))
        key = json.loads(Path(again["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
        assert key["token_uri"].startswith(read_endpoints(settings.endpoints_file)["gcs"])
        assert key["project_id"] == control.GCP_PROJECT
        with gcp.variables(again):
            assert rows(bigquery_client(Settings().gcp()), "SELECT x FROM kept.t") == [(7,)]
