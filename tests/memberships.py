"""What tests of the membership's models share: a small world of reports, loaded into bronze for real, and dbt over it.

What belongs here: rows in short notation, their load through the store of either target, running dbt. What does not:
expectations, and reading workbooks.

The world goes over four weeks, one of them without anybody. All of it up to the first day is that day's load; `SECOND`
brings another day, and a workbook that corrects the first one.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import shops
import yaml
from command import DEADLINE

from lake.dbt_parsed import PARSED
from lake.load import LoadRequest, SourceReport, load
from lake.settings import Settings
from lake.spec import TableSpec

DEFS = shops.PROJECT.parent / "orchestration/defs/membership"
SELECT = ("path:models/silver/membership", "path:models/gold/membership", "membership_user_levels")
FIRST, NEXT, LAST = date(2023, 3, 29), date(2023, 3, 30), date(2023, 3, 31)
EARLY, LATE = datetime(2023, 3, 30, 1), datetime(2023, 3, 30, 2)  # noqa: DTZ001 - UTC, as bronze has it
Row = dict[str, Any]
Delivery = Mapping[tuple[str, date | None], Sequence[Row]]  # all rows of a report's partition; None: of the table


def _place(number: int, at: datetime) -> Row:
    return {"workbook": f"{at:%H}.xlsx", "workbook_modified_at": at, "sheet": "Sheet1", "sheet_row": number}


def top_up(
    number: int, user: str, channel: str, paid_at: str, amount: str, *, at: datetime = EARLY, **more: Any
) -> Row:
    """An order that succeeded; `paid_at` in UTC."""
    return {
        "top_up_id": f"T{number:02}",
        "user_id": user,
        "nickname": user.upper(),
        "channel_code": channel,
        "paid_at": datetime.fromisoformat(paid_at),
        "amount": Decimal(amount),
        "currency": "TWD",
        "diamonds": 10,
        "payment_method": "credit_card",
        "status": "succeeded",
        **_place(number, at),
        **more,
    }


def pre(day: str, channel: str, count: int | None, gross: str, *, at: datetime = EARLY, **more: Any) -> Row:
    """A settlement before deductions."""
    return {
        "settlement_date": date.fromisoformat(day),
        "channel_code": channel,
        "channel_name": f"Channel {channel}",
        "channel_type": "web",
        "top_up_count": count,
        "gross_amount": Decimal(gross),
        **_place(1, at),
        **more,
    }


def post(day: str, channel: str, rate: str | None, fee: str | None, tax: str | None, net: str, **more: Any) -> Row:
    """A settlement after deductions."""
    numbers = {"deduction_rate": rate, "platform_fee": fee, "tax": tax, "net_amount": net}
    return {
        "settlement_date": date.fromisoformat(day),
        "channel_code": channel,
        **{name: None if number is None else Decimal(number) for name, number in numbers.items()},
        **_place(1, EARLY),
        **more,
    }


def active(day: str, user: str, level: str, views: int | None = 0, *, at: datetime = EARLY, **more: Any) -> Row:
    """A user's activity on a day."""
    return {
        "activity_date": date.fromisoformat(day),
        "user_id": user,
        "nickname": user.upper(),
        "registered_on": date(2023, 3, 1),
        "membership_level": level,
        "logins": 1,
        "watch_minutes": Decimal("10.005"),
        "gifts_sent": None,
        "topup_page_views": views,
        **_place(1, at),
        **more,
    }


