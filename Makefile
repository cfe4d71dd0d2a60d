# Fediverdict: each target sets up what it needs. Needs Python 3.11+ and the package registries.
# torch imports in 4 s with bytecode and 15 s without it.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
ARGS ?=
# Half of the tests' time is waiting for disks and processes; a file's tests stay together.
TOGETHER ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo run test fedify test-all fuzz lint bench clean

help: ## say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Fediverdict needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/clip: .venv/uv pyproject.toml
	@$(UV) --editable '.[clip]' && touch $@

.venv/dev: .venv/uv pyproject.toml
	@$(UV) --editable '.[export,video,s3,sftp,dev]' && touch $@ .venv/clip

setup: .venv/dev ## install everything for development into .venv

demo: ## two instances on loopback: one scans real pictures, the other reuses its verdicts
	@{ start=$$(date +%s); $(MAKE) --no-print-directory .venv/clip && \
	  echo "installed in $$(( $$(date +%s) - start )) s"; } >&2
	@$(BIN)/fediverdict demo $(ARGS)

run: .venv/clip ## serve an instance with ./config.toml (made by `fediverdict init`)
	@$(BIN)/fediverdict serve

test: .venv/dev ## the tests: real SQLite, real PostgreSQL, the bundled model, two real processes
	@$(BIN)/pytest -m 'not slow' $(TOGETHER) $(ARGS)

FEDIFY := tests/e2e/fedify
fedify: ## install Fedify, a peer in the tests; where it cannot be had, those skip
	@{ command -v npm && npm install --prefix $(FEDIFY) --no-package-lock --no-audit --no-fund \
	  --loglevel=error; } >/dev/null 2>&1 || echo "Fedify cannot be installed: its tests skip"

test-all: .venv/dev fedify ## the tests and the slow or heavy checks as well
	@$(BIN)/pytest $(TOGETHER) $(ARGS)

fuzz: .venv/dev ## feed every parser of federation with mutated inputs; ARGS=60 is seconds for each
	@$(UV) --only-binary atheris 'atheris>=3' || { echo "No wheel of atheris for this Python and \
	machine, so nothing can be fuzzed here; the hypothesis tests of make test run everywhere."; exit 1; }
	@$(BIN)/python -m fuzz $(ARGS)

lint: .venv/dev ## ruff, mypy --strict and the import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

.venv/bench: .venv/dev
	@$(UV) --editable '.[export,video,s3,sftp,dev,bench]' && touch $@

bench: .venv/bench ## run every benchmark (an hour); ARGS=scanner or ARGS=gpu runs one
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz demo-run
