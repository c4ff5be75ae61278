"""`tradeflow vendor`, run beside a test."""

import json
import select
import signal
import subprocess
import tempfile
import tomllib
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass

from conftest import BINARY

# A hang is what the tests look for; a slow machine is not.
PATIENCE = 60

# Lines that each vendor prints.
LINES = {"alphavantage": 1, "binance": 3, "finnhub": 3, "yahoo": 2}


@dataclass(frozen=True)
class Vendor:
    """A local vendor that listens."""

    http: str
    # The address of its stream, where it has one.
    ws: str | None = None

    def ask(self, path, method="GET", body=None) -> tuple[int, dict, str]:
        """Status, headers and text of an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.http + path, data, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
                return reply.status, dict(reply.headers), reply.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, dict(refused.headers), refused.read().decode()

    def get(self, path):
        status, _, text = self.ask(path)
        assert status == 200, f"{path}: {status} {text}"
        return json.loads(text)

    def switch(self, **rules):
        """Changes what goes wrong; what is not named is off."""
        status, _, text = self.ask("/_control", "PUT", rules)
        assert status == 200, text
        now = json.loads(text)
        assert {name: now[name] for name in rules} == rules


def read_address(process, name) -> Vendor:
    """What it prints once it listens: lines that the file of `tradeflow serve` takes, or a bare address."""
    text = ""
    for _ in range(LINES[name]):
        # Standard output is unbuffered here: `select` knows nothing of lines that Python has read already.
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        assert ready, "the vendor printed no address"
        line = process.stdout.readline().decode()
        assert line, "the vendor ended"
        text += line
    if name == "alphavantage":
        return Vendor(text.strip())
    section = tomllib.loads(text)["feeds"][name]
    if name == "yahoo":
        return Vendor(section["url"])
    return Vendor(section["rest_url"].removesuffix("/api/v1"), section["url"])


@contextmanager
def vendor(name, *arguments):
    """A local vendor, which ends with the block and says nothing in vain."""
    command = [str(BINARY), "vendor", name, *map(str, arguments)]
    # A file, not a pipe: nobody reads it while the vendor runs.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, bufsize=0)
        try:
            yield read_address(process, name)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
            errors.seek(0)
            said = errors.read().decode()
            print(said)
        assert process.returncode == 0 and said == "", said
