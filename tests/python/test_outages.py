"""PostgreSQL, Kafka and ClickHouse are killed and started again while a node trades and clients ask. Answers are honest and come
in time, health tells what is away, and afterwards nothing is lost or done twice: `verify` is equal, the lists are those that
`tradeflow state rebuild` makes, and each order that was sent with an idempotency key is there exactly once."""

import itertools
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import clickhouse
from api_client import PASSWORD, Client, log_in, register
from conftest import tradeflow, tradeflow_ok
from kafka_server import broker
from local_vendors import vendor
from nodes import Node, check_books, eventually, quick_group, same_books, verified
from postgres_server import postgres
from test_api import UNLIMITED
from test_operation import get
from test_read_models import TABLES, every, tables
from test_two_nodes import INSTRUMENT, MARKET

# An answer takes no longer than this, whatever is away: five seconds for the bus, ten for a cell, five for the database before
# and after it, and what the machine needs under load. What was under way when the database froze gets thirty seconds.
LONGEST = 30
FROZEN = 30
# How long a node may take until it is itself again.
RECOVERS = 45
BY_HAND = "SELECT account, order_id FROM orders WHERE strategy IS NULL"
ACCOUNTS = {"alpha": "BTCUSD", "beta": "ETHUSD"}
ACCOUNT = """
[[accounts]]
id = "{account}"
leverage = 2
symbols = ["{symbol}"]
[[accounts.strategies]]
kind = "tick_momentum"
params = {{ lookback = 20, threshold_bps = 0, direction = "both" }}
symbols = ["{symbol}"]
data = "trades"
size = "20%"
"""


@dataclass
class Seen:
    """An answer, as a client saw it."""

    path: str
    status: int
    code: str | None
    detail: str | None
    seconds: float


class Clients:
    """Clients that ask and trade without a pause, each in a thread of its own, until they are stopped."""

    def __init__(self, client: Client):
        self.client = client
        self.seen: list[Seen] = []
        # What came of each key: the ids of the orders; none of one that a second try found done.
        self.placed: dict[str, list[str] | None] = {}
        self.accounts: dict[str, str] = {}
        self.stopped = threading.Event()
        self.failures: list[BaseException] = []
        work = [(self.trade, account) for account in ACCOUNTS] + [(self.ask, None)] * 2
        self.threads = [threading.Thread(target=self.run, args=part) for part in work]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def stop(self):
        """Each key that was begun is brought to its end."""
        self.__exit__()
        assert not self.failures, self.failures

    def run(self, work, argument):
        try:
            work(argument)
        except BaseException as failure:
            self.failures.append(failure)
            raise

    def call(self, method: str, path: str, body=None, headers=None):
        begun = time.monotonic()
        answer = self.client(method, path, body, headers)
        problem = answer.json if answer.headers["content-type"] == "application/problem+json" else {}
        seen = Seen(path, answer.status, problem.get("code"), problem.get("detail"), time.monotonic() - begun)
        self.seen.append(seen)
        return seen, answer

    def ask(self, _):
        lists = ["/orders?limit=20", "/fills?limit=20", "/trades/statistics?by=symbol"]
        for path in itertools.cycle([*lists, "/accounts", "/accounts/alpha/positions", "/quotes/BTCUSD", "/auth/me"]):
            if self.stopped.is_set():
                return
            self.call("GET", f"/api/v1{path}")

    def trade(self, account: str):
        for number in itertools.count():
            if self.stopped.is_set():
                return
            key = f"{account}-{number}"
            order = {"symbol": ACCOUNTS[account], "side": ("buy", "sell")[number % 2], "type": "market", "qty": "0.01"}
            self.accounts[key] = account
            while True:
                seen, answer = self.call("POST", f"/api/v1/accounts/{account}/orders", order, {"idempotency-key": key})
                if seen.status == 200:
                    self.placed[key] = answer.json["order_ids"]
                elif (seen.status, seen.code) == (409, "duplicate"):
                    self.placed[key] = None
                elif seen.status >= 500:
                    continue  # sent again with the same key
                break

    def count(self, *statuses: int, path: str = "") -> int:
        return sum(path in seen.path and seen.status in statuses for seen in self.seen)

    def more(self, count: int = 10):
        """Waits until every account has placed so many orders more."""
        before = Counter(self.accounts[key] for key in list(self.placed))

        def done():
            assert not self.failures, self.failures
            now = Counter(self.accounts[key] for key in list(self.placed))
            return all(now[account] >= before[account] + count for account in ACCOUNTS)

        eventually(f"{count} orders more of each account", done, RECOVERS)

    def honest(self, away: str, longest: float = LONGEST):
        """Every answer was a success, or said what is away; none took too long."""
        told = Counter((seen.status, seen.code, seen.detail) for seen in self.seen if seen.status != 200)
        print(f"{len(self.seen)} answers, the slowest after {max(seen.seconds for seen in self.seen):.1f} s")
        for (status, code, detail), count in told.items():
            print(f"  {count} × {status} {code}: {detail}")
        for status, code, detail in told:
            assert (status, code) in [(503, "unavailable"), (504, "unanswered"), (409, "duplicate")] and detail, (status, code, detail)
        assert any(status == 503 and away in detail for status, _, detail in told), told
        assert max(seen.seconds for seen in self.seen) < longest

    def exactly_once(self, by_hand: list[tuple[str, str]]):
        """Of the orders by hand, by account and id, there is one for each key."""
        counted = Counter(account for account, _ in by_hand)
        assert counted == Counter(self.accounts[key] for key in self.placed), "an order is missing, or was placed twice"
        placed = [(self.accounts[key], order) for key, ids in self.placed.items() if ids for order in ids]
        assert len(placed) == len(set(placed)) and set(placed) <= set(by_hand)
        print(f"{len(by_hand)} orders by hand, {sum(ids is None for ids in self.placed.values())} of them found done by a second try")


