"""A node is told to stop while its database answers no query: clients are told, and it ends in order."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api_client import log_in, register
from nodes import Node, eventually
from postgres_server import postgres

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def closed_with(socket) -> int:
    try:
        while True:
            socket.recv(timeout=30)
    except ConnectionClosed as closed:
        return closed.rcvd.code


@contextmanager
def locked(database):
    """No query of the node's tables is answered meanwhile."""
    tables = database.sql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'", database="node")
    command = ["psql", "-X", "-q", "-d", database.url("postgres", "node")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as holder:
        print(f"BEGIN; LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE;", file=holder.stdin, flush=True)
        held = "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation = 'watchlists'::regclass"
        eventually("the tables are locked", lambda: database.sql(held, database="node"))
        yield
        holder.stdin.close()  # which ends the transaction


def test_a_node_stops_while_the_database_is_locked(tmp_path):
    with postgres() as database:
        database.sql("CREATE DATABASE node")
        state = {"TRADEFLOW__STATE__URL": database.url("postgres", "node")}
        with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=state) as node:
            register(node.address(), "trader@example.org")
            client = log_in(node.address(), "trader@example.org")
            headers = {"authorization": f"Bearer {client.token}"}
            with (
                connect(node.address().replace("http", "ws", 1) + "/api/v1/ws", additional_headers=headers) as socket,
                ThreadPoolExecutor(2) as threads,
            ):
                assert json.loads(socket.recv(timeout=30))["type"] == "hello"
                closed = threads.submit(closed_with, socket)
                client.ok("GET", "/api/v1/watchlists")  # who asks is known for a moment
                with locked(database):
                    asked = threads.submit(client, "GET", "/api/v1/watchlists")
                    waits = "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    eventually("queries wait", lambda: len(database.sql(waits, database="node")) > 1)
                    eventually("so does the request", lambda: any("watchlists" in query or "sessions" in query for query in database.sql(waits)))
                    begun = time.monotonic()
                    said = node.stop()
                    print(f"it ended after {time.monotonic() - begun:.1f} s")
                    answer = asked.result()
                    assert (answer.status, answer.json["code"]) == (503, "unavailable"), answer
                    assert "the node ends" in answer.json["detail"]
                    assert HEADERS.items() <= answer.headers.items()
                    assert closed.result() == 1001
            assert "panicked" not in said, said
        # What it did until then is whole.
        with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", "--for", "1s", environment=state) as node:
            node.end()
