# make demo    learns an encoder from the built-in images, judges and exports it
# make quick   the tests that are over in 90 seconds on 2 cores; no process is started
# make test    every test, and the linters
# make lint    ruff and import-linter alone
# make docs    the documentation site, in site/, from docs/ and the docstrings
# PYTHON picks the interpreter that .venv is made with: make test PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
# Where tensorflow-addons has wheels; in a folder of its own, as setup.py says.
ADDONS := python_version < '3.12' and platform_machine != 'aarch64'

.PHONY: demo quick test lint docs clean

demo: .venv/installed
	$(BIN)/python examples/demo.py --run_dir=runs/demo

quick: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# An editable install knows the packages that were there.
.venv/installed: .venv/bin/python setup.py pyproject.toml $(wildcard *_tf/__init__.py)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .venv/addons \
		-c constraints.txt "tensorflow-addons; $(ADDONS)" "tf-keras; $(ADDONS)"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .ruff_cache .import_linter_cache
