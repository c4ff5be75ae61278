"""`tradeflow serve --demo` as a user runs it: the lines of its help as they stand there, its end, and its next start."""

import json
import re
import signal
import socket
import time
from decimal import Decimal
from types import SimpleNamespace

import pytest

from conftest import backtest, tradeflow, tradeflow_ok
from kafka_server import free_ports
from nodes import PATIENCE, Node, check_books, json_of, same_books, verified

# Long enough for both strategies to be through their warm-up and to trade.
RUN = "15s"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, brokers):
    """The demonstration, run to its end on the embedded log, on Kafka, and where there is no Kafka: all at once."""
    folder = tmp_path_factory.mktemp("demo")
    prefix = f"demo-{time.time_ns()}."
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    place = {
        "embedded": ("--data", folder / "embedded"),
        "kafka": ("--data", folder / "kafka", "--kafka", brokers, "--prefix", prefix),
        "nowhere": ("--data", folder / "nowhere", "--kafka", nowhere),
    }

    def run(bus: str) -> Node:
        return Node(folder / f"logs-{bus}", "--demo", *place[bus], "--for", RUN)

    with run("embedded") as embedded, run("kafka") as kafka, run("nowhere") as refused:
        said = {"embedded": embedded.end(), "kafka": kafka.end()}
        refused.process.wait(PATIENCE)
        yield SimpleNamespace(folder=folder, brokers=brokers, prefix=prefix, nowhere=nowhere, place=place, said=said, refused=refused)


@pytest.mark.parametrize("bus", ["embedded", "kafka"])
def test_the_lines_of_the_help(ran, bus):
    place = ran.place[bus]
    sessions = json_of("sessions", *place)
    assert len(sessions) == 1
    session = sessions[0]
    assert session["state"] == "closed"
    assert session["started"] < session["ended"]
    assert session["accounts"] == ["paper"]
    verdict = verified(*place)
    assert verdict["session"] == session["session"]
    assert f"session {session['session']}" in ran.said[bus]
    assert verdict["inputs"] > 100
    assert verdict["orders"] > 0
    assert verdict["fills"] > 0
    # By its name, and by the beginning of it, it is the same.
    assert verified(*place, session=session["session"]) == verdict
    assert verified(*place, session=session["session"][:12]) == verdict
    shown = tradeflow_ok("verify", "last", *place)
    assert f"equal: live and replay both have digest {verdict['digest_live']}" in shown
    assert session["session"] in tradeflow_ok("sessions", *place)


def test_a_stock_consumer_finds_what_verify_replays(ran):
    books = check_books(ran.brokers, ran.prefix)
    assert books["paper"]["fills"] > 0
    same_books(verified(*ran.place["kafka"]), books)


def test_what_was_recorded_is_ready_for_a_backtest(ran, tmp_path):
    for bus in ("embedded", "kafka"):
        at = ("--catalog", ran.folder / bus / "catalog", "--out", tmp_path / bus)
        bars = backtest("--symbol", "BTCUSD", "--interval", "1s", "--strategy", "sma_cross", "--set", "fast=2", "--set", "slow=4", *at)
        assert bars["completed"]
        assert bars["bars"] >= 5
        ticks = backtest("--symbol", "ETHUSD", "--interval", "trades", "--strategy", "tick_momentum", "--set", "lookback=10", *at)
        assert ticks["ticks"] > 100


def test_a_fork_of_it(ran, tmp_path):
    session = json_of("sessions", *ran.place["embedded"])[0]
    at = ("fork", "last", "--at", session["started"], "--strategy", "momentum", *ran.place["embedded"], "--out", tmp_path)
    forked = json.loads(tradeflow_ok(*at, "--set", "lookback=3", "--json"), parse_float=Decimal)
    assert (forked["session"], forked["account"], forked["strategy"]) == (session["session"], "paper", "momentum")
    assert forked["before"]["params"]["lookback"] == 100
    assert forked["after"] == {"kind": "tick_momentum", "params": {**forked["before"]["params"], "lookback": 3}}
    verdict = verified(*ran.place["embedded"])
    assert (forked["happened"]["orders"], forked["happened"]["fills"]) == (verdict["orders"], verdict["fills"])
    assert Decimal(forked["happened"]["equity"]) == Decimal(verdict["accounts"][0]["equity"])
    # A shorter look-back decides earlier, at other prices.
    assert forked["forked"]["orders"] > 0
    assert forked["forked"]["final_equity"] != Decimal(forked["happened"]["equity"])
    folder = tmp_path / forked["forked"]["results"] if "results" in forked["forked"] else next(tmp_path.iterdir())
    assert {"equity.parquet", "orders.parquet", "fills.parquet", "summary.json", "report.html"} <= {path.name for path in folder.iterdir()}
    # Forked with what it had from the start on, it does what it did.
    nothing_new = tradeflow(*at)
    assert nothing_new.returncode == 1
    assert "nothing would be different" in nothing_new.stderr
    unknown = tradeflow(*at, "--set", "look=20")
    assert unknown.returncode == 1
    assert "look" in unknown.stderr


