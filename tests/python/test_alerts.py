"""Alerts of a real node: their reasons, the socket, webhooks to a receiver that fails at first, mail; what a restart, another
node and the loss of an account do to them."""

import contextlib
import hmac
import json
import socket as sockets
import threading
import time
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api_client import Client, log_in, register, users_of_each_role
from nodes import Node, eventually
from smtp_server import smtp_server
from test_api import UNLIMITED
from test_socket import Socket, schemas  # noqa: F401
from test_two_nodes import INSTRUMENT

ALERTS, EVENTS = "/api/v1/alerts", "/api/v1/alert-events"
ACCOUNT = "/api/v1/accounts/paper"
PRIVATE = {**UNLIMITED, "TRADEFLOW__API__ALERT_PRIVATE_ADDRESSES": "true"}


class Receiver:
    """A server that takes webhooks; it answers as it is told, then 204."""

    def __init__(self):
        self.taken, self.answers = [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?of=me"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def bodies(self, alert_id: str) -> list:
        return [body for _, raw in list(self.taken) if (body := json.loads(raw))["alert_id"] == alert_id]


def check_signature(secret: str, headers: dict, body: bytes):
    signed = f"{headers['x-tradeflow-timestamp']}.".encode() + body
    assert headers["x-tradeflow-signature"] == "sha256=" + hmac.new(secret.encode(), signed, "sha256").hexdigest()
    assert abs(int(headers["x-tradeflow-timestamp"]) - time.time()) < 60
    assert headers["content-type"] == "application/json" and headers["x-tradeflow-event"] == json.loads(body)["event_id"]


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def mail():
    """A mail server: its mailbox, and its address."""
    with smtp_server("plain") as (mailbox, port):
        yield mailbox, {"TRADEFLOW__MAIL__URL": f"smtp://127.0.0.1:{port}", "TRADEFLOW__MAIL__FROM": "TradeFlow <trade@example.org>"}


@pytest.fixture(scope="module")
def node(tmp_path_factory, mail):
    folder = tmp_path_factory.mktemp("alerts")
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment={**PRIVATE, **mail[1]}) as node:
        yield node.up()


@pytest.fixture(scope="module")
def users(node):
    clients = users_of_each_role(node.address())
    admin = clients["administrator"]
    eventually("there is a quote", lambda: all(admin("GET", f"/api/v1/quotes/{symbol}").status == 200 for symbol in ("BTCUSD", "ETHUSD")))
    return clients


def price_of(client: Client, symbol: str) -> float:
    quote = client.ok("GET", f"/api/v1/quotes/{symbol}")
    return float(quote["last"] or quote["bid"])


def above_nothing(symbol: str = "BTCUSD") -> dict:
    """A condition that holds."""
    return {"kind": "price", "symbol": symbol, "condition": "above", "level": "0.01"}


def make(client: Client, rule: dict, **more) -> dict:
    return client.ok("POST", ALERTS, {"name": rule["kind"], "rule": rule, **more})


def events(client: Client, alert_id: str) -> list:
    """When an alert went off, the oldest first."""
    return client.ok("GET", f"{EVENTS}?alert_id={alert_id}&limit=500")["items"][::-1]


def goes_off(client: Client, alert: dict, times: int = 1) -> list:
    return eventually(f"{alert['name']} goes off", lambda: len(found := events(client, alert["id"])) >= times and found)


def trade(client: Client, symbol: str, side: str, qty: str) -> str:
    order = {"symbol": symbol, "side": side, "type": "market", "qty": qty}
    return client.ok("POST", f"{ACCOUNT}/orders", order)["order_ids"][0]


