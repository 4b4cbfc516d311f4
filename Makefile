# `make` shows the verbs. Each works on a bare machine with Python 3.11+: the environment makes itself.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# where the environment forbids bytecode files, every process that a test starts would compile the whole farm again
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test tests tests-that-render tests-of-the-farm test-old-redis sdks up lint format soak images bench clean
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Wanfarm needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making the environment in $(VENV): a few minutes the first time, torch is large"
	@$(PYTHON) -m venv $(VENV)
	@# torch first and alone: a pip that sees only the pin takes the build meant for this machine
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## the whole farm on this machine: submit shots, watch, download into out/
	@$(BIN)/wanfarm demo

up: $(READY) ## keep a farm running here (Ctrl-C ends it)
	@$(BIN)/wanfarm up

test: $(READY) ## lint, types, import rules and every test but those of `make soak`
	@# side by side: types are one long computation, tests wait more than they compute
	@$(MAKE) --no-print-directory -j3 lint tests-that-render tests-of-the-farm

tests: $(READY)
	@$(MAKE) --no-print-directory -j2 tests-that-render tests-of-the-farm

# apart: each process of a run imports what all of its tests import, and torch and tiny weights take seconds
tests-that-render: $(READY)
	@# what waits for simulated providers first, beside tests of the farm that compute
	$(BIN)/pytest -n 2 --dist loadgroup -m "not soak" tests/tools tests/models

tests-of-the-farm: $(READY)
	@# four beside those two on two cores: they wait for processes, but each pays for collecting all tests
	$(BIN)/pytest -n 4 --dist loadgroup -m "not soak" tests --ignore tests/models --ignore tests/tools

test-old-redis: $(READY) ## ledger, permits and webhooks once more, on the redis-server of PATH
	@command -v redis-server >/dev/null || { echo "no redis-server on PATH (Debian: apt-get install redis-server)"; exit 1; }
	WANFARM_TEST_REDIS="$$(command -v redis-server)" $(BIN)/pytest -n 3 --dist loadgroup -m "not soak" \
	    tests/farm/ledger tests/farm/permits tests/farm/webhooks

sdks: $(READY) ## other versions of OpenAI's clients, for tests that skip without them (the npm one needs node and npm)
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --upgrade --target $(VENV)/sdks/python \
	    -r tests/api/dialects/sdk_table/older.txt
	@! command -v npm >/dev/null || \
	    npm install --silent --no-package-lock --no-audit --no-fund --prefix tests/api/dialects/sdk_table

lint: $(READY) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(READY) ## all that `make test` has only some of; random faults for two minutes, then an audit (SEED=n repeats one)
	$(BIN)/pytest -m soak -s tests/e2e tests --ignore tests/deploy $(if $(SEED),--soak-seed $(SEED))

images: $(READY) ## build wheel and images (root, buildah, debootstrap), start gateway, io and worker out of them, render a clip
	$(BIN)/pytest -m soak -s tests/deploy

bench: $(READY) ## the numbers of bench/README.md, each beside its comparison
	$(BIN)/python -m bench

clean: ## remove the environment and every cache (a farm in .wanfarm and videos in out stay)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
