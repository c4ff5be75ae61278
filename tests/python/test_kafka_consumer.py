"""The consumer in notebooks/ reads, with stock libraries alone, what the bus writes to a real Kafka."""

import json
import subprocess
import sys
from datetime import datetime, timezone
from decimal import Decimal

import consume
import polars as pl
import pytest

import markets
from conftest import TARGET
from kafka_server import kafka

SCRIPT = markets.REPO / "notebooks" / "consume.py"
PREFIX = f"python-{datetime.now(timezone.utc).timestamp():.0f}."
START = 1_709_303_400_000_000_000


@pytest.fixture(scope="module")
def brokers():
    example = TARGET / "release" / "examples" / "kafka_records"
    assert example.exists(), f"no {example}: cargo build --release -p tradeflow-bus --example kafka_records"
    with kafka() as address:
        done = subprocess.run([example, address, PREFIX], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        yield address


def run(*arguments):
    command = [sys.executable, SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_rows_of_records_of_this_a_newer_and_no_schema(brokers):
    done = run("--brokers", brokers, "--topic", f"{PREFIX}md.trades.v1")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    btc = [row for row in rows if row["symbol"] == "BTCUSD"]
    first = {
        "symbol": "BTCUSD",
        "source": "binance",
        "ts_event": START,
        "ts_init": START + 1_000_000,
        "price": "61234.56",
        "qty": "1.50000000",
        "aggressor": "buyer",
    }
    assert btc[0] == first
    assert (btc[1]["price"], Decimal(btc[1]["qty"]), btc[1]["aggressor"]) == ("61234.50", Decimal("1E-8"), "seller")
    # The newer schema has more fields: those that are known are the same.
    assert btc[2:] == btc[:2]
    assert [row["symbol"] for row in rows].count("SPY") == 2
    # The one that is no record is named, and blocks nothing.
    assert done.stderr.count("not a record of this bus") == 1
    assert f"{PREFIX}md.trades.v1/" in done.stderr


def test_bars_of_an_older_schema(brokers):
    bars = list(consume.read(brokers, f"{PREFIX}md.bars.v1"))
    assert len(bars) == 2
    assert bars[0] == bars[1]
    assert (bars[0]["interval"], bars[0]["price_type"], bars[0]["close"]) == ("1m", "last", Decimal("512.5000"))


def test_a_frame_with_exact_prices_and_utc_times(brokers):
    table = consume.frame(consume.read(brokers, f"{PREFIX}md.quotes.v1"))
    assert table.height == 1
    assert table.schema["bid"] == pl.Decimal(38, 4)
    assert table["bid"][0] == Decimal("512.0100")
    assert table["ask_size"][0] == Decimal(0)
    assert table.schema["ts_event"] == pl.Datetime("ns", "UTC")
    assert table["ts_event"].cast(pl.Int64)[0] == START
    shown = run("--brokers", brokers, "--topic", f"{PREFIX}md.quotes.v1", "--frame")
    assert shown.returncode == 0, shown.stderr
    assert "512.0100" in shown.stdout


def test_an_unknown_topic_is_an_error(brokers):
    done = run("--brokers", brokers, "--topic", "none")
    assert done.returncode != 0
    assert "none at" in done.stderr
    assert "Traceback" not in done.stderr
