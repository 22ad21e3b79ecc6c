# `make demo` and `make test` each work as the first command on a fresh machine: they make the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export LIMBECK_CACHE ?= $(CURDIR)/.cache

.PHONY: demo test lint clean
demo: $(VENV)/.installed
	rm -rf runs/demo
	$(BIN)/limbeck compare quickstart --out runs/demo

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest

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

clean:
	rm -rf $(VENV) .cache runs .pytest_cache .mypy_cache .ruff_cache
