#!/usr/bin/env bash
# ClickHouse's engine (chdb) behind its HTTP interface, for tests: in a folder of its own, which is removed at the end, on
# a free port of this machine. It ends when standard input does.
#
#   scripts/clickhouse.sh DIR
#
# Says `ready URL` when it answers. Takes lines: `stop` and `kill` (say `stopped`; the second is kill -9) and `start` (says
# `ready URL`, the same as before, with the tables as they were).
# It runs in the Python environment of the tests (scripts/setup-python.sh test), which it makes where it is missing. When it
# can't run, it says why on standard error and ends.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

dir=${1:?folder}
mkdir -p "$dir"
# Tests that run at once make it once.
python=$(flock "$root/tests/python/requirements.txt" "$root/scripts/setup-python.sh" test </dev/null | tail -1)
port=0
pid=
to=

stop() {
    [ -n "$pid" ] || return 0
    if [ "$1" = kill ]; then kill -9 "$pid"; fi
    exec {to}>&-
    wait "$pid" 2>/dev/null || true
    pid=
}
start() {
    local input="$dir/input" output="$dir/output"
    rm -f "$input" "$output"
    mkfifo "$input" "$output"
    "$python" "$root/tests/python/clickhouse_server.py" "$dir" "$port" <"$input" >"$output" 2>"$dir/log" &
    pid=$!
    exec {to}>"$input" {from}<"$output"
    read -r _ port <&"$from" || { cat "$dir/log" >&2; exit 1; }
    exec {from}<&-
    echo "ready http://127.0.0.1:$port"
}
trap 'stop kill; rm -rf "$dir"' EXIT

start
while read -r line; do
    case $line in
        stop | kill) stop "$line"; echo stopped ;;
        start) start ;;
        *) echo "clickhouse: unknown command '$line'" >&2 ;;
    esac
done
