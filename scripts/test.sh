#!/usr/bin/env bash
# All checks, in the order in which they are cheapest to fail; each runs even when an earlier one failed, so that one
# run shows everything. Ends with a summary, and with an exit status other than 0 when any failed.
#
# Kafka, PostgreSQL and ClickHouse's engine run here, started by the tests; TRADEFLOW_KAFKA (host:port),
# TRADEFLOW_POSTGRES (postgres://…) and TRADEFLOW_CLICKHOUSE (http://…) name those of yours instead, or are `none`.
#
# With TRADEFLOW_TEST_CLOUD=1 the program is also built with object stores and tested against an S3
# server that runs here. It is not the default because it compiles seven minutes of dependencies that nothing else uses.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

summary=()
failed=0

# step NAME COMMAND…: runs the command with no standard input, notes result and time.
step() {
    local name=$1 start=$SECONDS result=ok
    shift
    echo
    echo "== $name: $*"
    if ! "$@" </dev/null; then
        result=FAILED
        failed=1
    fi
    summary+=("$(printf '%-7s %5d s  %s' "$result" $((SECONDS - start)) "$name")")
    [ "$result" = ok ]
}

# shellcheck disable=SC2329 # called through step
python_tests() {
    local python
    python=$(scripts/setup-python.sh test) || return 1
    local release
    release=$(scripts/release-dir.sh)
    if [ "${TRADEFLOW_TEST_CLOUD:-}" = 1 ]; then
        export TRADEFLOW_CLOUD_BIN="$release/tradeflow-cloud"
    fi
    TRADEFLOW_BIN="$release/tradeflow" "$python" -m pytest -rs tests/python
}

# The program with S3, Azure and GCS, beside the one without: both share all crates that are the same.
# shellcheck disable=SC2329 # called through step
cloud_build() {
    cargo build --release --locked --features cloud && cp -f "$(scripts/release-dir.sh)"/tradeflow{,-cloud}
}

step "set-up" scripts/setup.sh --test || { echo "test: the machine is not ready, see above" >&2; exit 1; }
# Without it the tests that need a broker fail, and say so.
step "Kafka" scripts/setup-kafka.sh
step "format" cargo fmt --all --check
step "clippy" cargo clippy --release --locked --workspace --all-targets -- -D warnings
step "Rust tests" cargo test --release --locked --workspace --no-fail-fast
if [ "${TRADEFLOW_TEST_CLOUD:-}" = 1 ]; then
    step "build with clouds" cloud_build
fi
if step "build" cargo build --release --locked; then
    step "Python tests" python_tests
fi

echo
echo "== summary"
printf '%s\n' "${summary[@]}"
exit "$failed"
