# Everything that a checkout can do. The environment lives in .venv; a stamp file says what it was built from,
# so that only a change of pyproject.toml or constraints.txt installs anything again.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check lint fast bench pictures environment clean

VENV := .venv
BIN := $(VENV)/bin
SOURCES := glassbox_dsl tests benchmarks
BENCH := benchmarks/.venv
# The first interpreter on the path that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

run: $(VENV)/run.stamp ## Run the IOI patching experiment on a real model, and write its report
	@mkdir -p results
	$(BIN)/gbx run specs/experiments/ioi_patching.gbx --db results/ioi.duckdb --report results/ioi

test: $(VENV)/dev.stamp ## Run the whole test suite, on every core
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

check: lint fast ## Lint, check formatting and types, run the fast tests

lint: $(VENV)/dev.stamp ## Lint, check formatting and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy --strict glassbox_dsl

fast: $(VENV)/dev.stamp ## Run the tests that take seconds
	$(BIN)/python -m pytest -m 'not slow and not gallery'

bench: $(BENCH)/bench.stamp ## Time Glassbox beside other tools (half an hour; benchmarks/README.md has shorter ways)
	$(BENCH)/bin/python -m benchmarks

pictures: $(VENV)/dev.stamp ## Run the worked experiments and photograph their pages for docs/gallery (minutes)
	$(BIN)/gbx models fetch smollm2-135m
	$(BIN)/gbx models fetch gemma3-270m
	$(BIN)/python tools/pictures.py
	$(BIN)/python tools/gallery.py

environment: $(VENV)/dev.stamp ## Make .venv with everything that development needs

clean: ## Remove the environment, caches and built files (results stay)
	rm -rf $(VENV) $(BENCH) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { \
		echo "Glassbox needs Python 3.11 or newer; found: $$(python3 --version 2>/dev/null || echo none)." >&2; \
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) -m venv failed; on Debian and Ubuntu it needs the package python3-venv." >&2; exit 1; }

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing Glassbox and what it needs to run models into $(VENV) (minutes, once)" >&2
	$(PIP_INSTALL) --editable '.[run,charts]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@echo "installing what the tests need into $(VENV)" >&2
	$(PIP_INSTALL) --editable '.[run,charts,dev]'
	@touch $@

$(BENCH)/bench.stamp: benchmarks/requirements.txt constraints.txt pyproject.toml | $(VENV)/bin/python
	@test -x $(BENCH)/bin/python || $(BIN)/python -m venv $(BENCH)
	@echo "installing Glassbox and the tools it is compared with into $(BENCH) (minutes, once)" >&2
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement benchmarks/requirements.txt --editable '.[run]'
	$(BENCH)/bin/gbx models fetch smollm2-135m
	$(BENCH)/bin/gbx models fetch gemma3-270m
	@touch $@
