#!/usr/bin/env bash
# Speed and memory, in one command: bench/run.sh [--peers] [--runs N] (or `make bench`, BENCH_FLAGS=--peers).
# Builds what it measures, then hands over to bench.py, which says there what is measured and how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(scripts/setup-python.sh bench)
cargo build --release --locked
cargo build --release --locked -p tradeflow-storage --example decode
cargo build --release --locked -p tradeflow-actors --example linear
exec "$python" bench/bench.py --release "$(scripts/release-dir.sh)" "$@" </dev/null
