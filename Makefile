# make demo and make test work on a machine with nothing but Python 3.11 or newer and make.
VENV := .venv
BIN := $(VENV)/bin
# rivals live apart: they bring an OpenCV whose Qt plugins break the window
ORACLES := .venv-oracles
DEMO := demo
# the tests use one thread each; one of the two processes has the windows
SPREAD := -n 2 --dist loadgroup --no-loadscope-reorder

.PHONY: help demo test test-all lint format docs screenshots benchmarks clean

help:
	@echo "make demo         install, and walk the whole path on simulated tissue"
	@echo "make test         lint, types, import contracts and the test suite in real windows"
	@echo "make test-all     the same with the slow tests, those against rival libraries, and the documentation"
	@echo "make docs         the documentation, warnings as errors, in docs/_build"
	@echo "make screenshots  the pictures of the README and the documentation, from a real window"
	@echo "make benchmarks   speed and accuracy beside rival libraries, in an environment of their own; takes long"
	@echo "make clean        remove what the other targets made"

# one stamp an extra: installed again when pyproject.toml changes
$(VENV)/installed-%: pyproject.toml tools/make_environment.sh
	@tools/make_environment.sh $(VENV) $*
	@touch $@

$(ORACLES)/installed-oracles: pyproject.toml tools/make_environment.sh
	@tools/make_environment.sh $(ORACLES) oracles
	@touch $@

demo: $(VENV)/installed-all
	@$(BIN)/mitoxai demo --out $(DEMO) --overwrite

lint: $(VENV)/installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/npe2 validate src/napari_mitoxai/napari.yaml

format: $(VENV)/installed-test
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test: $(VENV)/installed-test lint
	@tools/install_display.sh
	@tools/with_display.sh $(BIN)/python -m pytest $(SPREAD) -m "not slow"

test-all: $(VENV)/installed-dev $(ORACLES)/installed-oracles lint docs
	@tools/install_display.sh
	@tools/with_display.sh $(BIN)/python -m pytest $(SPREAD)
	@$(ORACLES)/bin/python -m pytest -m oracle tests/explain tests/trust

docs: $(VENV)/installed-dev
	@$(BIN)/python -m sphinx -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

screenshots: $(VENV)/installed-test
	@tools/install_display.sh
	@tools/with_display.sh $(BIN)/python docs/screenshots.py

# those with a main are scripts, the others are what they share
benchmarks: $(ORACLES)/installed-oracles
	@set -e; for script in $$(grep -l __main__ benchmarks/*.py); do echo "== $$script"; $(ORACLES)/bin/python $$script; done

clean:
	rm -rf $(VENV) $(ORACLES) $(DEMO) docs/_build dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
