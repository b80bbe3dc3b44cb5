"""Objects of Cloud Storage over a folder: the part of the JSON API that clients move data with.

What belongs here: uploads (media, multipart, resumable), downloads with ranges, listing, copying, composing, custom
metadata, deletion, generations and their preconditions, and the folder that keeps it all. What does not: buckets,
policies and the other services (`sandbox.gcp`), and how requests come and go (`sandbox.google_rest`).

Every generation is a file of its own that is never written again, so that a download under way is not torn by an
upload. Metadata are in SQLite beside the files; both survive the process.
"""

import base64
import hashlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import google_crc32c

from sandbox.google_rest import (
    BLOCK,
    CANCELLED,
    INCOMPLETE,
    NO_CONTENT,
    NOT_MODIFIED,
    PARTIAL,
    Answer,
    Call,
    Json,
    RefusalError,
    Routes,
    now,
)

PAGE = 1000  # entries of one listing, as in the original
NOT_HELD = "At least one of the pre-conditions you specified did not hold."
EDITABLE = (
    "metadata", "contentType", "contentEncoding", "contentDisposition", "contentLanguage", "cacheControl",
    "storageClass", "customTime",
)  # fmt: skip
SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key));
CREATE TABLE IF NOT EXISTS objects (bucket TEXT, name TEXT, body TEXT, file TEXT, PRIMARY KEY (bucket, name));
"""


class Store:
    """The stand-in's state in a folder. One lock guards it: hold `lock` around whatever belongs together."""

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._files = folder.absolute() / "files"
        self._files.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "state.db", check_same_thread=False, isolation_level=None, timeout=60)
        self._db.execute("PRAGMA synchronous = OFF")  # to outlive the process, not a power cut
        self._db.executescript(SCHEMA)
        self._last = 0

    def close(self) -> None:
        """Let go of the database."""
        with self.lock:
            self._db.close()

    # -- documents

    def get(self, kind: str, key: str) -> Json | None:
        """The document, or None."""
        with self.lock:
            row = self._db.execute("SELECT body FROM documents WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, kind: str, key: str, body: Json) -> Json:
        """Keep the document under its key; returns it."""
        with self.lock:
            self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, json.dumps(body)))
        return body

    def drop(self, kind: str, key: str) -> None:
        """Forget the document."""
        with self.lock:
            self._db.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))

    def all(self, kind: str) -> dict[str, Json]:
        """The documents of a kind by key, in order."""
        with self.lock:
            rows = self._db.execute("SELECT key, body FROM documents WHERE kind = ? ORDER BY key", (kind,)).fetchall()
        return {key: json.loads(body) for key, body in rows}

    # -- objects

    def find(self, bucket: str, name: str) -> tuple[Json, Path] | None:
        """An object's resource and the file with its bytes, or None."""
        row = self._db.execute(
            "SELECT body, file FROM objects WHERE bucket = ? AND name = ?", (bucket, name)
        ).fetchone()
        return None if row is None else (json.loads(row[0]), self._files / row[1])

    def keep(self, resource: Json, file: Path) -> None:
        """Let `file`, one of `new_file`, be the object's bytes; those it had are removed."""
        before = self.find(resource["bucket"], resource["name"])
        row = (resource["bucket"], resource["name"], json.dumps(resource), file.name)
        self._db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", row)
        if before and before[1] != file:
            before[1].unlink(missing_ok=True)

    def remove(self, bucket: str, name: str) -> None:
        """Remove an object."""
        if before := self.find(bucket, name):
            self._db.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket, name))
            before[1].unlink(missing_ok=True)

    def names(self, bucket: str, start: str = "") -> Iterator[str]:
        """Names of a bucket's objects from `start` on, in the order of their UTF-8 bytes."""
        rows = self._db.execute(
            "SELECT name FROM objects WHERE bucket = ? AND name >= ? ORDER BY name", (bucket, start)
        )
        return (name for (name,) in rows)

    def new_file(self, name: str | None = None) -> Path:
        """A path for bytes to come; a given name finds the same path again."""
        return self._files / (name or uuid4().hex)

    def new_generation(self) -> int:
        """A number larger than any before."""
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last


