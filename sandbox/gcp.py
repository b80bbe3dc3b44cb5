"""One loopback server that plays Google Cloud as far as the lake's infrastructure and files need it.

What belongs here: on the wire, the BigQuery Connection API (REST), Cloud Storage's buckets and policies, BigQuery's
datasets, and an OAuth token endpoint. What does not: objects (`sandbox.gcs`), BigQuery's tables and queries, checking
who is calling, faults, errors and the key (`sandbox.google_rest`), the server's socket and command line
(`sandbox.serving`), and starting and stopping the process (`sandbox.control`).

State is a folder and outlives the process. Answers name projects by number, as Google's do, so that nobody relies on
getting back the name that was asked for.
"""

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp

from lake.settings import Settings
from sandbox.gcs import Objects, Store, check, merge_patch
from sandbox.google_rest import NO_CONTENT, PROJECT, Answer, Call, Json, RefusalError, Service, now, write_key
from sandbox.serving import InThread, Lifespan, announced, command_line, health, listen, uvicorn_server

ENDPOINT = "gcs"  # its name in the endpoints file
PROJECT_NUMBER = "123456789012"
AGENT = "@gcp-sa-bigquery-condel.iam.gserviceaccount.com"  # accounts of connections


class Cloud(Service):
    """The services over a folder, without HTTP; safe to use from several threads.

    Attributes:
        store: what there is, also for tests to look at and to change.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(folder)
        super().__init__(self.store.lock)
        bucket = r"/storage/v1/b/([^/]+)"
        connections = r"/v1/projects/([^/]+)/locations/([^/]+)/connections"
        datasets = r"/bigquery/v2/projects/([^/]+)/datasets"
        self._routes = (
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
            *Objects(self.store).routes,
        )

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


def application(cloud: Cloud, *, token: str = "", lifespan: Lifespan | None = None) -> ASGIApp:
    """The server as an ASGI application: the services, and `/health`.

    Args:
        cloud: what answers.
        token: what `/health` answers with, next to the process id; tells this server from others.
        lifespan: entered when the server starts, left when it stops.

    Returns:
        The application.
    """

    def batch(call: Call) -> Response | None:
        return _batch(cloud, call) if call.method == "POST" and call.path.startswith("/batch/") else None

    routes = [health(token), cloud.route(batch)]
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
