"""The program against two oracles, trade for trade: backtesting.py, and a plain re-simulation in `Decimal`."""

from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

import oracle
from conftest import HALF_A_UNIT, backtest, sma_cross_arguments
from oracle import Outcome, Trade

FAST, SLOW, CASH = 10, 20, Decimal(100_000)

runs = pytest.mark.parametrize("fee_bps, direction", [(0, "both"), (0, "long"), (10, "both"), (10, "long")])


def of_market(simulator, market, fee_bps, direction) -> Outcome:
    return simulator(market.bars, FAST, SLOW, market.quantity, CASH, fee_bps, direction)


@runs
def test_the_oracles_agree_with_each_other(market, fee_bps, direction):
    plain = of_market(oracle.simulate, market, fee_bps, direction)
    other = of_market(oracle.backtesting_py, market, fee_bps, direction)
    assert len(plain.closed) > 40, "too few trades to show anything"
    assert plain.closed == other.closed
    assert plain.open == other.open
    assert other.final_equity == approx(plain.final_equity)
    assert other.max_drawdown == approx(plain.max_drawdown)


@runs
def test_the_program_equals_backtesting_py(imported, tmp_path, fee_bps, direction):
    expected = of_market(oracle.backtesting_py, imported.market, fee_bps, direction)
    summary, closed, still_open = run_program(imported, tmp_path, fee_bps, direction)
    assert closed == as_seen(imported.market, expected.closed)
    assert still_open == as_seen(imported.market, expected.open)
    assert Decimal(summary["final_equity"]) == approx(expected.final_equity)
    assert Decimal(summary["total_return"]) == approx(expected.final_equity / CASH - 1)
    assert abs(Decimal(summary["max_drawdown"])) == approx(expected.max_drawdown)


@runs
def test_the_program_equals_the_plain_simulation_to_the_last_decimal(imported, tmp_path, fee_bps, direction):
    expected = of_market(oracle.simulate, imported.market, fee_bps, direction)
    summary, closed, still_open = run_program(imported, tmp_path, fee_bps, direction)
    assert closed == as_seen(imported.market, expected.closed)
    assert still_open == as_seen(imported.market, expected.open)
    assert abs(Decimal(summary["final_equity"]) - expected.final_equity) <= HALF_A_UNIT
    assert abs(Decimal(summary["fees"]) - expected.fees) <= HALF_A_UNIT
    assert summary["bars"] == len(imported.market.bars)


def run_program(imported, out: Path, fee_bps: int, direction: str):
    arguments = sma_cross_arguments(imported.market, FAST, SLOW, fee_bps, direction, CASH)
    summary = backtest("--catalog", imported.catalog, "--out", out, *arguments)
    trades = pd.read_parquet(Path(summary["results"]) / "trades.parquet", dtype_backend="pyarrow")
    assert set(trades.symbol) == {imported.market.symbol}
    assert set(trades.quantity) == {imported.market.quantity}
    rows = [
        Trade(
            row.side,
            time(imported.market, row.entry_time),
            row.entry_price,
            None if row.open else time(imported.market, row.exit_time),
            None if row.open else row.exit_price,
        )
        for row in trades.sort_values("entry_time").itertuples()
    ]
    is_open = [row.exit_time is None for row in rows]
    return summary, [t for t, o in zip(rows, is_open) if not o], [t for t, o in zip(rows, is_open) if o]


def time(market, timestamp: pd.Timestamp):
    """The instant; of a daily bar the date, because the file has only that and the program adds the exchange's hours."""
    assert str(timestamp.tz) == "UTC"
    return timestamp.date() if market.interval == "1d" else timestamp.as_unit("ns").value


def as_seen(market, trades: list[Trade]) -> list[Trade]:
    def seen(ns: int | None):
        return None if ns is None else time(market, pd.Timestamp(ns, unit="ns", tz="UTC"))

    return [Trade(t.side, seen(t.entry_time), t.entry_price, seen(t.exit_time), t.exit_price) for t in trades]


def approx(value: Decimal):
    """backtesting.py reckons in floats."""
    return pytest.approx(value, rel=Decimal("1e-9"), abs=Decimal("1e-12"))