@pytest.mark.parametrize("bus", ["embedded", "kafka"])
def test_the_next_start_goes_on_with_the_account(ran, bus):
    place = ran.place[bus]
    before = verified(*place)
    with Node(ran.folder / f"logs-{bus}", "--demo", *place) as node:
        session = node.session()
        assert session != before["session"]
        node.stop()
    after = verified(*place)
    assert after["session"] == session
    assert [known["session"] for known in json_of("sessions", *place)] == [before["session"], session]
    # It was stopped at once. What it had is what it has, unless it traded meanwhile: that is worth a little, and the
    # account's cash is far from what it began with.
    (was,), (now,) = before["accounts"], after["accounts"]
    assert Decimal(was["cash"]) != 100_000
    if now["fills"] == 0:
        assert now["cash"] == was["cash"]
    assert abs(Decimal(now["equity"]) - Decimal(was["equity"])) < 500
    if bus == "kafka":
        # One chain of fills over both sessions: numbers, cash and positions go on.
        books = check_books(ran.brokers, ran.prefix)
        assert books["paper"]["cash"] == Decimal(now["cash"])
        assert books["paper"]["fills"] == was["fills"] + now["fills"]
    # The older session is what it was.
    assert verified(*place, session=before["session"]) == before


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path, end):
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "node") as node:
        node.up()
        said = node.stop(end)
    assert "ended   session" in said
    assert " ERROR " not in said
    (session,) = json_of("sessions", "--data", tmp_path / "node")
    assert session["state"] == "closed"
    verified("--data", tmp_path / "node")


def test_a_second_node_on_the_same_folder_is_refused(tmp_path):
    folder = tmp_path / "node"
    with Node(tmp_path / "logs", "--demo", "--data", folder) as node:
        session = node.session()
        for command in (["serve", "--demo", "--for", "5s"], ["verify", "last"], ["sessions"]):
            refused = tradeflow(*command, "--data", folder)
            assert refused.returncode == 1
            assert "in use by another tradeflow process" in refused.stderr
            assert refused.stdout == ""
        assert node.runs()
        node.stop()
    (only,) = json_of("sessions", "--data", folder)
    assert (only["session"], only["state"]) == (session, "closed")
    verified("--data", folder)


def test_a_port_in_use_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        refused = tradeflow("serve", "--demo", "--data", tmp_path / "node", "--listen", address, "--for", "5s")
        assert refused.returncode == 1, refused.stdout + refused.stderr
        assert address in refused.stderr
    # Nothing is broken by it: it starts as soon as the port is free.
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "node", "--listen", address) as node:
        node.up()
        node.stop()
    verified("--data", tmp_path / "node")


BROKEN = """\
[node]
listen = "nowhere"
durability = "wood"

[[instruments]]
symbol = "BTCUSD"
class = "crypto-spot"
price_scale = 200
size_scale = 5
base = "BTC"
quote = "USD"
feed = "bloomberg"

[[accounts]]
id = "a"
colour = "red"
[[accounts.strategies]]
kind = "sma_crossing"
"""


def test_a_broken_configuration_tells_everything_at_once_and_where(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text(BROKEN)
    refused = tradeflow("serve", file, "--data", tmp_path / "node")
    assert refused.returncode == 1
    found = dict(re.findall(r"node\.toml:(\d+): (.*)", refused.stderr))
    assert sorted(map(int, found)) == [2, 3, 8, 12, 16, 18], refused.stderr
    for line, word in ((2, "address"), (3, "wood"), (8, "200"), (12, "bloomberg"), (16, "colour"), (18, "sma_crossing")):
        assert word in found[str(line)]
    assert not (tmp_path / "node").exists(), "nothing is begun with a broken configuration"


def test_no_broker_there(ran):
    assert ran.refused.process.returncode == 1
    assert ran.nowhere in ran.refused.text()
    assert not (ran.folder / "nowhere" / "bus").exists()
