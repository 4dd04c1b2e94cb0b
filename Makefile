# Everything a person or CI does with the project. It needs Python 3.11 to 3.14 and make, nothing else.
#
# The two environments are made from the locks when they change (requirements/venv.sh). Commands run from this folder,
# never from an editable install: PyPI's own `watchdog` would hide ours.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh

PYTHON ?=
ARGS ?=
# Tests mostly wait for servers and deadlines; more side by side than there are cores makes those with a deadline fail.
SIDE_BY_SIDE ?= 2
export PYTHON

DEV := .venv/bin/python
DEMO := .venv-demo/bin/python
STEP := @sh requirements/step.sh

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-8s %s\n", $$1, $$2 }'

demo: .venv-demo ## watch a key being revoked and people being told (ARGS=--stay keeps it running)
	@$(DEMO) -m workers.cli.entry demo $(ARGS)

test: lint ## all that CI does: lint, then the tests (ARGS="-k words" chooses some)
	@$(DEV) -m pytest -n $(SIDE_BY_SIDE) --dist loadfile $(ARGS) || { code=$$?; echo 'Stopped at "pytest": the failures are listed above.' >&2; exit $$code; }

lint: .venv ## ruff, mypy and the rule of direction
	$(STEP) "ruff check" "Some of it repairs itself: make format" $(DEV) -m ruff check --output-format concise .
	$(STEP) "ruff format" "Repair it: make format" $(DEV) -m ruff format --check .
	$(STEP) "mypy" "Types are strict everywhere; an ignore carries its reason." $(DEV) -m mypy
	$(STEP) "import-linter" "The rule: workers -> alerts -> watchdog, never back." .venv/bin/lint-imports

format: .venv ## repair what can be repaired without thinking
	@$(DEV) -m ruff check --fix-only .
	@$(DEV) -m ruff format .

bench: .venv ## measure against the numbers to hold
	@$(DEV) -m workers.bench $(ARGS)

lock: ## resolve the dependencies anew (ARGS=--upgrade takes newer releases)
	@sh requirements/lock.sh $(ARGS)

wheel: .venv ## build dist/*.whl
	@$(DEV) -m hatchling build -t wheel -d dist

clean: ## remove environments, caches and what was built
	rm -rf .venv .venv-demo dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv:
	@sh requirements/venv.sh .venv requirements/dev.txt

.venv-demo:
	@sh requirements/venv.sh .venv-demo requirements/runtime.txt

# The folders are asked every time whether they are still right, hence phony like the rest.
.PHONY: help demo test lint format bench lock wheel clean .venv .venv-demo
