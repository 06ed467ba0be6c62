# Everything is set up by itself: `make serve` and `make test` make the virtual environment when it is missing or
# older than what it was made from. A stamp is written only when its step is done, so an interrupted step runs again.

PYTHON ?= python3
VENV   ?= .venv
HOST   ?= 127.0.0.1
PORT   ?= 3000
OUT    ?= benchmark.json
ENGINE ?= docker
IMAGE  ?= wholesome-greentext:local
ARGS   ?=

BIN      := $(VENV)/bin
SERVICE  := $(VENV)/.service-ready
DEV      := $(VENV)/.dev-ready
PACKAGES := greentext data_pipeline training service
# Folders come as issues land; a check names only those that are there.
SOURCES  := $(wildcard $(PACKAGES) image loadtests tests)
# Pages are built into the package that serves them.
CURATION := data_pipeline/curation/static/index.html
BOARD    := $(if $(wildcard frontend/board/package.json),service/static/index.html)
# What tests, lint and all pages need, and what the board's page alone does: 40 % of the size, half the time, measured.
NODE     := frontend/node_modules/.all-ready
NODE_BOARD := frontend/node_modules/.board-ready
# A machine without a network finds out in seconds: npm by itself would try for more than a minute.
IMPATIENT := --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=3000 --fetch-timeout=60000
HAS_NODE := node -e 'const [a, b] = process.versions.node.split("."); process.exit(+(a < 20 || (a == 20 && b < 19)))' \
	2>/dev/null && command -v npm >/dev/null
NO_NODE  := Node 20.19 or newer is needed for the pages: on Debian 13, apt-get install nodejs npm, or nodejs.org
# $(1): what npm is to install, and how.
NPM_CI    = rm -f $(NODE) $(NODE_BOARD) && cd frontend && npm ci $(1) >/dev/null
UV_PIP   := $(abspath $(BIN))/python -m uv pip

# uv does not read pip's settings: where pip is told to look, uv looks too.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
# Certificates of the system, as pip takes them: uv brings its own, which know no company's.
export UV_SYSTEM_CERTS ?= true
# An environment that is active elsewhere must not be the one that uv installs into.
export VIRTUAL_ENV := $(abspath $(VENV))
unexport PYTHONHOME
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help serve test test-fast k8s-check lint format bench bench-json load bento image image-check audit lock clean setup setup-dev frontend page
.DELETE_ON_ERROR:
# Two steps that fill one folder must not do so at once.
.NOTPARALLEL:

help: ## Show what there is to make
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-11s %s\n", $$1, $$2 }'

# ---------------------------------------------------------------------------------------------- use

# PYTHONDONTWRITEBYTECODE would make every start compile what it imports.
serve: $(SERVICE) page ## Serve greentexts from the embedded model (PORT=3000 HOST=127.0.0.1)
	@$(BIN)/python -c 'import socket, sys; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((sys.argv[1], int(sys.argv[2])))' \
		$(HOST) $(PORT) 2>/dev/null || { echo "Nothing can listen on $(HOST):$(PORT); another program may do so already: make serve PORT=3001" >&2; exit 1; }
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q greentext service
	@exec env -u PYTHONDONTWRITEBYTECODE PATH="$(abspath $(BIN)):$$PATH" BENTOML_DO_NOT_TRACK=True \
		$(BIN)/bentoml serve service.service:GreentextService --host $(HOST) --port $(PORT) $(ARGS)

bench: $(DEV) ## Measure the bare decode step, the engine, HTTP and the naive way (ARGS=...)
	@$(BIN)/python -m loadtests.engine_benchmark $(ARGS)

bench-json: $(DEV) ## The same, written as JSON too (OUT=benchmark.json)
	@$(BIN)/python -m loadtests.engine_benchmark --json $(OUT) $(ARGS)

