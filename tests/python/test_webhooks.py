"""Webhooks and signals of a real node: what senders send becomes positions, once; what does not fit is told and logged."""

import json
import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from api_client import Client, log_in, register, users_of_each_role
from nodes import Node, eventually
from test_api import UNLIMITED
from test_read_models import every
from test_socket import Socket, schemas  # noqa: F401

ACCOUNT = "/api/v1/accounts/paper"
TRADINGVIEW = "/api/v1/webhooks/tradingview"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("webhooks")
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED) as node:
        yield node.up()


@pytest.fixture(scope="module")
def users(node):
    clients = users_of_each_role(node.address())
    admin = clients["administrator"]
    eventually("there is a quote", lambda: admin("GET", "/api/v1/quotes/ETHUSD").status == 200)
    trader = clients["trader"]
    admin.ok("PUT", f"{ACCOUNT}/users/{trader.ok('GET', '/api/v1/auth/me')['id']}")
    return clients


@pytest.fixture(scope="module")
def trader(users):
    return users["trader"]


@pytest.fixture(scope="module")
def secret(trader):
    return key(trader)


@pytest.fixture(scope="module")
def strategy(trader):
    """A strategy whose signals come from outside, with a size of its own."""
    wanted = {"id": "breakout", "kind": "external", "symbols": ["ETHUSD"], "data": "trades", "size": "0.3"}
    trader.ok("POST", f"{ACCOUNT}/strategies", wanted)
    return "breakout"


def key(client, **more) -> str:
    return client.ok("POST", "/api/v1/webhook-keys", {"name": uuid.uuid4().hex, "account": "paper", **more})["secret"]


def now(**ago) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


