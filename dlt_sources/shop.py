"""The shop: customers, orders and reviews in MongoDB, products and stock movements as CSV in S3.

What belongs here: where the shop's settings lead, for the generic readers. What does not: how documents and objects are
read (`dlt_sources.mongodb`, `dlt_sources.s3_csv`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlt_sources.mongodb import Mongo, changed_documents
from dlt_sources.s3_csv import Bucket, Cursor, S3Object, changed_objects, news
from lake.load import LoadRequest, SourceReport
from lake.settings import AWS_S3, Settings

if TYPE_CHECKING:
    from dlt.extract import DltSource

DATABASE = "shop"
SANDBOX_KEYS = ("sandbox", "sandbox")  # the stand-in takes any, and real ones are not for it


def documents(
    request: LoadRequest, report: SourceReport, *, collection: str, exclude: Sequence[str] = ()
) -> "DltSource":
    """What changed in a collection; see `changed_documents`."""
    mongo = mongo_of(request.settings)
    return changed_documents(request, report, mongo=mongo, collection=collection, exclude=exclude)


def objects(request: LoadRequest, report: SourceReport, *, prefix: str) -> "DltSource":
    """The CSV objects below `prefix` that came or changed; see `changed_objects`."""
    return changed_objects(request, report, bucket=bucket_of(request.settings), prefix=prefix)


def new_objects(settings: Settings, prefix: str, cursor: str | None) -> tuple[list[S3Object], str]:
    """For a sensor: the objects below `prefix` that came or changed since `cursor`, and the cursor after them.

    Nothing but the list of objects is read; see `dlt_sources.s3_csv` for what that costs.

    Args:
        settings: say where the bucket is.
        prefix: what the keys begin with.
        cursor: what the last call returned; None: every object is new.

    Raises:
        LakeError: the bucket cannot be listed; a `TransientError` if trying again may help.
    """
    found, after = news(bucket_of(settings).objects(prefix), Cursor.from_text(cursor) if cursor else None)
    return found, after.to_text()


def mongo_of(settings: Settings) -> Mongo:
    """The shop's MongoDB.

    Raises:
        LakeError: the settings do not say where it is.
    """
    return Mongo(
        uri=settings.endpoint("shop_mongodb"),
        database=DATABASE,
        connect_seconds=settings.shop_connect_timeout_seconds,
        read_seconds=settings.shop_read_timeout_seconds,
        attempts=settings.http_attempts,
    )


def bucket_of(settings: Settings) -> Bucket:
    """The shop's bucket.

    Raises:
        LakeError: the settings do not say where it is.
    """
    endpoint = settings.endpoint("shop_s3")
    in_sandbox = settings.sources == "sandbox" and not settings.shop_s3
    return Bucket(
        endpoint=None if endpoint == AWS_S3 else endpoint,
        name=settings.shop_bucket,
        keys=SANDBOX_KEYS if in_sandbox else None,
        connect_seconds=settings.shop_connect_timeout_seconds,
        read_seconds=settings.shop_read_timeout_seconds,
        attempts=settings.http_attempts,
    )
