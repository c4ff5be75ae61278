"""Accounts that are opened over the API while the demonstration runs: they trade at once, keep their limits, survive a
kill, and are verified with the session."""

import sqlite3
from decimal import Decimal

import pytest

from api_client import log_in, register, users_of_each_role
from conftest import tradeflow
from nodes import Node, eventually, verified
from test_api import UNLIMITED


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("accounts")


def start(folder):
    return Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED)


def filled(client, account: str, order_id: str) -> dict:
    def done():
        answer = client("GET", f"/api/v1/accounts/{account}/orders/{order_id}")
        return answer.status == 200 and answer.json["order"]["status"] == "filled" and answer.json

    return eventually(f"order {order_id} of {account} is filled", done)


def test_an_account_is_opened_trades_survives_a_kill_and_is_closed(folder):
    with start(folder) as node:
        users = users_of_each_role(node.address())
        trader, administrator = users["trader"], users["administrator"]
        email = trader.ok("GET", "/api/v1/auth/me")["email"]
        assert trader.ok("GET", "/api/v1/accounts") == []
        wanted = {"account": "swing", "label": "Swing", "leverage": "2", "balance": "50000", "symbols": ["BTCUSD"], "limits": {"open_orders_max": 3}}
        opened = trader.ok("POST", "/api/v1/accounts", wanted)
        said = {field: opened[field] for field in ("account", "label", "kind", "leverage", "currency", "symbols", "closed")}
        assert said == {
            "account": "swing", "label": "Swing", "kind": "margin", "leverage": "2", "currency": "USD", "symbols": ["BTCUSD"], "closed": None,
        }  # fmt: skip
        # It takes commands before its cell is up.
        order = {"symbol": "BTCUSD", "side": "buy", "type": "market", "qty": "0.1"}
        bought = trader.ok("POST", "/api/v1/accounts/swing/orders", order)["order_ids"][0]
        fill = filled(trader, "swing", bought)["fills"][0]
        assert fill["symbol"] == "BTCUSD"
        assert [account["account"] for account in trader.ok("GET", "/api/v1/accounts")] == ["swing"]
        users["viewer"].refused(404, "GET", "/api/v1/accounts/swing")
        users["manager"].ok("GET", "/api/v1/accounts/swing")
        # Names are given once.
        for client in (trader, administrator):
            assert client.refused(409, "POST", "/api/v1/accounts", wanted)["code"] == "taken"
        for field, wrong in {
            "account": {"account": "no spaces"},
            "balance": {"balance": "-1"},
            "leverage": {"leverage": "0.5"},
            "symbols[0]": {"symbols": ["NOTHING"]},
            "limits.open_orders_max": {"limits": {"open_orders_max": 0}},
        }.items():
            problem = trader.refused(422, "POST", "/api/v1/accounts", {**wanted, "account": "other", **wrong})
            assert problem["errors"][0]["field"] == field
        # Limits, and what an order would come to under them.
        limits = {"order_notional_max": "100", "drawdown_max_pct": "50"}
        trader.ok("PUT", "/api/v1/accounts/swing/limits", limits)
        shown = lambda: trader.ok("GET", "/api/v1/accounts/swing/limits")
        eventually("the limits hold", lambda: shown()["order_notional_max"] == "100")
        preview = trader.ok("POST", "/api/v1/accounts/swing/orders/preview", order)
        assert not preview["ok"] and "order_notional_max" in preview["denied"]
        assert trader.refused(422, "POST", "/api/v1/accounts/swing/orders", order)["code"] == "denied"
        assert Decimal(preview["value"]) == Decimal(preview["price"]) * Decimal("0.1")
        assert Decimal(preview["margin_after"]) * 2 == Decimal(preview["exposure_after"])
        small = {**order, "qty": "0.0001"}
        assert trader.ok("POST", "/api/v1/accounts/swing/orders/preview", small)["ok"]
        assert trader.refused(409, "DELETE", "/api/v1/accounts/swing")["code"] == "not-closed"
        assert administrator.refused(409, "DELETE", "/api/v1/accounts/paper")["code"] in ("not-closed", "configured")
        # A strategy, and how it was started over time.
        strategy = {"id": "mine", "kind": "sma_cross", "params": {"fast": 3, "slow": 9}, "symbols": ["BTCUSD"], "data": "1m", "size": "1%"}
        for params in ({"fast": 3, "slow": 9}, {"fast": 3, "slow": 9}, {"fast": 4, "slow": 9}):
            trader.ok("POST", "/api/v1/accounts/swing/strategies", {**strategy, "params": params})
        versions = trader.ok("GET", "/api/v1/accounts/swing/strategies/mine/versions")
        assert [(version["version"], version["strategy"]["params"]["fast"]) for version in versions] == [(2, 4), (1, 3)]
        running = lambda: trader.ok("GET", "/api/v1/accounts/swing/strategies")
        (mine,) = eventually("it runs", lambda: [found for found in running() if found["running"]])
        assert (mine["id"], mine["version"]["version"], mine["kind"]) == ("mine", 2, "sma_cross")
        once = trader.ok("POST", "/api/v1/accounts/swing/strategies/run-once", {**strategy, "data": "trades", "kind": "tick_momentum", "params": {}})
        assert once["events"] > 0 and once["from"] < once["to"]
        configured = administrator.ok("GET", "/api/v1/accounts/paper/strategies")
        assert configured and all(found["version"]["user_id"] is None for found in configured)
        trader.ok("PATCH", "/api/v1/accounts/swing", {"label": "Slow swing"})
        node.kill()

    with start(folder) as node:
        url = node.address()
        trader = log_in(url, email)
        account = eventually("its cell is up", lambda: (found := trader.ok("GET", "/api/v1/accounts/swing"))["balance"] and found)
        assert account["label"] == "Slow swing"
        positions = trader.ok("GET", "/api/v1/accounts/swing/positions")
        assert [(position["symbol"], Decimal(position["qty"])) for position in positions] == [("BTCUSD", Decimal("0.1"))]
        assert trader.ok("GET", "/api/v1/accounts/swing/limits")["order_notional_max"] == "100"
        trader.ok("DELETE", "/api/v1/accounts/swing/strategies/mine")
        trader.ok("PUT", "/api/v1/accounts/swing/limits", {})
        sold = trader.ok("DELETE", "/api/v1/accounts/swing/positions")["order_ids"]
        for order_id in sold:
            filled(trader, "swing", order_id)
        trader.ok("POST", "/api/v1/accounts/swing/pause")
        eventually("it is closed", lambda: trader("DELETE", "/api/v1/accounts/swing").status in (204,))
        assert trader.ok("GET", "/api/v1/accounts") == []
        assert trader.ok("GET", "/api/v1/accounts?closed=true")[0]["closed"]
        assert trader.refused(409, "POST", "/api/v1/accounts/swing/resume")["code"] == "closed"
        # What it did stays.
        assert len(trader.ok("GET", "/api/v1/trades?account=swing")["items"]) == 1
        # A trader has ten at once.
        other = log_in(url, register(url)["email"])
        for number in range(10):
            other.ok("POST", "/api/v1/accounts", {"account": f"many-{number}"})
        assert other.refused(409, "POST", "/api/v1/accounts", {"account": "many-10"})["code"] == "too-many-accounts"
        eventually("all are up", lambda: all(found["balance"] for found in other.ok("GET", "/api/v1/accounts")))
        node.stop()
    report = verified("--data", folder / "data")
    assert {account["account"] for account in report["accounts"]} >= {"paper", "swing", "many-0", "many-9"}


