# make demo   installs everything into .venv and restores a real face video with the embedded model
# make test   installs everything into .venv and runs the checks of the code and the tests
# make test-all   the tests that take longest too (marked slow)
# make test-fast   the core of every room, in under three minutes
# make test-comfyui COMFY_HOME=FOLDER   the tests of nodes and page on another ComfyUI: a checkout with its environment in
#                                       FOLDER/.venv, where requirements.txt of this folder is installed too
# make docs   the documentation as a site, in site/
# Both need Python 3.10 or newer and make. The tests also need Chromium, which is installed where apt can do it, and
# fetch a pinned ComfyUI, which they run as a program.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The core of every room in under three minutes: what needs neither a server, a browser, a training run nor other
# processes. `make test` runs all of it.
FAST := $(addprefix tests/, \
	core/bfvr_stc/test_checkpoint.py core/cli/test_cli.py core/cli/test_refusals.py core/degrade/test_presets.py \
	core/degrade/test_stream.py core/faces/test_compose.py core/faces/test_crop.py core/faces/test_parse.py core/io \
	core/metrics/test_perceptual.py core/metrics/test_temporal.py core/mllm/test_calibration.py \
	core/mllm/test_rubric.py core/restorers/test_windows.py core/runtime core/video/test_color.py \
	core/video/test_writer.py core/wan/test_vae.py core/weights/test_shared_folder.py core/test_public_api.py \
	nodes/test_images.py nodes/test_texts.py training/curation/test_calibrate.py training/curation/test_curation.py \
	training/data/test_batches.py training/losses/test_face_focused.py training/stages/test_pca_init.py \
	training/test_config.py)

.PHONY: demo docs test test-all test-fast test-comfyui lint clean

demo: .venv/.installed
	$(BIN)/python -m training.demo demo

test: lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(FAST)

test-comfyui: .venv/.installed-dev
	COMFY_HOME=$(COMFY_HOME) $(BIN)/python -m pytest tests/comfyui tests/browser

docs: .venv/.installed-dev
	$(BIN)/python -m mkdocs build --strict

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
	$(PIP) --editable '.[dev,docs,train,comfyui,curate]'
	$(BIN)/python tests/environment/browser.py
	touch $@

clean:
	rm -rf .venv demo site build *.egg-info
