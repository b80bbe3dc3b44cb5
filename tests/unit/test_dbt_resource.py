"""dbt as a resource: the version nobody asks for, the environment of a run, and the manifest that is kept current."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import pytest
from dagster_dbt import DbtCliResource, DbtProject
from packaging import version

from lake.errors import LakeError
from lake.settings import Settings
from orchestration import project
from orchestration.resources.dbt import LakegraphDbt, dbt_resource, environment

MODEL = "select 1 as one\n"
BROKEN = "select * from {{ ref('nowhere') }}\n"


# -- the resource ------------------------------------------------------------------------------------------


KEPT = ["manifest.json", "manifest.msgpack", "manifest.sources"]


def test_the_base_class_still_has_what_is_overridden() -> None:
    """`_cli_version` is private to dagster-dbt: if it is renamed, each step silently costs 6 s more."""
    theirs, ours = DbtCliResource.__dict__["_cli_version"], LakegraphDbt.__dict__["_cli_version"]
    assert isinstance(theirs, cached_property)
    assert isinstance(ours, cached_property)
    assert theirs.attrname == ours.attrname == "_cli_version"
    source = Path(sys.modules[DbtCliResource.__module__].__file__ or "").read_text()
    assert "self._cli_version" in source, "nothing in dagster-dbt asks for it any more"


def test_the_version_is_known_without_starting_dbt(tmp_path: Path) -> None:
    started = tmp_path / "started"
    executable = tmp_path / "dbt"
    executable.write_text(f"#!/bin/sh\ntouch {started}\necho '  - installed: 9.9.9'\n")
    executable.chmod(0o755)
    resource = LakegraphDbt(project_dir=os.fspath(project.DBT_DIR), dbt_executable=str(executable))
    assert resource._cli_version == version.parse(importlib.metadata.version("dbt-core"))
    assert resource._cli_version.major < 2
    assert not started.exists()


def test_dbt_is_the_one_beside_this_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dbt that lies first on the PATH may be another version, or not find the adapter."""
    monkeypatch.setenv("PATH", "/nowhere")
    resource = dbt_resource()
    assert Path(resource.dbt_executable) == Path(sys.executable).with_name("lakegraph-dbt")
    assert Path(resource.project_dir) == project.DBT_DIR
    assert resource.profiles_dir is None or Path(resource.profiles_dir) == project.DBT_DIR


def test_dbt_gets_the_settings_and_a_folder_of_this_runs_own(tmp_path: Path, lake: Settings) -> None:
    """What dbt is started with, told by an executable that writes it down."""
    told = tmp_path / "told.json"
    executable = tmp_path / "dbt"
    executable.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump({{'args': sys.argv[1:], 'env': dict(os.environ)}}, open({str(told)!r}, 'w'))\n"
    )
    executable.chmod(0o755)
    resource = LakegraphDbt(project_dir=os.fspath(project.DBT_DIR), dbt_executable=str(executable))
    before = dict(os.environ)
    try:
        invocation = resource.run(["parse"], lake, "run-1", raise_on_error=False).wait()
    finally:
        os.environ.clear()
        os.environ.update(before)
    said = json.loads(told.read_text())
    assert "parse" in said["args"]
    assert invocation.target_path == lake.dbt_target / "run-1"
    assert said["env"]["DBT_TARGET_PATH"] == str(lake.dbt_target / "run-1")
    assert environment(lake, "run-1").items() <= said["env"].items()


def test_the_environment_names_the_files_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "elsewhere", duckdb_memory_limit="333MB")
    project.prepare()
    assert environment(settings, "run-1") == {
        "LAKEGRAPH_HOME": str(tmp_path / "elsewhere"),
        "LAKEGRAPH_TARGET": "local",
        "LAKEGRAPH_DUCKDB_PATH": str(settings.duckdb_path),
        "LAKEGRAPH_DUCKDB_MEMORY_LIMIT": "333MB",
        "LAKEGRAPH_STAGING": str(settings.staging),
        "LAKEGRAPH_RUN_ID": "run-1",
        "LAKEGRAPH_DBT_PARSED": str(project.parsed_project()),
        "DBT_INDIRECT_SELECTION": "buildable",
    }
    assert settings.duckdb_path.parent.is_dir(), "dbt does not make the folder of its file"


def test_every_variable_that_the_profile_reads_is_set(tmp_path: Path) -> None:
    import re

    read = re.findall(r"env_var\('(\w+)'", (project.DBT_DIR / "profiles.yml").read_text())
    assert read
    local = environment(Settings(home=tmp_path), "run-1")
    cloud = environment(Settings(home=tmp_path, target="gcp", gcp_project="a-project", gcp_bucket="a-lake"), "run-1")
    assert set(read) <= {*local, *cloud}


