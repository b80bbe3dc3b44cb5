"""BigQuery on loopback: local-bigquery, and the shims that the official clients, dbt and dlt need of it.

What belongs here: the launcher of the emulator's process and every correction of what it does, one function each.
What does not: finding a Python and making the environment it runs in (`sandbox.emulators`), and starting, finding and
stopping the process (`sandbox.control`). It runs under Python 3.13 in an environment of its own, from which the
project's packages cannot be imported. The pins beside it are exact, because private functions are replaced.

What it does not do: enforce permissions, read external tables when they are queried (they are a copy of their files,
made when the table is created, replaced or updated), write Iceberg files (managed Iceberg tables are native ones with
`biglakeConfiguration`), or reject SQL that only DuckDB understands.
"""

import argparse
import fcntl
import gzip
import json
import os
import re
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from duckdb_extensions import import_extension

sys.modules["pandas"] = None  # DuckDB looks for it whenever a query has parameters, and it is not here

for _extension in ("icu", "spatial", "ducklake"):  # from wheels: DuckDB would download them when first used
    import_extension(_extension)

import duckdb  # noqa: E402
import local_bigquery.api.jobs as api_jobs  # noqa: E402 - it loads the extensions
import sqlglot  # noqa: E402
import uvicorn  # noqa: E402
from fastapi.routing import APIRoute  # noqa: E402
from local_bigquery.app import app  # noqa: E402
from local_bigquery.catalog import datasets, metadata, names, row_access, tabledata, tables  # noqa: E402
from local_bigquery.engine import database, types  # noqa: E402
from local_bigquery.errors import STATUSES, BigQueryError, already_exists, not_found  # noqa: E402
from local_bigquery.jobs import load, query, runner, storage  # noqa: E402
from local_bigquery.models import JobConfigurationLoad, JobStatistics2, Table, TableFieldSchema  # noqa: E402
from local_bigquery.settings import settings  # noqa: E402
from local_bigquery.sql import script, translate  # noqa: E402
from local_bigquery.sql.dialect import BigQueryDialect  # noqa: E402
from local_bigquery.sql.rules import information_schema, partitions  # noqa: E402
from sqlglot import exp  # noqa: E402

HOST = "127.0.0.1"
BACKLOG = 128
GRACE_SECONDS = 2
MEGABYTE = 1 << 20
LEAST_BILLED = 10 * MEGABYTE
HALF_HOUR_MS = "1800000"
GZIP = b"\x1f\x8b"
HTTP_NOT_FOUND = 404
REPLACING = 20  # attempts of a question while a table is being replaced
MORE_STATUSES = {"bytesBilledLimitExceeded": (400, "INVALID_ARGUMENT"), "backendError": (503, "UNAVAILABLE")}

_downloads: ContextVar[Path] = ContextVar("downloads")
_endpoints_file: list[Path] = []

# -- files of gs://


def storage_emulator(uri):
    """The storage stand-in's URL, read from the endpoints file each time: it may have been started anew."""
    if not uri.startswith("gs://") or settings.gcs_local_root:
        return None
    endpoint = settings.storage_emulator_host
    for path in _endpoints_file:
        with suppress(FileNotFoundError):
            endpoint = json.loads(path.read_text()).get("gcs", endpoint)
    if endpoint is None:
        return None
    return (endpoint if "://" in endpoint else f"http://{endpoint}").rstrip("/")


def _names(base, name):
    """The objects that a name with asterisks means; slashes are matched too."""
    prefix, pattern = name.split("*")[0], re.compile(".*".join(map(re.escape, name.split("*"))))
    page, found = None, []
    while True:
        asked = {"prefix": prefix} | ({"pageToken": page} if page else {})
        with urllib.request.urlopen(f"{base}?{urllib.parse.urlencode(asked)}") as answer:
            listing = json.load(answer)
        found += [item["name"] for item in listing.get("items", []) if pattern.fullmatch(item["name"])]
        if not (page := listing.get("nextPageToken")):
            return sorted(found)


def fetched(uri):
    """Local copies of the objects behind a `gs://` address, by the JSON API: DuckDB's httpfs is not needed."""
    endpoint = storage_emulator(uri)
    if endpoint is None:
        return [path for path in storage._matches(uri) if Path(path).exists()]
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    base = f"{endpoint}/storage/v1/b/{bucket}/o"
    copies = []
    try:
        for found in _names(base, name) if "*" in name else [name]:
            copy = _downloads.get() / bucket / found
            copy.parent.mkdir(parents=True, exist_ok=True)
            url = f"{base}/{urllib.parse.quote(found, safe='')}?alt=media"
            with urllib.request.urlopen(url) as answer:
                copy.write_bytes(answer.read())
            copies.append(str(copy))
    except urllib.error.HTTPError as error:
        if error.code != HTTP_NOT_FOUND:
            raise BigQueryError("backendError", f"Error while reading {uri}: HTTP {error.code}") from error
    return copies


