"""Publishing: the file that people read is a copy, swapped in whole.

What belongs here: the copy and the swap, and reading the copy. What does not: what is in it.

DuckDB locks a file for the process that writes it, so nobody could read while dbt runs. Readers open a copy
instead; `os.replace` swaps it under them: who has the old one open reads on in it to the end, who opens next
gets the new one. Nobody meets a lock or half a run.
"""

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lake import views
from lake.duck import connect
from lake.errors import LakeError
from lake.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Published:
    """What was published: the file, its size in bytes, and the number of tables and views by schema."""

    path: Path
    bytes: int
    relations: dict[str, int]


def publish(settings: Settings) -> Published:
    """Refresh the bronze views, then copy the private DuckDB file and swap the copy in.

    The caller holds the pool `duckdb_writer`; another writer outside of it is waited for. The private file is
    checkpointed and closed before it is copied, and the copy is written to disk before it gets its name.
    """
    with ExitStack() as held, connect(settings.duckdb_path, memory_limit=settings.duckdb_memory_limit) as connection:
        views.refresh(connection, settings)
        relations: dict[str, int] = dict(
            connection.execute(
                "SELECT table_schema, count(*) FROM information_schema.tables "
                "WHERE table_schema IN ('bronze', 'silver', 'gold') "
                "GROUP BY 1 ORDER BY 1"
            ).fetchall()
        )
        connection.execute("CHECKPOINT")
        # A shared lock is not to be had while we hold the write lock, and nobody may write between close and
        # copy: copy here.
        target = settings.published_path
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=".publishing-", suffix=".duckdb", delete=False
        ) as temporary:
            copy = Path(temporary.name)
            try:
                # Closed after DuckDB: closing any descriptor of a file drops the process's POSIX locks on it.
                source = held.enter_context(settings.duckdb_path.open("rb"))
                shutil.copyfileobj(source, temporary, 1 << 20)
                temporary.flush()
                os.fsync(temporary.fileno())
                copy.chmod(0o644)
                copy.replace(target)
            except BaseException:
                copy.unlink(missing_ok=True)
                raise
    return Published(target, target.stat().st_size, relations)


def query(settings: Settings, sql: str) -> "pa.Table":
    """The result of `sql` on the published copy, read-only.

    Raises:
        LakeError: nothing is published yet, or the statement fails, with DuckDB's reason.
    """
    import duckdb
    import pyarrow as pa

    with connect(settings.published_path, read_only=True, memory_limit=settings.duckdb_memory_limit) as connection:
        try:
            relation = connection.sql(sql)
            return relation.to_arrow_table() if relation is not None else pa.table({})
        except duckdb.Error as error:
            raise LakeError(str(error)) from error
