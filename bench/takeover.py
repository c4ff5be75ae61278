"""How long a node takes to take over the accounts of one that was killed. Two nodes on one Kafka broker, which starts for this,
share the accounts; each account trades one of two symbols of a local vendor that sends 100 ticks a second. After a while one node
is killed (`kill -9`).

Said are the seconds from there until the other has each account's cell up again, and until it has all of them; in them is the time
after which the group notices. Target: the last within ten seconds after that. Then the seconds to stop the other, and to
`tradeflow verify` the session, which must be equal. Broker, nodes and vendor share the machine.

Figures go to the terminal and to data/bench/takeover.json."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPO / "tests" / "python"), str(REPO / "notebooks")]

from kafka_server import broker  # noqa: E402
from local_vendors import vendor  # noqa: E402
from nodes import eventually, verified  # noqa: E402
from test_api import UNLIMITED  # noqa: E402
from test_two_nodes import NOTICES, TAKES_OVER, cluster, owned, share  # noqa: E402

OUT = REPO / "data" / "bench" / "takeover.json"
PREFIX = "takeover."
# A node on a busy machine, with all accounts.
UP_MAX = 300


def takes(what: str, act):
    """What `act` gives, and its seconds."""
    begun = time.monotonic()
    given = act()
    took = time.monotonic() - begun
    print(f"{what:40} {took:6.1f} s")
    return given, took


def measure(folder: Path, kafka: str, binance: str, count: int, seconds: float) -> dict:
    accounts = [f"account-{number}" for number in range(count)]
    with cluster(folder, kafka, binance, PREFIX, UNLIMITED, accounts) as start:
        first, opened = takes("a session begins", lambda: start("a"))
        assert len(owned(first)) == count
        second, joined = takes("a second node begins", lambda: start("b"))
        _, shared = takes("it has its share", lambda: eventually("they share", lambda: share(first, second, accounts), UP_MAX))
        before = len(owned(second))
        time.sleep(seconds)  # what is measured is how much has happened meanwhile
        first.kill()
        begun, known, times = time.monotonic(), before, []
        while known < count:
            time.sleep(0.1)
            now = len(owned(second))
            times += [round(time.monotonic() - begun, 2)] * (now - known)
            known = now
            assert time.monotonic() - begun < UP_MAX, f"{known} of {count} are up"
        met = "met" if times[-1] <= NOTICES + TAKES_OVER else "MISSED"
        half = times[len(times) // 2]
        print(f"killed: of {len(times)} accounts the first is up after {times[0]} s, half after {half} s, all after {times[-1]} s")
        print(f"target: all {TAKES_OVER} s after the group has noticed, which takes {NOTICES} s: {met}")
        _, stopped = takes("it stops", second.stop)
    _, checked = takes("verify", lambda: verified("--data", folder / "b", "--kafka", kafka, "--prefix", PREFIX))
    return {
        "accounts": count,
        "seconds": seconds,
        "session_begins_s": opened,
        "second_joins_s": joined + shared,
        "taken_over": len(times),
        "first_s": times[0],
        "half_s": half,
        "all_s": times[-1],
        "stops_s": stopped,
        "verify_s": checked,
        "machine_load": os.getloadavg(),
    }


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--accounts", type=int, default=100)
    options.add_argument("--seconds", type=float, default=60, help="how long they trade before one is killed")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, broker() as kafka, vendor("binance", "--symbols", "BTCUSD,ETHUSD", "--rate", "100") as binance:
        figures = measure(Path(folder), kafka.address, binance.http.removeprefix("http://"), given.accounts, given.seconds)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"all figures: {OUT.relative_to(REPO)}")


if __name__ == "__main__":
    main()
