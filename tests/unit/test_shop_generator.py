"""The generated day of the shop: the same everywhere, and each kind of misbehaviour where `planted` says.

What a test asserts is found in the day itself, without the generator's own functions: documents as they follow on each
other, and rows as Python's `csv` reads them.
"""

import csv
import gzip
import io
import re
import zlib
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import bson
import pytest
from bson import Decimal128, ObjectId

from sandbox import shop

HOUR = timedelta(hours=1)
DIGEST = 315031758
PRODUCT_COLUMNS = [
    "product_id",
    "name",
    "category",
    "size",
    "color",
    "list_price",
    "active",
    "updated_at",
    "deleted_at",
]
MOVEMENT_COLUMNS = [
    "movement_id",
    "product_id",
    "warehouse",
    "kind",
    "quantity",
    "moved_at",
    "updated_at",
    "deleted_at",
]


@pytest.fixture(scope="module")
def day() -> shop.Day:
    return shop.day()


@pytest.fixture(scope="module")
def state(day) -> shop.State:
    return day.state()


@pytest.fixture(scope="module")
def versions(day):
    """Place (`<collection>/<_id>`) → the hour and the document of each of its writes, in order."""
    found = defaultdict(list)
    for drop in day.drops:
        for write in drop.writes:
            found[f"{write.collection}/{write.document['_id']}"].append((drop.hour, write.document))
    return found


def stated(versions):
    """Place, hour of the write and what it states as its time, where that is a date, of every version."""
    return [
        (place, hour, document["updated_at"])
        for place, written in versions.items()
        for (_, before), (hour, document) in pairwise([(None, None), *written])
        if isinstance(document.get("updated_at"), datetime) and document != before
    ]


def text(put) -> str:
    body = gzip.decompress(put.body) if put.key.endswith(".gz") else put.body
    return body.decode("utf-8-sig")


def records(put):
    """The line at which each record begins, from 1, and its fields; the header is the first."""
    found, line = [], 1
    reader = csv.reader(io.StringIO(text(put), newline=""))
    for fields in reader:
        found.append((line, fields))
        line = reader.line_num + 1
    return found


def rows(put):
    """The well-formed rows, as the header names their fields."""
    (_, header), *others = records(put)
    return [
        (line, dict(zip(header, fields, strict=True)))
        for line, fields in others
        if fields != header and len(fields) == len(header) and is_number(dict(zip(header, fields, strict=True)))
    ]


def is_number(row) -> bool:
    return bool(re.fullmatch(r"-?\d+(\.\d\d)?", row.get("list_price") or row["quantity"]))


def tables(state, table):
    return [put for key, put in sorted(state.objects.items()) if key.startswith(f"{table}/") and put.body]


def digest(day) -> int:
    """Of everything in the day, compressed objects unpacked."""
    found = 0
    for drop in day.drops:
        for write in drop.writes:
            found = zlib.crc32(f"{write.at!r} {write.collection}".encode() + bson.encode(write.document), found)
        for put in drop.puts:
            found = zlib.crc32(f"{put.at!r} {put.key} {put.modified.isoformat()}{text(put)}".encode(), found)
    return found


# -- the day


def test_the_same_arguments_give_the_same_day_everywhere(day):
    assert shop.day() == day
    assert digest(day) == DIGEST, "another day: raise shop.GENERATOR, and put the new digest here"
    assert digest(shop.day(seed=1)) != DIGEST


def test_a_day_has_24_hours_and_about_as_much_as_it_should(day, state):
    assert [drop.hour for drop in day.drops] == [datetime(2023, 3, 31, hour, tzinfo=UTC) for hour in range(24)]
    counts = {name: len(documents) for name, documents in state.documents.items()}
    assert counts == {"customers": 40, "orders": 204, "reviews": 61}
    assert len({row["product_id"] for put in tables(state, "products") for _, row in rows(put)}) == 30
    movements = {row["movement_id"] for put in tables(state, "stock_movements") for _, row in rows(put)}
    assert 250 < len(movements) < 350
    assert all(drop.writes for drop in day.drops)


def test_scale_multiplies_the_day_and_another_date_makes_another_one(day):
    tenfold = shop.day(scale=10).state()
    assert {name: len(found) for name, found in tenfold.documents.items()} == {
        "customers": 400,
        "orders": 2004,
        "reviews": 601,
    }
    assert set(shop.day(scale=10).planted) == set(day.planted)
    before = shop.day(datetime(2023, 3, 30, tzinfo=UTC))
    for name, documents in before.state().documents.items():
        assert not documents.keys() & day.state().documents[name].keys()
    assert not before.state().objects.keys() & day.state().objects.keys()


