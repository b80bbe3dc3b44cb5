"""Custom components: what a YAML file under `defs/` can be."""

from orchestration.components.bronze_table import BronzeTable as BronzeTable
