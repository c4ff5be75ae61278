"""The socket of a real node: streams against the lists of the API, drops, refusals, and the schema of every message."""

import json
import uuid
from decimal import Decimal

import jsonschema
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from api_client import Client, log_in, register, users_of_each_role
from nodes import PATIENCE, Node, eventually
from test_api import UNLIMITED
from test_read_models import every

ACCOUNT = "/api/v1/accounts/paper"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("socket")
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED) as node:
        yield node.up()


@pytest.fixture(scope="module")
def users(node):
    clients = users_of_each_role(node.address())
    admin = clients["administrator"]
    eventually("there is a quote", lambda: admin("GET", "/api/v1/quotes/ETHUSD").status == 200)
    return clients


@pytest.fixture(scope="module")
def schemas(node):
    document = Client(node.address()).ok("GET", "/api/v1/asyncapi.json")
    assert document["asyncapi"] == "3.0.0"

    def schema(name):
        return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": document["components"]})

    return {name: schema(name) for name in ("ClientMessage", "ServerMessage")}


class Socket:
    """A client of the socket that holds every message, either way, against its schema."""

    def __init__(self, client: Client, schemas, **more):
        address = client.url.replace("http://", "ws://") + "/api/v1/ws"
        self.schemas = schemas
        headers = {"authorization": f"Bearer {client.token}", **more}
        self.opening = connect(address, additional_headers=headers, open_timeout=PATIENCE)
        self.seen = []

    def __enter__(self):
        self.connection = self.opening.__enter__()
        hello = self.hear()
        assert hello["type"] == "hello" and "@" in hello["user"]
        return self

    def __exit__(self, *exception):
        self.opening.__exit__(*exception)

    def say(self, **message):
        self.schemas["ClientMessage"].validate(message)
        self.connection.send(json.dumps(message))

    def hear(self) -> dict:
        message = json.loads(self.connection.recv(timeout=PATIENCE))
        self.schemas["ServerMessage"].validate(message)
        self.seen.append(message)
        return message

    def until(self, condition) -> dict:
        """The first message that fits, of those that are still to come."""
        while True:
            message = self.hear()
            if condition(message):
                return message

    def follow(self, channel: str, *keys: str, after: int | None = None) -> list:
        """The beginnings of subscriptions."""
        more = {} if after is None else {"after": after}
        self.say(op="subscribe", channel=channel, keys=list(keys), **more)
        begun = []
        while len(begun) < len(keys):
            begun.append(self.until(lambda m: m["type"] in ("snapshot", "resumed", "error") and m.get("channel") == channel))
        assert [message["key"] for message in begun] == list(keys)
        return begun

    def updates(self, channel: str) -> list:
        return [message for message in self.seen if message["type"] == "update" and message["channel"] == channel]


def trade(client: Client, side: str, qty: str = "0.1") -> str:
    order = {"symbol": "ETHUSD", "side": side, "type": "market", "qty": qty}
    return client.ok("POST", f"{ACCOUNT}/orders", order)["order_ids"][0]


def of_order(order_id: str, event: str):
    def fits(message):
        data = message.get("data")
        return message["type"] == "update" and message["channel"] == "orders" and (data["order"]["order_id"], data["event"]["event"]) == (order_id, event)

    return fits


def test_an_order_is_followed_to_its_fill(users, schemas):
    admin = users["administrator"]
    with Socket(admin, schemas) as socket:
        (orders,) = socket.follow("orders", "paper")
        (fills,) = socket.follow("fills", "paper")
        (positions,) = socket.follow("positions", "paper")
        (equity,) = socket.follow("equity", "paper")
        quotes = socket.follow("quotes", "ETHUSD", "BTCUSD")
        assert [quote["data"][0]["symbol"] for quote in quotes] == ["ETHUSD", "BTCUSD"]
        assert all(order["order"]["status"] in ("submitted", "accepted", "triggered", "partially-filled") for order in orders["data"])
        assert len(positions["data"]) == len(equity["data"]) == 1
        order_id = trade(admin, "buy", "0.5")
        done = socket.until(of_order(order_id, "filled"))
        assert done["data"]["order"]["status"] == "filled"
        names = [m["data"]["event"]["event"] for m in socket.updates("orders") if m["data"]["order"]["order_id"] == order_id]
        assert names[:2] == ["submitted", "accepted"]

        def bought(message):
            return message["type"] == "update" and message["channel"] == "positions" and any(
                position["symbol"] == "ETHUSD" and Decimal(position["qty"]) != 0 for position in message["data"]["positions"])

        socket.until(bought)
        socket.until(lambda m: m["type"] == "update" and m["channel"] == "equity")
        socket.until(lambda m: m["type"] == "update" and m["channel"] == "quotes" and m["key"] == "ETHUSD")
        # What was told of fills is what the list has behind the snapshot.
        trade(admin, "sell", "0.5")
        total = socket.until(lambda m: m["type"] == "update" and m["channel"] == "fills" and m["data"]["side"] == "sell")["seq"]
        told = [m["data"] for m in socket.updates("fills") if m["seq"] <= total]
        listed = eventually("they are listed", lambda: [
            fill for fill in every(admin, "/api/v1/fills?account=paper", 100) if fills["seq"] < fill["seq"] <= total
        ][::-1] or None)
        listed = eventually("all of them", lambda: (found := [
            fill for fill in every(admin, "/api/v1/fills?account=paper", 100) if fills["seq"] < fill["seq"] <= total
        ][::-1]) and len(found) >= len(told) and found)
        assert told == listed
        for channel in ("orders", "fills"):
            numbers = [m["seq"] for m in socket.updates(channel)]
            assert numbers == sorted(set(numbers))
        socket.say(op="unsubscribe", channel="quotes", keys=["ETHUSD", "BTCUSD"])
        socket.until(lambda m: m["type"] == "unsubscribed" and m["key"] == "BTCUSD")
        place = len(socket.seen)
        socket.say(op="ping")
        socket.until(lambda m: m["type"] == "pong")
        assert not [m for m in socket.seen[place:] if m.get("channel") == "quotes"]


