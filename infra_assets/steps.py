"""How a step of the graph fails: with the cause in its first line, tried again only if it may pass by itself.

What belongs here: the one translation from our errors to Dagster's. What does not: raising them. It stands in
the lowest layer that knows Dagster, so that every asset above can use it.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import dagster as dg

from lake.errors import LakeError, TransientError, one_line, root_cause


class Parts:
    """The parts of a step, of which none holds up the others: what has failed is told at the end, by `close`."""

    def __init__(self) -> None:
        self._failures: dict[str, LakeError] = {}

    @property
    def failed(self) -> Collection[str]:
        """Names of the parts that have failed."""
        return self._failures.keys()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """One part. A `LakeError` is kept for later."""
        try:
            yield
        except LakeError as error:
            self._failures[name] = error

    def close(self) -> None:
        """Raise what has failed.

        Raises:
            TransientError: some of it may pass by itself, so the step is to be tried again; the message is as below.
            LakeError: the first failure, and how many more there are.
        """
        if not self._failures:
            return
        name, first = next(iter(self._failures.items()))
        more = f" (and {len(self._failures) - 1} more)" if len(self._failures) > 1 else ""
        message = f"{name}: {one_line(first).removeprefix(f'{name}: ')}{more}"
        if any(isinstance(error, TransientError) for error in self._failures.values()):
            raise TransientError(message) from first
        raise LakeError(message) from first


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
