# Every target works on a fresh clone: what it needs is set up on the way. None needs root.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
MONTHS ?= --from 2023-01 --to 2023-03
export DAGSTER_DISABLE_TELEMETRY := 1
export RUNTIME__DLTHUB_TELEMETRY := false

.PHONY: help demo test test-gcp emulators dev superset bench lint format docs screenshot lock clean setup

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{gsub(/\$$\$$/, "$$", $$2); printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## the virtual environment with the pinned requirements

.venv/ready: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 with venv and pip found; install one, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup ## generated sources, the whole graph on embedded engines, a table of what was built, a KPI report
	@$(BIN)/lakegraph sandbox up
	@$(BIN)/lakegraph materialize --select '*' $(MONTHS)

test: setup ## every test
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15

test-gcp: setup ## the tests against the BigQuery emulator
	@$(BIN)/python -m pytest -k "gcp or gcs or emulators or labels or googlesql"

emulators: setup ## BigQuery and Cloud Storage on loopback; then: eval "$$(.venv/bin/lakegraph sandbox env)"
	@$(BIN)/lakegraph sandbox up --target gcp

dev: setup ## the Dagster UI on http://127.0.0.1:3000 with everything up
	@$(BIN)/lakegraph sandbox up
	@$(BIN)/lakegraph dev

superset: setup ## a real Superset with the dashboards over the published copy; prints its URL and how to log in
	@[[ -n $$LAKEGRAPH_SUPERSET_DATABASE || $$LAKEGRAPH_TARGET = gcp || -e $${LAKEGRAPH_HOME:-data}/duckdb/published.duckdb ]] || $(MAKE) --no-print-directory demo
	@$(BIN)/lakegraph superset up

bench: setup ## the benchmark; writes benchmarks/results.md
	@$(BIN)/python -m benchmarks.bench

lint: setup ## formatting, lint, types, layers, SQL, secrets
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/sqlfluff lint --processes 2 dbt_project/models
	@$(BIN)/bandit -q -r lake dlt_sources infra_assets orchestration sandbox -c pyproject.toml
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline

format: setup ## format Python and SQL
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## dbt's documentation in one page
	@$(BIN)/lakegraph docs

screenshot: setup ## a picture of the graph for the README, from the running UI (needs chromium)
	@$(BIN)/python docs/screenshot.py docs/graph.png

lock: ## pin requirements.txt from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-emit-index-url --quiet --custom-compile-command "make lock" --output-file requirements.txt
	@$(BIN)/uv pip compile sandbox/bigquery/requirements.in --universal --python-version 3.13 --no-emit-index-url --no-emit-find-links --quiet --custom-compile-command "make lock" --output-file sandbox/bigquery/requirements.txt
	@$(BIN)/uv pip compile sandbox/superset/requirements.in --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --quiet --custom-compile-command "make lock" --output-file sandbox/superset/requirements.txt

clean: ## stop the sandbox and Superset; remove data/, the environments and all caches
	@if test -x $(BIN)/lakegraph; then $(BIN)/lakegraph superset down || true; $(BIN)/lakegraph sandbox down || true; fi
	@if test -n "$$LAKEGRAPH_HOME"; then echo "left alone: LAKEGRAPH_HOME=$$LAKEGRAPH_HOME"; fi
	@rm -rf data .venv .venv-bigquery .venv-superset dbt_project/target dbt_project/logs *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
