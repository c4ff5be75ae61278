#!/usr/bin/env bash
# How long accounts are without a node when theirs is killed, in one command: bench/run-takeover.sh [--accounts N] [--seconds N]
# Builds what it measures, then hands over to takeover.py, which says there what is measured and how.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup-kafka.sh
python=$(scripts/setup-python.sh test)
cargo build --release --locked
export TRADEFLOW_BIN="${TRADEFLOW_BIN:-$(scripts/release-dir.sh)/tradeflow}"
exec "$python" bench/takeover.py "$@" </dev/null
