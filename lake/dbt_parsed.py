"""The command `lakegraph-dbt`: dbt's own, with the project as it was parsed if the environment names the file.

What belongs here: handing dbt a project that need not be parsed again, which takes half of what a small run takes
(https://docs.getdbt.com/reference/programmatic-invocations, "Reusing objects"). What does not: arguments, which are
dbt's own, and keeping the file current (`orchestration.project`). It imports nothing but dbt, for each run starts it.
"""

import os
from pathlib import Path

PARSED = "LAKEGRAPH_DBT_PARSED"


def main() -> None:
    """Run dbt with this process's arguments; exits as dbt does."""
    from dbt.cli.main import cli
    from dbt.contracts.graph.manifest import Manifest

    path = os.environ.get(PARSED)
    cli.main(prog_name="dbt", obj={"manifest": Manifest.from_msgpack(Path(path).read_bytes())} if path else {})
