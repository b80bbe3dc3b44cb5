"""The search for a Python 3.13, and the variables that lead clients to the stand-ins."""

import sys
from pathlib import Path

import pytest

from lake.errors import LakeError
from lake.settings import Settings
from sandbox import control, emulators

RUNNING = {"gcs": "http://127.0.0.1:1", "bigquery": "http://127.0.0.1:2", "tlc_base": "http://127.0.0.1:3/tlc"}


def test_the_first_python_that_fits_is_taken_and_no_later_one_is_looked_at():
    answers = {"/gone": None, "/old": "3.12 0", "/nogil": "3.13 1", "/fits": "3.13 0", "/newer": "3.14 0"}
    looked_at = []

    def probe(path: Path) -> str | None:
        looked_at.append(str(path))
        return answers[str(path)]

    assert emulators.choose(map(Path, answers), probe) == Path("/fits")
    assert looked_at == ["/gone", "/old", "/nogil", "/fits"]


@pytest.mark.parametrize("answers", [[], [None], ["3.12 0", "3.14 0", "3.13 1", "3.130 0", "usage: python"]])
def test_none_fits(answers):
    paths = [Path(f"/{number}") for number in range(len(answers))]
    assert emulators.choose(paths, dict(zip(paths, answers, strict=True)).get) is None


def test_of_pyenvs_versions_the_newest_comes_first():
    names = ["3.12.1", "3.13.0", "3.13.2", "3.13.10", "3.13.1t", "3.13", "3.130.1", "miniconda3"]
    found = emulators.in_pyenv(Path("/v") / name for name in names)
    assert found == [Path("/v") / name / "bin/python" for name in ("3.13.10", "3.13.2", "3.13.0", "3.13")]


def test_a_named_python_of_another_version_is_refused_by_name(tmp_path):
    for named in (str(tmp_path / "missing"), "/bin/false"):
        with pytest.raises(emulators.NoPythonError, match=rf"^{emulators.VARIABLE}: {named} is not a Python 3\.13"):
            emulators.find({emulators.VARIABLE: named})


def test_a_named_python_is_taken(monkeypatch):
    """The wanted version is set to this interpreter's: it is the one that is sure to be on the machine."""
    monkeypatch.setattr(emulators, "WANTED", f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert emulators.find({emulators.VARIABLE: sys.executable}) == Path(sys.executable)


def test_without_any_python_the_error_is_one_line_that_says_how_to_get_one(monkeypatch, tmp_path):
    """The search is made to fail, and the project's environments are hidden: a machine may have a Python 3.13, or the
    network to download one, and neither can be taken from it.
    """
    monkeypatch.setattr(emulators, "ENVIRONMENTS", tmp_path / "environments")
    monkeypatch.setattr(emulators, "find", lambda *_, **__: None)
    with pytest.raises(
        emulators.NoPythonError, match=r"no Python 3\.13 .*pyenv install .*LAKEGRAPH_PYTHON313"
    ) as error:
        emulators.ensure()
    assert "\n" not in str(error.value)
    ok, detail = emulators.describe()
    assert not ok
    assert "uv python install 3.13" in detail


def test_variables_name_the_stand_ins_of_the_home(tmp_path):
    environment = control.environment(Settings(home=tmp_path), RUNNING, {})
    assert environment == {
        "LAKEGRAPH_TARGET": "gcp",
        "LAKEGRAPH_HOME": str(tmp_path),
        "LAKEGRAPH_GCP_PROJECT": "lakegraph-local",
        "LAKEGRAPH_GCP_BUCKET": "lakegraph-local-lake",
        "LAKEGRAPH_GCP_CONNECTION_ENDPOINT": RUNNING["gcs"],
        "GOOGLE_CLOUD_PROJECT": "lakegraph-local",
        "BIGQUERY_EMULATOR_HOST": RUNNING["bigquery"],
        "STORAGE_EMULATOR_HOST": RUNNING["gcs"],
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "sandbox/gcp/key.json"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def test_what_was_excepted_from_proxies_stays_so(tmp_path):
    given = {"NO_PROXY": "upper", "no_proxy": "lower,localhost"}
    assert control.environment(Settings(home=tmp_path), RUNNING, given)["NO_PROXY"] == "lower,localhost,127.0.0.1"


@pytest.mark.parametrize("missing", ["gcs", "bigquery"])
def test_variables_of_stand_ins_that_are_not_up_are_refused(tmp_path, missing):
    endpoints = {name: url for name, url in RUNNING.items() if name != missing}
    with pytest.raises(LakeError, match=rf"^sandbox: {missing} not running .*`lakegraph sandbox up --target gcp`$"):
        control.environment(Settings(home=tmp_path), endpoints, {})
