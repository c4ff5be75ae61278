"""The API over two nodes on one Kafka and one PostgreSQL: who is known at one is known at the other, a write may go to either,
and one that is killed is not missed."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from types import SimpleNamespace

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import local_vendors
from api_client import PASSWORD, Client, log_in, register
from nodes import PATIENCE, check_books, eventually, verified
from postgres_server import postgres
from test_alerts import events, goes_off, make
from test_api import UNLIMITED
from test_read_models import every
from test_two_nodes import ACCOUNTS, cluster, has_all, owned, share, trade, vendor  # noqa: F401

# A node knows a token for so long without asking again; a socket asks the node so often.
KNOWN = 5
LOOKS = 10
# What a busy machine adds.
SLACK = 2
# A node tells of an account at least so often, and a quote is stale after so long here.
TELLS, STALE = 5, 3
SYMBOLS = ("BTCUSD", "ETHUSD")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, brokers, vendor):  # noqa: F811
    """Two nodes that share the accounts, and an administrator's key. The tests that kill one have a cluster of their own."""
    with postgres() as database:
        with started(tmp_path_factory.mktemp("nodes"), brokers, vendor, database, "api-nodes") as running:
            yield running


class started:
    """Two nodes with a database of their own."""

    def __init__(self, folder, brokers, vendor, database, name: str, environment: dict | None = None):  # noqa: F811
        self.folder, self.brokers, self.prefix = folder, brokers, f"{name}-{time.time_ns()}."
        name = name.replace("-", "_")
        database.sql(f"CREATE DATABASE {name}")
        environment = {**UNLIMITED, "TRADEFLOW__STATE__URL": database.url("postgres", name), **(environment or {})}
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


def shown(client: Client) -> dict:
    """What a node shows of all accounts and instruments, but for when it was so."""
    found = {f"quote {symbol}": client.ok("GET", f"/api/v1/quotes/{symbol}") for symbol in SYMBOLS}
    found["quotes"] = client.ok("GET", "/api/v1/quotes")
    for quote in [*found["quotes"], *(found[f"quote {symbol}"] for symbol in SYMBOLS)]:
        quote.pop("age_ms")
    found["accounts"] = client.ok("GET", "/api/v1/accounts")
    for account in found["accounts"]:
        account["balance"].pop("as_of")
        for what in ("positions", "strategies", "limits"):
            path = f"{account['account']}/{what}"
            found[path] = client.ok("GET", f"/api/v1/accounts/{path}")
    return found


def as_of(client: Client, account: str) -> float:
    """Of when the account's balance is, in seconds."""
    return datetime.fromisoformat(client.ok("GET", f"/api/v1/accounts/{account}")["balance"]["as_of"]).timestamp()


def freshness(client: Client) -> set[str]:
    return {client.ok("GET", f"/api/v1/quotes/{symbol}")["freshness"] for symbol in SYMBOLS}


def is_fresh(client: Client) -> bool:
    return all(client("GET", f"/api/v1/quotes/{symbol}").status == 200 for symbol in SYMBOLS) and freshness(client) == {"live"}


@pytest.fixture(scope="module")
def showing(tmp_path_factory, brokers):
    """Two nodes with a vendor of their own, which can be made to fall silent."""
    folder = tmp_path_factory.mktemp("showing")
    quick = {"TRADEFLOW__FEEDS__BINANCE__SILENCE": f"{STALE}s"}
    with postgres() as database, local_vendors.vendor("binance", "--symbols", ",".join(SYMBOLS), "--rate", 100) as local:
        with started(folder, brokers, local.http.removeprefix("http://"), database, "showing", quick) as running:
            trade(running.a, running.b)
            yield SimpleNamespace(**vars(running), vendor=local)


def test_each_node_shows_the_accounts_and_quotes_of_all(showing):
    both = (showing.at_a, showing.at_b)
    for client in both:
        eventually("quotes of all", lambda client=client: is_fresh(client))
    for account in ACCOUNTS:
        for client in both:
            eventually("it is young", lambda client=client, account=account: time.time() - as_of(client, account) < TELLS + SLACK)
    # What is traded at one is seen at the other, by those who ask and by those who follow.
    for here, there in [(showing.a, showing.at_b), (showing.b, showing.at_a)]:
        account = sorted(owned(here))[0]
        with ExitStack() as sockets:
            follow = {
                channel: sockets.enter_context(following(there, channel, key))
                for channel, key in [("positions", account), ("equity", account), ("quotes", symbol_of(account))]
            }
            (order_id,) = there.ok("POST", f"/api/v1/accounts/{account}/orders", order(symbol_of(account)))["order_ids"]
            eventually("it is filled", lambda path=f"/api/v1/accounts/{account}/orders/{order_id}": there("GET", path).status == 200)
            follow["positions"].until("update", lambda data: [one["symbol"] for one in data["positions"]] == [symbol_of(account)])
            worth = [follow["equity"].until("update", lambda data: True)["data"] for _ in range(3)]
            assert len({json.dumps({**one, "as_of": None}) for one in worth}) == 3, "each says something new"
            times = [follow["quotes"].until("update", lambda data: not data["stale"])["data"]["ts_event"] for _ in range(3)]
            assert times == sorted(set(times))


