"""Alerts against a real mail server and a real web server on loopback."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time
from dagster._daemon.freshness import FreshnessDaemon
from dagster._time import get_current_timestamp

from lake.errors import LakeError
from lake.settings import Settings
from orchestration import project
from orchestration.alerts import (
    Alert,
    DeliveryError,
    alert_from_run,
    build_alert_sensors,
    deliver,
    mail,
    payload,
)

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")  # the sink speaks no TLS

TOKEN = "T0KEN-x9f3-hush"  # noqa: S105
PASSWORD = "p@ss/w0rd-hush"  # noqa: S105
QUOTED = "p%40ss%2Fw0rd-hush"
SECRETS = (TOKEN, PASSWORD, QUOTED)
ALERT = Alert("Failed: nightly", "no room", "nightly", "r1", "2024-01-01", ("gold/a",), "http://ui/runs/r1", "run")


@dataclass
class Web:
    """A web server that answers with `statuses`, then 200, and keeps what it is sent."""

    statuses: list[int] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def web() -> Iterator[Web]:
    sink = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sink.received.append(json.loads(body))
            self.send_response(sink.statuses.pop(0) if sink.statuses else 200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink.url = f"http://127.0.0.1:{server.server_port}/hook/{TOKEN}?key={TOKEN}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield sink
        server.shutdown()
        thread.join()


class Mailbox(Controller):
    """A mail server on a free port that asks for a password and keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []
        self.recipients: list[str] = []
        super().__init__(
            self, hostname="127.0.0.1", port=0, authenticator=self.authenticate,
            auth_required=True, auth_require_tls=False,
        )  # fmt: skip

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # the one the system chose
        super()._trigger_server()

    def authenticate(self, *args: Any) -> AuthResult:
        who = args[-1]
        assert isinstance(who, LoginPassword)
        known = (who.login, who.password) == (b"robot", PASSWORD.encode())
        return AuthResult(success=known, handled=False)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.received.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    @property
    def url(self) -> str:
        return f"smtp://robot:{QUOTED}@127.0.0.1:{self.port}"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    box.start()
    yield box
    box.stop()


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that is taken and refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as on_disk:  # SQLite, as on a laptop
        yield on_disk


def configured(**channels: str) -> Settings:
    return Settings(alert_mail_to="ann@example.org, bob@example.org", http_attempts=2, ui_url="http://ui/", **channels)  # type: ignore[arg-type]


@dg.asset(key_prefix="bronze", partitions_def=dg.StaticPartitionsDefinition(["2024-01"]))
def trips() -> None:
    full = LakeError(f"bucket lake is full:\n see http://x/hook/{TOKEN} or smtp://robot:{QUOTED}@h")
    full.__cause__ = ConnectionResetError("a library's words")
    raise RuntimeError("wrapped by a library") from full


@dg.asset(
    key_prefix="silver",
    check_specs=[dg.AssetCheckSpec("accounting", asset=["silver", "zones"], blocking=True)],
)
def zones() -> Iterator[dg.MaterializeResult[Any]]:
    check = dg.AssetCheckResult(check_name="accounting", passed=False, description="3 rows\nunaccounted")
    yield dg.MaterializeResult(check_results=[check])


@dg.asset(key_prefix="gold")
def users() -> None:
    """Fine, but its check is not."""


@dg.asset_check(asset=users)
def users_in_range() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description="0 users")


@dg.asset_check(asset=users)
def users_warn() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)


DEFS = dg.Definitions(assets=[trips, zones, users], asset_checks=[users_in_range, users_warn])


def failed_run(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, partition: str | None = None) -> Any:
    result = dg.materialize([asset], instance=instance, partition_key=partition, raise_on_error=False)
    assert not result.success
    return dg.build_run_status_sensor_context(
        sensor_name="alert_on_failure",
        dagster_event=next(e for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    )


def on_failure(settings: Settings) -> Any:
    return build_alert_sensors(settings)[0]


def tick(settings: Settings, instance: dg.DagsterInstance, cursor: str | None) -> Any:
    sensor = build_alert_sensors(settings)[1]
    repository = DEFS.get_repository_def()
    with dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=repository) as context:
        return sensor.evaluate_tick(context)


