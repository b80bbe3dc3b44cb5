"""Google Drive on loopback: the part of its API (v3) that reading a folder, and moving files in it, takes.

What belongs here: files in memory, searching and paging them, partial answers (`fields`), downloads with ranges,
exports, moves, folders, who may do what, and access tokens for signed assertions of a key that is made here. What does
not: requests, errors and faults (`sandbox.google_rest`), the server's socket (`sandbox.serving`), and what files hold.

It is strict where the original is: a field that was not asked for is not answered, a field or a term of a search that
does not exist is refused, what lies in a shared drive is not there for who does not ask for it, a file has one parent.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.types import ASGIApp

from sandbox.google_rest import PARTIAL, Answer, Call, Json, RefusalError, Service, now, write_key
from sandbox.serving import InThread, health

ACCOUNT = "reader@lakegraph-sandbox.iam.gserviceaccount.com"
FOLDER = "application/vnd.google-apps.folder"
SHEET = "application/vnd.google-apps.spreadsheet"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
NATIVE = "application/vnd.google-apps."
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = "https://oauth2.googleapis.com/token"  # of what google-auth signs, wherever it is sent
SCOPES = {
    f"https://www.googleapis.com/auth/drive{part}": part != ".readonly" for part in ("", ".readonly")
}  # may write
LARGEST_EXPORT = 10_000_000
DEFAULT_PAGE, LARGEST_PAGE = 100, 1000
DEFAULT_FIELDS = "kind,id,name,mimeType"
KNOWN = frozenset(
    {"kind", "id", "name", "mimeType", "size", "modifiedTime", "createdTime", "md5Checksum", "parents", "trashed"}
    | {"version", "driveId", "shortcutDetails"}
)
ORDERS = ("name", "modifiedTime", "createdTime", "folder")
TERM = re.compile(
    r"""\s*(?:'(?P<parent>(?:[^'\\]|\\.)*)'\s+in\s+parents|trashed\s*=\s*(?P<trashed>true|false)"""
    r"""|(?P<key>name|mimeType)\s*(?P<sign>=|!=)\s*'(?P<value>(?:[^'\\]|\\.)*)')\s*(?:and\b|$)"""
)


@dataclass
class Item:
    """A file or folder; `parent` is None for a root."""

    id: str
    name: str
    mime: str
    parent: str | None
    data: bytes
    modified: str
    drive: str | None = None
    created: str = field(default_factory=now)
    version: int = 1
    trashed: bool = False

    def resource(self) -> Json:
        """As the API shows it; what it does not have is left out."""
        shown: Json = {
            "kind": "drive#file",
            "id": self.id,
            "name": self.name,
            "mimeType": self.mime,
            "modifiedTime": self.modified,
            "createdTime": self.created,
            "trashed": self.trashed,
            "version": str(self.version),
        }
        if self.parent:
            shown["parents"] = [self.parent]
        if self.drive:
            shown["driveId"] = self.drive
        if not self.mime.startswith(NATIVE):
            shown["md5Checksum"] = hashlib.md5(self.data, usedforsecurity=False).hexdigest()
        if self.mime not in {FOLDER, f"{NATIVE}shortcut"}:
            shown["size"] = str(len(self.data))
        return shown


