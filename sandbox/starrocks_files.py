"""The files below a table's path, for the StarRocks stand-in: folders of this machine, and the sandbox's own storage.

What belongs here: finding them, with StarRocks' words where there are none, and having those of gs:// at hand. What
does not: reading them (`sandbox.starrocks_engine`).

Objects of gs:// are copied once each: their generation names the copy, so that one written anew is copied anew.
"""

import glob
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from sandbox.starrocks_catalog import Table, refused

ANONYMOUS = "anon"  # the sandbox's storage knows nobody


def no_storage() -> str | None:
    """There is no storage beside the files of this machine."""
    return None


class Files:
    """Where a stand-in looks for files."""

    def __init__(self, copies: Path, storage: Callable[[], str | None] = no_storage) -> None:
        """Look in folders, and in the storage that runs at the time.

        Args:
            copies: the folder that has objects at hand.
            storage: the URL of the sandbox's Cloud Storage; None while it does not run.
        """
        self._copies = copies
        self._storage = storage

    def of(self, name: str, table: Table) -> list[Path]:
        """The files of the table called `name`, in order; hidden ones and those that begin with `_` are left out.

        Raises:
            MysqlError: there are none, or they are elsewhere.
        """
        parts = urlsplit(table.path)
        deep = table.properties.get("enable_recursive_listing", "false") == "true"
        if parts.scheme in {"file", ""}:
            found = _local(Path(unquote(parts.path)), table.path, deep=deep)
        elif parts.scheme == "gs":
            found = self._objects(table.path, deep=deep)
        else:
            raise refused(f"the stand-in reads file:// and gs:// only, not {table.path}")
        if not found:
            raise refused(f"No file exists for FileTable: {name}")
        return found

    def _objects(self, path: str, *, deep: bool) -> list[Path]:
        import gcsfs

        url = self._storage()
        if url is None:
            raise refused(f"the stand-in reads gs:// from the sandbox's storage, which is not running: {path}")
        store = gcsfs.GCSFileSystem(
            token=ANONYMOUS, endpoint_url=url, skip_instance_cache=True, use_listings_cache=False
        )
        try:
            found: dict[str, dict[str, Any]] = store.find(path, maxdepth=None if deep else 1, detail=True)
        except FileNotFoundError:
            found = {}
        if not found:  # a folder without objects is none
            raise refused(f"doesn't get file with path: {path}")
        files = []
        for name, facts in sorted(found.items()):
            if not name.rpartition("/")[2].startswith(("_", ".")):
                copy = self._copies / f"{quote(name, safe='')[-150:]}.{facts['generation']}.parquet"
                if not copy.exists():
                    self._copies.mkdir(parents=True, exist_ok=True)
                    partial = copy.with_suffix(".partial")
                    partial.write_bytes(store.cat_file(name))
                    partial.replace(copy)
                files.append(copy)
        return files


def _local(path: Path, url: str, *, deep: bool) -> list[Path]:
    if not path.exists():
        raise refused(f"doesn't get file with path: {url}")
    if not url.endswith("/"):
        if path.is_dir():
            raise refused("the path is a directory but didn't end with '/'")
        return [path]
    pattern = f"{glob.escape(str(path))}/{'**/' if deep else ''}*"
    found = (Path(one) for one in glob.iglob(pattern, recursive=deep))  # noqa: PTH207 - leaves hidden files out
    return sorted(one for one in found if one.is_file() and not one.name.startswith("_"))
