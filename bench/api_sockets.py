"""Many sockets that follow a quote, one in ten of them a second one: the client of bench/api.py, in a process of its own, so light that the server is what is
measured (picows takes frames apart in C, uvloop waits for them).

    api_sockets.py ADDRESS TOKEN SYMBOL,SYMBOL SOCKETS SECONDS

Says `ready` when all have heard something; then measures. Gives JSON: how late each message was, in milliseconds by the number
that it carries, how late this process itself was (a timer of a millisecond, which is late when the machine is full), and the
processor time that it took.
"""

import asyncio
import json
import resource
import sys
import time
from array import array

import uvloop
from picows import WSListener, WSMsgType, ws_connect

# Handshakes under way at once.
AT_ONCE = 50


class Follower(WSListener):
    late = array("d")
    measuring = False
    open = 0
    heard = 0

    def __init__(self, symbols: list[str]):
        self.wanted = json.dumps({"op": "subscribe", "channel": "quotes", "keys": symbols})
        self.has_heard = False

    def on_ws_connected(self, transport):
        Follower.open += 1
        transport.send(WSMsgType.TEXT, self.wanted.encode())

    def on_ws_disconnected(self, transport):
        Follower.open -= 1

    def on_ws_frame(self, transport, frame):
        if frame.msg_type != WSMsgType.TEXT:
            return
        text = frame.get_payload_as_bytes()
        if not text.startswith(b'{"type":"update"'):
            return
        if Follower.measuring:
            at = text.index(b'"seq":') + 6
            Follower.late.append(time.time() * 1000 - int(text[at : text.index(b",", at)]))
        elif not self.has_heard:
            self.has_heard = True
            Follower.heard += 1


async def main(address: str, token: str, symbols: list[str], sockets: int, seconds: float):
    gate, headers = asyncio.Semaphore(AT_ONCE), {"authorization": f"Bearer {token}"}

    async def one(number: int):
        wanted = symbols if number % 10 == 0 else symbols[:1]
        async with gate:
            return await ws_connect(
                lambda: Follower(wanted), f"ws://{address}/api/v1/ws", extra_headers=headers, websocket_handshake_timeout=60
            )

    opened = await asyncio.gather(*(one(number) for number in range(sockets)))
    while Follower.heard < sockets:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    own, end = array("d"), time.monotonic() + seconds
    used, Follower.measuring = resource.getrusage(resource.RUSAGE_SELF), True
    begun = time.monotonic()
    while (now := time.monotonic()) < end:
        await asyncio.sleep(0.001)
        own.append((time.monotonic() - now - 0.001) * 1000)
    Follower.measuring, took = False, time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    assert Follower.open == sockets, f"{sockets - Follower.open} sockets were closed"
    print(json.dumps({"late_ms": list(Follower.late), "own_ms": list(own), "cpu_seconds": cpu, "seconds": took}))
    for transport, _ in opened:
        transport.disconnect()


if __name__ == "__main__":
    where, key, quotes, count, period = sys.argv[1:]
    uvloop.run(main(where, key, quotes.split(","), int(count), float(period)))
