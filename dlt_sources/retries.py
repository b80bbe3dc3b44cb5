"""Trying again: how often, and how long to wait in between.

What belongs here: the one rule for every source. What does not: which errors may pass by themselves; a source turns
those into `TransientError`.
"""

from collections.abc import Callable
from typing import TypeVar

from lake.errors import TransientError

T = TypeVar("T")


def retried(attempts: int, call: Callable[[], T]) -> T:
    """What `call` returns; while it raises `TransientError` it is called again, up to `attempts` times, after pauses
    that grow.

    Raises:
        TransientError: that of the last attempt.
    """
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

    retrying = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential_jitter(initial=0.2, max=10),
        reraise=True,
    )
    return retrying(call)
