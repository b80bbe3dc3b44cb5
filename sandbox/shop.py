"""One day of a clothing shop, hour by hour: what its services write to MongoDB, and its exports to S3.

What belongs here: the day as hours (`Drop`), what the sources hold after some of them (`state`), and playing hours into
running sources. What does not: the documents (`sandbox.shop_documents`), the objects (`sandbox.shop_objects`), the
servers (`sandbox.mongodb`, `sandbox.s3`), and any rule about which row counts: that is the pipeline's to find out, and
sharing a rule with it would let both be wrong together.

Same arguments give the same documents and bytes (of gzip: the same bytes once unpacked). Misbehaviour is planted, and
`Day.planted` says where, so that a test can count it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from lake.errors import LakeError
from sandbox.shop_documents import Write, writes
from sandbox.shop_objects import Put, puts
from sandbox.shop_world import DAY, HOUR, HOURS, SEED, Document, World

GENERATOR = 1  # raised when the same arguments give another day, so that a seeded stand-in is seeded anew
DATABASE = BUCKET = "shop"
COLLECTIONS = ("customers", "orders", "reviews")
WATERMARK = "updated_at"  # what the shop has an index on
MODIFIED_HEADER = "x-lakegraph-last-modified"  # of a PUT to the stand-in for S3: the time that the object is given
SIGNED = "AWS4-HMAC-SHA256 Credential=sandbox/20230331/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none"
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Drop:
    """What one hour brings, in the order in which it comes.

    Attributes:
        hour: the hour's first moment.
        writes: documents as they are written.
        puts: objects as they are put.
    """

    hour: datetime
    writes: tuple[Write, ...]
    puts: tuple[Put, ...]


@dataclass(frozen=True)
class State:
    """What the sources hold.

    Attributes:
        documents: collection → id → document.
        objects: name → the object.
    """

    documents: Mapping[str, Mapping[object, Document]]
    objects: Mapping[str, Put]


@dataclass(frozen=True)
class Day:
    """The shop's day.

    Attributes:
        drops: one for each of its hours.
        planted: misbehaviour → where: `<collection>/<_id>`, an object's name, or `<name>:<line>`.
    """

    drops: tuple[Drop, ...]
    planted: Mapping[str, tuple[str, ...]]

    def state(self, hours: int = HOURS) -> State:
        """What the sources hold after the first so many hours."""
        documents: dict[str, dict[object, Document]] = {collection: {} for collection in COLLECTIONS}
        objects: dict[str, Put] = {}
        for drop in self.drops[:hours]:
            for write in drop.writes:
                documents[write.collection][write.document["_id"]] = write.document
            objects.update((put.key, put) for put in drop.puts)
        return State(documents, objects)


def day(start: datetime = DAY, *, scale: int = 1, seed: int = SEED) -> Day:
    """One day.

    Args:
        start: its first moment. Customers, orders, reviews and movements of different days are different ones; the
            products are the same.
        scale: multiplies how much there is; what is planted once stays once.
        seed: of all chance.

    Returns:
        The day.
    """
    world = World(start, scale, seed)
    written, put = writes(world), puts(world)
    drops = (
        Drop(
            world.at(hour * HOUR),
            tuple(write for write in written if write.at // HOUR == hour),
            tuple(one for one in put if one.at // HOUR == hour),
        )
        for hour in range(HOURS)
    )
    planted = {kind: tuple(dict.fromkeys(where)) for kind, where in sorted(world.planted.items())}
    return Day(tuple(drops), MappingProxyType(planted))


def play(
    mongodb_url: str | None, s3_endpoint: str | None, hours: Iterable[int] = range(HOURS), of: Day | None = None
) -> None:
    """Let the sources have what hours bring; playing an hour again right away changes nothing.

    Args:
        mongodb_url: a MongoDB of any kind; None leaves it out.
        s3_endpoint: the stand-in for S3, which lets an object's time be given; None leaves it out.
        hours: numbers of hours of the day, in order.
        of: the day; None: the one that the sandbox has.

    Raises:
        LakeError: the stand-in for S3 refuses an object.
    """
    played = of or day()
    drops = [played.drops[hour] for hour in hours]
    if mongodb_url is not None:
        _write(mongodb_url, drops)
    if s3_endpoint is not None:
        _put(s3_endpoint, drops)


def _write(url: str, drops: Iterable[Drop]) -> None:
    from pymongo import MongoClient, ReplaceOne

    with MongoClient[Document](url, serverSelectionTimeoutMS=int(TIMEOUT_SECONDS * 1000)) as client:
        database = client[DATABASE]
        for collection in COLLECTIONS:
            database[collection].create_index(WATERMARK)
            written = [write.document for drop in drops for write in drop.writes if write.collection == collection]
            if written:
                database[collection].bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in written])


def _put(endpoint: str, drops: Iterable[Drop]) -> None:
    import httpx

    signed = {"Authorization": SIGNED}  # what nobody signed is refused, but no signature is checked
    with httpx.Client(base_url=endpoint, headers=signed, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        client.put(f"/{BUCKET}")
        for put in (put for drop in drops for put in drop.puts):
            headers = {MODIFIED_HEADER: put.modified.isoformat()}
            answer = client.put(f"/{BUCKET}/{put.key}", content=put.body, headers=headers)
            if not answer.is_success:
                raise LakeError(f"sandbox s3: {put.key} refused with status {answer.status_code}")
