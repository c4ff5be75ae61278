"""ClickHouse's engine for the tests, started by scripts/clickhouse.sh; TRADEFLOW_CLICKHOUSE=http://… uses a server of yours
instead, TRADEFLOW_CLICKHOUSE=none skips the tests that need one."""

import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import markets


class Server:
    """A server of our own, that can be stopped and started again."""

    def __init__(self, environment: dict | None = None):
        folder = Path(tempfile.mkdtemp(prefix="tradeflow-clickhouse-")) / "data"
        command = [markets.REPO / "scripts" / "clickhouse.sh", folder]
        # The end of its input ends it, and removes the folder.
        self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
        self.url = self.read("ready")

    def read(self, word: str) -> str:
        said = self.process.stdout.readline()
        assert said.startswith(word), said
        return said.removeprefix(word).strip()

    def stop(self):
        print("stop", file=self.process.stdin, flush=True)
        self.read("stopped")

    def start(self):
        print("start", file=self.process.stdin, flush=True)
        self.read("ready")


def database(url: str) -> str:
    """The address of a database that no other test has."""
    return f"{url}/tradeflow_test_{os.getpid()}_{time.time_ns()}"


@contextmanager
def server(environment: dict | None = None):
    """A server that the test may stop. The environment may name its user and password."""
    if os.environ.get("TRADEFLOW_CLICKHOUSE") == "none":
        pytest.skip("TRADEFLOW_CLICKHOUSE=none")
    own = Server(environment)
    try:
        yield own
    finally:
        own.process.stdin.close()
        own.process.wait(60)
