"""Two independent answers to "what does an SMA cross with a fixed quantity do": backtesting.py, and sixty lines of
plain Python. They are compared with each other as well as with the program.

The rule, which all three state in their own way: the averages are compared exactly, as
`sum_fast * slow` with `sum_slow * fast`; a tie keeps the sign of the bar before; a cross is a change of sign between
two bars that both have both averages. It is decided at the bar's close and filled at the next bar's open, up to
the quantity long, down to the quantity short (direction "both") or flat ("long"). Nothing is traded after the last bar."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy

from markets import Bar


@dataclass(frozen=True)
class Trade:
    side: str  # "long" or "short"
    entry_time: int  # nanoseconds UTC: the open time of the bar it filled at
    entry_price: Decimal
    exit_time: int | None  # None while open
    exit_price: Decimal | None


@dataclass(frozen=True)
class Outcome:
    closed: list[Trade]
    open: list[Trade]
    final_equity: Decimal  # marked at the last close
    fees: Decimal | None  # None from backtesting.py, whose figure leaves out the open trade
    max_drawdown: Decimal  # of the equity marked at each close, as a positive fraction


def simulate(bars: list[Bar], fast: int, slow: int, quantity: int, cash: Decimal, fee_bps: int, direction: str) -> Outcome:
    rate = Decimal(fee_bps) / 10_000
    start, closed, fees = cash, [], Decimal(0)
    position, trade, target = 0, None, None
    peak, drawdown = cash, Decimal(0)
    sign = 0
    for i, bar in enumerate(bars):
        if target is not None and target != position:
            fee = abs(target - position) * bar.open * rate
            cash -= (target - position) * bar.open + fee
            fees += fee
            if trade:
                closed.append(Trade(trade.side, trade.entry_time, trade.entry_price, bar.ts_open, bar.open))
            trade = Trade("long" if target > 0 else "short", bar.ts_open, bar.open, None, None) if target else None
            position = target
        target = None

        equity = cash + position * bar.close
        peak = max(peak, equity)
        drawdown = max(drawdown, (peak - equity) / peak)

        if i + 1 < slow:
            continue
        sum_fast = sum(b.close for b in bars[i + 1 - fast : i + 1])
        sum_slow = sum(b.close for b in bars[i + 1 - slow : i + 1])
        difference = sum_fast * slow - sum_slow * fast
        before, sign = sign, (difference > 0) - (difference < 0) or sign
        if before and sign != before:
            target = quantity if sign > 0 else (-quantity if direction == "both" else 0)

    assert equity - start == sum(profit(t, bars[-1].close) for t in [*closed, *([trade] if trade else [])]) * quantity - fees
    return Outcome(closed, [trade] if trade else [], equity, fees, drawdown)


def profit(trade: Trade, last_close: Decimal) -> Decimal:
    """Of one unit, before fees; an open trade is marked at the last close."""
    exit_price = last_close if trade.exit_price is None else trade.exit_price
    return (exit_price - trade.entry_price) * (1 if trade.side == "long" else -1)


def cross_signs(close: np.ndarray, fast: int, slow: int) -> np.ndarray:
    """Sign of fast less slow average by bar: NaN without both averages, ties carried on, 0 before the first decided bar."""
    total = np.concatenate([[0], np.cumsum(close)])
    ends = np.arange(slow, len(close) + 1)
    difference = (total[ends] - total[ends - fast]) * slow - (total[ends] - total[ends - slow]) * fast
    sign = pd.Series(np.sign(difference), dtype=float).replace(0, np.nan).ffill().fillna(0)
    return np.concatenate([np.full(slow - 1, np.nan), sign])


def scaled_closes(bars: list[Bar]) -> np.ndarray:
    """Closes as integers at the finest scale that occurs, so that sums are exact."""
    scale = max(-bar.close.as_tuple().exponent for bar in bars)
    closes = [int(bar.close.scaleb(scale)) for bar in bars]
    assert sum(closes) * 1000 < 2**63, "the sums would overflow"
    return np.array(closes, dtype=np.int64)


def backtesting_py(bars: list[Bar], fast: int, slow: int, quantity: int, cash: Decimal, fee_bps: int, direction: str) -> Outcome:
    signs = cross_signs(scaled_closes(bars), fast, slow)

    class SmaCross(Strategy):
        def init(self):
            self.sign = self.I(lambda: signs, name="sign")

        def next(self):
            before, now = self.sign[-2], self.sign[-1]
            if before == 0 or now == before:
                return
            target = quantity if now > 0 else (-quantity if direction == "both" else 0)
            change = target - self.position.size
            if change:
                (self.buy if change > 0 else self.sell)(size=abs(change))

    columns = ("open", "high", "low", "close", "volume")
    frame = pd.DataFrame(
        {name.capitalize(): [float(getattr(bar, name)) for bar in bars] for name in columns},
        index=pd.to_datetime([bar.ts_open for bar in bars], unit="ns"),
    )
    test = Backtest(frame, SmaCross, cash=float(cash), commission=fee_bps / 10_000, finalize_trades=False)
    result = test.run()

    open_of = {bar.ts_open: bar.open for bar in bars}

    def price(time: int, value: float) -> Decimal:
        """The decimal whose float backtesting.py carried: it must be that very bar's open."""
        assert value == float(open_of[time]), (time, value, open_of[time])
        return open_of[time]

    closed = []
    for row in result["_trades"].itertuples():
        entry, exit_ = (pd.Timestamp(t).as_unit("ns").value for t in (row.EntryTime, row.ExitTime))
        assert abs(row.Size) == quantity
        side = "long" if row.Size > 0 else "short"
        closed.append(Trade(side, entry, price(entry, row.EntryPrice), exit_, price(exit_, row.ExitPrice)))
    still_open = []
    for trade in result["_strategy"].trades:
        entry = pd.Timestamp(trade.entry_time).as_unit("ns").value
        still_open.append(Trade("long" if trade.size > 0 else "short", entry, price(entry, trade.entry_price), None, None))
    return Outcome(
        sorted(closed, key=lambda t: t.entry_time),
        still_open,
        Decimal(result["Equity Final [$]"]),
        None,
        Decimal(-result["Max. Drawdown [%]"] / 100),
    )
