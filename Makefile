# Every target does its own set-up; `make demo` and `make test` are all a newcomer needs.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
READY_TO_TEST := .venv/.ready-to-test
TEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help demo test test-all chaos quality format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: $(READY)  ## four prompts become four 3D assets in out/demo/
	$(BIN)/dreambatch run --manifest pipeline/examples/demo.parquet --output out/demo

test: $(READY_TO_TEST)  ## the tests, offline
	$(TEST) -m "not slow"

test-all: test  ## the same, then the slow ones
	$(TEST) -m slow

chaos: $(READY_TO_TEST)  ## 20 minutes of random accidents; SEED=... repeats one, MINUTES=... shortens it
	$(BIN)/python -m tests.faults.chaos --minutes $(or $(MINUTES),20) $(if $(SEED),--seed $(SEED))

quality: $(READY_TO_TEST)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(READY_TO_TEST)  ## mend format and what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment and the demo's output
	rm -rf .venv out

# torch comes first and alone: where the index has a build without CUDA, its exact version takes it.
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dreambatch needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# What only tests and their tools need.
$(READY_TO_TEST): $(READY) requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	touch $@
