"""`tradeflow status` on a terminal, against a node that says what the test wants."""

import contextlib
import copy
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyte
import pytest

from conftest import BINARY, tradeflow

PATIENCE = 60

FEED = {
    **{"name": "binance", "state": "live", "age_ms": 120, "messages": 12345, "trades": 9000, "quotes": 3300, "published": 12300},
    **{"bad": 0, "duplicates": 2, "late": 1, "shed": 0, "rate_limited": 0, "unserved": 0, "connects": 1, "disconnects": 0},
    **{"degraded": False, "last_error": None},
}
QUOTE = {
    **{"symbol": "BTCUSD", "bid": "40000.10", "ask": "40000.20", "last": "40000.15", "source": "binance"},
    **{"ts_event": "2026-02-03T15:29:59Z", "age_ms": 1000, "freshness": "live", "stale": False},
}
CELL = {
    **{"account": "demo", "halted": None, "mode": "open", "currency": "USD", "equity": "100250.5", "cash": "40250.5"},
    **{"realized": "300.5", "unrealized": "-50", "fees": "12.25", "open_orders": 1},
    "positions": [{"symbol": "BTCUSD", "qty": "1.5", "mark": "40000", "unrealized": "-50"}],
    "strategies": [
        {"id": "cross", "kind": "sma_cross", "running": True, "failures": 0, "quarantined": False},
        {"id": "momentum", "kind": "tick_momentum", "running": False, "failures": 3, "quarantined": True},
    ],
    **{"events": 5000, "orders": 20, "fills": 18, "denied": 2, "rejected": 0, "pending": 0, "ts": 0},
    **{"recovery_ms": 1.5, "snapshot_ms": 2.5, "snapshots": 7},
}
STATUS = {
    **{"version": "0.1.0", "time": "2026-02-03T15:30:00.25Z", "session": "20260203-1", "ready": True},
    "health": {"status": "degraded", "reasons": ["strategy momentum of demo is quarantined after 3 failures"]},
    "feeds": [FEED, {**FEED, "name": "finnhub", "state": "silent", "age_ms": 200_000}],
    "quotes": [QUOTE, {**QUOTE, "symbol": "SPY", "source": "yahoo", "age_ms": 185_000, "freshness": "stale", "stale": True}],
    "cells": [CELL],
    "recorder": {"lag_records": 9, "lag_ms": 15_000, "rows": 123_456, "failures": 0, "failing": False, "last_error": None},
    "bars": {"bars": 77, "late": 3},
}


