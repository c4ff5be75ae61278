"""A real PostgreSQL for the tests, started by scripts/postgres.sh."""

import os
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

import markets


class Server:
    """A server on a Unix socket in its folder, that can be killed and started again."""

    def __init__(self, folder: Path, process: subprocess.Popen):
        self.folder, self.process = folder, process

    def tell(self, command: str, answer: str):
        print(command, file=self.process.stdin, flush=True)
        said = self.process.stdout.readline()
        assert said.startswith(answer), said

    def kill(self):
        """Every connection is cut; what was not committed is gone."""
        self.tell("stop", "stopped")

    def start(self):
        self.tell("start", "ready ")

    def processes(self) -> list[int]:
        parent = (self.folder / "data" / "postmaster.pid").read_text().split()[0]
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", parent], capture_output=True, text=True, check=True)
        return [int(parent), *map(int, found.stdout.split())]

    @contextmanager
    def frozen(self):
        """It answers no one meanwhile, and closes no connection, as behind a network that loses everything."""
        stopped = self.processes()
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                os.kill(process, signal.SIGCONT)

    def url(self, user: str, database: str, password: str | None = None) -> str:
        who = f"{user}:{password}" if password else user
        return f"postgres://{who}@localhost/{database}?host={self.folder}"

    def sql(self, statements: str, user: str = "postgres", database: str = "postgres", password: str | None = None) -> list[str]:
        """Runs statements, which must succeed: the rows, fields with `|` between."""
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(user, database, password)]
        done = subprocess.run(command, check=False, input=statements, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{statements}\n{done.stderr}"
        return done.stdout.splitlines()

    def ask_for_password(self, user: str):
        """From here on this user needs his password, as over a network."""
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")
        self.sql("SELECT pg_reload_conf()")


@contextmanager
def postgres():
    """A server of our own."""
    own = os.environ.get("TRADEFLOW_POSTGRES")
    if own:
        pytest.skip(f"TRADEFLOW_POSTGRES={own}: a server of our own is set up here")
    # Not below pytest's folder: that is closed to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="tradeflow-pg-"))
    script = markets.REPO / "scripts" / "postgres.sh"
    # The end of its input ends it, and removes the folder.
    with subprocess.Popen([script, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        assert said.startswith("ready "), f"PostgreSQL does not start: {said!r}"
        yield Server(folder, process)