class Objects:
    """The object endpoints over a store: `routes`, whose handlers expect its lock to be held."""

    def __init__(self, store: Store) -> None:
        self.store = store
        bucket, name = r"/storage/v1/b/([^/]+)", r"/o/(.+)"
        self.routes: Routes = (
            ("POST", re.compile(rf"{bucket}{name}/(?:rewriteTo|copyTo)/b/([^/]+)/o/(.+)"), self._copy),
            ("POST", re.compile(rf"{bucket}{name}/compose"), self._compose),
            ("GET", re.compile(rf"{bucket}/o/?"), self._list),
            ("GET", re.compile(rf"(?:/download)?{bucket}{name}"), self._get),
            ("DELETE", re.compile(rf"{bucket}{name}"), self._delete),
            ("PATCH", re.compile(rf"{bucket}{name}"), self._patch),
            ("PUT", re.compile(rf"{bucket}{name}"), self._patch),
            ("POST", re.compile(rf"(?:/resumable)?/upload{bucket}/o"), self._upload),
            ("PUT", re.compile(rf"(?:/resumable)?/upload{bucket}/o"), self._chunk),
            ("DELETE", re.compile(rf"(?:/resumable)?/upload{bucket}/o"), self._cancel),
        )

    # -- reading

    def _get(self, call: Call, bucket: str, name: str) -> Answer:
        resource, file = self._existing(bucket, name, call.query.get("generation"))
        check(call.query, resource, reading=True)
        if call.query.get("alt") == "media" or call.path.startswith("/download"):
            return _media(call, resource, file)
        return Answer(resource)

    def _list(self, call: Call, bucket: str) -> Answer:
        self._bucket(bucket)
        query = call.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        limit = min(int(query.get("maxResults") or PAGE), PAGE)
        after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        items: list[Json] = []
        prefixes: list[str] = []
        last = ""
        for name in self.store.names(bucket, max(prefix, after, query.get("startOffset", ""))):
            if not name.startswith(prefix) or ("endOffset" in query and name >= query["endOffset"]):
                break
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            folder = f"{prefix}{head}{found}" if found else None
            if (folder or name) in (after, last):  # listed already
                continue
            if len(items) + len(prefixes) == limit:
                break
            last = folder or name
            if folder:
                prefixes.append(folder)
            else:
                items.append(self._existing(bucket, name)[0])
        else:
            last = ""
        listing: Json = {"kind": "storage#objects", "items": items, "prefixes": prefixes}
        if last and len(items) + len(prefixes) == limit:
            listing["nextPageToken"] = base64.urlsafe_b64encode(last.encode()).decode()
        return Answer(listing)

    # -- changing

    def _delete(self, call: Call, bucket: str, name: str) -> Answer:
        resource, _ = self._existing(bucket, name, call.query.get("generation"))
        check(call.query, resource)
        self.store.remove(bucket, name)
        return Answer(status=NO_CONTENT)

    def _patch(self, call: Call, bucket: str, name: str) -> Answer:
        resource, file = self._existing(bucket, name, call.query.get("generation"))
        check(call.query, resource)
        kept = resource if call.method == "PATCH" else {k: v for k, v in resource.items() if k not in EDITABLE[:-2]}
        wanted = {key: value for key, value in call.json().items() if key in EDITABLE}
        number = str(int(resource["metageneration"]) + 1)
        changed = {**merge_patch(kept, wanted), "metageneration": number, "updated": now()}
        changed["etag"] = _etag(changed)
        self.store.keep(changed, file)
        return Answer(changed)

    def _copy(self, call: Call, bucket: str, name: str, to_bucket: str, to_name: str) -> Answer:
        resource, source = self._existing(bucket, name, call.query.get("sourceGeneration"))
        check(call.query, resource, prefix="ifSource")
        given = call.json()
        file = self.store.new_file()
        with source.open("rb") as original, file.open("wb") as copy:
            while block := original.read(BLOCK):
                copy.write(block)
        about = {key: resource[key] for key in EDITABLE if key in resource}
        copied = self._finish(call, to_bucket, {**about, **given, "name": to_name}, file)
        if "/copyTo/" in call.path:
            return Answer(copied)
        done = {"totalBytesRewritten": copied["size"], "objectSize": copied["size"], "done": True, "resource": copied}
        return Answer({"kind": "storage#rewriteResponse", **done})

    def _compose(self, call: Call, bucket: str, name: str) -> Answer:
        given = call.json()
        file = self.store.new_file()
        count = 0
        with file.open("wb") as whole:
            for part in given["sourceObjects"]:
                resource, source = self._existing(bucket, part["name"], part.get("generation"))
                check({k: str(v) for k, v in part.get("objectPreconditions", {}).items()}, resource)
                whole.write(source.read_bytes())
                count += int(resource.get("componentCount", 1))
        about = {**given.get("destination", {}), "name": name, "componentCount": count}
        return Answer(self._finish(call, bucket, about, file))

    # -- uploading

    def _upload(self, call: Call, bucket: str) -> Answer:
        kind = call.query.get("uploadType")
        if "upload_id" in call.query:  # gcsfs sends its chunks by POST
            return self._chunk(call, bucket)
        if kind == "resumable":
            return self._start(call, bucket)
        about: Json = {}
        data = call.body
        if kind == "multipart":
            about, data = _two_parts(call)
        about.setdefault("name", call.query.get("name"))
        if kind == "media":
            about["contentType"] = call.headers.get("content-type", "application/octet-stream")
        file = self.store.new_file()
        file.write_bytes(data)
        return Answer(self._finish(call, bucket, about, file))

    def _start(self, call: Call, bucket: str) -> Answer:
        self._bucket(bucket)
        about = {"name": call.query.get("name"), **call.json()}
        about.setdefault("contentType", call.headers.get("x-upload-content-type", "application/octet-stream"))
        found = self.store.find(bucket, _name(about))
        check(call.query, found[0] if found else None)
        upload = uuid4().hex
        self.store.put("upload", upload, {"bucket": bucket, "about": about, "query": dict(call.query)})
        self.store.new_file(upload).touch()
        location = f"{call.base}/upload/storage/v1/b/{quote(bucket)}/o?uploadType=resumable&upload_id={upload}"
        return Answer({}, headers={"Location": location, "X-GUploader-UploadID": upload})

    def _chunk(self, call: Call, bucket: str) -> Answer:
        upload = call.query.get("upload_id", "")
        session = self.store.get("upload", upload)
        if session is None or session["bucket"] != bucket:
            raise RefusalError(404, "Not Found: no such upload", "notFound")
        if "done" in session:  # the client has not seen the answer to its last chunk
            return Answer(session["done"])
        file = self.store.new_file(upload)
        have = file.stat().st_size
        wanted = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", call.headers.get("content-range", ""))
        first = int(wanted[1]) if wanted and wanted[1] else have if wanted else 0
        total = int(wanted[3]) if wanted and wanted[3] != "*" else None if wanted else len(call.body)
        if first > have:
            raise RefusalError(503, f"chunk starts at {first}, {have} bytes are here", "backendError")
        with file.open("r+b") as partial:
            partial.seek(first)
            partial.write(call.body)
        have = max(have, first + len(call.body))
        if total is None or have < total:
            return Answer(status=INCOMPLETE, headers={"Range": f"bytes=0-{have - 1}"} if have else {})
        final = self.store.new_file()
        file.rename(final)
        done = self._finish(Call("POST", call.path, session["query"]), bucket, session["about"], final)
        self.store.put("upload", upload, {**session, "done": done})
        return Answer(done)

    def _cancel(self, call: Call, bucket: str) -> Answer:  # noqa: ARG002 - as its route has it
        upload = call.query.get("upload_id", "")
        if self.store.get("upload", upload) is None:
            raise RefusalError(404, "Not Found: no such upload", "notFound")
        self.store.drop("upload", upload)
        self.store.new_file(upload).unlink(missing_ok=True)
        return Answer(status=CANCELLED)

    def _finish(self, call: Call, bucket: str, about: Json, file: Path) -> Json:
        """Let `file` become the object that `about` names, if the request's preconditions hold; else remove it."""
        try:
            self._bucket(bucket)
            found = self.store.find(bucket, _name(about))
            check(call.query, found[0] if found else None)
            resource = self._resource(bucket, about, file)
        except RefusalError:
            file.unlink(missing_ok=True)
            raise
        self.store.keep(resource, file)
        return resource

    def _resource(self, bucket: str, about: Json, file: Path) -> Json:
        """An object's resource, without its links: they would hold a port that the next process may not have."""
        name, generation, time_ = about["name"], str(self.store.new_generation()), now()
        sums = _checksums(file)
        for key, value in sums.items():
            if about.get(key) not in {None, value}:
                raise RefusalError(400, f"Provided {key} {about[key]!r} doesn't match calculated {value!r}.", "invalid")
        if "componentCount" in about:
            del sums["md5Hash"]  # composed objects have none
        resource = {
            **{key: about[key] for key in (*EDITABLE, "componentCount") if key in about},
            **sums,
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "name": name,
            "bucket": bucket,
            "generation": generation,
            "metageneration": "1",
            "size": str(file.stat().st_size),
            "timeCreated": time_,
            "updated": time_,
        }
        resource.setdefault("storageClass", "STANDARD")
        return {**resource, "etag": _etag(resource)}

    # -- looking up

    def _bucket(self, bucket: str) -> None:
        if self.store.get("bucket", bucket) is None:
            raise RefusalError(404, "The specified bucket does not exist.", "notFound")

    def _existing(self, bucket: str, name: str, generation: str | int | None = None) -> tuple[Json, Path]:
        self._bucket(bucket)
        found = self.store.find(bucket, name)
        if found is None or (generation and str(generation) != found[0]["generation"]):
            raise RefusalError(404, f"No such object: {bucket}/{name}", "notFound")
        return found