def paths(_cursor, uri):
    """As `fetched`; that nothing is there is an error."""
    if not (copies := fetched(uri)):
        raise BigQueryError("notFound", f"Not found: URI {uri}")
    return copies


def with_downloads(function):
    """Give a function a folder for its downloads, which is removed once it returns."""

    def wrapped(*arguments, **options):
        with tempfile.TemporaryDirectory(prefix="lakegraph-bigquery-") as folder:
            token = _downloads.set(Path(folder))
            try:
                return function(*arguments, **options)
            finally:
                _downloads.reset(token)

    return wrapped


_load = with_downloads(load.run)


def load_run(cursor, config, upload):
    """A load job; dlt uploads compressed files, which BigQuery recognises by themselves."""
    if upload and (content := Path(upload).read_bytes()).startswith(GZIP):
        Path(upload).write_bytes(gzip.decompress(content))
    return _load(cursor, config, upload)


# -- external tables

COMPATIBLE = ({"TIMESTAMP", "DATETIME"}, {"NUMERIC", "BIGNUMERIC"}, {"STRING", "JSON"}, {"BYTES", "STRING"})
HIVE_FOLDER = re.compile(r"([A-Za-z_]\w*)=([^/]*)")
STANDARD_NAMES = {
    "INT64": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
    "BIGDECIMAL": "BIGNUMERIC",
}


def _legacy(kind):
    return STANDARD_NAMES.get((kind or "STRING").upper(), (kind or "STRING").upper())


def _partitions(path):
    """The partition columns in a path's folder names: name in lower case → value, None if it is Hive's null."""
    found = HIVE_FOLDER.findall(os.path.dirname(path))  # noqa: PTH120 - text, not a file
    values = {key.casefold(): urllib.parse.unquote(value) for key, value in found}
    return {key: None if value == "__HIVE_DEFAULT_PARTITION__" else value for key, value in values.items()}


def _selected(field, present, partitions, path):
    """One declared column of an external table, as an expression over one file."""
    target, name = types.duckdb_type(field), field.name.casefold()
    if name in partitions:
        value = partitions[name]
        return f"CAST({'NULL' if value is None else storage.literal(value)} AS {target})"
    if name not in present:
        return f"CAST(NULL AS {target})"
    actual, declared = _legacy(present[name][1].type), _legacy(field.type)
    if actual != declared and not any({actual, declared} <= group for group in COMPATIBLE):
        raise BigQueryError(
            "invalid",
            f"Error while reading table, error message: Parquet column '{field.name}' has type {actual} which does "
            f"not match the target cpp_type {declared} File: {path}",
        )
    return f"CAST({database.quote(present[name][0])} AS {target})"


def fill(cursor, reference, uris):
    """Copy an external table's Parquet files into it: by name, under the declared types, with the folders' columns.

    As in BigQuery a column that a file lacks is null, a narrower number is widened, and another type is an error.
    """
    declared = tables.columns(*reference)
    for uri in uris:
        for path in fetched(uri):
            reader = f"read_parquet({storage.literal(path)}, hive_partitioning = false)"
            relation = cursor.sql(f"SELECT * FROM {reader} LIMIT 0")
            present = {
                name.casefold(): (name, types.field(name, kind))
                for name, kind in zip(relation.columns, relation.types, strict=True)
            }
            partitions = _partitions(path.removeprefix(str(_downloads.get())))
            select = ", ".join(_selected(field, present, partitions, path) for field in declared)
            cursor.execute(f"INSERT INTO {tables.name(*reference)} SELECT {select} FROM {reader}")


@with_downloads
def read_external(cursor, reference, configuration, create):
    """Make the table of an `externalDataConfiguration` with `create` and copy its files into it.

    Without declared columns, and for other formats than Parquet, a load job finds out what is in the files.
    """
    if create and configuration.sourceFormat == "PARQUET":
        create()
        try:
            fill(cursor, reference, configuration.sourceUris or [])
        except BaseException:
            tables.delete(*reference)
            raise
    else:
        job = {
            "sourceUris": configuration.sourceUris,
            "sourceFormat": configuration.sourceFormat,
            "autodetect": True,
            "writeDisposition": "WRITE_TRUNCATE",
            "destinationTable": dict(zip(("projectId", "datasetId", "tableId"), reference, strict=True)),
        }
        if hive := configuration.hivePartitioningOptions:
            job["hivePartitioningOptions"] = hive.dump()
        load.run(cursor, JobConfigurationLoad.model_validate(job), None)
    tables.annotate(reference, Table.model_validate({"type": "EXTERNAL", "externalDataConfiguration": configuration}))


def _partition_fields(configuration):
    """The partition columns that a configuration declares in its prefix, as in `gs://b/t/{month:DATE}`."""
    options = configuration.hivePartitioningOptions
    keys = load.HIVE_KEY.findall((options and options.sourceUriPrefix) or "")
    return [TableFieldSchema(name=key, type=kind) for key, kind in keys]


