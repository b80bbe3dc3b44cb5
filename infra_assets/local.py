"""Infrastructure of the embedded target: folders, Iceberg namespaces, DuckDB schemas.

What belongs here: looking at and making them, with races and locks between processes settled. What does not:
tables (loads and dbt make those, because their shape comes from data and models), and the sandbox's folders
(production does not know it).

Engines are imported inside functions: the graph is built from these objects without loading them.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote as url_quote
from uuid import uuid4

from infra_assets.plan import Change, Resource
from lake import duck
from lake.catalog import LAYERS, NAMESPACES, open_catalog
from lake.errors import LakeError
from lake.settings import Settings

if TYPE_CHECKING:
    import duckdb
    from pyiceberg.catalog import Catalog

RACE_SECONDS = 20.0  # how long processes that create the same thing at once give way to each other


@dataclass(frozen=True)
class Folders:
    """The folders under `LAKEGRAPH_HOME`."""

    settings: Settings

    name: ClassVar[str] = "folders"
    description: ClassVar[str] = "Folders under `LAKEGRAPH_HOME`: lake, DuckDB, staging, working folders, reports."
    kinds: ClassVar[frozenset[str]] = frozenset({"filesystem"})
    deps: ClassVar[tuple[str, ...]] = ()
    pool: ClassVar[str | None] = None

    def _paths(self) -> tuple[Path, ...]:
        s = self.settings
        inner = (
            s.warehouse,
            s.duckdb_path.parent,
            s.staging,
            s.dlt_home,
            s.dbt_target,
            s.dagster_home,
            s.reports,
        )
        return (s.home, *inner)

    def desired(self) -> tuple[str, ...]:
        """The paths, parents first."""
        return tuple(map(str, self._paths()))

    def plan(self) -> tuple[Change, ...]:
        """The folders that are missing."""
        return tuple(_folder(path) for path in self._paths() if not _is_usable_folder(path))

    def apply(self) -> tuple[Change, ...]:
        """Make the folders that are missing."""
        return tuple(_folder(path) for path in self._paths() if _make_folder(path))


@dataclass(frozen=True)
class IcebergNamespaces:
    """One namespace for each layer that holds Iceberg tables, in the SQL catalog."""

    settings: Settings

    name: ClassVar[str] = "iceberg_namespaces"
    description: ClassVar[str] = "The Iceberg catalog (SQLite) and its namespaces: the layers that hold Iceberg tables."
    kinds: ClassVar[frozenset[str]] = frozenset({"iceberg", "sqlite"})
    deps: ClassVar[tuple[str, ...]] = ("folders",)
    pool: ClassVar[str | None] = None

    def desired(self) -> tuple[str, ...]:
        """The catalog's file, then the namespaces."""
        return (str(self.settings.catalog_db), *NAMESPACES)

    def plan(self) -> tuple[Change, ...]:
        """The namespaces that are missing; without a catalog, all of them."""
        present = self._present()
        return tuple(self._namespace(name) for name in NAMESPACES if name not in present)

    def apply(self) -> tuple[Change, ...]:
        """Create the catalog if need be, and the namespaces that are missing."""
        return tuple(self._namespace(name) for name in NAMESPACES if self._create(name))

    def _namespace(self, name: str) -> Change:
        return Change("create", f"namespace {name}", f"in {self.settings.catalog_db}")

    def _present(self) -> set[str]:
        from sqlalchemy.exc import OperationalError

        if not _exists(self.settings.catalog_db):
            return set()
        with self._clear_errors():
            try:
                with closing(self._open_read_only()) as catalog:
                    return {namespace[0] for namespace in catalog.list_namespaces()}
            except OperationalError as error:
                if "no such table" in str(error):  # the file is there, but whoever made it has died before its tables
                    return set()
                if "readonly database" in str(error):  # reading wants to write: a journal is to be rolled back
                    raise LakeError(
                        f"Iceberg catalog {self.settings.catalog_db}: a process was killed while it wrote; "
                        f"materialize infra/{self.name} to roll that back"
                    ) from error
                raise

    def _open_read_only(self) -> "Catalog":
        """The catalog of `open_catalog`, but read-only: that function makes the file and its tables."""
        from pyiceberg.catalog.sql import SqlCatalog

        uri = f"sqlite:///file:{url_quote(str(self.settings.catalog_db))}?mode=ro&uri=true&timeout=60"
        return SqlCatalog("lake", uri=uri, init_catalog_tables="false")

    def _create(self, name: str) -> bool:
        """Whether this call has created the namespace; another process may have, before or meanwhile."""
        from pyiceberg.exceptions import NamespaceAlreadyExistsError
        from sqlalchemy.exc import DatabaseError, IntegrityError
        from tenacity import retry, retry_if_exception, stop_after_delay, wait_random_exponential

        def lost_a_race(error: BaseException) -> bool:
            is_race = "already exists" in str(error) or "database is locked" in str(error)
            return isinstance(error, IntegrityError) or (isinstance(error, DatabaseError) and is_race)

        @retry(
            retry=retry_if_exception(lost_a_race),
            stop=stop_after_delay(RACE_SECONDS),
            wait=wait_random_exponential(0.02, max=0.5),
            reraise=True,
        )
        def attempt() -> bool:
            with closing(open_catalog(self.settings)) as catalog:
                try:
                    catalog.create_namespace(name)
                except NamespaceAlreadyExistsError:
                    return False
                return True

        with self._clear_errors():
            return attempt()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        from sqlalchemy.exc import DatabaseError

        path = self.settings.catalog_db
        try:
            yield
        except DatabaseError as error:
            raise LakeError(
                f"Iceberg catalog {path}: {error.orig}; check that the file and its folder are writable"
            ) from error
        except OSError as error:
            raise _no_access(path, error) from error


