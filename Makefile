# `make demo` and `make test` set everything up by themselves; nothing but Python 3.11, pip and git is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install -c constraints.txt torch

.PHONY: demo serve test test-slow check format docs spark bench-speed clean

demo: $(VENV)/.base                      ## train on the bundled real data, print the domain table, write demo/report.html
	$(BIN)/isthmus demo

serve: $(VENV)/.serve demo/ranker        ## recommendations of the demo's runs, over HTTP and on a page at http://127.0.0.1:8000/
	$(BIN)/isthmus serve demo/retriever demo/ranker --events demo/events.sqlite

demo/ranker:
	$(MAKE) demo

test: $(VENV)/.dev                       ## every quick test
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.dev                  ## the tests that take over half a minute each
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev                      ## style and types
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix src tests benchmarks
	$(BIN)/ruff format src tests benchmarks

docs: $(VENV)/.docs                      ## the documentation as pages, in site/
	$(BIN)/mkdocs build --strict

spark: $(VENV)/.spark                    ## Spark as the engine of prepare, which tests use where it is (and Java)

bench-speed: $(VENV)/.dev                ## speed against a plain version of the same method
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/speed/aread.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Isthmus needs Python 3.11 or later; name one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing (a few minutes the first time)"
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.spark: $(VENV)/.dev
	$(INSTALL) -e '.[spark]'
	@touch $@

$(VENV)/.serve: $(VENV)/.base
	$(INSTALL) -e '.[serve]'
	@touch $@

$(VENV)/.docs: $(VENV)/.base
	$(INSTALL) -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) demo site
