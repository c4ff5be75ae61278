#!/usr/bin/env bash
# Speed of the API, in one command: bench/run-api.sh [--sockets N] [--seconds N] [--orders N] [--only quotes sockets fills jobs]
# Builds what it measures, then hands over to api.py, which says there what is measured and how. Needs wrk (apt-get install wrk).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v wrk >/dev/null 2>&1 || { echo "bench: wrk is missing: apt-get install wrk" >&2; exit 1; }
python=$(scripts/setup-python.sh bench)
cargo build --release --locked
cargo build --release --locked -p tradeflow-api --example bare
exec "$python" bench/api.py --release "$(scripts/release-dir.sh)" "$@" </dev/null
