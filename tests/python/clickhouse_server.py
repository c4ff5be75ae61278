"""ClickHouse's own engine (chdb) behind its HTTP interface, as much of it as a client with `Compression::None` uses.

    clickhouse_server.py DIR [PORT]

Tables are kept in DIR. Says `ready PORT` when it answers (PORT 0, the default, takes a free one), and ends when standard
input does. One statement runs at a time. A statement is the body of a request, or its `query` parameter, which the body's
rows belong to; or it comes as a form with the `param_*` that are bound to it. An exception answers 400 with its text. The environment may ask for a
user and a password (CLICKHOUSE_USER, CLICKHOUSE_PASSWORD).
"""

import hmac
import os
import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from chdb import session

LOCK = threading.Lock()


def bodies_of(handler):
    """The parts of a request's body, of a given length or chunked."""
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        yield handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        return
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        part = handler.rfile.read(size)
        if len(part) != size:
            raise ConnectionError("the client left in the middle of a request")
        handler.rfile.readline()
        yield part
    handler.rfile.readline()


def form_of(body: bytes, boundary: str) -> dict[str, str]:
    """The fields of a form (multipart/form-data)."""
    fields = {}
    for part in body.split(f"--{boundary}".encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        fields[re.search(rb'name="([^"]*)"', head)[1].decode()] = value.removesuffix(b"\r\n").decode()
    return fields


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: without this the second waits for the client's acknowledgement of the first.
    disable_nagle_algorithm = True

    def do_POST(self):
        self.given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        try:
            with tempfile.NamedTemporaryFile(dir=self.server.folder) as body:
                for part in bodies_of(self):
                    body.write(part)
                body.flush()
                if not self.known():
                    return self.answer(401, b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)")
                self.answer(200, self.execute(Path(body.name)))
        except (ConnectionError, ValueError):  # a request that was cut off is not executed
            self.close_connection = True
        except Exception as error:  # chdb raises RuntimeError with the engine's own text
            self.answer(400, str(error).encode())

    do_GET = do_POST

    def known(self) -> bool:
        wanted = os.environ.get("CLICKHOUSE_USER", ""), os.environ.get("CLICKHOUSE_PASSWORD", "")
        shown = self.headers.get("X-ClickHouse-User", ""), self.headers.get("X-ClickHouse-Key", "")
        return not wanted[0] or hmac.compare_digest("\0".join(wanted).encode(), "\0".join(shown).encode())

    def execute(self, body: Path) -> bytes:
        if (statement := self.given.get("query", "").strip()) and body.stat().st_size:
            head, _, form = statement.rpartition(" FORMAT ")
            statement = f"{head} FROM INFILE '{body}' FORMAT {form}"
        elif "multipart/form-data" in (kind := self.headers.get("Content-Type", "")):
            self.given |= form_of(body.read_bytes(), kind.partition("boundary=")[2].strip('"'))
            statement = self.given["query"]
        elif not statement:
            statement = body.read_text()
        bound = {name.removeprefix("param_"): value for name, value in self.given.items() if name.startswith("param_")}
        database, engine = self.given.get("database", "default"), self.server.engine
        with LOCK:
            engine.query("USE `" + database.replace("`", "``") + "`")
            return engine.query(statement, self.given.get("default_format", "TabSeparated"), params=bound).bytes()

    def answer(self, status: int, body: bytes):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    folder = Path(sys.argv[1])
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        server.folder = folder / "requests"
        server.folder.mkdir(parents=True, exist_ok=True)
        server.engine = session.Session(str(folder / "data"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("ready", server.server_address[1], flush=True)
        sys.stdin.read()
        server.shutdown()
        with LOCK:
            server.engine.close()


if __name__ == "__main__":
    main()
