"""dbt-duckdb plugin `iceberg`: what a model wrote becomes one snapshot of an Iceberg table, and a view over it.

What belongs here: the hand-over from dbt's materialization `iceberg`
(`dbt_project/macros/materializations/iceberg.sql`) to `lake.iceberg`. What does not: SQL of models. It runs inside
dbt's process, whose DuckDB connection it shares for the view.
"""

import os
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.duckdb.utils import TargetConfig

from lake import iceberg, views
from lake.catalog import open_catalog
from lake.duck import quote
from lake.errors import LakeError
from lake.settings import get_settings

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.types import IcebergType


class Plugin(BasePlugin):
    """`store` commits; the rest of the plugin interface is not used."""

    connection: ClassVar[Any] = None

    def configure_connection(self, conn: Any) -> None:
        """Remember dbt's connection: the view is made on it."""
        type(self).connection = conn

    def store(self, target_config: TargetConfig) -> None:
        """Replace the months of the window by the files under the target's location, in one snapshot, and
        point the view at it.

        The config holds `partition_by`, and `from_month` and `to_month` as ISO dates (both included, None for
        no bound). Files lie in hive folders (`source_month=2023-01-01`). A month of the window without a file
        becomes empty.
        """
        import pyarrow.parquet as pq
        from pyiceberg.types import DateType

        settings = get_settings()
        config = target_config.config
        column, low, high = config["partition_by"], config.get("from_month"), config.get("to_month")
        relation = target_config.relation
        schema, name = str(relation.schema), str(relation.identifier)
        identifier = f"{schema}.{name}"
        assert target_config.location is not None  # noqa: S101 - the materialization always gives one
        folder = Path(target_config.location.path)
        types = {c["name"]: _iceberg_type(c["dtype"]) for c in config["columns"] if c["name"] != column}
        catalog = open_catalog(settings)
        table = iceberg.load_or_create(catalog, identifier, types, column, settings.warehouse)
        table = _with_columns(table, identifier, {**types, column: DateType()})
        written = sorted(p for p in folder.rglob("*.parquet") if pq.read_metadata(p).num_rows)
        files = [iceberg.adopt_file(p, table, date.fromisoformat(p.parent.name.split("=", 1)[1])) for p in written]

        def replaced(partition: date | None) -> bool:
            month = partition.isoformat() if partition else ""
            return (low is None or low <= month) and (high is None or month <= high)

        properties = {
            "lakegraph.run-id": os.environ.get("LAKEGRAPH_RUN_ID", "manual"),
            "lakegraph.model": name,
        }
        table, _ = iceberg.replace(catalog, identifier, files, replaces=replaced, properties=properties)
        sql = views.view_sql(table, f"{quote(schema)}.{quote(name)}", loaded_at=False)
        with type(self).connection.cursor() as cursor:
            cursor.execute(sql)
        shutil.rmtree(folder, ignore_errors=True)


def _with_columns(table: "Table", identifier: str, query: Mapping[str, "IcebergType"]) -> "Table":
    """The table, with a column added for each one that only the query has: also where no row brings it.

    Raises:
        LakeError: a column of the table is not in the query, or there in another type. Months outside the window would
            be of another form than those in it.
    """
    wanted = {name.lower(): kind for name, kind in query.items()}
    wrong = [
        f"column {field.name} is {field.field_type} in the table and {wanted[field.name.lower()]} in the query"
        if field.name.lower() in wanted
        else f"column {field.name} is in the table and not in the query"
        for field in table.schema().fields
        if wanted.get(field.name.lower()) != field.field_type
    ]
    if wrong:
        raise LakeError(
            f"{identifier}: {', '.join(wrong)}; drop the table "
            f"(lake.catalog.open_catalog(settings).drop_table({identifier!r})) and build every month again"
        )
    known = {name.lower() for name in table.schema().column_names}
    if new := {name: kind for name, kind in query.items() if name.lower() not in known}:
        with table.update_schema() as update:
            for name, kind in new.items():
                update.add_column(name, kind)
    return table


def _iceberg_type(duckdb_type: str) -> Any:
    import re

    from pyiceberg import types as it

    if match := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", duckdb_type):
        return it.DecimalType(int(match[1]), int(match[2]))
    return {
        "BOOLEAN": it.BooleanType(),
        "INTEGER": it.IntegerType(),
        "BIGINT": it.LongType(),
        "DOUBLE": it.DoubleType(),
        "DATE": it.DateType(),
        "TIMESTAMP": it.TimestampType(),
        "TIMESTAMP WITH TIME ZONE": it.TimestamptzType(),
        "VARCHAR": it.StringType(),
    }[duckdb_type]
