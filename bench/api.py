"""Speed of the API of a node that runs the demonstration; node, feeds, local vendors and clients share the machine.

1. `GET /quotes/{symbol}` with an API key beside a bare actix-web handler with the same body, in turns, by wrk with two threads
   and 16 connections. Target: at least 60 % of its rate.
2. Sockets that follow quotes: messages a second in all, and the time from the moment of a message (its number, in
   milliseconds) to its arrival. Target: 10,000 a second over 1,000 sockets, below 50 ms for 99 of 100.
3. From sending a market order over HTTP to its fill on the socket, with `power` durability. Target: below 100 ms for 99 of
   100.

Figures go to the terminal and to data/bench/api.json."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from websockets.asyncio.client import connect

REPO = Path(__file__).resolve().parents[1]
OUT = REPO / "data" / "bench" / "api.json"
PASSWORD = "correct horse battery 9"
UNLIMITED = {f"TRADEFLOW__API__{name}": "1000000" for name in ("ATTEMPTS_PER_MINUTE", "REQUESTS_PER_SECOND", "ANONYMOUS_PER_SECOND")}


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--release", type=Path, required=True, help="folder of the release build")
    options.add_argument("--sockets", type=int, default=1000)
    options.add_argument("--seconds", type=int, default=20, help="how long each thing is measured")
    options.add_argument("--orders", type=int, default=300)
    chosen = options.parse_args()
    report = {}
    with node(chosen.release, {}) as address:
        token = administrator(address)
        report["quotes"] = quotes(chosen, address, token)
        report["sockets"] = asyncio.run(sockets(chosen, address, token))
    with node(chosen.release, {"TRADEFLOW__NODE__DURABILITY": "power"}) as address:
        report["fills"] = asyncio.run(fills(chosen, address, administrator(address)))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nall figures: {OUT}")


@contextlib.contextmanager
def node(release: Path, settings: dict):
    """The demonstration; gives its address once it runs."""
    with tempfile.TemporaryDirectory(prefix="tradeflow-bench-", dir=REPO / "data") as folder:
        command = [release / "tradeflow", "serve", "--demo", "--data", folder, "--listen", "127.0.0.1:0"]
        environment = {**os.environ, **UNLIMITED, **settings}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        try:
            yield next(re.search(r"http://([0-9.:]+)/", line)[1] for line in process.stdout if line.startswith("look "))
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
            call(address, "GET", "/quotes/BTCUSD", token=key)
            return key
        time.sleep(0.1)


def quotes(chosen, address: str, token: str) -> dict:
    body = json.dumps(call(address, "GET", "/quotes/BTCUSD", token=token))
    bare = subprocess.Popen([chosen.release / "examples" / "bare", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    places = {"ours": f"{address}/api/v1", "bare": bare.stdout.readline().strip()}
    rates = {name: [] for name in places}
    for _ in range(3):
        for name, place in places.items():
            command = ["wrk", "-t2", "-c16", f"-d{max(2, chosen.seconds // 6)}s", "-H", f"authorization: Bearer {token}", f"http://{place}/quotes/BTCUSD"]
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


async def sockets(chosen, address: str, token: str) -> dict:
    late, opened = [], asyncio.Semaphore(50)
    symbols = ["BTCUSD"]  # ten changes a second at most: 1,000 sockets hear 10,000 messages
    started = asyncio.Event()
    ready = 0

    async def one():
        nonlocal ready
        async with opened:
            socket = await connect(f"ws://{address}/api/v1/ws", additional_headers={"authorization": f"Bearer {token}"}, compression=None, open_timeout=60)
        async with socket:
            await socket.send(json.dumps({"op": "subscribe", "channel": "quotes", "keys": symbols}))
            ready += 1
            if ready == chosen.sockets:
                started.set()
            async for text in socket:
                if started.is_set() and text.startswith('{"type":"update"'):
                    at = text.index('"seq":') + 6
                    late.append(time.time() * 1000 - int(text[at : text.index(",", at)]))

    tasks = [asyncio.create_task(one()) for _ in range(chosen.sockets)]
    await started.wait()
    late.clear()
    begun = time.monotonic()
    await asyncio.sleep(chosen.seconds)
    seconds, heard = time.monotonic() - begun, late[:]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    rate, p50, p99 = len(heard) / seconds, percentile(heard, 0.5), percentile(heard, 0.99)
    print(f"sockets  {chosen.sockets} of them, {rate:,.0f} messages/s in all, p50 {p50:.1f} ms, p99 {p99:.1f} ms (target 10,000 and 50 ms)")
    return {"sockets": chosen.sockets, "messages_per_second": rate, "p50_ms": p50, "p99_ms": p99}


async def fills(chosen, address: str, token: str) -> dict:
    took = []
    async with connect(f"ws://{address}/api/v1/ws", additional_headers={"authorization": f"Bearer {token}"}) as socket:
        await socket.send(json.dumps({"op": "subscribe", "channel": "fills", "keys": ["paper"]}))
        for number in range(chosen.orders):
            order = {"symbol": "ETHUSD", "side": ["buy", "sell"][number % 2], "type": "market", "qty": "0.01"}
            begun = time.perf_counter()
            sent = asyncio.get_running_loop().run_in_executor(None, call, address, "POST", "/accounts/paper/orders", order, token)
            order_id = None
            waiting = {}
            while order_id is None or order_id not in waiting:
                message = json.loads(await socket.recv())
                if message["type"] == "update":
                    waiting[message["data"]["order_id"]] = time.perf_counter()
                if order_id is None and (sent.done() or waiting):
                    order_id = (await sent)["order_ids"][0]
            took.append((waiting[order_id] - begun) * 1000)
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    print(f"fills    order over HTTP to fill on the socket, synced: p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(took)} (target 100 ms)")
    return {"orders": len(took), "p50_ms": p50, "p99_ms": p99}


if __name__ == "__main__":
    main()