@dataclass(frozen=True)
class DuckdbSchemas:
    """One schema for each layer, in the DuckDB file that dbt writes."""

    settings: Settings
    lock_seconds: float = duck.LOCK_WAIT_SECONDS

    name: ClassVar[str] = "duckdb_schemas"
    description: ClassVar[str] = "The DuckDB file that dbt writes and its schemas: bronze (views), silver, gold."
    kinds: ClassVar[frozenset[str]] = frozenset({"duckdb"})
    deps: ClassVar[tuple[str, ...]] = ("folders",)
    pool: ClassVar[str | None] = "duckdb_writer"

    def desired(self) -> tuple[str, ...]:
        """The file, then the schemas."""
        return (str(self.settings.duckdb_path), *LAYERS)

    def plan(self) -> tuple[Change, ...]:
        """The schemas that are missing; without a file, all of them."""
        if not _exists(self.settings.duckdb_path):
            return tuple(map(self._schema, LAYERS))
        with self._connect(self.settings.duckdb_path, read_only=True) as connection:
            return tuple(map(self._schema, _missing_schemas(connection)))

    def apply(self) -> tuple[Change, ...]:
        """Create the file if need be, and the schemas that are missing; DuckDB's lock keeps others out."""
        self._create_file()
        with self._connect(self.settings.duckdb_path) as connection:
            missing = _missing_schemas(connection)
            for name in missing:
                connection.execute(f"CREATE SCHEMA {duck.quote(name)}")
        return tuple(map(self._schema, missing))

    def _schema(self, name: str) -> Change:
        return Change("create", f"schema {name}", f"in {self.settings.duckdb_path}")

    def _create_file(self) -> None:
        """Let the file appear whole: DuckDB takes one that another process is just creating for broken."""
        path = self.settings.duckdb_path
        if _exists(path):
            return
        draft = path.with_name(f"{path.name}.{uuid4().hex}.new")
        try:
            with self._connect(draft):
                pass
            path.hardlink_to(draft)
        except FileExistsError:
            return  # another process was faster
        except OSError as error:
            raise _no_access(path, error) from error
        finally:
            with suppress(OSError):
                draft.unlink()

    @contextmanager
    def _connect(self, path: Path, *, read_only: bool = False) -> Iterator["duckdb.DuckDBPyConnection"]:
        import duckdb

        memory = self.settings.duckdb_memory_limit
        try:
            with duck.connect(
                path, read_only=read_only, memory_limit=memory, wait_seconds=self.lock_seconds
            ) as connection:
                yield connection
        except duckdb.IOException as error:
            reason = str(error).splitlines()[0]
            remedy = "make it writable, or move it away: dbt rebuilds it"
            raise LakeError(f"DuckDB file {self.settings.duckdb_path}: {reason}; {remedy}") from error
        except OSError as error:
            raise _no_access(self.settings.duckdb_path, error) from error


def local_resources(settings: Settings) -> tuple[Resource, ...]:
    """The resources of the embedded target."""
    return (Folders(settings), IcebergNamespaces(settings), DuckdbSchemas(settings))


def _missing_schemas(connection: "duckdb.DuckDBPyConnection") -> tuple[str, ...]:
    rows = connection.execute("SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()")
    present = {name for (name,) in rows.fetchall()}
    return tuple(name for name in LAYERS if name not in present)


def _folder(path: Path) -> Change:
    return Change("create", f"folder {path}")


def _is_usable_folder(path: Path) -> bool:
    """Whether the folder is there.

    Raises:
        LakeError: something else is there, or the folder may not be written.
    """
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise _no_access(path, error) from error
    if is_folder and not os.access(path, os.W_OK | os.X_OK):
        raise LakeError(f"{path} is not writable: give this user write access, or set LAKEGRAPH_HOME to another folder")
    if not is_folder and os.path.lexists(path):
        raise LakeError(f"{path} is in the way of a folder of that name: move it away, or set LAKEGRAPH_HOME elsewhere")
    return is_folder


def _make_folder(path: Path) -> bool:
    """Whether this call has made the folder; another process may have, before or meanwhile."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        _is_usable_folder(path)
        return False
    except OSError as error:
        raise _no_access(path, error) from error
    return True


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _no_access(path, error) from error


def _no_access(path: Path, error: OSError) -> LakeError:
    return LakeError(f"{path} cannot be made or read ({error.strerror}): set LAKEGRAPH_HOME to a writable folder")