class Follower:
    """Hears the fills of all accounts on the socket, over drops of the connection, in the order of their numbers."""

    def __init__(self, client: Client):
        self.client, self.heard, self.begun, self.drops = client, {}, {}, 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        eventually("it follows", lambda: len(self.begun) == len(ACCOUNTS))
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()

    def run(self):
        while not self.stopped.is_set():
            try:
                self.follow()
            except (ConnectionClosed, OSError):
                self.drops += 1

    def follow(self):
        address = self.client.url.replace("http", "ws", 1) + "/api/v1/ws"
        with connect(address, additional_headers={"authorization": f"Bearer {self.client.token}"}) as socket:
            for account in ACCOUNTS:
                known = self.heard.get(account)
                after = {"after": known[-1][0]} if known else {}
                socket.send(json.dumps({"op": "subscribe", "channel": "fills", "keys": [account], **after}))
            while not self.stopped.is_set():
                try:
                    message = json.loads(socket.recv(timeout=0.1))
                except TimeoutError:
                    continue
                account = message.get("key")
                if message["type"] == "snapshot":
                    self.begun[account] = message["seq"]
                    assert account not in self.heard, "what was missed is told by its numbers"
                elif message["type"] == "update":
                    self.heard.setdefault(account, []).append((message["seq"], message["data"]["order_id"]))
                else:
                    assert message["type"] in ("hello", "resumed"), message

    def complete(self, fills: list[dict]):
        """It heard each fill once since it began, in their order."""
        for account in ACCOUNTS:
            listed = sorted(fill["seq"] for fill in fills if fill["account"] == account and fill["seq"] > self.begun[account])
            assert [seq for seq, _ in self.heard[account] if seq <= listed[-1]] == listed, account


@contextmanager
def market(folder, **environment):
    """A node that trades on a local market; gives it, and how to start it again."""
    with vendor("binance", "--symbols", "BTCUSD,ETHUSD", "--rate", "100") as binance:
        config = MARKET.format(address=binance.http.removeprefix("http://"))
        config += INSTRUMENT.format(symbol="BTCUSD", base="BTC", size_scale=5) + INSTRUMENT.format(symbol="ETHUSD", base="ETH", size_scale=4)
        config += "".join(ACCOUNT.format(account=account, symbol=symbol) for account, symbol in ACCOUNTS.items())
        file = folder / "node.toml"
        file.write_text(config)
        with Node(folder / "logs", file, "--data", folder / "data", environment={**UNLIMITED, **environment}) as node:
            node.up()
            yield node


def health(node: Node) -> tuple[str, str]:
    """Its state, and all reasons."""
    _, text = get(f"{node.address()}/health")
    told = json.loads(text)
    return told["status"], "; ".join(told["reasons"])


def well(node: Node) -> bool:
    cells = {cell["account"] for cell in node.status()["cells"] if cell["halted"] is None}
    return cells == set(ACCOUNTS) and health(node) == ("ok", "") and get(f"{node.address()}/ready") == (200, "ready\n")


def trades_on(node: Node):
    """Waits until every cell has taken more of the market. One that is built anew meanwhile begins to count anew."""
    before: dict[str, int] = {}

    def done():
        now = {cell["account"]: cell["events"] for cell in node.status()["cells"]}
        for account, count in now.items():
            before[account] = min(before.get(account, count), count)
        return set(now) == set(ACCOUNTS) and all(count > before[account] + 20 for account, count in now.items())

    eventually("the cells go on", done)


