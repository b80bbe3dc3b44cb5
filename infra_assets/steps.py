"""How a step of the graph fails: with the cause in its first line, tried again only if it may pass by itself.

What belongs here: the one translation from our errors to Dagster's. What does not: raising them. It stands in
the lowest layer that knows Dagster, so that every asset above can use it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from lake.errors import LakeError, TransientError, one_line, root_cause


@contextmanager
def step_failures() -> Iterator[None]:
    """A `LakeError` within becomes a failed step with one line on top; only a `TransientError` leaves it to
    the retry policy.

    Other exceptions pass as they are: what is not foreseen keeps its trace, and the step's retry policy.
    """
    try:
        yield
    except LakeError as error:
        raise dg.Failure(
            description=one_line(error), allow_retries=isinstance(root_cause(error), TransientError)
        ) from error
