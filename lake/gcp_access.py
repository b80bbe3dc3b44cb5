"""Whether the target gcp can be reached at all, before anything is begun.

What belongs here: one look at what every call needs (somebody listens, the credentials are taken), quick and without
writing. What does not: whether projects, buckets and datasets are as they should be (`infra_assets.gcp`), nor roles.

The clients try again for up to ten minutes where nobody answers, each call anew. That is right within a load, and
wrong as the answer to a mistyped address, so this is asked first.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lake.errors import LakeError, TransientError
from lake.gcp import clear_errors, credentials
from lake.settings import GcpTarget

STAND_INS = ("BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "LAKEGRAPH_GCP_CONNECTION_ENDPOINT")
SECONDS = 10.0


def check_access(target: GcpTarget, *, seconds: float = SECONDS, environ: Mapping[str, str] = os.environ) -> None:
    """Connect to every stand-in that is set, and get a token for the credentials.

    Args:
        target: the project that is meant, for messages.
        seconds: how long each answer may take.
        environ: environment variables.

    Raises:
        TransientError: nobody answers.
        LakeError: an address is none, there are no credentials, or they are refused.
    """
    for variable in STAND_INS:
        if address := environ.get(variable):
            _connect(variable, address, seconds)
    _token(target, seconds)


def _connect(variable: str, address: str, seconds: float) -> None:
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host, port = parts.hostname, parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        host, port = None, 0
    if not host:
        raise LakeError(f"target gcp: {variable} is no URL; unset it, or set it by `lakegraph sandbox env`")
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as error:
        raise TransientError(
            f"target gcp: nobody answers at {host}:{port} ({variable}): {error.strerror or error}; start the stand-ins "
            "with `lakegraph sandbox up --target gcp`, or unset the variable"
        ) from error


def _token(target: GcpTarget, seconds: float) -> None:
    from google.auth.transport.requests import Request

    class Quick(Request):
        def __call__(self, *args: Any, timeout: float | None = None, **kwargs: Any) -> Any:
            kwargs["timeout"] = min(timeout or seconds, seconds)
            return super().__call__(*args, **kwargs)  # type: ignore[no-untyped-call]

    with clear_errors(f"project {target.project}"):
        credentials().refresh(Quick())
