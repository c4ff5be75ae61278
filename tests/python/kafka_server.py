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


class Broker:
    """A broker of our own, that can be killed and started again. `properties` gives settings of its own for its ports (of
    clients, of its controller)."""

    def __init__(self, properties=None):
        self.folder = Path(tempfile.mkdtemp(prefix="tradeflow-kafka-"))
        self.ports = free_ports(3)
        self.address = f"127.0.0.1:{self.ports[0]}"
        command = [markets.REPO / "scripts" / "kafka.sh", self.folder, *self.ports]
        environment = dict(os.environ)
        if properties:
            own = self.folder / "own.properties"
            own.write_text("".join(f"{name}={value}\n" for name, value in properties(*self.ports[:2]).items()))
            environment["KAFKA_PROPERTIES"] = str(own)
        # The end of its input ends it, and removes the folder.
        self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def tell(self, command: str, answer: str):
        print(command, file=self.process.stdin, flush=True)
        said = self.process.stdout.readline()
        assert said.startswith(answer), said

    def start(self):
        self.tell("start", "started")
        deadline = time.monotonic() + START_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.ports[0]), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, (self.folder / "kafka.log").read_text()
                time.sleep(0.05)  # polled: a child of a child can't be waited for until it listens

    def kill(self):
        """As `kill -9`."""
        self.tell("kill", "killed")

    def close(self):
        self.process.stdin.close()
        self.process.wait(START_MAX)
        self.process.stdout.close()


@contextmanager
def broker(properties=None):
    """A broker that may be killed, or that has settings of its own."""
    own = os.environ.get("TRADEFLOW_KAFKA")
    if own:
        pytest.skip(f"TRADEFLOW_KAFKA={own}: a broker of our own is killed or set up here")
    started = Broker(properties)
    try:
        started.start()
        yield started
    finally:
        started.close()


@contextmanager
def kafka():
    """The address of a broker."""
    own = os.environ.get("TRADEFLOW_KAFKA")
    if own == "none":
        pytest.skip("TRADEFLOW_KAFKA=none")
    if own:
        yield own
        return
    with broker() as started:
        yield started.address
