"""Alerts: who reads this graph learns of a failure by mail or webhook, with its cause in the first line.

What belongs here: what an alert says (`Alert`, built from a failed run, a failed check or a missed freshness
deadline), how it is delivered, and the sensors that watch. What does not: deciding what is a failure (checks
and freshness policies do), and any retry of the work itself.

- A failed run alerts once, through Dagster's run failure sensor; a blocking check fails its run and is told
  there, by name.
- A check that fails with ERROR severity without failing a run, and assets whose freshness turns to FAIL, all together,
  alert through a second sensor, whose cursor remembers what was told.
- Secrets: the webhook's URL and the mail server's password are cut out of every text that leaves this module.
  httpx would log the URL, so its logger is silenced for it while it is called.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import dagster as dg

from lake.errors import LakeError, one_line
from lake.settings import Settings, get_settings

if TYPE_CHECKING:
    from email.message import EmailMessage

    from dagster_shared.error import SerializableErrorInfo

Kind = Literal["run", "check", "freshness"]

LONGEST_REASON = 500
FAILURES_PER_CHECK = 50  # looked at in one tick
SHORTEST_SECRET = 4  # a shorter one would black out words
OVERLAP_SECONDS = 600.0  # events are stored a little after the time they carry
_TOKEN = re.compile(r"(?=.*\d).{6,}|.{16,}")  # a part of a webhook's path that is no word
NOT_CONFIGURED = "no alert channel: set LAKEGRAPH_ALERT_WEBHOOK, or LAKEGRAPH_ALERT_SMTP with LAKEGRAPH_ALERT_MAIL_TO"


@dataclass(frozen=True)
class Alert:
    """One failure, in the words of a person who has to act on it.

    Attributes:
        title: what failed, on one line.
        reason: why, on one line: the message of the root cause.
        job: the job's name, or empty where no run is involved.
        run_id: the run, or empty.
        partition: the partition, or the range `first...last`.
        assets: the asset keys that were not built, failed their check or are stale.
        url: where to look in the Dagster UI.
        kind: what was watched.
    """

    title: str
    reason: str
    job: str
    run_id: str
    partition: str | None
    assets: tuple[str, ...]
    url: str
    kind: Kind


class DeliveryError(LakeError):
    """At least one channel failed for good.

    Attributes:
        delivered: the channels that got the alert all the same.
    """

    def __init__(self, message: str, delivered: Sequence[str]) -> None:
        super().__init__(message)
        self.delivered = tuple(delivered)


# -- what an alert says ----------------------------------------------------------------------------------


def _names(error: type[LakeError]) -> set[str]:
    return {error.__name__}.union(*(_names(variant) for variant in error.__subclasses__()))


def reason_of(error: "SerializableErrorInfo") -> str:
    """The root cause of an error as Dagster stores it, on one line: `lake.errors.one_line` for stored errors.

    Args:
        error: what a failure event carries.

    Returns:
        The message of the first `LakeError` among the causes, else type and message of the innermost cause.
    """
    chain = [error]
    while (inner := chain[-1].cause or chain[-1].context) is not None:
        chain.append(inner)
    ours = _names(LakeError)
    cause = next((e for e in chain if e.cls_name in ours), chain[-1])
    name = cause.cls_name or "Error"
    text = re.sub(rf"^(?:[\w.]+\.)?{re.escape(name)}(?:: |$)", "", " ".join(cause.message.split()))
    text = text if name in ours and text else f"{name}: {text}".rstrip(": ")
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def _partition(tags: Mapping[str, str]) -> str | None:
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    return f"{first}...{last}" if first and last else tags.get("dagster/partition")


def _failed(evaluation: dg.AssetCheckEvaluation) -> bool:
    return not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR


def _check_words(evaluation: dg.AssetCheckEvaluation) -> str:
    name = f"{evaluation.check_name} on {evaluation.asset_key.to_user_string()}"
    return " ".join(f"{name}: {evaluation.description or 'failed'}".split())


def alert_from_run(context: dg.RunFailureSensorContext, ui_url: str) -> Alert:
    """What to say about a failed run.

    Args:
        context: the context of Dagster's run failure sensor; only read.
        ui_url: where the Dagster UI is.

    Returns:
        An alert of kind `check` if a blocking check stopped the run, else of kind `run`.
    """
    run, instance = context.dagster_run, context.instance

    def events(kind: dg.DagsterEventType) -> list[dg.DagsterEvent]:
        records = instance.get_records_for_run(run.run_id, of_type=kind).records
        return [r.event_log_entry.dagster_event for r in records if r.event_log_entry.dagster_event]

    planned = {e.asset_key for e in events(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)}
    built = {e.asset_key for e in events(dg.DagsterEventType.ASSET_MATERIALIZATION)}
    steps = events(dg.DagsterEventType.STEP_FAILURE)
    errors = [step.step_failure_data.error for step in steps if step.step_failure_data.error]
    evaluations = [e.asset_check_evaluation_data for e in events(dg.DagsterEventType.ASSET_CHECK_EVALUATION)]
    blocking = [e for e in evaluations if e.blocking and _failed(e)]
    checked = bool(blocking) and all("DagsterAssetCheckFailedError" in (e.cls_name or "") for e in errors)
    reasons = [_check_words(e) for e in blocking] if checked else [reason_of(e) for e in errors]
    reasons = reasons or [" ".join((context.failure_event.message or "the run failed").split())]
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    unbuilt = {key.to_user_string() for key in planned - built if key}
    unbuilt |= {e.asset_key.to_user_string() for e in blocking}
    partition = _partition(run.tags)
    job = "materialization" if run.job_name.startswith("__") else run.job_name
    where = f" of {partition}" if partition else ""
    return Alert(
        title=f"{'Check stopped' if checked else 'Failed'}: {job}{where}",
        reason=reasons[0] + more,
        job=run.job_name,
        run_id=run.run_id,
        partition=partition,
        assets=tuple(sorted(unbuilt)),
        url=f"{ui_url.rstrip('/')}/runs/{run.run_id}",
        kind="check" if checked else "run",
    )


def _asset_url(key: dg.AssetKey, ui_url: str) -> str:
    return f"{ui_url.rstrip('/')}/assets/{'/'.join(key.path)}"


def alert_from_check(evaluation: dg.AssetCheckEvaluation, run_id: str, ui_url: str) -> Alert:
    """What to say about a failed check that did not fail its run.

    Args:
        evaluation: the check's result.
        run_id: the run that evaluated it, or empty.
        ui_url: where the Dagster UI is.

    Returns:
        An alert of kind `check`.
    """
    key = evaluation.asset_key.to_user_string()
    return Alert(
        title=f"Check failed: {evaluation.check_name} on {key}",
        reason=_check_words(evaluation),
        job="",
        run_id=run_id,
        partition=evaluation.partition,
        assets=(key,),
        url=f"{_asset_url(evaluation.asset_key, ui_url)}?view=checks",
        kind="check",
    )


def alert_from_freshness(key: dg.AssetKey, since: str, ui_url: str) -> Alert:
    """What to say about an asset that missed its freshness deadline.

    Args:
        key: the asset.
        since: when it turned stale, for people.
        ui_url: where the Dagster UI is.

    Returns:
        An alert of kind `freshness`.
    """
    name = key.to_user_string()
    return Alert(
        title=f"Stale: {name}",
        reason=f"{name} was not built in time: its freshness policy fails since {since}",
        job="",
        run_id="",
        partition=None,
        assets=(name,),
        url=_asset_url(key, ui_url),
        kind="freshness",
    )


def payload(alert: Alert) -> dict[str, Any]:
    """The JSON object that a webhook gets: the alert's fields, and `text`, which chat systems show.

    Args:
        alert: what to tell.

    Returns:
        A JSON-serialisable object.
    """
    return {"text": f"{alert.title}\n{alert.reason}\n{alert.url}"} | asdict(alert)


def mail(alert: Alert, settings: Settings) -> "EmailMessage":
    """The mail of an alert.

    Args:
        alert: what to tell.
        settings: sender and recipients.

    Returns:
        A plain-text message whose first line is the reason.
    """
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"] = f"[lakegraph] {' '.join(alert.title.split())}"
    message["From"] = settings.alert_mail_from
    message["To"] = ", ".join(_recipients(settings))
    facts = {"Job": alert.job, "Run": alert.run_id, "Partition": alert.partition, "See": alert.url}
    lines = [alert.reason, "", *(f"{name}: {value}" for name, value in facts.items() if value)]
    lines += ["", "Assets:", *(f"  {asset}" for asset in alert.assets)] if alert.assets else []
    message.set_content("\n".join(lines) + "\n")
    return message


# -- delivery --------------------------------------------------------------------------------------------


def _recipients(settings: Settings) -> list[str]:
    return [part.strip() for part in (settings.alert_mail_to or "").split(",") if part.strip()]


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no number, and would quote it
    except ValueError:
        return None
    return parts if parts.hostname else None


def redactor(settings: Settings) -> Callable[[str], str]:
    """A function that cuts the alert settings' secrets, and any `user:password@`, out of a text.

    Args:
        settings: holds the secrets.

    Returns:
        A function from text to text.
    """
    secrets: set[str] = set()
    for secret in (settings.alert_webhook, settings.alert_smtp):
        url = secret.get_secret_value() if secret else ""
        parts = _split(url)
        secrets.add(url)
        if parts:
            secrets |= {parts.password or "", unquote(parts.password or ""), parts.query}
            secrets |= {piece for piece in parts.path.split("/") if _TOKEN.fullmatch(piece)}
    hidden = sorted((s for s in secrets if len(s) >= SHORTEST_SECRET), key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, "***")
        return re.sub(r"(?<=://)[^/\s@]+@", "***@", text)

    return redact


def _transient(error: BaseException) -> bool:
    import smtplib

    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == httpx.codes.TOO_MANY_REQUESTS or error.response.is_server_error
    if isinstance(error, smtplib.SMTPResponseException):
        return 400 <= error.smtp_code < 500  # noqa: PLR2004 — SMTP's "try again later"
    if isinstance(error, smtplib.SMTPException):
        return isinstance(error, smtplib.SMTPServerDisconnected)
    return isinstance(error, httpx.TransportError | OSError)


@contextmanager
def _unlogged(redact: Callable[[str], str]) -> Iterator[None]:
    """While it lasts, httpx's logger drops the lines that hold a secret: it prints each request's URL."""
    import logging

    logger = logging.getLogger("httpx")

    def clean(record: logging.LogRecord) -> bool:
        return redact(record.getMessage()) == record.getMessage()

    logger.addFilter(clean)
    try:
        yield
    finally:
        logger.removeFilter(clean)


def _send_webhook(alert: Alert, settings: Settings, parts: SplitResult) -> None:
    import httpx

    headers = {"Content-Type": "application/json", "User-Agent": "lakegraph"}
    body = json.dumps(payload(alert)).encode()
    timeout = settings.http_timeout_seconds
    with _unlogged(redactor(settings)):
        httpx.post(parts.geturl(), content=body, headers=headers, timeout=timeout).raise_for_status()


def _send_mail(alert: Alert, settings: Settings, parts: SplitResult) -> None:
    import smtplib
    import ssl

    host, timeout, tls = parts.hostname or "", settings.http_timeout_seconds, ssl.create_default_context()
    message = mail(alert, settings)
    server: smtplib.SMTP
    if parts.scheme == "smtps":
        server = smtplib.SMTP_SSL(host, parts.port or 465, timeout=timeout, context=tls)
    else:
        server = smtplib.SMTP(host, parts.port or 25, timeout=timeout)
    with server:
        encrypted = parts.scheme == "smtps"
        server.ehlo()
        if not encrypted and server.has_extn("starttls"):
            server.starttls(context=tls)
            encrypted = True
        if parts.username:
            if not encrypted and host not in {"localhost", "127.0.0.1", "::1"}:
                raise LakeError("offers no encryption, and the password is not sent without; use smtps://")
            server.login(unquote(parts.username), unquote(parts.password or ""))
        refused = server.send_message(message)
        if refused:
            raise LakeError(f"refused {', '.join(sorted(refused))}")


def _words(error: BaseException) -> str:
    """An error in few words: a library's own text would quote the URL."""
    import smtplib

    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"login refused ({error.smtp_code})"
    return one_line(error)