def test_a_price_is_told_once_over_socket_webhook_and_mail(node, users, schemas, receiver, mail):  # noqa: F811
    client = users["viewer"]
    me = client.ok("GET", "/api/v1/auth/me")
    receiver.answers = [500, 302]
    with Socket(client, schemas) as socket:
        (begun,) = socket.follow("alerts", me["id"])
        assert begun["type"] == "snapshot"
        alert = make(client, above_nothing(), name="up", mail=True, webhook_url=receiver.url)
        told = socket.until(lambda m: m["type"] == "update" and m["channel"] == "alerts" and m["data"]["alert_id"] == alert["id"])["data"]
    secret = alert["webhook_secret"]
    assert alert["webhook_url"] == receiver.url and secret.startswith("tfw_")
    for file in (data := node.out.parent.parent / "data").rglob("*"):
        assert file.is_dir() or secret.encode() not in file.read_bytes(), f"{file.relative_to(data)} holds the secret"
    assert (told["name"], told["kind"], told["test"], told["data"]["symbol"]) == ("up", "price", False, "BTCUSD")
    assert float(told["data"]["price"]) > 0.01 and told["data"]["price"] in told["message"]
    taken = eventually("it is taken at the third attempt", lambda: len(found := receiver.bodies(alert["id"])) >= 3 and found)
    assert taken == [told] * 3
    for headers, body in receiver.taken:
        if json.loads(body)["alert_id"] == alert["id"]:
            check_signature(secret, headers, body)
    delivered = lambda: all(one["status"] == "sent" for one in events(client, alert["id"])[0]["deliveries"])
    eventually("both are sent", delivered)
    (event,) = events(client, alert["id"])
    assert event["event"] == told
    assert [(one["way"], one["attempts"], one["error"]) for one in event["deliveries"]] == [("mail", 1, None), ("webhook", 3, None)]
    (letter,) = eventually("a letter comes", lambda: mail[0].to(me["email"]))
    assert letter["subject"] == "TradeFlow: up" and told["message"] in letter.get_content()
    # Once: it is switched off.
    after = client.ok("GET", f"{ALERTS}/{alert['id']}")
    assert (after["enabled"], after["fires"], after["stopped"]) == (False, 1, False) and "webhook_secret" not in after
    # The list of others does not have it, nor their socket.
    other = users["administrator"]
    assert other.ok("GET", f"{EVENTS}?alert_id={alert['id']}")["items"] == []
    with Socket(other, schemas) as socket:
        (refused,) = socket.follow("alerts", me["id"])
        assert refused["type"] == "error" and refused["code"] == "not-found"


def test_a_trial_is_told_and_changes_nothing(users, receiver):
    client = users["trader"]
    rule = {"kind": "price", "symbol": "BTCUSD", "condition": "below", "level": "0.01"}
    alert = make(client, rule, webhook_url=receiver.url, repeats=True)
    told = client.ok("POST", f"{ALERTS}/{alert['id']}/test")
    assert told["test"] is True
    (taken,) = eventually("it is taken", lambda: receiver.bodies(alert["id"]))
    assert taken == told and [event["event"] for event in events(client, alert["id"])] == [told]
    assert client.ok("GET", f"{ALERTS}/{alert['id']}") == {key: value for key, value in alert.items() if key != "webhook_secret"}
    # Another address has another key; none has none.
    other = client.ok("PATCH", f"{ALERTS}/{alert['id']}", {"webhook_url": receiver.url + "&again=1"})
    assert other["webhook_secret"] != alert["webhook_secret"]
    again = client.ok("POST", f"{ALERTS}/{alert['id']}/test")
    headers, body = eventually("it is taken", lambda: [one for one in receiver.taken if json.loads(one[1])["event_id"] == again["event_id"]])[0]
    check_signature(other["webhook_secret"], headers, body)
    assert client.ok("PATCH", f"{ALERTS}/{alert['id']}", {"webhook_url": ""})["webhook_url"] is None
    client.ok("DELETE", f"{ALERTS}/{alert['id']}")
    client.refused(404, "GET", f"{ALERTS}/{alert['id']}")
    assert len(events(client, alert["id"])) == 2, "what was told stays"


