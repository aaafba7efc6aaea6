# make leaderboard | test | lint: each makes the virtual environment first, once.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
TYPES := build/types
BOARD := runs/leaderboard
FOLDERS := traces envs baselines agents scripts

# Named by what decides its content, the settings of tools left out: other dependencies are installed
# anew, the same ones never.
DECIDES := cat constraints.txt setup.py; sed '/^\[tool\./,$$d' pyproject.toml
STAMP := $(VENV)/.fleetgym-$(shell ($(DECIDES)) | sha256sum | cut -c1-16)

export OMP_NUM_THREADS := 1
ifndef FLEETGYM_DATA
ifneq ($(wildcard ../shared/data/.),)
export FLEETGYM_DATA := $(abspath ../shared/data)
endif
endif

.PHONY: leaderboard test lint types venv
.DELETE_ON_ERROR:

leaderboard: $(STAMP)
	$(BIN)/fleetgym leaderboard run $(BOARD) --processes 2
	$(BIN)/fleetgym leaderboard verify $(BOARD)
	$(BIN)/fleetgym leaderboard report $(BOARD)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP) types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	cd $(TYPES) && ../../$(BIN)/mypy --strict --config-file ../../pyproject.toml -p fleetgym
	PYTHONPATH=$(TYPES) $(BIN)/lint-imports --config pyproject.toml

# The package as its users import it, for tools that do not understand the mapping of setup.py.
types:
	@rm -rf $(TYPES) && mkdir -p $(TYPES)/fleetgym
	@ln -s $(foreach folder,$(FOLDERS),$(CURDIR)/$(folder)) $(wildcard $(CURDIR)/.pkg/*) $(TYPES)/fleetgym/

venv: $(STAMP)

# torch first and by its exact version: an open range would pull gigabytes of CUDA.
$(STAMP):
	test -x $(BIN)/python || python3.11 -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -c constraints.txt --no-build-isolation -e '.[sb3,rllib,multi,plots,dev]'
	rm -f $(VENV)/.fleetgym-*
	touch $@
