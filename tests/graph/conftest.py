"""What tests of the graph share."""

import dagster as dg
import pytest

from orchestration import project


@pytest.fixture(scope="session")
def repository() -> dg.RepositoryDefinition:
    """The graph, as the daemon loads it."""
    project.prepare()
    from orchestration.definitions import defs

    return defs.get_repository_def()
