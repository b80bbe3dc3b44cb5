"""One loopback server that plays Google Cloud as far as the lake's infrastructure and files need it.

What belongs here: on the wire, the BigQuery Connection API (REST), Cloud Storage's buckets and policies, BigQuery's
datasets, an OAuth token endpoint and a service account's key for it; faults to inject and the record of what was
asked. What does not: objects (`sandbox.gcs`), BigQuery's tables and queries, checking who is calling, the server's
socket and command line (`sandbox.serving`), and starting and stopping the process (`sandbox.control`).

State is a folder and outlives the process. Answers name projects by number, as Google's do, so that nobody relies on
getting back the name that was asked for.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from os import O_CREAT, O_TRUNC, O_WRONLY, fdopen, getpid
from os import open as open_file
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from lake.settings import Settings
from sandbox.gcs import (
    CANCELLED,
    INCOMPLETE,
    NO_CONTENT,
    NOT_MODIFIED,
    Answer,
    Call,
    Json,
    Objects,
    RefusalError,
    Store,
    check,
    merge_patch,
    now,
)
from sandbox.serving import InThread, Lifespan, announced, command_line, health, listen, uvicorn_server

ENDPOINT = "gcs"  # its name in the endpoints file
PROJECT = "lakegraph-sandbox"
PROJECT_NUMBER = "123456789012"
EMPTY = {NO_CONTENT, NOT_MODIFIED, INCOMPLETE, CANCELLED}  # statuses without a body
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
AGENT = "@gcp-sa-bigquery-condel.iam.gserviceaccount.com"  # accounts of connections
STATUS_NAMES = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ALREADY_EXISTS"}

Effect = Callable[["Cloud"], object]


@dataclass
class _Fault:
    method: str
    pattern: re.Pattern[str]
    refusal: RefusalError
    times: int
    effect: Effect | None


class Cloud:
    """The services over a folder, without HTTP; safe to use from several threads.

    Attributes:
        store: what there is, also for tests to look at and to change.
        calls: method and decoded path of each request, oldest first.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(folder)
        self.calls: list[tuple[str, str]] = []
        self._objects = Objects(self.store)
        self._faults: list[_Fault] = []
        bucket = r"/storage/v1/b/([^/]+)"
        connections = r"/v1/projects/([^/]+)/locations/([^/]+)/connections"
        datasets = r"/bigquery/v2/projects/([^/]+)/datasets"
        self._routes: tuple[tuple[str, re.Pattern[str], Callable[..., Answer]], ...] = (
            ("POST", re.compile("/token"), self._token),
            ("POST", re.compile("/storage/v1/b"), self._create_bucket),
            ("GET", re.compile("/storage/v1/b"), self._list_buckets),
            ("GET", re.compile(bucket), self._get_bucket),
            ("PATCH", re.compile(bucket), self._patch_bucket),
            ("DELETE", re.compile(bucket), self._delete_bucket),
            ("GET", re.compile(rf"{bucket}/iam"), self._get_policy),
            ("PUT", re.compile(rf"{bucket}/iam"), self._set_policy),
            ("GET", re.compile(connections), self._list_connections),
            ("POST", re.compile(connections), self._create_connection),
            ("GET", re.compile(rf"{connections}/([^/]+)"), self._get_connection),
            ("POST", re.compile(datasets), self._create_dataset),
            ("GET", re.compile(rf"{datasets}/([^/]+)"), self._get_dataset),
            ("PATCH", re.compile(rf"{datasets}/([^/]+)"), self._patch_dataset),
        )

    def inject(
        self,
        method: str,
        path_regex: str,
        status: int,
        message: str = "injected by the sandbox",
        *,
        reason: str = "",
        times: int = 1,
        effect: Effect | None = None,
    ) -> None:
        """Let the next `times` requests fail that have this method and a path in which `path_regex` is found.

        Args:
            method: of the request.
            path_regex: matched against the decoded path without the query.
            status: the HTTP status to answer with.
            message: the error's message.
            reason: the error's reason, e.g. `SERVICE_DISABLED`.
            times: how many requests fail.
            effect: called with this object before each of them is answered, e.g. to let somebody else be faster.
        """
        fault = _Fault(method, re.compile(path_regex), RefusalError(status, message, reason), times, effect)
        with self.store.lock:
            self._faults.append(fault)

    def answer(self, call: Call) -> Answer:
        """Answer one request, alone; errors are answers too."""
        with self.store.lock:
            self.calls.append((call.method, unquote(call.path)))
            try:
                return self._dispatch(call)
            except RefusalError as refused:
                return _error(refused)

    def _dispatch(self, call: Call) -> Answer:
        path = unquote(call.path)
        self._fail_if_asked_to(call.method, path)
        for method, pattern, handler in self._routes:
            if method == call.method and (found := pattern.fullmatch(call.path)):
                return handler(call, *(unquote(part) for part in found.groups()))
        if (answer := self._objects.answer(call)) is None:
            raise RefusalError(404, f"the sandbox has no route {call.method} {path}", "notFound")
        return answer

    def _fail_if_asked_to(self, method: str, path: str) -> None:
        for fault in self._faults:
            if fault.times > 0 and fault.method == method and fault.pattern.search(path):
                fault.times -= 1
                if fault.effect:
                    fault.effect(self)
                raise fault.refusal

    def _token(self, _: Call) -> Answer:
        return Answer({"access_token": "sandbox", "expires_in": 3600, "token_type": "Bearer"})

    # -- buckets and their policies

    def _create_bucket(self, call: Call) -> Answer:
        wanted = call.json()
        name = wanted["name"]
        if self.store.get("bucket", name) is not None:
            raise RefusalError(409, "Your previous request to create the named bucket succeeded.")
        access = {"uniformBucketLevelAccess": {"enabled": False}, "publicAccessPrevention": "inherited"}
        bucket = {
            "storageClass": "STANDARD",
            **wanted,
            "kind": "storage#bucket",
            "id": name,
            "projectNumber": PROJECT_NUMBER,
            "location": wanted.get("location", "US").upper(),
            "locationType": "multi-region" if "-" not in wanted.get("location", "US") else "region",
            "iamConfiguration": merge_patch(access, wanted.get("iamConfiguration", {})),
            "metageneration": "1",
            "etag": "CAE=",
            "timeCreated": now(),
            "updated": now(),
        }
        return Answer(self.store.put("bucket", name, bucket))

    def _list_buckets(self, call: Call) -> Answer:
        prefix = call.query.get("prefix", "")
        items = [bucket for name, bucket in self.store.all("bucket").items() if name.startswith(prefix)]
        return Answer({"kind": "storage#buckets", "items": items})

    def _bucket(self, name: str) -> Json:
        if (bucket := self.store.get("bucket", name)) is None:
            raise RefusalError(404, "The specified bucket does not exist.", "notFound")
        return bucket

    def _get_bucket(self, call: Call, name: str) -> Answer:
        bucket = self._bucket(name)
        check(call.query, bucket, reading=True)
        return Answer(bucket)

    def _patch_bucket(self, call: Call, name: str) -> Answer:
        bucket, patch = self._bucket(name), call.json()
        check(call.query, bucket)
        if patch.get("location", bucket["location"]) != bucket["location"]:
            raise RefusalError(400, "The location of a bucket cannot be changed.", "invalid")
        number = str(int(bucket["metageneration"]) + 1)
        return Answer(
            self.store.put("bucket", name, {**merge_patch(bucket, patch), "metageneration": number, "updated": now()})
        )

    def _delete_bucket(self, call: Call, name: str) -> Answer:
        check(call.query, self._bucket(name))
        if next(self.store.names(name), None) is not None:
            raise RefusalError(409, "The bucket you tried to delete is not empty.", "conflict")
        self.store.drop("bucket", name)
        self.store.drop("policy", name)
        return Answer(status=NO_CONTENT)

    def _policy(self, bucket: str) -> Json:
        self._bucket(bucket)
        policy = self.store.get("policy", bucket) or {"kind": "storage#policy", "version": 1, "bindings": []}
        return {**policy, "resourceId": f"projects/_/buckets/{bucket}", "etag": _etag(policy["bindings"])}

    def _get_policy(self, _: Call, bucket: str) -> Answer:
        return Answer(self._policy(bucket))

    def _set_policy(self, call: Call, bucket: str) -> Answer:
        before, wanted = self._policy(bucket), call.json()
        if wanted.get("etag") not in {None, before["etag"]}:
            raise RefusalError(412, "The policy was changed since it was read.", "conditionNotMet")
        accounts = {c["cloudResource"]["serviceAccountId"] for c in self.store.all("connection").values() if _ours(c)}
        for member in (member for binding in wanted["bindings"] for member in binding["members"]):
            account = member.partition(":")[2]
            if account.endswith(AGENT) and account not in accounts:
                raise RefusalError(400, f"Service account {account} does not exist.", "invalid")
        bindings = [{**b, "members": sorted(b["members"])} for b in wanted["bindings"]]
        self.store.put("policy", bucket, {**wanted, "kind": "storage#policy", "bindings": bindings})
        return Answer(self._policy(bucket))

    # -- connections

    def _list_connections(self, _: Call, __: str, location: str) -> Answer:
        found = [c for key, c in self.store.all("connection").items() if key.startswith(f"{location}/")]
        return Answer({"connections": found})

    def _get_connection(self, _: Call, project: str, location: str, name: str) -> Answer:
        if (found := self.store.get("connection", f"{location}/{name}")) is None:
            raise RefusalError(404, f"Not found: Connection projects/{project}/locations/{location}/connections/{name}")
        return Answer(found)

    def _create_connection(self, call: Call, _: str, location: str) -> Answer:
        name = call.query["connectionId"]
        if self.store.get("connection", f"{location}/{name}") is not None:
            raise RefusalError(409, f"Already Exists: Connection {name}")
        return Answer(self.add_connection(location, name, call.json()))

    def add_connection(self, location: str, name: str, properties: Json) -> Json:
        """Make a connection, as `POST …/connections` does; one of the type CLOUD_RESOURCE gets a service account."""
        connection = {**properties, "name": f"projects/{PROJECT_NUMBER}/locations/{location}/connections/{name}"}
        if _ours(properties):
            account = f"bqcx-{PROJECT_NUMBER}-{_etag([location, name])[:4]}{AGENT}"
            connection["cloudResource"] = {"serviceAccountId": account}
        return self.store.put("connection", f"{location}/{name}", connection)

    # -- datasets

    def _create_dataset(self, call: Call, project: str) -> Answer:
        wanted = call.json()
        name = wanted["datasetReference"]["datasetId"]
        if self.store.get("dataset", f"{project}/{name}") is not None:
            raise RefusalError(409, f"Already Exists: Dataset {project}:{name}", "duplicate")
        dataset = {"location": "US", **wanted, "kind": "bigquery#dataset", "id": f"{project}:{name}"}
        return Answer(self.store.put("dataset", f"{project}/{name}", {**dataset, "etag": _etag(dataset)}))

    def _dataset(self, project: str, name: str) -> Json:
        if (dataset := self.store.get("dataset", f"{project}/{name}")) is None:
            raise RefusalError(404, f"Not found: Dataset {project}:{name}", "notFound")
        return dataset

    def _get_dataset(self, _: Call, project: str, name: str) -> Answer:
        return Answer(self._dataset(project, name))

    def _patch_dataset(self, call: Call, project: str, name: str) -> Answer:
        before = self._dataset(project, name)
        if call.headers.get("if-match") not in {None, before["etag"]}:
            raise RefusalError(412, "Precondition check failed.", "conditionNotMet")
        after = merge_patch(before, call.json())
        return Answer(self.store.put("dataset", f"{project}/{name}", {**after, "etag": _etag(after)}))


