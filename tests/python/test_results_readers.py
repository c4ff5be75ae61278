"""The result folder: pandas reads every Parquet file of it, and the tables agree with each other and with summary.json."""

import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from conftest import HALF_A_UNIT, backtest, sma_cross_arguments

CASH = Decimal(100_000)
TABLES = {"equity", "orders", "fills", "trades", "positions"}


@pytest.fixture(scope="module")
def run(imported, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = sma_cross_arguments(imported.market, fee_bps=10, cash=CASH)
    summary = backtest("--catalog", imported.catalog, "--out", out, *arguments)
    folder = Path(summary["results"])
    assert out in folder.parents, "the results are below --out"
    tables = {path.stem: pd.read_parquet(path, dtype_backend="pyarrow") for path in folder.glob("*.parquet")}
    return summary, folder, tables


def test_every_table_is_there_and_summary_json_is_what_was_printed(run):
    summary, folder, tables = run
    assert tables.keys() >= TABLES
    saved = json.loads((folder / "summary.json").read_text(), parse_float=Decimal)
    for key in ("digest", "bars", "trades", "final_equity", "total_return", "max_drawdown", "fees"):
        assert saved[key] == summary[key], key
    # What a reader of the result needs to repeat the run.
    text = json.dumps(saved, default=str)
    for word in ("version", "config_digest", "data_digest", "seed"):
        assert word in text, f"summary.json does not say {word}"


def test_money_adds_up_to_the_last_decimal(run, imported):
    summary, _, tables = run
    fees, trades = Decimal(summary["fees"]), tables["trades"]
    last_close = imported.market.bars[-1].close
    closed, still_open = trades[~trades.open], trades[trades.open]

    for row in closed.itertuples():
        assert abs(row.pnl - signed(row) * (row.exit_price - row.entry_price)) <= HALF_A_UNIT, row
    unrealised = sum(signed(row) * (last_close - row.entry_price) for row in still_open.itertuples())

    assert fees > 0
    assert equal_but_for_rounding(tables["fills"].fee.sum(), fees, len(tables["fills"]))
    assert equal_but_for_rounding(trades.fees.sum(), fees, len(trades))
    final_equity = Decimal(summary["final_equity"])
    assert equal_but_for_rounding(CASH + closed.pnl.sum() + unrealised - fees, final_equity, len(closed) + 1)
    assert summary["trades"] == len(closed)


def test_equity_is_marked_to_market_and_ends_at_the_final_equity(run):
    summary, _, tables = run
    equity = tables["equity"]
    assert equity.ts.is_monotonic_increasing
    assert equal_but_for_rounding(equity.equity.iloc[-1], Decimal(summary["final_equity"]), 1)
    # Between two fills a marked curve moves, a curve of cash and cost does not.
    assert equity.equity.nunique() > 2 * len(tables["fills"])


def test_fills_belong_to_orders_and_carry_the_position(run):
    _, _, tables = run
    orders, fills = tables["orders"], tables["fills"]
    assert set(fills.order_id) <= set(orders.order_id)
    signs = fills.side.map({"buy": 1, "sell": -1})
    assert signs.notna().all()
    position = sum(Decimal(sign) * quantity for sign, quantity in zip(signs, fills.quantity))
    still_open = tables["trades"][tables["trades"].open]
    assert position == sum(signed(row) for row in still_open.itertuples())


def equal_but_for_rounding(total: Decimal, expected: Decimal, rows: int) -> bool:
    """Each of the rows of a sum is rounded, and so is what it is compared with."""
    return abs(total - expected) <= (rows + 1) * HALF_A_UNIT


def signed(row) -> Decimal:
    """Quantity of a trade, negative for short."""
    return row.quantity * {"long": 1, "short": -1}[row.side]
