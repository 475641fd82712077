# Everything runs in .venv, which each target sets up when it is missing or older than the pins.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench faults docs weights build clean

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "blursynth needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[zstd]' --group dev
	touch $@

setup: $(STAMP)  ## Install blursynth and the tools for working on it into .venv

demo: setup  ## Render a clip, then make, train and deblur with it: the whole job in minutes
	$(BIN)/blursynth demo -o blursynth-demo --overwrite

test: setup  ## Run all tests
	$(BIN)/python -m pytest

check: setup  ## Format, lint, types, import layers and tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

format: setup  ## Mend format and what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## Measure against the plain way, side by side; print ratios
	$(BIN)/python -m benchmarks

faults: setup  ## Break things on purpose, the long form: kills, full disks, bad input; docs/reliability.md tells
	cd tests && ../$(BIN)/python -m faults

docs: setup  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir site

PHOTOS ?= photos
MINUTES ?= 95
weights: setup  ## Train the default weights: make weights PHOTOS=folder MINUTES=95
	$(BIN)/python -m blursynth.model.recipe $(PHOTOS) -o weights-run --minutes $(MINUTES)

build: setup  ## Build wheel and source archive, and check the wheel's contents
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/twine check --strict dist/*

clean:  ## Remove what was made here
	rm -rf .venv build dist site blursynth-demo bench *.egg-info
