# Everything below needs Linux, a Rust toolchain, a C++ compiler and Python 3 with pip; `make setup` fetches the rest.

CARGO ?= cargo
# The three binaries; end-to-end tests and the demo run them from target/release. Of the whole workspace, so that they have the features that
# tests need of their dependencies, and are not built again for them.
BINARIES := --workspace --bins

.DEFAULT_GOAL := help
.PHONY: help setup build install test bench bench-search faults soak simulate fuzz compose-test images-test demo lint helm-check ops-check sqlx-prepare clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## fetch libtorch, Postgres, FashionMNIST and tools into the user's cache (once)
	@deploy/setup.sh

build: setup ## release build of trawl, trawl-coordinator and trawl-worker into target/release
	@[ -e target/release/trawl ] || echo 'build: three programs and what they depend on, 8 to 15 minutes on two cores'
	$(CARGO) build --release $(BINARIES)

PREFIX ?= $(HOME)/.local
install: build ## the three programs into ~/.local/bin (PREFIX=DIR: into DIR/bin); they need what make setup fetched
	install -d $(PREFIX)/bin
	install target/release/trawl target/release/trawl-coordinator target/release/trawl-worker $(PREFIX)/bin

test: setup ## every test; the last line says how many passed and failed
	@deploy/test.sh

bench: build ## the benchmarks, as tables with ratios to named references; some minutes
	@deploy/bench.sh

bench-search: setup ## searches against Optuna's on tables, samplers alone and with racing: PARTS=a,b SEEDS=8; fetches what it compares with
	@deploy/bench-search/run.sh

faults: build ## faults injected under load, as one table; FAULTS=name,name picks rows, SEED=N repeats a run
	@deploy/faults.sh

soak: build ## faults of all kinds in random order, seed by seed: SEEDS=N and MINUTES=N limit it, SEED=N is the first
	@deploy/faults.sh soak

simulate: setup ## the workers' protocol on a simulated network: make simulate SEEDS=500 FROM=0
	@deploy/simulate.sh

fuzz: build ## requests that a seed makes up, to every RPC: make fuzz SEEDS=10 CASES=20000, or FROM=0 CASE=123 for one alone
	@deploy/fuzz.sh

compose-test: build ## the stack of docker-compose.yml with the binaries of make build, on this machine's engine; skips where there is none
	@deploy/compose-test/run.sh

images-test: setup ## the same with images built by the whole Dockerfiles: after a change of one of them
	@IMAGES=dockerfiles deploy/compose-test/run.sh

demo: build ## the regression study on an embedded Postgres with local workers
	@deploy/demo.sh

lint: setup ## formatting and clippy, with warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- --deny warnings

helm-check: build ## the Helm chart, rendered by Helm's own code and held against the schemas of Kubernetes
	@deploy/helm/check.sh

ops-check: ## shell scripts by shellcheck, alert rules and their tests by promtool
	@deploy/ops-check.sh

sqlx-prepare: setup ## renew .sqlx after a change of a query: deploy/with-postgres.sh make sqlx-prepare
	@deploy/sqlx.sh prepare

clean: ## remove build products and the demo's data, but not the cache of make setup
	$(CARGO) clean
	rm -rf .demo .demo.log
