# `make help` lists what can be done here. PYTHON chooses the interpreter of a new .venv; ARGS is passed on.

PYTHON ?= python3
BIN := .venv/bin
PACKAGES := schemas producers processors sinks pipeline
KILLS ?= 200
HISTORIES ?= 100000

# Every installation, the build backend's included, takes its versions from one file.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run kafka-demo test judge chaos test-system lint format generate bench lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.runtime ## run the pipeline on this machine; ARGS="--help" shows its options
	@$(BIN)/gpu-vitals run $(ARGS)

kafka-demo: .venv/.broker ## a Kafka of its own, two workers, simulated agents, the live view
	@$(BIN)/python -m scripts.kafka_demo $(ARGS)

test: .venv/.test ## run the tests that need nothing but Python, with a coverage report
	$(BIN)/pytest -m "not system" --cov --cov-report=term $(ARGS)

judge: .venv/.test ## judge simulated months: failures found, healthy fleets left alone, alerts counted
	$(BIN)/python -m tests.judge

test-system: .venv/.test ## install Debian packages (root, apt-get) and Dynamo, and run the tests that need them
	scripts/install-system-packages
	scripts/install-dynamo $(BIN)/python
	$(BIN)/pytest -m system $(ARGS)

chaos: .venv/.test ## kill everything on a real Kafka, KILLS times; live through HISTORIES of evictions, each at random
	GPU_VITALS_HISTORIES=$(HISTORIES) $(BIN)/pytest tests/processors/test_workflow_histories.py
	KILLS=$(KILLS) $(BIN)/pytest -s tests/pipeline/kafka/test_crash_audit.py tests/pipeline/kafka/test_eviction_chaos.py \
		tests/pipeline/spool/test_kills.py $(ARGS)

lint: .venv/.dev ## check style, types, the direction of imports, and that generated files are fresh
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pipeline.generate --check

format: .venv/.dev ## rewrite the code in the one style, and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

generate: .venv/.dev ## write the generated files anew
	$(BIN)/python -m pipeline.generate

bench: .venv/.broker ## run the benchmarks
	$(BIN)/python -m benchmarks $(ARGS)

lock: .venv/.dev ## write constraints.txt anew: the newest versions that fit every supported Python
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
		--fork-strategy fewest --no-annotate --custom-compile-command "make lock" \
		--quiet --output-file constraints.txt

clean: ## remove .venv, caches and build results
	rm -rf .venv build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(PACKAGES) tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# A stamp per set of packages, each set holding the one before: what is current costs nothing the next time.
.venv/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --editable .
	@touch .venv/.runtime

.venv/.broker: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --editable '.[broker]'
	@touch .venv/.runtime .venv/.broker

.venv/.test: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch .venv/.runtime .venv/.broker .venv/.test

.venv/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch .venv/.runtime .venv/.broker .venv/.test .venv/.dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON): Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON): the venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 2; }
