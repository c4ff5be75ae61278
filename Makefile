# `make help` lists the targets. Everything is built with the one profile `release`, so that the dependencies are
# compiled once for the program, its tests and its benchmarks.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test lint fmt bench bench-api bench-live bench-results bench-takeover deny clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

run: ## build, make sample data, run a backtest on it, then serve the demonstration until Ctrl-C
	@scripts/setup.sh
	cargo build --release --locked
	@scripts/first-run.sh

test: ## all checks and tests (needs Python 3; sets up what is missing)
	@scripts/test.sh

lint: ## format check and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

fmt: ## format the code
	cargo fmt --all

bench: ## speed and memory; BENCH_FLAGS=--peers times vectorbt and backtesting.py too
	@bench/run.sh $(BENCH_FLAGS)

bench-api: ## speed of the API: quotes, sockets, orders to their fills, with and without a job (needs wrk)
	@bench/run-api.sh $(BENCH_FLAGS)

bench-live: ## speed of the live path; BENCH_FLAGS='--seconds 3600 --kafka start' for the whole of it
	@bench/run-live.sh $(BENCH_FLAGS)

bench-results: ## questions over thousands of runs, of folders and of ClickHouse; BENCH_FLAGS='--runs 20000'
	@bench/run-results.sh $(BENCH_FLAGS)

bench-takeover: ## how long accounts are without a node when theirs is killed; BENCH_FLAGS='--accounts 20 --seconds 10'
	@bench/run-takeover.sh $(BENCH_FLAGS)

deny: ## licences, bans and sources of the dependencies (installs cargo-deny once)
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	cargo deny --locked check --hide-inclusion-graph licenses bans sources

clean: ## remove what was built and the Python environments; ./data stays
	cargo clean
	rm -rf .venv