def test_without_news_both_show_the_same_and_say_when_it_is_stale(showing):
    both = (showing.at_a, showing.at_b)
    showing.vendor.switch(silence_after=0)
    try:
        for client in both:
            eventually("the quotes are stale", lambda client=client: freshness(client) == {"stale"})
        found = eventually("they show the same", lambda: (a := shown(showing.at_a)) == shown(showing.at_b) and a)
        assert {quote["symbol"] for quote in found["quotes"]} == set(SYMBOLS)
        assert {account["account"] for account in found["accounts"]} == set(ACCOUNTS)
        assert any(found[f"{account}/positions"] for account in ACCOUNTS)
        assert all(found[f"{account}/strategies"] for account in ACCOUNTS)
        for client in both:
            age = client.ok("GET", "/api/v1/quotes/BTCUSD")["age_ms"]
            assert age > STALE * 1000
            eventually("it grows older", lambda client=client, age=age: client.ok("GET", "/api/v1/quotes/BTCUSD")["age_ms"] > age)
            # Nothing happens, and yet one sees that the accounts' nodes live.
            for account in ACCOUNTS:
                assert time.time() - as_of(client, account) < TELLS + SLACK
    finally:
        showing.vendor.switch()
    for client in both:
        eventually("they are fresh again", lambda client=client: is_fresh(client))


def test_an_account_that_is_opened_and_closed_comes_and_goes_at_both(showing):
    for number, (here, there) in enumerate([(showing.at_a, showing.at_b), (showing.at_b, showing.at_a)]):
        account = f"passing-{number}"
        opened = here.ok("POST", "/api/v1/accounts", {"account": account, "balance": "500"})
        assert opened["balance"]["equity"] == "500", "it is shown at once, wherever it runs"
        path = f"/api/v1/accounts/{account}"
        shows = lambda client: (a := client("GET", path)).status == 200 and a.json["balance"] and a.json["balance"]["mode"]  # noqa: E731
        for client in (here, there):
            eventually("it is shown", lambda client=client: shows(client) == "open")
        there.ok("POST", f"{path}/pause")
        for client in (here, there):
            eventually("it is paused", lambda client=client: shows(client) == "paused")
        # Once at the node that has it, once at the other.
        there.ok("DELETE", path)
        for client in (here, there):
            gone = lambda client=client: (a := client.ok("GET", path))["closed"] and a["balance"] is None  # noqa: E731
            eventually("it is closed", gone)
            assert account not in {one["account"] for one in client.ok("GET", "/api/v1/accounts")}
            assert client.ok("GET", f"{path}/positions") == []


def test_an_owner_that_is_killed_leaves_a_view_that_says_its_age(showing):
    """The last test of these nodes: one is killed."""
    accounts = sorted(owned(showing.a))
    price = {"kind": "price", "symbol": "BTCUSD", "condition": "above", "level": "1"}
    drawdown = {"kind": "drawdown", "account": accounts[0], "percent": "0.0001", "since": "all_time"}
    alerts = [make(showing.at_b, rule) for rule in (price, drawdown)]
    for alert in alerts:
        goes_off(showing.at_b, alert)
    showing.a.kill()
    killed = time.time()
    assert any(as_of(showing.at_b, account) <= killed for account in accounts), "no one has taken them over yet"
    eventually("the other has all accounts", lambda: has_all(showing.b))
    for account in ACCOUNTS:
        eventually("it is of now", lambda account=account: time.time() - as_of(showing.at_b, account) < 1)
        assert as_of(showing.at_b, account) > killed
    eventually("quotes go on", lambda: is_fresh(showing.at_b))
    with following(showing.at_b, "equity", accounts[0]) as equity:
        equity.until("update", lambda data: datetime.fromisoformat(data["as_of"]).timestamp() > killed)
    for alert in alerts:
        assert len(events(showing.at_b, alert["id"])) == 1, "it goes off once"