load: $(DEV) ## Put a service under load for two minutes (ARGS=--full: all that docs/operations.md holds)
	@$(BIN)/python -m loadtests.load $(ARGS)

# --------------------------------------------------------------------------------------------- image

bento: $(DEV) page ## Build the bento: service, models, lock and Dockerfile in one folder
	@PATH="$(abspath $(BIN)):$$PATH" BENTOML_DO_NOT_TRACK=True bentoml build

# In the folder for temporary files, or BentoML 1.4.39 refuses our Dockerfile (its issue 5566).
image: bento ## Make the service's image (IMAGE=wholesome-greentext:local ENGINE=docker ARGS=...)
	@cd "$${TMPDIR:-/tmp}" && PATH="$(abspath $(BIN)):$$PATH" BENTOML_DO_NOT_TRACK=True \
		bentoml containerize wholesome-greentext:latest --backend $(ENGINE) --image-tag $(IMAGE) $(ARGS)

image-check: $(DEV) page ## Serve from the built bento and its lock alone, and check the Dockerfiles
	@IMAGE_CHECK=1 $(BIN)/python -m pytest tests/image $(ARGS)

audit: $(DEV) ## Ask what is known of holes in the locks (needs an index that knows)
	@$(BIN)/python -m image.audit requirements/service.txt requirements/dev.txt

# --------------------------------------------------------------------------------------------- check

test: $(DEV) $(NODE) $(CURATION) $(BOARD) ## Run all tests, the fast ones first (ARGS=...)
	@npm --prefix frontend test --silent
	@$(BIN)/python -m pytest $(ARGS)

test-fast: $(DEV) $(NODE) $(CURATION) $(BOARD) ## Run the tests that take seconds
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

k8s-check: $(DEV) ## Render and check what is in k8s/ (fetches kubectl unless a new one is there; needs promtool)
	@$(BIN)/python -c 'import sys; from tests.k8s.manifests import kubectl; sys.exit(kubectl() is None)' \
		|| $(BIN)/python -m tests.k8s.fetch_kubectl $(BIN)/kubectl
	@PATH="$(abspath $(BIN)):$$PATH" K8S_CHECK=1 $(BIN)/python -m pytest tests/k8s $(ARGS)

lint: $(DEV) $(NODE) ## Check format, lint rules, types, and who imports whom
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	npm --prefix frontend run lint --silent

format: $(DEV) $(NODE) ## Format, and fix what can be fixed by itself
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	npm --prefix frontend run format --silent

# -------------------------------------------------------------------------------------------- set-up

setup: $(SERVICE) ## Set up what `serve` needs
setup-dev: $(DEV) ## Set up what everything else needs
frontend: $(NODE) $(CURATION) $(BOARD) ## Build the pages that the programs serve (needs Node 20.19 or newer)

# uv where it installs, pip where it does not: the same pins either way, pip in minutes rather than seconds.
$(VENV)/.venv-ready:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "No virtual environment could be made: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1" \
		|| echo "uv cannot be installed; going on with pip, which takes longer" >&2
	@touch $@

$(SERVICE): requirements/service.txt $(VENV)/.venv-ready
	@echo "Installing what the service needs (about 330 MB) into $(VENV) ..."
	@if $(BIN)/python -m uv --version >/dev/null 2>&1; then \
		$(UV_PIP) install --quiet --compile-bytecode --require-hashes -r requirements/service.txt; \
	else \
		env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install --quiet --disable-pip-version-check \
			--require-hashes -r requirements/service.txt; \
	fi
	@touch $@

$(DEV): requirements/dev.txt pyproject.toml $(SERVICE)
	@echo "Installing what tests and training need (about 1.8 GB with a CPU torch) into $(VENV) ..."
	@if $(BIN)/python -m uv --version >/dev/null 2>&1; then \
		$(UV_PIP) install --quiet --compile-bytecode -r requirements/dev.txt && \
		$(UV_PIP) install --quiet --no-deps --no-build-isolation -e .; \
	else \
		env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pip install --quiet --disable-pip-version-check \
			-r requirements/dev.txt && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

