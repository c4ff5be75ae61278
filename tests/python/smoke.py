"""A new user's day over HTTP and the socket alone (`scripts/smoke.sh`). Needs a server that has no user yet, as the
demonstration is at first: its first user is administrator, and has its account `paper`."""

import json
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal

from websockets.sync.client import connect

from api_client import Client, log_in, register

PATIENCE = 60
PAPER = "/api/v1/accounts/paper"


def step(what: str):
    print(f"- {what}", flush=True)


def until(what: str, condition):
    """What `condition` gives, once it gives anything."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


@contextmanager
def following(client: Client, **streams: list[str]):
    """A function that waits for an update of a channel that fits."""
    address = client.url.replace("http", "ws", 1) + "/api/v1/ws"
    with connect(address, additional_headers={"authorization": f"Bearer {client.token}"}, open_timeout=PATIENCE) as socket:
        assert json.loads(socket.recv(timeout=PATIENCE))["type"] == "hello"
        for channel, keys in streams.items():
            socket.send(json.dumps({"op": "subscribe", "channel": channel, "keys": keys}))
            for _ in keys:
                while (begun := json.loads(socket.recv(timeout=PATIENCE)))["type"] != "snapshot":
                    assert begun["type"] == "update", begun

        def told(channel: str, fits):
            while True:
                message = json.loads(socket.recv(timeout=PATIENCE))
                if (message["type"], message["channel"]) == ("update", channel) and fits(message["data"]):
                    return message["data"]

        yield told


def until_filled(client: Client, order_id: str):
    order = lambda: client("GET", f"{PAPER}/orders/{order_id}")
    until(f"order {order_id} is filled", lambda: (a := order()).status == 200 and a.json["order"]["status"] == "filled")


def day(url: str):
    step("register and log in")
    user = register(url, "a@example.org")
    assert user["role"] == "administrator", "the server has users already: start with an empty one"
    client = log_in(url, user["email"])

    step("an API key, which does what a script needs")
    key = client.ok("POST", "/api/v1/api-keys", {"name": "script", "scopes": ["read", "trade"]})["secret"]
    script = Client(url, key)

    step("the account, and a watchlist")
    (account,) = script.ok("GET", "/api/v1/accounts")
    assert account["account"] == "paper" and Decimal(account["balance"]["equity"]) > 0
    listed = client.ok("POST", "/api/v1/watchlists", {"name": "mine", "symbols": ["BTCUSD", "ETHUSD"]})["symbols"]

    step("quotes move")
    until("there is a quote", lambda: all(script("GET", f"/api/v1/quotes/{symbol}").status == 200 for symbol in listed))
    first = script.ok("GET", "/api/v1/quotes/ETHUSD")
    with following(script, quotes=listed, orders=["paper"], fills=["paper"], signals=["paper"]) as told:
        told("quotes", lambda quote: quote["symbol"] == "ETHUSD" and quote["ts_event"] > first["ts_event"])

        step("an order, and its fill on the socket")
        order = {"symbol": "ETHUSD", "side": "buy", "type": "market", "qty": "0.2"}
        done = script.ok("POST", f"{PAPER}/orders", order, {"idempotency-key": "first"})
        assert script.ok("POST", f"{PAPER}/orders", order, {"idempotency-key": "first"}) == done, "sent again, it is done once"
        (order_id,) = done["order_ids"]
        fill = told("fills", lambda fill: fill["order_id"] == order_id)
        print(f"  bought {fill['qty']} at {fill['price']}, fee {fill['fee']}")
        until_filled(script, order_id)  # by the market's volume, in parts

        step("the position, and its close")
        until("it is there", lambda: [p for p in script.ok("GET", f"{PAPER}/positions") if p["symbol"] == "ETHUSD"])
        closing = {"symbol": "ETHUSD", "side": "sell", "type": "market", "qty": "0.2"}
        (order_id,) = script.ok("POST", f"{PAPER}/orders", closing)["order_ids"]
        told("fills", lambda fill: fill["order_id"] == order_id)
        until_filled(script, order_id)

        step("the trade, with a note")
        by_hand = lambda: [t for t in script.ok("GET", "/api/v1/trades?symbol=ETHUSD")["items"] if t["strategy"] is None]
        (trade,) = until("it is listed", by_hand)
        kept = script.ok("PATCH", f"{PAPER}/trades/{trade['trade_id']}", {"tags": ["first"], "note": "it works"})
        assert (kept["tags"], kept["note"]) == (["first"], "it works")
        print(f"  {kept['side']} {kept['qty']}, net {kept['pnl_net']}")

        step("a webhook becomes a signal, and the signal an order")
        secret = client.ok("POST", "/api/v1/webhook-keys", {"name": "alerts", "account": "paper"})["secret"]
        alert = {
            "secret": secret, "ticker": "ETHUSD", "action": "buy", "quantity": "0.1",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        received = Client(url).ok("POST", "/api/v1/webhooks/tradingview", alert)
        signal = told("signals", lambda s: s["signal_id"] == received["signal_id"] and s["status"] == "executed")
        assert Client(url).ok("POST", "/api/v1/webhooks/tradingview", alert)["status"] == "duplicate"
        until_filled(script, signal["order_ids"][0])

    step("a strategy on, and off")
    started = {"id": "mine", "kind": "sma_cross", "symbols": ["BTCUSD"], "data": "1s", "size": "1%", "params": {"fast": 2, "slow": 3}}
    script.ok("POST", f"{PAPER}/strategies", started)
    running = lambda: [s for s in script.ok("GET", PAPER)["strategies"] if s["id"] == "mine" and s["running"]]
    until("it runs", running)
    script.ok("DELETE", f"{PAPER}/strategies/mine?close=true")
    until("it has stopped", lambda: not running())

    step("a backtest, its progress and its results")
    config = {
        "data": {"symbols": ["SAMPLE-BTC"], "interval": "1m"},
        "account": [{"strategy": [{"kind": "sma_cross", "params": {"fast": 60, "slow": 720}}]}],
    }
    submit = lambda: (a := script("POST", "/api/v1/backtests", {"name": "first", "config": config})).status == 202 and a.json
    submitted = until("the sample data is there", submit)
    job = f"/api/v1/backtests/{submitted['job_id']}"
    with following(script, jobs=[submitted["job_id"]]):
        until("it is done", lambda: script.ok("GET", job)["status"] == "done")
    assert script.ok("GET", job)["progress"] == 1
    summary = script.ok("GET", f"{job}/summary")
    trades = script.ok("GET", f"{job}/trades?limit=500")["rows"]
    assert summary["trades"] > 0 and len(trades) >= min(summary["trades"], 500)
    assert len(script.ok("GET", f"{job}/equity?points=200")["rows"]) <= 200
    print(f"  {summary['trades']} trades, return {summary['total_return']:.2%}, digest {summary['digest'][:12]}")

    step("log out")
    client.ok("POST", "/api/v1/auth/logout")
    client.refused(401, "GET", "/api/v1/auth/me")
    script.ok("GET", "/api/v1/accounts")
    print("all as it should be")


if __name__ == "__main__":
    day(sys.argv[1].rstrip("/"))
