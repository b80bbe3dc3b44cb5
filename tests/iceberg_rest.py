"""An Iceberg REST catalog on loopback over pyiceberg's SQLite catalog: what pyiceberg's REST client asks for, no more.

`with IcebergRest(folder) as service:` listens at `service.url`; `client(service)` is a catalog for writing to it. A
service that is made over the same folder again has the same tables.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyiceberg import exceptions
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest, Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.serving import InThread

WAREHOUSE = "lake"  # what clients must call it
STATUS = {
    exceptions.NoSuchNamespaceError: 404,
    exceptions.NoSuchTableError: 404,
    exceptions.NamespaceAlreadyExistsError: 409,
    exceptions.TableAlreadyExistsError: 409,
    exceptions.CommitFailedException: 409,
}

Answer = tuple[int, dict[str, Any]]


class _Named:
    """As much of a table as a SQL catalog's commit asks for."""

    def __init__(self, identifier: tuple[str, str]) -> None:
        self.name = lambda: identifier


class IcebergRest(InThread):
    """The service in a thread of this process.

    Attributes:
        status: what every request is answered with, instead of an answer; None: they are answered.
        asked: the paths that were asked for.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._catalog = SqlCatalog("rest", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
        self.status: int | None = None
        self.asked: list[str] = []
        namespace, table = "/v1/namespaces/{namespace}", "/v1/namespaces/{namespace}/tables/{table}"
        routes = [
            self._route("GET", "/v1/config", self._config),
            self._route("GET", "/v1/namespaces", self._namespaces),
            self._route("POST", "/v1/namespaces", self._create_namespace),
            self._route("GET", namespace, self._namespace),
            self._route("GET", f"{namespace}/tables", self._tables),
            self._route("POST", f"{namespace}/tables", self._create_table),
            self._route("GET", table, self._table),
            self._route("POST", table, self._commit),
        ]
        super().__init__(Starlette(routes=routes))

    def __exit__(self, *failure: object) -> None:
        super().__exit__(*failure)
        self._catalog.close()

    def _route(self, method: str, path: str, answer: Callable[..., Answer]) -> Route:
        async def endpoint(request: Request) -> Response:
            self.asked.append(request.url.path)
            body = await request.json() if method == "POST" else dict(request.query_params)
            try:
                if self.status:
                    return _failure(self.status, "Refused", "as the test wants it")
                status, content = answer(*request.path_params.values(), body)
            except tuple(STATUS) as error:
                return _failure(STATUS[type(error)], type(error).__name__.replace("Error", "Exception"), str(error))
            return JSONResponse(content, status)

        return Route(path, endpoint, methods=[method])

    def _config(self, query: dict[str, Any]) -> Answer:
        if query.get("warehouse") != WAREHOUSE:
            raise exceptions.NoSuchNamespaceError(f"warehouse {query.get('warehouse')}")
        return 200, {"defaults": {}, "overrides": {}}

    def _namespaces(self, _: dict[str, Any]) -> Answer:
        return 200, {"namespaces": [list(one) for one in self._catalog.list_namespaces()]}

    def _create_namespace(self, body: dict[str, Any]) -> Answer:
        self._catalog.create_namespace(tuple(body["namespace"]))
        return 200, {"namespace": body["namespace"], "properties": {}}

    def _namespace(self, namespace: str, _: dict[str, Any]) -> Answer:
        return 200, {"namespace": [namespace], "properties": self._catalog.load_namespace_properties(namespace)}

    def _tables(self, namespace: str, _: dict[str, Any]) -> Answer:
        found = self._catalog.list_tables(namespace)
        return 200, {"identifiers": [{"namespace": [namespace], "name": name} for _, name in found]}

    def _create_table(self, namespace: str, body: dict[str, Any]) -> Answer:
        schema = Schema.model_validate(body["schema"])
        return 200, _loaded(self._catalog.create_table((namespace, body["name"]), schema))

    def _table(self, namespace: str, table: str, _: dict[str, Any]) -> Answer:
        return 200, _loaded(self._catalog.load_table((namespace, table)))

    def _commit(self, namespace: str, table: str, body: dict[str, Any]) -> Answer:
        wanted = CommitTableRequest.model_validate(body)
        done = self._catalog.commit_table(_Named((namespace, table)), wanted.requirements, wanted.updates)
        return 200, {"metadata-location": done.metadata_location, "metadata": done.metadata.model_dump(mode="json")}


def client(service: IcebergRest) -> RestCatalog:
    """A catalog for writing to it."""
    return RestCatalog("writer", uri=service.url, warehouse=WAREHOUSE)


def _loaded(table: Table) -> dict[str, Any]:
    metadata = table.metadata.model_dump(mode="json")
    return {"metadata-location": table.metadata_location, "metadata": metadata, "config": {}}


def _failure(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "code": status}}, status)
