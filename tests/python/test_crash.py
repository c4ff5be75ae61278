"""A node that is killed at random instants goes on where it was: the same session, nothing lost, nothing done twice.

`TRADEFLOW_KILLS=200` kills so often; `TRADEFLOW_SEED` repeats a run (as far as the instants go: where the program is then,
the machine decides).

`verify` compares every record of orders and fills byte for byte with those of a replay, their numbers too, which go up one by
one: a record that is missing, or there twice, is a difference. On Kafka a stock consumer looks for itself.
"""

import os
import random
import signal
import time
from decimal import Decimal
from pathlib import Path

import pytest

from kafka_server import broker
from nodes import PATIENCE, Node, check_books, eventually, json_of, quick_group, verified

KILLS = os.environ.get("TRADEFLOW_KILLS")


@pytest.fixture
def chance():
    seed = int(os.environ.get("TRADEFLOW_SEED", random.SystemRandom().randrange(1_000_000)))
    print(f"TRADEFLOW_SEED={seed}")
    return random.Random(seed)


def sleep(seconds: float):
    """Until the instant of a kill: the one thing here that is not waited for by its effect."""
    time.sleep(seconds)


def kill_at_random(chance: random.Random, kills: int, logs: Path, *arguments, environment=None, slow: float):
    """Starts a node and kills it, again and again."""
    for number in range(kills):
        with Node(logs, *arguments, environment=environment) as node:
            match number % 3:
                case 0:  # while it starts, recovers, joins its group
                    sleep(chance.uniform(0, slow))
                case 1:  # while it runs
                    node.up()
                    sleep(chance.uniform(0, 1.5))
                case 2:  # while it stops: but not when it has
                    node.up()
                    sleep(chance.uniform(0, 0.5))
                    node.send(signal.SIGTERM)
                    sleep(chance.uniform(0, 0.4))
            ended = node.process.poll()
            assert ended is None or (ended == 0 and number % 3 == 2), f"kill {number}: it ended with {ended}:\n{node.text()}"
            node.kill()


def test_killed_at_random_on_the_embedded_log(tmp_path, chance):
    place = ("--data", tmp_path / "node")
    kills = int(KILLS or 18)
    logs = tmp_path / "logs"
    kill_at_random(chance, kills, logs, "--demo", *place, slow=0.15)
    finish(logs, place)
    # Every session is what its journal says, also those whose end was being written when the node was killed.
    for session in json_of("sessions", *place):
        assert session["state"] == "closed"
        verified(*place, session=session["session"])


def test_the_same_session_goes_on(tmp_path, chance):
    place = ("--data", tmp_path / "node")
    sessions = set()
    for _ in range(3):
        with Node(tmp_path / "logs", "--demo", *place) as node:
            sessions.add(node.session())
            sleep(chance.uniform(0, 0.3))
            node.kill()
        open_one = verified(*place, closed=False)  # compared as far as it got
        assert open_one["session"] in sessions
    with Node(tmp_path / "logs", "--demo", *place) as node:
        sessions.add(node.session())
        assert "the session goes on" in node.text()
        node.stop()
    assert len(sessions) == 1
    (only,) = json_of("sessions", *place)
    assert (only["session"], only["state"]) == (sessions.pop(), "closed")
    verified(*place)


def finish(logs, place, environment=None) -> dict:
    """Runs it until it trades, and stops it: what `verify` says of the last session."""
    with Node(logs, "--demo", *place, environment=environment) as node:
        # Twice: the first that it shows may be what the account brought with it.
        for _ in range(2):
            before = fills(node)
            eventually("it trades", lambda before=before: fills(node) > before, 2 * PATIENCE)
        said = node.stop()
    assert " ERROR " not in said, said
    verdict = verified(*place)
    # (In a market that trends they may be those of an order of an earlier session.)
    assert verdict["fills"] > 0
    return verdict


def fills(node: Node) -> int:
    return sum(cell["fills"] for cell in node.status()["cells"])


def test_killed_at_random_on_kafka(tmp_path, chance, brokers, prefix):
    place = ("--data", tmp_path / "node", "--kafka", brokers, "--prefix", prefix)
    kills = int(KILLS or 6)
    logs, environment = tmp_path / "logs", quick_group(brokers)
    kill_at_random(chance, kills, logs, "--demo", *place, environment=environment, slow=3)
    verdict = finish(logs, place, environment)
    books = check_books(brokers, prefix)
    sessions = [verified(*place, session=session["session"]) for session in json_of("sessions", *place)]
    assert books["paper"]["fills"] == sum(session["fills"] for session in sessions)
    assert books["paper"]["cash"] == Decimal(verdict["accounts"][0]["cash"])


def test_the_broker_is_killed_under_a_node(tmp_path, chance):
    with broker() as server:
        place = ("--data", tmp_path / "node", "--kafka", server.address)
        logs, environment = tmp_path / "logs", quick_group(server.address)
        with Node(logs, "--demo", *place, environment=environment) as node:
            session = node.session()
            sleep(chance.uniform(1, 3))
            server.kill()
            sleep(chance.uniform(0, 2))
            server.start()
            sleep(chance.uniform(1, 3))
            if node.runs():
                node.stop()
            else:
                assert node.process.returncode == 1
                assert server.address in node.text()
        # Whether it lived through it or not, the next start goes on with what is there.
        verdict = finish(logs, place, environment)
        books = check_books(server.address)
        sessions = [verified(*place, session=known["session"]) for known in json_of("sessions", *place)]
        assert session in [known["session"] for known in sessions]
        assert books["paper"]["fills"] == sum(known["fills"] for known in sessions)
        assert books["paper"]["cash"] == Decimal(verdict["accounts"][0]["cash"])
