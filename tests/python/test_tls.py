"""TLS and pages of other origins, on a real node."""

import asyncio
import http.client
import json
import re
import ssl
from urllib.parse import urlsplit

import pytest
import trustme
import websockets

from api_client import PASSWORD, Client, log_in, register
from nodes import Node, eventually

APP = "https://app.example.org"


class Files:
    """A certificate of an authority of our own, and its key, as files."""

    def __init__(self, folder):
        self.authority = trustme.CA()
        self.certificate, self.key = folder / "server.pem", folder / "server.key"
        self.issue()

    def issue(self):
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.key)
        self.certificate.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))

    def environment(self) -> dict:
        return {"TRADEFLOW__API__TLS_CERTIFICATE": str(self.certificate), "TRADEFLOW__API__TLS_KEY": str(self.key)}

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def node(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=files.environment()) as node:
        yield node.up()


@pytest.fixture(scope="module")
def host(node) -> str:
    return re.search(r"look +https://([0-9.:]+)/", node.out.read_text())[1]


def ask(host, context, method, path, body=None, headers=None):
    connection = http.client.HTTPSConnection(host, context=context, timeout=30)
    connection.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer, json.loads(text) if text else None


def test_all_is_encrypted(host, files):
    answer, _ = ask(host, files.trusting(), "GET", "/health")
    assert answer.status == 200 and answer.headers["strict-transport-security"] == "max-age=31536000"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = files.trusting()
        context.minimum_version = context.maximum_version = version
        assert ask(host, context, "GET", "/health")[0].status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(host, ssl.create_default_context(), "GET", "/health")
    plain = http.client.HTTPConnection(host, timeout=30)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain.request("GET", "/health")
        plain.getresponse()


def test_cookies_are_for_tls_alone_and_the_socket_opens(host, files):
    context = files.trusting()
    user = {"email": "a@example.org", "password": PASSWORD}
    assert ask(host, context, "POST", "/api/v1/auth/register", user)[0].status == 201
    answer, _ = ask(host, context, "POST", "/api/v1/auth/login", {**user, "cookies": True})
    lines = answer.headers.get_all("set-cookie")
    assert len(lines) == 2 and all("; Secure" in line and "HttpOnly" in line for line in lines)
    cookie = "; ".join(line.split(";")[0] for line in lines)

    async def first(origin: str):
        headers = {"cookie": cookie}
        async with websockets.connect(f"wss://{host}/api/v1/ws", ssl=context, origin=origin, additional_headers=headers) as socket:
            await socket.send(json.dumps({"op": "subscribe", "channel": "equity", "keys": ["paper"]}))
            while "channel" not in (message := json.loads(await asyncio.wait_for(socket.recv(), 30))):
                pass
            return message

    assert asyncio.run(first(f"https://{host}"))["channel"] == "equity"
    with pytest.raises(websockets.exceptions.InvalidStatus):
        asyncio.run(first("https://evil.example"))


def test_a_certificate_that_is_renewed_is_shown_without_a_restart(node, host, files):
    def shown() -> bytes:
        connection = http.client.HTTPSConnection(host, context=files.trusting(), timeout=30)
        connection.connect()
        certificate = connection.sock.getpeercert(binary_form=True)
        connection.close()
        return certificate

    first = shown()
    files.certificate.write_text("none")
    eventually("it says what it can't read", lambda: "the certificate that was read before stays" in node.text())
    assert shown() == first and str(files.certificate) in node.text()
    files.issue()
    eventually("the new one is shown", lambda: shown() != first)
    answer, _ = ask(host, files.trusting(), "GET", "/health")
    assert answer.status == 200


def test_files_that_can_not_be_used_are_named_at_the_start(tmp_path, files):
    (tmp_path / "other").mkdir()
    other, empty = Files(tmp_path / "other"), tmp_path / "empty.pem"
    empty.write_text("")
    names = ("TRADEFLOW__API__TLS_CERTIFICATE", "TRADEFLOW__API__TLS_KEY")
    cases = [
        (tmp_path / "none.pem", files.key, "none.pem"),
        (files.certificate, tmp_path / "none.key", "none.key"),
        (empty, files.key, "empty.pem"),
        (files.certificate, empty, "empty.pem"),
        (files.certificate, other.key, str(other.key)),
        (files.certificate, None, "tls_key"),
    ]
    for number, (certificate, key, named) in enumerate(cases):
        environment = {name: str(path) for name, path in zip(names, (certificate, key)) if path}
        with Node(tmp_path / f"logs{number}", "--demo", "--data", tmp_path / f"data{number}", environment=environment) as node:
            assert node.process.wait(60) == 1 and named in node.text(), node.text()


def test_pages_elsewhere_may_ask_where_they_are_named(tmp_path):
    environment = {"TRADEFLOW__API__CORS_ORIGINS": f'["{APP}"]', "TRADEFLOW__API__ATTEMPTS_PER_MINUTE": "6"}
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=environment) as node:
        url = node.up().address()
        client = log_in(url, register(url)["email"])

        def preflight(origin: str, method: str = "PUT"):
            asks = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": "authorization,content-type"}
            return Client(url)("OPTIONS", "/api/v1/watchlists", headers=asks)

        allowed = preflight(APP)
        assert allowed.status == 200 and allowed.headers["access-control-allow-origin"] == APP
        assert allowed.headers["access-control-allow-credentials"] == "true" and "Origin" in allowed.headers["vary"]
        assert {"authorization", "content-type"} <= set(allowed.headers["access-control-allow-headers"].lower().replace(" ", "").split(","))
        assert "access-control-allow-origin" not in preflight(APP, "TRACE").headers
        answer = client("GET", "/api/v1/auth/me", headers={"origin": APP})
        assert answer.status == 200 and answer.headers["access-control-allow-origin"] == APP
        for other in ("https://app.example.org.evil.example", f"{APP}:8443", "http://app.example.org", "https://evil.example", "null", "*", f"{APP}/"):
            for answer in (preflight(other), client("GET", "/api/v1/auth/me", headers={"origin": other})):
                assert "access-control-allow-origin" not in answer.headers, other
        # What the limits refuse has all headers too: a page can read why.
        refused = [Client(url)("POST", "/api/v1/auth/login", {"email": "x", "password": "x"}, {"origin": APP}) for _ in range(7)][-1]
        assert refused.status == 429 and refused.headers["access-control-allow-origin"] == APP
        assert refused.headers["x-content-type-options"] == "nosniff" and refused.headers["retry-after"]

        async def opens(origin: str):
            headers = {"authorization": f"Bearer {client.token}"}
            async with websockets.connect(f"ws://{urlsplit(url).netloc}/api/v1/ws", origin=origin, additional_headers=headers):
                return True

        assert asyncio.run(opens(APP))
        with pytest.raises(websockets.exceptions.InvalidStatus):
            asyncio.run(opens("https://app.example.org.evil.example"))
    for wrong in ("*", "app.example.org", f"{APP}/", f"{APP}/page", "https://App.example.org"):
        environment = {"TRADEFLOW__API__CORS_ORIGINS": f'["{wrong}"]'}
        with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=environment) as node:
            assert node.process.wait(60) == 1 and "api.cors_origins" in node.text()


def test_no_page_elsewhere_may_ask_by_default(tmp_path):
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data") as node:
        url = node.up().address()
        for method in ("GET", "OPTIONS"):
            answer = Client(url)(method, "/health", headers={"origin": APP, "access-control-request-method": "GET"})
            assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "strict-transport-security" not in answer.headers