def test_state_is_the_last_of_everything_written_until_then(day):
    nothing = day.state(0)
    assert ({name: len(found) for name, found in nothing.documents.items()}, nothing.objects) == (
        {"customers": 0, "orders": 0, "reviews": 0},
        {},
    )
    documents, objects = {}, {}
    for number, drop in enumerate(day.drops, 1):
        documents |= {(write.collection, write.document["_id"]): write.document for write in drop.writes}
        objects |= {put.key: put for put in drop.puts}
        found = day.state(number)
        assert {(name, key): doc for name, of in found.documents.items() for key, doc in of.items()} == documents
        assert found.objects == objects


def test_every_document_is_of_its_collections_shape(versions):
    required = {
        "customers": {"_id", "email", "name", "address", "segment", "marketing_consent", "created_at"},
        "orders": {"_id", "customer_id", "status", "currency", "ordered_at", "items", "deleted_at"},
        "reviews": {"_id", "product_id", "customer_id", "rating", "title", "body", "created_at"},
    }
    optional = {
        "customers": {"phone", "updated_at", "deleted_at", "loyalty_points"},
        "orders": {"updated_at", "refund_amount"},
        "reviews": {"updated_at", "order_id", "deleted_at"},
    }
    for place, written in versions.items():
        collection = place.partition("/")[0]
        for _, document in written:
            assert required[collection] <= document.keys() <= required[collection] | optional[collection]
            assert isinstance(document["_id"], ObjectId)
            assert document == bson.decode(
                bson.encode(document), bson.CodecOptions(tz_aware=True)
            )  # to the millisecond
    refunded = [d for name in versions for _, d in versions[name] if d.get("status") == "refunded"]
    assert len(refunded) > 10
    assert all("refund_amount" in document for document in refunded)


def test_money_comes_in_four_forms_and_always_in_cents(state):
    forms = Counter()
    for order in state.documents["orders"].values():
        amounts = [item[name] for item in order["items"] for name in ("unit_price", "discount")]
        for amount in (*amounts, *([order["refund_amount"]] if "refund_amount" in order else [])):
            forms[type(amount)] += 1
            plain = amount.to_decimal() if isinstance(amount, Decimal128) else amount
            assert float(plain) >= 0
            assert round(float(plain) * 100) == pytest.approx(float(plain) * 100, abs=1e-6)
    assert set(forms) == {Decimal128, str, int, float}
    assert forms[Decimal128] > sum(forms.values()) / 2


# -- time


def test_the_hourly_windows_of_the_day_find_every_version_that_states_a_time(versions):
    for place, hour, moment in stated(versions):
        assert hour - 2 * HOUR <= moment < hour + 2 * HOUR, place
        assert moment < datetime(2023, 4, 1, tzinfo=UTC), place


def test_the_time_that_a_document_states_never_goes_back(versions):
    for written in versions.values():
        times = [d["updated_at"] for _, d in written if isinstance(d.get("updated_at"), datetime)]
        assert times == sorted(times)