def deliver(alert: Alert, settings: Settings) -> tuple[str, ...]:
    """Send an alert to each configured channel; one that fails does not keep the other from being tried.

    Transient faults are tried again with backoff, `settings.http_attempts` times in all.

    Args:
        alert: what to tell.
        settings: the channels.

    Returns:
        The channels that got it: `webhook`, `mail`.

    Raises:
        DeliveryError: a channel failed for good; the message names it and its host, never its credentials.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

    redact = redactor(settings)
    told = replace(alert, title=redact(alert.title), reason=redact(alert.reason), url=redact(alert.url))
    channels = {
        "webhook": (settings.alert_webhook, ("http", "https"), _send_webhook),
        "mail": (settings.alert_smtp, ("smtp", "smtps"), _send_mail),
    }
    delivered: list[str] = []
    failures: list[str] = []
    for name, (secret, schemes, send) in channels.items():
        if secret is None:
            continue
        parts = _split(secret.get_secret_value())
        mispasted = name == "mail" and parts is not None and parts.path.strip("/")  # an unquoted password
        if parts is None or parts.scheme not in schemes or mispasted:
            failures.append(f"{name}: its setting is no URL of the form {schemes[0]}://host:port")
            continue
        if name == "mail" and not _recipients(settings):
            failures.append("mail: LAKEGRAPH_ALERT_MAIL_TO names no recipient")
            continue
        attempts = Retrying(
            stop=stop_after_attempt(settings.http_attempts),
            wait=wait_exponential_jitter(initial=0.2, max=5.0, jitter=0.2),
            retry=retry_if_exception(_transient),
            reraise=True,
        )
        try:
            attempts(send, told, settings, parts)
        except Exception as error:  # noqa: BLE001 — the other channel is tried whatever happened to this one
            host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
            failures.append(f"{name} {host}: {redact(_words(error))}")
        else:
            delivered.append(name)
    if failures:
        raise DeliveryError(f"alert not delivered: {'; '.join(failures)}", delivered)
    return tuple(delivered)


# -- the sensors -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cursor:
    """What was told already: everything before `since`, and the events in `seen` (id → time)."""

    since: float
    seen: Mapping[str, float]

    @classmethod
    def read(cls, text: str | None) -> "_Cursor | None":
        return cls(**json.loads(text)) if text else None

    def write(self) -> str:
        return json.dumps(asdict(self))


def _events(
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetKey],
    checks: Sequence[dg.AssetCheckKey],
    since: float,
    ui_url: str,
) -> Iterator[tuple[str, float, Alert]]:
    """Failed checks and missed deadlines since `since`: an id that stays the same, the time, the alert."""
    from dagster._core.definitions.freshness import FreshnessState
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

    failed = {AssetCheckExecutionRecordStatus.FAILED}
    for check in checks:
        history = instance.event_log_storage.get_asset_check_execution_history(
            check, limit=FAILURES_PER_CHECK, status=failed
        )
        for record in reversed(history):
            if record.event is None or record.event.dagster_event is None or record.event.timestamp < since:
                continue
            evaluation = record.event.dagster_event.asset_check_evaluation_data
            if _failed(evaluation) and not (evaluation.blocking and record.run_id):
                alert = alert_from_check(evaluation, record.run_id, ui_url)
                yield f"check {record.id}", record.event.timestamp, alert
    for key, state in instance.get_freshness_state_records(assets).items():
        at = state.updated_at
        if state.freshness_state == FreshnessState.FAIL and at.timestamp() >= since:
            alert = alert_from_freshness(key, f"{at:%Y-%m-%d %H:%M:%S} UTC", ui_url)
            yield f"freshness {key.to_user_string()} {at.timestamp()}", at.timestamp(), alert


@dataclass(frozen=True)
class _News:
    """What is told at once: an alert, and the events (id → time) that it is of."""

    events: Mapping[str, float]
    alert: Alert


def _grouped(events: Sequence[tuple[str, float, Alert]], ui_url: str) -> list[_News]:
    """One alert for all that have become stale: of a domain that misses its deadline, all tables do."""
    stale = [event for event in events if event[2].kind == "freshness"]
    news = [_News({name: at}, alert) for name, at, alert in events if alert.kind != "freshness" or len(stale) == 1]
    if len(stale) > 1:
        names = sorted(asset for _, _, alert in stale for asset in alert.assets)
        since = min(alert.reason.rpartition(" since ")[2] for _, _, alert in stale)
        reason = f"{', '.join(names)} were not built in time: their freshness policies fail, the first since {since}"
        reason = reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"
        together = replace(
            stale[0][2],
            title=f"Stale: {len(names)} assets",
            reason=reason,
            assets=tuple(names),
            url=f"{ui_url.rstrip('/')}/assets",
        )
        news.append(_News({name: at for name, at, _ in stale}, together))
    return news


def _tell(news: Sequence[_News], settings: Settings, log: Any) -> dict[str, float]:
    """Deliver what can be delivered; the ids and times of the events that reached a channel.

    Raises:
        DeliveryError: the first event reached no channel, so there is nothing to remember.
    """
    told: dict[str, float] = {}
    for one in news:
        try:
            deliver(one.alert, settings)
        except DeliveryError as error:
            if not error.delivered and not told:
                raise
            log.error("%s", error)  # noqa: TRY400 — its text is all there is to know
            if not error.delivered:  # the next tick tries this one and the rest again
                break
        told |= one.events
    return told


def build_alert_sensors(settings: Settings | None = None) -> list[dg.SensorDefinition]:
    """The sensors that alert: `alert_on_failure` for runs, `alert_on_quality` for checks and freshness.

    Args:
        settings: the channels; by default those of the process that evaluates the sensor.

    Returns:
        Two sensors, on by default. Without a channel they skip and say how to configure one.
    """

    def current() -> Settings:
        return settings or get_settings()

    def configured() -> bool:
        return bool(current().alert_webhook or current().alert_smtp)

    @dg.run_failure_sensor(
        name="alert_on_failure",
        description="Sends a mail or a webhook call for every failed run.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    def alert_on_failure(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        if not configured():
            context.log.info("run %s failed; %s", context.dagster_run.run_id, NOT_CONFIGURED)
            return dg.SkipReason(NOT_CONFIGURED)
        deliver(alert_from_run(context, current().ui_url), current())
        return None

    @dg.sensor(
        name="alert_on_quality",
        description="Sends a mail or a webhook call for failed checks and for missed freshness deadlines.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=60,
    )
    def alert_on_quality(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from dagster._time import get_current_timestamp

        now = get_current_timestamp()
        cursor = _Cursor.read(context.cursor)
        if not configured() or cursor is None:
            context.update_cursor(_Cursor(now, {}).write())
            return dg.SkipReason("watching from now on" if configured() else NOT_CONFIGURED)
        graph = context.repository_def.asset_graph if context.repository_def else None
        assets = sorted(graph.materializable_asset_keys) if graph else []
        checks = sorted(graph.asset_check_keys) if graph else []
        found = _events(context.instance, assets, checks, cursor.since, current().ui_url)
        news = sorted((event for event in found if event[0] not in cursor.seen), key=lambda event: event[1])
        told = _tell(_grouped(news, current().ui_url), current(), context.log)
        untold = [at for name, at, _ in news if name not in told]
        since = max(cursor.since, min([now - OVERLAP_SECONDS, *untold]))
        seen = {name: at for name, at in ({**cursor.seen, **told}).items() if at >= since}
        context.update_cursor(_Cursor(since, seen).write())
        return dg.SkipReason(f"{len(told)} alerts sent" + (f", {len(untold)} to be tried again" if untold else ""))

    return [alert_on_failure, alert_on_quality]
