# Everything starts here: `make help`.
#
# `make setup` builds .venv with pip and the versions of constraints.txt. Where wheels come from is
# decided by pip's own settings (`pip config`), never by this repository. `torch==2.13.0` is
#   * a build with CUDA on an ordinary Linux machine with pip's defaults: it uses an NVIDIA GPU where
#     there is one and runs on the CPU where there is none;
#   * the CPU build, without any CUDA package, on a machine whose pip settings offer that build of the
#     same release ("2.13.0+cpu" satisfies the pin and is preferred), and on macOS.
# UV=1 installs with uv, if you have it, which is faster. uv does not read pip's settings: it follows its
# own, and on a machine without a GPU it needs UV_TORCH_BACKEND=cpu to avoid several GB of CUDA packages.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# Set by `make TARGET NAME=value`; the environment does not reach the ones with `=`.
PYTHON ?= python3
UV ?=
EXP = prior/starter
DATA =
VALID =
DEVICES =
LOGGER =
START =
IN =
OUT =
REF =
PRIOR =
TRACK =
SYSTEM =
PRESET =
SWEEP = prior
WORKERS = logical
ARGS =
SCORE_ARGS =

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# $(call need,TARGET,VARIABLE,what it is): said before anything is installed.
need = $(if $(filter $(1),$(MAKECMDGOALS)),$(if $($(2)),,$(error `make $(1)` needs $(2)=..., $(3). `make help` shows an example)))

##@ Environment

.PHONY: help
help:  ## Show this text
	@awk 'BEGIN {FS = ":.*##"; print "make TARGET [NAME=value ...]"} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*##/ {printf "  %-10s%s\n", $$1, $$2}' Makefile
	@echo ""
	@echo "Variables"
	@echo "  EXP       experiment: experiments/EXP.yaml (train: prior/starter)"
	@echo "  DATA      train: clean speech, a folder or a .jsonl or .csv manifest (none: the starter corpus)"
	@echo "            benchmark: a folder with its manifests (see docs/benchmark.md)"
	@echo "  VALID     train: speech of other talkers to validate on (none: held out of DATA)"
	@echo "  START     piece: OUT/piece of the piece before, or a prior folder (none: random weights)"
	@echo "  LOGGER    train: csv, tensorboard or wandb (offline unless WANDB_MODE=online)"
	@echo "  DEVICES   train, predict: number of devices"
	@echo "  IN, OUT   restore, predict, evaluate: recordings to restore, results"
	@echo "  PRIOR     restore, predict, benchmark: a prior folder or a training checkpoint (the shipped one)"
	@echo "  REF       evaluate: clean references"
	@echo "  TRACK     benchmark: enhance, dereverb, denoise_dereverb, separate or joint"
	@echo "  SYSTEM    benchmark: unprocessed, wpe, rnnoise, noisereduce, or a task such as enhance (with PRIOR)"
	@echo "  PRESET    benchmark: fast, default or quality, of a task"
	@echo "  SWEEP     sweep: experiments/sweep/SWEEP.yaml"
	@echo "  ARGS      anything else, handed on: ARGS=\"--trainer.max_steps=50\" (benchmark: to run, SCORE_ARGS to score)"
	@echo "  WORKERS   test, test-all: processes that share the tests (logical: one for each core; 0: none but pytest's)"
	@echo "  PYTHON    setup: the Python that .venv is made from (python3)"
	@echo "  UV        setup: UV=1 installs with uv instead of pip"
	@echo ""
	@echo "Examples"
	@echo "  make train"
	@echo "  make train DATA=~/speech DEVICES=2 LOGGER=wandb"
	@echo "  make restore IN=noisy/ OUT=restored/"
	@echo "  make evaluate IN=noisy/ OUT=restored/ REF=clean/"
	@echo "  make benchmark TRACK=joint SYSTEM=unprocessed DATA=corpus/"

.PHONY: setup
setup: $(STAMP)  ## Create .venv and install everything (train, test and the others do it when needed)
	@echo "$(VENV) is ready."

# The stamp is written last, so an interrupted set-up is simply taken up again. It holds the folder's
# path: the scripts of an environment stop working when its folder is moved.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif
$(STAMP): pyproject.toml constraints.txt
	@$(check_environment)
	@echo "Installing diffsr and the versions of constraints.txt into $(VENV) (the first time: 2 GB or more)"
	@$(install) -c constraints.txt -e '.[dev,tensorboard,evaluation,baselines]'
	@$(check_gpu)
	@echo "$(CURDIR)" > $@

ifeq ($(UV),)
install = $(BIN)/python -m pip install --disable-pip-version-check $(if $(or $(CI),$(wildcard $(STAMP))),-q)
else
install = uv pip install --python $(BIN)/python
endif

# An environment that works is kept; a missing or broken one is made anew.
define check_environment
if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
  found=; \
  for candidate in $(PYTHON) $(if $(filter file,$(origin PYTHON)),python3.13 python3.12 python3.11); do \
    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
  done; \
  if [ -z "$$found" ]; then \
    echo "Found no Python 3.11 or newer: '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
    echo "Install one, or name it: make setup PYTHON=/path/to/python3" >&2; exit 1; \
  fi; \
  if ! command -v $${CC:-cc} >/dev/null 2>&1 && ! command -v gcc >/dev/null 2>&1; then \
    echo "Found no C compiler, and pesq is built from source." >&2; \
    echo "Install one (Debian, Ubuntu: apt-get install gcc; macOS: xcode-select --install)." >&2; exit 1; \
  fi; \
  if ! $$found -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; then \
    echo "Found no Python.h beside $$found, and pesq is built from source." >&2; \
    echo "Install the headers of that Python (Debian, Ubuntu: apt-get install python3-dev)." >&2; exit 1; \
  fi; \
  echo "Creating $(VENV) with $$found ($$($$found --version))"; \
  if ! $$found -m venv --clear $(VENV); then \
    echo "$$found could not create $(VENV) (Debian, Ubuntu: apt-get install python3-venv), then run make again." >&2; exit 1; \
  fi; \