def test_a_failed_run_reaches_mail_and_webhook_without_secrets(
    instance: dg.DagsterInstance, web: Web, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    context = failed_run(instance, trips, "2024-01")
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        assert on_failure(configured(alert_webhook=web.url, alert_smtp=mailbox.url))(context) is None

    [told] = web.received
    run = context.dagster_run
    assert told["kind"] == "run"
    assert told["reason"] == "bucket lake is full: see http://x/hook/*** or smtp://***@h"
    assert told["partition"] == "2024-01"
    assert told["assets"] == ["bronze/trips"]
    assert told["url"] == f"http://ui/runs/{run.run_id}"
    assert told["text"].startswith(f"{told['title']}\n{told['reason']}\n")

    [message] = mailbox.received
    assert mailbox.recipients == ["ann@example.org", "bob@example.org"]
    assert message["Subject"] == "[lakegraph] Failed: materialization of 2024-01"
    body = message.get_content()
    assert body.splitlines()[0] == told["reason"]
    assert f"Run: {run.run_id}" in body
    assert "  bronze/trips" in body

    everything = json.dumps(told) + message.as_string() + caplog.text
    assert [secret for secret in SECRETS if secret in everything] == []


def test_a_blocking_check_is_named_by_the_run_it_stopped(instance: dg.DagsterInstance) -> None:
    alert = alert_from_run(failed_run(instance, zones).for_run_failure(), "http://ui")
    assert alert.kind == "check"
    assert alert.title == "Check stopped: materialization"
    assert alert.reason == "accounting on silver/zones: 3 rows unaccounted"
    assert alert.assets == ("silver/zones",)


def test_the_webhook_is_tried_again_after_a_503(web: Web) -> None:
    web.statuses = [503]
    assert deliver(ALERT, configured(alert_webhook=web.url)) == ("webhook",)
    assert web.received == [json.loads(json.dumps(payload(ALERT)))] * 2


def test_a_404_is_final_and_its_text_holds_no_url(web: Web) -> None:
    web.statuses = [404]
    with pytest.raises(DeliveryError) as caught:
        deliver(ALERT, configured(alert_webhook=web.url))
    host = web.url.split("/")[2]
    assert str(caught.value) == f"alert not delivered: webhook {host}: HTTP 404"
    assert len(web.received) == 1


def test_a_dead_mail_server_does_not_keep_the_webhook_from_telling(web: Web, dead_port: int) -> None:
    smtp = f"smtp://robot:{QUOTED}@127.0.0.1:{dead_port}"
    with pytest.raises(LakeError) as caught:
        deliver(ALERT, configured(alert_webhook=web.url, alert_smtp=smtp))
    assert str(caught.value).startswith(f"alert not delivered: mail 127.0.0.1:{dead_port}: ConnectionRefusedError")
    assert len(web.received) == 1
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert isinstance(caught.value, DeliveryError)
    assert caught.value.delivered == ("webhook",)


def test_a_dead_webhook_does_not_keep_the_mail_from_telling(mailbox: Mailbox, dead_port: int) -> None:
    settings = configured(alert_webhook=f"http://127.0.0.1:{dead_port}/{TOKEN}", alert_smtp=mailbox.url)
    with pytest.raises(DeliveryError, match=f"webhook 127.0.0.1:{dead_port}: ConnectionRefusedError"):
        deliver(ALERT, settings)
    assert len(mailbox.received) == 1


def test_a_wrong_password_is_final_and_not_shown(mailbox: Mailbox) -> None:
    wrong = mailbox.url.replace(QUOTED, "wr0ng-hush")
    with pytest.raises(DeliveryError) as caught:
        deliver(ALERT, configured(alert_smtp=wrong))
    assert str(caught.value) == f"alert not delivered: mail 127.0.0.1:{mailbox.port}: login refused (535)"
    assert mailbox.received == []


@pytest.mark.parametrize("smtp", [f"smtp://robot:{PASSWORD}@h:25", f"mail.example.org/{TOKEN}", f"smtp://h:{TOKEN}"])
def test_a_wrong_setting_is_named_but_not_quoted(smtp: str) -> None:
    with pytest.raises(DeliveryError) as caught:
        deliver(ALERT, configured(alert_smtp=smtp))
    assert str(caught.value) == "alert not delivered: mail: its setting is no URL of the form smtp://host:port"


def test_a_mail_without_recipients_is_an_error(mailbox: Mailbox) -> None:
    with pytest.raises(DeliveryError, match="LAKEGRAPH_ALERT_MAIL_TO names no recipient"):
        deliver(ALERT, Settings(alert_smtp=mailbox.url))  # type: ignore[arg-type]


def test_a_line_break_cannot_add_a_header() -> None:
    message = mail(Alert("a\r\nBcc: x@y", "r", "", "", None, (), "u", "run"), configured())
    assert message["Subject"] == "[lakegraph] a Bcc: x@y"
    assert message["Bcc"] is None


def test_without_a_channel_the_sensors_skip_and_say_how_to_configure_one(
    instance: dg.DagsterInstance,
) -> None:
    skip = on_failure(Settings())(failed_run(instance, zones))
    assert isinstance(skip, dg.SkipReason)
    assert "set LAKEGRAPH_ALERT_WEBHOOK" in str(skip.skip_message)
    assert "set LAKEGRAPH_ALERT_WEBHOOK" in tick(Settings(), instance, None).skip_message


def test_a_failed_check_and_a_stale_asset_are_told_once(instance: dg.DagsterInstance, web: Web, dead_port: int) -> None:
    settings = configured(alert_webhook=web.url)
    cursor = tick(settings, instance, None).cursor
    assert dg.materialize([users, users_in_range, users_warn], instance=instance).success
    assert not dg.materialize([zones], instance=instance, raise_on_error=False).success  # told by its run
    now = get_current_timestamp()
    instance._report_runless_asset_event(
        FreshnessStateChange(
            key=users.key,
            previous_state=FreshnessState.PASS,
            new_state=FreshnessState.FAIL,
            state_change_timestamp=now,
        )
    )

    dead = configured(alert_webhook=f"http://127.0.0.1:{dead_port}/{TOKEN}")
    with pytest.raises(DeliveryError):  # nothing got out: the tick fails and keeps its cursor
        tick(dead, instance, cursor)

    first = tick(settings, instance, cursor)
    assert first.skip_message == "2 alerts sent"
    assert [(told["kind"], told["title"], told["reason"].split(" since")[0]) for told in web.received] == [
        ("check", "Check failed: users_in_range on gold/users", "users_in_range on gold/users: 0 users"),
        ("freshness", "Stale: gold/users", "gold/users was not built in time: its freshness policy fails"),
    ]
    assert web.received[0]["url"] == "http://ui/assets/gold/users?view=checks"
    second = tick(settings, instance, first.cursor)
    assert second.skip_message == "0 alerts sent"
    assert len(web.received) == 2


def test_both_sensors_are_on_by_default() -> None:
    sensors = build_alert_sensors()
    assert {s.name: s.default_status for s in sensors} == {
        "alert_on_failure": dg.DefaultSensorStatus.RUNNING,
        "alert_on_quality": dg.DefaultSensorStatus.RUNNING,
    }


# -- the membership's deadline: gold at eleven in Taipei -----------------------------------------------------------


@pytest.fixture(scope="module")
def graph() -> dg.RepositoryDefinition:
    project.prepare()
    from orchestration.definitions import defs

    return defs.get_repository_def()


def taipei(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2023, 4, day, hour, minute, tzinfo=ZoneInfo("Asia/Taipei"))


class Morning:
    """The graph's gold of the membership on a Dagster instance, and Dagster's own daemon that looks at the clock."""

    def __init__(self, graph: dg.RepositoryDefinition, instance: dg.DagsterInstance, settings: Settings) -> None:
        self._graph, self._instance, self._settings = graph, instance, settings
        self._cursor: str | None = None
        assets = graph.asset_graph.get_all_asset_keys()
        self.gold = sorted(key for key in assets if key.path[:2] == ["gold", "membership"])

    def build(self, at: datetime) -> None:
        with freeze_time(at):
            for key in self.gold:
                self._instance.report_runless_asset_event(dg.AssetMaterialization(key))

    def look(self, at: datetime) -> set[FreshnessState]:
        """What the daemon finds of all of gold; then the alerts' sensor has its turn."""
        with freeze_time(at):
            for key in self.gold:
                node = self._graph.asset_graph.get(key)
                context = LoadingContextForTest(self._instance)
                asyncio.run(FreshnessDaemon()._evaluate_asset(context, node))
            sensor = build_alert_sensors(self._settings)[1]
            with dg.build_sensor_context(
                instance=self._instance, cursor=self._cursor, repository_def=self._graph
            ) as context:
                self._cursor = sensor.evaluate_tick(context).cursor
        return {state.freshness_state for state in self._instance.get_freshness_state_records(self.gold).values()}


def test_gold_that_is_not_there_at_eleven_is_one_mail_and_one_call(
    graph: dg.RepositoryDefinition, instance: dg.DagsterInstance, web: Web, mailbox: Mailbox
) -> None:
    morning = Morning(graph, instance, configured(alert_webhook=web.url, alert_smtp=mailbox.url))
    assert len(morning.gold) == 11
    morning.build(taipei(1, 10, 30))
    assert morning.look(taipei(1, 11, 1)) == {FreshnessState.PASS}
    assert morning.look(taipei(2, 10, 59)) == {FreshnessState.PASS}, "until the next deadline"
    morning.build(taipei(2, 9, 50))  # by a workbook that came late; not by the load of ten o'clock
    assert morning.look(taipei(2, 11, 1)) == {FreshnessState.FAIL}
    [told], [mailed] = web.received, mailbox.received
    assert (told["kind"], told["title"]) == ("freshness", "Stale: 11 assets")
    assert told["assets"] == [key.to_user_string() for key in morning.gold]
    assert mailed["Subject"] == "[lakegraph] Stale: 11 assets"
    assert mailed.get_content().startswith("gold/membership/channel_performance, gold/membership/deduction_deviation")
    assert "were not built in time" in mailed.get_content()
    assert morning.look(taipei(2, 11, 2)) == {FreshnessState.FAIL}
    assert len(web.received) == len(mailbox.received) == 1, "it is told once"
    morning.build(taipei(2, 12))
    assert morning.look(taipei(2, 12, 1)) == {FreshnessState.PASS}
