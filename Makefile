# Weir: what a developer and the continuous integration run. `make` lists the targets.

SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench fuzz doc clean

# The model checker's build differs in every crate from the usual one, so it gets a folder of its own.
LOOM_TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)/loom

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing to build and test (Debian 12; asks for root only then)
	@scripts/setup

demo: setup ## clients, unequal servers, balancer and policy in one process: no NIC, no root
	@cargo run --release -q -p weir -- demo

test: setup lint ## everything that must hold; the end-to-end tests need root (WEIR_SKIP_ROOT_TESTS=1 skips them)
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR="$(LOOM_TARGET_DIR)" cargo test -q -p ipc --release --lib
	cargo test -q --workspace --doc
	@[ "$$WEIR_SKIP_ROOT_TESTS" != 1 ] || echo "!!! WEIR_SKIP_ROOT_TESTS=1: where root or tools are missing, end-to-end tests test nothing !!!"
	scripts/fuzz 20
	cargo nextest run --workspace

lint: ## formatting, clippy, crate edges and documentation; no warning passes
	cargo fmt --all --check
	cargo clippy -q --workspace --all-targets -- -D warnings
	cargo clippy -q -p dataplane --no-default-features --all-targets -- -D warnings
	scripts/check-crate-edges
	RUSTDOCFLAGS="-D warnings" cargo doc -q --workspace --no-deps

bench: setup ## traffic generator and benchmarks; pass options with ARGS="..."
	cargo run --release -q -p bench --bin weir-bench -- $(ARGS)

fuzz: setup ## run the fuzz targets, each for SECONDS=60
	scripts/fuzz $(or $(SECONDS),60)

doc: ## build and name the documentation of the crates
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	@echo "open $(or $(CARGO_TARGET_DIR),target)/doc/weir/index.html"

clean: ## remove everything that was built
	cargo clean
