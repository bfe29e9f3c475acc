# Every target prepares what it needs: a fresh clone needs Python 3.11, make and git.
SHELL := /bin/bash
BIN := .venv/bin

# What Python compiled is kept: else each of the tests' processes would prepare every test module anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
STATE ?= demo-state/hub

.PHONY: help demo serve test test-all lint check format coverage pins styles clean ready-to-run ready-to-test

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ready-to-run  ## see a first backup, and its proof, in a minute
	$(BIN)/python demo/first_light.py --keep demo-state

serve: ready-to-run  ## start the hub at http://127.0.0.1:8765 (STATE=… for its state)
	HIGHBALL_STATE=$(abspath $(STATE)) HIGHBALL_KEY_FILE=$(abspath $(STATE)).key $(BIN)/highball serve

test: ready-to-test  ## run the tests (TESTS=tests/test_x.py for some of them)
	$(BIN)/python -m pytest -n auto $(TESTS)

test-all: ready-to-test  ## run all of them: every restic, the long ones, more examples
	$(BIN)/python -m pytest -n auto --all $(TESTS)

lint: ready-to-test  ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: test lint  ## test and lint

format: ready-to-test  ## put the code into its form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

coverage: ready-to-test  ## which branches the tests reach (of this process, not of its children)
	$(BIN)/coverage erase
	$(BIN)/coverage run --branch -m pytest $(TESTS)
	$(BIN)/coverage report --show-missing --skip-covered

pins:  ## pin the dependencies anew from pyproject.toml (UPGRADE=1: newer versions)
	@UPGRADE=$(UPGRADE) scripts/setup pins

styles:  ## build what the pages load, anew (needs Node.js; the result is committed)
	cd styles && npm install --no-save --no-audit --no-fund && npm run --silent build

clean:  ## remove everything that was made here, .venv and .cache too
	rm -rf styles/node_modules styles/basecoat-used.css .venv .cache .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist demo-state
	find src tests bench demo -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

ready-to-run:
	@scripts/setup runtime

ready-to-test:
	@scripts/setup tests
