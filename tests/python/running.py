"""A run of the real program that is watched, stopped or killed on its way. Nothing here sleeps: every wait is for an
event, and ends once nothing has happened for `PATIENCE` seconds, which is far more than any of them may take."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import BINARY

# A hang is what the tests look for; a slow machine is not.
PATIENCE = 60


class Running:
    """The program with a terminal as its standard error, so that it shows its progress bar there."""

    def __init__(self, *arguments, cwd=None):
        self.terminal, other_end = pty.openpty()
        command = [str(BINARY), *map(str, arguments)]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        # A session of its own, so that a signal to its process group reaches its children and not pytest.
        self.process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=other_end, env=environment, start_new_session=True
        )
        os.close(other_end)
        self.shown = ""
        self.deadline = time.monotonic() + PATIENCE

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)
        self.process.stdout.close()
        os.close(self.terminal)

    def read(self) -> bool:
        """Takes what the terminal shows next; false once the program and its children have closed it."""
        ready, _, _ = select.select([self.terminal], [], [], max(0, self.deadline - time.monotonic()))
        assert ready, f"nothing was shown for {PATIENCE} s: {self.shown!r}"
        try:
            chunk = os.read(self.terminal, 65536)
        except OSError:  # Linux reports the end of a terminal so
            return False
        self.shown += chunk.decode(errors="replace")
        return bool(chunk)

    def until_progress(self):
        """Returns when some of the rows are done, and not all."""
        while not re.search(r"\b[1-9]\d?%", self.shown):
            assert self.read(), f"it ended before it showed progress: {self.shown!r}"

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task")
        return [int(child) for task in path.iterdir() for child in (task / "children").read_text().split()]

    def threads(self) -> list[str]:
        """Names of the threads there are now."""
        names = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                names.append((task / "comm").read_text().strip())
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
        return names

    def end(self) -> tuple[int, str, str]:
        """Waits for the end: exit status, standard output, and all that the terminal showed."""
        self.deadline = time.monotonic() + PATIENCE
        # Both are read at once: a terminal or a pipe that nobody reads fills up, and the program would wait for us.
        with ThreadPoolExecutor(1) as other:
            out = other.submit(self.process.stdout.read)
            try:
                while self.read():
                    pass
            except BaseException:
                os.killpg(self.process.pid, signal.SIGKILL)  # so that the other thread ends too
                raise
            status = self.process.wait(PATIENCE)
            return status, out.result(PATIENCE).decode(), self.shown


def wait_for_end(pid: int, pidfd: int):
    """Waits for the end of a process that is not a child of ours."""
    ready, _, _ = select.select([pidfd], [], [], PATIENCE)
    os.close(pidfd)
    assert ready, f"process {pid} still runs after {PATIENCE} s"
