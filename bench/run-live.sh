#!/usr/bin/env bash
# Speed of the live path, in one command: bench/run-live.sh [--seconds N] [--kafka start|HOST:PORT]
# N is how long memory is watched (60; an hour is 3600). One part alone: cargo run --release -p tradeflow-bench-live -- --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --release --locked -p tradeflow-bench-live
mkdir -p data/bench
exec "$(scripts/release-dir.sh)/live-bench" --out data/bench/live.json all "$@" </dev/null
