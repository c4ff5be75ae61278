"""Nodes of the real program: started, killed, stopped; and what they left behind. Every wait ends by a deadline, which is
far more than anything may take."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import consume
import msgpack

from conftest import BINARY, tradeflow

PATIENCE = 60
# Said when the node's accounts are up and its feeds run.
UP = "stop    Ctrl-C"


def quick_group(brokers: str) -> dict:
    """On Kafka: the group notices after 1.5 s that a node is gone; after 10 s where nothing else is said."""
    setting = "TRADEFLOW__BUS__SETTINGS__"
    return {"TRADEFLOW__BUS__KAFKA": brokers, f"{setting}SESSION_TIMEOUT_MS": "1500", f"{setting}HEARTBEAT_INTERVAL_MS": "300"}


def eventually(what: str, condition, patience: float = PATIENCE, every: float = 0.02):
    """What `condition` gives once it gives anything; polled, because other processes bring it about."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(every)


class Node:
    """`tradeflow serve`, running. Its output goes to files, so that nothing has to read it meanwhile."""

    def __init__(self, logs: Path, *arguments, environment: dict | None = None, cwd: Path | None = None):
        logs.mkdir(parents=True, exist_ok=True)
        number = len(list(logs.glob("*.out")))
        self.out, self.err = logs / f"{number:03}.out", logs / f"{number:03}.err"
        command = [str(BINARY), "serve", *map(str, arguments)]
        # A port of its own: tests run beside whatever else runs here.
        environment = {**os.environ, "TRADEFLOW__NODE__LISTEN": "127.0.0.1:0", **(environment or {})}
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=cwd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)  # one that is stopped can't end
            self.process.wait(PATIENCE)

    def text(self) -> str:
        return self.out.read_text() + self.err.read_text()

    def runs(self) -> bool:
        return self.process.poll() is None

    def says(self, text: str, patience: float = PATIENCE):
        """Waits until it has said so, on either of its outputs."""

        def found():
            said = text in self.text()
            assert said or self.runs(), f"it ended with {self.process.returncode} before it said {text!r}:\n{self.text()}"
            return said

        eventually(f"the node says {text!r}", found, patience)
        return self

    def up(self):
        return self.says(UP)

    def session(self) -> str:
        """The session that it runs, once it does."""
        self.up()
        return next(line.split()[1] for line in self.out.read_text().splitlines() if line.startswith("session "))

    def address(self) -> str:
        """Where it shows itself."""
        self.up()
        return re.search(r"look +(http://[0-9.:]+)/", self.out.read_text())[1]

    def status(self) -> dict:
        """What it says of itself."""
        with urllib.request.urlopen(f"{self.address()}/api/v1/status", timeout=PATIENCE) as page:
            return json.load(page, parse_float=Decimal)

    def send(self, number: int):
        self.process.send_signal(number)

    def kill(self):
        """As `kill -9`."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self) -> str:
        """Waits until it has ended by itself, in order: what it said."""
        status = self.process.wait(PATIENCE)
        assert status == 0, f"exit status {status}:\n{self.text()}"
        return self.text()

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Ends it in order: what it said."""
        self.send(number)
        return self.end()


def json_of(command: str, *arguments) -> dict | list:
    """The JSON that a command prints, which must succeed."""
    done = tradeflow(command, *arguments, "--json")
    assert done.returncode == 0, f"tradeflow {command} {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout, parse_float=Decimal)


def verified(*place, session: str = "last", closed: bool = True) -> dict:
    """What `verify` says of a session, which must be equal to its replay in everything."""
    verdict = json_of("verify", session, *place)
    assert verdict["equal"] is True, verdict
    assert verdict["digest_live"] == verdict["digest_replay"]
    assert verdict["closed"] is closed, verdict
    if closed:
        assert verdict["digest_live"], "a session that was ended has a checkpoint"
    for account in verdict["accounts"]:
        assert account["difference"] is None
    for what in ("inputs", "orders", "fills"):
        assert verdict[what] == sum(account[what] for account in verdict["accounts"])
    return verdict