_create_table = tables.create
_update_table = tables.update


def create_table(project_id, dataset_id, body, translate_view):
    """`tables.insert`: an external table is filled from its files."""
    configuration = body.externalDataConfiguration
    if configuration is None:
        return _create_table(project_id, dataset_id, body, translate_view)
    reference = (project_id, dataset_id, body.tableReference.tableId)
    if tables.exists(*reference):
        raise already_exists("Table", names.label(*reference))
    _external(reference, body, translate_view)
    return tables.get(*reference)


def update_table(project_id, dataset_id, table_id, body, etag, replace):
    """`tables.patch` and `tables.update`: an external table's files are read again."""
    reference = (project_id, dataset_id, table_id)
    current = tables.load(*reference)
    configuration = body.externalDataConfiguration
    if configuration is None or current.type != "EXTERNAL":
        return _update_table(project_id, dataset_id, table_id, body, etag, replace)
    merged = current.without("schema").merged(body.without("etag"))
    if not tables.fields(body) and not tables.fields(Table(schema=configuration.schema_)):
        partitions = {field.name for field in _partition_fields(configuration)}
        kept = [field for field in tables.fields(current) if field.name not in partitions]
        merged = merged.replace(schema={"fields": kept})
    tables.delete(*reference)
    _external(reference, merged, query.translate_view)
    return tables.get(*reference)


def _external(reference, body, translate_view):
    configuration = body.externalDataConfiguration
    declared = tables.fields(body) or tables.fields(Table(schema=configuration.schema_))
    fields = [field.dump() for field in declared + _partition_fields(configuration)]
    plain = body.without("schema", "type", "externalDataConfiguration", "etag", *tables.STORAGE_STATS)
    plain = plain.merged(Table.model_validate({"schema": {"fields": fields}})) if declared else plain

    def create():
        _create_table(*reference[:2], plain, translate_view)

    with database.cursor() as cursor:
        read_external(cursor, reference, configuration, create if declared else None)


# -- the catalog, remembered


class Remembered:
    """Answers, each with the version of what was asked at the time; another version, and it is asked again.

    The version is read before the question is asked, so that an answer may be younger than its version, never older.
    """

    MOST = 10_000

    def __init__(self):
        self._answers = {}

    def ask(self, key, version, find):
        """The answer to `key` at `version`, from `find` if it is not known."""
        known = self._answers.get(key)
        if known is None or known[0] != version:
            if len(self._answers) >= self.MOST:
                self._answers.clear()
            known = self._answers[key] = (version, find())
        return known[1]


class Resources:
    """What is stored of datasets, tables, policies: read through here, and written, so that each write is a version."""

    def __init__(self):
        self._remembered, self._writes, self._lock = Remembered(), 0, threading.Lock()

    def fetch(self, sql, params=None):
        """As `database.fetch`."""
        return self._remembered.ask((sql, *(params or ())), self._writes, lambda: database.fetch(sql, params))

    def execute(self, sql, params=None):
        """As `database.execute`."""
        try:
            database.execute(sql, params)
        finally:
            with self._lock:
                self._writes += 1


@dataclass(frozen=True)
class Catalog:
    """What a DuckLake holds, by its own tables.

    Attributes:
        objects: dataset → its tables and views with kind and rows, by name.
        required: columns that may not be null, by dataset and table.
        hidden: tables with the column of the ingestion time, as dataset and table.
    """

    objects: Mapping[str, list[tuple[str, str, int]]]
    required: Mapping[tuple[str, str], set[str]]
    hidden: set[tuple[str, str]]


OBJECTS = """
SELECT schema_name, table_name, 'TABLE', coalesce(record_count, 0) FROM {lake}.ducklake_schema AS s
JOIN {lake}.ducklake_table AS t USING (schema_id) LEFT JOIN {lake}.ducklake_table_stats USING (table_id)
WHERE s.end_snapshot IS NULL AND t.end_snapshot IS NULL
UNION ALL
SELECT schema_name, view_name, 'VIEW', 0 FROM {lake}.ducklake_schema AS s
JOIN {lake}.ducklake_view AS v USING (schema_id)
WHERE s.end_snapshot IS NULL AND v.end_snapshot IS NULL
UNION ALL
SELECT schema_name, NULL, NULL, NULL FROM {lake}.ducklake_schema WHERE end_snapshot IS NULL
ORDER BY 1, 2
"""
SPECIAL_COLUMNS = """
SELECT schema_name, table_name, column_name, nulls_allowed FROM {lake}.ducklake_column AS c
JOIN {lake}.ducklake_table AS t USING (table_id) JOIN {lake}.ducklake_schema AS s USING (schema_id)
WHERE c.end_snapshot IS NULL AND t.end_snapshot IS NULL AND s.end_snapshot IS NULL
AND parent_column IS NULL AND (NOT nulls_allowed OR column_name = ?)
"""
VERSION = "SELECT max(snapshot_id), max(schema_version) FROM {lake}.ducklake_snapshot"

