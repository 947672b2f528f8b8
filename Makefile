# Everything a newcomer needs: `make demo`. Each target sets up what it uses; the second time that costs nothing.

VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
# The caller's choice first, then the first interpreter that runs and is new enough (a pyenv shim exists without running).
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
# The locks are complete, and one package declares dependencies the product does not use (requirements/encoder.txt).
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-input --no-deps
COMPILE := $(BIN)/python -m piptools compile --quiet --upgrade --strip-extras --no-header --annotation-style=line \
	--no-emit-find-links --no-emit-index-url --no-emit-trusted-host --no-emit-options --build-deps-for editable
export PIP_ROOT_USER_ACTION := ignore
export OMP_NUM_THREADS ?= 2

.PHONY: help demo test check bench bench-training chaos chaos-long drain upgrade-under-load risk-lane handover fuzz schedule-proof \
	challengers soak bundle lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo [FILE=events.jsonl]   set everything up and run the main job on the sample, or on FILE"
	@echo "make test [ARGS=...]            set everything up and run the tests"
	@echo "make check                      lint, format, types, import contracts"
	@echo "make bench [DATA=events.jsonl] [QUICK=1]  compare with the machine's limit and two peers; writes bench/results.json"
	@echo "make bench-training DATA=folder  measure training; ARGS='--plans quick full' adds whole rebuilds"
	@echo "make chaos [SEED=1] [EVENTS=2000]  20 faults at a running instance: nothing lost, nothing twice; writes bench/chaos.json"
	@echo "make chaos-long [SEED=1] [EVENTS=20000]  100 faults, about an hour; after Ctrl-C the same command goes on"
	@echo "make drain [EVENTS=1000000]     a million events through one worker, its encoder simulated at its measured cost; bench/drain.json"
	@echo "make upgrade-under-load         migrations up and down under an old and a new worker: nothing lost; bench/upgrade.json"
	@echo "make risk-lane                  how soon a live event's risk screen is committed while both lanes are full"
	@echo "make handover                   the queue in Valkey against a queue in Postgres: events a second, CPU an event"
	@echo "make challengers [SEEDS=3]      worse challengers, really made, are refused and a better one is promoted"
	@echo "make soak [SECONDS=600] [RATE=100]  a whole life under load: rebuild, trial, promotion, swap, drift, rollback"
	@echo "make fuzz [CASES=200000] [SEED=1]  wrong messages and files: no crash, no hang, every refusal named"
	@echo "make schedule-proof              four weeks in eight minutes, a beat killed each night: every slot ran once"
	@echo "make bundle DATA=folder         rebuild the starter bundle from the corpora in folder"
	@echo "make lock                       re-resolve the pinned dependencies"
	@echo "make clean                      remove the instance's data, caches and the virtual environments"

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Feltsense needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is not Python 3.11 or newer" >&2; exit 2; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot create a virtual environment; on Debian and Ubuntu install python3.11-venv" >&2; exit 2; }
	@touch $@

$(VENV)/.serving: requirements/serving.lock pyproject.toml | $(VENV)/.created
	@echo "Installing what the worker runs on (requirements/serving.lock; a minute or two)"
	@$(INSTALL) --requirement requirements/serving.lock
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(VENV)/.created
	@echo "Installing what the trainer and the tests need too (requirements/dev.lock; a few minutes)"
	@$(INSTALL) --requirement requirements/dev.lock
	@$(INSTALL) --no-build-isolation --editable .
	@touch $(VENV)/.serving $@

# `exec`, so that make itself is the demo's parent and the demo sees it die.
demo: $(VENV)/.serving
	@exec $(BIN)/python -m worker.demo $(if $(FILE),"$(FILE)")

# A process a core, a file of tests to each; in each, one thread does what a library would spread over all.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.dev
	@exec $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

$(PEERS)/.installed: requirements/peers.lock
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer" >&2; exit 2; }
	@echo "Installing what the benchmark's peers run on (requirements/peers.lock; 2 GB, a few minutes)"
	@$(PYTHON) -m venv $(PEERS)
	@$(subst $(BIN),$(PEERS)/bin,$(INSTALL)) --requirement requirements/peers.lock
	@touch $@

# Without the peers (no network) the rest is still worth measuring.
bench: $(VENV)/.dev
	@$(MAKE) --no-print-directory $(PEERS)/.installed || echo "The peers cannot be installed; measuring the rest." >&2
	@exec $(BIN)/python -m benchmarks.bench $(if $(QUICK),--quick) $(if $(DATA),--data $(DATA)) $(ARGS)

bench-training: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.training $(DATA) $(ARGS)

chaos: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.chaos --seed $(or $(SEED),1) --faults 20 --events $(or $(EVENTS),2000) $(ARGS)

chaos-long: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.chaos --seed $(or $(SEED),1) --faults 100 --events $(or $(EVENTS),20000) $(ARGS)

drain: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.drain $(if $(EVENTS),--events $(EVENTS)) $(if $(SEED),--seed $(SEED)) $(if $(DATA),--data $(DATA)) $(ARGS)

upgrade-under-load: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.upgrade $(ARGS)

risk-lane: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.risk_lane --out bench/risk-lane.json $(ARGS)

handover: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.handover --out bench/handover.json $(ARGS)

challengers: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.challengers --seeds $(or $(SEEDS),3) $(ARGS)

soak: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.soak --seconds $(or $(SECONDS),600) --rate $(or $(RATE),100) $(ARGS)

fuzz: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.fuzz $(if $(CASES),--cases $(CASES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

schedule-proof: $(VENV)/.dev
	@exec $(BIN)/python -m benchmarks.schedule $(ARGS)

bundle: $(VENV)/.dev
	@exec $(BIN)/python -m trainer.rebuild $(DATA) $(ARGS)

# torch may carry a build tag such as "+cpu"; the tag is no part of the pin. torchvision, which one of the peers' packages
# declares and no text model uses, has to be built like torch to be imported at all: left out, with what only it needs.
lock: $(VENV)/.dev
	$(COMPILE) --output-file requirements/serving.lock pyproject.toml
	$(COMPILE) --extra dev --allow-unsafe --constraint requirements/serving.lock --output-file requirements/dev.lock pyproject.toml
	$(subst --build-deps-for editable,,$(COMPILE)) --allow-unsafe --output-file requirements/peers.lock requirements/peers.in
	sed -i -e 's/^\(torch==[0-9.]*\)+[a-z0-9]*/\1/' -e 's|-c requirements/serving.lock, ||' -e '/^torchvision==/d' -e '/^pillow==.*via torchvision$$/d' \
		requirements/dev.lock requirements/peers.lock
	for name in serving dev peers; do \
		cat requirements/$$name.head requirements/$$name.lock requirements/encoder.txt > requirements/$$name.lock.tmp && \
		mv requirements/$$name.lock.tmp requirements/$$name.lock; done

clean:
	@for link in run/postgres run/*/postgres bench/chaos/*/postgres bench/soak/run/postgres; do \
		if [ -L "$$link" ]; then case "$$(readlink "$$link")" in */feltsense/*) rm -rf "$$(readlink "$$link")";; esac; fi; done
	rm -rf run bench build dist .cache $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
