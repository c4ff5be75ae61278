"""`tradeflow vendor`: what stock clients see of it. The streams are read with `websockets`, the rest over plain HTTP, and a
day of a catalog that is served once more is compared with what polars reads of it."""

import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from decimal import Decimal

import polars
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from conftest import BINARY, tradeflow, tradeflow_ok
from local_vendors import PATIENCE, vendor

KEY = "s3cret-key"
WHICH = ["alphavantage", "binance", "finnhub", "yahoo"]


def receive(socket):
    return json.loads(socket.recv(PATIENCE), parse_float=Decimal)


def subscribe(socket, *streams):
    """As Binance's clients do; what comes before the answer is let go."""
    socket.send(json.dumps({"method": "SUBSCRIBE", "params": streams, "id": 7}))
    while (answer := receive(socket)).get("id") != 7:
        assert answer["e"] == "trade"
    assert answer == {"result": None, "id": 7}


def assert_binance_trade(frame, symbol):
    assert list(frame) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
    assert (frame["e"], frame["s"]) == ("trade", symbol)
    assert all(isinstance(frame[name], int) for name in ("E", "t", "T")) and isinstance(frame["m"], bool)
    # Prices and quantities are text there.
    assert isinstance(frame["p"], str) and isinstance(frame["q"], str)


