"""Bars over HTTP: of real and of generated history against pandas, and of a live market against what was recorded of it."""

import time
from datetime import datetime, timezone
from decimal import Decimal

import pandas
import polars
import pytest

import markets
from api_client import Client, users_of_each_role
from conftest import tradeflow_ok
from nodes import Node, eventually
from test_api import UNLIMITED

HISTORY = {"REAL-BTC": markets.btcusd_may_2017, "WALK": markets.generated_minutes}
# pandas' names for the lengths; a week is its sessions from Monday to Sunday.
PERIODS = {"1m": "min", "5m": "5min", "1h": "h", "4h": "4h", "1d": "D", "1w": "W-SUN"}
VALUES = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A demonstration whose catalog also holds history, and that writes what it records every second."""
    folder = tmp_path_factory.mktemp("bars")
    for symbol, make in HISTORY.items():
        try:
            market = make(tmp_path_factory.mktemp("csv"))
        except markets.NoData:
            continue  # its tests say that they are skipped
        catalog = ("--catalog", folder / "data" / "catalog")
        tradeflow_ok("import", "--preset", market.preset, "--symbol", symbol, "--interval", "1m", "--calendar", "24x7", market.csv, *catalog)
    environment = {**UNLIMITED, "TRADEFLOW__RECORDER__FLUSH": "1s"}
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=environment) as node:
        node.folder = folder
        yield node.up()


@pytest.fixture(scope="module")
def viewer(node):
    return users_of_each_role(node.address())["viewer"]


@pytest.fixture(scope="module", params=HISTORY)
def history(request, tmp_path_factory):
    """A symbol, and its minutes as pandas has them."""
    try:
        market = HISTORY[request.param](tmp_path_factory.mktemp("csv"))
    except markets.NoData as absent:
        pytest.skip(str(absent))
    frame = pandas.DataFrame([[getattr(bar, value) for value in VALUES] for bar in market.bars], columns=VALUES, dtype=object)
    frame.index = pandas.to_datetime([bar.ts_open for bar in market.bars], utc=True)
    return request.param, frame


def text(at) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def oracle(frame, interval: str) -> list[tuple]:
    """What pandas makes of minutes; a length without a minute has no bar."""
    start = frame.index.tz_localize(None).to_period(PERIODS[interval]).start_time
    if interval in ("5m", "4h"):
        start = frame.index.tz_localize(None).floor(PERIODS[interval])
    of = frame.groupby(start)
    made = of.agg({"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"})
    return [(text(row.Index), row.open, row.high, row.low, row.close, row.volume) for row in made.itertuples()]


def values(bar: dict) -> tuple:
    return (bar["open_time"], *(Decimal(bar[value]) for value in VALUES))


def pages(client: Client, query: str) -> list[dict]:
    found, cursor = [], ""
    while cursor is not None:
        page = client.ok("GET", f"/api/v1/bars/{query}{cursor and f'&cursor={cursor}'}")
        found += page["items"]
        cursor = page["next"]
    return found


@pytest.mark.parametrize("interval", PERIODS)
def test_history_is_what_pandas_makes_of_it(viewer, history, interval):
    symbol, frame = history
    expected = oracle(frame, interval)
    oldest = pages(viewer, f"{symbol}?interval={interval}&order=oldest&limit=3001")
    assert [values(bar) for bar in oldest] == expected
    assert all(bar["final"] for bar in oldest)
    assert pages(viewer, f"{symbol}?interval={interval}&limit=2000") == oldest[::-1]
    assert {bar["source"] for bar in oldest} == {"catalog" if interval == "1m" else "made"}
    page = viewer.ok("GET", f"/api/v1/bars/{symbol}?interval={interval}&limit=3")
    assert [values(bar) for bar in page["items"]] == expected[:-4:-1]
    assert (page["symbol"], page["interval"], page["price"], page["adjustment"]) == (symbol, interval, "last", "raw")
    assert page["made_of"] == (None if interval == "1m" else "1m") and page["vendors"]
    # A part of it: from a bar to before another.
    first, last = expected[len(expected) // 3][0], expected[2 * len(expected) // 3][0]
    part = [bar for bar in expected if first <= bar[0] < last]
    for order, step in (("oldest", 1), ("newest", -1)):
        found = pages(viewer, f"{symbol}?interval={interval}&from={first}&to={last}&order={order}&limit=1000")
        assert [values(bar) for bar in found] == part[::step]


def test_stored_bars_are_shown_and_others_are_made_around_them(node, viewer, history):
    symbol, frame = history
    expected = oracle(frame, "1h")
    middle = [bar[0] for bar in expected[len(expected) // 3 : len(expected) // 2]]
    catalog = ("--catalog", node.folder / "data" / "catalog")
    tradeflow_ok("catalog", "aggregate", "--symbol", symbol, "--into", "1h", "--from", middle[0], "--to", middle[-1], *catalog)
    found = pages(viewer, f"{symbol}?interval=1h&order=oldest&limit=500")
    assert [values(bar) for bar in found] == expected
    stored = [bar["open_time"] for bar in found if bar["source"] == "catalog"]
    assert stored == middle[:-1]
    assert pages(viewer, f"{symbol}?interval=1h&limit=17") == found[::-1]


def test_what_is_wrong_is_named(viewer):
    path = "/api/v1/bars"
    for symbol in ("NONE", "%00", "a" * 200):
        assert viewer.refused(404, "GET", f"{path}/{symbol}")["code"] == "not-found"
    for name, value in {"interval": "7m", "price": "high", "from": "noon", "to": "x", "order": "up", "limit": "0", "cursor": "x"}.items():
        problem = viewer.refused(422, "GET", f"{path}/WALK?{name}={value}")
        assert [error["field"] for error in problem["errors"]] == [name]
    for query in ("from=1990-01-01&to=1991-01-01", "from=2020-03-01&to=2020-03-01", "price=ask", "interval=100tick", "from=2199-01-01"):
        page = viewer.ok("GET", f"{path}/WALK?{query}")
        assert (page["items"], page["next"]) == ([], None), query
    Client(viewer.url).refused(401, "GET", f"{path}/WALK")


def seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def test_a_live_market_is_what_is_recorded_of_it(node, viewer):
    """Asked again and again: no bar missing, none twice, and what is final never changes. In the end it is what the files have."""
    path = "/api/v1/bars/BTCUSD"
    kept = {"1s": {}, "5s": {}, "1m": {}}
    sources, forming = set(), {interval: 0 for interval in kept}

    def ask() -> bool:
        for interval, known in kept.items():
            page = viewer.ok("GET", f"{path}?interval={interval}&limit=5000")
            opens = [bar["open_time"] for bar in page["items"]]
            assert opens == sorted(set(opens), reverse=True)
            for bar in page["items"]:
                if bar["final"]:
                    assert known.setdefault(bar["open_time"], values(bar)) == values(bar), interval
                else:
                    # What forms is newer than all that is final.
                    forming[interval] += 1
                    assert not [at for at in known if at > bar["open_time"]], interval
            assert not set(known) - set(opens), "what was there stays"
            sources.update((interval, bar["source"]) for bar in page["items"])
        return {("1s", "catalog"), ("1s", "bus")} <= sources and len(kept["5s"]) >= 5 and len(kept["1s"]) > 30

    eventually("bars of the catalog and of the bus", ask, every=0.2)
    assert all(forming.values()), forming
    # Both ways, in pages, and without the present, which changes meanwhile.
    to = sorted(kept["1s"])[-10]
    newest = pages(viewer, f"BTCUSD?interval=1s&limit=7&to={to}")
    assert newest == pages(viewer, f"BTCUSD?interval=1s&limit=11&to={to}&order=oldest")[::-1]
    now = time.time()
    page = viewer.ok("GET", f"{path}?interval=1s&limit=1")
    assert now - seconds(page["items"][0]["open_time"]) < 30, "the newest is of now"
    node.stop()
    file = node.folder / "data" / "catalog" / "kind=bar" / "interval=1s" / "price=last" / "symbol=BTCUSD"
    rows = polars.read_parquet(f"{file}/**/*.parquet").sort("ts_open")
    recorded = {text(row["ts_open"]): (text(row["ts_open"]), *(row[value] for value in VALUES)) for row in rows.iter_rows(named=True)}
    last = max(kept["1s"])
    assert kept["1s"] == {at: bar for at, bar in recorded.items() if at <= last}
    made = {}
    for at, *bar in recorded.values():
        start = datetime.fromtimestamp(int(seconds(at)) // 5 * 5, timezone.utc)
        made.setdefault(text(start), []).append(bar)
    for at, bar in kept["5s"].items():
        part = made[at]
        expected = (at, part[0][0], max(b[1] for b in part), min(b[2] for b in part), part[-1][3], sum(b[4] for b in part))
        assert bar == expected
