"""`tradeflow vendor` on one side, `tradeflow fetch` on the other, and what came of it as polars reads it: the catalog that
is served and the one that was fetched hold the same prices, splits and dividends."""

import json
import os
import subprocess
import time
from urllib.parse import quote

import polars
import pytest

from conftest import BINARY, backtest, tradeflow_ok
from local_vendors import PATIENCE, vendor

SYMBOL = "SAMPLE-EQ"
# Half a year with two dividends and, at the new year, a split; the last month of it in minutes too.
SPAN = ("2019-06-01", "2020-01-16")
KEY = "s3cret/KEY+1"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    tradeflow_ok("sample", "--symbols", SYMBOL, "--from", SPAN[0], "--to", SPAN[1], "--catalog", folder)
    return folder


def fetch(name, address, interval, folder, key=KEY, symbol=SYMBOL, span=SPAN):
    command = ["fetch", name, symbol, "--from", span[0], "--to", span[1], "--interval", interval]
    command += ["--base-url", address, "--catalog", str(folder), "--json"]
    environment = {**os.environ, f"TRADEFLOW_{name.upper()}_KEY": key}
    done = subprocess.run(
        [str(BINARY), *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert key not in done.stdout + done.stderr, "a key never shows"
    return done, json.loads(done.stdout)["series"][0]


def bars(folder, interval):
    files = f"{folder}/kind=bar/interval={interval}/**/*.parquet"
    prices = ["open", "high", "low", "close", "volume"]
    frame = polars.scan_parquet(files, hive_partitioning=True).sort("ts_open")
    return frame.select("ts_open", "ts_event", *[polars.col(name).cast(polars.Decimal(38, 9)) for name in prices]).collect()


def actions(folder):
    frame = polars.read_parquet(f"{folder}/kind=action/symbol={SYMBOL}/data.parquet")
    return frame.drop("ts_init", strict=False).rows()


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(folder):
    summary = backtest(
        *("--catalog", folder, "--symbol", SYMBOL, "--interval", "1d", "--strategy", "sma_cross"),
        *("--set", "fast=5", "--set", "slow=20", "--set", "direction=long", "--size", "100", "--cash", "1000000"),
        # A vendor knows nothing of an instrument's fees and ticks.
        *("--fee-bps", 0, "--slippage", "none"),
        cwd=folder.parent,
    )
    return summary["bars"], summary["trades"], summary["final_equity"]


def test_days_of_yahoo_are_those_that_were_traded(served, tmp_path):
    with vendor("yahoo", "--data", served, "--refuse-next", 1) as local:
        done, report = fetch("yahoo", local.http, "1d", tmp_path)
        assert done.returncode == 0, done.stderr
        assert bars(tmp_path, "1d").equals(bars(served, "1d"))
        assert actions(tmp_path) == actions(served)
        assert len(actions(served)) == 3, "the sample has a split and two dividends"
        assert report["added"] == bars(served, "1d").height and report["actions_added"] == 3

        # What the server says of itself: adjusted for the split, as Yahoo does.
        chart = local.get(f"/v8/finance/chart/{SYMBOL}?period1=1559347200&period2=1579132800&interval=1d&events=div%7Csplit")
        chart = chart["chart"]["result"][0]
        closes = [float(close) for close in bars(tmp_path, "1d")["close"]]
        split = next(iter(chart["events"]["splits"].values()))
        adjusted = chart["indicators"]["quote"][0]["close"]
        for close, opened, theirs in zip(closes, chart["timestamp"], adjusted, strict=True):
            ratio = split["numerator"] / split["denominator"] if opened < split["date"] else 1
            assert close / ratio == pytest.approx(theirs, rel=1e-6)

        before = contents(tmp_path)
        again, report = fetch("yahoo", local.http, "1d", tmp_path)
        assert again.returncode == 0 and "nothing to fetch" in again.stderr
        assert report["pieces"] == 0 and contents(tmp_path) == before
    assert run(tmp_path) == run(served)
    assert "not part of the catalog" not in tradeflow_ok("catalog", "verify", "--catalog", tmp_path)


def test_minutes_of_alpha_vantage_go_on_after_the_days_quota(served, tmp_path):
    with vendor("alphavantage", "--data", served, "--premium", "--key", KEY, "--per-day", 8) as local:
        done, report = fetch("alphavantage", local.http, "1m", tmp_path)
        assert done.returncode == 1
        assert "tomorrow" in report["error"] and "***" in report["error"]
        # Requests are months of New York, where the first begins in the evening of May.
        assert (report["pieces"], report["left"]) == (8, 1)
        part = bars(tmp_path, "1m")
        whole = bars(served, "1m")
        assert 0 < part.height < whole.height
        assert part.equals(whole.head(part.height))
    with vendor("alphavantage", "--data", served, "--premium", "--key", KEY) as local:
        done, report = fetch("alphavantage", local.http, "1m", tmp_path)
        assert done.returncode == 0, done.stderr
        assert report["pieces"] == 1 and report["unchanged"] == 0
        assert bars(tmp_path, "1m").equals(whole)
        done, _ = fetch("alphavantage", local.http, "1d", tmp_path)
        assert done.returncode == 0, done.stderr
        assert bars(tmp_path, "1d").equals(bars(served, "1d")) and actions(tmp_path) == actions(served)
        done, report = fetch("alphavantage", local.http, "1d", tmp_path, key="wr0ng")
        assert done.returncode == 0 and report["pieces"] == 0, "nothing is missing, so nobody is asked"


# The last day is served once more, and over in a moment: the catalog is history then, with that day's bars made of its
# ticks, or of the minutes that stand for them.
FAST = ("--speed", 1_000_000)


def until(is_over):
    deadline = time.monotonic() + PATIENCE
    while not is_over():
        assert time.monotonic() < deadline, "the day goes on"


@pytest.fixture(scope="module")
def coin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coin")
    tradeflow_ok("sample", "--symbols", "SAMPLE-BTC", "--ticks", "--from", "2024-01-02", "--to", "2024-01-05", "--catalog", folder)
    return folder


def hours(minutes):
    """Hours made of minutes."""
    prices = [polars.col("open").first(), polars.col("high").max(), polars.col("low").min(), polars.col("close").last()]
    made = minutes.group_by_dynamic("ts_open", every="1h").agg(*prices, polars.col("volume").sum())
    return made.with_columns(ts_event=polars.col("ts_open") + polars.duration(hours=1)).select(minutes.columns)


def test_klines_of_binance_are_those_of_the_catalog(coin, tmp_path):
    what = {"symbol": "SAMPLEBTCUSDT", "span": ("2024-01-02", "2024-01-05")}
    with vendor("binance", "--data", coin, *FAST) as local:
        end = bars(coin, "1m")["ts_event"].max().timestamp()
        until(lambda: local.get("/api/v3/time")["serverTime"] >= end * 1_000)
        local.switch(refuse_next=1, fail_next=1)
        for interval, expected in [("1m", bars(coin, "1m")), ("1h", hours(bars(coin, "1m")))]:
            done, report = fetch("binance", local.http, interval, tmp_path, **what)
            assert done.returncode == 0, done.stderr
            assert expected.height == report["added"] == {"1m": 3 * 1440, "1h": 72}[interval]
            assert bars(tmp_path, interval).equals(expected)
            before = contents(tmp_path)
            again, report = fetch("binance", local.http, interval, tmp_path, **what)
            assert again.returncode == 0 and "nothing to fetch" in again.stderr
            assert report["pieces"] == 0 and contents(tmp_path) == before


def test_candles_of_finnhub_are_those_of_the_catalog_and_want_a_paid_plan(served, tmp_path):
    flags = ("--data", served, "--key", KEY, *FAST)
    with vendor("finnhub", *flags) as local:
        done, report = fetch("finnhub", local.http, "1m", tmp_path)
        assert done.returncode == 1 and "plan" in report["error"]
        done, report = fetch("finnhub", local.http, "1m", tmp_path, key="wr0ng-key")
        assert done.returncode == 1 and "refuses the key" in report["error"]
        assert not (tmp_path / "kind=bar").exists()
    with vendor("finnhub", *flags, "--premium") as local:
        last = bars(served, "1m")["ts_open"].max().timestamp()
        until(lambda: local.get(f"/api/v1/quote?symbol={SYMBOL}&token={quote(KEY, safe='')}")["t"] > last)
        done, report = fetch("finnhub", local.http, "1m", tmp_path)
        assert done.returncode == 0, done.stderr
        assert bars(tmp_path, "1m").equals(bars(served, "1m"))
        assert report["added"] == bars(served, "1m").height > 5_000
        before = contents(tmp_path)
        again, report = fetch("finnhub", local.http, "1m", tmp_path)
        assert again.returncode == 0 and report["pieces"] == 0 and contents(tmp_path) == before


def test_a_wrong_key_is_told_and_a_missing_one_too(served, tmp_path):
    with vendor("alphavantage", "--data", served, "--key", KEY) as local:
        done, report = fetch("alphavantage", local.http, "1d", tmp_path, key="wr0ng-key")
        assert done.returncode == 1 and "TRADEFLOW_ALPHAVANTAGE_KEY" in report["error"]
        assert not (tmp_path / "kind=bar").exists()
    command = [str(BINARY), "fetch", "alphavantage", SYMBOL, "--from", SPAN[0], "--key-env", "NO_SUCH_KEY"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=tmp_path)
    assert done.returncode == 1 and "NO_SUCH_KEY" in done.stderr
    assert done.stdout == ""