def check(query: Mapping[str, str], resource: Json | None, *, prefix: str = "if", reading: bool = False) -> None:
    """Hold a request's preconditions against what is there; an object that is not there has the generation 0.

    Raises:
        RefusalError: one does not hold.
    """
    for what in ("generation", "metageneration"):
        actual = str(resource[what]) if resource and what in resource else "0"
        name = f"{prefix}{what.capitalize()}"
        wanted, unwanted = query.get(f"{name}Match"), query.get(f"{name}NotMatch")
        if wanted is not None and wanted != actual:
            raise RefusalError(412, NOT_HELD, "conditionNotMet")
        if unwanted is not None and unwanted == actual:
            status = NOT_MODIFIED if reading else 412
            raise RefusalError(
                status, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet"
            )


def merge_patch(before: Any, patch: Any) -> Any:
    """`before` after a JSON merge patch (RFC 7396): null removes a key."""
    if not isinstance(patch, dict):
        return patch
    after = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = merge_patch(after.get(key), value)
    return after


def _name(about: Json) -> str:
    if not (name := about.get("name")):
        raise RefusalError(400, "Required", "required")
    return str(name)


def _media(call: Call, resource: Json, file: Path) -> Answer:
    size = int(resource["size"])
    headers = {
        "Content-Type": resource.get("contentType") or "application/octet-stream",
        "ETag": resource["etag"],
        "Accept-Ranges": "bytes",
        "X-Goog-Generation": resource["generation"],
        "X-Goog-Metageneration": resource["metageneration"],
        "X-Goog-Stored-Content-Length": str(size),
        "X-Goog-Hash": ",".join(
            f"{short}={resource[key]}" for short, key in (("crc32c", "crc32c"), ("md5", "md5Hash")) if key in resource
        ),
    }
    if encoding := resource.get("contentEncoding"):
        headers["Content-Encoding"] = encoding
    first, last, status = 0, size - 1, 200
    if wanted := call.byte_range(size):
        first, last = wanted
        headers["Content-Range"], status = f"bytes {first}-{last}/{size}", PARTIAL
    opened = file.open("rb")
    opened.seek(first)
    return Answer(status=status, headers=headers, file=opened, length=last - first + 1)