def send(client: Client, body, path: str = TRADINGVIEW, kind: str = "text/plain; charset=utf-8"):
    """As a sender does: no token, a content type of its own."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Client(client.url)("POST", path, raw=raw, headers={"content-type": kind})


def accepted(client: Client, body, **more) -> str:
    answer = send(client, body, **more)
    assert answer.status == 202, answer.body
    assert answer.json["status"] == "accepted"
    return answer.json["signal_id"]


def decided(client: Client, signal_id: str) -> dict:
    """A signal once it is executed or refused."""
    ended = lambda: (s := client.ok("GET", f"/api/v1/signals/{signal_id}"))["status"] not in ("new", "queued") and s
    return eventually("the signal is decided", ended)


def held(client: Client, strategy: str | None = None, symbol: str = "ETHUSD") -> Decimal:
    """What a strategy holds, by its fills."""
    fills = [fill for fill in every(client, f"/api/v1/fills?account=paper&symbol={symbol}", 500) if fill["strategy"] == strategy]
    return sum((Decimal(fill["qty"]) * (1 if fill["side"] == "buy" else -1) for fill in fills), Decimal(0))


def test_an_alert_becomes_a_position_and_goes_again(trader, secret, strategy, schemas):
    with Socket(trader, schemas) as socket:
        socket.follow("signals", "paper")
        opening = {
            "secret": secret, "ticker": "BINANCE:ETHUSD", "action": "buy", "market_position": "long", "prev_market_position": "flat",
            "price": "{{close}}", "strategy": {"id": strategy, "version": "7", "name": "Breakout of the day"}, "timenow": now(),
        }
        signal = decided(trader, accepted(trader, opening))
        shown = {name: signal[name] for name in ("source", "strategy_id", "strategy_version", "strategy_name", "symbol", "side", "status", "reason")}
        assert shown == {
            "source": "tradingview", "strategy_id": strategy, "strategy_version": "7", "strategy_name": "Breakout of the day",
            "symbol": "ETHUSD", "side": "buy", "status": "executed", "reason": None,
        }
        (order_id,) = signal["order_ids"]
        detail = eventually("its order is filled", lambda: (a := trader("GET", f"{ACCOUNT}/orders/{order_id}")).status == 200
                            and a.json["order"]["status"] == "filled" and a.json)
        assert (detail["order"]["strategy"], Decimal(detail["order"]["filled"])) == (strategy, Decimal("0.3"))
        assert held(trader, strategy) == Decimal("0.3")
        told = [m["data"]["status"] for m in (socket.hear() for _ in range(2)) if m["type"] == "update"]
        assert told == ["queued", "executed"]
        # Again long: nothing to do. Then short, which turns the position; then flat.
        same = decided(trader, accepted(trader, {**opening, "n": uuid.uuid4().hex}))
        assert (same["status"], same["order_ids"]) == ("refused", []) and "position" in same["reason"]
        decided(trader, accepted(trader, {**opening, "market_position": "short", "market_position_size": "-0.2", "action": "sell"}))
        eventually("it is short", lambda: held(trader, strategy) == Decimal("-0.2"))
        decided(trader, accepted(trader, {**opening, "market_position": "flat", "action": "buy"}))
        eventually("it is flat", lambda: held(trader, strategy) == 0)
        trades = eventually("its trades are listed", lambda: (t := every(trader, f"/api/v1/trades?strategy={strategy}")) and len(t) == 2 and t)
        assert [trade["side"] for trade in trades] == ["short", "long"]


# What senders send, and what is understood: the position, its size, price, limit, stop, target, strategy.
FORMS = [
    ("tradingview", {"ticker": "ethusd", "action": "sell"}, ("sell", None, None, None, None, None, "")),
    ("tradingview", {"symbol": "ETH/USD", "side": "long", "qty": "1.50", "close": 3000}, ("buy", "1.50", "3000", None, None, None, "")),
    ("tradingview", {"ticker": "ETHUSD.P", "action": "exit_long", "quantity": 5}, ("close", None, None, None, None, None, "")),
    ("tradingview", {"ticker": "ETHUSD", "action": "buy", "sentiment": "flat"}, ("close", None, None, None, None, None, "")),
    ("tradingview", {"ticker": "ETHUSD", "action": "buy", "quantity": None, "price": "NaN", "strategy_id": "s", "strategy_version": 3},
     ("buy", None, None, None, None, None, "s")),
    # TradersPost's.
    ("tradingview", {"ticker": "ETHUSD", "action": "buy", "orderType": "limit", "limitPrice": 3000, "quantityType": "dollar_amount",
                     "quantity": 2500, "takeProfit": {"percent": 10}, "stopLoss": {"type": "stop", "amount": 15}},
     ("buy", "$2500", None, "3000", "2985", "3300", "")),
    ("tradingview", {"ticker": "ETHUSD", "action": "sell", "quantityType": "percent_of_equity", "quantity": 5, "signalPrice": "2000",
                     "takeProfit": {"amount": 100}, "stopLoss": {"percent": "1"}, "strategy": "swing"},
     ("sell", "5%", "2000", None, "2020", "1900", "swing")),
    # 3Commas'.
    ("tradingview", {"tv_instrument": "ETHUSD", "action": "buy", "trigger_price": "2999.5", "order": {"amount": "0.4", "currency_type": "base"},
                     "strategy_info": {"market_position": "long", "market_position_size": "0.7", "prev_market_position": "flat"}},
     ("buy", "0.7", "2999.5", None, None, None, "")),
    # Nested, with an intent.
    ("tradingview", {"source": "tradingview", "tv": {"exchange": "BINANCE", "symbol": "ETHUSD", "timeframe": 15, "action": "buy",
                     "market_position": "long", "market_position_size": 1.5, "entry_price": 3010.5, "close_price": 3010.4, "order_size": 1.5},
                     "strategy_info": {"trade_id": "L1", "alert_name": "eth long"}, "execution_intent": {"type": "signal", "side": "buy"},
                     "risk": {"stop_loss": 2900, "take_profit": None}},
     ("buy", "1.5", "3010.5", None, "2900", None, "eth long")),
    ("tradingview", {"tv": {"symbol": "ETHUSD"}, "execution_intent": {"type": "exit", "side": "sell", "amount": 3}},
     ("close", None, None, None, None, None, "")),
    ("tradingview", {"tv": {"symbol": "ETHUSD"}, "execution_intent": {"action": "sell", "amount": "100", "position_size_type": "quote", "strategy": "grid"}},
     ("sell", "$100", None, None, None, None, "grid")),
    # TrailHacker's three.
    ("trailhacker", {"ticker": "ETHUSD", "order_action": "BOT", "quantity": 2, "price": 3000, "order_type": "LMT", "stop": 2900, "target": 3200},
     ("buy", "2", "3000", "3000", "2900", "3200", "")),
    ("trailhacker", {"symbol": "ETHUSD", "signal": "sell", "size": 0.2, "entry": 2999.5, "stop": 3050, "target": 2900, "strategy": "breakout", "time": now()},
     ("sell", "0.2", "2999.5", None, "3050", "2900", "breakout")),
    ("trailhacker", {"symbol": "ETHUSD", "action": "close", "price": "3000", "strategy": "x"}, ("close", None, "3000", None, None, None, "x")),
]


@pytest.mark.parametrize(("sender", "body", "expected"), FORMS)
def test_each_form_is_understood(trader, sender, body, expected):
    shown = trader.ok("POST", "/api/v1/webhooks/test", {"sender": sender, "account": "paper", "body": body})
    assert (shown["symbol"], shown["account"]) == ("ETHUSD", "paper")
    side, size, price, limit, stop, target, strategy = expected
    assert (shown["side"], shown["size"], shown["strategy_id"]) == (side, size, strategy)
    numbers = [shown[name] and Decimal(shown[name]) for name in ("price", "limit_price", "stop_loss", "take_profit")]
    assert numbers == [wanted and Decimal(wanted) for wanted in (price, limit, stop, target)]


BAD = [
    ({"action": "buy"}, "ticker"),
    ({"ticker": "{{ticker}}", "action": "buy"}, "ticker"),
    ({"ticker": "NQ1!", "action": "buy"}, "ticker"),
    ({"ticker": "ETHUSD"}, "action"),
    ({"ticker": "ETHUSD", "action": "hodl"}, "action"),
    ({"ticker": "ETHUSD", "action": ["buy"]}, "action"),
    ({"ticker": "ETHUSD", "market_position": "sideways"}, "market_position"),
    ({"ticker": "ETHUSD", "action": "buy", "quantity": "lots"}, "quantity"),
    ({"ticker": "ETHUSD", "action": "buy", "quantity": -1}, "quantity"),
    ({"ticker": "ETHUSD", "action": "buy", "quantity": 1, "quantityType": "risk_dollar_amount"}, "quantityType"),
    ({"ticker": "ETHUSD", "action": "buy", "orderType": "trailing_stop"}, "orderType"),
    ({"ticker": "ETHUSD", "action": "buy", "orderType": "limit"}, "limitPrice"),
    ({"ticker": "ETHUSD", "action": "buy", "stopLoss": {"percent": 5}}, "stopLoss.percent"),
    ({"ticker": "ETHUSD", "action": "buy", "price": 100, "stopLoss": {"percent": 500}}, "stopLoss.percent"),
    ({"ticker": "ETHUSD", "action": "buy", "price": 0}, "price"),
    ({"ticker": "ETHUSD", "action": "buy", "timestamp": "yesterday"}, "timestamp"),
    ({"ticker": "ETHUSD", "action": "buy", "strategy_id": "x" * 65}, "strategy_id"),
    ({"ticker": "ETHUSD", "execution_intent": {"type": "reduce"}}, "execution_intent.type"),
]


def test_what_does_not_fit_names_the_field(trader, secret):
    for body, field in BAD:
        answer = send(trader, {**body, "secret": secret})
        assert answer.status == 422, (body, answer.body)
        assert [error["field"] for error in answer.json["errors"]] == [field], body
    for raw in (b"", b"buy ETHUSD", b"[1]", b'"x"', b"\xff\xfe", b"{" * 5000, b"[" * 60_000):
        answer = send(trader, raw)
        assert answer.status in (400, 422), raw[:20]
    assert send(trader, b" " * 70_000).status == 413


def test_old_and_early_alerts_are_refused(trader, secret):
    body = {"secret": secret, "ticker": "ETHUSD", "action": "close"}
    answer = send(trader, {**body, "timestamp": now(seconds=70)})
    assert (answer.status, answer.json["code"]) == (422, "stale")
    answer = send(trader, {**body, "timestamp": now(seconds=-90)})
    assert (answer.status, answer.json["errors"][0]["field"]) == (422, "timestamp")
    patient = key(trader, max_age_secs=120)
    millis = int(datetime.now(UTC).timestamp() * 1000) - 70_000
    accepted(trader, {**body, "secret": patient, "timestamp": millis})
    # When a bar began says nothing of when it was sent.
    accepted(trader, {**body, "time": now(hours=5)})


def test_an_alert_that_comes_again_is_the_same(trader, secret, strategy):
    body = json.dumps({"secret": secret, "ticker": "ETHUSD", "action": "buy", "quantity": "0.125", "timestamp": now(), "n": uuid.uuid4().hex})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(trader, body), range(16)))
    assert sorted(answer.status for answer in answers) == [200] * 15 + [202]
    (signal_id,) = {answer.json["signal_id"] for answer in answers}
    before = held(trader)
    signal = decided(trader, signal_id)
    if signal["status"] == "executed":
        eventually("it is bought once", lambda: held(trader) - before == Decimal("0.125") or held(trader) == Decimal("0.125"))
    # With another key it is another's.
    assert send(trader, body.replace(secret, key(trader))).status == 202
    decided(trader, accepted(trader, {"secret": secret, "ticker": "ETHUSD", "action": "close", "n": uuid.uuid4().hex}))
    eventually("it is flat", lambda: held(trader) == 0)


def test_who_has_no_key_gets_nowhere(node, users, trader, secret):
    body = {"ticker": "ETHUSD", "action": "buy", "quantity": 1}
    me = trader.ok("GET", "/api/v1/auth/me")["id"]
    other = register(node.address())
    for bad in ({}, {"secret": "tfw_" + "0" * 64}, {"secret": "guess"}, {"secret": 5}, {"secret": None}, {"secret": trader.token}):
        assert send(trader, {**body, **bad}).status == 401
    assert send(trader, {**body, "secret": secret}, path=f"/api/v1/webhooks/{other['id']}").status == 401
    closing = {"ticker": "ETHUSD", "action": "close", "n": uuid.uuid4().hex}
    accepted(trader, {**closing, "secret": secret}, path=f"/api/v1/webhooks/{me}")
    accepted(trader, {**closing, "n": 2}, path=f"{TRADINGVIEW}?secret={secret}")
    accepted(trader, {"symbol": "ETHUSD", "signal": "close", "token": secret}, path="/api/v1/webhooks/trailhacker", kind="application/json")
    # A key of an account that is not one's own can't be made; one whose user loses the account is good for nothing.
    client = log_in(node.address(), other["email"])
    client.refused(404, "POST", "/api/v1/webhook-keys", {"name": "k", "account": "paper"})
    admin = users["administrator"]
    admin.ok("PUT", f"{ACCOUNT}/users/{other['id']}")
    theirs = key(client)
    accepted(client, {**closing, "secret": theirs})
    admin.ok("DELETE", f"{ACCOUNT}/users/{other['id']}")
    assert send(client, {**closing, "n": 3, "secret": theirs}).status == 403
    (kept,) = client.ok("GET", "/api/v1/webhook-keys")
    assert kept["hint"] == theirs[:10] and kept["used"]
    client.ok("DELETE", f"/api/v1/webhook-keys/{kept['id']}")
    assert send(client, {**closing, "n": 4, "secret": theirs}).status == 401


def test_everything_is_logged_and_no_secret_is(node, users, trader, secret):
    mark = uuid.uuid4().hex
    send(trader, {"secret": secret, "ticker": "ETHUSD", "action": "close", "mark": mark, "deep": {"apiKey": "hunter2", "note": secret}})
    send(trader, {"secret": "tfw_" + "1" * 64, "ticker": "ETHUSD", "mark": mark, "password": "hunter2"})
    send(trader, f"not json {mark} {secret} hunter2")
    admin = users["administrator"]
    mine = every(trader, "/api/v1/logs/webhooks", 100)
    entries = every(admin, "/api/v1/logs/webhooks", 100)
    assert len(mine) < len(entries) and all(entry["key_id"] for entry in mine)
    marked = [entry for entry in entries if mark in entry["body"]]
    assert sorted((entry["status"], bool(entry["signal_id"])) for entry in marked) == [(202, True), (401, False)]
    assert any("no JSON object" in entry["body"] for entry in entries[:3])
    text = json.dumps(entries) + node.text()
    assert secret not in text and "hunter2" not in text


def test_signals_by_hand_wait_for_someone(trader, users, strategy):
    wanted = {"symbol": "ETHUSD", "side": "buy", "size": "0.2", "strategy_id": strategy}
    signal = trader.ok("POST", f"{ACCOUNT}/signals", wanted)
    assert (signal["status"], signal["source"], signal["order_ids"]) == ("new", "manual", [])
    here = f"/api/v1/signals/{signal['signal_id']}"
    assert signal["signal_id"] in [s["signal_id"] for s in every(trader, "/api/v1/signals?active=true")]
    users["viewer"].refused(404, "GET", here)
    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(lambda _: trader("POST", f"{here}/execute").status, range(4)))
    assert statuses == [200, 409, 409, 409]
    eventually("it is bought once", lambda: held(trader, strategy) == Decimal("0.2"))
    trader.refused(409, "DELETE", here)
    other = trader.ok("POST", f"{ACCOUNT}/signals", {**wanted, "side": "close"})
    assert trader.ok("DELETE", f"/api/v1/signals/{other['signal_id']}")["status"] == "cancelled"
    trader.refused(409, "POST", f"/api/v1/signals/{other['signal_id']}/execute")
    again = uuid.uuid4().hex
    closing = {**wanted, "side": "close", "execute": True}
    first = trader.ok("POST", f"{ACCOUNT}/signals", closing, {"idempotency-key": again})
    assert (first["status"], len(first["order_ids"])) == ("executed", 1)
    assert trader.ok("POST", f"{ACCOUNT}/signals", closing, {"idempotency-key": again})["signal_id"] == first["signal_id"]
    eventually("it is flat", lambda: held(trader, strategy) == 0)
    late = trader.ok("POST", f"{ACCOUNT}/signals", {**wanted, "execute": True, "expires": now(seconds=5)})
    assert (late["status"], late["order_ids"]) == ("expired", [])
    idle = trader.ok("POST", f"{ACCOUNT}/signals", closing)
    assert idle["status"] == "refused" and idle["reason"]
    unsized = trader.ok("POST", f"{ACCOUNT}/signals", {"symbol": "ETHUSD", "side": "buy", "execute": True})
    assert unsized["status"] == "refused" and "size" in unsized["reason"]
    history = every(trader, "/api/v1/signals?active=false", 3)
    assert {s["status"] for s in history} >= {"executed", "refused", "expired", "cancelled"}
    problem = trader.refused(422, "POST", f"{ACCOUNT}/signals", {**wanted, "size": "much", "symbol": "NONE"})
    assert {error["field"] for error in problem["errors"]} == {"size", "symbol"}


def test_random_bodies_do_no_harm(trader, secret):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    words = ["buy", "ETHUSD", "{{close}}", "NaN", "1e999", "-0", "\0", "\ud800", "long", "'; DROP TABLE signals; --", "../../etc/passwd", "\u202e", "9" * 400, ""]
    names = ["ticker", "action", "quantity", "price", "stopLoss", "takeProfit", "tv", "symbol", "timestamp", "strategy", "market_position", "order", "risk", "quantityType"]

    def value(depth: int):
        kind = rng.randrange(7 if depth else 5)
        if kind == 5:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        if kind == 6:
            return {rng.choice(names): value(depth - 1) for _ in range(rng.randrange(5))}
        return [rng.choice(words), rng.randrange(-10**20, 10**20), rng.random() * 10.0 ** rng.randrange(-300, 300), None, rng.random() < 0.5][kind]

    bodies = []
    for _ in range(400):
        body = {rng.choice(names): value(3) for _ in range(rng.randrange(8))}
        body["secret"] = secret
        if rng.random() < 0.5:
            body |= {"ticker": "ETHUSD", "action": rng.choice(["close", "exit", "flat"])}
        raw = bytearray(json.dumps(body).encode())
        if rng.random() < 0.3:
            for _ in range(rng.randrange(1, 4)):
                raw[rng.randrange(len(raw))] = rng.randrange(256)
        bodies.append(bytes(raw))
    for raw in bodies:
        for path in (TRADINGVIEW, "/api/v1/webhooks/trailhacker"):
            answer = send(trader, raw, path=path)
            assert answer.status in (200, 202, 400, 401, 422), (answer.status, answer.body, raw)
    assert trader.ok("GET", "/api/v1/auth/me")
