"""The dbt project as Dagster sees it, alone in its module: dagster-dbt may import it in processes of its own.

What belongs here: where the project is, and keeping its manifest current. What does not: assets
(`assets/dbt.py`).
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dagster_dbt import DbtProject
from dagster_dbt.dbt_manifest import validate_manifest

from lake.errors import LakeError
from lake.settings import Target, get_settings

ROOT = Path(__file__).resolve().parents[1]
DBT_DIR = ROOT / "dbt_project"

# What dbt makes of the project depends on the target's adapter, so each target has a manifest of its own.
TARGET_FOLDERS: Mapping[Target, Path] = {"local": Path("target"), "gcp": Path("target", "gcp")}
dbt_project = DbtProject(DBT_DIR, profiles_dir=DBT_DIR, target_path=TARGET_FOLDERS[get_settings().target])


def _sources() -> list[Path]:
    folders = ("models", "macros", "seeds", "snapshots", "tests")
    files = [path for name in folders for path in (DBT_DIR / name).rglob("*") if path.is_file()]
    return [*files, DBT_DIR / "dbt_project.yml", DBT_DIR / "profiles.yml"]


def _digest() -> str:
    """Of the project's files: names and contents, so that one that was taken away counts too; and of dbt itself."""
    parsers = ("dbt-core", "dbt-adapters", "dbt-duckdb", "dbt-bigquery")
    digest = hashlib.sha256("".join(f"{name} {version(name)}\0" for name in parsers).encode())
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(DBT_DIR)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _parsed() -> Path:
    """Where the digest of the files is kept that the manifest was made from."""
    return dbt_project.manifest_path.with_name("manifest.sources")


def parsed_project() -> Path:
    """The parsed project as dbt itself keeps it, made with the manifest."""
    return dbt_project.manifest_path.with_suffix(".msgpack")


def read_manifest() -> Mapping[str, Any]:
    """What dbt has made of the project; read once by each process, and dagster-dbt's own: not to be changed."""
    return validate_manifest(dbt_project.manifest_path)


def manifest_is_stale() -> bool:
    """Whether the manifest is missing, or was made from other files than there are now."""
    made = (dbt_project.manifest_path, parsed_project(), _parsed())
    return not all(path.exists() for path in made) or _parsed().read_text() != _digest()


def _words(output: str) -> str:
    """What dbt says of an error, without colours, times and line ends."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    plain = re.sub(r"^\d\d:\d\d:\d\d\s*|Encountered an error:", "", plain, flags=re.MULTILINE)
    return " ".join(plain.split())


def prepare() -> None:
    """Parse the project (about 5 s) if the manifest is stale. Safe beside other processes: each file is swapped in
    whole, and the last one vouches for the others.

    Raises:
        LakeError: dbt refused the project; its own words follow, on one line.
    """
    if not manifest_is_stale():
        return
    target = dbt_project.manifest_path.parent
    target.mkdir(parents=True, exist_ok=True)
    digest = _digest()  # before dbt reads them: who changes a file meanwhile has it parsed again
    with tempfile.TemporaryDirectory(dir=target, prefix="parse-") as folder:
        command = [
            sys.executable,
            "-m",
            "dbt.cli.main",
            "--quiet",
            "parse",
            "--no-partial-parse",
            "--target-path",
            folder,
        ]
        command += ["--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR), "--log-path", folder]
        done = subprocess.run(  # noqa: S603 - our own executable and arguments
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LAKEGRAPH_TARGET": get_settings().target},
        )
        if done.returncode:
            raise LakeError(f"{DBT_DIR}: dbt cannot parse it: {_words(done.stdout or done.stderr)}")
        _parsed().unlink(missing_ok=True)  # it vouches for all of them
        (Path(folder) / "partial_parse.msgpack").replace(parsed_project())
        (Path(folder) / "manifest.json").replace(dbt_project.manifest_path)
        (Path(folder) / "manifest.sources").write_text(digest)
        (Path(folder) / "manifest.sources").replace(_parsed())


if os.getenv("DAGSTER_IS_DEV_CLI") or not dbt_project.manifest_path.exists():
    prepare()
