#!/usr/bin/env bash
# The second half of `make run`: sample data, a backtest on it, and what to try next. Needs the release build.
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
  tradeflow serve --demo --data /tmp/demo --for 60s     trade on paper against a generated live market; then
  tradeflow verify last --data /tmp/demo                prove that its journal leads to the same orders and fills

On your own data, for example minute bars as a CSV of ts_ms,open,high,low,close,volume (for others: tradeflow import --help):
  tradeflow import --preset ohlcv-ms --symbol BTCUSD --interval 1m FILE.csv.gz
  tradeflow backtest --symbol BTCUSD --interval 1m --strategy sma_cross --set fast=10 --set slow=50 --fee-bps 10
EOF