def _ours(connection: Json) -> bool:
    return "cloudResource" in connection


def _etag(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _error(refused: RefusalError) -> Answer:
    if refused.status in EMPTY:
        return Answer(status=refused.status)
    status = STATUS_NAMES.get(refused.status, "UNKNOWN")
    error: Json = {
        "code": refused.status,
        "message": refused.message,
        "status": status,
        "errors": [{"domain": "global", "message": refused.message, "reason": refused.reason or status}],
    }
    if refused.reason.isupper():  # how the newer services say it
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "googleapis.com"}
        error["details"] = [{**info, "reason": refused.reason}]
    return Answer({"error": error}, refused.status)


def application(cloud: Cloud, *, token: str = "", lifespan: Lifespan | None = None) -> ASGIApp:
    """The server as an ASGI application: the services, and `/health`.

    Args:
        cloud: what answers.
        token: what `/health` answers with, next to the process id; tells this server from others.
        lifespan: entered when the server starts, left when it stops.

    Returns:
        The application.
    """

    async def anything(request: Request) -> Response:
        call = Call(
            request.method,
            request.scope["raw_path"].decode("ascii").partition("?")[0],
            dict(request.query_params),
            dict(request.headers),
            await request.body(),
            str(request.base_url).rstrip("/"),
        )
        if call.method == "POST" and call.path.startswith("/batch/"):
            return await run_in_threadpool(_batch, cloud, call)
        answer = await run_in_threadpool(cloud.answer, call)
        if answer.file is not None:
            headers = {**answer.headers, "Content-Length": str(answer.length)}
            return StreamingResponse(answer.blocks(), answer.status, headers)
        if answer.content is None:
            return Response(status_code=answer.status, headers=dict(answer.headers))
        return JSONResponse(answer.content, answer.status, headers=dict(answer.headers))

    routes = [health(token), Route("/{path:path}", anything, methods=METHODS)]
    return Starlette(routes=routes, lifespan=lifespan)


