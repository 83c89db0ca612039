# Everything that a contributor or CI runs. `make` alone lists the targets.
#
#   PYTHON=python3.13   the interpreter that environments are made from
#   DJANGO=5.2          a Django other than the newest that is supported
#   VENV=.venv          where the environment is
#   ARGS="-k pool"      more arguments for pytest, or for the benchmarks
#   DB=postgresql       the database of the conformance tests, sqlite or memory
#   ROW="R2 R10"        the rows of a soak, all if not given; SCALE=5 or full, SEEDS=3 or 7:27
#   PORT=8000           where the demo listens

PYTHON ?= python3
DJANGO ?=
VENV ?= .venv
DEMO_VENV ?= .venv-demo
DEMO_FULL_VENV ?= .venv-demo-full
ARGS ?=
PORT ?= 8000
DB ?= postgresql
LABELS ?=
HANDLER ?=
ROW ?=
SCALE ?= 5
SEEDS ?= 3
# A checkout of https://github.com/django/channels
CHANNELS_SRC ?= ../channels

DEMO := examples/workspace
PIP_INSTALL := -m pip install --quiet --quiet --disable-pip-version-check
PYTEST := $(VENV)/bin/python -m pytest
SOURCES := src tests benchmarks conformance reliability examples
SHELL := /bin/sh
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-25s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@awk '/^#   / {sub("# ", ""); print}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(DEMO_VENV)/.installed ## the example service on http://127.0.0.1:PORT, Ctrl-C ends it
	@exec env PORT=$(PORT) $(DEMO_VENV)/bin/python $(DEMO)/demo.py

.PHONY: demo-full
demo-full: $(DEMO_FULL_VENV)/.installed ## the same on PostgreSQL, Redis, a Celery worker, two web processes
	@exec env PORT=$(PORT) $(DEMO_FULL_VENV)/bin/python $(DEMO)/demo_full.py

# --- checks -----------------------------------------------------------------------------------

.PHONY: check
check: format-check lint types layers test ## format-check, lint, types, layers and test

.PHONY: format-check
format-check: $(VENV)/.installed ## is the code formatted?
	$(VENV)/bin/ruff format --check $(SOURCES)

.PHONY: lint
lint: $(VENV)/.installed ## likely mistakes
	$(VENV)/bin/ruff check $(SOURCES)

.PHONY: types
types: $(VENV)/.installed ## the types of src, strictly
	$(VENV)/bin/mypy

.PHONY: layers
layers: $(VENV)/.installed ## who may import whom
	$(VENV)/bin/lint-imports

# In four parts, of which `make -j3` runs three at a time.
.PHONY: test
test: test-inside test-sqlite test-processes test-reliability-uvloop ## the tests, on both databases

# One process a database; tests/README.md says why.
.PHONY: test-postgresql
test-postgresql: $(VENV)/.installed ## all tests, those of the database on PostgreSQL
	$(PYTEST) --db=postgresql $(ARGS)

.PHONY: test-sqlite
test-sqlite: $(VENV)/.installed ## the tests that use a database, on SQLite
	$(PYTEST) --db=sqlite -m database $(ARGS) $(NONE_IS_FINE)

# Tests that wait for processes which they start: these have loops of their own.
PROCESSES := $(addprefix tests/,conformance devserver soak testing/users workspace \
    middleware/test_json_errors.py test_deployment.py test_servers.py test_startproject.py)
# `make test ARGS="-k pool"`: there may be nothing of it in a part.
NONE_IS_FINE = $(if $(ARGS),|| [ $$? -eq 5 ])

.PHONY: test-inside
test-inside: $(VENV)/.installed # test-postgresql, but for the tests that start processes
	$(PYTEST) --db=postgresql $(addprefix --ignore=,$(PROCESSES)) $(ARGS) $(NONE_IS_FINE)

.PHONY: test-processes
test-processes: $(VENV)/.installed # these
	$(PYTEST) --db=postgresql $(ARGS) $(PROCESSES) $(NONE_IS_FINE)

.PHONY: test-reliability-uvloop
test-reliability-uvloop: $(VENV)/.installed ## faults and cancellations, on uvloop and PostgreSQL
	$(PYTEST) --db=postgresql --loop=uvloop -m loop $(ARGS) tests/reliability $(NONE_IS_FINE)

# Those that run on the loop which the option chooses; `runner` has all loops in any run.
.PHONY: test-uvloop
test-uvloop: $(VENV)/.installed ## the other async tests on uvloop and PostgreSQL
	$(PYTEST) --db=postgresql --loop=uvloop -m loop \
	    --ignore=tests/reliability $(addprefix --ignore=,$(PROCESSES)) $(ARGS)

# --- other work -------------------------------------------------------------------------------

.PHONY: format
format: $(VENV)/.installed ## format the code and mend what can be mended
	$(VENV)/bin/ruff format $(SOURCES)
	$(VENV)/bin/ruff check --fix $(SOURCES)

.PHONY: bench
bench: $(VENV)/.installed-bench ## measure against stock Django and others
	$(VENV)/bin/python -m benchmarks $(ARGS)

.PHONY: screenshots
screenshots: $(VENV)/.installed ## the example's pages, each light and dark, into the folder screenshots
	$(VENV)/bin/python -m tests.workspace.screenshots screenshots

.PHONY: readme-images
readme-images: $(VENV)/.installed ## those that the README shows, into docs/images
	$(VENV)/bin/python -m tests.workspace.screenshots --readme