def test_what_was_missed_is_told_once(users, schemas):
    admin = users["administrator"]
    with Socket(admin, schemas) as socket:
        socket.follow("orders", "paper")
        socket.until(of_order(trade(admin, "buy"), "filled"))
        last = socket.updates("orders")[-1]["seq"]
    missed = [trade(admin, "sell"), trade(admin, "buy")]
    for order_id in missed:
        eventually("it is filled", lambda: (a := admin("GET", f"{ACCOUNT}/orders/{order_id}")).status == 200 and a.json["order"]["status"] == "filled")
    # An order may be filled in several parts.
    expected = [(event["seq"], event["event"]) for order in missed for event in admin.ok("GET", f"{ACCOUNT}/orders/{order}")["events"]]
    with Socket(admin, schemas) as socket:
        (begun,) = socket.follow("orders", "paper", after=last)
        assert (begun["type"], begun["seq"]) == ("resumed", last)
        socket.until(lambda m: m["type"] == "update" and m["channel"] == "orders" and m["seq"] == max(expected)[0])
        told = [(m["seq"], m["data"]["event"]["event"]) for m in socket.updates("orders")]
        assert [seq for seq, _ in told] == sorted({seq for seq, _ in told})
        assert [pair for pair in told if pair in expected] == sorted(expected)
    # Of a number that never was, everything as it is.
    with Socket(admin, schemas) as socket:
        (begun,) = socket.follow("orders", "paper", after=10**15)
        assert begun["type"] == "snapshot"


def test_who_may_not_does_not(node, users, schemas):
    url = node.address()
    answer = users["viewer"]("GET", "/api/v1/ws")
    assert (answer.status, answer.json["code"]) == (426, "upgrade-required")
    for client, headers, status in [
        (Client(url, "tfa_" + "0" * 64), {}, 401),
        (users["viewer"], {"origin": "https://evil.example"}, 403),
    ]:
        with pytest.raises(InvalidStatus) as refused, Socket(client, schemas, **headers):
            pass
        assert refused.value.response.status_code == status
    with Socket(users["viewer"], schemas, origin=url) as socket:
        for channel in ("orders", "fills", "positions", "equity"):
            (error,) = socket.follow(channel, "paper")
            assert (error["type"], error["code"]) == ("error", "not-found")
        for channel, key in [("quotes", "NONE"), ("bars", "ETHUSD"), ("bars", "ETHUSD/x"), ("bars", "NONE/1m"), ("quotes", "' OR 1=1 --")]:
            (error,) = socket.follow(channel, key)
            assert error["type"] == "error" and error["code"] in ("not-found", "invalid")
        for text in ("", "{", "[]", '{"op":"steal"}', '{"op":"subscribe"}', '{"op":"subscribe","channel":"quotes","keys":[]}', "null", '{"op":"ping","x":1}'):
            socket.connection.send(text)
            error = socket.until(lambda m: m["type"] == "error")
            assert error["code"] == "invalid" and error["detail"], text
        (begun,) = socket.follow("quotes", "ETHUSD")
        assert begun["type"] == "snapshot"
    with Socket(users["viewer"], schemas) as socket:
        socket.connection.send("x" * 20_000)
        with pytest.raises(ConnectionClosed) as closed:
            socket.until(lambda _: False)
        assert closed.value.rcvd.code == 1009
    with Socket(users["viewer"], schemas) as socket:
        socket.connection.send(b"\x00")
        with pytest.raises(ConnectionClosed) as closed:
            socket.until(lambda _: False)
        assert closed.value.rcvd.code == 1003


def test_a_log_out_and_a_lost_account_end_it(node, users, schemas):
    url, admin = node.address(), users["administrator"]
    user = register(url)
    client = log_in(url, user["email"])
    admin.ok("PUT", f"{ACCOUNT}/users/{user['id']}")
    with Socket(client, schemas) as socket:
        (begun,) = socket.follow("orders", "paper")
        assert begun["type"] == "snapshot"
        admin.ok("DELETE", f"{ACCOUNT}/users/{user['id']}")
        gone = socket.until(lambda m: m["type"] == "unsubscribed")
        assert (gone["channel"], gone["key"]) == ("orders", "paper")
        client.ok("POST", "/api/v1/auth/logout")
        with pytest.raises(ConnectionClosed) as closed:
            socket.until(lambda _: False)
        assert closed.value.rcvd.code == 4401
    # An API key that is taken back.
    made = admin.ok("POST", "/api/v1/api-keys", {"name": uuid.uuid4().hex, "scopes": ["read"]})
    with Socket(Client(url, made["secret"]), schemas) as socket:
        admin.ok("DELETE", f"/api/v1/api-keys/{made['id']}")
        with pytest.raises(ConnectionClosed) as closed:
            socket.until(lambda _: False)
        assert closed.value.rcvd.code == 4401
