"""Assets that are code: dbt's, publishing, reports, maintenance. Bronze tables are YAML under `defs/`,
infrastructure `infra_assets`.
"""