OF_FIRST: Delivery = {
    ("workbooks", None): ({"file_id": "1", "name": "01.xlsx", "report": "top_up", "report_day": FIRST},),
    ("top_up", FIRST): (
        top_up(1, "u1", "web", "2023-03-06 15:59:59", "100"),  # the last second of Monday
        top_up(2, "u1", "web", "2023-03-06 16:00:00", "50.50"),  # the first one of Tuesday
        top_up(3, "u2", "gplay", "2023-03-11 21:59:59", "30", status="failed"),
        top_up(4, "u2", "gplay", "2023-03-11 22:00:00", "30"),
        top_up(5, "u2", "gplay", "2023-03-12 04:00:00", "20", status="refunded"),
        top_up(6, "u2", "gplay", "2023-03-12 10:00:00", "40"),
        top_up(7, "u3", "web", "2023-03-27 17:00:00", "99"),
        top_up(7, "u3", "web", "2023-03-27 17:00:00", "10", at=LATE),
        top_up(90, "u1", "web", "2023-03-06 04:00:00", "1", status="處理中"),
        top_up(91, "u1", "web", "2023-03-06 04:00:00", "1", currency="USD"),
        top_up(92, "u1", "web", "2023-03-06 04:00:00", "-0.01"),
        top_up(93, "u1", "web", "2023-03-06 04:00:00", "1", diamonds=-1),
    ),
    ("pre_deduction", FIRST): (
        pre("2023-03-06", "web", 1, "100"),
        pre("2023-03-07", "web", 1, "50.50"),
        pre("2023-03-12", "gplay", 9, "99", channel_name="Old name"),
        pre("2023-03-12", "gplay", 2, "70", channel_name="Play", channel_type="app_store", at=LATE),
        pre("2023-03-12", "web", 0, "0"),
        pre("2023-03-28", "web", 1, "10", channel_name="The web"),
        pre("2023-03-28", "kiosk", 1, "10", channel_type="kiosk"),
        pre("2023-03-29", "kiosk", 1, "-1"),
        pre("2023-03-30", "kiosk", -1, "1"),
    ),
    ("post_deduction", FIRST): (
        post("2023-03-06", "web", "0.30", "30", "1.50", "68.50"),
        post("2023-03-07", "web", "0.30", "15.15", "0.76", "34.60"),  # a cent more than is right, which is borne
        post("2023-03-12", "gplay", "0.15", "10", "0.50", "59.50"),
        post("2023-03-12", "web", None, None, None, "0"),
        post("2023-03-28", "gplay", "0.15", "0", "0", "0"),
        post("2023-03-29", "gplay", "30", "0", "0", "0"),
        post("2023-03-29", "web", "0.30", "-50", "0", "50"),
    ),
    ("op_stats", FIRST): (
        active("2023-03-06", "u1", "basic"),
        active("2023-03-06", "u2", "gold", 2),
        active("2023-03-12", "u1", "silver", nickname="One"),
        active("2023-03-12", "u2", "gold", None, registered_on=date(2023, 2, 28)),
        active("2023-03-12", "u3", "basic", 1),
        active("2023-03-13", "u2", "silver"),
        active("2023-03-19", "u1", "silver"),
        active("2023-03-27", "u1", "gold", nickname="Uno"),
        active("2023-03-28", "u3", "basic"),
        active("2023-03-29", "u4", "diamond"),
        active("2023-03-29", "u8", "basic", logins=-1),
        active("2023-03-29", "u9", "白金"),
    ),
}
"""What the first load brings."""

SECOND: Delivery = {
    ("top_up", NEXT): (
        top_up(8, "u4", "web", "2023-03-30 03:00:00", "5"),
        top_up(9, "u4", "web", "2023-03-30 03:00:00", "5"),
    ),
    ("pre_deduction", NEXT): (pre("2023-03-30", "web", 2, "10", channel_name="The web"),),
    ("post_deduction", NEXT): (post("2023-03-30", "web", "0.30", "3", "0", "7"),),
    ("op_stats", FIRST): (*OF_FIRST["op_stats", FIRST], active("2023-03-29", "u4", "gold", at=LATE)),
    ("op_stats", NEXT): (active("2023-03-30", "u1", "diamond"),),
}
"""The next day, and the first one again with a workbook more, by which u4 has another level."""

THIRD: Delivery = {
    ("op_stats", FIRST): (
        *SECOND["op_stats", FIRST],
        active("2023-03-29", "u4", "diamond", at=LATE + timedelta(hours=1)),
    ),
    ("op_stats", NEXT): (active("2023-03-30", "u3", "basic"),),
}
"""u4 had the first level after all; of the next day there is another report, without u1."""


def spec_of(report: str) -> TableSpec:
    """The bronze table of a report."""
    declared = yaml.safe_load((DEFS / report / "defs.yaml").read_text(encoding="utf-8"))
    return TableSpec.model_validate(declared["attributes"]["table"])


def bring(settings: Settings, delivery: Delivery) -> None:
    """Load partitions into bronze, on the settings' target."""
    for (report, day), rows in delivery.items():
        load(spec_of(report), _source(rows), settings, partition=day, run_id="test")


def _source(rows: Sequence[Row]) -> Any:
    import dlt
    import pyarrow as pa

    def source(request: LoadRequest, report: SourceReport) -> Any:
        @dlt.resource(name=request.spec.table, file_format="parquet")
        def found() -> Iterator[Any]:
            report.source_object, report.rows_read = "a list", len(rows)
            yield pa.Table.from_pylist(list(rows), schema=request.spec.arrow_schema())

        return dlt.source(lambda: found, name="membership", max_table_nesting=0)()

    return source


@dataclass(frozen=True)
class Membership:
    """A target with some bronze in it, and dbt to build the rest, its artifacts in `folder`."""

    settings: Settings
    folder: Path

    def dbt(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run dbt over bronze as it is now; the project is parsed once."""
        from orchestration.resources.dbt import environment, warehouse

        parsed = self.folder / "target" / "partial_parse.msgpack"
        command = [Path(sys.executable).with_name("lakegraph-dbt"), "--no-use-colors", *arguments]
        command += ["--project-dir", shops.PROJECT, "--profiles-dir", shops.PROJECT, "--vars", json.dumps(variables)]
        given = {
            **os.environ,
            **environment(self.settings, "test"),
            PARSED: str(parsed) if parsed.exists() else "",
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "logs"),
        }
        with warehouse(self.settings):
            return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=DEADLINE)

    def build(self, *more: str) -> str:
        """Build all of the membership with its tests; what dbt printed."""
        done = self.dbt("build", "--select", *SELECT, *more)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def sent(self) -> dict[str, str]:
        """The SQL that dbt has made of models and tests, by file."""
        parts = (self.folder / "target" / part for part in ("compiled", "run"))
        return {str(path): path.read_text() for part in parts for path in part.rglob("*.sql")}