_catalogs, _columns_known = Remembered(), Remembered()
_objects, _columns, _dataset_exists, _hidden = database.objects, tables.columns, datasets.exists, partitions._hidden


def lake_version(project):
    """A lake's snapshot and the version of its schema, which any connection's commit changes; None: no such lake."""
    if project not in database._attached:
        return None
    lake = database.quote(f"__ducklake_metadata_{project}", "main")
    return database.fetch(VERSION.format(lake=lake))[0]


def catalog(project, version):
    """The catalog of a project's lake: read anew after each commit, not for each question about a table."""

    def read():
        lake, held, required, hidden = database.quote(f"__ducklake_metadata_{project}", "main"), {}, {}, set()
        with database.cursor() as cursor:
            cursor.execute("BEGIN")
            found = cursor.execute(OBJECTS.format(lake=lake)).fetchall()
            special = cursor.execute(SPECIAL_COLUMNS.format(lake=lake), [tables.INGESTION_TIME]).fetchall()
            cursor.execute("COMMIT")
        for dataset, *row in found:
            listed = held.setdefault(dataset, [])
            if row[0] is not None:
                listed.append(tuple(row))
        for dataset, table, column, nullable in special:
            if column == tables.INGESTION_TIME:
                hidden.add((dataset, table))
            if not nullable:
                required.setdefault((dataset, table), set()).add(column)
        return Catalog(held, required, hidden)

    return _catalogs.ask(project, version, read)


def objects(project, dataset, table=None):
    """As `database.objects`, which enumerates every table of every database for each question."""
    if version := lake_version(project):
        listed = catalog(project, version).objects.get(dataset, [])
        return [row for row in listed if table in {None, row[0]}]
    if dataset != tables.RESULTS or table is None:
        return _objects(project, dataset, table)
    try:
        return [
            (table, "TABLE", database.fetch(f"SELECT count(*) FROM {database.quote(project, dataset, table)}")[0][0])
        ]
    except duckdb.CatalogException:
        return []


def columns(project, dataset, table):
    """As `tables.columns`; a result's columns are all nullable."""
    version = None if dataset == tables.RESULTS else lake_version(project)
    if version is None and dataset != tables.RESULTS:
        return _columns(project, dataset, table)

    def read():
        required = catalog(project, version).required.get((dataset, table), ()) if version else ()
        with database.cursor() as cursor:
            try:
                relation = cursor.sql(f"SELECT * FROM {tables.name(project, dataset, table)} LIMIT 0")
            except duckdb.CatalogException:
                raise not_found("Table", names.label(project, dataset, table)) from None
            return [
                types.field(column, kind, column in required)
                for column, kind in zip(relation.columns, relation.types, strict=True)
                if column != tables.INGESTION_TIME or dataset == tables.RESULTS
            ]

    return list(_columns_known.ask((project, dataset, table), version[1], read)) if version else read()


def dataset_exists(project, dataset):
    """As `datasets.exists`."""
    version = lake_version(project)
    return dataset in catalog(project, version).objects if version else _dataset_exists(project, dataset)


def has_hidden(table):
    """As `partitions._hidden`: whether a table in SQL has the column of the ingestion time."""
    if not (table.catalog and table.db) or not isinstance(table.this, exp.Identifier):
        return False
    version = lake_version(table.catalog)
    return (table.db, table.name) in catalog(table.catalog, version).hidden if version else _hidden(table)


# -- statements that the emulator does not know

NAME = r"(?:`[^`]+`|[\w-]+)(?:\s*\.\s*(?:`[^`]+`|[\w-]+))*"
COLUMNS = r"\((?:[^()]|\([^()]*\))*\)"
CONNECTION = rf"WITH\s+CONNECTION\s+(?P<connection>{NAME})"
EXTERNAL = re.compile(
    rf"(?is)^CREATE\s+(?P<replace>OR\s+REPLACE\s+)?EXTERNAL\s+TABLE\s+(?P<exists>IF\s+NOT\s+EXISTS\s+)?"
    rf"(?P<table>{NAME})\s*(?P<columns>{COLUMNS})?\s*"
    rf"(?P<partitioned>WITH\s+PARTITION\s+COLUMNS\s*(?P<partitions>{COLUMNS})?)?\s*"
    rf"(?:{CONNECTION})?\s*OPTIONS\s*\((?P<options>.*)\)\s*;?\s*$"
)
DROP_EXTERNAL = re.compile(r"(?is)^DROP\s+EXTERNAL\s+TABLE\b")
LOAD_DATA = re.compile(
    rf"(?is)^LOAD\s+DATA\s+(?P<how>INTO|OVERWRITE)\s+(?P<table>{NAME})\s*(?P<columns>{COLUMNS})?\s*"
    rf"(?P<layout>.*?)FROM\s+FILES\s*\((?P<options>.*?)\)\s*(?:{CONNECTION})?\s*;?\s*$"
)
ICEBERG = re.compile(r"(?is)^CREATE\b.*\bTABLE\b.*\btable_format\s*=\s*['\"]iceberg['\"]")
ICEBERG_NAME = re.compile(rf"(?is)\bTABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<table>{NAME})")
ICEBERG_OPTIONS = r"storage_uri|file_format|table_format"
BEFORE_QUERY = re.compile(r"(?is)\bAS\b(?=\s*\(*\s*(?:SELECT|WITH)\b)")
COMMENTS = re.compile(r"(?s)^(?:\s*/\*.*?\*/|\s*--[^\n]*\n)*\s*")


