# `make demo` and `make test` work on a machine with nothing but Python: each sets the environment
# up if that has not been done. Variables, given as `make demo VENV=/path`:
#   VENV     the virtual environment: made if missing, used as it is if it exists   (.venv)
#   PYTHON   the Python, 3.11 to 3.13, to make it with                              (python3)
#   PIP_ARGS options of pip; `PIP_ARGS=` shows all that it does                     (--quiet)
#   WORKERS  processes that the tests run in                                        (2)
VENV ?= .venv
PYTHON ?= python3
PIP_ARGS ?= --quiet
WORKERS ?= 2

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install $(PIP_ARGS)

# The set-up is done again when what it depends on changes: the name of the stamp is a checksum of
# that, so that neither the dates of a fresh checkout nor a second checkout confuse it.
INPUTS := setup.cfg pyproject.toml Makefile tools/install_detectron2.py \
    $(sort $(wildcard tools/detectron2_installer/*.py))
STAMP := $(VENV)/.dld_d2-set-up-$(shell (pwd; cat $(INPUTS)) | cksum | cut -d' ' -f1)

.PHONY: help setup demo test lint clean

help:
	@echo "make demo    set up if needed, then read, score and distil on one page: output/demo/"
	@echo "make test    set up if needed, then check the style and run the tests"
	@echo "make setup   set up only: torch, dld_d2, Detectron2, into $(VENV)"
	@echo "make lint    check the style and the layers only"
	@echo "make clean   remove build products and caches, but not $(VENV)"
	@echo "VENV=/path uses an environment of yours; PYTHON=python3.12 chooses the Python"

setup: $(STAMP)
	@echo "The environment is ready: $(VENV)"

demo: $(STAMP)
	@$(PY) tools/make_demo.py

test: lint
	@OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses $(WORKERS) --dist loadfile

lint: $(STAMP)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(VENV)/bin/lint-imports --no-logo --no-cache

# The stamp comes last: a set-up that was cut off is taken up again, and pip skips what is there.
$(STAMP):
	@base="$(PY)"; [ -x "$$base" ] || base="$(PYTHON)"; \
	command -v "$$base" >/dev/null || { \
	    echo "make: there is no '$$base'; name a Python 3.11 to 3.13: make PYTHON=..." >&2; exit 1; }; \
	"$$base" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "make: $$base is $$("$$base" -V 2>&1), but 3.11 to 3.13 is needed; with another Python:" \
	        "make PYTHON=..., or VENV=... for another environment" >&2; exit 1; }; \
	if [ "$$base" = "$(PY)" ]; then \
	    echo "1/4 using the environment $(VENV)"; \
	else \
	    "$$base" -c 'import ensurepip, venv' 2>/dev/null || { \
	        echo "make: $$base lacks its venv or ensurepip module; install it (Debian, Ubuntu:" \
	            "apt install python3-venv) or name another Python: make PYTHON=..." >&2; exit 1; }; \
	    echo "1/4 making the environment $(VENV)"; \
	    "$$base" -m venv "$(VENV)" && $(PIP) --upgrade pip; \
	fi
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --upgrade >/dev/null
	@echo "2/4 torch and torchvision (about 5 GB on disk with CUDA; minutes, unless they are there)"
	@$(PIP) "torch>=2.4" torchvision
	@echo "3/4 dld_d2 and what it needs"
	@# setuptools warns of every editable installation as such
	@PYTHONWARNINGS=ignore $(PIP) --editable ".[test]"
	@echo "4/4 Detectron2"
	@$(PY) tools/install_detectron2.py
	@rm -f "$(VENV)"/.dld_d2-set-up-* && touch "$(STAMP)"

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
