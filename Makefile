# Everything that is done to this project by command. It needs Python 3.11 with venv, make
# and git; each target fetches the rest itself. ARGS are passed on:
#   make test ARGS="tests/unit -k snapshot"       make bench ARGS=--full

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Processes, each with servers of its own; half of the time they wait for these. JOBS=0: one after
# the other, in this process.
JOBS ?= 4
SPREAD := -n $(JOBS) --dist=worksteal
# 1: `make test` also measures branch coverage and fails below the threshold in pyproject.toml.
COVERAGE ?= 0
# How long `make chaos` goes on, and what it draws its faults from: a new seed each time.
MINUTES ?= 10
SEED ?=

# Depend on what is to be installed, so that a changed dependency arrives by itself.
RUNNABLE := $(VENV)/runnable.stamp
INSTALLED := $(VENV)/installed.stamp
# Apart: what the worker is measured against wants other versions of libraries than we would get.
BENCH_VENV := .venv-bench
MEASURABLE := $(BENCH_VENV)/measurable.stamp

.DEFAULT_GOAL := help
.PHONY: bench chaos check clean coverage demo help profile servers simulate soak test transcripts

help: ## Show these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(RUNNABLE) ## Show the main job: a sample collection goes through a queue and gets its keys
	@$(BIN)/kmworker demo

test: $(INSTALLED) servers ## Run all tests, servers included (COVERAGE=1 measures them, too)
ifeq ($(COVERAGE),1)
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SPREAD) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
else
	$(BIN)/pytest $(SPREAD) $(ARGS)
endif

chaos: $(INSTALLED) servers ## Faults of every kind on real servers (MINUTES=10, SEED=...)
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

coverage: ## The same as make test COVERAGE=1
	@$(MAKE) --no-print-directory test COVERAGE=1

check: $(INSTALLED) ## Lint, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

transcripts: $(INSTALLED) servers ## Record what commands print now; look at the difference
	-KMWORKER_TEST_WRITE_TRANSCRIPTS=1 $(BIN)/pytest tests/integration/cli/test_transcripts.py $(ARGS)
	@git --no-pager diff --stat -- tests/integration/cli/transcripts

bench: $(MEASURABLE) servers ## Measure the worker beside its peers; writes docs/performance.md (ARGS=--full)
	@$(BENCH_VENV)/bin/python -m bench $(ARGS)

profile: $(INSTALLED) servers ## Show where the worker's CPU time goes, step by step
	@$(BIN)/python -m bench.profiling $(ARGS)

soak: $(INSTALLED) servers ## A million events through one worker: is its memory flat? (minutes)
	@$(BIN)/python -m bench.soak $(ARGS)

simulate: $(INSTALLED) ## Play every simulated run there is (hours; ARGS="--help" for less)
	@$(BIN)/python -m tests.simulation $(ARGS)

servers: $(INSTALLED) # Install the servers that the tests need, or say what to install
	@$(BIN)/python -m tests.servers.install

clean: ## Remove the virtual environment, caches and reports
	rm -rf $(VENV) $(BENCH_VENV) build dist .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNNABLE): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "$(PYTHON) is not Python 3.11 or newer: name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) lacks the venv module: install the package python3-venv" >&2; exit 1; }
	@echo "installing the project into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[embedded]'
	@touch $@

$(INSTALLED): $(RUNNABLE)
	@echo "installing its tools"
	@$(BIN)/python -m pip install --quiet --group test --group check
	@touch $@

$(MEASURABLE): $(INSTALLED)
	@echo "installing what the worker is measured against into $(BENCH_VENV)"
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BENCH_VENV)/bin/python -m pip install --quiet --editable '.[embedded]' --group test --group bench
	@touch $@
