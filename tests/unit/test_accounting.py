"""Accounts: they survive the way through snapshot properties, and tell a repeated load from another."""

from dataclasses import MISSING, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.accounting import PREFIX, LoadAccount

TEXT = st.text(max_size=40)
COUNT = st.integers(0, 2**63 - 1)
ACCOUNTS = st.builds(
    LoadAccount,
    pipeline=TEXT,
    run_id=TEXT,
    partition=st.one_of(st.just(""), st.dates().map(str)),
    source_object=TEXT,
    digest=TEXT,
    fingerprint=TEXT,
    rows_read=COUNT,
    rows_loaded=COUNT,
    rows_rejected=COUNT,
    rows_known=COUNT,
)
ONE = LoadAccount("p", "r", "2023-01-01", "file", "abc", "f1", 10, 7, 3)


@given(ACCOUNTS)
def test_an_account_comes_back_from_its_properties(account):
    properties = account.to_properties()
    assert all(isinstance(value, str) for value in properties.values())
    assert LoadAccount.from_properties({**properties, "operation": "append", "total-records": "9"}) == account


@given(ACCOUNTS, st.sampled_from([f.name for f in fields(LoadAccount) if f.default is MISSING]))
def test_properties_with_a_field_missing_are_no_account(account, name):
    properties = account.to_properties()
    del properties[PREFIX + name.replace("_", "-")]
    assert LoadAccount.from_properties(properties) is None


@given(ACCOUNTS)
def test_a_snapshot_older_than_a_count_has_none_of_it(account):
    properties = account.to_properties()
    del properties[PREFIX + "rows-known"]
    assert LoadAccount.from_properties(properties) == replace(account, rows_known=0)


@given(COUNT, COUNT, st.integers(-5, 5))
def test_what_is_unaccounted_is_exact(loaded, rejected, lost):
    account = replace(ONE, rows_read=loaded + rejected + lost, rows_loaded=loaded, rows_rejected=rejected)
    assert account.unaccounted == lost


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"run_id": "r2", "pipeline": "q", "source_object": "elsewhere"}, True),
        ({"digest": "abd"}, False),
        ({"fingerprint": "f2"}, False),
    ],
)
def test_a_load_is_the_same_by_content_and_declaration(changes, same):
    assert ONE.same_content(replace(ONE, **changes)) is same


def test_nothing_is_not_the_same_content():
    assert not ONE.same_content(None)
