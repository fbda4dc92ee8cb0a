# make demo   installs everything into .venv and restores a real face video with the embedded model
# make test   installs everything into .venv and runs the tests
# make test-comfyui COMFY_HOME=FOLDER   the tests of nodes and page on another ComfyUI: a checkout with its environment in
#                                       FOLDER/.venv, where requirements.txt of this folder is installed too
# Both need Python 3.10 or newer and make. The tests also need Chromium, which is installed where apt can do it, and
# fetch a pinned ComfyUI, which they run as a program.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-comfyui lint clean

demo: .venv/.installed
	$(BIN)/python -m training.demo demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-comfyui: .venv/.installed-dev
	COMFY_HOME=$(COMFY_HOME) $(BIN)/python -m pytest tests/comfyui tests/browser

lint: .venv/.installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

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