def trader(node: Node) -> Client:
    """The first user, by an API key, which needs no new log-in."""
    user = register(node.address(), "trader@example.org")
    client = log_in(node.address(), user["email"])
    made = client.ok("POST", "/api/v1/api-keys", {"name": "outages", "scopes": ["read", "trade"]})
    eventually("there are quotes", lambda: all(client("GET", f"/api/v1/quotes/{symbol}").status == 200 for symbol in ACCOUNTS.values()))
    return Client(node.address(), made["secret"])


def nothing_is_lost(client: Client, clients: Clients, follower: Follower, node: Node):
    """By the lists, once they have what the cells had done by now, and by the socket."""
    told = {cell["account"]: cell["fills"] for cell in node.status()["cells"]}

    def orders():
        listed = [(order["account"], order["order_id"]) for order in every(client, "/api/v1/orders", 500) if order["strategy"] is None]
        return len(listed) >= len(clients.placed) and listed

    def settled():
        fills = every(client, "/api/v1/fills", 500)
        counted = Counter(fill["account"] for fill in fills)
        return all(counted[account] >= count for account, count in told.items()) and fills

    clients.exactly_once(eventually("all orders are listed", orders))
    fills = eventually("all fills are listed", settled)
    newest = {account: max(fill["seq"] for fill in fills if fill["account"] == account) for account in ACCOUNTS}
    eventually("the socket has told of them", lambda: all(follower.heard[account][-1][0] >= seq for account, seq in newest.items()))
    follower.complete(fills)