def test_the_venue_is_asked_anew_and_the_lists_are_held_against_it(tmp_path):
    data = tmp_path / "data"
    opening = {"account": "held", "balance": "50000", "symbols": ["BTCUSD"]}
    with start(tmp_path) as node:
        users = users_of_each_role(node.address())
        trader = users["trader"]
        trader.ok("POST", "/api/v1/accounts", opening)
        path = "/api/v1/accounts/held"
        assert trader.ok("POST", f"{path}/sync")["positions"] == []
        order = {"symbol": "BTCUSD", "side": "buy", "type": "market", "qty": "0.10"}
        bought = trader.ok("POST", f"{path}/orders", order)["order_ids"][0]
        standing = trader.ok("POST", f"{path}/orders", {**order, "type": "limit", "price": "1.00"})["order_ids"][0]
        filled(trader, "held", bought)
        # What it says is in the lists when it says it.
        known = trader.ok("POST", f"{path}/sync")
        assert [(held["symbol"], Decimal(held["qty"])) for held in known["positions"]] == [("BTCUSD", Decimal("0.1"))]
        # What is shown for people is made anew a moment after a fill.
        position = lambda: trader.ok("GET", f"{path}/positions/BTCUSD")
        eventually("the position is shown", lambda: Decimal(position()["qty"]) == Decimal("0.1"))
        assert [(one["symbol"], one["qty"]) for one in trader.ok("GET", f"{path}/positions")] == [("BTCUSD", position()["qty"])]
        trader.refused(404, "GET", f"{path}/positions/ETHUSD")
        assert known["mode"] == "open"
        assert [(found["order_id"], found["status"]) for found in known["orders"]] == [(standing, "accepted")]
        assert known["differences"] == []
        assert [found["order_id"] for found in trader.ok("GET", "/api/v1/orders?account=held")["items"]] == [standing, bought]
        # One that trades all the time comes out equal too.
        assert users["administrator"].ok("POST", "/api/v1/accounts/paper/sync")["differences"] == []
        users["viewer"].refused(403, "POST", f"{path}/sync")
        users["administrator"].refused(404, "POST", "/api/v1/accounts/none/sync")
        node.stop()
    # Someone spoils the tables.
    with sqlite3.connect(data / "state.db") as database:
        database.execute("UPDATE positions SET qty = '7' WHERE account = 'held'")
        database.execute("DELETE FROM orders WHERE account = 'held' AND order_id = ?", (int(standing),))
    with start(tmp_path) as node:
        trader.url = node.address()
        differences = trader.ok("POST", f"{path}/sync")["differences"]
        assert [(found["kind"], found["id"], found["listed"]) for found in differences] == [("order", standing, None), ("position", "BTCUSD", "7")]
        node.stop()
    done = tradeflow("state", "rebuild", "--data", data)
    assert done.returncode == 0, done.stderr
    with start(tmp_path) as node:
        trader.url = node.address()
        assert trader.ok("POST", f"{path}/sync")["differences"] == []
        node.stop()
