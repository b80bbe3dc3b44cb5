"""How a step of the graph fails: with the cause in its first line, tried again only if it may pass by itself.

What belongs here: the one translation from our errors to Dagster's. What does not: raising them. It stands in
the lowest layer that knows Dagster, so that every asset above can use it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from lake.errors import LakeError, TransientError, one_line, root_cause


class Parts:
    """The parts of a step, of which none holds up the others: what has failed is told at the end, by `close`."""

    def __init__(self) -> None:
        self._failures: list[str] = []

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """One part. A `LakeError` is kept for later, unless it may pass by itself: then the step is tried again."""
        try:
            yield
        except TransientError:
            raise
        except LakeError as error:
            self._failures.append(f"{name}: {one_line(error).removeprefix(f'{name}: ')}")

    def close(self) -> None:
        """Raise what has failed.

        Raises:
            LakeError: the first failure, and how many more there are.
        """
        if self._failures:
            more = f" (and {len(self._failures) - 1} more)" if len(self._failures) > 1 else ""
            raise LakeError(f"{self._failures[0]}{more}")


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