def test_some_show_late_by_one_hour_and_by_two_and_one_after_midnight(day, versions):
    lags = defaultdict(set)
    for place, hour, moment in stated(versions):
        lags[hour.hour - (moment - datetime(2023, 3, 31, tzinfo=UTC)) // HOUR].add(place)
    assert lags.keys() == {-1, 0, 1, 2}
    late = {place for kind in ("late", "late_two_hours", "tie", "clock_behind") for place in day.planted[kind]}
    assert {place for place in late if ":" not in place} | set(day.planted["before_midnight"]) == lags[1] | lags[2]
    assert lags[2] & set(day.planted["late_two_hours"])
    assert lags[-1] == set(day.planted["clock_ahead"])
    before = [place for place, _, moment in stated(versions) if moment.date() == date(2023, 3, 30)]
    assert before == list(day.planted["before_midnight"])


def test_a_document_changes_several_times_and_once_unseen(day, versions):
    (often,) = day.planted["changed_often"]
    assert len({str(document) for _, document in versions[often]}) == 6
    assert [hour.hour for hour, _ in versions[often]] == [0, 3, 4, 4, 9, 17]
    assert sum(len(written) > 2 for written in versions.values()) > 50


def test_some_are_written_again_unchanged(day, versions):
    again = {place for place, written in versions.items() for one, other in pairwise(written) if one[1] == other[1]}
    assert again == set(day.planted["rewritten_unchanged"])
    for place in again:
        hours = [hour for hour, _ in versions[place]]
        assert hours[-1] - hours[0] >= HOUR


def test_versions_and_documents_state_the_same_time(day, versions):
    tied = {
        place
        for place, written in versions.items()
        for (_, one), (_, other) in pairwise(written)
        if one != other and one.get("updated_at") == other.get("updated_at") is not None
    }
    assert tied == {place for place in day.planted["tie"] if ":" not in place}
    together = {versions[place][0][1]["updated_at"] for place in day.planted["same_updated_at"]}
    assert (len(day.planted["same_updated_at"]), len(together)) == (3, 1)


def test_some_state_no_time_or_something_else(day, versions):
    found = defaultdict(set)
    for place, written in versions.items():
        for _, document in written:
            value = document.get("updated_at", "missing")
            if value is None or isinstance(value, int):
                found["null_updated_at" if value is None else "number_updated_at"].add(place)
            elif isinstance(value, str):
                iso = re.fullmatch(r"2023-03-31T\d\d:\d\d:\d\dZ", value)
                kind = "no" if value == "missing" else "text" if iso else "junk"
                found[f"{kind}_updated_at"].add(place)
    assert found == {kind: set(day.planted[kind]) for kind in found}
    assert {kind: len(places) for kind, places in found.items()} == {
        "no_updated_at": 3,
        "null_updated_at": 1,
        "text_updated_at": 2,
        "junk_updated_at": 1,
        "number_updated_at": 1,
    }


# -- shape, deletes, references


def test_documents_change_in_shape(day, versions):
    customers = {place: written for place, written in versions.items() if place.startswith("customers/")}
    assert {p for p, written in customers.items() if "phone" not in written[-1][1]} == set(day.planted["missing_phone"])
    points = {(p, hour.hour >= 12) for p, written in customers.items() for hour, d in written if "loyalty_points" in d}
    assert points == {(place, True) for place in day.planted["loyalty_points"]}
    assert all("loyalty_points" in d for written in customers.values() for hour, d in written if hour.hour >= 12)
    assert {p for p, written in versions.items() if written[0][1].get("items") == []} == set(day.planted["empty_items"])
    assert any(written[0][1]["address"] is None for written in customers.values())
    assert any("order_id" not in d for p in versions if p.startswith("reviews/") for _, d in versions[p])


def test_some_are_deleted_and_one_comes_back(day, versions, state):
    deleted = {place for place, written in versions.items() for _, d in written if d.get("deleted_at")}
    assert deleted == {place for place in day.planted["deleted"] if ":" not in place}
    assert Counter(place.partition("/")[0] for place in deleted) == {"customers": 2, "orders": 3, "reviews": 4}
    restored = {place for place in deleted if not versions[place][-1][1].get("deleted_at")}
    assert restored == set(day.planted["restored"])
    for place in deleted:
        first = next(d for _, d in versions[place] if d.get("deleted_at"))
        assert first["deleted_at"] == first["updated_at"]


def test_orphans_heal_within_two_hours_but_for_one_item(day, versions, state):
    shown = {place: written[0][0] for place, written in versions.items()}
    sold = defaultdict(lambda: datetime(2023, 4, 1, tzinfo=UTC))
    for drop in reversed(day.drops):
        sold |= {
            row["product_id"]: drop.hour for put in drop.puts if put.key.startswith("products/") for _, row in rows(put)
        }
    waits, missing, never = {}, {}, []
    for order in (place for place in shown if place.startswith("orders/")):
        document = versions[order][0][1]
        if (wait := shown[f"customers/{document['customer_id']}"] - shown[order]) > timedelta():
            waits[order] = wait
        for item in document["items"]:
            if item["product_id"] not in sold:
                never.append(order)
            elif (wait := sold[item["product_id"]] - shown[order]) > timedelta():
                missing[order] = wait
    assert waits.keys() == set(day.planted["orphan_heals"])
    assert set(waits.values()) == {HOUR, 2 * HOUR}
    assert missing.keys() == {p for p in day.planted["product_heals"] if p.startswith("orders/")}
    assert set(missing.values()) == {HOUR}
    assert never == list(day.planted["product_never_shows"])
    for review in state.documents["reviews"].values():
        assert review["product_id"] in sold
        assert review["customer_id"] in state.documents["customers"]
        assert review.get("order_id") in {None, *state.documents["orders"]}


# -- objects


def test_objects_hold_as_many_rows_as_they_say_and_the_others_are_planted(day, state):
    bad = set()
    for put in (put for drop in day.drops for put in drop.puts if put.body):
        (_, header), *others = records(put)
        good = dict(rows(put))
        assert put.rows == len(good), put.key
        assert put.bad == tuple(line for line, fields in others if line not in good and fields != header)
        bad |= {f"{put.key}:{line}" for line in put.bad}
    assert bad == {*day.planted["ragged_row"], *day.planted["bad_number"]}
    kinds = Counter(place.partition("/")[0] for place in bad)
    assert kinds == {"products": 2, "stock_movements": 3}


def test_objects_come_in_many_forms(day, state):
    bodies = {key: put.body for key, put in state.objects.items()}
    planted = {kind: set(where) for kind, where in day.planted.items()}
    assert {key for key in bodies if key.endswith(".gz")} == planted["gzip"]
    assert all(gzip.decompress(bodies[key]) for key in planted["gzip"])
    plain = {key: gzip.decompress(body) if key.endswith(".gz") else body for key, body in bodies.items()}
    assert {key for key, body in plain.items() if body.startswith(b"\xef\xbb\xbf")} == planted["bom"]
    assert {key for key, body in plain.items() if b"\r\n" in body} == planted["crlf"]
    assert {key for key, body in plain.items() if body and body[-1:] != b"\n"} == planted["no_last_line_end"]
    assert {key for key, body in plain.items() if not body} == planted["no_csv"] | planted["empty_object"]
    assert {key for key in plain if not key.endswith((".csv", ".csv.gz"))} == planted["no_csv"]
    filled = {key: records(put) for key, put in state.objects.items() if put.body}
    assert {key for key, found in filled.items() if len(found) == 1} == planted["header_only"]
    again = {f"{key}:{line}" for key, found in filled.items() for line, fields in found[1:] if fields == found[0][1]}
    assert again == planted["repeated_header"]
    over_lines = {
        f"{k}:{line}" for k, found in filled.items() for line, fields in found if any("\n" in f for f in fields)
    }
    assert over_lines == planted["quoted_newline"]


def test_a_column_is_added_from_noon_on(day):
    for put in (put for drop in day.drops for put in drop.puts if put.body):
        header, added = records(put)[0][1], put.key in day.planted["added_column"]
        expected = PRODUCT_COLUMNS if put.key.startswith("products/") else MOVEMENT_COLUMNS
        assert header == [*expected, *(["material"] if added else [])]
        assert added == (put.key.startswith("products/") and put.at >= 12 * 3600)


def test_objects_are_dated_in_their_hour_but_for_one(day):
    late = {put.key for drop in day.drops for put in drop.puts if not drop.hour <= put.modified < drop.hour + HOUR}
    assert late == set(day.planted["late_object"])
    for drop in day.drops:
        for put in drop.puts:
            assert drop.hour - HOUR <= put.modified < drop.hour + HOUR
            assert put.modified.microsecond == 0  # S3 keeps no fractions


def test_one_object_is_rewritten_in_place_with_other_rows(day):
    names = Counter(put.key for drop in day.drops for put in drop.puts)
    (key,) = (name for name, times in names.items() if times > 1)
    assert day.planted["rewritten_in_place"] == (key,)
    first, second = (put for drop in day.drops for put in drop.puts if put.key == key)
    assert second.modified - first.modified > 2 * HOUR
    before, after = ({row["movement_id"]: row for _, row in rows(put)} for put in (first, second))
    assert len(before.keys() - after.keys()) == 1
    assert len(after.keys() - before.keys()) == 1
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    assert len(changed) == 2
    assert all(after[name]["updated_at"] > before[name]["updated_at"] for name in changed)
    assert len(before.keys() & after.keys()) > 10


def test_rows_are_dropped_twice_out_of_order_and_tied(day, state):
    seen, twice, older, tied = {}, set(), set(), set()
    for table, key_name in (("products", "product_id"), ("stock_movements", "movement_id")):
        for put in tables(state, table):
            for line, found in rows(put):
                row = {name: value for name, value in found.items() if name != "material"}
                place = f"{put.key}:{line}"
                known = seen.setdefault(row[key_name], [])
                twice |= {place} if row in known else set()
                older |= {place} if any(row["updated_at"] < one["updated_at"] for one in known) else set()
                tied |= {place for one in known if row != one and row["updated_at"] == one["updated_at"]}
                known.append(row)
    assert twice == set(day.planted["dropped_twice"])
    assert older == set(day.planted["out_of_order"])
    assert tied == {place for place in day.planted["tie"] if ":" in place}


def test_rows_are_deleted_and_movements_are_counts(day, state):
    found = {
        f"{put.key}:{line}"
        for table in ("products", "stock_movements")
        for put in tables(state, table)
        for line, row in rows(put)
        if row["deleted_at"]
    }
    assert found == {place for place in day.planted["deleted"] if ":" in place}
    moved = [row for put in tables(state, "stock_movements") for _, row in rows(put)]
    assert {row["kind"] for row in moved} == {"receipt", "sale", "return", "adjustment"}
    assert {row["kind"] for row in moved if int(row["quantity"]) < 0} == {"adjustment"}
    assert all(int(row["quantity"]) for row in moved)
    (early,) = (p.partition("/")[2] for p in day.planted["product_heals"] if p.startswith("stock_movements/"))
    (row,) = (row for row in moved if row["movement_id"] == early)
    shown = min(
        put.modified for put in tables(state, "products") for _, r in rows(put) if r["product_id"] == row["product_id"]
    )
    received = min(
        put.modified for put in tables(state, "stock_movements") for _, r in rows(put) if r["movement_id"] == early
    )
    assert shown - received == HOUR
