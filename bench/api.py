"""Speed of the API of a node on a quick market: a local vendor with a trade or quote of each of two symbols every 2.5 ms. Node,
vendor and clients share the machine.

1. `GET /quotes/{symbol}` with an API key beside a bare actix-web handler with the same body, in turns, by wrk with two threads
   and 16 connections. Target: at least 60 % of its rate.
2. Sockets that follow a quote, one in ten of them a second one: messages a second in all, and the time from the moment of a
   message (its number, in milliseconds) to its arrival; and the processors that server and client took for it. Target: 10,000 a
   second over 1,000 sockets, below 50 ms for 99 of 100.
3. From sending a market order over HTTP to its fill on the socket, with `power` durability. Target: below 100 ms for 99 of
   100.
4. The same without and with a backtest of 40 accounts running as a job of the node, in turns: with `power` durability, which
   shares the disk with the job's results, and with `process`, which shares the processors alone. Target: jobs never slow
   trading; the ratio is said.

Figures go to the terminal and to data/bench/api.json."""

import argparse
import contextlib
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import urllib.request
from pathlib import Path

from websockets.sync.client import connect

REPO = Path(__file__).resolve().parents[1]
OUT = REPO / "data" / "bench" / "api.json"
PASSWORD = "correct horse battery 9"
UNLIMITED = {f"TRADEFLOW__API__{name}": "1000000" for name in ("ATTEMPTS_PER_MINUTE", "REQUESTS_PER_SECOND", "ANONYMOUS_PER_SECOND")}
SYMBOLS = {"BTCUSD": ("BTC", 5), "ETHUSD": ("ETH", 4)}
SYMBOL = "BTCUSD"
FEED = """
[feeds.binance]
url = "{url}"
rest_url = "{rest_url}"
"""
INSTRUMENT = """
[[instruments]]
symbol = "{symbol}"
class = "crypto-spot"
price_scale = 2
size_scale = {size_scale}
base = "{base}"
quote = "USD"
calendar = "24x7"
fees = {{ taker_bps = 1 }}
feed = "binance"
feed_symbol = "{symbol}T"
quotes = true
bars = ["1m"]
"""
ACCOUNT = """
[[accounts]]
id = "paper"
leverage = 2
[[accounts.strategies]]
kind = "tick_momentum"
params = { lookback = 20, threshold_bps = 0, direction = "both" }
symbols = ["BTCUSD"]
data = "trades"
size = "20%"
"""
JOB = {
    "data": {"symbols": ["SAMPLE-BTC"], "interval": "1m"},
    "account": [{"id": f"a{n}", "strategy": [{"kind": "sma_cross", "params": {"fast": 2 + n, "slow": 3 + 2 * n}}]} for n in range(40)],
}
# Rounds of the fourth measure, half of them with a job.
ROUNDS = 6


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--release", type=Path, required=True, help="folder of the release build")
    options.add_argument("--sockets", type=int, default=1000)
    options.add_argument("--clients", type=int, default=1, help="processes that the sockets are spread over")
    options.add_argument("--seconds", type=int, default=20, help="how long each thing is measured")
    options.add_argument("--orders", type=int, default=300, help="orders of the third measure, and of a round of the fourth")
    options.add_argument("--only", choices=["quotes", "sockets", "fills", "jobs"], nargs="*", help="these alone")
    chosen = options.parse_args()
    wanted = chosen.only or ["quotes", "sockets", "fills", "jobs"]
    report = {"load_before": os.getloadavg(), "processors": os.cpu_count()}
    print(f"load before: {report['load_before'][0]:.2f} over a minute, {os.cpu_count()} processors")
    with vendor(chosen.release) as market:
        if {"quotes", "sockets"} & set(wanted):
            with node(chosen.release, market, {}) as running:
                report |= {name: measure(chosen, running) for name, measure in (("quotes", quotes), ("sockets", sockets)) if name in wanted}
        for durability in ("power", "process") if {"fills", "jobs"} & set(wanted) else ():
            with node(chosen.release, market, {"TRADEFLOW__NODE__DURABILITY": durability}) as running:
                if "fills" in wanted and durability == "power":
                    report["fills"] = fills(chosen, running)
                if "jobs" in wanted:
                    report[f"jobs_{durability}"] = jobs(chosen, running, durability)
    report["load_after"] = os.getloadavg()
    print(f"load after: {report['load_after'][0]:.2f}")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nall figures: {OUT}")


