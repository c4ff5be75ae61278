"""The API over two nodes on one Kafka and one PostgreSQL: who is known at one is known at the other, a write may go to either,
and one that is killed is not missed."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api_client import PASSWORD, Client, log_in, register
from nodes import PATIENCE, check_books, eventually, verified
from postgres_server import postgres
from test_api import UNLIMITED
from test_read_models import every
from test_two_nodes import ACCOUNTS, cluster, has_all, owned, share, trade, vendor  # noqa: F401

# A node knows a token for so long without asking again; a socket asks the node so often.
KNOWN = 5
LOOKS = 10
# What a busy machine adds.
SLACK = 2


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, brokers, vendor):  # noqa: F811
    """Two nodes that share the accounts, and an administrator's key. The tests that kill one have a cluster of their own."""
    with postgres() as database:
        with started(tmp_path_factory.mktemp("nodes"), brokers, vendor, database, "api-nodes") as running:
            yield running


class started:
    """Two nodes with a database of their own."""

    def __init__(self, folder, brokers, vendor, database, name: str):  # noqa: F811
        self.folder, self.brokers, self.prefix = folder, brokers, f"{name}-{time.time_ns()}."
        name = name.replace("-", "_")
        database.sql(f"CREATE DATABASE {name}")
        environment = {**UNLIMITED, "TRADEFLOW__STATE__URL": database.url("postgres", name)}
        self.cluster = cluster(folder, brokers, vendor, self.prefix, environment)

    def __enter__(self):
        start = self.cluster.__enter__()
        try:
            a, b = start("a"), start("b")
            eventually("they share", lambda: share(a, b))
            admin = register(a.address())
            client = log_in(b.address(), admin["email"])
            key = client.ok("POST", "/api/v1/api-keys", {"name": "nodes", "scopes": ["read", "trade", "manage", "admin"]})["secret"]
            clients = {name: Client(node.address(), key) for name, node in (("a", a), ("b", b))}
            return SimpleNamespace(a=a, b=b, email=admin["email"], **{f"at_{name}": client for name, client in clients.items()},
                                   folder=self.folder, brokers=self.brokers, prefix=self.prefix)
        except BaseException as failure:
            self.cluster.__exit__(type(failure), failure, failure.__traceback__)
            raise

    def __exit__(self, *exception):
        self.cluster.__exit__(*exception)


def order(symbol: str, side: str = "buy") -> dict:
    return {"symbol": symbol, "side": side, "type": "market", "qty": "0.01"}


def symbol_of(account: str) -> str:
    return ("BTCUSD", "ETHUSD")[ACCOUNTS.index(account) % 2]


class following:
    """A socket of a node that follows one stream."""

    def __init__(self, client: Client, channel: str, key: str):
        address = client.url.replace("http", "ws", 1) + "/api/v1/ws"
        self.opening = connect(address, additional_headers={"authorization": f"Bearer {client.token}"}, open_timeout=PATIENCE)
        self.wanted = {"op": "subscribe", "channel": channel, "keys": [key]}

    def __enter__(self):
        self.socket = self.opening.__enter__()
        self.socket.send(json.dumps(self.wanted))
        self.until("snapshot", lambda _: True)
        return self

    def __exit__(self, *exception):
        self.opening.__exit__(*exception)

    def until(self, kind: str, fits):
        while True:
            message = json.loads(self.socket.recv(timeout=PATIENCE))
            assert message["type"] != "error", message
            if message["type"] == kind and fits(message["data"]):
                return message


