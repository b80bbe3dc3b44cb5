"""What an asset says when it has not been made, and that is right.

What belongs here: the one form in which a step says that a system is not set, and reading it back. What does not:
failures (`infra_assets.steps`).

A green step that did nothing would be a lie, and a failed one would stop what is right: so the asset is observed, and
not materialized; the command's summary names it.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

REASON = "not_configured"


def not_configured(
    key: dg.AssetKey, error: Exception, statements: Sequence[str] = (), language: str = "sql"
) -> dg.AssetObservation:
    """The observation of an asset that was left alone, for a system that it needs is not set.

    Args:
        key: the asset.
        error: says what is not set, and how to set it.
        statements: what would be done.
        language: of the statements.
    """
    metadata: dict[str, dg.MetadataValue[Any]] = {REASON: dg.MetadataValue.text(str(error))}
    if statements:
        metadata["plan"] = dg.MetadataValue.md("```{}\n{}\n```".format(language, ";\n\n".join(statements)))
    return dg.AssetObservation(key, description=f"not done: {error}", metadata=metadata)


def why_skipped(observation: dg.AssetObservation) -> str | None:
    """Why the asset was left alone; None: the observation is of another kind."""
    said = observation.metadata.get(REASON)
    return str(said.value) if said else None
