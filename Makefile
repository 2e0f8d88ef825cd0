# Everything a contributor or a CI machine runs. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Touched after a complete install, so that `make setup` costs nothing when nothing changed.
STAMP := $(VENV)/.installed
PIP_FLAGS := --quiet --disable-pip-version-check
# Constraints are given by environment, because then they also bind the packages that build ours.
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install $(PIP_FLAGS)

# `make quickstart ONCE=1` ends when the work is done instead of staying up.
ONCE ?=
# `make test PYTEST="-k embedded -x"` narrows the tests.
PYTEST ?=
# `make soak SOAK="--seconds 600 --seed 7"` lasts longer, or repeats what a seed decides.
SOAK ?=
# `make soak DAGS="--dags 250 --seed 7"` repeats a world of workflow runs.
DAGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup quickstart dev test check gen bench bench-all soak clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Build .venv from the pinned packages

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Treadle needs Python 3.11 or newer: make setup PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing packages into $(VENV) ..."
	@$(INSTALL) --editable '.[server,dev]'
	@touch $@

quickstart: setup ## Run a real job on a real engine (ONCE=1: and stop after it)
	$(BIN)/python examples/quickstart.py $(if $(ONCE),--once)

dev: setup ## Engine for development, stays up
	$(BIN)/treadle dev

test: check ## All checks, then all tests
	$(BIN)/python -m pytest $(PYTEST)

check: setup ## Lint, format, types, import contracts, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/verify_types.py
	$(BIN)/python scripts/gen.py --check

gen: setup ## Generate the code of the wire from its .proto files
	$(BIN)/python scripts/gen.py

bench: setup ## Measure throughput, as JSON
	$(BIN)/treadle bench throughput --json

bench-all: setup ## All figures of bench/RESULTS.md but the peers': twenty minutes (BENCH_SCALE=0.1: less)
	bench/run_all.sh

soak: setup ## A million steps of the simulator; 50,000 random workflow runs; three engines, one killed every 10 s; the crash tests
	$(BIN)/python -m tests.simulation --steps 1000000
	$(BIN)/python -m tests.dags $(DAGS)
	$(BIN)/python -m tests.soak $(SOAK)
	$(BIN)/python -m pytest -m chaos --timeout 0 $(PYTEST)

clean: ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
