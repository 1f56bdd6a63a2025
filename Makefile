# The front door. `make run` starts everything on loopback; `make test` proves it. Works with GNU make 3.81 (macOS).
#
# PORT=8080, STATE_DIR=.sovereign, PYTHON=python3.12 and PYTEST_ARGS='-k name' may be given on the command line.

SHELL       := /bin/sh
STATE_DIR   ?= .sovereign
PORT        ?= 8080
PYTEST_ARGS ?=
LOCK_ARGS   ?=
FUZZ_ARGS   ?=
BENCH_ARGS  ?=
BENCH_REQUESTS ?= 20000
FUZZ_SECONDS ?= 60
BIN         := .venv/bin
export SOVEREIGN_JUDGES_PYTHON := $(CURDIR)/.venv-judges/bin/python

.DEFAULT_GOAL := help
.PHONY: help run down test unit fuzz fuzz-scan lint format type proto lock bench bench-peers bench-log bench-keys bench-shared bench-scan setup clean distclean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: ## start Envoy, the processor and mock providers; print keys and examples; Ctrl-C stops all of it
	@scripts/setup.sh runtime
	@exec $(BIN)/sovereign up --state-dir "$(STATE_DIR)" --port "$(PORT)"

down: ## stop what `sovereign up --detach` started
	@scripts/setup.sh runtime
	@exec $(BIN)/sovereign down --state-dir "$(STATE_DIR)"

test: ## the whole suite, with real Envoy, SDKs and independent judges
	@scripts/setup.sh tools dev judges node rekor helm envoys
	@exec scripts/pytest.sh -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

unit: ## the fast tests only, in a minute on two cores: no Envoy, no servers; SOVEREIGN_FUZZ=1 looks for new examples
	@scripts/setup.sh tools dev judges node
	@exec scripts/pytest.sh tests/unit -m "not services" -n auto $(PYTEST_ARGS)

fuzz: ## damaged provider bytes at every decoder for FUZZ_SECONDS=60; FUZZ_ARGS='--only NAME --seed N --rounds 1' repeats
	@scripts/setup.sh dev
	$(BIN)/python tests/fuzz/decoders.py --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

fuzz-scan: ## credentials in any form, hiding and place at the scanner for FUZZ_SECONDS=60; FUZZ_ARGS='--seed N' repeats
	@scripts/setup.sh dev
	$(BIN)/python tests/fuzz/credentials.py --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

lint: ## ruff's rules and format, and the one-way imports
	@scripts/setup.sh dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: ## let ruff repair what it can
	@scripts/setup.sh dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: ## mypy --strict
	@scripts/setup.sh dev
	$(BIN)/mypy

proto: ## generate sovereign_ext/_gen from proto/ with the locked compiler, and envoy/, which has its methods
	@scripts/setup.sh dev
	$(BIN)/python scripts/proto.py
	$(BIN)/python scripts/envoy.py

lock: ## resolve requirements/*.lock anew, with hashes (downloads from the configured registry)
	@scripts/lock.sh $(LOCK_ARGS)

bench: ## overhead of the gateway beside bare Envoy on this machine, in about 3 minutes; BENCH_REQUESTS=100000 for all
	@scripts/setup.sh dev
	@exec $(BIN)/python -m bench.run --requests "$(BENCH_REQUESTS)" $(BENCH_ARGS)

bench-log: ## the transparency log by itself, grown to 1,000,000 entries in about 4 minutes; needs 6 GB of disk
	@scripts/setup.sh dev
	@exec $(BIN)/python -m bench.log $(BENCH_ARGS)

bench-keys: ## 10,000 tenants and 100,000 keys: the start of a gateway that has them, and a call's lookup; a minute
	@scripts/setup.sh dev
	@exec $(BIN)/python -m bench.directory $(BENCH_ARGS)

bench-shared: ## what limits cost a call: counted in memory, and in a Redis or Valkey of its own; 20 seconds
	@scripts/setup.sh tools dev
	@exec $(BIN)/python -m bench.shared_ledger $(BENCH_ARGS)

bench-scan: ## the credential scan: a prompt, large bodies, hostile ones, and false alarms on 64 MB; 3 minutes
	@scripts/setup.sh dev
	@exec $(BIN)/python -m bench.scan $(BENCH_ARGS)

# A set-up of peers that fails is reported by bench.peers, with what it was needed for.
bench-peers: ## the same load on LiteLLM's proxy and on the gateway, in turns
	@scripts/setup.sh dev
	@scripts/setup.sh peers || true
	@exec $(BIN)/python -m bench.peers $(BENCH_ARGS)

setup: ## make or refresh the development environment
	@scripts/setup.sh dev

clean: ## remove caches and build output; keeps environments, keys and the log
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv*' -not -path '*/node_modules/*' -prune -exec rm -rf {} +

distclean: clean ## also remove the environments; keeps keys and the log
	rm -rf .venv .venv-judges .venv-peers tests/judges/node*/node_modules