def _batch(cloud: Cloud, call: Call) -> Response:
    """Several requests in one, each a part of a multipart body, as are the answers."""
    from email.parser import BytesParser

    head = f"Content-Type: {call.headers.get('content-type', '')}\r\n\r\n".encode()
    parts: list[str] = []
    for part in BytesParser().parsebytes(head + call.body).walk():
        if part.is_multipart():
            continue
        payload = part.get_payload(decode=True)
        text = payload.decode() if isinstance(payload, bytes) else ""
        line, _, rest = text.lstrip().partition("\n")
        method, target, *_ = line.split()
        headers, _, body = rest.replace("\r\n", "\n").partition("\n\n")
        named = (header.partition(":") for header in headers.splitlines())
        url = urlsplit(target)
        answer = cloud.answer(
            Call(
                method,
                url.path,
                dict(parse_qsl(url.query, keep_blank_values=True)),
                {name.strip().lower(): value.strip() for name, _, value in named},
                body.encode(),
                call.base,
            )
        )
        content = "" if answer.content is None else json.dumps(answer.content)
        identity = part.get("Content-ID", "<1>").replace("<", "<response-", 1)
        parts.append(
            f"--batch\r\nContent-Type: application/http\r\nContent-ID: {identity}\r\n\r\n"
            f"HTTP/1.1 {answer.status} Answer\r\nContent-Type: application/json; charset=UTF-8\r\n"
            f"Content-Length: {len(content)}\r\n\r\n{content}\r\n"
        )
    return Response("".join(parts) + "--batch--\r\n", headers={"Content-Type": "multipart/mixed; boundary=batch"})


