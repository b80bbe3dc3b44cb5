"""New York's Taxi and Limousine Commission: monthly trip files in Parquet, and the list of taxi zones in CSV.

What belongs here: reading those files into the columns their specs declare. What does not: which trips are
valid; that is silver's.

A month whose columns fit is imported byte for byte (dlt's file import); one whose types have drifted is cast,
row group by row group, so memory follows the row group, not the file.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dlt_sources.csv_files import read_csv
from dlt_sources.files import Fetched, fetch, open_parquet
from dlt_sources.rejects import with_rejected
from lake.conform import Plan, conform, plan
from lake.errors import LakeError
from lake.load import LoadRequest, SourceReport, zoneless
from lake.quarantine import Origin, extra_columns, split

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from dlt.extract import DltSource

BATCH_ROWS = 1 << 18


def _candidates(names: Sequence[str], request: LoadRequest) -> list[str]:
    month = f"{request.partition:%Y-%m}" if request.partition else ""
    return [name.format(month=month) for name in names]


def trips(request: LoadRequest, report: SourceReport, *, files: Sequence[str]) -> "DltSource":
    """One month of one service.

    Args:
        request: the table and its month.
        report: filled in with the file, its digest, its rows, new columns and what was cast.
        files: where the file may lie under `LAKEGRAPH_TLC_BASE`; `{month}` becomes the partition's YYYY-MM.

    Returns:
        A source with the resource `request.spec.table`.
    """
    import dlt

    spec = request.spec

    @dlt.resource(name=spec.table, file_format="parquet")
    def rows() -> Iterator[Any]:
        base = request.settings.endpoint("tlc_base")
        file = fetch(request.settings, base, _candidates(files, request), request.working / "fetched")
        with open_parquet(file) as parquet:
            how = plan(spec, parquet.schema_arrow, request.known_columns, file.url)
            report.source_object, report.digest = file.url, file.digest
            report.rows_read = parquet.metadata.num_rows
            left_out = tuple(f"{name}: new and all null, left out" for name in how.untyped)
            report.new_columns, report.notes = how.new, how.casts + left_out
            yield from _import(file, parquet) if how.as_is else _cast(file, parquet, how)

    @dlt.source(name="tlc", max_table_nesting=0)
    def tlc() -> Any:
        return rows

    return tlc()


def _import(file: Fetched, parquet: "pq.ParquetFile") -> Iterator[Any]:
    """The file as it is, for dlt to import without reading it; its columns are declared from the footer."""
    import dlt
    from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns

    columns = py_arrow_to_table_schema_columns(parquet.schema_arrow)
    hints = dlt.mark.make_hints(columns=columns)
    yield dlt.mark.with_file_import(str(file.path), "parquet", parquet.metadata.num_rows, hints=hints)


def _cast(file: Fetched, parquet: "pq.ParquetFile", how: Plan) -> Iterator["pa.Table"]:
    import dlt
    import pyarrow as pa

    hints = dlt.mark.make_hints(columns=zoneless({c.name: c.want for c in how.columns}))
    try:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=[c.source for c in how.columns]):
            yield dlt.mark.with_hints(conform(pa.table(batch), how, file.url), hints)
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"{file.url}: the Parquet file is damaged: {str(error).splitlines()[0]}") from error


def zones(request: LoadRequest, report: SourceReport, *, files: Sequence[str]) -> "DltSource":
    """The taxi zones. Rows with a wrong number of fields, without a numeric id, or with one seen before are
    rejected.

    Args:
        request: the table.
        report: filled in with the file, its digest and its rows.
        files: where the file may lie under `LAKEGRAPH_TLC_BASE`.

    Returns:
        A source with the resources `request.spec.table` and `request.spec.rejected_table`.
    """
    import dlt

    spec = request.spec

    @dlt.resource(name=spec.table, file_format="parquet")
    def rows() -> Iterator[Any]:
        import pyarrow as pa

        base = request.settings.endpoint("tlc_base")
        file = fetch(request.settings, base, _candidates(files, request), request.working / "fetched")
        batches = list(read_csv(file, request.run_id))
        table = pa.concat_tables(batch.rows for batch in batches)
        ragged = pa.concat_tables(batch.ragged for batch in batches)
        if table.num_rows == 0:
            of = f"{ragged.num_rows:,} rows, none with the header's {table.num_columns} fields"
            raise LakeError(f"{file.url}: the CSV file holds {of if ragged.num_rows else 'no rows'}")
        origin = Origin(pa.concat_arrays([batch.ordinals for batch in batches]))
        good, rejected = split(table, spec, source_object=file.url, run_id=request.run_id, origin=origin)
        report.source_object, report.digest = file.url, file.digest
        report.rows_read = table.num_rows + ragged.num_rows
        extra = extra_columns(table, spec, file.url)
        report.new_columns = tuple(name for name in extra if name not in request.known_columns)
        yield good
        yield from with_rejected(spec.rejected_table, [rejected, ragged])

    @dlt.source(name="tlc", max_table_nesting=0)
    def tlc() -> Any:
        return rows

    return tlc()
