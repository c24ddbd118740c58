# Two commands for a machine that has Python 3.11 or newer, pip and make:
#
#     make demo      the optimizer race on the embedded digits
#     make test      the whole test suite
#
# Each makes the virtual environment .venv, installs what it needs into it at the exact versions
# of .ci/constraints.txt, and runs. The next call reuses what the last one made.
#
# Settings, each given as NAME=value on the command line:
#     PYTHON   the Python that makes .venv       (default: the first 3.11 or newer on the PATH)
#     VENV     where the environment goes        (default: .venv)
#     JOBS     test processes at once            (default: auto, at most 8)
#     ARGS     more arguments for pytest, for the race or for the benchmarks
#
# On Linux, PyTorch's usual wheel brings gigabytes of CUDA libraries that the tests do not use:
#     make test PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# takes its CPU build of the same version.

VENV ?= .venv
PYTHON ?=
JOBS ?= auto
ARGS ?=

CANDIDATES := $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 python)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --quiet --no-input --disable-pip-version-check
INSTALL := $(PIP) install --constraint .ci/constraints.txt
PINS := pyproject.toml tinygrad_opt/__init__.py .ci/constraints.txt

.PHONY: help demo test lint bench gpu clean FORCE
.DEFAULT_GOAL := help

help:
	@echo "make demo    run the optimizer race on real digits; needs no PyTorch"
	@echo "make test    run the tests; ARGS=\"-k nesterov\" narrows them"
	@echo "make lint    check style (ruff) and types (mypy)"
	@echo "make bench   measure the speed of the optimizers on this machine"
	@echo "make gpu     test and measure on an NVIDIA GPU; installs nothing (docs/gpu.md)"
	@echo "make clean   remove $(VENV), the caches and what the demo wrote"
	@echo
	@echo "Another Python: make test PYTHON=/path/to/python3.12"

demo: $(VENV)/.core
	@echo "racing the optimizers on the embedded digits ..."
	@$(PY) -m tinygrad_opt race --out race $(ARGS)
	@echo && echo "The picture and the table are here:"
	@for file in race/*; do echo "  $$PWD/$$file"; done

# One thread a process: several test processes that each start as many BLAS threads as there are
# cores only get in each other's way.
test lint bench: $(VENV)/.dev
test: export OMP_NUM_THREADS := 1
test: export OPENBLAS_NUM_THREADS := 1
test: export MKL_NUM_THREADS := 1
test:
	@$(PY) -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist worksteal $(ARGS)

lint:
	@$(PY) -m ruff check
	@$(PY) -m mypy

bench:
	@$(PY) tests/benchmarks/run.py $(ARGS)

# Nothing is installed: a GPU machine has its CuPy and PyTorch, and perhaps no network. So this uses
# the Python that it is given, or python3, and leaves $(VENV) alone.
gpu:
	@PYTHONPATH="$$PWD$${PYTHONPATH:+:$$PYTHONPATH}" \
	    "$(or $(PYTHON),python3)" tests/benchmarks/gpu_run.py $(ARGS)

clean:
	rm -rf "$(VENV)" race gpu build dist ./*.egg-info mutants
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The build tool is installed first and at its pinned version, so that building the project
# itself (--no-build-isolation) fetches nothing behind the constraints' back.
$(VENV)/.core: $(PINS) $(VENV)/pyvenv.cfg
	@echo "installing tinygrad_opt and what it needs (first time only, about half a minute) ..."
	@$(INSTALL) setuptools
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(PINS) $(VENV)/pyvenv.cfg
	@echo "installing the test tools, PyTorch among them (first time only, a minute or two) ..."
	@$(INSTALL) setuptools
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $(VENV)/.core $@

# An environment whose Python is gone (an upgrade took it away) is made again. Debian and Ubuntu
# ship a Python without the part of venv that brings pip along; there the machine's own pip puts
# one into the new environment.
$(VENV)/pyvenv.cfg: $(if $(realpath $(PY)),,FORCE)
	@echo "making the virtual environment $(VENV) ..."
	@for python in $(CANDIDATES); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    "$$python" -m venv --clear "$(VENV)" >/dev/null 2>&1 && exit 0; \
	    "$$python" -m venv --clear --without-pip "$(VENV)" && \
	    "$$python" -m pip --python "$(VENV)/bin/python" install -qq pip && exit 0; \
	    rm -rf "$(VENV)"; \
	    echo "error: $$python cannot make a virtual environment (see the line above)." >&2; \
	    echo "       On Debian and Ubuntu, apt-get install python3-venv puts that right." >&2; \
	    exit 1; \
	done; \
	echo "error: no Python 3.11 or newer here. Looked at:" >&2; \
	for python in $(CANDIDATES); do \
	    echo "       $$python: $$("$$python" --version 2>/dev/null || echo 'not found')" >&2; \
	done; \
	echo "       Install one, or say where it is: make PYTHON=/path/to/python3.12 ..." >&2; \
	exit 1

FORCE:
