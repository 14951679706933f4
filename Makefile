# Everything that a person or CI does with this project. `make help` lists it.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Most of the full tests wait for servers, so two are run at a time; each process has its own brokers.
WORKERS ?= 2
PYTEST := $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal
CHECKED := schemas pipeline jobs tests $(wildcard bench)

.DEFAULT_GOAL := help
.PHONY: help install demo style check test bench e2e faults notebooks lock clean servers
.DELETE_ON_ERROR:

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## .venv with the command .venv/bin/sekimori

$(STAMP): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Sekimori needs Python 3.11 or later; install it, or say make PYTHON=/path/to/python3" >&2; exit 1; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make a venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## the main job at work; LOG=/var/log/mail.log for your own log
	@$(BIN)/sekimori demo $(if $(LOG),"$(LOG)")

style: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: style ## style, types and unit tests, no servers
	$(PYTEST) -m "not servers" tests/unit tests/test_*.py

servers: install ## what the full tests need: mail servers, ClickHouse, Prometheus, Kafka
	@sh tests/install-servers.sh
	@$(BIN)/python -c "from tests.support.servers import kafka_jars; kafka_jars()"

test: style servers ## every test, with real brokers, mail servers and databases
	$(PYTEST) --durations=15

e2e: servers ## only the tests with real mail servers
	$(BIN)/pytest tests/e2e

faults: servers ## N faults by chance on Apache Kafka, added up in var/faults.json and bench/FAULTS.md
	$(BIN)/python -m tests.faults --faults $(or $(N),40)

notebooks: install ## the analysts' notebooks as HTML, in var/notebooks
	$(BIN)/python notebooks/render.py --into var/notebooks

bench: install ## speed and memory, measured here
	$(BIN)/python -m bench

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" pyproject.toml

lock: install ## the locks anew, from pyproject.toml
	$(COMPILE) --upgrade --extra dev --extra demo --extra analysis --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --output-file requirements.runtime.lock

clean: ## removes what was made here
	rm -rf $(VENV) var build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
