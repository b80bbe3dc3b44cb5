"""The target gcp as the environment names it, a real project, in place of the stand-ins; cleared at the end.

What belongs here: refusing a project that holds anything, and taking down what a test has made. What does not:
expectations: they are those of the tests against the stand-ins.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lake.catalog import LAYERS
from lake.gcp import bigquery_client, connection_client, storage_client
from lake.gcp_access import check_access
from lake.settings import GcpTarget, Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # the tests that are run again, and what they import

PASSED_ON = ("LAKEGRAPH_GCP_", "GOOGLE_", "CLOUDSDK_", "BIGQUERY_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
DATASETS = (*LAYERS, "bronze_staging")


def _in_use(target: GcpTarget) -> list[str]:
    datasets = {one.dataset_id for one in bigquery_client(target).list_datasets()} & set(DATASETS)
    bucket = storage_client(target).lookup_bucket(target.bucket)
    return [*sorted(datasets), *([f"gs://{target.bucket}"] if bucket else [])]


def _clear(target: GcpTarget) -> None:
    from google.api_core.exceptions import NotFound

    bigquery = bigquery_client(target)
    for name in DATASETS:  # before the bucket: files of Iceberg tables are theirs
        bigquery.delete_dataset(f"{target.project}.{name}", delete_contents=True, not_found_ok=True)
    with suppress(NotFound):
        bucket = storage_client(target).bucket(target.bucket)
        bucket.delete_blobs(list(bucket.list_blobs()), on_error=lambda _: None)
        bucket.delete()
    parent = f"projects/{target.project}/locations/{target.location.lower()}"
    with suppress(NotFound), connection_client(target) as client:
        client.delete_connection(name=f"{parent}/connections/{target.connection}")


@pytest.fixture(scope="session")
def gcp_environment() -> Iterator[dict[str, str]]:
    """The variables of the project, which is empty before and after."""
    target = Settings().gcp()
    check_access(target)
    if used := _in_use(target):
        pytest.fail(f"project {target.project} already has {', '.join(used)}: give an empty project and a new bucket")
    try:
        own = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        yield own | {"LAKEGRAPH_TARGET": "gcp", "LAKEGRAPH_GCP_PROJECT": target.project}
    finally:
        _clear(target)
