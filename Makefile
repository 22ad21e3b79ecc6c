# `make demo` and `make test` each work as the first command on a fresh machine: they make the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lowest versions that pyproject.toml allows run on the lowest Python.
OLDEST_PYTHON ?= python3.11
OLDEST := .venv-oldest
# The newest versions that they allow, by a fresh environment at every call.
NEWEST_PYTHON ?= python3.13
NEWEST := .venv-newest
export LIMBECK_CACHE ?= $(CURDIR)/.cache

.PHONY: demo test test-slow test-oldest test-newest lint coverage public-names docs docs-test clean
demo: $(VENV)/.installed
	rm -rf runs/demo
	$(BIN)/limbeck compare quickstart --out runs/demo

# One process a core, one thread each: two that spin on the same cores crawl.
test: $(VENV)/.installed-dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The tests that make test leaves out; some take minutes each, so that a process without work takes over another's.
test-slow: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --slow -m slow

# TESTS="tests/losses tests/targets" runs a part.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(TESTS)

test-newest:
	$(NEWEST_PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager -e '.[test]'
	$(NEWEST)/bin/python -m pytest $(TESTS)

coverage: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(TESTS)

# The site in build/site, which needs no server and no network.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

# What the pages mark to be run, as typed, and the notebooks.
docs-test: $(VENV)/.installed-dev
	LIMBECK_RUN_DOCS=1 $(BIN)/python -m pytest tests/docs

public-names: $(VENV)/.installed-dev
	$(BIN)/python tests/test_public_names.py

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "limbeck needs Python 3.11 to 3.13, this is $$($(PYTHON) -V); name another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.installed

$(OLDEST)/.installed: pyproject.toml tools/oldest.py
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python tools/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(NEWEST) .coverage .cache build runs .pytest_cache .mypy_cache .ruff_cache
