"""A folder of Google Drive, by the official client and as a service account.

What belongs here: listing, downloading, exporting and moving files of one folder, and what each answer of Drive's
means. What does not: what any folder can do (`dlt_sources.dropfolder`), and what files mean.

A native Google Sheet counts as a workbook: it is exported, and named, as `.xlsx`. Its content has no checksum; the time
of its last change stands for one. Exports of one content may differ in their bytes. Folders and shortcuts are no files:
of a shortcut only the target could be read, and only the shortcut moved. Two files of one folder may have the same
name; ids tell them apart, so a file moved aside keeps its name.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt_sources.dropfolder import (
    ASIDE,
    DroppedFile,
    Sink,
    check_size,
    in_order,
    is_file_name,
    place_of,
    receive,
    replaced,
)
from dlt_sources.files import BUSY, DENIED, SERVER_ERROR, Fetched, MissingError
from dlt_sources.retries import retried
from lake.errors import LakeError, TransientError
from lake.settings import Settings

if TYPE_CHECKING:
    from googleapiclient.errors import HttpError

SCOPE = "https://www.googleapis.com/auth/drive"  # reading alone would take drive.readonly; moving aside takes this
ADDRESS = re.compile(r"gdrive://([A-Za-z0-9_-]+)/?")
FOLDER = "application/vnd.google-apps.folder"
SHEET = "application/vnd.google-apps.spreadsheet"
NO_FILES = frozenset({FOLDER, "application/vnd.google-apps.shortcut"})
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FIELDS = "id,name,mimeType,size,modifiedTime,md5Checksum"
ANY_DRIVE = {"supportsAllDrives": True}  # else what lies in a shared drive is not there
PAGE = 1000  # the most that Drive gives
BLOCK = 1 << 23
NOT_FOUND = 404
TOO_FAST = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
NOT_SHARED = frozenset(
    {"forbidden", "insufficientPermissions", "insufficientFilePermissions", "insufficientParentPermissions"}
)

Json = Mapping[str, Any]


def open_drive(url: str, settings: Settings) -> "DriveFolder":
    """The folder of Drive at `gdrive://FOLDER_ID`. Nothing is asked yet.

    Raises:
        LakeError: that is not what `url` is.
    """
    found = ADDRESS.fullmatch(url)
    if not found:
        raise LakeError(
            "gdrive://: not a folder of Google Drive; gdrive://FOLDER_ID is, with the last part of the folder's "
            "address in the browser"
        )
    return DriveFolder(
        found[1], settings.drive_key, settings.drive_endpoint, settings.http_timeout_seconds, settings.http_attempts
    )


@dataclass(frozen=True)
class DriveFolder:
    """A folder of My Drive or of a shared drive. For one thread at a time, as the client is.

    Attributes:
        folder: its id.
        key: file of the service account's key; None: application default credentials.
        endpoint: URL of a stand-in; None: the real Drive.
        timeout_seconds: how long an answer may stall.
        attempts: of one request.
    """

    folder: str
    key: Path | None
    endpoint: str | None
    timeout_seconds: float
    attempts: int

    @property
    def url(self) -> str:
        """See `DropFolder`."""
        return f"gdrive://{self.folder}"

    def listing(self) -> list[DroppedFile]:
        """See `DropFolder`."""
        try:
            found = self._ask(self.url, "get", fileId=self.folder, fields="mimeType,trashed")
        except MissingError:
            raise LakeError(f"{self.url}: no such folder, or it is not shared with {self._account}") from None
        if found.get("mimeType") != FOLDER or found.get("trashed"):
            raise LakeError(f"{self.url}: {'is in the bin' if found.get('trashed') else 'is not a folder'}")
        held = self._children(self.folder)
        files = {entry["id"]: _dropped(entry, is_aside=False) for entry in held}
        for subfolder in (entry["id"] for entry in held if entry["mimeType"] == FOLDER and entry["name"] == ASIDE):
            files |= {entry["id"]: _dropped(entry, is_aside=True) for entry in self._children(subfolder)}
        return in_order(file for file in files.values() if file)

    def fetch(self, file: DroppedFile, target: Path, max_bytes: int) -> Fetched:
        """See `DropFolder`. Google exports no Sheet that would have more than 10 MB."""
        place = place_of(self, file)
        check_size(place, file.bytes, max_bytes)
        found = self._current(file, place)
        if _digest(found) != file.digest:
            raise replaced(place)

        def attempt() -> Fetched:
            return receive(place, target, max_bytes, fill)

        def fill(sink: Sink) -> None:
            with self._errors(place):
                if found["mimeType"] == SHEET:
                    request = self._files.export_media(fileId=file.id, mimeType=XLSX)
                else:
                    request = self._files.get_media(fileId=file.id, **ANY_DRIVE)
                _download(request, sink)
                received.append(sink.md5.hexdigest())

        received: list[str] = []
        fetched = retried(self.attempts, attempt)
        if found.get("md5Checksum", received[-1]) != received[-1]:
            target.unlink(missing_ok=True)
            raise replaced(place)
        return fetched

    def put_aside(self, file: DroppedFile) -> bool:
        """See `DropFolder`."""
        if file.is_aside:
            return False
        place = place_of(self, file)
        found = self._current(file, place)
        if self.folder not in (parents := found.get("parents", [])):
            if any(folder["id"] in parents for folder in self._asides()):
                return False
            raise MissingError(f"{place}: is gone since it was listed: it was moved to another folder")
        if _digest(found) != file.digest:
            raise replaced(place)
        aside = next(iter(self._asides()), None) or self._make_aside(place)
        move = {"addParents": aside["id"], "removeParents": self.folder}
        self._ask(place, "update", fileId=file.id, body={}, fields="id", **move)
        return True

    def _children(self, folder: str, *terms: str, **options: str) -> list[Json]:
        """What lies in `folder`, over all pages."""
        wanted = {
            "q": " and ".join([f"{_quoted(folder)} in parents", "trashed = false", *terms]),
            "pageSize": PAGE,
            "fields": f"nextPageToken,files({FIELDS})",
            "includeItemsFromAllDrives": True,
            **options,
        }
        page = self._ask(self.url, "list", **wanted)
        entries: list[Json] = list(page.get("files", []))
        while token := page.get("nextPageToken"):
            page = self._ask(self.url, "list", **wanted, pageToken=token)
            entries += page.get("files", [])
        return entries

    def _current(self, file: DroppedFile, place: str) -> Json:
        """The file as it is now.

        Raises:
            MissingError: it was removed, or is not shared any more.
        """
        try:
            found = self._ask(place, "get", fileId=file.id, fields=f"{FIELDS},parents,trashed")
        except MissingError:
            found = {"trashed": True}
        if found.get("trashed"):
            raise MissingError(f"{place}: is gone since it was listed, or is no longer shared with {self._account}")
        return found

    def _asides(self) -> list[Json]:
        """The subfolders `aside`, the oldest first: nothing keeps two from being made at once."""
        terms = (f"name = {_quoted(ASIDE)}", f"mimeType = {_quoted(FOLDER)}")
        return self._children(self.folder, *terms, orderBy="createdTime")

    def _make_aside(self, place: str) -> Json:
        body = {"name": ASIDE, "mimeType": FOLDER, "parents": [self.folder]}
        return self._ask(place, "create", body=body, fields="id")

    # -- the client and its errors

    def _ask(self, place: str, method: str, **parameters: Any) -> Json:
        """The answer to a request to the resource `files`, tried again if that may help."""

        def attempt() -> Json:
            with self._errors(place, moving=method in {"create", "update"}):
                answer = getattr(self._files, method)(**parameters, **ANY_DRIVE).execute()
                if not isinstance(answer, dict):  # the client passes on what is no JSON
                    raise _something_else(place)
                return answer

        return retried(self.attempts, attempt)

    @cached_property
    def _files(self) -> Any:
        """The resource `files`. Its description comes with the client: none is downloaded."""
        import httplib2
        from google_auth_httplib2 import AuthorizedHttp
        from googleapiclient.discovery import build

        http = AuthorizedHttp(_Tokens(self._credentials), http=httplib2.Http(timeout=self.timeout_seconds))
        options = {"api_endpoint": f"{self.endpoint}/drive/v3/"} if self.endpoint else {}
        drive = build("drive", "v3", http=http, static_discovery=True, cache_discovery=False, client_options=options)
        return drive.files()

    @cached_property
    def _credentials(self) -> Any:
        import google.auth
        from google.auth.credentials import with_scopes_if_required
        from google.auth.exceptions import DefaultCredentialsError
        from google.oauth2.service_account import Credentials

        if self.key is None:
            try:
                found, _ = google.auth.default()
            except DefaultCredentialsError:
                raise LakeError(
                    f"{self.url}: no usable credentials; set LAKEGRAPH_DRIVE_KEY to the key file of a service account, "
                    "or GOOGLE_APPLICATION_CREDENTIALS"
                ) from None
            return with_scopes_if_required(found, [SCOPE])  # type: ignore[no-untyped-call]
        try:
            return Credentials.from_service_account_file(str(self.key), scopes=[SCOPE])  # type: ignore[no-untyped-call]
        except OSError as error:
            raise LakeError(f"{self.url}: LAKEGRAPH_DRIVE_KEY: {self.key}: {error.strerror}") from None
        except (ValueError, TypeError, AttributeError, KeyError):  # whose texts may hold parts of the file
            raise LakeError(f"{self.url}: LAKEGRAPH_DRIVE_KEY: {self.key}: is no key of a service account") from None

    @property
    def _account(self) -> str:
        """Whom a folder has to be shared with."""
        address = getattr(self._credentials, "service_account_email", None) or ""
        return address if "@" in address else "the account of the credentials"

    @contextmanager
    def _errors(self, place: str, *, moving: bool = False) -> Iterator[None]:
        """The client's errors as ours: what may pass by itself is transient. None repeats what was sent."""
        from http.client import HTTPException

        from google.auth.exceptions import GoogleAuthError
        from googleapiclient.errors import Error, HttpError
        from httplib2 import HttpLib2Error

        after = f" after {self.attempts} attempts"
        try:
            yield
        except LakeError:
            raise
        except HttpError as error:
            raise self._judged(error, place, after, moving=moving) from None
        except GoogleAuthError as error:
            if error.retryable:
                raise TransientError(f"{place}: no access token{after}: {type(error).__name__}") from None
            answered = len(error.args) > 1 and isinstance(error.args[1], dict)  # by an OAuth server, with its words
            said = " ".join(str(error.args[0]).split()) if answered else type(error).__name__
            raise LakeError(f"{place}: the credentials of {self._account} were refused: {said}") from None
        except (HttpLib2Error, HTTPException, OSError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise TransientError(f"{place}: {reason}{after}") from None
        except (Error, ValueError) as error:
            raise _something_else(place) from error

    def _judged(self, error: "HttpError", place: str, after: str, *, moving: bool) -> Exception:
        """What an answer of Drive's other than success means."""
        status, (reason, message) = int(error.resp.status), _reason(error)
        said = f"HTTP {status} {reason}".rstrip()
        if status >= SERVER_ERROR or status in BUSY or (status == DENIED and reason in TOO_FAST):
            return TransientError(f"{place}: {said}{after}")
        if status == NOT_FOUND:
            return MissingError(f"{place}: not there, or not shared with {self._account}")
        if status == DENIED and reason in NOT_SHARED:
            role = " as an editor (of a shared drive, as a content manager)" if moving else ""
            lacking = f"; the credentials need the scope {SCOPE}" if "scope" in message else ""
            return LakeError(f"{place}: not allowed ({said}); share the folder with {self._account}{role}{lacking}")
        return LakeError(f"{place}: {said}: {message}")


def _something_else(place: str) -> LakeError:
    return LakeError(f"{place}: answered with something else than Drive does")


class _Tokens:
    """Credentials that get an access token when one is due, and do nothing else.

    google-auth's own way to authorize a request also asks another service, in a thread, where the account may be used
    from; Drive has no use for that.
    """

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def before_request(self, request: Any, _method: str, _url: str, headers: dict[str, str]) -> None:
        """Put the access token into `headers`."""
        if not self._credentials.valid:
            self.refresh(request)
        self._credentials.apply(headers)

    def refresh(self, request: Any) -> None:
        """Get another access token."""
        self._credentials.refresh(request)


def _download(request: Any, sink: Sink) -> None:
    """Write what `request` answers, a block a request where the server gives ranges; exports come in one."""
    from googleapiclient.http import MediaIoBaseDownload

    download, done = MediaIoBaseDownload(sink, request, chunksize=BLOCK), False
    while not done:
        before = sink.bytes
        _, done = download.next_chunk()
        if not done and sink.bytes == before:
            raise TransientError("the download does not get on")


def _quoted(text: str) -> str:
    """`text` in a search query."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _dropped(entry: Json, *, is_aside: bool) -> DroppedFile | None:
    if entry["mimeType"] in NO_FILES or not is_file_name(entry["name"]):
        return None
    name, size = str(entry["name"]), entry.get("size")
    if entry["mimeType"] == SHEET:  # its size is not that of the export
        name, size = (name if name.lower().endswith(".xlsx") else f"{name}.xlsx"), None
    modified = datetime.fromisoformat(entry["modifiedTime"]).astimezone(UTC)
    return DroppedFile(entry["id"], name, None if size is None else int(size), modified, _digest(entry), is_aside)


def _digest(entry: Json) -> str:
    """Of the content; what Google keeps in a form of its own has no checksum."""
    return str(entry.get("md5Checksum") or entry["modifiedTime"])


def _reason(error: "HttpError") -> tuple[str, str]:
    """The reason and message that Drive gives, if it is Drive that answered."""
    try:
        said = json.loads(error.content)["error"]
        details = said.get("errors") or [{}]
        return str(details[0].get("reason", "")), " ".join(str(said.get("message", "")).split())[:300]
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", "no reason is given"
