"""A running Superset over HTTP: import, removal of what is no longer in the files, and whether the data answers.

What belongs here: requests and what their answers mean. What does not: the files (`infra_assets.superset.bundle`) and
which Superset is meant (`lake.settings`). A failure is one line that names the server, what was wanted and the reason;
neither the user's password nor the database's is ever in it.

Only what an import of ours has made is ever removed. Superset says of an object whether it is managed externally, and
keeps the path of its file and its owner; its uuid must be the one that this path gives, and its owner ours. What others
use stays, and is reported.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, unquote_plus, urlsplit
from uuid import UUID

from infra_assets.superset.bundle import OWNER, SOURCE, Dataset, Tree, render, uuid_of
from lake.errors import LakeError, NotConfiguredError, TransientError
from lake.settings import Settings, SupersetServer

if TYPE_CHECKING:
    import httpx

OK, UNAUTHORIZED, NOT_FOUND, SERVER_ERROR = (200, 201), 401, 404, 500
TRANSIENT = frozenset({429, 502, 503, 504})
PROBE_SECONDS = 10.0
TIMEOUT_SECONDS = 120.0  # an import opens the database, and so does a query
ATTEMPTS = 4
PAGE = 100  # the most that Superset lists at once
LOOPBACK = ("127.0.0.1", "localhost", "::1")
REASON_LENGTH = 500
SECRET = re.compile(r"(?i)pass|pwd|secret|token|key|credential|signature")  # by its name, in a URI's query
UNEXPLAINED = "; can it reach the database of gold? its log says more"  # an import tells no more


@dataclass(frozen=True)
class Answer:
    """What a dataset answered.

    Attributes:
        relation: `schema.table`.
        values: metric → value.
        error: what is wrong, in a line; None if every metric and column can be had.
    """

    relation: str
    values: Mapping[str, Any]
    error: str | None


@dataclass(frozen=True)
class Pruned:
    """What is no longer in the files: the paths of what was removed, and of what others use and so stays."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """A dashboard as it is in Superset: its URL, and the names of its charts."""

    url: str
    charts: tuple[str, ...]


@dataclass(frozen=True)
class _Object:
    """Something that an import has made, of ours or of another project's."""

    kind: str
    number: int
    path: str
    uuid: UUID
    owner: str