def test_a_log_in_of_one_is_known_to_the_other(nodes):
    user = register(nodes.at_b.url)
    tokens = Client(nodes.at_a.url).ok("POST", "/api/v1/auth/login", {"email": user["email"], "password": PASSWORD})
    for url in (nodes.at_a.url, nodes.at_b.url):
        assert Client(url, tokens["access_token"]).ok("GET", "/api/v1/auth/me")["id"] == user["id"]
    # Its next tokens come from the other, and are good for both; the old one no more.
    fresh = Client(nodes.at_b.url).ok("POST", "/api/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    for url in (nodes.at_a.url, nodes.at_b.url):
        assert Client(url, fresh["access_token"]).ok("GET", "/api/v1/auth/me")["id"] == user["id"]
    assert [session["current"] for session in Client(nodes.at_a.url, fresh["access_token"]).ok("GET", "/api/v1/sessions")] == [True]
    # The right to an account, given at one, holds at the other.
    account = ACCOUNTS[0]
    trader = {name: Client(url, fresh["access_token"]) for name, url in (("a", nodes.at_a.url), ("b", nodes.at_b.url))}
    trader["b"].refused(404, "GET", f"/api/v1/accounts/{account}")
    nodes.at_a.ok("PUT", f"/api/v1/accounts/{account}/users/{user['id']}")
    assert [found["account"] for found in trader["b"].ok("GET", "/api/v1/accounts")] == [account]


def test_an_order_goes_over_either_node(nodes):
    for account, there, other in [(sorted(owned(nodes.a))[0], nodes.at_a, nodes.at_b), (sorted(owned(nodes.b))[0], nodes.at_b, nodes.at_a)]:
        # Its cell is at `there`: all goes over the other one.
        with following(other, "fills", account) as here, following(there, "fills", account) as elsewhere:
            (order_id,) = other.ok("POST", f"/api/v1/accounts/{account}/orders", order(symbol_of(account)))["order_ids"]
            fill = here.until("update", lambda data: data["order_id"] == order_id)
            assert elsewhere.until("update", lambda data: data["order_id"] == order_id) == fill
        path = f"/api/v1/accounts/{account}/orders/{order_id}"
        eventually("it is filled", lambda: (a := other("GET", path)).status == 200 and a.json["order"]["status"] == "filled")
        assert other.ok("GET", path) == there.ok("GET", path)


def test_lists_are_equal_at_both(nodes):
    trade(nodes.a, nodes.b)
    for kind in ("orders", "fills", "trades"):
        for account in ACCOUNTS:
            path = f"/api/v1/{kind}?account={account}"
            # What is changed while it is read is read again: trading goes on.
            def equal(path=path):
                before = every(nodes.at_a, path, 500)
                return every(nodes.at_b, path, 500) == before and before == every(nodes.at_a, path, 500) and (before or kind == "trades")

            eventually(f"{path} is the same at both", equal, every=0)


def test_a_log_in_that_was_ended_at_one_ends_at_the_other(nodes):
    user = register(nodes.at_a.url)
    here = log_in(nodes.at_a.url, user["email"])
    there = Client(nodes.at_b.url, here.token)
    with following(there, "bars", "BTCUSD/1s") as open_one:
        there.ok("GET", "/api/v1/auth/me")
        here.ok("POST", "/api/v1/auth/logout")
        ended = time.monotonic()
        here.refused(401, "GET", "/api/v1/auth/me")
        eventually("the other has forgotten it", lambda: there("GET", "/api/v1/auth/me").status == 401, KNOWN + SLACK)
        print(f"the other node knew it for {time.monotonic() - ended:.1f} s")
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                open_one.socket.recv(timeout=KNOWN + LOOKS + SLACK)
        assert closed.value.rcvd.code == 4401
        assert time.monotonic() - ended < KNOWN + LOOKS + SLACK
    admin = log_in(nodes.at_a.url, nodes.email)
    made = admin.ok("POST", "/api/v1/api-keys", {"name": "short", "scopes": ["read"]})
    program = Client(nodes.at_b.url, made["secret"])
    program.ok("GET", "/api/v1/auth/me")
    admin.ok("DELETE", f"/api/v1/api-keys/{made['id']}")
    eventually("a key too", lambda: program("GET", "/api/v1/auth/me").status == 401, KNOWN + SLACK)


def test_a_key_used_at_both_does_the_write_once(nodes):
    account = sorted(owned(nodes.a))[-1]
    path = f"/api/v1/accounts/{account}/orders"
    placed = []
    with ThreadPoolExecutor(4) as pool:
        for number in range(10):
            wanted, key = order(symbol_of(account), ("buy", "sell")[number % 2]), {"idempotency-key": f"both-{number}"}
            begun = threading.Barrier(4)

            def send(client, wanted=wanted, key=key, begun=begun):
                begun.wait(PATIENCE)
                return client.ok("POST", path, wanted, key)

            answers = list(pool.map(send, [nodes.at_a, nodes.at_b, nodes.at_a, nodes.at_b]))
            assert all(answer == answers[0] for answer in answers), answers
            placed += answers[0]["order_ids"]
            # Another write with its key is refused wherever it comes.
            nodes.at_b.refused(409, "POST", path, {**wanted, "qty": "0.02"}, key)
    assert len(placed) == len(set(placed)) == 10

    def listed():
        by_hand = [found["order_id"] for found in every(nodes.at_b, f"/api/v1/orders?account={account}", 500) if found["strategy"] is None]
        return set(placed) <= set(by_hand) and by_hand

    by_hand = eventually("they are listed", listed)
    assert len(by_hand) == len(set(by_hand))
    others = set(by_hand) - set(placed)
    assert len(others) <= 1, "one of another test, and none of a key that was done twice"


def test_a_node_that_is_killed_is_not_missed(tmp_path, brokers, vendor):  # noqa: F811
    with postgres() as database, started(tmp_path, brokers, vendor, database, "killed") as nodes:
        trade(nodes.a, nodes.b)
        account = sorted(owned(nodes.a))[0]
        path, client = f"/api/v1/accounts/{account}/orders", nodes.at_b
        seen, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                for what in ("orders?limit=5", "fills?limit=5", "accounts", "auth/me"):
                    begun = time.monotonic()
                    seen.append((client("GET", f"/api/v1/{what}").status, time.monotonic() - begun))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            placed, longest = {}, 0.0
            client.ok("POST", path, order(symbol_of(account)), {"idempotency-key": "before"})
            nodes.a.kill()
            killed = time.monotonic()
            for number in range(5):
                key, begun = f"after-{number}", time.monotonic()

                def done(key=key):
                    answer = client("POST", path, order(symbol_of(account)), {"idempotency-key": key})
                    assert answer.status in (200, 503, 504), answer
                    return answer.status == 200 and answer.json["order_ids"]

                placed[key] = eventually(f"{key} is done", done)
                longest = max(longest, time.monotonic() - begun)
            print(f"the first order after {time.monotonic() - killed:.1f} s, none took longer than {longest:.1f} s")
            eventually("the other has all accounts", lambda: has_all(nodes.b))
            assert client.ok("GET", f"/api/v1/accounts/{account}/positions") is not None
            eventually("there are quotes again", lambda: client("GET", f"/api/v1/quotes/{symbol_of(account)}").status == 200)
        finally:
            stop.set()
            asking.join()
        assert {status for status, _ in seen} == {200}
        print(f"{len(seen)} answers meanwhile, the slowest after {max(seconds for _, seconds in seen):.2f} s")
        assert max(seconds for _, seconds in seen) < 10
        ids = [order_id for found in placed.values() for order_id in found]

        def by_hand():
            found = [one["order_id"] for one in every(client, f"/api/v1/orders?account={account}", 500) if one["strategy"] is None]
            return set(ids) <= set(found) and found

        assert len(eventually("they are listed", by_hand)) == len(set(ids)) + 1 == 6
        nodes.b.stop()
        verdict = verified("--data", tmp_path / "b", "--kafka", brokers, "--prefix", nodes.prefix)
        books = check_books(brokers, nodes.prefix)
        assert {one["account"]: one["fills"] for one in verdict["accounts"]} == {account: found["fills"] for account, found in books.items()}