class GcpStandIn(Cloud, InThread):
    """The server in a thread of this process, for tests; `inject` and `calls` are those of `Cloud`.

    Attributes:
        url: what `STORAGE_EMULATOR_HOST`, `LAKEGRAPH_GCP_CONNECTION_ENDPOINT` and, for datasets alone,
            `BIGQUERY_EMULATOR_HOST` are set to.
    """

    def __init__(self, folder: Path) -> None:
        Cloud.__init__(self, folder)
        InThread.__init__(self, application(self))

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        self.store.close()


def write_key(path: Path, url: str, project: str = PROJECT) -> Path:
    """Write a service account's key for `GOOGLE_APPLICATION_CREDENTIALS`, whose tokens come from `<url>/token`.

    The account has no address: given one, google-auth would ask iamcredentials.googleapis.com, the live one, which
    locations it may be used in.

    Args:
        path: the file, readable for its owner alone; replaced if it is there.
        url: of the stand-in.
        project: the account's project.

    Returns:
        `path`.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {
        "type": "service_account",
        "project_id": project,
        "private_key_id": "sandbox",
        "private_key": pem.decode(),
        "client_email": "",
        "client_id": "1",
        "auth_uri": f"{url}/auth",
        "token_uri": f"{url}/token",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{getpid()}.partial")
    with fdopen(open_file(partial, O_WRONLY | O_CREAT | O_TRUNC, 0o600), "w") as opened:
        json.dump(key, opened)
    partial.replace(path)
    return path


def folder_of(settings: Settings) -> Path:
    """Where the stand-in of a home keeps its state; `key.json` in it is a key for the running one."""
    return settings.sandbox_home / "gcp"


def serve(settings: Settings, *, token: str = "", port: int = 0) -> None:
    """Serve the state under `folder_of` until SIGTERM or SIGINT; the endpoints file names it while it listens.

    Raises:
        LakeError: the port is taken.
    """
    listener, url = listen(port)
    cloud = Cloud(folder_of(settings))
    write_key(folder_of(settings) / "key.json", url, settings.gcp_project or PROJECT)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with closing(cloud.store):
            async with announced(settings.endpoints_file, {ENDPOINT: url}):
                yield

    uvicorn_server(application(cloud, token=token, lifespan=lifespan), "info").run([listener])


if __name__ == "__main__":
    command_line("Play Google Cloud on loopback until interrupted.", serve)