def rebuilt(*place, environment: dict):
    done = tradeflow("state", "rebuild", *place, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr


def test_postgresql_is_killed(tmp_path):
    with postgres() as database:
        database.sql("CREATE DATABASE node")
        state = {"TRADEFLOW__STATE__URL": database.url("postgres", "node")}
        with market(tmp_path, **state) as node:
            client = trader(node)
            with Clients(client) as clients, Follower(client) as follower:
                clients.more()
                database.kill()
                heard = sum(map(len, follower.heard.values()))
                eventually("the askers are told", lambda: clients.count(503, path="/fills") > 5)
                eventually("health tells", lambda: health(node)[0] == "degraded" and "lists of orders and fills" in health(node)[1])
                assert get(f"{node.address()}/ready") == (200, "ready\n"), "the cells are up, and they are what it trades with"
                trades_on(node)
                eventually("fills are heard meanwhile", lambda: sum(map(len, follower.heard.values())) > heard)
                refused = Client(node.address()).refused(503, "POST", "/api/v1/auth/login", {"email": "trader@example.org", "password": PASSWORD})
                assert "database" in refused["detail"]
                database.start()
                clients.more()
                for _ in range(5):  # at other instants of a write
                    database.kill()
                    database.start()
                    clients.more(3)
                eventually("it is well again", lambda: well(node), RECOVERS)
                clients.stop()
                nothing_is_lost(client, clients, follower, node)
            clients.honest("database")
            assert follower.drops == 0, "what is followed already needs no database"
            log_in(node.address(), "trader@example.org")
            node.stop()
        verified("--data", tmp_path / "data")
        before = dump(database)
        assert all(before[table] for table in ("orders", "order_events", "fills", "positions", "projections"))
        rebuilt("--data", tmp_path / "data", environment=state)
        assert dump(database) == before
        clients.exactly_once([tuple(row.split("|")) for row in database.sql(BY_HAND, database="node")])


def test_postgresql_freezes(tmp_path):
    with postgres() as database:
        database.sql("CREATE DATABASE node")
        with market(tmp_path, TRADEFLOW__STATE__URL=database.url("postgres", "node")) as node:
            client = trader(node)
            with Clients(client) as clients, Follower(client) as follower:
                clients.more()
                with database.frozen():
                    before = {account: clients.count(200, 503, 504, path=f"/{account}/orders") for account in ACCOUNTS}
                    eventually("health tells", lambda: health(node)[0] == "degraded" and "lists of orders and fills" in health(node)[1])
                    trades_on(node)

                    def answered():
                        now = {account: clients.count(200, 503, 504, path=f"/{account}/orders") for account in ACCOUNTS}
                        # The first may have been on its way.
                        return all(now[account] > before[account] + 1 for account in ACCOUNTS)

                    eventually("everyone who trades is answered", answered, FROZEN + 15)
                eventually("it is well again", lambda: well(node), RECOVERS)
                clients.more()
                clients.stop()
                nothing_is_lost(client, clients, follower, node)
            clients.honest("database", FROZEN + 5)
            node.stop()
        verified("--data", tmp_path / "data")


def dump(database) -> dict[str, list[str]]:
    return {table: sorted(database.sql(f"SELECT * FROM {table}", database="node")) for table in TABLES if not table.startswith("trade_")}


def test_kafka_is_killed(tmp_path):
    with broker() as kafka:
        place = ("--data", tmp_path / "data", "--kafka", kafka.address)
        with market(tmp_path, **quick_group(kafka.address)) as node:
            client = trader(node)
            with Clients(client) as clients, Follower(client) as follower:
                clients.more()
                kafka.kill()
                # An order that the bus had taken waits for its cell (504); one that is sent now is told what is away (503).
                eventually("those who trade are told", lambda: clients.count(503, path="/accounts/alpha/orders") > 0)
                eventually("health tells", lambda: health(node)[0] != "ok" and "the bus does not answer" in health(node)[1])
                eventually("it is not ready", lambda: get(f"{node.address()}/ready")[0] == 503)
                # What needs no bus is answered all the same.
                client.ok("GET", "/api/v1/fills?limit=5")
                client.ok("GET", "/api/v1/quotes/BTCUSD")
                kafka.start()
                eventually("it is well again", lambda: well(node), RECOVERS)
                trades_on(node)
                clients.more()
                clients.stop()
                nothing_is_lost(client, clients, follower, node)
            clients.honest("bus")
            node.stop()
        verdict = verified(*place)
        same_books(verdict, check_books(kafka.address))
        before = tables(tmp_path / "data" / "state.db")
        rebuilt(*place, environment={})
        assert tables(tmp_path / "data" / "state.db") == before
        with sqlite3.connect(tmp_path / "data" / "state.db") as database:
            clients.exactly_once([(account, str(order)) for account, order in database.execute(BY_HAND)])


def test_clickhouse_is_stopped(sample_catalog, tmp_path):
    """Trading does not need it: backtests of the node's jobs go there, and their lists come from there."""
    job = {"data": {"symbols": ["SAMPLE-BTC"], "interval": "1m"}}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "catalog").symlink_to(sample_catalog)
    with clickhouse.server() as server:
        url = clickhouse.database(server.url)
        with market(tmp_path, TRADEFLOW_CLICKHOUSE=url) as node:
            client = trader(node)

            def run(fast: int) -> str:
                strategy = {"kind": "sma_cross", "params": {"fast": fast, "slow": 500}}
                submitted = client.ok("POST", "/api/v1/backtests", {"config": {**job, "account": [{"strategy": [strategy]}]}})
                return submitted["job_id"]

            def ended(job_id: str) -> bool:
                told = client.ok("GET", f"/api/v1/backtests/{job_id}")
                assert told["status"] in ("queued", "running", "done"), told
                return told["status"] == "done"

            def in_clickhouse() -> list[dict]:
                return json.loads(tradeflow_ok("runs", "list", "--clickhouse", url, "--sort", "sharpe", "--limit", 100, "--json"))["rows"]

            with Clients(client) as clients:
                first = run(10)
                eventually("the first is done", lambda: ended(first))
                assert len(in_clickhouse()) == 1
                jobs = [run(fast) for fast in range(11, 17)]
                eventually("one of them is done", lambda: ended(jobs[0]))
                server.stop()
                eventually("they are all done without it", lambda: all(ended(job) for job in jobs))
                eventually("health tells", lambda: (told := health(node))[0] == "degraded" and "ClickHouse" in told[1])
                assert get(f"{node.address()}/ready") == (200, "ready\n"), "it trades"
                assert "ClickHouse" in client.refused(503, "GET", f"/api/v1/backtests/{first}/orders")["detail"]
                clients.more()
                server.start()
                last = run(20)
                eventually("the last is done", lambda: ended(last))
                # Those that waited are there too.
                eventually("all are there", lambda: len(in_clickhouse()) == 8)
                eventually("it is well again", lambda: well(node))
                assert client.ok("GET", f"/api/v1/backtests/{jobs[1]}/orders")["rows"]
                trades_on(node)
                clients.stop()
            assert {seen.status for seen in clients.seen} == {200}
            node.stop()
        place = ("--out", tmp_path / "data" / "results")
        assert tradeflow_ok("runs", "sync", *place, "--clickhouse", url).startswith("0 uploaded")
        of_files = json.loads(tradeflow_ok("runs", "list", *place, "--sort", "sharpe", "--limit", 100, "--json"))["rows"]
        assert of_files == in_clickhouse()
    verified("--data", tmp_path / "data")
