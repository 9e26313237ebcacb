# Kestrel's daily loop. `make help` lists it; every target does its own set-up.
# Needs: Python 3.11 or newer, a C compiler, make. All else comes from PyPI into .tools/ and .venv/.

PYTHON ?= python3
CC ?= cc
UV := .tools/bin/uv
BIN := .venv/bin
PACKAGES := libs/contracts libs/domain libs/chassis libs/testkit simulators services/kernel services/governance \
            services/venue-gateway services/reconciler services/persistence services/policy cli
PYPROJECTS := $(addsuffix /pyproject.toml,$(PACKAGES)) libkernel/python/pyproject.toml pyproject.toml
LIBKERNEL_SOURCES := $(wildcard libkernel/include/lk/*.h libkernel/src/*.c libkernel/src/*.h libkernel/python/*.py \
                       libkernel/python/src/kestrel_libkernel/*)
C_FILES := $(wildcard libkernel/include/lk/*.h libkernel/python/tests/*.c $(foreach folder,src tests fuzz tools replay bench,libkernel/$(folder)/*.[ch]))
SEED ?= 1
MINUTES ?= 20
PYTEST_WORKERS ?= 2

export UV_NO_PROGRESS := 1
.DEFAULT_GOAL := help
.PHONY: help setup demo up down test test-fast check lint types fmt bench sim chaos gen gen-check lock lock-peers lock-ib-async clean libkernel-test abi-check

help: ## This list
	@awk 'BEGIN {FS = ":.*## "; print "Kestrel\n"} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready .venv-ib-async/.ready ## Everything needed to run and develop, into .venv
	@echo "Ready. The command is .venv/bin/kestrel; try 'make demo'."

demo: .venv/.ready ## Watch decisions on real prices become orders, fills and rows; ends by itself within 90 s
	$(BIN)/kestrel demo

up: .venv/.ready ## Start the platform on this machine; Ctrl-C stops it
	$(BIN)/kestrel up

down: .venv/.ready ## Stop it from elsewhere
	$(BIN)/kestrel down

test: .venv/.ready .venv-ib-async/.ready libkernel-test ## Every test: unit, property, real NATS and PostgreSQL, crashes
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadgroup --no-loadscope-reorder --durations 25

test-fast: .venv/.ready ## Only what needs no server and no process
	KESTREL_REFERENCE_INPUTS=50000 $(BIN)/pytest -n $(PYTEST_WORKERS) -m "not integration"

libkernel-test: ## The kernel's own proof: two compilers, sanitizers, fuzzing, coverage, mutants
	$(MAKE) -C libkernel prove CC=$(CC)

check: .venv/.ready lint types gen-check abi-check ## Format, lint, types, contracts, generated code

lint: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	cd proto && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against baseline.binpb
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

types: .venv/.ready
	$(BIN)/mypy $(addsuffix /src,$(PACKAGES)) libkernel/python/src libkernel/fuzz libkernel/tools tools
	MYPYPATH=. $(BIN)/mypy tests bench

fmt: .venv/.ready ## Put the code into its one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(C_FILES)

bench: .venv/.ready ## Benchmarks, one JSON file per area in var/bench/ (installs peers into .venv-bench, if it can)
	$(BIN)/python -m bench

sim: .venv/.ready ## The simulated world, by seed: make sim SEED=7
	$(BIN)/kestrel simulate --seed $(SEED)

chaos: .venv/.ready ## Break real servers and the running platform, and count: make chaos SEED=7 MINUTES=20
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES)

gen: .venv/.ready ## Generate: contracts, the binding of libkernel, the kernel's page
	$(BIN)/python tools/generate.py
	$(BIN)/python libkernel/python/build_ffi.py
	$(BIN)/python tools/kernel_docs.py

gen-check: .venv/.ready
	$(BIN)/python tools/generate.py --check
	$(BIN)/python libkernel/python/build_ffi.py --check
	$(BIN)/python tools/kernel_docs.py --check

abi-check: .venv/.ready
	$(MAKE) -C libkernel abi CC=$(CC) PYTHON=$(CURDIR)/$(BIN)/python

lock: .tools/.ready ## Pin every dependency with its hashes
	$(UV) pip compile $(PYPROJECTS) --group build --group dev --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --no-annotate --no-header --quiet -o requirements.lock \
	  $(foreach p,contracts domain chassis testkit libkernel kernel governance venue-gateway reconciler persistence policy simulators cli,--no-emit-package kestrel-$(p))

lock-peers: .tools/.ready ## The same for what the kernel is compared with
	$(UV) pip compile bench/peers/requirements.in --overrides bench/peers/overrides.txt --universal --generate-hashes \
	  --no-emit-index-url --python-version 3.11 --no-annotate --no-header --quiet -o bench/peers/requirements.lock

lock-ib-async: .tools/.ready ## The same for the other library that speaks to Interactive Brokers
	$(UV) pip compile services/venue-gateway/ib_async.in --universal --generate-hashes --no-emit-index-url \
	  --python-version 3.11 --no-annotate --no-header --quiet -o services/venue-gateway/ib_async.lock

clean: ## Remove everything that was built (not var/)
	rm -rf .venv .venv-bench .venv-ib-async .tools .mypy_cache .ruff_cache .pytest_cache
	$(MAKE) -C libkernel clean

# --- set-up, by stamps -------------------------------------------------------------------------------------------

.tools/.ready: tools/uv.lock.txt
	$(PYTHON) -c 'import sys; sys.exit("Kestrel needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools/uv.lock.txt
	@touch $@

.venv/.dependencies: requirements.lock .tools/.ready
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	@touch $@

# What the kernel is compared with, apart from everything else; bench/ asks for it and does without it.
.venv-bench/.ready: bench/peers/requirements.lock .tools/.ready
	@test -x .venv-bench/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv-bench
	$(UV) pip install --quiet --python .venv-bench/bin/python --no-deps --require-hashes --compile-bytecode -r bench/peers/requirements.lock
	@touch $@

# ib_async and ib_insync bring packages of one name, so they cannot share an environment: this one holds what differs
# and finds all the rest in .venv, which comes after it on the path.
.venv-ib-async/.ready: services/venue-gateway/ib_async.lock .venv/.packages
	@test -x .venv-ib-async/bin/python || $(UV) venv --quiet --python $(BIN)/python .venv-ib-async
	$(UV) pip install --quiet --python .venv-ib-async/bin/python --no-deps --require-hashes --compile-bytecode -r services/venue-gateway/ib_async.lock
	@$(BIN)/python -c 'import pathlib, sysconfig; \
	  pathlib.Path(next(pathlib.Path(".venv-ib-async/lib").glob("python*")), "site-packages", "kestrel.pth") \
	  .write_text("import site; site.addsitedir(%r)\n" % sysconfig.get_path("purelib"))'
	@touch $@

.venv/.packages: .venv/.dependencies $(PYPROJECTS)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

.venv/.libkernel: .venv/.dependencies $(LIBKERNEL_SOURCES)
	CC=$(CC) $(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --reinstall-package kestrel-libkernel ./libkernel/python
	@touch $@

.venv/.ready: .venv/.packages .venv/.libkernel
	@touch $@
