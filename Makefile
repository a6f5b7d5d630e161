# make demo        the whole loop, small: a student that gets better, in about a quarter of an hour on two cores
# make test        the quick tests, a few minutes; `make test PYTEST_ARGS='-k store'` picks others
# make test-slow   the tests that take longer; CI runs both
# make check       linter, formatter, types
# make harbor-env  Harbor's own models in .venv-harbor, which needs Python 3.12+: the tests hold our exports against them
# make clean       removes what these made, runs/ excepted
#
# Each makes .venv first and installs what it needs, when that has changed. On Linux the usual torch brings CUDA along,
# several GB; for a CPU build from an index of your choice:
#   make demo TORCH_INSTALL='torch==2.13.0 --index-url URL'

PYTHON ?= python3
TORCH_INSTALL ?= torch==2.13.0
PYTEST_ARGS ?= -m "not slow"

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

HARBOR := .venv-harbor

.PHONY: demo test test-slow check harbor-env clean

demo: $(INSTALLED)
	$(BIN)/agentdistill demo

test: $(INSTALLED)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

harbor-env: $(HARBOR)/.installed

clean:
	rm -rf $(VENV) $(HARBOR) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache

# An environment that works is kept (torch is large); one that a Ctrl-C left half made is made anew. torch goes first
# and alone: its build is the user's to choose, and whatever needs it then finds it there. Nothing is built in
# isolation, since an isolated build would fetch a setuptools that constraints.txt does not bind.
$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	    { echo 'agentdistill needs Python 3.11, 3.12 or 3.13, and "$(PYTHON)" is none: install one and name it, as in: make PYTHON=python3.12' >&2; exit 1; }; \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo 'This Python cannot make virtual environments: install its venv package (on Debian and Ubuntu: apt install python3-venv)' >&2; exit 1; }; \
	  echo 'Making $(VENV)'; $(PYTHON) -m venv --clear $(VENV); }
	@echo 'Installing packages into $(VENV) (only when they have changed; the first time takes some minutes)'
	@$(PIP) install --quiet --constraint constraints.txt setuptools
	@$(PIP) install --constraint constraints.txt $(TORCH_INSTALL)
	@$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev,docker]'
	@touch $@

# Of all that Harbor needs, its models import pydantic only: what they need besides is left out.
$(HARBOR)/.installed: constraints.txt .ci/harbor-python
	.ci/harbor-python $(HARBOR)
	@$(HARBOR)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt pydantic
	@$(HARBOR)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --no-deps harbor
	@$(HARBOR)/bin/python -c 'import harbor.models.trajectories'
	@touch $@