class Superset:
    """A session with a Superset; a context manager, which logs in.

    Args:
        server: where it is, and as whom.
        database: the SQLAlchemy URI of gold.
        attempts: how often a request is tried whose failure may pass.
    """

    def __init__(self, server: SupersetServer, database: str, attempts: int = ATTEMPTS) -> None:
        self._server, self._database, self._attempts = server, database, attempts
        self._secrets = {server.password.get_secret_value(), *_secrets_of(database)} - {""}

    def __enter__(self) -> Self:
        """Log in.

        Raises:
            TransientError: nobody answers.
            LakeError: the user is refused, or what answers is no Superset.
        """
        import httpx

        self._http = httpx.Client(
            base_url=self._server.url,
            timeout=TIMEOUT_SECONDS,
            headers={"Accept": "application/json", "Referer": self._server.url},
            trust_env=urlsplit(self._server.url).hostname not in LOOPBACK,
        )
        try:
            password = self._server.password.get_secret_value()
            who = {"username": self._server.user, "password": password, "provider": "db"}
            answer = self.ask("login", "POST", "/api/v1/security/login", json=who)
            self._http.headers["Authorization"] = f"Bearer {answer['access_token']}"
            token = self.ask("CSRF token", "GET", "/api/v1/security/csrf_token/")  # sets the session's cookie too
            self._http.headers["X-CSRFToken"] = token["result"]
        except KeyError as error:
            self._http.close()
            raise LakeError(
                f"superset {self._server.url}: login: no {error} in the answer; is it a Superset?"
            ) from None
        except BaseException:
            self._http.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._http.close()

    def deploy(self, tree: Tree) -> Pruned:
        """Import valid files, and remove what an earlier import has made that is no longer among them.

        Done again, it changes nothing.

        Raises:
            TransientError: Superset does not answer.
            LakeError: the import is refused; gives Superset's reason.
        """
        files = {"bundle": ("dashboards.zip", render(tree, self._database), "application/zip")}
        self.ask("import", "POST", "/api/v1/assets/import/", files=files, data={"sparse": "false"})
        return self._prune(tree)

    def show(self, slug: str) -> Shown:
        """A dashboard that is there.

        Raises:
            LakeError: it is not.
        """
        found = self.ask(f"dashboard {slug}", "GET", f"/api/v1/dashboard/{slug}")["result"]
        return Shown(f"{self._server.url}/superset/dashboard/{slug}/", tuple(sorted(found["charts"])))

    def answers(self, datasets: Iterable[Dataset]) -> tuple[Answer, ...]:
        """What each dataset answers to a query of all its metrics, and of one row of all its columns.

        Raises:
            LakeError: Superset does not know the dataset, or does not answer; a query that fails is an `Answer`.
        """
        numbers = {UUID(row["uuid"]): row["id"] for row in self.listed("dataset", "id", "uuid")}
        return tuple(self._answer(dataset, numbers) for dataset in datasets)

    def _answer(self, dataset: Dataset, numbers: Mapping[UUID, int]) -> Answer:
        number = numbers.get(dataset.uuid)
        if number is None:
            raise LakeError(
                f"superset {self._server.url}: has no dataset {dataset.relation}; import the dashboards first"
            )
        try:
            metrics = self._query(dataset, number, metrics=list(dataset.metrics), columns=[])
            rows = self._query(dataset, number, metrics=[], columns=list(dataset.columns))
        except TransientError:
            raise
        except LakeError as error:
            return Answer(dataset.relation, {}, str(error))
        values = next(iter(metrics), {})
        missing = sorted(dataset.metrics.keys() - values.keys())
        fault = f"no value of {', '.join(missing)}" if missing else None if rows else "has no row"
        return Answer(dataset.relation, values, fault)

    def _query(self, dataset: Dataset, number: int, *, metrics: list[str], columns: list[str]) -> list[dict[str, Any]]:
        what = "metrics" if metrics else "columns"
        body = {
            "datasource": {"id": number, "type": "table"},
            "force": True,
            "result_format": "json",
            "result_type": "full",
            "queries": [{"metrics": metrics, "columns": columns, "row_limit": 1, "orderby": []}],
        }
        answer = self.ask(f"{what} of {dataset.relation}", "POST", "/api/v1/chart/data", json=body)
        rows: list[dict[str, Any]] = answer["result"][0]["data"]
        return rows

    # -- removal
    # --------------------------------------------------------------------------------------------------------

    def _prune(self, tree: Tree) -> Pruned:
        removed: list[str] = []
        kept: list[str] = []
        kinds = (  # a chart is free once its dashboard is gone, and so is a dataset once its chart is
            (self._dashboards, tree.dashboards),
            (self._charts, tree.charts),
            (self._datasets, tree.datasets),
        )
        for find, wanted in kinds:
            uuids = {one.uuid for one in wanted}
            for one, users in find():
                if one.uuid in uuids or one.owner != tree.owner:
                    continue
                if users:
                    kept.append(f"{one.path} (in use by {users})")
                    continue
                self.ask(f"removal of {one.path}", "DELETE", f"/api/v1/{one.kind}/{one.number}")
                removed.append(one.path)
        return Pruned(tuple(removed), tuple(kept))

    def _dashboards(self) -> Iterator[tuple[_Object, str]]:
        for row in self.listed("dashboard", "id", "uuid", "is_managed_externally"):
            if row["is_managed_externally"]:
                whole = self.ask("dashboard", "GET", f"/api/v1/dashboard/{row['id']}")["result"]
                if one := _imported("dashboard", row, whole["json_metadata"]):
                    yield one, ""

    def _charts(self) -> Iterator[tuple[_Object, str]]:
        columns = ("id", "uuid", "params", "is_managed_externally", "dashboards.id", "dashboards.dashboard_title")
        for row in self.listed("chart", *columns):
            one = _imported("chart", row, row["params"])
            if one and row["is_managed_externally"]:
                # An import puts on our dashboards what is in their files: these are others'.
                yield one, ", ".join(sorted(board["dashboard_title"] or "" for board in row["dashboards"]))

    def _datasets(self) -> Iterator[tuple[_Object, str]]:
        for row in self.listed("dataset", "id", "uuid", "extra"):
            if one := _imported("dataset", row, row["extra"]):
                related = self.ask("dataset", "GET", f"/api/v1/dataset/{row['id']}/related_objects")
                yield one, ", ".join(sorted(chart["slice_name"] for chart in related["charts"]["result"]))

    def listed(self, kind: str, *columns: str) -> list[dict[str, Any]]:
        """All objects of a kind that the user may see."""
        rows: list[dict[str, Any]] = []
        page = 0
        while True:
            order = "order_column:changed_on_delta_humanized,order_direction:desc"  # by id would be refused
            query = f"(columns:!({','.join(columns)}),page:{page},page_size:{PAGE},{order})"
            answer = self.ask(f"list of {kind}s", "GET", f"/api/v1/{kind}/", params={"q": query})
            rows += answer["result"]
            page += 1
            if not answer["result"] or len(rows) >= answer["count"]:
                return rows

    # -- requests
    # --------------------------------------------------------------------------------------------------------

    def ask(self, what: str, method: str, path: str, **request: Any) -> Any:
        """The JSON that a request is answered with; what may pass is tried again.

        Every request here may be sent twice: an import and a removal end the same.
        """
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        for attempt in Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(0.2, max=5),
            reraise=True,
        ):
            with attempt:
                return self._ask_once(what, method, path, **request)
        raise AssertionError  # unreachable: the last attempt's failure is raised

    def _ask_once(self, what: str, method: str, path: str, **request: Any) -> Any:
        import httpx

        said = f"superset {self._server.url}: {what}"
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            reason = self._redacted(str(error)) or type(error).__name__
            raise TransientError(f"{said}: {reason}; does it run?") from None
        if response.status_code in TRANSIENT:
            raise TransientError(f"{said}: {response.status_code} {self._reason(response)}")
        if response.status_code == UNAUTHORIZED and what == "login":
            raise LakeError(f"{said} refused: user {self._server.user} or the password is wrong")
        if response.status_code == NOT_FOUND and method == "DELETE":
            return {}  # another process was faster, or our own first try
        if response.status_code not in OK:
            more = UNEXPLAINED if what == "import" and response.status_code == SERVER_ERROR else ""
            raise LakeError(f"{said} refused: {response.status_code} {self._reason(response)}{more}")
        try:
            return response.json()
        except ValueError:
            raise LakeError(f"{said}: the answer is no JSON; is it a Superset?") from None

    def _reason(self, response: "httpx.Response") -> str:
        """Superset's own words, from whichever of its forms of an error this is."""
        try:
            body = response.json()
        except ValueError:
            body = response.reason_phrase
        reason = self._redacted("; ".join(_messages(body)) or response.reason_phrase)
        return reason if len(reason) <= REASON_LENGTH else f"{reason[:REASON_LENGTH]}…"

    def _redacted(self, text: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return " ".join(text.split())


def connect(settings: Settings) -> Superset:
    """The Superset of the settings, to be entered.

    Raises:
        NotConfiguredError: none is set and none runs (any more), or where gold is read from is not set.
        TransientError: the one that runs here does not say that it is well.
        LakeError: a password is missing.
    """
    server, database = settings.superset(), settings.superset_database_uri.get_secret_value()
    if server.token is not None:
        _recognize(server.url, server.token)
    return Superset(server, database)


def _recognize(url: str, token: str) -> None:
    """The endpoints file outlives a server that was killed: nobody else on its port is to get the password."""
    import httpx

    try:
        answer = httpx.get(f"{url}/health", timeout=PROBE_SECONDS, trust_env=False)
        known = f'"{token}"' in answer.text
    except httpx.ConnectError:
        known = False
    except httpx.TransportError as error:
        raise TransientError(f"superset {url}: {str(error) or type(error).__name__}; does it run?") from None
    if not known:
        raise NotConfiguredError(f"superset {url}: no longer runs; start it with `lakegraph superset up`")


def _secrets_of(uri: str) -> Iterator[str]:
    """What is secret in a database's URI, as it is written there and as it is meant."""
    parts = urlsplit(uri)
    written = (pair.partition("=") for pair in parts.query.split("&"))
    for text in (parts.password or "", *(value for name, _, value in written if SECRET.search(name))):
        yield from (text, unquote(text), unquote_plus(text))


def _imported(kind: str, row: Mapping[str, Any], kept: str | None) -> _Object | None:
    """The object, if an import has made it: the path that was kept with it gives its uuid."""
    try:
        noted = json.loads(kept or "{}")
    except ValueError:
        return None
    path, uuid = noted.get(SOURCE), UUID(row["uuid"])
    return _Object(kind, row["id"], path, uuid, noted.get(OWNER, "")) if path and uuid_of(path) == uuid else None


def _messages(body: Any) -> list[str]:
    """The sentences of an error: `{"errors": [{"message", "extra"}]}`, `{"message": text or {file: reasons}}`."""
    if isinstance(body, Mapping):
        parts = [body[key] for key in ("message", "errors", "error") if body.get(key)]
        found = [text for part in parts for text in _messages(part)]
        if found:
            return found
        return [f"{key}: {text}" for key, part in body.items() if key != "issue_codes" for text in _messages(part)]
    if isinstance(body, list):
        return [text for part in body for text in _messages(part)]
    return [str(body)] if body not in {None, ""} else []
