"""Google Cloud's clients, made in one way, the labels of their jobs, and their errors as one line each.

What belongs here: constructing BigQuery, Storage and Connection clients from the settings, saying in labels who asks,
and what a failed call means. What does not: tables (`lake.bigquery_store`), infrastructure (`infra_assets.gcp`), and
what jobs cost (`lake.cost`).

The clients are the official ones, unmodified. What they talk to is decided by environment variables alone:
`BIGQUERY_EMULATOR_HOST`, `STORAGE_EMULATOR_HOST`, `GOOGLE_APPLICATION_CREDENTIALS`, and for the Connection API, which
has no such variable, `LAKEGRAPH_GCP_CONNECTION_ENDPOINT`. So what runs in tests is what runs in production.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lake.errors import LakeError, TransientError
from lake.settings import GcpTarget

if TYPE_CHECKING:
    from google.cloud import bigquery, storage
    from google.cloud.bigquery_connection_v1 import ConnectionServiceClient

LABELS = {"app": "lakegraph"}
LABEL_LENGTH = 63


def label(text: str) -> str:
    """`text` as the value of a label: at most 63 of a-z, 0-9, `_` and `-`; the macro `job_labels` does the same."""
    return re.sub("[^a-z0-9_-]", "-", text.lower())[:LABEL_LENGTH]


def job_labels(asset: str, run: str, partition: str = "") -> dict[str, str]:
    """Labels of a job: whose it is (`app`), for which asset or table, in which run, of which partition."""
    return {**LABELS, "asset": label(asset), "run": label(run), "partition": label(partition)}


def query_config(
    maximum_bytes: int, labels: dict[str, str], parameters: Sequence[Any] = ()
) -> "bigquery.QueryJobConfig":
    """A query job's configuration: labelled, and refused if it would be billed for more than `maximum_bytes`."""
    from google.cloud import bigquery

    return bigquery.QueryJobConfig(labels=labels, maximum_bytes_billed=maximum_bytes, query_parameters=list(parameters))


def _is_news(record: logging.LogRecord) -> bool:
    """Google's library reports an error for each key without an address, the stand-in's, though none has happened."""
    return "Regional Access Boundary lookup URL" not in record.getMessage()


logging.getLogger("google.oauth2.service_account").addFilter(_is_news)


def credentials() -> Any:
    """Application default credentials.

    Raises:
        LakeError: there are none, or their file cannot be read.
    """
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        found, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except DefaultCredentialsError as error:
        path = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        remedy = f"check the file {path}" if path else "run `gcloud auth application-default login`"
        raise LakeError(f"target gcp: no usable credentials: {_reason(error)}; {remedy}") from error
    return found


def bigquery_client(target: GcpTarget) -> "bigquery.Client":
    """A BigQuery client of the target's project and location, whose query jobs carry our labels."""
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(labels=LABELS)
    return bigquery.Client(
        project=target.project,
        location=target.location,
        credentials=credentials(),
        default_query_job_config=config,
    )


def storage_client(target: GcpTarget) -> "storage.Client":
    """A Cloud Storage client of the target's project."""
    from google.cloud import storage

    return storage.Client(project=target.project, credentials=credentials())


def connection_client(target: GcpTarget) -> "ConnectionServiceClient":
    """A client of the BigQuery Connection API: gRPC in production, REST against a stand-in."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery_connection_v1 import ConnectionServiceClient

    if target.connection_endpoint is None:
        return ConnectionServiceClient(credentials=credentials())
    return ConnectionServiceClient(
        transport="rest",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": target.connection_endpoint},
    )


@contextmanager
def clear_errors(what: str) -> Iterator[None]:
    """Turn a client's error into one line that names `what` was asked for and says what to do.

    Raises:
        TransientError: trying again may help: the service was busy, or did not answer.
        LakeError: it will not.
    """
    import requests
    from google.api_core import exceptions as google
    from google.auth import exceptions as auth

    try:
        yield
    except auth.RefreshError as error:
        remedy = "renew them: `gcloud auth application-default login`, or a new key"
        raise LakeError(f"{what}: the credentials were refused: {_reason(error)}; {remedy}") from error
    except (auth.TransportError, google.RetryError, google.ServiceUnavailable, requests.ConnectionError) as error:
        raise TransientError(f"{what}: no answer: {_reason(error)}; is the network, or the stand-in, up?") from error
    except (google.TooManyRequests, google.InternalServerError, google.BadGateway, google.GatewayTimeout) as error:
        raise TransientError(f"{what}: {_reason(error)}") from error
    except google.Forbidden as error:
        remedy = "see the roles in docs/gcp.md, and whether the API is enabled and the project right"
        raise LakeError(f"{what}: not allowed: {_reason(error)}; {remedy}") from error
    except google.GoogleAPIError as error:
        if "concurrent update" in str(error):  # another transaction was faster, and kept at it
            raise TransientError(f"{what}: {_reason(error)}") from error
        reason = _reason(error)
        if "limit for bytes billed" in reason:
            reason = f"{reason.rstrip('.')}; ask for fewer months, or raise LAKEGRAPH_GCP_MAXIMUM_BYTES_BILLED"
        raise LakeError(f"{what}: {reason}") from error


def _reason(error: Exception) -> str:
    said = error.args[0] if error.args else error  # google-auth's errors carry the answer too
    return " ".join(str(getattr(error, "message", None) or said).split())
