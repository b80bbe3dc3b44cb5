"""The lint for GoogleSQL catches what it says. That it finds nothing in what runs send: `tests/e2e/test_parity.py`."""

import pytest
from googlesql import offences

WRONG = {
    "select x::int64 from t": "operator ::",
    "select a // b from t": "operator //",
    "select try_cast(a as int64)": "try_cast",
    "select hash(a)": "hash",
    "select epoch_us(a)": "epoch_us",
    "select quantile_disc(a, 0.5)": "quantile_disc",
    "select median(a)": "median",
    "select json_extract_string(a, '$.b')": "json_extract_string",
    "select list_sort(a)": "list_sort",
    "select * from read_parquet('x')": "read_parquet",
    "select * exclude (a) from t": "exclude",
    "select a ilike 'b'": "ilike",
    "select cast(a as double)": "type of GoogleSQL: double",
    "select safe_cast(a as VARCHAR)": "type of GoogleSQL: varchar",
    "select cast(a as double precision)": "double precision",
    "select cast(a + cast(b as int64) as hugeint)": "type of GoogleSQL: hugeint",
    "select cast(a as numeric(18, 2))": "parameters inside CAST",
    "select cast(cast(a as string(3)) as int64)": "parameters inside CAST",
    "select 'a' || length(b)": "|| joins texts",
    "select 'a' || (b + 1) || 'c'": "|| joins texts",
    "select 'a' || cast(b as int64)": "|| joins texts",
    "select 'a' || 1": "|| joins texts",
    'select "a" from t': "double quotes",
    'create table t options(description="a (b) c") as select "x" as y': "double quotes",
    "select day from (select 1 as day) as day": "a table, not a column of it: day",
    "select sum(a) as b from t inner join (select b from u) as b on t.a = b.b where b > 1": "a table, not a column of it: b",
    "select 1 from t left join u on t.a < u.a and (t.b = u.b or t.c = u.c)": "an outer join by no equality",
    "select 1 +": "does not parse",
    "select (1": "does not parse",
    "selec x": "not a statement",
}
RIGHT = (
    "select cast(a as numeric), safe_cast(b as float64), 'a' || cast(length(b) as string) || c from `p`.`d`.`t`",
    "select * except (a) from t qualify row_number() over (partition by b order by c) = 1",
    "select array_agg(a ignore nulls order by a)[safe_ordinal(1)], to_hex(md5('x')), json_value(b, '$.a') from t",
    'select \'x::y // try_cast(\', """it\'s""" -- hash(a) ilike\n, `double` /* median(x) */ # a::b\n from t',
    "select to_json_string(t), t.a from t left join u on t.a = u.a and t.b < u.b inner join v on t.c < v.c",
    "select count(*) as t, el from t cross join unnest(t.list) as el where exists (select 1 from u where u.a = t.a) order by t",
    "begin transaction; delete from `t` where m >= date '0001-01-01'; insert into `t` (`a`) select 1; commit transaction;",
    'create table `t` cluster by m with connection `p.us.c` options(description="a \'b\' (c)", labels=[("a", "b")]) as (select 1 as m)',
    "select concat('a', 1), substr('https://x', 1), cast(sum(x) as bigint) from t group by all",
)


@pytest.mark.parametrize("sql", WRONG)
def test_what_bigquery_refuses_is_found(sql: str) -> None:
    assert any(WRONG[sql] in offence for offence in offences(sql)), offences(sql)


@pytest.mark.parametrize("sql", RIGHT)
def test_what_bigquery_takes_is_passed_over(sql: str) -> None:
    assert offences(sql) == []


def test_offences_of_each_statement_are_found_and_say_where() -> None:
    found = offences("select 1;\nselect a::string, hash(b) from t;\nselect 'x' || 2")
    assert [one.split(":", 1)[0] for one in found] == ["operator ", "not GoogleSQL", "|| joins texts, not"]
    assert "a::string" in found[0]
