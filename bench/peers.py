"""One peer on the catalog's bars: peers.py vectorbt|backtesting.py CATALOG. Prints JSON; `seconds` is indicators and
engine alone, with the bars in memory as floats and compiled code warm, which is the peer's best case."""

import json
import os
import sys
import time
import warnings

import pandas as pd

os.environ["TQDM_DISABLE"] = "1"
# backtesting.py warns of each order that it cancels for want of cash; the number of trades shows how few they are.
warnings.filterwarnings("ignore", message=".*insufficient margin")

FAST, SLOW, CASH, FEE = 10, 50, 1_000_000, 0.001


def bars(catalog: str) -> pd.DataFrame:
    columns = ["ts_open", "open", "high", "low", "close", "volume"]
    frame = pd.read_parquet(f"{catalog}/kind=bar/interval=1m/price=last/symbol=BTCUSD", columns=columns).sort_values("ts_open")
    frame = frame[(frame.ts_open >= "2017-01-01T00:00Z") & (frame.ts_open < "2019-01-01T00:00Z")]
    return frame.set_index(frame.pop("ts_open").dt.tz_localize(None)).astype(float)


def vectorbt(frame: pd.DataFrame):
    import vectorbt as vbt

    def run():
        fast, slow = (vbt.MA.run(frame.close, window).ma for window in (FAST, SLOW))
        # Signals move one bar on: decided at the close, filled at the next open.
        up = ((fast > slow) & (fast.shift(1) <= slow.shift(1))).shift(1, fill_value=False)
        down = ((fast < slow) & (fast.shift(1) >= slow.shift(1))).shift(1, fill_value=False)
        result = vbt.Portfolio.from_signals(frame.close, up, down, price=frame.open, fees=FEE, init_cash=CASH, freq="1min")
        return float(result.final_value()), int(result.trades.count())

    run()  # compiles
    start = time.perf_counter()
    return *run(), time.perf_counter() - start


def backtesting_py(frame: pd.DataFrame):
    from backtesting import Strategy
    from backtesting.lib import FractionalBacktest, crossover

    class SmaCross(Strategy):
        def init(self):
            close = pd.Series(self.data.Close)
            self.fast, self.slow = (self.I(lambda n: close.rolling(n).mean(), n, name=str(n)) for n in (FAST, SLOW))

        def next(self):
            if crossover(self.fast, self.slow):
                self.buy()
            elif crossover(self.slow, self.fast):
                self.position.close()

    test = FractionalBacktest(frame.rename(columns=str.capitalize), SmaCross, cash=CASH, commission=FEE, fractional_unit=1e-8)
    start = time.perf_counter()
    result = test.run()
    return float(result["Equity Final [$]"]), int(result["# Trades"]), time.perf_counter() - start


if __name__ == "__main__":
    _, name, catalog = sys.argv
    final, trades, seconds = {"vectorbt": vectorbt, "backtesting.py": backtesting_py}[name](bars(catalog))
    print(json.dumps({"final_equity": final, "trades": trades, "seconds": seconds}))
