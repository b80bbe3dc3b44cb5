"""The one exception type whose text is written for the person who has to act on it.

What belongs here: `LakeError`, its general variants and the search for one in a chain of causes. What does
not: handling. Libraries wrap errors (dlt three times over), so a step asks `root_cause` for the sentence to
    show in its
first line.
"""

from collections.abc import Iterator


class LakeError(Exception):
    """A failure whose message names the object, the reason and, where there is one, the remedy, in one
    line.
    """


class NotConfiguredError(LakeError):
    """A system is not set, nor stood in for: what needs it can say so, and be left out; nothing is broken."""


class TransientError(LakeError):
    """A failure that may pass by itself (a refused connection, a 503): the step may be tried again."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def root_cause(error: BaseException) -> BaseException:
    """The exception to show for `error`: the first `LakeError` among its causes, else the innermost cause."""
    chain = list(_chain(error))
    return next((e for e in chain if isinstance(e, LakeError)), chain[-1])


def one_line(error: BaseException) -> str:
    """The message of `error`'s root cause on one line; other exceptions than ours are prefixed with their
    type.
    """
    cause = root_cause(error)
    text = " ".join(str(cause).split()) or type(cause).__name__
    return text if isinstance(cause, LakeError) else f"{type(cause).__name__}: {text}"
