"""The PostgreSQL of the tests: each test has a database of its own, and the server outlives a stop."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from sandbox.postgres import READER, Postgres


def _one(url: str, statement: str) -> object:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(text(statement)).scalar()
    finally:
        engine.dispose()


def test_a_database_is_empty_and_gone_with_its_context(postgres: Postgres) -> None:
    with postgres.database() as url:
        assert _one(url, "select count(*) from information_schema.tables where table_schema = 'public'") == 0
        postgres.execute("create table t as select 1 as n", url.rpartition("/")[2])
        reader = postgres.url(url.rpartition("/")[2], user=READER)
        assert _one(reader, "select n from t") == 1
        with pytest.raises(DBAPIError, match="permission denied"):
            _one(reader, "delete from t returning n")
    with pytest.raises(OperationalError, match="does not exist"):
        _one(url, "select 1")


def test_a_wrong_password_is_refused(postgres: Postgres) -> None:
    wrong = postgres.url().replace(postgres.password, "another")
    with pytest.raises(OperationalError, match="password authentication failed"):
        _one(wrong, "select 1")


def test_what_is_in_it_outlives_a_stop(postgres: Postgres, postgres_database: str) -> None:
    postgres.execute("create table t as select 7 as n", postgres_database.rpartition("/")[2])
    postgres.stop()
    with pytest.raises(OperationalError, match="refused"):
        _one(postgres_database, "select 1")
    postgres.start()
    assert _one(postgres_database, "select n from t") == 7
    assert Path(postgres.folder, "data", "PG_VERSION").is_file()
