# What people run. `make demo` and `make test` do all the set-up that they need on a fresh
# Debian 12 or 13, say what they install, and do nothing twice.
SHELL := /bin/bash
GUEST := target/guest
PPWASM := target/debug/ppwasm

.PHONY: demo cluster-demo test build guest setup lint docs deny bench guest-test reproducible cross test-cross test-portable check-elsewhere clean help

help: ## Shows this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: build ## Runs a job over all cores of this machine and shows its result
	@PPWASM=$(CURDIR)/$(PPWASM) examples/demo.sh

cluster-demo: build ## Shows a cluster in three networks on this machine; needs root or sudo (Linux)
	@PPWASM=$(CURDIR)/$(PPWASM) examples/cluster-demo.sh

test: build ## Passes the tests
	@examples/prepare-inputs.sh
	@cargo test --workspace --locked --no-fail-fast --doc
	@cargo test --workspace --locked --no-fail-fast --lib --bins --tests --examples

build: setup ## Builds guest and command line, side by side
	@xtask/build.sh $(GUEST)

setup: ## Installs what the build needs
	@xtask/setup.sh
	@guest-python/install-packages.sh

guest: setup ## Builds the guest: CPython as WebAssembly
	@guest-python/build.sh --output $(GUEST)

guest-test: build ## Runs all of CPython's own tests that apply, in the guest (long)
	@PPWASM=$(CURDIR)/$(PPWASM) guest-python/regression/run.sh --all

reproducible: setup ## Builds the guest twice from scratch and compares
	@guest-python/check-reproducible.sh

bench: build ## Measures, and writes target/bench/report.json
	@benches/run.sh

cross: setup ## Builds the worker for aarch64 and riscv64, in target/cross/build
	@xtask/cross-setup.sh
	@xtask/cross.sh all build --locked --profile board -p ppwasm --no-default-features --features pulley --bin ppwasm
	@ls -l target/cross/build/*/board/ppwasm

test-cross: build ## Runs programs on each architecture, under qemu, and compares them to the last bit
	@examples/prepare-inputs.sh
	@xtask/cross-setup.sh
	@xtask/test-cross.sh

test-portable: build ## Passes the sandbox's tests with what other systems than Linux have
	@cargo test --workspace --locked --no-fail-fast --features ppwasm-tests/portable --test portable

check-elsewhere: ## Type-checks everything for Windows and macOS, in target/cross/check
	@xtask/check-elsewhere.sh windows
	@xtask/check-elsewhere.sh macos

lint: ## Format, clippy, documentation
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo clippy --workspace --locked --test architectures -- -D warnings
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

deny: ## Licences, sources, duplicate and known-bad dependencies
	@xtask/deny.sh

clean: ## Removes what was built here; the cache stays
	@cargo clean
