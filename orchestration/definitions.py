"""The code location: what `workspace.yaml` and `pyproject.toml` name. Nothing else belongs here."""

from orchestration.build import build_defs

defs = build_defs()
