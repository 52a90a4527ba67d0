# Everything that is done to this project by command. It needs Python 3.11 with venv, make
# and git; each target fetches the rest itself. ARGS are passed on:
#   make test ARGS="tests/unit -k snapshot"       make bench ARGS=--full

# What is kept compiled is not compiled anew by each of the thousand processes that tests start.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes, each with servers of its own; half of the time they wait for these. JOBS=0: one after
# the other, in this process.
JOBS ?= 4
SPREAD := -n $(JOBS) --dist=worksteal
# 1: `make test` also measures branch coverage and fails below the threshold in pyproject.toml.
COVERAGE ?= 0
# trixie or sid: tests run on the servers of that Debian, unpacked and not installed (see
# tests/kit/servers/unpack.py). Without ARGS, those tests that are about servers.
SERVERS ?=
ifneq ($(SERVERS),)
ARGS ?= tests/integration tests/contract tests/chaos
endif
ARGS ?=
# What is tried by one fault after the other, which each build does, too; as much as one likes of it
# are `make chaos` and `make simulate`.
BY_FAULTS := tests/chaos/test_chaos.py tests/simulation/test_crashes.py
# Without ARGS, `make test` runs all the others.
MEANT = $(or $(ARGS),$(addprefix --ignore=,$(BY_FAULTS)))
# How long `make chaos` goes on, and what it draws its faults from: a new seed each time.
MINUTES ?= 10
SEED ?=
# The one run that `make simulate` plays, as a failure named it; recipes find it where make puts
# what stands on its command line.
CASE ?=

# Depend on what is to be installed, so that a changed dependency arrives by itself.
RUNNABLE := $(VENV)/runnable.stamp
INSTALLED := $(VENV)/installed.stamp
# Apart: what the worker is measured against wants other versions of libraries than we would get.
BENCH_VENV := .venv-bench
MEASURABLE := $(BENCH_VENV)/measurable.stamp
# What key servers are measured beside, with what OpenStack pins.
BARBICAN_VENV := .venv-barbican
READABLE := $(BARBICAN_VENV)/readable.stamp
# What makes the files in requirements/, from which all of these are installed.
TOOLS_VENV := .venv-tools
TOOLS := $(TOOLS_VENV)/tools.stamp
UV := $(TOOLS_VENV)/bin/uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command 'make lock'
# Made anew each time: it is about what has come since.
NEWEST_VENV := .venv-newest

.DEFAULT_GOAL := help
.PHONY: barbican bench chaos check clean coverage demo faults help lock newest news profile pythons servers simulate soak \
  test transcripts unit

help: ## Show these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(RUNNABLE) ## Show the main job: a sample collection goes through a queue and gets its keys
	@$(BIN)/kmworker demo

test: $(INSTALLED) servers ## Run the tests, servers included (COVERAGE=1 measures them, too)
ifneq ($(SERVERS),)
	@programs=$$($(BIN)/python -m tests.kit.servers.unpack $(SERVERS)) && \
	  KMWORKER_TEST_RABBITMQ_SERVER=$$programs/rabbitmq-server \
	  KMWORKER_TEST_REDIS_SERVER=$$programs/redis-server \
	  KMWORKER_TEST_VALKEY_SERVER=$$programs/valkey-server \
	  $(BIN)/pytest $(SPREAD) $(ARGS)
else ifeq ($(COVERAGE),1)
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SPREAD) $(MEANT)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
else
	$(BIN)/pytest $(SPREAD) $(MEANT)
endif

# Two processes, each with a half of its own: to share tests out between them one by one
# (pytest-xdist) costs more than most of these take. Either half may have nothing that ARGS mean.
UNIT := $(BIN)/pytest -q --hypothesis-profile=quick
NONE := 5

unit: $(INSTALLED) ## The tests that need no server and play no history; says how long it took
	@$(MAKE) --no-print-directory --jobs=2 --output-sync unit-commands unit-others

.PHONY: unit-commands unit-others
unit-commands:
	$(UNIT) tests/unit/cli $(ARGS) || [ $$? -eq $(NONE) ]
unit-others:
	$(UNIT) tests/unit --ignore=tests/unit/cli $(ARGS) || [ $$? -eq $(NONE) ]

faults: ## Simulated runs struck at each step, and a short leg of each fault on real servers
	@$(MAKE) --no-print-directory test ARGS="$(BY_FAULTS)"

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

