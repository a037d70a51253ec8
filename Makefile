# make demo: fuse a phantom head into demo/ (no torch).  make test, make check: what CI runs.  PYTHON and VENV may be set.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: demo test check

demo: $(VENV)/.base
	$(BIN)/haarmony demo -o demo --overwrite

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python -c "import sys, importlib.util as i; sys.exit(i.find_spec('torchvision') and 'torchvision is installed: nothing may need it')"

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

# Editable, so that a second call need not install again after the sources change.
$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/pyvenv.cfg
	$(PIP) -e ".[dev]"
	@touch $@ $(VENV)/.base