@contextlib.contextmanager
def vendor(release: Path):
    """A local Binance; gives the addresses that it says."""
    command = [release / "tradeflow", "vendor", "binance", "--symbols", ",".join(SYMBOLS), "--rate", "800"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield tomllib.loads("".join(process.stdout.readline() for _ in range(3)))["feeds"]["binance"]
    finally:
        process.terminate()
        process.wait(30)


class Running:
    """A node: its address, an API key, and the processor time that it has taken."""

    def __init__(self, address: str, process: subprocess.Popen):
        self.address, self.process = address, process
        self.token = administrator(address)

    def cpu(self) -> dict[str, float]:
        """Seconds so far, by the names of threads."""
        used = {}
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                head, _, tail = (task / "stat").read_text().rpartition(") ")
                user, system = tail.split()[11:13]
                name = head.partition("(")[2]
                used[name] = used.get(name, 0) + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        return used


@contextlib.contextmanager
def node(release: Path, market: dict, settings: dict):
    """A node on that market, once it has a quote, and history for its jobs."""
    (REPO / "data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tradeflow-bench-", dir=REPO / "data") as folder:
        program, config = release / "tradeflow", Path(folder) / "node.toml"
        instruments = (INSTRUMENT.format(symbol=symbol, base=base, size_scale=scale) for symbol, (base, scale) in SYMBOLS.items())
        config.write_text(FEED.format(**market) + "".join(instruments) + ACCOUNT)
        subprocess.run([program, "sample", "--catalog", f"{folder}/catalog", "--symbols", "SAMPLE-BTC"], check=True, capture_output=True)
        command = [program, "serve", config, "--data", folder, "--listen", "127.0.0.1:0"]
        environment = {**os.environ, **UNLIMITED, **settings}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        try:
            yield Running(next(re.search(r"http://([0-9.:]+)/", line)[1] for line in process.stdout if line.startswith("look ")), process)
        finally:
            process.terminate()
            process.wait(30)


def call(address: str, method: str, path: str, body=None, token: str | None = None):
    request = urllib.request.Request(f"http://{address}/api/v1{path}", method=method)
    if token:
        request.add_header("authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def administrator(address: str) -> str:
    """An API key of the first user."""
    who = {"email": "bench@example.org", "password": PASSWORD}
    call(address, "POST", "/auth/register", who)
    token = call(address, "POST", "/auth/login", who)["access_token"]
    key = call(address, "POST", "/api-keys", {"name": "bench", "scopes": ["read", "trade"]}, token)["secret"]
    while True:
        with contextlib.suppress(urllib.error.HTTPError):
            for symbol in SYMBOLS:
                call(address, "GET", f"/quotes/{symbol}", token=key)
            return key
        time.sleep(0.1)


def quotes(chosen, running: Running) -> dict:
    body = json.dumps(call(running.address, "GET", f"/quotes/{SYMBOL}", token=running.token))
    bare = subprocess.Popen([chosen.release / "examples" / "bare", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    places = {"ours": f"{running.address}/api/v1", "bare": bare.stdout.readline().strip()}
    rates = {name: [] for name in places}
    for _ in range(3):
        for name, place in places.items():
            headers = ["-H", f"authorization: Bearer {running.token}"]
            command = ["wrk", "-t2", "-c16", f"-d{max(2, chosen.seconds // 6)}s", *headers, f"http://{place}/quotes/{SYMBOL}"]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert "Non-2xx" not in said, said
            rates[name].append(float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]))
    bare.stdin.close()
    bare.wait(10)
    ours, alone = (statistics.median(rates[name]) for name in places)
    print(f"quotes   {ours:,.0f} requests/s, bare handler {alone:,.0f}: {ours / alone:.0%} (target 60 %)")
    return {"requests_per_second": ours, "bare": alone, "ratio": ours / alone}


def percentile(values: list, share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def sockets(chosen, running: Running) -> dict:
    script = Path(__file__).with_name("api_sockets.py")
    shares = [chosen.sockets // chosen.clients + (n < chosen.sockets % chosen.clients) for n in range(chosen.clients)]
    common = [sys.executable, script, running.address, running.token, ",".join(SYMBOLS)]
    clients = [subprocess.Popen([*map(str, common), str(share), str(chosen.seconds)], stdout=subprocess.PIPE, text=True) for share in shares]
    for client in clients:
        assert client.stdout.readline() == "ready\n", "a client has failed"
    before = running.cpu()
    told = [json.loads(client.communicate()[0]) for client in clients]
    seconds = max(one["seconds"] for one in told)
    threads = {name: (used - before.get(name, 0)) / seconds for name, used in running.cpu().items()}
    late, own = ([value for one in told for value in one[name]] for name in ("late_ms", "own_ms"))
    rate, p50, p99, own_p99 = len(late) / seconds, percentile(late, 0.5), percentile(late, 0.99), percentile(own, 0.99)
    server, client = sum(threads.values()), sum(one["cpu_seconds"] / one["seconds"] for one in told)
    print(f"sockets  {chosen.sockets} of them, {rate:,.0f} messages/s in all, p50 {p50:.1f} ms, p99 {p99:.1f} ms (target 10,000 and 50 ms)")
    print(f"         processors taken: server {server:.2f}, client {client:.2f}; the client's own timer is {own_p99:.1f} ms late (p99)")
    busiest = dict(sorted(threads.items(), key=lambda thread: -thread[1])[:6])
    figures = {"p50_ms": p50, "p99_ms": p99, "client_late_p99_ms": own_p99, "server_processors": server, "client_processors": client}
    return {"sockets": chosen.sockets, "messages_per_second": rate, **figures, "server_threads": busiest}


class Fills:
    """Orders over one connection, and their fills on the socket, which a thread of its own hears."""

    def __init__(self, running: Running):
        self.heard, self.news = {}, threading.Condition()
        self.headers = {"authorization": f"Bearer {running.token}", "content-type": "application/json"}
        self.http = http.client.HTTPConnection(running.address, timeout=30)
        self.opening = connect(f"ws://{running.address}/api/v1/ws", additional_headers={"authorization": f"Bearer {running.token}"})

    def __enter__(self):
        self.socket = self.opening.__enter__()
        self.socket.send(json.dumps({"op": "subscribe", "channel": "fills", "keys": ["paper"]}))
        while json.loads(self.socket.recv())["type"] != "snapshot":
            pass
        self.thread = threading.Thread(target=self.hear)
        self.thread.start()
        self.measure(20)  # what is done for the first time is not measured
        return self

    def __exit__(self, *exception):
        self.opening.__exit__(*exception)
        self.thread.join()

    def hear(self):
        for text in self.socket:  # ends when the socket does
            at = time.perf_counter()
            message = json.loads(text)
            if message["type"] == "update":
                with self.news:
                    self.heard.setdefault(message["data"]["order_id"], at)
                    self.news.notify()

    def measure(self, orders: int) -> list[float]:
        """Milliseconds from an order to its first fill."""
        took = []
        for number in range(orders):
            order = json.dumps({"symbol": SYMBOL, "side": ("buy", "sell")[number % 2], "type": "market", "qty": "0.001"})
            begun = time.perf_counter()
            self.http.request("POST", "/api/v1/accounts/paper/orders", order, self.headers)
            answer = self.http.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            (order_id,) = json.loads(text)["order_ids"]
            with self.news:
                assert self.news.wait_for(lambda: order_id in self.heard, 30), "an order has not been filled within 30 s"
            took.append((self.heard[order_id] - begun) * 1000)
        return took


def fills(chosen, running: Running) -> dict:
    with Fills(running) as measured:
        took = measured.measure(chosen.orders)
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    print(f"fills    order over HTTP to fill on the socket, synced: p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(took)} (target 100 ms)")
    return {"orders": len(took), "p50_ms": p50, "p99_ms": p99}


class Jobs:
    """Keeps backtests running on a node."""

    def __init__(self, running: Running):
        self.running, self.ids, self.stopped = running, [], threading.Event()
        self.thread = threading.Thread(target=self.keep)

    def call(self, method: str, path: str, body=None):
        return call(self.running.address, method, f"/backtests{path}", body, self.running.token)

    def status(self, job_id: str) -> str:
        return self.call("GET", f"/{job_id}")["status"]

    def keep(self):
        """One runs, and one waits to be next."""
        while not self.stopped.wait(0.2):
            open_ones = [job for job in self.ids[-2:] if self.status(job) in ("queued", "running")]
            for _ in range(2 - len(open_ones)):
                self.ids.append(self.call("POST", "", {"config": JOB})["job_id"])

    def __enter__(self):
        self.thread.start()
        while not any(self.status(job) == "running" for job in list(self.ids)):
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        for job in self.ids:
            with contextlib.suppress(urllib.error.HTTPError):  # it has ended
                self.call("DELETE", f"/{job}")
        while of_children(self.running)[1]:
            time.sleep(0.02)


def jobs(chosen, running: Running, durability: str) -> dict:
    took, ran, ratios = {"without": [], "with": []}, 0.0, {"p50": [], "p99": []}
    with Fills(running) as measured:
        for _ in range(ROUNDS // 2):
            alone = measured.measure(chosen.orders)
            with Jobs(running):
                begun, used = time.monotonic(), of_children(running)[0]
                beside = measured.measure(chosen.orders)
                ran += (of_children(running)[0] - used) / (time.monotonic() - begun)
            took["without"] += alone
            took["with"] += beside
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                ratios[name].append(percentile(beside, share) / percentile(alone, share))
    figures = {name: {"p50_ms": percentile(values, 0.5), "p99_ms": percentile(values, 0.99)} for name, values in took.items()}
    ratio = {name: statistics.median(values) for name, values in ratios.items()}
    for name, values in figures.items():
        print(f"jobs     {durability}, {name} a backtest beside it: p50 {values['p50_ms']:.1f} ms, p99 {values['p99_ms']:.1f} ms")
    ran /= ROUNDS // 2
    print(f"         with over without, median of {ROUNDS // 2} rounds: p50 {ratio['p50']:.2f}, p99 {ratio['p99']:.2f}; the job took {ran:.2f} processors")
    return {**figures, "ratio": ratio, "ratios": ratios, "job_processors": ran}


def of_children(running: Running) -> tuple[float, int]:
    """Processor time of the node's children, in seconds: of those that run, and of those that have ended; how many run."""
    used, run, parent = 0, 0, str(running.process.pid)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text().rpartition(") ")[2].split()
            if fields[1] == parent:
                run += 1
                used += int(fields[11]) + int(fields[12])
            if stat.parent.name == parent:
                used += int(fields[13]) + int(fields[14])
    return used / os.sysconf("SC_CLK_TCK"), run


if __name__ == "__main__":
    main()
