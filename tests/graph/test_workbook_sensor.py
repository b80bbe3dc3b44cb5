"""The graph's sensors for new workbooks against a real folder: which days they ask for, and what they remember."""

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lake.errors import LakeError
from lake.settings import get_settings
from orchestration.partitions import DAILY, FIRST_DAY

DAY = FIRST_DAY + timedelta(days=1)


class Watch:
    """A sensor of the graph with its cursor, as the daemon drives it, and the folder it watches."""

    def __init__(self, repository: dg.RepositoryDefinition, folder: Path) -> None:
        self._repository, self._sensor = repository, repository.get_sensor_def("membership_top_up_new_workbook")
        self.folder = folder
        self.cursor: str | None = None
        self.skipped = ""
        self.run_keys: list[str] = []

    def drop(self, day: date, content: str = "x", suffix: str = "") -> None:
        path = self.folder / f"top_up_{day}{suffix}.xlsx"
        path.write_text(content)
        os.utime(path, ns=(len(content), len(content)))  # the same content has the same time

    def tick(self) -> list[str]:
        """The days that a tick asks for, each in a run of its own."""
        with dg.build_sensor_context(
            cursor=self.cursor, repository_def=self._repository, sensor_name=self._sensor.name
        ) as context:
            result = self._sensor.evaluate_tick(context)
        self.cursor, self.skipped = result.cursor, result.skip_message or ""
        requests: list[Any] = list(result.run_requests or [])
        assert bool(requests) != bool(self.skipped), "a tick starts something, or says why not"
        self.run_keys += [str(request.run_key) for request in requests]
        return [request.partition_key for request in requests]


@pytest.fixture
def watch(repository: dg.RepositoryDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    folder = tmp_path / "drop"
    folder.mkdir()
    monkeypatch.setenv("LAKEGRAPH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAKEGRAPH_MEMBERSHIP_FOLDER", str(folder))
    get_settings.cache_clear()
    yield Watch(repository, folder)
    get_settings.cache_clear()


def test_a_new_workbook_is_its_days_load(watch: Watch) -> None:
    watch.drop(DAY)
    assert watch.tick() == [f"{DAY}"]
    assert watch.tick() == []
    assert watch.skipped == "nothing new in the folder"


def test_a_late_workbook_reopens_its_day_and_so_does_a_corrected_one(watch: Watch) -> None:
    watch.drop(DAY)
    watch.drop(DAY + timedelta(days=1))
    watch.tick()
    watch.drop(DAY, suffix="_late")
    assert watch.tick() == [f"{DAY}"]
    watch.drop(DAY, content="corrected")
    assert watch.tick() == [f"{DAY}"]
    assert len(set(watch.run_keys)) == len(watch.run_keys), "the daemon starts a run of the same key only once"


def test_each_day_is_a_run_of_its_own_and_none_between_is_asked_for(watch: Watch) -> None:
    """A day that fails, as its workbook cannot be read or is not there, would hold up those after it in a range."""
    for days in (-40, -1, 1, 2, 5):
        watch.drop(FIRST_DAY + timedelta(days=days))
    asked = [FIRST_DAY + timedelta(days=days) for days in (0, 1, 2, 5)]
    assert watch.tick() == [str(day) for day in asked]
    assert all(DAILY.has_partition_key(f"{day}") for day in asked)


def test_a_workbook_of_a_day_to_come_is_seen_when_it_comes(watch: Watch) -> None:
    watch.drop(date(2999, 1, 1))
    assert watch.tick() == []
    assert "2999" not in str(watch.cursor)


def test_a_folder_that_is_not_there_fails_the_tick_with_its_name(watch: Watch) -> None:
    watch.folder.rmdir()
    with pytest.raises(LakeError, match="drop"):
        watch.tick()


def test_a_workbook_that_is_removed_or_renamed_reopens_the_day_it_was_of(watch: Watch) -> None:
    """Unless nothing is left of that day: its load would fail."""
    later = DAY + timedelta(days=1)
    for suffix in ("", "_b"):
        watch.drop(DAY, suffix=suffix)
    watch.tick()
    (watch.folder / f"top_up_{DAY}_b.xlsx").rename(watch.folder / f"top_up_{later}.xlsx")
    assert watch.tick() == [f"{DAY}", f"{later}"]
    (watch.folder / f"top_up_{later}.xlsx").unlink()
    assert watch.tick() == []
