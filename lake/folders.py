"""Folders of files that others read: on disk, or in Cloud Storage.

What belongs here: reading, writing and listing files below one place, each written whole or not at all. What does not:
what the files are.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from lake.duck import exclusive
from lake.errors import LakeError
from lake.settings import GcpTarget

if TYPE_CHECKING:
    from google.cloud import storage

ATTEMPTS = 8  # of changing a file that others change too


class Folder(Protocol):
    """A place of files; names are relative to it, with `/`."""

    @property
    def uri(self) -> str:
        """Where it is, without a `/` at the end."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is none."""

    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Replace a file by what `change` makes of it, which may be called again if another process was faster; None
        leaves it as it is. Returns what was made of it.
        """

    def put(self, path: Path, name: str) -> None:
        """Bring a local file in."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of the files whose names begin so."""

    def folders(self, name: str) -> set[str]:
        """Names of the folders in a folder, also of those in which no file is whole."""

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A file, to be read at any place."""

    def fetch(self, prefix: str, scratch: Path) -> list[Path]:
        """The files whose names begin so, as local files; `scratch` is for copies."""

    def remove(self, prefix: str) -> None:
        """Remove a folder, which another process may be doing, too; `prefix` ends in `/`.

        Raises:
            LakeError: it cannot be removed.
        """


class LocalFolder(Folder):
    """A folder on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    @override
    def uri(self) -> str:
        return self._path.as_uri()

    @override
    def read(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    @override
    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        with exclusive(self._path / name):
            content = change(self.read(name))
            if content is not None:
                self._replace(name, lambda file: file.write(content))
        return content

    @override
    def put(self, path: Path, name: str) -> None:
        with path.open("rb") as source:
            self._replace(name, lambda file: shutil.copyfileobj(source, file, 1 << 20))

    def _replace(self, name: str, write: Callable[[IO[bytes]], Any]) -> None:
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=".")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            Path(part).chmod(0o644)
            Path(part).replace(target)
        finally:
            Path(part).unlink(missing_ok=True)

    @override
    def sizes(self, prefix: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for folder, _, files in os.walk(self._path / prefix.partition("/")[0]):
            for path in (Path(folder, file) for file in files if not file.startswith(".")):
                name = path.relative_to(self._path).as_posix()
                if name.startswith(prefix):
                    with suppress(FileNotFoundError):  # another process has just removed it
                        found[name] = path.stat().st_size
        return found

    @override
    def folders(self, name: str) -> set[str]:
        return {path.name for path in (self._path / name).glob("*") if path.is_dir()}

    @override
    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return (self._path / name).open("rb")

    @override
    def fetch(self, prefix: str, scratch: Path) -> list[Path]:
        return [self._path / name for name in sorted(self.sizes(prefix))]

    @override
    def remove(self, prefix: str) -> None:
        path = self._path / prefix.rstrip("/")
        while path.is_dir():
            try:
                shutil.rmtree(path)
            except FileNotFoundError:  # another process removes it, too
                continue
            except OSError as error:
                raise LakeError(f"{path}: cannot be removed: {error}") from error


class GcsFolder(Folder):
    """A folder of the target's bucket. An object is there whole or not at all."""

    def __init__(self, target: GcpTarget, path: str) -> None:
        self._target, self._path = target, path

    @property
    @override
    def uri(self) -> str:
        return f"gs://{self._target.bucket}/{self._path}"

    @cached_property
    def _bucket(self) -> "storage.Bucket":
        from lake.gcp import storage_client

        return storage_client(self._target).bucket(self._target.bucket)

    def _blob(self, name: str) -> "storage.Blob":
        return self._bucket.blob(f"{self._path}/{name}")

    @override
    def read(self, name: str) -> bytes | None:
        return self._versioned(name)[0]

    def _versioned(self, name: str) -> tuple[bytes | None, int]:
        """A file's content and generation; 0 is that of one that is not there."""
        from google.api_core.exceptions import NotFound

        from lake.gcp import clear_errors

        blob = self._blob(name)
        with clear_errors(f"{self.uri}/{name}"):
            try:
                content = blob.download_as_bytes()
            except NotFound:
                return None, 0
        return content, int(blob.generation or 0)

    @override
    def update(self, name: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        from google.api_core.exceptions import PreconditionFailed
        from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        from lake.gcp import clear_errors

        @retry(
            retry=retry_if_exception_type(PreconditionFailed),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(0.1, max=5),
            reraise=True,
        )
        def attempt() -> bytes | None:
            content, generation = self._versioned(name)
            changed = change(content)
            if changed is not None:
                self._blob(name).upload_from_string(changed, "application/json", if_generation_match=generation)
            return changed

        with clear_errors(f"{self.uri}/{name}"):
            return attempt()

    @override
    def put(self, path: Path, name: str) -> None:
        from lake.gcp import clear_errors

        with clear_errors(f"{self.uri}/{name}"):
            self._blob(name).upload_from_filename(str(path))

    @override
    def sizes(self, prefix: str) -> dict[str, int]:
        from lake.gcp import clear_errors

        with clear_errors(f"{self.uri}/{prefix}"):
            found = self._bucket.client.list_blobs(self._bucket, prefix=f"{self._path}/{prefix}")
            return {blob.name.removeprefix(f"{self._path}/"): int(blob.size or 0) for blob in found}

    @override
    def folders(self, name: str) -> set[str]:
        below = (one.removeprefix(f"{name}/").partition("/") for one in self.sizes(f"{name}/"))
        return {folder for folder, is_folder, _ in below if is_folder}

    @override
    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        opened: AbstractContextManager[IO[bytes]] = self._blob(name).open("rb")
        return opened

    @override
    def fetch(self, prefix: str, scratch: Path) -> list[Path]:
        from lake.gcp import clear_errors

        copies = []
        for name in sorted(self.sizes(prefix)):
            copies.append(scratch / name.replace("/", "_"))
            with clear_errors(f"{self.uri}/{name}"):
                self._blob(name).download_to_filename(str(copies[-1]))
        return copies

    @override
    def remove(self, prefix: str) -> None:
        from google.api_core.exceptions import NotFound

        from lake.gcp import clear_errors

        with clear_errors(f"{self.uri}/{prefix}"):
            for name in self.sizes(prefix):
                with suppress(NotFound):
                    self._blob(name).delete()
