"""Lists of orders, fills, trades and equity, as the API reads them from the tables of the state: against what the cells
themselves say, against the bus, and against a second making of the tables."""

import csv
import io
import json
import os
import sqlite3
from decimal import Decimal

import polars
import pytest
from websockets.sync.client import connect

from api_client import users_of_each_role
from conftest import tradeflow
from nodes import Node, eventually, verified
from test_api import UNLIMITED

ACCOUNT = "/api/v1/accounts/paper"
TABLES = ["orders", "order_events", "fills", "positions", "trades", "equity", "projections", "trade_notes", "trade_tags"]


def every(client, path: str, size: int = 7) -> list:
    """All of a list, page by page."""
    items, cursor = [], None
    while True:
        more = f"&cursor={cursor}" if cursor else ""
        page = client.ok("GET", f"{path}{'&' if '?' in path else '?'}limit={size}{more}")
        assert len(page["items"]) <= size
        items += page["items"]
        cursor = page["next"]
        if not cursor:
            return items


def tables(path) -> dict:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return {table: sorted(database.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in TABLES}


def fill_of(client, order_id: str) -> dict:
    """An order once it is filled."""

    def filled():
        answer = client("GET", f"{ACCOUNT}/orders/{order_id}")
        assert answer.status in (200, 404)
        return answer.status == 200 and answer.json["order"]["status"] == "filled" and answer.json

    return eventually(f"order {order_id} is filled", filled)


def round_trip(client, side: str):
    """A position by hand, opened and closed: the ids of its orders."""
    other = {"buy": "sell", "sell": "buy"}[side]
    ids = []
    for way in (side, other):
        done = client.ok("POST", f"{ACCOUNT}/orders", {"symbol": "ETHUSD", "side": way, "type": "market", "qty": "0.5"})
        ids += done["order_ids"]
        fill_of(client, ids[-1])
    return ids


def test_lists_agree_with_the_cells_the_bus_and_a_second_making(tmp_path):
    data = tmp_path / "data"
    with Node(tmp_path / "logs", "--demo", "--data", data, environment=UNLIMITED) as node:
        node.up()
        clients = users_of_each_role(node.address())
        admin, trader = clients["administrator"], clients["trader"]
        eventually("there is a quote", lambda: admin("GET", "/api/v1/quotes/ETHUSD").status == 200)
        user = trader.ok("GET", "/api/v1/auth/me")["id"]
        assert every(trader, "/api/v1/orders") == []
        admin.ok("PUT", f"{ACCOUNT}/users/{user}")

        ids = round_trip(trader, "buy") + round_trip(trader, "sell")
        resting = {"symbol": "ETHUSD", "side": "buy", "type": "limit", "qty": "0.25", "price": "1.00", "time_in_force": "day"}
        (stands,) = trader.ok("POST", f"{ACCOUNT}/orders", resting)["order_ids"]
        eventually("it is listed as open", lambda: stands in [o["order_id"] for o in every(trader, "/api/v1/orders?open=true")])
        found = trader.ok("GET", f"{ACCOUNT}/orders/{stands}")
        shown = {name: found["order"][name] for name in ("symbol", "side", "type", "time_in_force", "strategy", "filled", "status")}
        assert shown == {
            "symbol": "ETHUSD", "side": "buy", "type": "limit", "time_in_force": "day", "strategy": None,
            "filled": found["order"]["filled"], "status": "accepted",
        }
        assert (Decimal(found["order"]["qty"]), Decimal(found["order"]["price"]), Decimal(shown["filled"])) == (Decimal("0.25"), 1, 0)
        assert [event["event"] for event in found["events"]] == ["submitted", "accepted"]
        trader.ok("DELETE", f"{ACCOUNT}/orders/{stands}")
        cancelled = eventually("it is cancelled", lambda: trader.ok("GET", f"{ACCOUNT}/orders/{stands}")["order"]["status"] == "cancelled")
        assert cancelled

        # What a fill says: quantities and prices of an order are those of its fills.
        filled = fill_of(trader, ids[0])
        assert sum(Decimal(fill["qty"]) for fill in filled["fills"]) == Decimal(filled["order"]["filled"]) == Decimal("0.5")
        value = sum(Decimal(fill["qty"]) * Decimal(fill["price"]) for fill in filled["fills"])
        assert abs(value / Decimal("0.5") - Decimal(filled["order"]["average_price"])) <= Decimal("0.01")

        # Trades by hand in ETHUSD: two, whose sums are those of their fills.
        by_hand = [trade for trade in every(trader, "/api/v1/trades?symbol=ETHUSD") if trade["strategy"] is None]
        assert [trade["side"] for trade in by_hand] == ["short", "long"]
        fills = [fill for fill in every(trader, "/api/v1/fills?symbol=ETHUSD") if fill["order_id"] in ids]
        paid = sum((Decimal(f["price"]) * Decimal(f["qty"])) * (1 if f["side"] == "sell" else -1) for f in fills)
        fees = sum(Decimal(f["fee"]) for f in fills)
        assert sum(Decimal(trade["pnl"]) for trade in by_hand) == paid
        assert sum(Decimal(trade["fees"]) for trade in by_hand) == fees
        assert sum(Decimal(trade["pnl_net"]) for trade in by_hand) == paid - fees

        trade = f"{ACCOUNT}/trades/{by_hand[0]['trade_id']}"
        kept = trader.ok("PATCH", trade, {"tags": ["news", "impulse"], "note": "=too late"})
        assert (kept["tags"], kept["note"]) == (["impulse", "news"], "=too late")
        assert [t["trade_id"] for t in every(trader, "/api/v1/trades?tag=news")] == [by_hand[0]["trade_id"]]
        clients["viewer"].refused(403, "PATCH", trade, {"note": "x"})
        clients["viewer"].refused(404, "GET", trade)
        assert every(clients["viewer"], "/api/v1/trades") == []
        problem = trader.refused(422, "PATCH", trade, {"tags": ["x" * 51]})
        assert problem["errors"][0]["field"] == "tags[0]"
        for bad in ("limit=0", "cursor=x", "from=yesterday", "open=maybe"):
            trader.refused(422, "GET", f"/api/v1/orders?{bad}")
        trader.refused(404, "GET", "/api/v1/fills?account=none")

        # Trading rests: then everything agrees.
        admin.ok("POST", f"{ACCOUNT}/kill")
        cell = lambda: next(c for c in node.status()["cells"] if c["account"] == "paper")
        eventually("nothing is open", lambda: not cell()["positions"] and not cell()["open_orders"])
        eventually("all fills are listed", lambda: len(every(admin, "/api/v1/fills", 500)) == cell()["fills"])
        eventually("no order is open", lambda: every(admin, "/api/v1/orders?open=true") == [])
        eventually("all orders are listed", lambda: len(every(admin, "/api/v1/orders", 500)) == cell()["orders"])
        orders, fills, trades = (every(admin, f"/api/v1/{what}", 50) for what in ("orders", "fills", "trades"))
        assert len(orders) == cell()["orders"] == len({order["order_id"] for order in orders})
        assert [order["created"] for order in orders] == sorted((order["created"] for order in orders), reverse=True)
        assert Decimal(cell()["fees"]) == sum(Decimal(fill["fee"]) for fill in fills) == sum(Decimal(t["fees"]) for t in trades)
        assert Decimal(cell()["realized"]) == sum(Decimal(trade["pnl"]) for trade in trades)
        assert Decimal(cell()["cash"]) == Decimal(fills[0]["cash"])

        exported = polars.read_parquet(io.BytesIO(admin("GET", "/api/v1/trades/export?format=parquet").body))
        rows = list(csv.DictReader(io.StringIO(admin("GET", "/api/v1/trades/export").body.decode())))
        assert [row["trade_id"] for row in rows] == [trade["trade_id"] for trade in reversed(trades)]
        assert exported["trade_id"].to_list() == [int(row["trade_id"]) for row in rows]
        for row, column in ((row, column) for row in rows for column in ("quantity", "entry_price", "pnl_net")):
            at = rows.index(row)
            assert abs(exported[column][at] - Decimal(row[column])) <= Decimal("5e-9")
        assert "'=too late" in [row["note"] for row in rows], "no spreadsheet takes a note for a formula"
        for by, column in {
            "symbol": polars.col("symbol"),
            "strategy": polars.col("strategy").fill_null(""),
            "side": polars.col("side"),
            "hour": polars.col("entry_time").dt.strftime("%H"),
            "weekday": polars.col("entry_time").dt.weekday().cast(polars.String),
            "all": polars.lit(""),
        }.items():
            net = polars.col("pnl_net")
            expected = exported.group_by(column.alias("key")).agg(
                polars.len().alias("trades"), (net > 0).sum().alias("wins"), net.sum(), net.max().alias("best"),
                net.filter(net < 0).sum().alias("loss"), polars.col("fees").sum(),
                (polars.col("exit_time") - polars.col("entry_time")).dt.total_nanoseconds().mean().alias("held"),
            )
            expected = {row["key"]: row for row in expected.iter_rows(named=True)}
            got = {row["key"]: row for row in admin.ok("GET", f"/api/v1/trades/statistics?by={by}")}
            assert got.keys() == expected.keys(), by
            for key, row in got.items():
                wanted, near = expected[key], Decimal("1e-8") * len(rows)
                assert (row["trades"], row["wins"]) == (wanted["trades"], wanted["wins"]), (by, key)
                assert abs(Decimal(row["pnl_net"]) - wanted["pnl_net"]) <= near
                assert abs(Decimal(row["gross_loss"]) + (wanted["loss"] or 0)) <= near
                assert abs(Decimal(row["fees"]) - wanted["fees"]) <= near
                assert abs(Decimal(row["best"]) - wanted["best"]) <= near
                assert row["average_holding_secs"] == pytest.approx(wanted["held"] / 1e9)
        tagged = {row["key"]: row["trades"] for row in admin.ok("GET", "/api/v1/trades/statistics?by=tag")}
        assert tagged == {"": len(trades) - 1, "impulse": 1, "news": 1}

        with connect(node.address().replace("http", "ws") + "/api/v1/ws", additional_headers={"authorization": f"Bearer {admin.token}"}) as socket:
            socket.send(json.dumps({"op": "subscribe", "channel": "bars", "keys": ["ETHUSD/1m"]}))
            bar = next(message for message in map(json.loads, socket) if message["type"] == "update")
            assert (bar["channel"], bar["key"], bar["data"]["close_time"][-4:]) == ("bars", "ETHUSD/1m", ":00Z")
            low, high = Decimal(bar["data"]["low"]), Decimal(bar["data"]["high"])
            assert 0 < low <= Decimal(bar["data"]["open"]) <= high and low <= Decimal(bar["data"]["close"]) <= high
        curve = lambda: admin.ok("GET", f"{ACCOUNT}/equity?points=10000")
        equity = eventually("a minute of the market is over", curve, patience=120, every=0.5)
        assert [point["time"] for point in equity] == sorted(point["time"] for point in equity)
        thin = admin.ok("GET", f"{ACCOUNT}/equity?points=4")
        assert len(thin) <= 4 and thin[0] == equity[0] and thin[-1] == equity[-1]
        node.stop()

    place = ("--data", data)
    verified(*place)
    before = tables(data / "state.db")
    assert all(before[table] for table in TABLES), {table: len(rows) for table, rows in before.items()}
    # Someone spoils them.
    with sqlite3.connect(data / "state.db") as database:
        database.execute("UPDATE fills SET price = '1'")
        database.execute("DELETE FROM orders WHERE side = 'buy'")
        database.execute("DELETE FROM projections WHERE topic LIKE '%equity%'")
    done = tradeflow("state", "rebuild", *place)
    assert done.returncode == 0, done.stderr
    assert tables(data / "state.db") == before
    # The same into another database, empty before, by the file's own records.
    other = tmp_path / "other.db"
    done = tradeflow("state", "rebuild", *place, env={**os.environ, "TRADEFLOW__STATE__URL": f"sqlite://{other}"})
    assert done.returncode == 0, done.stderr
    again = tables(other)
    for table in TABLES[:-2]:
        assert again[table] == before[table], table


def test_a_database_of_another_bus_is_told(tmp_path):
    data, other = tmp_path / "data", tmp_path / "other"
    state = {"TRADEFLOW__STATE__URL": f"sqlite://{tmp_path / 'state.db'}"}
    with Node(tmp_path / "logs", "--demo", "--data", data, environment={**UNLIMITED, **state}) as node:
        node.up()
        eventually("there are fills", lambda: node.status()["cells"][0]["fills"] > 5)
        node.stop()
    with Node(tmp_path / "logs", "--demo", "--data", other, environment={**UNLIMITED, **state}) as node:
        node.up()
        reasons = lambda: " ".join(node.status()["health"]["reasons"])
        eventually("health tells", lambda: "tradeflow state rebuild" in reasons())
        node.stop()
    place = ("--data", other)
    done = tradeflow("state", "rebuild", *place, env={**os.environ, **state})
    assert done.returncode == 0, done.stderr
    with Node(tmp_path / "logs", *place, "--demo", environment={**UNLIMITED, **state}) as node:
        node.up()
        client = users_of_each_role(node.address())["administrator"]
        eventually("it goes on", lambda: every(client, "/api/v1/fills"))
        assert node.status()["health"]["status"] == "ok", node.status()["health"]
        node.stop()
