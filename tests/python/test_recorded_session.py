"""Paper sessions on data that exchanges really sent, through the vendors' own protocols, and the proof of what they did."""

import re
import urllib.request

import pyarrow.dataset

from nodes import Node, eventually, verified
from vendors import Binance, Finnhub, binance_frames, recorded, recorded_finnhub, spy_frames

# The frames of six minutes in nine seconds.
SPEED = 40

BINANCE = """\
[feeds.binance]
url = "ws://127.0.0.1:{port}"
rest_url = "http://127.0.0.1:{port}"

[[instruments]]
symbol = "BTCUSD"
class = "crypto-spot"
price_scale = 2
size_scale = 5
base = "BTC"
quote = "USD"
fees = {{ taker_bps = 1 }}
feed = "binance"
feed_symbol = "BTCUSDT"
quotes = true
bars = ["1s"]

[[accounts]]
id = "ticks"
leverage = 2
[[accounts.strategies]]
kind = "tick_momentum"
params = {{ lookback = 50, threshold_bps = 0, direction = "both" }}
data = "trades"
size = "50%"

[[accounts]]
id = "bars"
[[accounts.strategies]]
kind = "buy_and_hold"
data = "1s"
size = "0.5"
"""

FINNHUB = """\
[feeds.finnhub]
key = "recorded"
url = "ws://127.0.0.1:{port}"
rest_url = "http://127.0.0.1:{port}/api/v1"

[feeds.yahoo]
url = "http://127.0.0.1:{port}"

[[accounts]]
id = "funds"
leverage = 2
symbols = [{symbols}]
[[accounts.strategies]]
kind = "tick_momentum"
params = {{ lookback = {lookback}, threshold_bps = 0, direction = "both" }}
symbols = ["{symbol}"]
data = "trades"
size = "50%"
"""

# The days on which they were recorded are over: open around the clock, so that it does not matter when the test runs.
SHARE = """
[[instruments]]
symbol = "{symbol}"
class = "equity"
price_scale = 4
size_scale = 0
base = "{symbol}"
quote = "USD"
calendar = "24x7"
feed = "finnhub"
bars = ["1s"]
"""


def run(tmp_path, vendor, config: str) -> tuple[dict, dict]:
    """A session from the first frame to the last: what `verify` says, and the feed's counts."""
    file, place = tmp_path / "node.toml", ("--data", tmp_path / "node")
    file.write_text(config)
    with Node(tmp_path / "logs", file, *place) as node:
        node.up()
        assert vendor.started.wait(30), f"it does not subscribe to all:\n{node.text()}"
        eventually("all frames are played", lambda: vendor.played.is_set() or not node.runs(), 120)
        counts = eventually("all frames are received", lambda: received(node, sum(vendor.sent.values())))
        said = node.stop()
    # Yahoo, which stands behind Finnhub, is not played here: that it has no quotes may be said; and that the disk is slow.
    expected = re.compile('source="yahoo"|slow statement|slow threshold')
    complaints = [line for line in said.splitlines() if re.search(" (WARN|ERROR) ", line) and not expected.search(line)]
    assert not complaints, said
    return verified(*place), counts


def received(node: Node, frames: int) -> dict | None:
    """The counts of the feed once it has had so many messages, from the node's metrics."""
    with urllib.request.urlopen(f"{node.address()}/metrics", timeout=10) as page:
        text = page.read().decode()
    counts = dict(re.findall(r'^tradeflow_feed_(\w+)_total\{feed="(?:binance|finnhub)"\} (\d+)', text, re.M))
    return counts if int(counts.get("messages", 0)) >= frames else None


def test_the_recorded_frames_of_binance(tmp_path):
    frames = binance_frames(recorded("frames/binance_spot_btcusdt_20240808.gz"), {"btcusdt@trade", "btcusdt@bookTicker"})
    with Binance(frames, SPEED) as vendor:
        verdict, counts = run(tmp_path, vendor, BINANCE.format(port=vendor.port))
    assert vendor.sent == {"btcusdt@trade": 9_757, "btcusdt@bookTicker": 28_040}
    assert {account["account"] for account in verdict["accounts"]} == {"ticks", "bars"}
    for account in verdict["accounts"]:
        assert account["orders"] > 0, account
        assert account["fills"] > 0, account
    # Every trade that was played is in the catalog, with its price and size as they were sent.
    assert rows(tmp_path, "trades", "BTCUSD") == int(counts["trades"]) == 9_757
    assert rows(tmp_path, "quotes", "BTCUSD") == int(counts["quotes"]) == 28_040


def rows(tmp_path, kind: str, symbol: str) -> int:
    folder = next(path for path in (tmp_path / "node" / "catalog").glob(f"kind={kind[:-1]}/symbol={symbol}"))
    return pyarrow.dataset.dataset([str(path) for path in folder.rglob("*.parquet")]).count_rows()


def test_trades_of_spy_as_finnhub_sends_them(tmp_path):
    frames = spy_frames(recorded("ticks/spy_20131008_trades.zip"), 240)
    with Finnhub(frames, SPEED) as vendor:
        config = FINNHUB.format(port=vendor.port, symbols='"SPY"', symbol="SPY", lookback=50)
        verdict, counts = run(tmp_path, vendor, config + SHARE.format(symbol="SPY"))
    assert verdict["orders"] > 10
    assert verdict["fills"] > 10
    assert rows(tmp_path, "trades", "SPY") == int(counts["trades"]) > 4_000


def test_the_recorded_frames_of_finnhub(tmp_path):
    frames = recorded_finnhub(recorded("vendor_responses/finnhub/ws_aapl_20230331.jsonl"))
    with Finnhub(frames, 1) as vendor:
        config = FINNHUB.format(port=vendor.port, symbols='"AAPL"', symbol="AAPL", lookback=3)
        verdict, counts = run(tmp_path, vendor, config + SHARE.format(symbol="AAPL"))
    assert verdict["orders"] > 0
    assert verdict["fills"] > 0
    assert int(counts["bad"]) == 0, counts
