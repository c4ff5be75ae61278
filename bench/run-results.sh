#!/usr/bin/env bash
# Questions over many runs, of folders and of ClickHouse: bench/run-results.sh [--runs N] (or `make bench-results`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The environment of the tests: it holds ClickHouse's engine.
python=$(scripts/setup-python.sh test | tail -1)
cargo build --release --locked
exec "$python" bench/runs.py --binary "$(scripts/release-dir.sh)/tradeflow" "$@" </dev/null
