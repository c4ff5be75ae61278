"""Vendors' servers in Python, on a free port: what was recorded, played through the vendor's own protocol. They share no
code with the program's local vendors.

**Times.** A recorded day is years old, and prices that are older than a minute fill nothing. So every time stamp is
replaced by the one it would have had if the recording had begun when playing did: `began + (recorded - first) / speed`. The
order, and the distances (by the speed), are those recorded; prices, quantities and numbers are untouched.
"""

import asyncio
import gzip
import json
import re
import threading
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.datastructures import Headers

import markets


def recorded(name: str) -> Path:
    """A file of recorded data; skips the test where it is absent."""
    path = markets.DATA / name
    if not path.exists():
        pytest.skip(f"no {path}: set TRADEFLOW_DATA to the folder of the recorded data")
    return path


class Vendor:
    """A WebSocket server on a thread of its own. `frames` are (seconds since the first, stream, the frame at some shift of
    time in ms): each is sent to the connections that are subscribed to its stream, when it is due."""

    def __init__(self, frames, speed: float):
        self.frames, self.speed = frames, speed
        self.sent = Counter()
        self.subscribed = {}
        self.port = 0
        self.failed = None
        # Set once someone is subscribed to everything that there is, and when all was sent.
        self.started, self.played, self.ready = threading.Event(), threading.Event(), threading.Event()
        self.loop = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10), "the vendor does not listen"
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(10)
        if self.failed:
            raise self.failed

    def run(self):
        try:
            asyncio.run(self.main())
        except BaseException as error:
            self.failed = error
            self.ready.set()

    async def main(self):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self.connection, "127.0.0.1", 0, process_request=self.http, compression=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            player = asyncio.create_task(self.play())
            self.ready.set()
            await self.over.wait()
            player.cancel()
            if player.done() and not player.cancelled() and player.exception():
                raise player.exception()

    async def connection(self, socket):
        self.subscribed[socket] = set()
        try:
            async for text in socket:
                await self.request(socket, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            del self.subscribed[socket]

    async def play(self):
        wanted = {stream for _, stream, _ in self.frames}
        while not wanted <= set().union(*self.subscribed.values()):
            await asyncio.sleep(0.005)
        self.started.set()
        begun = time.monotonic()
        shift = Shift(self.frames[0][0], self.speed)
        for count, (at, stream, frame) in enumerate(self.frames):
            early = begun + (at - self.frames[0][0]) / self.speed - time.monotonic()
            # Sending gives way to the readers only now and then.
            if early > 0.001 or count % 64 == 0:
                await asyncio.sleep(max(0, early))
            text = frame(shift)
            for socket, streams in list(self.subscribed.items()):
                if stream in streams:
                    try:
                        await socket.send(text)
                    except ConnectionClosed:
                        continue
            self.sent[stream] += 1
        self.played.set()

    async def request(self, socket, message):
        raise NotImplementedError

    def http(self, connection, request):
        return None


class Shift:
    """From recorded times (seconds) to those of now."""

    def __init__(self, first: float, speed: float):
        self.began, self.first, self.speed = time.time(), first, speed

    def ms(self, recorded_ms: float) -> int:
        return int((self.began + (recorded_ms / 1000 - self.first) / self.speed) * 1000)


def answer(body, status=200) -> Response:
    body = json.dumps(body).encode()
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, "OK" if status == 200 else "Not Found", headers, body)


class Binance(Vendor):
    """Binance's combined streams: `SUBSCRIBE` is answered with its id."""

    async def request(self, socket, message):
        assert message["method"] in ("SUBSCRIBE", "UNSUBSCRIBE"), message
        change = set(message["params"])
        if message["method"] == "SUBSCRIBE":
            self.subscribed[socket] |= change
        else:
            self.subscribed[socket] -= change
        await socket.send(json.dumps({"result": None, "id": message["id"]}))


# Numbers in what was recorded: matched as text, so that all else stays byte for byte as it was.
BINANCE_TIMES = re.compile(r'"([ET])":(\d{13})')


def binance_frames(path: Path, streams: set[str]) -> list:
    """The recorded frames of some streams; the recording's clock says when each came."""
    frames = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            received, text = line.rstrip("\n").split(" ", 1)
            stream = re.match(r'\{"stream":"([^"]+)"', text)
            if stream and stream[1] in streams:
                # The receiver's clock was behind the exchange's by some 1.27 s: the exchange's counts.
                at = int(received) / 1e9 + 1.272
                frames.append((at, stream[1], shifted(text)))
    return frames


def shifted(text: str):
    return lambda shift: BINANCE_TIMES.sub(lambda found: f'"{found[1]}":{shift.ms(int(found[2]))}', text)


class Finnhub(Vendor):
    """Finnhub's socket (subscriptions are not answered), and its call for quotes; what it has no path for is not found."""

    async def request(self, socket, message):
        if message["type"] == "subscribe":
            self.subscribed[socket].add(message["symbol"])
        else:
            self.subscribed[socket].discard(message["symbol"])

    def http(self, connection, request):
        if request.headers.get("Upgrade"):
            return None
        if "/quote?" in request.path:
            return answer({"c": 165.1, "d": 0.5, "dp": 0.3, "h": 166, "l": 164, "o": 164.6, "pc": 164.6, "t": int(time.time())})
        return answer({"error": "no such path here"}, 404)


def finnhub_frame(trades: list[dict]):
    """A frame of trades, whose times are those recorded."""

    def frame(shift):
        return json.dumps({"data": [{**trade, "t": shift.ms(trade["t"])} for trade in trades], "type": "trade"})

    return frame


def recorded_finnhub(path: Path) -> list:
    frames = []
    for line in path.read_text().splitlines():
        message = json.loads(line)
        if message.get("type") == "trade":
            trades = message["data"]
            frames.append((trades[-1]["t"] / 1000, trades[0]["s"], finnhub_frame(trades)))
    return frames


# Midnight in New York of the day of the SPY trades.
SPY_DAY_MS = 1_381_204_800_000


def spy_frames(path: Path, seconds: float) -> list:
    """The first trades of the regular session as Finnhub sends them: those of the last tenth of a second in a frame."""
    opening = (9 * 60 + 30) * 60_000
    frames, waiting, due = [], [], None
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as lines:
        for line in lines:
            ms, price, size, _, _, suspicious = line.decode().strip().split(",")
            if int(ms) < opening or suspicious != "0":
                continue
            if int(ms) > opening + seconds * 1000:
                break
            t = SPY_DAY_MS + int(ms)
            if due is not None and (t >= due or len(waiting) == 50):
                frames.append((waiting[-1]["t"] / 1000, "SPY", finnhub_frame(waiting)))
                waiting, due = [], None
            waiting.append({"p": int(price) / 10_000, "s": "SPY", "t": t, "v": int(size)})
            due = due or t + 100
    frames.append((waiting[-1]["t"] / 1000, "SPY", finnhub_frame(waiting)))
    return frames
