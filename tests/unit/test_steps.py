"""Parts of a step: each is done, and what has failed is told at the end, as what it is."""

import dagster as dg
import pytest

from infra_assets.steps import Parts, step_failures
from lake.errors import LakeError, TransientError


def done(failures: dict[str, LakeError]) -> tuple[list[str], Parts]:
    parts, made = Parts(), []
    for name in ("a", "b", "c"):
        with parts.part(name):
            if name in failures:
                raise failures[name]
            made.append(name)
    return made, parts


@pytest.mark.parametrize("kind", [LakeError, TransientError])
def test_a_part_that_fails_holds_up_none_of_the_others(kind: type[LakeError]) -> None:
    made, parts = done({"b": kind("b: is broken")})
    assert (made, list(parts.failed)) == (["a", "c"], ["b"])
    with pytest.raises(kind, match=r"^b: is broken$") as raised:
        parts.close()
    assert type(raised.value) is kind


def test_a_step_is_tried_again_if_one_of_its_failures_may_pass() -> None:
    made, parts = done({"a": LakeError("is broken"), "c": TransientError("no answer")})
    assert made == ["b"]
    with pytest.raises(dg.Failure) as raised, step_failures():
        parts.close()
    assert (raised.value.description, raised.value.allow_retries) == ("a: is broken (and 1 more)", True)
    _, parts = done({"a": LakeError("is broken")})
    with pytest.raises(dg.Failure) as raised, step_failures():
        parts.close()
    assert not raised.value.allow_retries


def test_where_nothing_fails_nothing_is_raised() -> None:
    made, parts = done({})
    parts.close()
    assert (made, list(parts.failed)) == (["a", "b", "c"], [])


def test_what_is_not_foreseen_passes_at_once() -> None:
    with pytest.raises(ZeroDivisionError), Parts().part("a"):
        raise ZeroDivisionError
