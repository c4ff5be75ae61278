#!/usr/bin/env bash
# A new user's day over HTTP and the socket alone: register, key, account, watchlist, quotes that move, an order, its fill on
# the socket, the position, its close, the trade with a note, a webhook that becomes an order, a strategy, a backtest with
# its progress and results, log out. Says each step, and stops at the first that is not as it should be.
#
#   scripts/smoke.sh                          on a demonstration of its own (needs the release build)
#   scripts/smoke.sh http://127.0.0.1:8080    on a server that has no user yet, and an account `paper`, as the demonstration has
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(scripts/setup-python.sh test)
if [ $# -gt 0 ]; then
    exec "$python" tests/python/smoke.py "$1"
fi
folder=$(mktemp -d)
program="${TRADEFLOW_BIN:-$(scripts/release-dir.sh)/tradeflow}"
"$program" serve --demo --data "$folder/data" --listen 127.0.0.1:0 >"$folder/out" 2>"$folder/err" &
node=$!
trap 'kill $node 2>/dev/null || true; wait $node 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 600); do
    if grep -q '^stop ' "$folder/out"; then break; fi
    kill -0 $node 2>/dev/null || { cat "$folder/err" >&2; exit 1; }
    sleep 0.1
done
url=$(sed -n 's|^look *\(http://[0-9.:]*\)/.*|\1|p' "$folder/out")
"$python" tests/python/smoke.py "${url:?the demonstration has not started within a minute}"
