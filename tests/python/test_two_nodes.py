"""Two nodes of the real program share accounts by a consumer group of a real Kafka: one is killed, comes back, or sleeps
and wakes up. Nothing is lost, nothing is done twice, and one that was cut off can't trade any more."""

import re
import signal
import subprocess
import time
from contextlib import contextmanager
from decimal import Decimal

import consume
import pytest
from confluent_kafka import Producer

from conftest import BINARY
from nodes import Node, check_books, eventually, json_of, quick_group, verified

ACCOUNTS = [f"account-{number}" for number in range(6)]
# After so long the group has noticed (`quick_group`), and after so long again everything has to be taken over.
NOTICES, TAKES_OVER = 1.5, 10

MARKET = """\
[feeds.binance]
url = "ws://{address}"
rest_url = "http://{address}"
"""
INSTRUMENT = """
[[instruments]]
symbol = "{symbol}"
class = "crypto-spot"
price_scale = 2
size_scale = {size_scale}
base = "{base}"
quote = "USD"
calendar = "24x7"
fees = {{ taker_bps = 1 }}
feed = "binance"
feed_symbol = "{symbol}T"
quotes = true
bars = ["1s"]
"""
ACCOUNT = """
[[accounts]]
id = "{account}"
leverage = 2
[[accounts.strategies]]
kind = "tick_momentum"
params = {{ lookback = 20, threshold_bps = 0, direction = "both" }}
symbols = ["{symbol}"]
data = "trades"
size = "20%"
"""


@pytest.fixture(scope="module")
def vendor():
    """The address of a local Binance: a process of its own, that outlives the nodes."""
    command = [str(BINARY), "vendor", "binance", "--symbols", "BTCUSD,ETHUSD", "--rate", "100"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while not (found := re.search(r"127\.0\.0\.1:\d+", said)):
                line = process.stdout.readline()
                assert line, f"it ended: {said}"
                said += line
            yield found[0]
        finally:
            process.kill()


@contextmanager
def cluster(tmp_path, brokers: str, vendor: str, prefix: str, environment: dict | None = None, accounts: list[str] = ACCOUNTS):
    """Starts nodes of one configuration, each with a folder of its own: `start("a")`."""
    file = tmp_path / "node.toml"
    config = MARKET.format(address=vendor)
    config += INSTRUMENT.format(symbol="BTCUSD", base="BTC", size_scale=5) + INSTRUMENT.format(symbol="ETHUSD", base="ETH", size_scale=4)
    for number, account in enumerate(accounts):
        config += ACCOUNT.format(account=account, symbol=("BTCUSD", "ETHUSD")[number % 2])
    file.write_text(config)
    nodes = []

    def start(name: str) -> Node:
        arguments = (file, "--data", tmp_path / name, "--kafka", brokers, "--prefix", prefix)
        node = Node(tmp_path / f"logs-{name}", *arguments, environment={**quick_group(brokers), **(environment or {})})
        nodes.append(node)
        return node.up()

    try:
        yield start
    finally:
        for node in nodes:
            node.__exit__()


def owned(node: Node) -> set[str]:
    """The accounts whose cells are up on a node."""
    return {cell["account"] for cell in node.status()["cells"] if cell["halted"] is None}


def share(first: Node, second: Node, accounts: list[str] = ACCOUNTS) -> bool:
    """Whether each has some of the accounts, and together they have each once."""
    here, there = owned(first), owned(second)
    return bool(here and there) and not here & there and here | there == set(accounts)


def has_all(node: Node) -> bool:
    return owned(node) == set(ACCOUNTS)


def trade(*nodes: Node):
    """Waits until every account has taken more of the market, and the strategies have decided on it."""
    more = 50

    def events() -> dict[str, int]:
        return {cell["account"]: cell["events"] for node in nodes for cell in node.status()["cells"]}

    before = events()
    eventually("the accounts go on", lambda: all(events().get(account, 0) > count + more for account, count in before.items()))


def end(tmp_path, brokers: str, prefix: str, last: Node):
    """Ends the last node, which has all accounts, and checks everything that was ever done."""
    eventually("the last node has all accounts", lambda: has_all(last))
    eventually("every account has traded", lambda: all(cell["fills"] > 0 for cell in last.status()["cells"]))
    last.stop()
    place = ("--data", tmp_path / "b", "--kafka", brokers, "--prefix", prefix)
    verdict = verified(*place)
    assert len(json_of("sessions", *place)) == 1
    books = check_books(brokers, prefix)
    assert set(books) == set(ACCOUNTS)
    for account in verdict["accounts"]:
        found = books[account["account"]]
        assert found["fills"] > 0
        assert (account["orders"], account["fills"], Decimal(account["cash"])) == (found["orders"], found["fills"], found["cash"])


def test_one_is_killed_and_comes_back(tmp_path, brokers, vendor, prefix):
    with cluster(tmp_path, brokers, vendor, prefix) as start:
        a = start("a")
        assert has_all(a)
        b = start("b")
        eventually("they share", lambda: share(a, b))
        assert a.session() == b.session()
        trade(a, b)
        a.kill()
        killed = time.monotonic()
        eventually("the other has all", lambda: has_all(b), NOTICES + TAKES_OVER)
        print(f"taken over {time.monotonic() - killed:.1f} s after the kill, of which the group took {NOTICES} s to notice")
        trade(b)
        again = start("a")
        eventually("they share again", lambda: share(again, b))
        trade(again, b)
        again.stop()
        end(tmp_path, brokers, prefix, b)


def test_the_second_is_killed_while_the_first_has_the_feeds(tmp_path, brokers, vendor, prefix):
    with cluster(tmp_path, brokers, vendor, prefix) as start:
        b, a = start("b"), start("a")
        eventually("they share", lambda: share(a, b))
        a.kill()
        eventually("the other has all", lambda: has_all(b), NOTICES + TAKES_OVER)
        trade(b)
        end(tmp_path, brokers, prefix, b)


def test_one_that_slept_can_do_nothing_any_more(tmp_path, brokers, vendor, prefix):
    """A node that is stopped in the middle of its work, and goes on after the other has its accounts, must not write: what
    it writes is refused, and it takes part again as one that has just come, or ends."""
    with cluster(tmp_path, brokers, vendor, prefix) as start:
        a, b = start("a"), start("b")
        eventually("they share", lambda: share(a, b))
        trade(a, b)
        a.send(signal.SIGSTOP)
        eventually("the other has all", lambda: has_all(b), NOTICES + TAKES_OVER)
        trade(b)
        a.send(signal.SIGCONT)
        eventually("it shares again, or has ended", lambda: not a.runs() or share(a, b))
        if a.runs():
            trade(a, b)
            a.stop()
        else:
            assert a.process.returncode == 1, a.text()
            assert "error: " in a.text()
        end(tmp_path, brokers, prefix, b)


def test_one_that_is_fenced_off_and_still_owns_its_accounts_takes_them_over_anew(tmp_path, brokers, vendor, prefix):
    """Others may claim what the group says is this node's, and none has it then: as it may come when two claim at once."""
    with cluster(tmp_path, brokers, vendor, prefix) as start:
        b = start("b")
        trade(b)
        for partition in {m.partition() for m in consume.messages(brokers, f"{prefix}journal.v1") if m is not None}:
            name = f"tradeflow-{prefix}journal.v1-{partition}-0"
            Producer({"bootstrap.servers": brokers, "transactional.id": name}).init_transactions(30)
        b.says("they are taken over anew")
        eventually("it has all again", lambda: has_all(b))
        trade(b)
        end(tmp_path, brokers, prefix, b)