class Node:
    """A fake node; `status` may be changed while it runs."""

    def __init__(self, port: int = 0):
        self.status = copy.deepcopy(STATUS)
        node = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps(node.status).encode()
                self.send_response(200 if self.path == "/api/v1/status" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def node():
    node = Node()
    yield node
    with contextlib.suppress(OSError):
        node.stop()


class Terminal:
    """The program on a terminal of so many columns and lines, and what is to be seen on it."""

    def __init__(self, *arguments, columns=110, lines=40):
        self.master, self.slave = pty.openpty()
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(self.slave)

        def controlling():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [str(BINARY), "status", *map(str, arguments)],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment, preexec_fn=controlling,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns, lines):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self, patience: float) -> bool:
        ready, _, _ = select.select([self.master], [], [], max(0, patience))
        if ready:
            chunk = os.read(self.master, 65536)
            self.raw += chunk
            self.stream.feed(chunk)
        return bool(ready)

    def until(self, pattern: str) -> str:
        """Reads until the screen shows it."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.text()):
            assert self.process.poll() is None, f"it ended:\n{self.text()}"
            assert time.monotonic() < deadline, f"{pattern!r} is not shown:\n{self.text()}"
            self.read(0.2)
        return self.text()

    def press(self, keys: bytes):
        os.write(self.master, keys)

    def end(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.text()}"
            self.read(0.05)
        while self.read(0):
            pass
        return self.process.returncode

    def assert_restored(self):
        assert termios.tcgetattr(self.slave) == self.modes, "the terminal's modes are not what they were"
        assert self.raw.rfind(b"\x1b[?1049l") > self.raw.rfind(b"\x1b[?1049h"), "the main screen is not back"
        assert self.raw.rfind(b"\x1b[?25h") > self.raw.rfind(b"\x1b[?25l"), "the cursor is not back"


def test_once_prints_plain_tables(node):
    done = tradeflow("status", "--url", node.url, "--once")
    assert done.returncode == 0 and done.stderr == ""
    assert "\x1b" not in done.stdout
    print(done.stdout)
    for line in [
        r"^degraded  session 20260203-1  2026-02-03 15:30:00 UTC  version 0\.1\.0$",
        r"^  strategy momentum of demo is quarantined after 3 failures$",
        r"^binance +live +0\.1s +– +12,345 +12,300 +1 +2 +0 +0$",
        r"^finnhub +silent +3m20s ",
        r"^BTCUSD +40000\.10 +40000\.20 +40000\.15  binance +1\.0s  live$",
        r"^SPY .* yahoo +3m05s  STALE$",
        r"^demo +open +100,250\.50 USD +40,250\.50 +300\.50 +-50\.00 +12\.25 +1 +18 +2$",
        r"^demo +BTCUSD +1\.5 +40000 +-50\.00$",
        r"^demo +momentum +tick_momentum +QUARANTINED +3$",
        r"^recorder  123,456 rows written, 9 records \(15s\) behind, 0 failures$",
        r"^bars +77 made, 3 late ticks$",
    ]:
        assert re.search(line, done.stdout, re.MULTILINE), f"{line}\n{done.stdout}"
    # Where the output is no terminal it is printed once, too.
    assert tradeflow("status", "--url", node.url).stdout == done.stdout


def test_json_is_what_the_node_says(node):
    assert json.loads(tradeflow("status", "--url", f"{node.url}/", "--json").stdout) == STATUS


def test_no_node_is_one_line_of_advice():
    server = Node()
    server.stop()
    done = tradeflow("status", "--url", server.url, "--once")
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(
        rf"error: no node at {server.url} \(Connection refused.*\): start one with `tradeflow serve`, .* --url\n", done.stderr
    ), done.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://127.0.0.1", "not an address"])
def test_an_address_that_is_none(url):
    done = tradeflow("status", "--url", url, "--once")
    assert done.returncode == 2 and "such as http://127.0.0.1:8080" in done.stderr, done.stderr


def test_something_else_that_answers(node):
    node.status = ["not", "a", "status"]
    done = tradeflow("status", "--url", node.url, "--once")
    assert done.returncode == 1 and "not the status of a node" in done.stderr, done.stderr
    done = tradeflow("status", "--url", f"{node.url}/elsewhere", "--once")
    assert done.returncode == 1 and "HTTP 404" in done.stderr, done.stderr


def test_live_until_q(node):
    with Terminal("--url", node.url) as terminal:
        shown = terminal.until("q quits")
        shown = terminal.until(r"BTCUSD +40000\.10 ")
        print(shown)
        node.status["quotes"][0]["bid"] = "41234.50"
        node.status["feeds"][0]["messages"] += 100_000
        terminal.until(r"BTCUSD +41234\.50 ")
        assert re.search(r"^binance +live +0\.1s +[\d,]{5,} +112,345", terminal.text(), re.MULTILINE), terminal.text()
        terminal.press(b"q")
        assert terminal.end() == 0
        terminal.assert_restored()


def test_a_small_terminal_scrolls_and_a_resized_one_shows_more(node):
    with Terminal("--url", node.url, columns=60, lines=10) as terminal:
        shown = terminal.until(r"\d+ more lines below")
        assert "recorder" not in shown
        terminal.press(b"\x1b[F")  # End
        terminal.until(r"bars +77 made")
        assert "degraded" not in terminal.text()
        terminal.press(b"\x1b[H")  # Home
        terminal.until("degraded")
        terminal.resize(120, 50)  # the kernel tells the program
        shown = terminal.until(r"bars +77 made")
        assert "degraded" in shown and "more lines" not in shown
        terminal.press(b"q")
        assert terminal.end() == 0


@pytest.mark.parametrize("how", ["control-c", signal.SIGINT, signal.SIGTERM])
def test_the_terminal_is_restored_however_it_ends(node, how):
    with Terminal("--url", node.url) as terminal:
        terminal.until("BTCUSD")
        if how == "control-c":
            terminal.press(b"\x03")
        else:
            terminal.process.send_signal(how)
        assert terminal.end() == 0
        terminal.assert_restored()


def test_it_waits_for_a_node_and_goes_on_when_one_comes_back():
    node = Node()
    node.stop()
    with Terminal("--url", node.url) as terminal:
        shown = terminal.until("trying again: no node at")
        assert "start one with `tradeflow serve`" in " ".join(shown.split()), shown
        node = Node(node.port)
        terminal.until("BTCUSD")
        assert "trying again" not in terminal.text()
        node.stop()
        shown = terminal.until(r"as of \d.* ago; trying again: no node at")
        assert "BTCUSD" in shown, "what was last seen stays"
        terminal.press(b"q")
        assert terminal.end() == 0
        terminal.assert_restored()