def _option(options, key):
    """An option's value in `OPTIONS(…)`: a list for a list, else text; None if it is not given."""
    match = re.search(rf"(?is)\b{key}\s*=\s*('[^']*'|\"[^\"]*\"|\[[^\]]*\]|[\w.]+)", options or "")
    if not match:
        return None
    value = match[1]
    return re.findall(r"['\"]([^'\"]*)['\"]", value) if value.startswith("[") else value.strip("'\"")


def _uris(options):
    uris = _option(options, "uris")
    return [uris] if isinstance(uris, str) else uris or []


def _format(options):
    given = (_option(options, "format") or "CSV").upper()
    return {"JSON": "NEWLINE_DELIMITED_JSON"}.get(given, given)


def _quoted(reference):
    return "`" + ".".join(reference) + "`"


class Interpreter(script.Interpreter):
    """The emulator's interpreter with the statements it lacks."""

    def plain(self, name):
        """The table that a name in SQL means, as project, dataset and table."""
        return self.reference(re.sub(r"[`\s]", "", name))

    @property
    def dry(self):
        """Whether the statement is only to be checked: a dry run has no job."""
        return self.context.system.get("current_job_id") is None

    def sql(self, statement):
        """Run one statement."""
        text = COMMENTS.sub("", statement.text)
        if match := EXTERNAL.match(text):
            self.create_external(match)
        elif match := LOAD_DATA.match(text):
            self.load_data(match)
        elif ICEBERG.match(text):
            self.create_iceberg(text)
        elif match := DROP_EXTERNAL.match(text):
            super().sql(script.Statement("SQL", "DROP TABLE" + text[match.end() :]))
        else:
            super().sql(statement)

    def create_external(self, match):
        """CREATE EXTERNAL TABLE: a table of the declared columns, filled from the files."""
        reference, options = self.plain(match["table"]), match["options"]
        found = tables.exists(*reference)
        done = JobStatistics2.model_validate(
            {
                "statementType": "CREATE_EXTERNAL_TABLE",
                "ddlOperationPerformed": "REPLACE" if found and match["replace"] else "SKIP" if found else "CREATE",
                "ddlTargetTable": dict(zip(("projectId", "datasetId", "tableId"), reference, strict=True)),
            }
        )
        if found and not match["exists"] and not match["replace"]:
            raise already_exists("Table", names.label(*reference))
        if self.dry or (found and match["exists"]):
            self.report(done)
            return
        if found:
            tables.delete(*reference)
        configuration = {"sourceUris": _uris(options), "sourceFormat": _format(options)}
        if match["connection"]:
            configuration["connectionId"] = re.sub(r"[`\s]", "", match["connection"])
        if prefix := _option(options, "hive_partition_uri_prefix"):
            configuration["hivePartitioningOptions"] = {"mode": "AUTO", "sourceUriPrefix": prefix}
        external = Table.model_validate({"externalDataConfiguration": configuration}).externalDataConfiguration
        columns = ", ".join(part[1:-1].strip() for part in (match["columns"], match["partitions"]) if part)
        described = _option(options, "description")

        def create():
            comment = f" OPTIONS(description={json.dumps(described)})" if described else ""
            query.run_ddl(reference[0], f"CREATE TABLE {_quoted(reference)} ({columns}){comment}")

        read_external(self.cursor, reference, external, create if match["columns"] else None)
        self.report(done)

    def load_data(self, match):
        """LOAD DATA INTO|OVERWRITE: a load job; the table is made first where its columns are given."""
        reference = self.plain(match["table"])
        if self.dry:
            self.report(JobStatistics2(statementType="LOAD_DATA"))
            return
        if (match["columns"] or match["layout"].strip()) and not tables.exists(*reference):
            query.run_ddl(
                reference[0], f"CREATE TABLE {_quoted(reference)} {match['columns'] or ''} {match['layout'] or ''}"
            )
        job = {
            "sourceUris": _uris(match["options"]),
            "sourceFormat": _format(match["options"]),
            "autodetect": True,
            "writeDisposition": "WRITE_APPEND" if match["how"].upper() == "INTO" else "WRITE_TRUNCATE",
            "destinationTable": dict(zip(("projectId", "datasetId", "tableId"), reference, strict=True)),
        }
        if prefix := _option(match["options"], "hive_partition_uri_prefix"):
            job["hivePartitioningOptions"] = {"mode": "AUTO", "sourceUriPrefix": prefix}
        if match["columns"]:
            job["schema"] = tables.load(*reference).schema_.dump()
        load.run(self.cursor, JobConfigurationLoad.model_validate(job), None)
        self.report(JobStatistics2(statementType="LOAD_DATA"))

    def create_iceberg(self, text):
        """CREATE TABLE … OPTIONS(table_format='ICEBERG', …): a native table that says it is a managed Iceberg one."""
        split = BEFORE_QUERY.search(text)
        head, rest = (text[: split.start()], text[split.start() :]) if split else (text, "")
        connection = re.search(rf"(?is){CONNECTION}", head)
        given = {key: _option(head, key) for key in ICEBERG_OPTIONS.split("|")}
        if not connection or not given["storage_uri"]:
            missing = "storage_uri" if connection else "connection"
            raise BigQueryError("invalidQuery", f"Managed Iceberg tables require the {missing} to be specified.")
        reference = self.plain(ICEBERG_NAME.search(head)["table"])
        kept = tables.exists(*reference) and re.match(r"(?is)^CREATE\s+TABLE\s+IF\s+NOT\s+EXISTS", head)
        head = head[: connection.start()] + " " + head[connection.end() :]
        head = re.sub(rf"(?is)\b(?:{ICEBERG_OPTIONS})\s*=\s*(?:'[^']*'|\"[^\"]*\")\s*,?\s*", "", head)
        head = re.sub(r"(?is),\s*\)(?=[^)]*$)", ")", head)
        head = re.sub(r"(?is)\bOPTIONS\s*\(\s*\)", "", head)
        super().sql(script.Statement("SQL", head + rest))
        if self.dry or kept:
            return
        configuration = {
            "connectionId": re.sub(r"[`\s]", "", connection["connection"]),
            "storageUri": given["storage_uri"],
            "fileFormat": (given["file_format"] or "PARQUET").upper(),
            "tableFormat": "ICEBERG",
        }
        tables.annotate(reference, Table.model_validate({"biglakeConfiguration": configuration}))

    def set(self, statement):
        """SET (a, b) = (SELECT AS STRUCT x, y FROM t), as dbt's insert_overwrite writes it."""
        item = sqlglot.parse_one(statement.text, dialect=BigQueryDialect).expressions[0]
        target, value = item.this.this, item.this.expression
        if not isinstance(target, exp.Paren | exp.Tuple) or not isinstance(value, exp.Subquery):
            super().set(statement)
            return
        targets = [target.this] if isinstance(target, exp.Paren) else target.expressions
        for position, variable in enumerate(targets):
            select = value.this.copy()
            select.set("kind", None)
            select.set("expressions", [select.expressions[position]])
            self.assign(self.variable(variable.name), exp.Subquery(this=select))


