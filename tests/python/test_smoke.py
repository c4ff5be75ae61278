"""The new user's day (`scripts/smoke.sh`) on a demonstration: as a user runs it, with its usual limits."""

import os
import subprocess
from pathlib import Path

from conftest import BINARY

ROOT = Path(__file__).parents[2]


def test_a_new_users_day():
    done = subprocess.run(
        [ROOT / "scripts" / "smoke.sh"], capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "TRADEFLOW_BIN": str(BINARY)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all as it should be\n")