def test_an_alert_that_repeats_is_quiet_for_its_pause(users):
    client = users["viewer"]
    alert = make(client, above_nothing(), repeats=True, pause_secs=2)
    for times in (1, 2, 3):
        goes_off(client, alert, times)
        # A change looks at the condition from the beginning, but the pause goes on.
        client.ok("PATCH", f"{ALERTS}/{alert['id']}", {"name": str(times)})
    told = [datetime.fromisoformat(event["event"]["time"]) for event in events(client, alert["id"])]
    assert all(later - earlier >= timedelta(seconds=1.9) for earlier, later in zip(told, told[1:], strict=False)), told
    assert client.ok("GET", f"{ALERTS}/{alert['id']}")["enabled"] is True
    client.ok("DELETE", f"{ALERTS}/{alert['id']}")


def test_a_price_crosses_a_level(users):
    client = users["viewer"]
    price = price_of(client, "BTCUSD")
    # The generated price goes up and down: of levels close to it, one is crossed before long.
    levels = [f"{price * (1 + step / 20_000):.2f}" for step in range(-5, 6)]
    made = {alert["id"]: alert for alert in (make(client, {"kind": "price", "symbol": "BTCUSD", "condition": "crosses", "level": level}) for level in levels)}
    event = eventually("one is crossed", lambda: [e for e in client.ok("GET", EVENTS)["items"] if e["event"]["alert_id"] in made])[0]["event"]
    assert event["data"]["level"] == made[event["alert_id"]]["rule"]["level"]
    side = "above" if float(event["data"]["price"]) > float(event["data"]["level"]) else "below"
    assert side in event["message"] and event["data"]["price"] != event["data"]["level"]
    for alert_id in made:
        client.ok("DELETE", f"{ALERTS}/{alert_id}")


def test_fills_are_told_each_once_and_to_whom_may_see_them(users):
    admin, trader = users["administrator"], users["trader"]
    me = trader.ok("GET", "/api/v1/auth/me")["id"]
    rule = {"kind": "fill", "account": "paper", "symbol": "ETHUSD"}
    assert trader.refused(422, "POST", ALERTS, {"name": "f", "rule": rule})["errors"][0]["field"] == "rule.account"
    admin.ok("PUT", f"{ACCOUNT}/users/{me}")
    every = make(admin, rule, repeats=True, pause_secs=0)
    mine = make(trader, rule, repeats=True, pause_secs=0)
    strategy = make(admin, {**rule, "strategy": "no such one"}, repeats=True, pause_secs=0)
    orders = [trade(admin, "ETHUSD", side, "0.01") for side in ("buy", "sell", "buy")]
    of_orders = lambda client, alert: [e for e in events(client, alert["id"]) if e["event"]["data"]["order_id"] in orders]
    for client, alert in ((admin, every), (trader, mine)):
        eventually("each is told", lambda c=client, a=alert: len(of_orders(c, a)) >= 3)
    # All fills that there were since, and none twice.
    first = events(admin, every["id"])[0]["event"]["data"]["fill"]
    found = [event["event"]["data"]["fill"] for event in events(admin, every["id"])]
    assert found == sorted(set(found)) and first == found[0]
    # Without the account it is stopped, at once.
    admin.ok("DELETE", f"{ACCOUNT}/users/{me}")
    heard = len(of_orders(trader, mine))
    orders.append(trade(admin, "ETHUSD", "sell", "0.01"))
    eventually("the administrator is told", lambda: len(of_orders(admin, every)) >= 4)
    assert trader.ok("GET", f"{ALERTS}/{mine['id']}")["stopped"] is True
    assert len(of_orders(trader, mine)) == heard
    assert events(admin, strategy["id"]) == []
    for client, alert in ((admin, every), (trader, mine), (admin, strategy)):
        client.ok("DELETE", f"{ALERTS}/{alert['id']}")