def _two_parts(call: Call) -> tuple[Json, bytes]:
    """Metadata and bytes of a multipart upload; clients end lines with CRLF or, gcsfs, with LF alone."""
    boundary = re.search(r'boundary="?([^";]+)', call.headers.get("content-type", ""))
    if not boundary:
        raise RefusalError(400, "Missing multipart boundary", "badContent")
    mark = re.escape(b"--" + boundary[1].encode())
    part = rb"[^\n]*\r?\n(.*?)\r?\n\r?\n"
    found = re.match(rb"\s*" + mark + part + rb"(.*?)\r?\n" + mark + part, call.body, re.DOTALL)
    end = call.body.rfind(b"\n--" + boundary[1].encode() + b"--")
    if not found or end < found.end() - 1:
        raise RefusalError(400, "Malformed multipart body", "badContent")
    data = call.body[found.end() : end]
    crlf = b"\r\n" in found[0]
    about: Json = json.loads(found[2])
    kind = re.search(rb"(?im)^content-type:[ \t]*([^\r\n]+)", found[3])
    about.setdefault("contentType", kind[1].decode() if kind else "application/octet-stream")
    return about, data.removesuffix(b"\r") if crlf else data


def _checksums(file: Path) -> dict[str, str]:
    md5, crc = hashlib.md5(usedforsecurity=False), google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with file.open("rb") as opened:
        while block := opened.read(BLOCK):
            md5.update(block)
            crc.update(block)  # type: ignore[no-untyped-call]
    crc_digest: bytes = crc.digest()  # type: ignore[no-untyped-call]
    return {"md5Hash": base64.b64encode(md5.digest()).decode(), "crc32c": base64.b64encode(crc_digest).decode()}


def _etag(resource: Json) -> str:
    return base64.b64encode(f"{resource['generation']}/{resource['metageneration']}".encode()).decode()
