"""What gold promises: its tables, and the columns and types that dbt's contracts hold them to.

What belongs here: reading that from dbt's YAML. What does not: comparing it with anything
(`infra_assets.superset.validation`). The YAML is read and not dbt's manifest: a test, or an import from a command line,
then needs no dbt.
"""

from collections.abc import Mapping
from pathlib import Path

import yaml

MODELS = Path(__file__).parents[2] / "dbt_project" / "models"
LAYER = "gold"

Contract = Mapping[str, Mapping[str, str]]


def gold_contract(models: Path = MODELS) -> Contract:
    """Each table of gold (`schema.table`) with its columns and their types on DuckDB.

    Args:
        models: dbt's models; those below `gold/` are read.
    """
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(autoescape=True)

    def on_duckdb(text: str) -> str:
        return environment.from_string(text).render(target={"type": "duckdb"})

    return {
        f"{LAYER}.{model['name']}": {column["name"]: on_duckdb(column["data_type"]) for column in model["columns"]}
        for file in sorted((models / LAYER).rglob("*.yml"))
        for model in yaml.load(file.read_text(), Loader=yaml.CSafeLoader).get("models", [])
    }
