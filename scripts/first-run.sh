#!/usr/bin/env bash
# The second half of `make run`: sample data, a backtest on it, and then the server, on a generated live market, until
# Ctrl-C. Needs the release build.
#
# TRADEFLOW_LISTEN names another address than 127.0.0.1:8080; TRADEFLOW_RUN_FOR=30s ends the server after so long.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
release=$(scripts/release-dir.sh)

"$release/tradeflow" sample --catalog data/catalog
"$release/tradeflow" backtest examples/sma_cross.toml

cat <<EOF

The results are Parquet files and summary.json in the folder named above, under ./data; the data is in ./data/catalog.

What to try next:
  export PATH="$release:\$PATH"
  tradeflow catalog ls                                  what data there is
  tradeflow backtest --help                             every setting of a run
  tradeflow backtest examples/sma_cross.toml --verify   the same digest from every driver
  tradeflow verify last --data data/demo                once the server below has ended: prove that its journal leads to the
                                                        same orders and fills

On your own data, for example minute bars as a CSV of ts_ms,open,high,low,close,volume (for others: tradeflow import --help):
  tradeflow import --preset ohlcv-ms --symbol BTCUSD --interval 1m FILE.csv.gz
  tradeflow backtest --symbol BTCUSD --interval 1m --strategy sma_cross --set fast=10 --set slow=50 --fee-bps 10

Now the server: a local vendor on generated data, a paper account with two strategies. It keeps what it has in ./data/demo. Ctrl-C
ends it. Meanwhile, in another terminal:
  tradeflow status --url http://ADDRESS                 feeds, positions and P&L, live
  http://ADDRESS/api/v1/docs/                           every route of its API, to try in the browser
  docs/api.md                                           the first steps with it

EOF
listen=(${TRADEFLOW_LISTEN:+--listen "$TRADEFLOW_LISTEN"})
exec "$release/tradeflow" serve --demo --data data/demo "${listen[@]}" ${TRADEFLOW_RUN_FOR:+--for "$TRADEFLOW_RUN_FOR"}