def test_no_secret_is_handed_to_dbt(tmp_path: Path) -> None:
    word = "hunter2"
    settings = Settings(
        home=tmp_path, alert_webhook=f"https://hooks.example/{word}", alert_smtp=f"smtp://u:{word}@m:25"
    )
    assert settings.alert_smtp
    assert word in settings.alert_smtp.get_secret_value()
    assert word not in " ".join(environment(settings, "run-1").values())


# -- the manifest ------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dbt project with the profile and the flags of ours and one model, which parses quickly."""
    folder = tmp_path / "dbt_project"
    (folder / "models").mkdir(parents=True)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(project.DBT_DIR / name, folder / name)
    (folder / "macros").mkdir()
    shutil.copy(project.DBT_DIR / "macros" / "labels.sql", folder / "macros")  # every query's comment is made by it
    (folder / "models" / "one.sql").write_text(MODEL)
    monkeypatch.setenv("LAKEGRAPH_DUCKDB_PATH", str(tmp_path / "work.duckdb"))
    monkeypatch.setattr(project, "DBT_DIR", folder)
    monkeypatch.setattr(project, "dbt_project", DbtProject(folder, profiles_dir=folder))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "target").iterdir())


def test_the_manifest_is_made_whole_renewed_when_stale_and_kept_when_dbt_refuses(copy: Path) -> None:
    manifest = copy / "target" / "manifest.json"
    assert project.manifest_is_stale()
    project.prepare()
    assert "model.lakegraph.one" in json.loads(manifest.read_text())["nodes"]
    assert names(copy) == KEPT, "nothing of the parse is left behind"
    assert not project.manifest_is_stale()

    made = manifest.stat()
    project.prepare()
    assert manifest.stat().st_mtime_ns == made.st_mtime_ns, "a manifest that is current is not made again"
    assert manifest.stat().st_ino == made.st_ino

    content = manifest.read_bytes()
    model = copy / "models" / "one.sql"
    model.write_text(BROKEN)
    assert project.manifest_is_stale()
    with pytest.raises(LakeError) as raised:
        project.prepare()
    assert str(copy) in str(raised.value)
    assert "nowhere" in str(raised.value), "dbt's own words name what is wrong"
    assert manifest.read_bytes() == content, "the graph goes on with the manifest it has"
    assert names(copy) == KEPT


def test_dbt_takes_the_project_as_it_was_parsed_and_ends_as_dbt_does(copy: Path, tmp_path: Path) -> None:
    project.prepare()
    (copy / "models" / "one.sql").unlink()

    def listed(parsed: Path | str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [
            Path(sys.executable).with_name("lakegraph-dbt"),
            "--quiet",
            "ls",
            "--target-path",
            tmp_path / "t",
            *more,
        ]
        env = {**os.environ, "LAKEGRAPH_DBT_PARSED": os.fspath(parsed), "DBT_PROFILES_DIR": str(copy)}
        return subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)

    assert listed(project.parsed_project()).stdout.split() == ["lakegraph.one"]
    assert listed("").stdout.split() == []
    assert listed(project.parsed_project(), "--no-such-option").returncode == 2


@pytest.fixture
def parsed(copy: Path) -> Path:
    """The copy with a manifest that is of its files, without the 5 s of dbt."""
    project._parsed().parent.mkdir()
    project.dbt_project.manifest_path.write_text("{}")
    project.parsed_project().touch()
    project._parsed().write_text(project._digest())
    assert not project.manifest_is_stale()
    return copy


@pytest.mark.parametrize("file", ["models/one.sql", "dbt_project.yml", "profiles.yml", "macros/new.sql", "seeds/a.csv"])
def test_a_file_that_is_new_or_has_changed_makes_the_manifest_stale(parsed: Path, file: str) -> None:
    path = parsed / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as stream:
        stream.write("-- changed")
    assert project.manifest_is_stale()


def test_a_model_that_is_gone_makes_the_manifest_stale(parsed: Path) -> None:
    (parsed / "models" / "one.sql").unlink()
    assert project.manifest_is_stale()


def test_a_file_that_was_only_touched_does_not(parsed: Path) -> None:
    os.utime(parsed / "models" / "one.sql")
    assert not project.manifest_is_stale()


def test_what_dbt_writes_does_not_make_the_manifest_stale(parsed: Path) -> None:
    (parsed / "logs").mkdir()
    for artifact in (parsed / "target" / "run_results.json", parsed / "logs" / "dbt.log"):
        artifact.write_text("{}")
    assert not project.manifest_is_stale()