class Drive(Service):
    """The files and who may read them, without HTTP; safe to use from several threads.

    Attributes:
        role: what the account may do with everything here: `reader`, `writer`, or None: nothing is shared with it.
        largest_page: how many files a page has at most.
        token_seconds: how long a new access token is said to be good for.
        searches: the query of each listing, oldest first.
        issued: every access token that was given out, oldest first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.forget()
        files = "/drive/v3/files"
        self._routes = (
            ("POST", re.compile("/token"), self._token),
            ("GET", re.compile(files), self._reading(self._list)),
            ("POST", re.compile(files), self._writing(self._create)),
            ("GET", re.compile(rf"{files}/([^/]+)"), self._reading(self._get)),
            ("PATCH", re.compile(rf"{files}/([^/]+)"), self._writing(self._update)),
            ("GET", re.compile(rf"{files}/([^/]+)/export"), self._reading(self._export)),
        )

    # -- what tests and samples do

    def forget(self) -> None:
        """Be as one that has just started: no files, no faults, nobody trusted."""
        super().forget()
        self.items: dict[str, Item] = {}
        self.role: str | None = "writer"
        self.largest_page = LARGEST_PAGE
        self.token_seconds = 3600
        self.searches: list[Mapping[str, str]] = []
        self.issued: list[str] = []
        self._writes: dict[str, bool] = {}  # token: may it write
        self._public_keys: list[bytes] = []
        self._cuts = 0

    def add(
        self,
        name: str,
        data: bytes = b"",
        *,
        parent: str | None = None,
        mime: str = XLSX,
        modified: str | None = None,
        drive: str | None = None,
    ) -> str:
        """Put a file there, beside others of its name; returns its id."""
        identity = secrets.token_urlsafe(24)
        with self.lock:
            drive = drive or (self.items[parent].drive if parent else None)
            self.items[identity] = Item(identity, name, mime, parent, data, modified or now(), drive)
        return identity

    def add_folder(self, name: str = "drop", parent: str | None = None, drive: str | None = None) -> str:
        """Make a folder; returns its id."""
        return self.add(name, parent=parent, mime=FOLDER, drive=drive)

    def replace(self, identity: str, data: bytes) -> None:
        """Upload another content of a file."""
        with self.lock:
            item = self.items[identity]
            item.data, item.modified, item.version = data, now(), item.version + 1

    def trash(self, identity: str) -> None:
        """Put a file into the bin."""
        with self.lock:
            self.items[identity].trashed = True

    def cut(self, times: int = 1) -> None:
        """Let the connection break in the middle of the next `times` downloads."""
        with self.lock:
            self._cuts += times

    def expire_tokens(self) -> None:
        """Let no access token that was given out be good any more, whatever was said."""
        with self.lock:
            self._writes.clear()

    def trust(self, key: Path) -> None:
        """Give tokens to who signs with the private key in the file `key`."""
        from cryptography.hazmat.primitives import serialization

        private = serialization.load_pem_private_key(json.loads(key.read_text())["private_key"].encode(), None)
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        with self.lock:
            self._public_keys.append(private.public_key().public_bytes(encoding, form))

    # -- who asks

    def _token(self, call: Call) -> Answer:
        form = {name: values[0] for name, values in parse_qs(call.body.decode()).items()}
        if form.get("grant_type") != GRANT:
            return Answer({"error": "unsupported_grant_type", "error_description": "Invalid grant_type"}, 400)
        claims = self._claims(form.get("assertion", ""))
        if claims is None or claims.get("iss") != ACCOUNT:
            return Answer({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        asked = str(claims.get("scope", "")).split()
        if not asked or not set(asked) <= set(SCOPES):
            return Answer({"error": "invalid_scope", "error_description": "Invalid OAuth scope."}, 400)
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self.issued.append(token)
        self._writes[token] = any(SCOPES[scope] for scope in asked)
        return Answer({"access_token": token, "expires_in": self.token_seconds, "token_type": "Bearer"})

    def _claims(self, assertion: str) -> Mapping[str, Any] | None:
        """What is claimed, if a key that is trusted has signed it, for here and now."""
        from google.auth import exceptions, jwt

        for public in self._public_keys:
            try:
                claims: Mapping[str, Any] = jwt.decode(assertion, certs=public, audience=AUDIENCE)  # type: ignore[no-untyped-call]
            except (ValueError, exceptions.GoogleAuthError):
                continue
            return claims if claims["exp"] > time.time() else None
        return None

    def _reading(self, handler: Callable[..., Answer]) -> Callable[..., Answer]:
        def checked(call: Call, *parts: str) -> Answer:
            self._authorized(call)
            return handler(call, *parts)

        return checked

    def _writing(self, handler: Callable[..., Answer]) -> Callable[..., Answer]:
        def checked(call: Call, *parts: str) -> Answer:
            if not self._authorized(call):
                message = "Request had insufficient authentication scopes."
                raise RefusalError(403, f"Insufficient Permission: {message}", "insufficientPermissions")
            return handler(call, *parts)

        return checked

    def _authorized(self, call: Call) -> bool:
        """Whether the caller's token allows writing."""
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._writes:
            headers = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'}
            raise RefusalError(401, "Invalid Credentials", "authError", headers)
        return self._writes[token]

    def _existing(self, call: Call, identity: str) -> Item:
        item = self.items.get(identity)
        if item is None or self.role is None or (item.drive and call.query.get("supportsAllDrives") != "true"):
            raise RefusalError(404, f"File not found: {identity}.", "notFound")
        return item

    def _may_write(self, item: Item) -> None:
        if self.role != "writer":
            message = f"The user does not have sufficient permissions for file {item.id}."
            raise RefusalError(403, message, "insufficientFilePermissions")

    # -- reading

    def _list(self, call: Call) -> Answer:
        self.searches.append(call.query)
        terms = list(_terms(call.query.get("q", "")))
        for term in terms:
            if "parent" in term:
                self._existing(call, term["parent"])
        shared = call.query.get("supportsAllDrives") == call.query.get("includeItemsFromAllDrives") == "true"
        found = [i for i in self.items.values() if i.parent and (shared or not i.drive) and _fits(i, terms)]
        for order in reversed([part for part in call.query.get("orderBy", "").split(",") if part]):
            found = _ordered(found, order)
        size = min(_page_size(call), self.largest_page)
        mark = hashlib.sha256(call.query.get("q", "").encode()).hexdigest()[:8]
        start = _page_start(call, mark)
        listing: Json = {"kind": "drive#fileList", "incompleteSearch": False}
        listing["files"] = [item.resource() for item in found[start : start + size]]
        if start + size < len(found):
            listing["nextPageToken"] = base64.urlsafe_b64encode(f"{mark}:{start + size}".encode()).decode()
        fields = call.query.get("fields", f"kind,incompleteSearch,nextPageToken,files({DEFAULT_FIELDS})")
        return Answer(_selected(listing, _fields(fields), {"kind", "incompleteSearch", "nextPageToken", "files"}))

    def _get(self, call: Call, identity: str) -> Answer:
        item = self._existing(call, identity)
        if call.query.get("alt") != "media":
            return Answer(_selected(item.resource(), _fields(call.query.get("fields", DEFAULT_FIELDS)), KNOWN))
        if item.mime.startswith(NATIVE):
            message = "Only files with binary content can be downloaded. Use Export with Docs Editors files."
            raise RefusalError(403, message, "fileNotDownloadable")
        size, headers, status = len(item.data), {"Content-Type": item.mime}, 200
        first, last = 0, size - 1
        if wanted := call.byte_range(size):
            first, last = wanted
            headers["Content-Range"], status = f"bytes {first}-{last}/{size}", PARTIAL
        return self._sent(item.data[first : last + 1], headers, status)

    def _export(self, call: Call, identity: str) -> Answer:
        item = self._existing(call, identity)
        if item.mime != SHEET:
            raise RefusalError(403, "Export only supports Docs Editors files.", "fileNotExportable")
        if call.query.get("mimeType") != XLSX:
            raise RefusalError(400, "The requested conversion is not supported.", "badRequest")
        if len(item.data) > LARGEST_EXPORT:
            raise RefusalError(403, "This file is too large to be exported.", "exportSizeLimitExceeded")
        return self._sent(item.data, {"Content-Type": XLSX}, 200)

    def _sent(self, data: bytes, headers: Mapping[str, str], status: int) -> Answer:
        is_cut = self._cuts > 0 and len(data) > 1
        self._cuts -= is_cut
        kept = data[: len(data) // 2] if is_cut else data
        return Answer(status=status, headers=headers, file=BytesIO(kept), length=len(data), is_cut=is_cut)

    # -- changing

    def _create(self, call: Call) -> Answer:
        wanted = call.json()
        parents = wanted.get("parents") or []
        if len(parents) != 1 or wanted.get("mimeType") != FOLDER:
            raise RefusalError(400, "the sandbox makes folders in one parent alone", "badRequest")
        self._may_write(self._existing(call, parents[0]))
        made = self.items[self.add_folder(str(wanted["name"]), parents[0])]
        return Answer(_selected(made.resource(), _fields(call.query.get("fields", DEFAULT_FIELDS)), KNOWN))

    def _update(self, call: Call, identity: str) -> Answer:
        item = self._existing(call, identity)
        self._may_write(item)
        if call.json():
            raise RefusalError(400, "the sandbox moves files alone", "badRequest")
        added, removed = call.query.get("addParents"), call.query.get("removeParents")
        if added and added != item.parent:
            self._may_write(self._existing(call, added))
            if removed != item.parent:
                message = "Increasing the number of parents is not allowed"
                raise RefusalError(403, message, "cannotAddParent")
            item.parent = added
            item.version += 1  # the time of the last change is that of the content
        return Answer(_selected(item.resource(), _fields(call.query.get("fields", DEFAULT_FIELDS)), KNOWN))


# -- searches, pages, fields --------------------------------------------------------------------------------------


def _invalid(location: str) -> RefusalError:
    return RefusalError(400, f"Invalid Value: {location}", "invalid")


def _terms(query: str) -> Iterator[dict[str, str]]:
    at = 0
    while at < len(query):
        found = TERM.match(query, at)
        if not found:
            raise _invalid("q")
        at = found.end()
        yield {name: re.sub(r"\\(.)", r"\1", value) for name, value in found.groupdict().items() if value is not None}


def _fits(item: Item, terms: list[dict[str, str]]) -> bool:
    def fits(term: dict[str, str]) -> bool:
        if "parent" in term:
            return item.parent == term["parent"]
        if "trashed" in term:
            return item.trashed == (term["trashed"] == "true")
        actual = item.name if term["key"] == "name" else item.mime
        return (actual == term["value"]) == (term["sign"] == "=")

    return all(fits(term) for term in terms)


def _ordered(items: list[Item], order: str) -> list[Item]:
    key, _, direction = order.strip().partition(" ")
    if key not in ORDERS or direction not in {"", "desc"}:
        raise _invalid("orderBy")
    keys: dict[str, Callable[[Item], Any]] = {
        "name": lambda item: item.name,
        "modifiedTime": lambda item: item.modified,
        "createdTime": lambda item: item.created,
        "folder": lambda item: item.mime != FOLDER,
    }
    return sorted(items, key=keys[key], reverse=direction == "desc")


def _page_size(call: Call) -> int:
    size = call.query.get("pageSize", str(DEFAULT_PAGE))
    if not size.isdigit() or not 1 <= int(size) <= LARGEST_PAGE:
        raise _invalid("pageSize")
    return int(size)


def _page_start(call: Call, mark: str) -> int:
    """Where the page begins; a token is good for the search that it was given for."""
    token = call.query.get("pageToken")
    if token is None:
        return 0
    try:
        given, _, start = base64.urlsafe_b64decode(token).decode().partition(":")
        if given == mark:
            return int(start)
    except ValueError:
        pass
    raise _invalid("pageToken")


def _fields(text: str) -> dict[str, Any]:
    """`a,b(c,d)` as `{"a": {}, "b": {"c": {}, "d": {}}}`."""
    root: dict[str, Any] = {}
    stack, last = [root], root
    for part in re.findall(r"[A-Za-z0-9]+|[(),]|.", text):
        if part == "(":
            stack.append(last)
        elif part == ")":
            stack.pop()
        elif part.isalnum():
            last = stack[-1].setdefault(part, {})
        elif part != ",":
            raise _invalid("fields")
    return root


def _selected(resource: Json, fields: dict[str, Any], known: set[str] | frozenset[str]) -> Json:
    if unknown := set(fields) - known:
        raise RefusalError(400, f"Invalid field selection {min(unknown)}", "invalidParameter")
    chosen = {name: resource[name] for name in fields if name in resource}
    if "files" in chosen:
        chosen["files"] = [_selected(file, fields["files"], KNOWN) for file in chosen["files"]]
    return chosen


# -- the server ---------------------------------------------------------------------------------------------------


def application(drive: Drive, *, token: str = "") -> ASGIApp:
    """The server as an ASGI application: the API, `/token`, and `/health`, which answers with `token`."""
    return Starlette(routes=[health(token), drive.route()])


class DriveStandIn(Drive, InThread):
    """The server in a thread of this process, for tests and samples.

    Attributes:
        url: what `LAKEGRAPH_DRIVE_ENDPOINT` is set to.
    """

    def __init__(self) -> None:
        Drive.__init__(self)
        InThread.__init__(self, application(self))

    def write_key(self, path: Path) -> Path:
        """Write a key for `LAKEGRAPH_DRIVE_KEY`, that of `ACCOUNT`; returns `path`."""
        write_key(path, self.url, account=ACCOUNT)
        self.trust(path)
        return path
