"""Price history for the tests: two real series, and one that is generated, so that every test runs anywhere.

Each market is a CSV file as a user would have it, the flags that import it, and the same bars parsed here with
`Decimal`, independently of the program."""

import csv
import gzip
import os
import random
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TRADEFLOW_DATA", REPO.parent / "shared" / "data"))

MINUTE_NS = 60 * 10**9


@dataclass(frozen=True)
class Bar:
    ts_open: int  # nanoseconds UTC
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True)
class Market:
    symbol: str
    interval: str
    preset: str
    csv: Path
    quantity: int  # traded by the tests, in whole units
    bars: list[Bar]


class NoData(Exception):
    """The real data is not on this machine; the message says which file was looked for."""


def real_file(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        raise NoData(f"real data is absent: no {path} (TRADEFLOW_DATA names the folder)")
    return path


def prices(row: list[str]) -> list[Decimal]:
    return [Decimal(cell) for cell in row]


def goog_daily(_folder: Path) -> Market:
    path = real_file("daily", "goog_2004_2013.csv")
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]

    def midnight(date: str) -> int:
        return int(datetime.fromisoformat(date).replace(tzinfo=timezone.utc).timestamp()) * 10**9

    bars = [Bar(midnight(date), *prices(rest)) for date, *rest in rows]
    return Market("GOOG", "1d", "yahoo", path, 100, bars)


def btcusd_may_2017(folder: Path) -> Market:
    """The month is cut out of the year's file, so that the import is quick."""
    with gzip.open(real_file("bars", "btcusd_bitfinex_1m_2017.csv.gz"), "rt", newline="") as file:
        header, *rows = csv.reader(file)
    start, end = (int(datetime(2017, month, 1, tzinfo=timezone.utc).timestamp()) * 1000 for month in (5, 6))
    month = [row for row in rows if start <= int(row[0]) < end]
    return ohlcv_ms("BTCUSD", folder / "btcusd_2017_05.csv.gz", header, month)


def generated_minutes(folder: Path) -> Market:
    """A seeded walk in coarse steps over a small range: averages touch and tie often, which real prices do rarely.

    It begins with twenty falling closes and a leap, so that SMA 10/20 crosses at the very first bar at which it can."""
    rng = random.Random(20170501)
    start_ms = int(datetime(2020, 2, 28, tzinfo=timezone.utc).timestamp()) * 1000
    rows, close = [], 420
    for minute in range(4 * 1440):
        if minute > 20 and rng.random() < 0.03:
            continue  # minutes without a trade are omitted
        open_ = close + rng.choice((-1, 0, 0, 1))
        close = max(300, min(600, open_ + rng.choice((-2, -1, 0, 0, 1, 2))))
        if minute <= 20:
            close = 420 - minute if minute < 20 else 560
        high, low = max(open_, close) + rng.randrange(2), min(open_, close) - rng.randrange(2)
        text = [f"{price / 4:.2f}" for price in (open_, high, low, close)]
        rows.append([str(start_ms + minute * 60_000), *text, f"{rng.randrange(10, 10**6) / 1000:.3f}"])
    header = ["ts_ms", "open", "high", "low", "close", "volume"]
    return ohlcv_ms("WALK", folder / "walk.csv.gz", header, rows)


def ohlcv_ms(symbol: str, path: Path, header: list[str], rows: list[list[str]]) -> Market:
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    bars = [Bar(int(ts) * 10**6, *prices(rest)) for ts, *rest in rows]
    return Market(symbol, "1m", "ohlcv-ms", path, 1, bars)


MARKETS = {"goog_daily": goog_daily, "btcusd_may_2017": btcusd_may_2017, "generated": generated_minutes}