def test_a_fall_of_an_accounts_worth_is_told(users):
    admin = users["administrator"]
    alert = make(admin, {"kind": "drawdown", "account": "paper", "percent": "0.0001", "since": "day"})
    # A trade costs its fee at least.
    trade(admin, "BTCUSD", "buy", "0.5")
    trade(admin, "BTCUSD", "sell", "0.5")
    (event,) = goes_off(admin, alert)
    data = event["event"]["data"]
    fall = (float(data["peak"]) - float(data["equity"])) / float(data["peak"]) * 100
    assert fall >= 0.0001 and abs(fall - float(data["percent"])) <= 0.005
    assert data["peak"] == max((data["peak"], *[p["equity"] for p in admin.ok("GET", f"{ACCOUNT}/equity")]), key=float)
    never = make(admin, {"kind": "drawdown", "account": "paper", "percent": 99, "since": "all_time"})
    goes_off(admin, make(admin, above_nothing()))
    assert events(admin, never["id"]) == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rule": {"kind": "price", "symbol": "NOTHING", "condition": "above", "level": "1"}}, "rule.symbol"),
        ({"rule": {"kind": "price", "symbol": "BTCUSD", "condition": "near", "level": "1"}}, "rule"),
        ({"rule": {"kind": "price", "symbol": "BTCUSD", "condition": "above", "level": "many"}}, "rule"),
        ({"rule": {"kind": "fill", "account": "no-such-account"}}, "rule.account"),
        ({"rule": {"kind": "drawdown", "account": "paper", "percent": "0", "since": "day"}}, "rule.percent"),
        ({"rule": {"kind": "feed_down", "feed": "none", "seconds": 1}}, "rule.feed"),
        ({"rule": {"kind": "feed_down", "seconds": 0}}, "rule.seconds"),
        ({"rule": above_nothing(), "name": ""}, "name"),
        ({"rule": above_nothing(), "pause_secs": 604801}, "pause_secs"),
        ({"rule": above_nothing(), "webhook_url": "ftp://example.org/"}, "webhook_url"),
        ({"rule": above_nothing(), "webhook_url": "http://me:secret@example.org/"}, "webhook_url"),
        ({"rule": above_nothing(), "colour": "red"}, "colour"),
    ],
)
def test_an_alert_that_does_not_fit_is_refused_by_its_field(users, body, field):
    problem = users["administrator"].refused(422, "POST", ALERTS, {"name": "a", **body})
    assert [error["field"] for error in problem["errors"]] == [field], problem


def test_alerts_are_listed_in_pages_and_bounded(node):
    client = log_in(node.address(), register(node.address())["email"])
    rule = {"kind": "price", "symbol": "BTCUSD", "condition": "below", "level": "0.01"}
    made = [make(client, rule, name=str(number), enabled=number % 2 == 0) for number in range(100)]
    assert client.refused(409, "POST", ALERTS, {"name": "one more", "rule": rule})["code"] == "too-many"
    found, cursor = [], ""
    while cursor is not None:
        page = client.ok("GET", f"{ALERTS}?limit=30{cursor and f'&cursor={cursor}'}")
        found += page["items"]
        cursor = page["next"]
    assert found == made[::-1]


def test_a_webhook_does_not_go_into_the_own_network(tmp_path, receiver):
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=UNLIMITED) as node:
        client = log_in(node.address(), register(node.address())["email"])
        for url in (receiver.url, "http://[::1]/", "http://169.254.169.254/latest/meta-data", "http://2130706433/"):
            problem = client.refused(422, "POST", ALERTS, {"name": "a", "rule": above_nothing(), "webhook_url": url})
            assert problem["errors"][0]["field"] == "webhook_url"
        # A name is looked at when it is connected to.
        before = len(receiver.taken)
        named = receiver.url.replace("127.0.0.1", "localhost")
        alert = make(client, {**above_nothing(), "condition": "below"}, webhook_url=named)
        client.ok("POST", f"{ALERTS}/{alert['id']}/test")
        why = lambda: events(client, alert["id"])[0]["deliveries"][0]["error"]
        assert "is an address of a machine or a network of its own" in eventually("it is refused", why)
        assert len(receiver.taken) == before


