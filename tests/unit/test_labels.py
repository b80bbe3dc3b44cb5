"""Labels of BigQuery jobs: any text becomes a valid one, and dbt's macro makes the same of it as Python does."""

import json
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lake.gcp import job_labels, label

MACRO = Path(__file__).parents[2] / "dbt_project" / "macros" / "labels.sql"
VALID = re.compile(r"[a-z0-9_-]{0,63}")


def render(node: Any, run: str = "manual", **window: str) -> dict[str, str]:
    """What dbt makes of the macro, under the variables of a window."""
    said: list[str] = []
    jinja = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)  # noqa: S701 - SQL, not HTML
    context: dict[str, Callable[..., Any] | Any] = {
        "modules": {"re": re},
        "env_var": lambda _, default: run or default,
        "var": window.get,
        "tojson": json.dumps,
        "return": said.append,
    }
    jinja.from_string(MACRO.read_text() + "{{ job_labels(node) }}", globals=context).render(node=node)
    labels: dict[str, str] = json.loads(said[0])
    return labels


@given(st.text())
@example("")
@example("İ" * 63)  # longer in lower case
@example("x" * 64)
@example("a\nb")
def test_any_text_becomes_a_valid_label(text: str) -> None:
    assert VALID.fullmatch(label(text))
    assert label(label(text)) == label(text)


@given(st.text(string.ascii_lowercase + string.digits + "_-", max_size=63))
def test_a_valid_label_stays_as_it_is(text: str) -> None:
    assert label(text) == text


def test_a_job_says_whose_it_is() -> None:
    assert job_labels("bronze.mobility_green_trips", "62e67d10-E041", "2023-01-01") == {
        "app": "lakegraph",
        "asset": "bronze-mobility_green_trips",
        "run": "62e67d10-e041",
        "partition": "2023-01-01",
    }


@given(st.text(min_size=1), st.text(min_size=1))
def test_dbt_makes_the_same_labels(name: str, run: str) -> None:
    node = {"resource_type": "model", "schema": "silver", "name": name}
    assert render(node, run, from_month="2023-01-01", to_month="2023-01-01") == job_labels(
        f"silver.{name}", run, "2023-01-01"
    )


@pytest.mark.parametrize(
    ("node", "asset"),
    [
        (None, "dbt"),
        ({"resource_type": "snapshot", "schema": "gold", "name": "s"}, "gold-s"),
        ({"resource_type": "test", "schema": "audit", "name": "long" * 20, "alias": "long_0a1b"}, "long_0a1b"),
        ({"resource_type": "unit_test", "name": "One case"}, "one-case"),
    ],
)
def test_the_asset_of_a_node(node: Any, asset: str) -> None:
    assert render(node)["asset"] == asset


def test_the_window_of_a_run_is_its_partition() -> None:
    assert render(None)["partition"] == ""
    assert render(None, from_month="2023-01-01", to_month="2023-03-01")["partition"] == "2023-01-01_2023-03-01"
    assert render(None, from_day="2023-03-30", to_day="2023-03-31")["partition"] == "2023-03-30_2023-03-31"
    assert render(None, from_day="2023-03-31", to_day="2023-03-31")["partition"] == "2023-03-31"


def test_a_run_by_months_and_by_days_says_both() -> None:
    window = {"from_month": "2023-03-01", "to_month": "2023-03-01", "from_day": "2023-03-30", "to_day": "2023-03-31"}
    assert render(None, **window)["partition"] == "2023-03-01_2023-03-30_2023-03-31"