$(NODE): frontend/package-lock.json
	@{ $(HAS_NODE); } || { echo "$(NO_NODE)" >&2; exit 1; }
	@echo "Installing what the pages are built with (about 150 MB) into frontend/node_modules ..."
	@$(call NPM_CI,--loglevel=error)
	@touch $(NODE_BOARD) $@

$(NODE_BOARD): frontend/package-lock.json
	@{ $(HAS_NODE); } || { echo "$(NO_NODE)" >&2; exit 1; }
	@echo "Installing what the board's page is built with (about 60 MB) into frontend/node_modules; \
	make serve BOARD= goes without ..."
	@$(call NPM_CI,--silent --workspace board --include-workspace-root=false $(IMPATIENT))
	@touch $@

$(CURATION): $(NODE) $(shell find frontend/curation -name node_modules -prune -o -type f -print 2>/dev/null)
	@npm --prefix frontend run build --silent --workspace curation
	@touch $@

ifdef BOARD
# What it is built with is looked for only when there is something to build.
$(BOARD): frontend/package-lock.json frontend/tsconfig.base.json \
		$(shell find frontend/board -name node_modules -prune -o -type f -print)
	@$(MAKE) --no-print-directory --silent $(NODE_BOARD)
	@npm --prefix frontend run build --silent --workspace board -- --logLevel warn
	@touch $@
endif

# For `serve`: without Node, or where npm reaches nothing, greentexts are served without a page.
page: WITHOUT = Serving without $(if $(wildcard $(BOARD)),what is new in )the board's page
page:
ifdef BOARD
	@$(MAKE) --no-print-directory --question $(BOARD) 2>/dev/null || { \
		if ! { $(HAS_NODE); }; then echo "$(WITHOUT). $(NO_NODE)" >&2; \
		elif ! $(MAKE) --no-print-directory --silent $(BOARD) 2>/dev/null; then \
			echo "$(WITHOUT), which could not be built: make frontend says why" >&2; fi; }
endif

# The whole set first, so that the service and training agree on what they share; then the service out of it. torch
# comes from wherever this machine finds it: without its build's suffix, and without the CUDA packages of one build.
# $(1): what the file holds; $(2): the extras; the rest of the line comes from the recipe.
COMPILE = $(UV_PIP) compile pyproject.toml --quiet --upgrade --python-version 3.11 --no-header \
	--no-emit-index-url --no-emit-find-links --no-annotate

lock: $(VENV)/.venv-ready ## Resolve the requirements anew (needs uv and a CPU torch in reach)
	@$(COMPILE) --extra service --extra data --extra training --extra dev -o $(VENV)/dev.txt
	@sed -i 's/^\(torch==[0-9.]*\)+.*/\1/' $(VENV)/dev.txt
	@if grep -E '^(nvidia-cu|cuda-|triton)' $(VENV)/dev.txt; then \
		echo "This would pin a CUDA build of torch: put a CPU one in reach (see README)" >&2; exit 1; fi
	@$(COMPILE) --extra service --generate-hashes -c $(VENV)/dev.txt -o $(VENV)/service.txt
	@{ echo "# What the service needs. Made by \`make lock\` from pyproject.toml; do not edit."; \
		cat $(VENV)/service.txt; } > requirements/service.txt
	@{ echo "# What the service, training and the tests need. Made by \`make lock\` from pyproject.toml; do not edit."; \
		echo "# Pins without hashes: torch's wheels differ from machine to machine (CPU, CUDA, the chip)."; \
		cat $(VENV)/dev.txt; } > requirements/dev.txt

clean: ## Remove the virtual environment, caches and what builds left
	rm -rf $(VENV) frontend/node_modules $(dir $(CURATION) $(BOARD)) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist $(OUT)
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
