# Everything runs in .venv, made from uv.lock. A fresh machine needs Python 3.11, 3.12 or 3.13, make and git.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
PYTEST_ARGS ?=
# Two threads make small fits slower, and the tests are many small fits.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test quick check format up down clean system-packages

help: ## show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: $(VENV)/synced ## make .venv with everything in it

demo: $(VENV)/synced ## show decay, retraining and a guarded release on recorded flights
	$(BIN)/trimtab demo

up: $(VENV)/synced ## start Airflow, MLflow and the prediction service until Ctrl-C
	$(BIN)/trimtab up

down: $(VENV)/synced ## end what `make up` or `make demo` has left running
	$(BIN)/trimtab down

test: $(VENV)/synced system-packages ## run all tests
	$(BIN)/pytest -n 2 --dist loadfile $(PYTEST_ARGS)

quick: $(VENV)/synced ## run the unit tests only
	$(BIN)/pytest -n 2 --dist loadfile tests/unit $(PYTEST_ARGS)

check: $(VENV)/synced ## lint, format, types, import contracts and model folders
	$(BIN)/ruff check
	$(BIN)/ruff format --check --diff
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/trimtab check

format: $(VENV)/synced ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove .venv, caches and the data of `make up` and `make demo`
	if [ -x $(BIN)/trimtab ]; then $(BIN)/trimtab down; fi
	rm -rf $(VENV) .trimtab .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Tests of PostgreSQL and of the web pages skip themselves where these are not there.
system-packages:
	@missing=""; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	[ -n "$$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || command -v initdb >/dev/null || missing="$$missing postgresql"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$${CI:-}" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else \
	  echo "Not installed:$$missing. The tests that need it are skipped; CI=true make test, as root on Debian, installs it."; \
	fi

$(VENV)/synced: uv.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv sync --quiet --frozen --all-extras --system-certs --compile-bytecode
	touch $@

$(BIN)/uv:
	python=""; \
	for candidate in python3.11 python3.12 python3.13 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
	    python="$$candidate"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then echo "Python 3.11, 3.12 or 3.13 is needed. Install one of them." >&2; exit 1; fi; \
	"$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