.PHONY: bench-workspace
bench-workspace: $(VENV)/.installed ## the example under load, beside stock Django, into docs/benchmarks.md
	$(VENV)/bin/python -m benchmarks.workspace --write $(ARGS)

.PHONY: conformance
conformance: $(VENV)/.installed-conformance ## Django's own tests: DB=, LABELS=, HANDLER=1
	$(VENV)/bin/python -m conformance --db=$(DB) $(if $(HANDLER),--handler) $(ARGS) $(LABELS)

.PHONY: conformance-cache
conformance-cache: $(VENV)/.installed-conformance ## Django's tests of caches, on Redis: DB=
	$(VENV)/bin/python -m conformance --db=$(DB) --cache=bridge $(ARGS)
	$(VENV)/bin/python -m conformance --db=$(DB) --cache=outside $(ARGS)

.PHONY: conformance-database
conformance-database: $(VENV)/.installed-conformance ## the labels about databases, on all
	$(VENV)/bin/python -m conformance --db=sqlite $(ARGS) database
	$(VENV)/bin/python -m conformance --db=memory $(ARGS) database
	$(VENV)/bin/python -m conformance --db=postgresql $(ARGS) database

.PHONY: conformance-drf
conformance-drf: $(VENV)/.installed-conformance ## Django REST framework's own tests: DB=, HANDLER=1
	$(VENV)/bin/python -m conformance --db=$(DB) --drf $(if $(HANDLER),--handler) $(ARGS)

.PHONY: soak
soak: $(VENV)/.installed ## reliability for longer, into docs/reliability.md: ROW=, SCALE=, SEEDS=
	$(VENV)/bin/python -m reliability --scale=$(SCALE) --seeds=$(SEEDS) $(ARGS) $(ROW)

.PHONY: conformance-channels
conformance-channels: $(VENV)/.installed-conformance ## Channels' own tests: CHANNELS_SRC=, DB=
	$(VENV)/bin/python -m conformance --db=$(DB) --channels '$(CHANNELS_SRC)' $(ARGS)

.PHONY: clean
clean: ## remove environments, builds and caches
	rm -rf $(VENV) $(DEMO_VENV) $(DEMO_FULL_VENV) .ci/envs .conformance .reliability build dist src/*.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- environments -----------------------------------------------------------------------------
# Made when first needed; made anew when PYTHON or DJANGO is another; filled again when
# pyproject.toml has changed.

.PHONY: FORCE
FORCE:

define make-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or later is needed, and '$(PYTHON)' is not one. Try make PYTHON=/path/to/python3.13" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot make environments: its modules venv and ensurepip are missing. On Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; }
	@echo "Making an environment in $(@D) ..."
	@$(PYTHON) -m venv --clear $(@D)
endef

WANTED = $(PYTHON) django=$(DJANGO)
# Written only when the answer differs, so that only then the environment is made anew.
ifneq ($(shell cat $(VENV)/.wanted 2>/dev/null),$(WANTED))
$(VENV)/.wanted: FORCE
endif
$(VENV)/.wanted:
	$(make-venv)
	@echo '$(WANTED)' > $@

$(VENV)/.installed: $(VENV)/.wanted pyproject.toml
	@echo "Installing what the checks need (a minute or two) ..."
	@$(VENV)/bin/python $(PIP_INSTALL) --editable '.[dev,postgresql]' $(if $(DJANGO),'Django==$(DJANGO).*')
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed benchmarks/requirements.txt
	@echo "Installing what the benchmarks compare with ..."
	@$(VENV)/bin/python $(PIP_INSTALL) --requirement benchmarks/requirements.txt
	@touch $@

$(VENV)/.installed-conformance: $(VENV)/.installed conformance/requirements.txt
	@echo "Installing what Django's tests use ..."
	@$(VENV)/bin/python $(PIP_INSTALL) --requirement conformance/requirements.txt
	@touch $@

ifneq ($(shell cat $(DEMO_VENV)/.wanted 2>/dev/null),$(PYTHON))
$(DEMO_VENV)/.wanted: FORCE
endif
$(DEMO_VENV)/.wanted:
	$(make-venv)
	@echo '$(PYTHON)' > $@

$(DEMO_VENV)/.installed: $(DEMO_VENV)/.wanted pyproject.toml $(DEMO)/requirements.txt
	@echo "Installing Onloop and the example's requirements ..."
	@$(DEMO_VENV)/bin/python $(PIP_INSTALL) --editable '.[http,tasks]' --requirement $(DEMO)/requirements.txt
	@touch $@

ifneq ($(shell cat $(DEMO_FULL_VENV)/.wanted 2>/dev/null),$(PYTHON))
$(DEMO_FULL_VENV)/.wanted: FORCE
endif
$(DEMO_FULL_VENV)/.wanted:
	$(make-venv)
	@echo '$(PYTHON)' > $@

$(DEMO_FULL_VENV)/.installed: $(DEMO_FULL_VENV)/.wanted pyproject.toml $(DEMO)/requirements.txt $(DEMO)/requirements-full.txt
	@echo "Installing Onloop, PostgreSQL and the rest (a minute) ..."
	@$(DEMO_FULL_VENV)/bin/python $(PIP_INSTALL) --editable '.[http,tasks]' \
	    --requirement $(DEMO)/requirements.txt --requirement $(DEMO)/requirements-full.txt
	@touch $@
