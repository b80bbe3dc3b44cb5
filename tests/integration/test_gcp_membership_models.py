"""Silver and gold of the membership on BigQuery (the emulator): built twice, they are what they are on DuckDB."""

from collections.abc import Iterator

import duckdb
import gcp
import parity
import pytest
from googlesql import offences
from memberships import OF_FIRST, SECOND, THIRD, Membership, bring

from infra_assets import resources
from infra_assets.plan import apply_all
from lake.settings import Settings

pytestmark = [pytest.mark.gcp, pytest.mark.slow]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Membership:
    return Membership(Settings(home=tmp_path_factory.mktemp("home"), target="local"), tmp_path_factory.mktemp("dbt"))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Membership]:
    """In a home of this module's own, for the names of its tables are the project's."""
    with gcp.running(tmp_path_factory.mktemp("gcp")) as environment, gcp.variables(environment):
        settings = Settings()
        apply_all(resources(settings))
        yield Membership(settings, tmp_path_factory.mktemp("dbt"))


def test_tables_are_the_same_on_both_targets(local: Membership, cloud: Membership) -> None:
    """History too, which a second and a third build have changed. (The unit tests run there in `test_parity.py`.)"""
    for delivery in (OF_FIRST, SECOND, THIRD):
        for membership in (local, cloud):
            bring(membership.settings, delivery)
            tests = ["unit_test"] if delivery is THIRD else ["unit_test", "test"]
            membership.build("--exclude-resource-types", *tests)
        assert {offence: path for path, sql in cloud.sent().items() for offence in offences(sql)} == {}
    found = {n: held for n, held in parity.gcp_tables(cloud.settings.gcp()).items() if ".membership_" in n}
    with duckdb.connect(str(local.settings.duckdb_path), read_only=True) as connection:
        expected = parity.local_tables(connection)
    assert set(found) == set(expected)
    assert all(rows.num_rows for rows, _ in expected.values())
    different = []
    for name, (rows, types) in expected.items():
        different += parity.type_differences(name, types, found[name][1])
        different += parity.differences(name, rows, found[name][0])
    assert list(map(str, different)) == []
