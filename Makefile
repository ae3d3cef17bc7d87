# Every target does its own set-up in $(VENV) and is quick when nothing changed.
PYTHON ?= python3
VENV ?= .venv
CONFIG ?=
NAME ?=
BIN := $(VENV)/bin

# uv does not read pip's settings: hand it pip's find-links where there is one (empty is harmless)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# offline, no telemetry; one thread a process, because two busy threads on two cores are slower than one
export HF_HUB_OFFLINE ?= 1
export DO_NOT_TRACK ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help run test test-ray check bench results picto-weights clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: $(VENV)/.ok  ## the whole chain on picto (or CONFIG=file.yaml): prompts to scores
	@$(BIN)/syn4seg run $(CONFIG)

test: $(VENV)/.ok  ## all tests but those of Ray
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/ray

test-ray: $(VENV)-ray/.ok  ## the tests of a Ray cluster, with Ray in an environment of its own
	@$(VENV)-ray/bin/python -m pytest tests/ray

check: $(VENV)/.ok  ## style, types and the fast tests
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -m "not slow" --ignore tests/ray

bench: $(VENV)/.ok  ## all benchmarks, half an hour on two free cores (or NAME="bank plan"); docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(NAME)

results: $(VENV)/.ok  ## docs/results.md and its charts from docs/results/*.json
	@$(BIN)/python -m flows.charts docs/results
	@$(BIN)/python -m flows.results docs/results > docs/results.md.new && mv docs/results.md.new docs/results.md

picto-weights: $(VENV)/.ok  ## train the small models of picto again (hours on two cores; resumable)
	$(BIN)/python -m picto.recipes.autoencoder
	$(BIN)/python -m picto.recipes.diffusion
	$(BIN)/python -m picto.recipes.backbone
	$(BIN)/python -m picto.recipes.sam
	$(BIN)/python -m picto.recipes.measure

clean: $(VENV)/.ok  ## list what the runs no longer use; delete with: syn4seg clean --yes
	@$(BIN)/syn4seg clean

$(VENV)/.ok: EXTRAS = dev
$(VENV)-ray/.ok: EXTRAS = dev,ray
$(VENV)/.ok $(VENV)-ray/.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -q uv
	$(@D)/bin/uv pip install -q --python $(@D)/bin/python -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@