.PHONY: trace
trace: $(INSTALLED) ## Show one event pass the worker's stages: the calls, with file and line
	@$(BIN)/python -m tests.kit.simulator.trace

profile: $(INSTALLED) servers ## Show where the worker's CPU time goes, step by step
	@$(BIN)/python -m bench.profiling $(ARGS)

barbican: $(READABLE) ## Install Barbican, to be measured: then python -m bench.delivering --barbican

.PHONY: replication
replication: $(INSTALLED) servers ## Count what rsync moves of replicas; writes docs/replication.md
	@$(BIN)/python -m bench.replication $(ARGS)

soak: $(INSTALLED) servers ## A million events through one worker: is its memory flat? (minutes)
	@$(BIN)/python -m bench.soak $(ARGS)

simulate: $(INSTALLED) ## Play every simulated run there is (hours; ARGS=--help for less; CASE=...)
	@$(BIN)/python -m tests.kit.simulator $(if $(CASE),--case "$$CASE") $(ARGS)

lock: $(TOOLS) ## Pin what pyproject.toml asks for (ARGS=--upgrade: the newest of everything)
	$(LOCK) $(ARGS) --group tools --output-file requirements/tools.txt
	$(LOCK) $(ARGS) pyproject.toml --extra embedded --group test --group check \
	  --output-file requirements/dev.txt
	$(LOCK) $(ARGS) pyproject.toml --extra embedded --group build \
	  --constraints requirements/dev.txt --output-file requirements/run.txt
	$(LOCK) $(ARGS) pyproject.toml --extra embedded --group bench --output-file requirements/bench.txt
	$(LOCK) $(ARGS) --group barbican --output-file requirements/barbican.txt

newest: $(TOOLS) ## Run the unit tests on the newest version of everything, our upper bounds aside
	@$(UV) venv --quiet --clear --python $(PYTHON) $(NEWEST_VENV)
	@sed -nE 's/^[^"]*"([a-z-]+)>=[^,;"]*,<[^;"]*(;[^"]*)?"[],]*$$/\1\2/p' pyproject.toml \
	  > $(NEWEST_VENV)/unbound.txt
	@$(UV) pip install --quiet --python $(NEWEST_VENV) --override $(NEWEST_VENV)/unbound.txt \
	  --editable '.[embedded]' --group test
	@$(UV) pip list --quiet --python $(NEWEST_VENV)
	$(NEWEST_VENV)/bin/pytest $(SPREAD) $(or $(ARGS),tests/unit)

pythons: $(INSTALLED) ## Run the unit tests on each Python that we run on (ARGS="3.13 3.14")
	@$(BIN)/python -m tests.kit.pythons $(ARGS)

news: $(TOOLS) ## Show what the changelog will say of changes/ (ARGS=--yes: make it say so)
	@$(TOOLS_VENV)/bin/towncrier build $(or $(ARGS),--draft)

servers: $(INSTALLED) # Install the servers that the tests need, or say what to install
	@$(BIN)/python -m tests.kit.servers.install

clean: ## Remove the virtual environment, caches and reports
	rm -rf $(VENV) $(BENCH_VENV) $(BARBICAN_VENV) $(TOOLS_VENV) $(NEWEST_VENV) build dist
	rm -rf .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/kmworker-test-servers"
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNNABLE): pyproject.toml requirements/run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "$(PYTHON) is not Python 3.11 or newer: name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) lacks the venv module: install the package python3-venv" >&2; exit 1; }
	@echo "installing the project into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --requirement requirements/run.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED): $(RUNNABLE) requirements/dev.txt
	@echo "installing its tools"
	@$(BIN)/python -m pip install --quiet --requirement requirements/dev.txt
	@touch $@

$(MEASURABLE): $(INSTALLED) requirements/bench.txt
	@echo "installing what the worker is measured against into $(BENCH_VENV)"
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --requirement requirements/bench.txt
	@$(BENCH_VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(READABLE): requirements/barbican.txt
	@echo "installing Barbican into $(BARBICAN_VENV)"
	@$(PYTHON) -m venv $(BARBICAN_VENV)
	@$(BARBICAN_VENV)/bin/python -m pip install --quiet --requirement requirements/barbican.txt
	@touch $@

$(TOOLS): requirements/tools.txt
	@echo "installing the project's tools into $(TOOLS_VENV)"
	@$(PYTHON) -m venv $(TOOLS_VENV)
	@$(TOOLS_VENV)/bin/python -m pip install --quiet --requirement requirements/tools.txt
	@touch $@