def records(brokers: str, topic: str) -> list[dict]:
    """All records of a topic, those of each key in their order."""
    return [msgpack.unpackb(message.value()) for message in consume.messages(brokers, topic) if message is not None]


def gapless(numbers: list[int], what: str):
    """They are 1, 2, 3, … without one twice or missing."""
    assert numbers == list(range(1, len(numbers) + 1)), f"{what}: {out_of_order(numbers)}"


def out_of_order(numbers: list[int]) -> str:
    for place, number in enumerate(numbers):
        if number != place + 1:
            return f"number {number} in place of {place + 1}, after {numbers[max(0, place - 3) : place]}"
    return "in order"


def check_books(brokers: str, prefix: str = "", balance=Decimal(100_000)) -> dict[str, dict]:
    """Reads what accounts did from Kafka with a stock consumer, and proves that nothing was lost or done twice:

    - the numbers of each account's orders and fills, taken together, are 1, 2, 3, …
    - each order was submitted once; no order changes after its end
    - the fills of each order add up to what it says was filled; the fills of each account lead to its cash and positions
    - each account's journal is numbered without gap

    Gives for each account what `verify` must say too.
    """
    orders = records(brokers, f"{prefix}orders.v1")
    fills = records(brokers, f"{prefix}fills.v1")
    journal = records(brokers, f"{prefix}journal.v1")
    accounts = {}
    for account in sorted({entry["account"] for entry in journal}):
        its_orders = [order for order in orders if order["account"] == account]
        its_fills = [fill for fill in fills if fill["account"] == account]
        assert [order["seq"] for order in its_orders] == sorted(order["seq"] for order in its_orders)
        gapless(sorted(record["seq"] for record in its_orders + its_fills), f"orders and fills of {account}")
        gapless([entry["seq"] for entry in journal if entry["account"] == account], f"journal of {account}")
        check_orders(its_orders, its_fills)
        cash, positions = check_fills(its_fills, balance)
        submitted = {order["order_id"] for order in its_orders if order["event"] == "submitted"}
        accounts[account] = {"orders": len(submitted), "fills": len(its_fills), "cash": cash, "positions": positions}
    return accounts


def check_orders(orders: list[dict], fills: list[dict]):
    filled = defaultdict(Decimal)
    for fill in fills:
        filled[fill["order_id"]] += Decimal(fill["qty"])
    by_id = defaultdict(list)
    for order in orders:
        by_id[order["order_id"]].append(order)
    for order_id, changes in by_id.items():
        events = [change["event"] for change in changes]
        assert events.count("submitted") + events.count("denied") == 1, f"order {order_id}: {events}"
        assert events[0] in ("submitted", "denied"), f"order {order_id}: {events}"
        assert Decimal(changes[-1]["filled"]) == filled[order_id], f"order {order_id}: {events}"
        ended = [change["status"] in ("filled", "cancelled", "rejected", "denied", "expired") for change in changes]
        assert not any(ended[:-1]), f"order {order_id} changed after its end: {events}"
    assert set(filled) <= set(by_id), "fills of orders that nobody sent"


def check_fills(fills: list[dict], balance: Decimal) -> tuple[Decimal, dict]:
    """Cash and positions that the fills lead to; each fill says both as they were after it."""
    cash, positions = balance, defaultdict(Decimal)
    for fill in fills:
        qty = Decimal(fill["qty"]) * (1 if fill["side"] == "buy" else -1)
        cash -= qty * Decimal(fill["price"]) + Decimal(fill["fee"])
        positions[fill["symbol"]] += qty
        place = f"fill {fill['seq']} of {fill['account']}"
        assert Decimal(fill["cash"]) == cash, f"{place}: cash {fill['cash']}, and the fills lead to {cash}"
        assert Decimal(fill["position"]) == positions[fill["symbol"]], place
    return cash, dict(positions)


def same_books(verdict: dict, books: dict[str, dict]):
    """What `verify` replayed is what lies on the bus (of accounts that had one session)."""
    for account in verdict["accounts"]:
        found = books[account["account"]]
        assert (account["fills"], Decimal(account["cash"])) == (found["fills"], found["cash"])
