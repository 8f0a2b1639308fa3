# `make help` lists what there is. The programs land in .build/release; state and ports are the caller's choice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Undeclared imports are errors; warnings are errors by the targets' own settings.
SWIFT_FLAGS := --explicit-target-dependency-import-check error
PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)
VENV := .venv
RELEASE := .build/release
# What the data plane is tested on; ENGINES=epoll where the system refuses io_uring.
ENGINES ?= uring epoll

BUILD_PACKAGES := libssl-dev libnghttp2-dev libyaml-dev libre2-dev libsqlite3-dev libstdc++-12-dev pkg-config
BENCH_PACKAGES := gcc libc6-dev nginx haproxy wrk nghttp2-client nghttp2-proxy openssl python3 python3-venv
RATCHET_PACKAGES := gcc libc6-dev valgrind binutils nghttp2-client openssl python3
RUN_PACKAGES := curl nghttp2-client openssl python3 python3-venv

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: run-packages build $(VENV)/demo ## Sluice in front of stand-ins for hoop until Ctrl-C; ONCE=1: check the answers and stop
	@$(VENV)/bin/python demo/demo.py --programs $(RELEASE) $(if $(filter-out 0,$(ONCE)),--once)

.PHONY: build
build: build-packages ## The three programs, in release
	swift build -c release $(SWIFT_FLAGS)

.PHONY: test
test: unit e2e ## Every test: Swift's, then end to end

.PHONY: unit
unit: build-packages ## Swift's tests, those of the data plane on both engines
	SLUICE_ENGINE=$(firstword $(ENGINES)) swift test --parallel $(SWIFT_FLAGS)
	@for engine in $(wordlist 2,9,$(ENGINES)); do \
	  echo "data plane on $$engine"; \
	  SLUICE_ENGINE=$$engine swift test --parallel --skip-build $(SWIFT_FLAGS) --filter DataPlaneTests; \
	done

.PHONY: e2e
e2e: run-packages build $(VENV)/tests ## End-to-end tests of the release programs, on both engines; ARGS='-k grpc' chooses, SLUICE_HEAVY=1 repeats more
	@for engine in $(ENGINES); do \
	  echo "end to end on $$engine"; \
	  SLUICE_ENGINE=$$engine SLUICE_BIN_DIR=$(abspath $(RELEASE)) $(VENV)/bin/pytest Tests/EndToEndTests $(ARGS); \
	done

.PHONY: golden
golden: build-packages ## Write the golden cases of the controller anew; it fails when one changed: read the difference
	SLUICE_UPDATE_GOLDEN=1 swift test $(SWIFT_FLAGS) --filter ControllerTests.GoldenTests

.PHONY: bench
bench: bench-packages build $(VENV)/bench ## Beside nginx, HAProxy and Envoy, into docs/benchmarks; ARGS='--quick' is short
	@$(VENV)/bin/python Benchmarks/run.py --programs $(RELEASE) $(ARGS)

.PHONY: ratchet
ratchet: ratchet-packages build ## Instructions, allocations and reference counts of a request against Benchmarks/ratchet.json
	@$(PYTHON) Benchmarks/callgrind.py --programs $(RELEASE) --check Benchmarks/ratchet.json

.PHONY: fuzz
fuzz: build-packages ## Fuzz what reads bytes from outside, SECONDS=60 each target; ARGS=RoutingTable chooses
	@SECONDS_EACH=$(or $(SECONDS),60) Fuzz/run $(ARGS)

.PHONY: floods
floods: run-packages build $(VENV)/tests ## Every attack for 10 s at full speed, on the first engine: a table; ARGS='--seconds 3 --only reset'
	@SLUICE_ENGINE=$(firstword $(ENGINES)) SLUICE_BIN_DIR=$(abspath $(RELEASE)) \
	  $(VENV)/bin/python Tests/EndToEndTests/floods.py $(ARGS)

# The data plane alone, instrumented, in a build folder of its own. Leaks are not looked for: a worker's memory lives as
# long as its thread, which ends with the process, and threads are not joined for the same reason. What io_uring's kernel
# side writes is invisible to the sanitizers, so that the tests of the data plane run on epoll. One test after the other:
# beside those that only compute, the time limits of the others would pass. Of the simulation's seeds a third, unless the
# environment says otherwise: each costs three to four times as much.
SANITIZED := SLUICE_SIMULATION_SEEDS=$${SLUICE_SIMULATION_SEEDS:-1-30} SLUICE_SANITIZED=1 \
	SLUICE_PACKAGE_PART=data-plane SLUICE_ENGINE=epoll swift test $(SWIFT_FLAGS) --no-parallel

.PHONY: asan
asan: build-packages ## Swift's tests of the data plane under AddressSanitizer; ARGS='--filter TLSTests' chooses
	ASAN_OPTIONS=detect_leaks=0 $(SANITIZED) --sanitize=address --scratch-path .build-asan $(ARGS)

.PHONY: tsan
tsan: build-packages ## The same under ThreadSanitizer
	TSAN_OPTIONS=report_thread_leaks=0:suppressions=$(abspath Tests/tsan.supp) \
	  $(SANITIZED) --sanitize=thread --scratch-path .build-tsan $(ARGS)

.PHONY: fmt
fmt: ## Format the sources in place
	swift format --in-place --parallel --recursive Package.swift Sources Tests Fuzz/Package.swift Fuzz/Targets

.PHONY: lint
lint: ## Formatting, and the rules that StyleTests holds
	swift format lint --strict --parallel --recursive Package.swift Sources Tests Fuzz/Package.swift Fuzz/Targets
	swift test $(SWIFT_FLAGS) --filter StyleTests

.PHONY: check
check: build-packages lint ## Before a commit: lint, and everything compiles with its tests
	swift build --build-tests $(SWIFT_FLAGS)

.PHONY: clean
clean: ## Remove what was built and installed here
	rm -rf .build .build-asan .build-tsan Fuzz/.build $(VENV)

# What the targets above need.

.PHONY: build-packages run-packages bench-packages ratchet-packages
build-packages:
	@scripts/install-packages $(BUILD_PACKAGES)

run-packages:
	@scripts/install-packages $(BUILD_PACKAGES) $(RUN_PACKAGES)

bench-packages:
	@scripts/install-packages $(BUILD_PACKAGES) $(BENCH_PACKAGES)

ratchet-packages:
	@scripts/install-packages $(BUILD_PACKAGES) $(RATCHET_PACKAGES)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A target here is a file that says when its requirements were last installed.
$(VENV)/demo: demo/requirements.txt | run-packages $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/bench: Benchmarks/requirements.txt | bench-packages $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/tests: Tests/EndToEndTests/requirements.txt | run-packages $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@