def test_what_went_off_is_known_after_kill_and_what_waits_is_sent(tmp_path):
    start = lambda: Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=PRIVATE)
    with sockets.socket() as free, contextlib.ExitStack() as stack:
        free.bind(("127.0.0.1", 0))  # no one listens
        with start() as node:
            client = log_in(node.address(), register(node.address())["email"])
            eventually("there is a quote", lambda: client("GET", "/api/v1/quotes/BTCUSD").status == 200)
            alert = make(client, above_nothing(), repeats=True, pause_secs=0, webhook_url=f"http://127.0.0.1:{free.getsockname()[1]}/")
            goes_off(client, alert)
            eventually("it is refused", lambda: events(client, alert["id"])[0]["deliveries"][0]["error"])
            receiver = stack.enter_context(Receiver())
            moved = client.ok("PATCH", f"{ALERTS}/{alert['id']}", {"webhook_url": receiver.url, "enabled": False})
            node.kill()
        with start() as node:
            again = Client(node.address(), client.token)
            headers, body = eventually("it is sent", lambda: receiver.taken)[0]
            check_signature(moved["webhook_secret"], headers, body)
            assert json.loads(body) == events(again, alert["id"])[0]["event"]
            # One that has gone off, and holds, does not go off again for a restart.
            other = make(again, above_nothing("ETHUSD"), repeats=True, pause_secs=0)
            goes_off(again, other)
            node.kill()
        with start() as node:
            again = Client(node.address(), client.token)
            eventually("there is a quote", lambda: again("GET", "/api/v1/quotes/ETHUSD").status == 200)
            goes_off(again, make(again, above_nothing("ETHUSD")))
            assert again.ok("GET", f"{ALERTS}/{other['id']}")["fires"] == len(events(again, other["id"])) == 1


CONFIG = """
[feeds.binance]
url = "ws://127.0.0.1:{port}"
rest_url = "http://127.0.0.1:{port}"
[state]
url = "sqlite://{state}"
[[accounts]]
id = "one"
"""


def test_a_feed_that_is_down_is_told_once_by_two_nodes(tmp_path):
    """Both have the feed, each on a bus of its own, and share the state."""
    with sockets.socket() as free, contextlib.ExitStack() as stack:
        free.bind(("127.0.0.1", 0))  # no one listens
        file = tmp_path / "node.toml"
        config = CONFIG.format(port=free.getsockname()[1], state=tmp_path / "state.db")
        file.write_text(config + INSTRUMENT.format(symbol="BTCUSD", base="BTC", size_scale=5))
        nodes = []
        for name in ("a", "b"):
            more = {**UNLIMITED, "TRADEFLOW__NODE__NAME": name}
            nodes.append(stack.enter_context(Node(tmp_path / f"logs-{name}", file, "--data", tmp_path / name, environment=more)).up())
        clients = [log_in(nodes[0].address(), register(nodes[0].address())["email"])]
        clients.append(Client(nodes[1].address(), clients[0].token))
        down = {"kind": "feed_down", "feed": "binance", "seconds": 1}
        made = [make(clients[number % 2], down, name=str(number), repeats=True, pause_secs=0) for number in range(10)]
        for alert in made:
            (event,) = goes_off(clients[0], alert)
            assert event["event"]["data"]["feed"] == "binance" and event["event"]["data"]["seconds"] >= 1
        # Both have looked since: of those that are made later one is told too.
        for client in clients:
            goes_off(client, make(client, {**down, "feed": None}))
        for alert in made:
            assert len(events(clients[1], alert["id"])) == 1
            assert clients[1].ok("GET", f"{ALERTS}/{alert['id']}")["fires"] == 1


def test_mail_is_switched_off_by_a_setting(node, mail):
    email = register(node.address())["email"]
    client = log_in(node.address(), email)
    client.ok("PUT", "/api/v1/settings", {"alert_mail": False})
    alert = make(client, above_nothing(), mail=True)
    goes_off(client, alert)
    status = lambda: (one := events(client, alert["id"])[0]["deliveries"][0])["status"] == "failed" and one
    assert "switched mail off" in eventually("it is given up", status)["error"]
    client.ok("PUT", "/api/v1/settings", {})
    other = make(client, above_nothing(), mail=True, name="other")
    eventually("a letter comes", lambda: mail[0].to(email))
    assert [letter["subject"] for letter in mail[0].to(email)] == ["TradeFlow: other"]
    assert client.ok("GET", f"{ALERTS}/{other['id']}")["mail"] is True