# -- what jobs report


def scanned(tree, context, depth=0):
    """Bytes that a statement reads by the emulator's sizes, through views: whole tables, whatever the columns."""
    if depth > 8:  # noqa: PLR2004 - views over views end somewhere
        return 0
    written = names.target(tree) if isinstance(tree, exp.Create | exp.Insert | exp.Drop | exp.Alter) else None
    total = 0
    read = {
        names.reference(table, context.project_id, context.dataset_id)
        for table in tree.find_all(exp.Table)
        if table is not written and table.name
    }
    for reference in read:
        if not all(reference):
            continue
        with suppress(BigQueryError):
            table = tables.load(*reference)
            if table.view and table.view.query:
                inner = translate.Context(reference[0], reference[1])
                total += sum(scanned(part, inner, depth + 1) for part in translate.parse(table.view.query))
            else:
                total += int(table.numBytes or 0)
    return total


def billed(size):
    """Bytes that BigQuery bills for a query: in megabytes, and ten of them at least."""
    return max(LEAST_BILLED, -(-size // MEGABYTE) * MEGABYTE) if size else 0


_statement = query._statement


def patient_statement(cursor, tree, *arguments):
    """Run a statement; a question is asked again if a table is just being replaced: two steps here, one in BigQuery."""
    named = isinstance(tree, exp.Query) and all(table.db for table in tree.find_all(exp.Table))
    for _ in range(REPLACING):
        try:
            return _statement(cursor, tree, *arguments)
        except BigQueryError as error:
            if not named or "must be qualified with a dataset" not in str(error):
                raise
        time.sleep(0.1)
    return _statement(cursor, tree, *arguments)


def counted_statement(cursor, tree, context, destination, config, dry_run, isolated):
    """Run a statement and report its bytes and time; refuse it beyond `maximumBytesBilled`."""
    size = scanned(tree, context)
    limit = config.maximumBytesBilled
    if limit and not dry_run and billed(size) > int(limit):
        raise BigQueryError(
            "bytesBilledLimitExceeded",
            f"Query exceeded limit for bytes billed: {limit}. {billed(size)} or higher required.",
        )
    began = time.monotonic()
    statistics = patient_statement(cursor, tree, context, destination, config, dry_run, isolated)
    return statistics.replace(
        totalBytesProcessed=str(size),
        totalBytesBilled="0" if dry_run else str(billed(size)),
        totalSlotMs=str(int((time.monotonic() - began) * 1000)),
    )


class FreshCursor:
    """A cursor just opened: it has no temporary tables, which each query looks for first, among all tables."""

    def __init__(self, cursor):
        self._cursor = cursor

    def __getattr__(self, name):
        return getattr(self._cursor, name)

    def sql(self, text, **options):
        """As the cursor's."""
        return self._cursor.sql(NO_NAMES if text == TEMPORARY else text, **options)


_execute = query.execute
TEMPORARY = "SELECT table_name FROM duckdb_tables() WHERE temporary"
NO_NAMES = "SELECT '' AS table_name WHERE false"
COUNTS = ("totalBytesProcessed", "totalBytesBilled", "totalSlotMs")


def counted_execute(cursor, *arguments, session=None, **options):
    """Run a query job; a script's counts are the sums of its statements'."""
    cursor = cursor if session else FreshCursor(cursor)
    statistics, children, destination = _execute(cursor, *arguments, session=session, **options)
    if children:
        sums = {key: str(sum(int(getattr(child, key) or 0) for child in children)) for key in COUNTS}
        statistics = statistics.replace(**sums)
    return statistics, children, destination


_done = runner._done


def counted_done(job, statistics, error=None):
    """A job's statistics repeat the query's counts, as BigQuery's do."""
    finished = _done(job, statistics, error)
    counts = finished.statistics.query
    if counts is None:
        return finished
    repeated = {"totalBytesProcessed": counts.totalBytesProcessed, "totalSlotMs": counts.totalSlotMs or "0"}
    return finished.replace(statistics=finished.statistics.replace(**repeated))


_query = runner._query


def query_with_destination(job, session, running):
    """CREATE TABLE AS reports its table as `destinationTable`, which dbt reads."""
    result = _query(job, session, running)
    statistics = result.query
    if statistics and statistics.statementType == "CREATE_TABLE_AS_SELECT" and statistics.ddlTargetTable:
        job.configuration.query.destinationTable = statistics.ddlTargetTable
    return result


_results = api_jobs.results


def results(job, *arguments):
    """A query's rows; CREATE TABLE AS has none, although it has a destination."""
    statistics = job.statistics.query if job.statistics else None
    created = statistics and (statistics.statementType or "").startswith("CREATE_TABLE")
    if created and job.status.state == "DONE" and not runner.error(job):
        job = job.model_copy(deep=True)
        job.configuration.query.destinationTable = None
    payload, rows = _results(job, *arguments)
    if statistics and statistics.totalBytesProcessed:
        payload["totalBytesProcessed"] = statistics.totalBytesProcessed
    return payload, rows


JOBS_VIEW = """
CREATE OR REPLACE VIEW emulator.main.jobs_view AS
SELECT
    job_id,
    project_id,
    resource ->> '$.configuration.jobType' AS job_type,
    resource ->> '$.statistics.query.statementType' AS statement_type,
    state,
    epoch_ms(creation_time) AT TIME ZONE 'UTC' AS creation_time,
    epoch_ms(CAST(resource ->> '$.statistics.startTime' AS BIGINT)) AT TIME ZONE 'UTC' AS start_time,
    epoch_ms(CAST(resource ->> '$.statistics.endTime' AS BIGINT)) AT TIME ZONE 'UTC' AS end_time,
    resource ->> '$.user_email' AS user_email,
    resource ->> '$.configuration.query.query' AS query,
    parent_job_id,
    false AS cache_hit,
    list_transform(
        coalesce(json_keys(resource, '$.configuration.labels'), []),
        lambda k: struct_pack(key := k, value := resource ->> ('$.configuration.labels."' || k || '"'))
    ) AS labels,
    CAST(resource ->> '$.statistics.totalBytesProcessed' AS BIGINT) AS total_bytes_processed,
    CAST(coalesce(resource ->> '$.statistics.query.totalBytesBilled', '0') AS BIGINT) AS total_bytes_billed,
    CAST(coalesce(resource ->> '$.statistics.totalSlotMs', '0') AS BIGINT) AS total_slot_ms,
    resource ->> '$.status.errorResult.reason' AS error_reason,
    CASE WHEN resource ->> '$.status.errorResult.reason' IS NOT NULL THEN struct_pack(
        reason := resource ->> '$.status.errorResult.reason',
        location := resource ->> '$.status.errorResult.location',
        debug_info := CAST(NULL AS VARCHAR),
        message := resource ->> '$.status.errorResult.message'
    ) END AS error_result
FROM emulator.main.jobs;
"""
JOBS = "SELECT * FROM emulator.main.jobs_view WHERE project_id = {project}"

_load_table = tables.load


def load_table(*reference):
    """A table's resource; a materialized view has a refresh interval, which dbt parses."""
    table = _load_table(*reference)
    view = table.materializedView
    if table.type == "MATERIALIZED_VIEW" and view and not view.refreshIntervalMs:
        refreshed = view.replace(enableRefresh=True, refreshIntervalMs=HALF_HOUR_MS)
        table = table.replace(materializedView=refreshed)
    return table


# -- the wire


class LenientJson:
    """Accepts a scalar where a repeated field is expected, as BigQuery does: dlt sends such."""

    SCALAR = re.compile(rb'"(schemaUpdateOptions|decimalTargetTypes)":\s*("[A-Z_]+")')

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or "/jobs" not in scope["path"]:
            await self.inner(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        body = self.SCALAR.sub(rb'"\1": [\2]', body)
        headers = [(key, value) for key, value in scope["headers"] if key != b"content-length"]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
        messages = iter([{"type": "http.request", "body": body}])

        async def replay():
            return next(messages, None) or await receive()

        await self.inner(scope, replay, send)


def install(token):
    """Put every shim in its place, and add the routes `/health` and `/token`."""
    STATUSES.update(MORE_STATUSES)
    resources = Resources()
    metadata.fetch, metadata.execute, row_access.fetch = resources.fetch, resources.execute, resources.fetch
    database.objects, datasets.exists, partitions._hidden = objects, dataset_exists, has_hidden
    tables.columns = tabledata.columns = columns
    storage._emulator = storage_emulator
    storage.paths = load.paths = paths
    load.run = load_run
    runner.HANDLERS["load"] = load_run
    tables.STORED_TYPES = (*tables.STORED_TYPES, "EXTERNAL")
    tables.create, tables.update, tables.load = create_table, update_table, load_table
    script.Interpreter = Interpreter
    query._statement, query.execute = counted_statement, counted_execute
    runner._query, runner._done = query_with_destination, counted_done
    api_jobs.results = results
    database.EMULATOR_SCHEMA += JOBS_VIEW
    information_schema.JOBS = JOBS

    async def health():
        return {"token": token, "pid": os.getpid()}

    async def access_token():
        return {"access_token": "emulator", "expires_in": 3600, "token_type": "Bearer"}

    app.router.routes.insert(0, APIRoute("/health", health, methods=["GET"]))
    app.router.routes.insert(0, APIRoute("/token", access_token, methods=["POST"]))
    app.add_middleware(LenientJson)


# -- the process


def announce(path, url):
    """Write our URL into the endpoints file, or take it out: `{"bigquery": url}` beside what others wrote."""
    if not url and not path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("ab") as lock:  # as `sandbox.serving` does
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            endpoints = json.loads(path.read_text())
        except FileNotFoundError:
            endpoints = {}
        endpoints.pop("bigquery", None)
        if url:
            endpoints["bigquery"] = url
        if not endpoints:
            path.unlink(missing_ok=True)
            return
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.write_text(json.dumps(endpoints, indent=2, sort_keys=True) + "\n")
        partial.replace(path)


def serve(arguments):
    """Serve until SIGTERM or SIGINT; the endpoints file names the emulator while it listens."""
    settings.data_dir = arguments.data
    settings.default_project_id = arguments.project
    settings.storage_emulator_host = os.environ.get("STORAGE_EMULATOR_HOST")
    _endpoints_file.append(arguments.endpoints)
    install(arguments.token)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, arguments.port))
    listener.listen(BACKLOG)
    url = f"http://{HOST}:{listener.getsockname()[1]}"

    @asynccontextmanager
    async def announced(_):
        database.connection()  # the first request must not pay for it
        announce(arguments.endpoints, url)
        try:
            yield
        finally:
            announce(arguments.endpoints, None)
            database.connection().close()

    app.router.lifespan_context = announced
    config = uvicorn.Config(
        app, log_level="info", access_log=False, lifespan="on", timeout_graceful_shutdown=GRACE_SECONDS
    )
    uvicorn.Server(config).run([listener])


def main():
    """Command line: `python emulator.py --data D --endpoints F --project P [--port N] [--token T]`."""
    parser = argparse.ArgumentParser(description="Serve BigQuery's REST API on loopback until interrupted.")
    parser.add_argument("--data", type=Path, required=True, help="folder of its state")
    parser.add_argument("--endpoints", type=Path, required=True, help="the sandbox's endpoints file")
    parser.add_argument("--project", required=True, help="the default project")
    parser.add_argument("--port", type=int, default=0, help="TCP port; a free one by default")
    parser.add_argument("--token", default="", help="what /health answers with")
    try:
        serve(parser.parse_args())
    except OSError as error:
        sys.exit(f"bigquery emulator: {error}")


if __name__ == "__main__":
    main()