fi
endef

define check_gpu
if nvidia-smi -L >/dev/null 2>&1 && ! $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
  echo "Note: this machine has an NVIDIA GPU that the installed torch does not use (a CPU build, or too old a driver)." >&2; \
  echo "pip's settings chose the build; 'diffsr doctor' tells more." >&2; \
fi
endef

.PHONY: clean
clean:  ## Remove caches and builds (.venv and runs/ stay)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

##@ Work

fit_options = --config 'experiments/$(EXP).yaml'
fit_options += $(if $(LOGGER),--config 'experiments/trainer/$(LOGGER).yaml')
fit_options += $(if $(DATA),--data.init_args.data='$(DATA)')
fit_options += $(if $(VALID),--data.init_args.valid='$(VALID)')
fit_options += $(if $(DEVICES),--trainer.devices='$(DEVICES)')

.PHONY: train
train: $(STAMP)  ## Train EXP (a second call goes on where the first one stopped)
	$(BIN)/diffsr fit $(fit_options) $(ARGS)

.PHONY: piece
$(call need,piece,DATA,a pack of speech)$(call need,piece,OUT,where the piece goes)
piece: $(STAMP)  ## Train on DATA for some minutes, from START into OUT (docs/training.md)
	PYTHON='$(CURDIR)/$(BIN)/python' bash benchmarks/train_gpu.sh '$(DATA)' '$(or $(START),none)' '$(OUT)' $(ARGS)

.PHONY: restore
$(call need,restore,IN,a recording or a folder)$(call need,restore,OUT,where the results go)
restore: $(STAMP)  ## Restore the file or folder IN into OUT with PRIOR
	$(BIN)/diffsr restore '$(IN)' '$(OUT)' $(if $(PRIOR),--prior '$(PRIOR)') $(ARGS)

predict_options = --config 'experiments/$(EXP).yaml'
predict_options += --data.init_args.input='$(IN)'
predict_options += --model.init_args.output='$(OUT)'
predict_options += $(if $(PRIOR),--model.init_args.prior='$(PRIOR)')
predict_options += $(if $(DEVICES),--trainer.devices='$(DEVICES)')

.PHONY: predict
$(call need,predict,IN,a folder of recordings)$(call need,predict,OUT,where the results go)
predict: EXP = enhance/default
predict: $(STAMP)  ## Restore the folder IN into OUT with PRIOR by an experiment file (default EXP=enhance/default)
	$(BIN)/diffsr predict $(predict_options) $(ARGS)

.PHONY: evaluate
$(call need,evaluate,OUT,the restored file or folder)$(call need,evaluate,REF,the clean references)
evaluate: $(STAMP)  ## Score the recordings OUT against the references REF, beside the inputs IN if given
	$(BIN)/diffsr evaluate '$(OUT)' '$(REF)' $(if $(IN),--input '$(IN)') $(ARGS)

benchmark_options = --track '$(TRACK)' --data '$(DATA)' --system '$(SYSTEM)'

.PHONY: benchmark
$(call need,benchmark,TRACK,enhance dereverb denoise_dereverb separate or joint)
$(call need,benchmark,SYSTEM,such as unprocessed)$(call need,benchmark,DATA,a folder with manifests)
benchmark: $(STAMP)  ## Run SYSTEM on the TRACK of the open benchmark with DATA, score it, print the table
	$(BIN)/diffsr benchmark run $(benchmark_options) $(if $(PRIOR),--prior '$(PRIOR)') $(if $(PRESET),--preset '$(PRESET)') $(ARGS)
	$(BIN)/diffsr benchmark score $(benchmark_options) $(SCORE_ARGS)

.PHONY: sweep
sweep: $(STAMP)  ## Register the sweep SWEEP with Weights & Biases (needs an account; prints the agent's command)
	$(BIN)/wandb sweep 'experiments/sweep/$(SWEEP).yaml' $(ARGS)

##@ Checks

# Each process computes with one thread (tests/conftest.py), and needs about a gigabyte.
pytest = $(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist worksteal

.PHONY: test
test: $(STAMP)  ## Run the tests, without the slow ones
	$(pytest) -m 'not slow' --durations=10 $(ARGS)

.PHONY: test-all
test-all: $(STAMP)  ## Run all tests, the slow ones included
	$(pytest) --durations=20 $(ARGS)

.PHONY: lint
lint: $(STAMP)  ## Check style and formatting
	$(BIN)/python -m ruff check . $(ARGS)
	$(BIN)/python -m ruff format --check .

.PHONY: types
types: $(STAMP)  ## Check types
	$(BIN)/python -m mypy $(ARGS)

.PHONY: format
format: $(STAMP)  ## Rewrite the code in the house style
	$(BIN)/python -m ruff check --fix-only .
	$(BIN)/python -m ruff format .