def test_binance_bars_are_those_of_the_trades_that_were_streamed():
    clock = ("--start", "2024-03-05T14:59:30", "--speed", 30)
    with vendor("binance", *clock, "--rate", 20, "--symbols", "BTCUSD,AAPL") as local:
        info = local.get("/api/v3/exchangeInfo?symbol=BTCUSDT")["symbols"][0]
        assert (info["symbol"], info["status"], info["baseAsset"], info["quoteAsset"]) == ("BTCUSDT", "TRADING", "BTC", "USDT")
        filters = {one["filterType"]: one for one in info["filters"]}
        tick, lot = Decimal(filters["PRICE_FILTER"]["tickSize"]), Decimal(filters["LOT_SIZE"]["stepSize"])
        symbols = [one["symbol"] for one in local.get("/api/v3/exchangeInfo")["symbols"]]
        assert symbols == ["BTCUSDT", "AAPL"]

        opened = 1_709_650_800_000  # 15:00
        trades = []
        with connect(f"{local.ws}/ws") as socket:
            subscribe(socket, "btcusdt@trade")
            while not trades or trades[-1]["T"] < opened + 60_000:
                trades.append(receive(socket))
                assert_binance_trade(trades[-1], "BTCUSDT")
        numbers = [trade["t"] for trade in trades]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert all(Decimal(trade["p"]) % tick == 0 and Decimal(trade["q"]) % lot == 0 for trade in trades)

        minute = [trade for trade in trades if opened <= trade["T"] < opened + 60_000]
        prices = [Decimal(trade["p"]) for trade in minute]
        row = local.get(f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={opened}&limit=1")[0]
        assert len(row) == 12 and (row[0], row[6]) == (opened, opened + 59_999)
        assert [Decimal(price) for price in row[1:5]] == [prices[0], max(prices), min(prices), prices[-1]]
        assert Decimal(row[5]) == sum(Decimal(trade["q"]) for trade in minute)

        with connect(f"{local.ws}/stream?streams=btcusdt@trade/aapl@bookTicker") as socket:
            seen = {}
            while len(seen) < 2:
                frame = receive(socket)
                assert list(frame) == ["stream", "data"]
                seen[frame["stream"]] = frame["data"]
        assert_binance_trade(seen["btcusdt@trade"], "BTCUSDT")
        assert list(seen["aapl@bookTicker"]) == ["u", "s", "b", "B", "a", "A"]

        status, headers, text = local.ask("/api/v3/klines?symbol=NONE&interval=1m")
        assert status == 400 and json.loads(text)["code"] == -1121
        assert int({name.lower(): value for name, value in headers.items()}["x-mbx-used-weight-1m"]) > 0


def trades_of(local):
    # A silent vendor does not answer a goodbye.
    return connect(f"{local.ws}/ws/btcusdt@trade", close_timeout=1)


class Numbers:
    """The trades of a connection, by their numbers; what is no trade is counted."""

    def __init__(self, socket):
        self.socket, self.numbers, self.garbage = socket, [], 0

    def read(self, timeout=PATIENCE):
        text = self.socket.recv(timeout)
        try:
            self.numbers.append(json.loads(text)["t"])
        except (ValueError, KeyError):
            self.garbage += 1

    def until(self, seen):
        deadline = time.monotonic() + PATIENCE
        while not seen():
            assert time.monotonic() < deadline, f"not seen in {self.numbers[-50:]}, {self.garbage} garbage"
            self.read()

    def is_twice(self):
        return any(count > 1 for count in Counter(self.numbers).values())

    def steps(self):
        return [after - before for before, after in zip(self.numbers, self.numbers[1:], strict=False)]

    def until_all_is_well(self, count=50):
        """So many in a row, one after another."""
        self.until(lambda: len(self.numbers) > count and set(self.steps()[-count:]) == {1})

    def until_dropped(self):
        with pytest.raises(ConnectionClosed) as dropped:
            self.until(lambda: False)
        assert dropped.value.rcvd is None, "there is no closing frame"

    def until_silent(self):
        # There are hundreds of trades a second.
        with pytest.raises(TimeoutError):
            while True:
                self.read(timeout=1)
        assert not self.socket.ping().wait(0.5), "a silent vendor answers no ping"


STREAM_FAULTS = [
    ({"garbage_every": 5}, lambda seen: seen.until(lambda: seen.garbage > 3)),
    ({"duplicate_every": 5}, lambda seen: seen.until(seen.is_twice)),
    # 1 3 2 4: the next one first.
    ({"reorder_every": 5}, lambda seen: seen.until(lambda: -1 in seen.steps())),
    ({"late_every": 5, "late_ms": 50}, lambda seen: seen.until(lambda: min(seen.steps(), default=0) < -1)),
    ({"drop_every": 20}, Numbers.until_dropped),
    ({"silence_after": 5}, Numbers.until_silent),
]


def flags(rules):
    return [text for name, value in rules.items() for text in ("--" + name.replace("_", "-"), str(value))]


@pytest.mark.parametrize(("rules", "shows"), STREAM_FAULTS, ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_binance_misbehaves_when_it_is_told_to(rules, shows):
    market = ("--symbols", "BTCUSD", "--rate", 500)
    with vendor("binance", *market, *flags(rules)) as local, trades_of(local) as socket:
        shows(Numbers(socket))
    with vendor("binance", *market) as local:
        with trades_of(local) as socket:
            seen = Numbers(socket)
            seen.until_all_is_well()
            local.switch(**rules)
            shows(seen)
        local.switch()
        with trades_of(local) as socket:
            Numbers(socket).until_all_is_well()


def test_nothing_is_lost_when_misbehaviour_ends():
    with vendor("binance", "--symbols", "BTCUSD", "--rate", 500) as local, trades_of(local) as socket:
        seen = Numbers(socket)
        seen.until_all_is_well()
        for rules in [{"reorder_every": 1}, {"late_every": 3, "late_ms": 100}]:
            local.switch(**rules)
            seen.until(lambda: set(seen.steps()[-50:]) != {1})
            local.switch()
            seen.until_all_is_well(200)  # which takes longer than the last one is late
        numbers = sorted(seen.numbers)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def refused(local, path):
    status, headers, text = local.ask(path)
    return status, {name.lower(): value for name, value in headers.items()}, text


def test_requests_are_refused_and_fail_in_the_vendors_words():
    with vendor("binance", "--refuse-next", 1, "--fail-next", 1) as local:
        status, headers, text = refused(local, "/api/v3/time")
        assert (status, json.loads(text)["code"]) == (429, -1003) and int(headers["retry-after"]) > 0
        status, _, text = refused(local, "/api/v3/time")
        assert (status, json.loads(text)["code"]) == (500, -1000)
        local.get("/api/v3/time")
        local.switch(refuse_next=1)
        with pytest.raises(InvalidStatus) as error:
            connect(f"{local.ws}/ws")
        assert error.value.response.status_code == 429
        # What it does wrong can be read, and is changed as a whole or not at all.
        assert local.get("/_control")["refuse_next"] == 0
        status, _, text = local.ask("/_control", "PUT", {"drop_every": 5, "drop_evry": 5})
        assert status == 422 and "drop_evry" in text
        assert local.get("/_control")["drop_every"] is None
    with vendor("finnhub", "--refuse-next", 1, "--fail-next", 1) as local:
        status, _, text = local.ask("/api/v1/quote?symbol=AAPL&token=demo")
        assert status == 429 and "API limit reached" in text
        status, _, text = local.ask("/api/v1/quote?symbol=AAPL&token=demo")
        assert status == 500 and text.startswith("<html>")
        local.get("/api/v1/quote?symbol=AAPL&token=demo")
    with vendor("yahoo", "--refuse-next", 1) as local:
        assert local.ask("/v8/finance/chart/SPY?range=5d&interval=1d")[0] == 429
        local.get("/v8/finance/chart/SPY?range=5d&interval=1d")
    with vendor("alphavantage") as local:
        local.switch(refuse_next=1)
        path = "/query?function=TIME_SERIES_DAILY&symbol=SPY&apikey=demo"
        assert list(local.get(path)) == ["Information"], "as the vendor does, with status 200"


def test_finnhub_wants_its_key_and_gives_trades_and_quotes():
    with vendor("finnhub", "--key", KEY, "--symbols", "AAPL,BTCUSD,EURUSD") as local:
        for query in ("", "?token=wr0ng"):
            with pytest.raises(InvalidStatus) as error:
                connect(local.ws + query)
            assert error.value.response.status_code == 401
        for query, said in [("", "Please use an API key."), ("&token=wr0ng", "Invalid API key.")]:
            status, _, text = local.ask(f"/api/v1/quote?symbol=AAPL{query}")
            assert status == 401 and json.loads(text) == {"error": said}

        with connect(f"{local.ws}?token={KEY}") as socket:
            for symbol in ("AAPL", "BINANCE:BTCUSDT", "NONE"):
                socket.send(json.dumps({"type": "subscribe", "symbol": symbol}))
            seen, error = {}, None
            while len(seen) < 2 or not error:
                frame = receive(socket)
                if frame["type"] == "error":
                    error = frame
                    continue
                assert list(frame) == ["data", "type"] and frame["type"] == "trade"
                for trade in frame["data"]:
                    assert list(trade) == ["c", "p", "s", "t", "v"]
                    seen[trade["s"]] = trade
        assert error == {"msg": "Invalid symbol NONE", "type": "error"}
        assert set(seen) == {"AAPL", "BINANCE:BTCUSDT"}, "and nothing of what nobody subscribed to"
        assert seen["BINANCE:BTCUSDT"]["c"] is None and "1" in seen["AAPL"]["c"]
        assert abs(seen["AAPL"]["t"] / 1000 - time.time()) < PATIENCE

        quote = local.get(f"/api/v1/quote?symbol=AAPL&token={KEY}")
        assert list(quote) == ["c", "d", "dp", "h", "l", "o", "pc", "t"]
        assert quote["l"] <= quote["c"] <= quote["h"] and quote["c"] == pytest.approx(float(seen["AAPL"]["p"]), rel=0.02)
        assert local.get(f"/api/v1/quote?symbol=NONE&token={KEY}")["c"] == 0
        status, _, _ = local.ask(f"/api/v1/stock/candle?symbol=AAPL&resolution=1&from=1709650800&to=1709651000&token={KEY}")
        assert status == 403, "bars are for paid plans"


def test_finnhub_misbehaves_while_it_runs():
    with vendor("finnhub", "--key", KEY, "--symbols", "BTCUSD", "--rate", 500) as local:
        with connect(f"{local.ws}?token={KEY}") as socket:
            socket.send('{"type":"subscribe","symbol":"BINANCE:BTCUSDT"}')
            assert receive(socket)["type"] == "trade"
            local.switch(garbage_every=3)
            texts = []
            while not any("502 Bad Gateway" in text for text in texts):
                texts.append(socket.recv(PATIENCE))
            local.switch(drop_every=2)
            with pytest.raises(ConnectionClosed) as dropped:
                while True:
                    socket.recv(PATIENCE)
            assert dropped.value.rcvd is None
        local.switch()
        # A key has one connection: with a second one both are dropped.
        with connect(f"{local.ws}?token={KEY}") as first, connect(f"{local.ws}?token={KEY}") as second:
            for socket in (first, second):
                with pytest.raises(ConnectionClosed):
                    while True:
                        socket.recv(PATIENCE)


@pytest.fixture(scope="module")
def two_days(tmp_path_factory):
    """A whole day and the first two hours of the next."""
    folder = tmp_path_factory.mktemp("days")
    tradeflow_ok("sample", "--symbols", "SAMPLE-BTC", "--ticks", "--from", "2024-01-03", "--to", "2024-01-04T02:00", "--catalog", folder)
    return folder


# A second of ours is a quarter of an hour of the market.
REPLAY = ("--day", "2024-01-04", "--speed", 1000, "--hold")


def ticks(folder, kind, *columns):
    """A day's ticks as polars reads them, with times in milliseconds."""
    frame = polars.scan_parquet(f"{folder}/kind={kind}/symbol=SAMPLE-BTC/date=2024-01-04/*.parquet").sort("ts_event", maintain_order=True)
    return frame.select(polars.col("ts_event").dt.epoch("ms"), *columns).collect().rows()


def test_binance_plays_a_day_of_a_catalog(two_days):
    trades = ticks(two_days, "trade", "price", "qty", polars.col("aggressor") == "seller")
    quotes = ticks(two_days, "quote", "bid", "bid_size", "ask", "ask_size")
    assert len(trades) > 500 and len(quotes) > 500
    with vendor("binance", "--data", two_days, *REPLAY) as local:
        waiting = local.get("/api/v3/time")["serverTime"]
        assert local.get("/api/v3/time")["serverTime"] == waiting, "time stands still until somebody has subscribed"
        played, quoted = [], []
        with connect(f"{local.ws}/ws") as socket:
            subscribe(socket, "samplebtcusdt@trade", "samplebtcusdt@bookTicker")
            while not (len(played) >= len(trades) and len(quoted) >= len(quotes)):
                frame = receive(socket)
                if "e" in frame:
                    assert frame["t"] == len(played) + 1
                    played.append((frame["T"], Decimal(frame["p"]), Decimal(frame["q"]), frame["m"]))
                else:
                    quoted.append(tuple(Decimal(frame[name]) for name in "bBaA"))
            assert played == trades
            assert quoted == [row[1:] for row in quotes]
            # Once the day's last minute is over there is nothing more.
            deadline = time.monotonic() + PATIENCE
            while local.get("/api/v3/time")["serverTime"] < 1_704_333_600_000:
                assert time.monotonic() < deadline
            with pytest.raises(TimeoutError):
                socket.recv(0)
        rows = local.get("/api/v3/klines?symbol=SAMPLEBTCUSDT&interval=1m&startTime=1704326400000&limit=1000")
        minutes = polars.read_parquet(f"{two_days}/kind=bar/interval=1m/price=last/symbol=SAMPLE-BTC/**/*.parquet")
        minutes = minutes.sort("ts_open").select(polars.col("ts_open").dt.epoch("ms"), "open", "high", "low", "close", "volume")
        expected = [row for row in minutes.rows() if 1_704_326_400_000 <= row[0]]
        served = [(row[0], *map(Decimal, row[1:6])) for row in rows]
        assert len(expected) == 120 and served == expected


def test_finnhub_plays_a_day_of_a_catalog(two_days):
    trades = ticks(two_days, "trade", "price", "qty")
    with vendor("finnhub", "--data", two_days, *REPLAY) as local, connect(f"{local.ws}?token=demo") as socket:
        socket.send('{"type":"subscribe","symbol":"BINANCE:BTCUSDT"}')
        played = []
        while len(played) < len(trades):
            frame = receive(socket)
            played += [(trade["t"], trade["p"], trade["v"]) for trade in frame.get("data", [])]
        assert played == trades


def test_what_can_not_be_served_is_told(two_days, tmp_path):
    for arguments, said in [
        (("binance", "--data", tmp_path), "has no trades, quotes or bars"),
        (("finnhub", "--data", two_days, "--day", "2024-01-07"), "on the day of 2024-01-07"),
        (("binance", "--speed", 0), "above zero"),
        (("yahoo", "--data", two_days, "--speed", 3), "--day"),
        (("binance", "--hold"), "--data"),
        (("binance", "--late-every", 3), "--late-ms"),
        (("finnhub", "--garbage-every", 0), "0"),
    ]:
        done = tradeflow("vendor", *arguments)
        assert done.returncode != 0 and said in done.stderr and done.stdout == "", done.stderr
    with vendor("yahoo") as local:
        done = tradeflow("vendor", "yahoo", "--listen", local.http.removeprefix("http://"))
        assert done.returncode == 1 and "can't listen on" in done.stderr


@pytest.mark.parametrize("name", WHICH)
def test_the_examples_of_the_help_work(name, sample_catalog, tmp_path):
    """As written, but for the port; and the serving ones, which go on for ever, with the flags that they show."""
    text = tradeflow_ok("vendor", name, "--help").split("Examples:\n")[1]
    text = re.sub(r" \\\n +", " ", text)
    commands = re.findall(r"^ {2}(\S.*)$", text, re.MULTILINE)
    serving = [command for command in commands if command.startswith("tradeflow vendor")]
    others = [command for command in commands if command not in serving]
    assert len(serving) == 2 and len(others) == 3
    (tmp_path / "tradeflow").symlink_to(BINARY.resolve())
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    shutil.copytree(sample_catalog, tmp_path / "data/catalog")
    with vendor(name, *serving[0].replace("127.0.0.1:4711", "127.0.0.1:0").split()[3:]) as local:
        for command in others:
            command = command.replace("http://127.0.0.1:4711", local.http)
            done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            if command.startswith("curl"):
                answer = json.loads(done.stdout)
                refusals = ("error", "code", "Error Message", "Information")
                assert answer and not any(refusal in answer for refusal in refusals), done.stdout
    second = serving[1].replace("127.0.0.1:4711", "127.0.0.1:0").replace("data/catalog", str(tmp_path / "data/catalog"))
    with vendor(name, *second.split()[3:]) as local:
        assert local.get("/_control")["refuse_next"] == 0
