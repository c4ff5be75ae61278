"""Splits and dividends of real shares, held over 23 years, against an account kept here in `Decimal` from the two source
files alone: the raw daily bars and the factor file. No bar is adjusted; the position is."""

import csv
import io
import zipfile
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import pandas as pd
import pytest

import markets
from conftest import backtest, tradeflow_ok

CASH, QUANTITY = Decimal(1_000_000), 1_000


@dataclass(frozen=True)
class Day:
    date: str  # yyyymmdd
    open: Decimal
    close: Decimal


@dataclass(frozen=True)
class Factor:
    """Holds up to and including its date; the step to the next one happens before the next session's open."""

    date: str
    price: Decimal
    split: Decimal
    close: Decimal


def days(path) -> list[Day]:
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    rows = csv.reader(io.StringIO(text))
    return [Day(row[0].split()[0], Decimal(row[1]) / 10_000, Decimal(row[4]) / 10_000) for row in rows]


def factors(path) -> list[Factor]:
    with path.open(newline="") as file:
        return [Factor(date, *map(Decimal, rest)) for date, *rest in csv.reader(file)]


def holder(history: list[Day], steps: list[Factor]) -> list[Decimal]:
    """Equity at each close of someone who buys at the second day's open and takes dividends in cash."""
    cash, shares, equity = CASH, Decimal(0), [CASH]
    pending = [(here, after) for here, after in zip(steps, steps[1:]) if here.date >= history[0].date]
    cash -= QUANTITY * history[1].open
    shares = Decimal(QUANTITY)
    for before, day in zip(history, history[1:]):
        # A step dated on or after the purchase's day touches what is held; one of the day before does not.
        while pending and pending[0][0].date < day.date:
            here, after = pending.pop(0)
            if day is history[1]:
                continue
            # A dividend lowers the factor before it by its share of the last close: paid on the shares held then.
            cash += shares * before.close * (1 - here.price / after.price)
            # Of shares there are only whole ones; what a split makes of the rest is paid out at the price after it.
            # Splits are ratios of small whole numbers, which the factors' seven digits stand for.
            near = Fraction(after.split / here.split).limit_denominator(2000)
            ratio = Decimal(near.numerator) / near.denominator
            whole = Decimal(int(shares) * near.numerator // near.denominator)
            cash += (shares * ratio - whole) * before.close / ratio
            shares = whole
        equity.append(cash + shares * day.close)
    return equity


@pytest.mark.parametrize("symbol", ["aapl", "goog", "ibm", "spy"])
def test_holding_over_splits_and_dividends(symbol, tmp_path):
    try:
        raw, file = markets.real_file("daily", f"{symbol}_daily_raw.zip"), markets.real_file("daily", f"{symbol}_factors.csv")
    except markets.NoData as absent:
        pytest.skip(str(absent))
    history, steps = days(raw), factors(file)
    expected = holder(history, steps)

    catalog, name = tmp_path / "catalog", symbol.upper()
    tradeflow_ok("import", "--preset", "lean-daily", "--symbol", name, raw, "--catalog", catalog)
    tradeflow_ok("import", "--preset", "lean-factors", "--symbol", name, file, "--catalog", catalog)
    summary = backtest(
        *("--symbol", name, "--interval", "1d", "--strategy", "buy_and_hold", "--size", QUANTITY, "--cash", CASH),
        *("--fill", "next-open", "--fee-bps", 0, "--catalog", catalog, "--out", tmp_path / "out"),
    )
    assert summary["bars"] == len(history)

    # Factors have seven digits, so a dividend taken from them is known to some millionths of the price.
    assert float(summary["final_equity"]) == pytest.approx(float(expected[-1]), rel=2e-4)
    curve = pd.read_parquet(f"{summary['results']}/equity.parquet")
    curve["date"] = curve.ts.dt.tz_convert("America/New_York").dt.strftime("%Y%m%d")
    by_day = curve.groupby("date").equity.last()
    for day, equity in zip(history, expected):
        assert float(by_day[day.date]) == pytest.approx(float(equity), rel=2e-4), day

    # And against the adjusted series itself: over a split the value of what is held moves as the adjusted price does.
    splits = [(here, after) for here, after in zip(steps, steps[1:]) if here.split != after.split and here.date > history[1].date]
    assert splits or symbol in ("ibm", "spy")
    dates = [day.date for day in history]
    for here, after in splits:
        at = next(i for i, date in enumerate(dates) if date > here.date)
        before, first = history[at - 1], history[at]
        adjusted = first.close * after.price * after.split / (before.close * here.price * here.split)
        spent = CASH - QUANTITY * history[1].open
        assert abs(adjusted - 1) < Decimal("0.2"), "a split that is not accounted for moves the price by half and more"
        change = float(by_day[first.date]) / float(by_day[before.date])
        assert change == pytest.approx(float(adjusted), abs=float(abs(adjusted - 1) * spent / expected[at]) + 0.02)
