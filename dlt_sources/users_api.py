"""The app's users: a paginated REST API in the manner of JSONPlaceholder.

What belongs here: paging, retries and the count of what the server said it has. What does not: flattening;
silver does it.

dlt's REST client does the work: its session retries connection errors, 429 and 5xx with backoff, and every
request has a timeout. Nested objects are kept as the JSON they came as, so that a field nobody has seen
before is not lost.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from dlt_sources.files import redact
from dlt_sources.rejects import with_rejected
from lake.errors import LakeError, TransientError
from lake.load import LoadRequest, SourceReport
from lake.quarantine import extra_columns, split

if TYPE_CHECKING:
    from dlt.extract import DltSource

PAGE_SIZE = 5  # small on purpose: the live API holds ten users, and paging that never happens is never right


def users(request: LoadRequest, report: SourceReport, *, path: str = "users") -> "DltSource":
    """All users.

    Args:
        request: the table.
        report: filled in with the URL, a digest of the answer and its rows.
        path: under `LAKEGRAPH_USERS_API`.

    Returns:
        A source with the resources `request.spec.table` and `request.spec.rejected_table`.
    """
    import dlt

    spec = request.spec

    @dlt.resource(name=spec.table, file_format="parquet")
    def rows() -> Iterator[Any]:
        import pyarrow as pa

        base = request.settings.endpoint("users_api")
        url = f"{redact(base)}/{path}"
        records = _read_all(request, base, path, url)
        report.source_object, report.rows_read = url, len(records)
        report.digest = hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
        # All as text: `split` casts to the declared types and rejects what does not fit.
        names = dict.fromkeys(name for record in records for name in record)
        table = pa.table({name: pa.array([_text(r.get(name)) for r in records], pa.string()) for name in names})
        extra = extra_columns(table, spec, url)
        report.new_columns = tuple(name for name in extra if name not in request.known_columns)
        good, rejected = split(table, spec, source_object=url, run_id=request.run_id)
        yield good
        yield from with_rejected(spec.rejected_table, [rejected])

    @dlt.source(name="users_api", max_table_nesting=0)
    def users_api() -> Any:
        return rows

    return users_api()


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _read_all(request: LoadRequest, base: str, path: str, url: str) -> list[dict[str, Any]]:
    """Every page's records.

    Raises:
        TransientError: the server did not answer after all attempts.
        LakeError: it answered with something else than lists of objects, with none at all, or with fewer than
        it announced.
    """
    from dlt.sources.helpers.requests import Client
    from dlt.sources.helpers.rest_client.client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator
    from requests.exceptions import HTTPError, InvalidSchema, InvalidURL, MissingSchema, RequestException

    settings = request.settings
    session = Client(
        request_timeout=settings.http_timeout_seconds,
        request_max_attempts=settings.http_attempts,
        request_backoff_factor=0.2,
        request_max_retry_delay=10,
        raise_for_status=False,  # the REST client raises by itself
    ).session
    paginator = PageNumberPaginator(base_page=1, page_param="_page", total_path=None, stop_after_empty_page=True)
    parts = urlsplit(base)
    client = RESTClient(urlunsplit(parts._replace(query="")), session=session, paginator=paginator)
    parameters = {**dict(parse_qsl(parts.query)), "_limit": PAGE_SIZE}
    records: list[dict[str, Any]] = []
    last: list[dict[str, Any]] = []
    announced: int | None = None
    try:
        for page in client.paginate(path, params=parameters, data_selector="$"):
            # dlt makes a list of a single object (an error with status 200, say), which would never be an
            # empty page
            if not isinstance(page.response.json(), list) or not all(isinstance(record, dict) for record in page):
                raise LakeError(f"{url}: answered with something else than a list of objects")
            if page and list(page) == last:
                raise LakeError(f"{url}: sent the same page twice; it does not heed `_page`")
            last = list(page)
            records.extend(page)
            total = page.response.headers.get("X-Total-Count")
            announced = int(total) if total and total.isdigit() else announced
    except HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        kind = TransientError if status >= 500 or status == 429 else LakeError  # noqa: PLR2004 - HTTP status classes
        attempts = f" after {settings.http_attempts} attempts" if kind is TransientError else ""
        raise kind(f"{url}: HTTP {status}{attempts}") from error
    except (InvalidURL, MissingSchema, InvalidSchema) as error:  # ValueErrors, whose text holds the URL
        raise LakeError(f"{url}: is not a URL ({type(error).__name__})") from None
    except ValueError as error:  # requests' JSONDecodeError is one
        raise LakeError(f"{url}: the answer is not JSON: {str(error).splitlines()[0]}") from error
    except RequestException as error:
        reason = type(error).__name__
        raise TransientError(f"{url}: {reason} after {settings.http_attempts} attempts") from error
    if not records:
        raise LakeError(f"{url}: answered with no users; the table is left as it was")
    if announced is not None and announced != len(records):
        raise LakeError(f"{url}: announced {announced} users and sent {len(records)}; the table is left as it was")
    return records
