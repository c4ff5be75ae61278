"""A real Kafka broker for the tests, started by scripts/kafka.sh; TRADEFLOW_KAFKA=host:port uses one of yours instead,
TRADEFLOW_KAFKA=none skips the tests that need one."""

import os
import random
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import markets

# How long a broker may take to start.
START_MAX = 180


def free_ports(count: int) -> list[int]:
    """Ports that are free now, below those of outgoing connections."""
    found = []
    while len(found) < count:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


@contextmanager
def kafka():
    """The address of a broker."""
    own = os.environ.get("TRADEFLOW_KAFKA")
    if own == "none":
        pytest.skip("TRADEFLOW_KAFKA=none")
    if own:
        yield own
        return
    folder = Path(tempfile.mkdtemp(prefix="tradeflow-kafka-"))
    ports = free_ports(3)
    command = [markets.REPO / "scripts" / "kafka.sh", folder, *ports]
    # The end of its input ends it, and removes the folder.
    process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        print("start", file=process.stdin, flush=True)
        answer = process.stdout.readline()
        assert answer.startswith("started"), answer
        deadline = time.monotonic() + START_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", ports[0]), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "kafka.log").read_text()
                time.sleep(0.05)  # polled: a child of a child can't be waited for until it listens
        yield f"127.0.0.1:{ports[0]}"
    finally:
        process.stdin.close()
        process.wait(START_MAX)
        process.stdout.close()
