# make demo   installs everything into .venv and restores a real face video with the embedded model
# make test   installs everything into .venv and runs the tests
# Both need Python 3.10 or newer and make. The tests also need Chromium, which is installed where apt can do it, and
# fetch a pinned ComfyUI, which they run as a program.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint clean

demo: .venv/.installed
	$(BIN)/python -m training.demo demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m mypy

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) --editable '.[train]'
	$(BIN)/python tests/environment/cpu_torchvision.py
	touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) --editable '.[dev,train,comfyui,curate]'
	$(BIN)/python tests/environment/browser.py
	touch $@

clean:
	rm -rf .venv demo build *.egg-info
