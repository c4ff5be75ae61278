"""Mail of a real node to a real mail server: forgotten passwords, servers that are away, servers that are not trusted."""

import re
import time
from urllib.parse import quote

import pytest

from api_client import PASSWORD, Client, log_in, register
from conftest import tradeflow
from nodes import Node, eventually
from smtp_server import SECRET, USER, Certificates, smtp_server

NEW = "wagon lantern teapot 42"
LOGIN = f"{USER}:{quote(SECRET, safe='')}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("ca"))


def address_of(kind: str, port: int) -> str:
    return {
        "smtps": f"smtps://{LOGIN}@localhost:{port}",
        "starttls": f"smtp://{LOGIN}@127.0.0.1:{port}?tls=required",
        "plain": f"smtp://127.0.0.1:{port}",
    }[kind]


def node_with(folder, url: str, **settings):
    environment = {
        "TRADEFLOW__MAIL__URL": url,
        "TRADEFLOW__MAIL__FROM": "TradeFlow <trade@example.org>",
        "TRADEFLOW__API__PUBLIC_URL": "https://trade.example.org/",
        "TRADEFLOW__API__ATTEMPTS_PER_MINUTE": "1000",
        **settings,
    }
    return Node(folder / "logs", "--demo", "--data", folder / "data", environment=environment)


def trusting(certificates) -> dict:
    return {"TRADEFLOW__MAIL__CA": str(certificates.ca)}


def forgot(url: str, email: str) -> float:
    """Asks for a letter: how long the answer took."""
    begun = time.monotonic()
    answer = Client(url)("POST", "/api/v1/auth/forgot", {"email": email})
    assert (answer.status, answer.body) == (202, b"")
    return time.monotonic() - begun


def token_in(letter) -> str:
    return re.search(r"Token: (tfp_[0-9a-f]{64})\s", letter.get_content())[1]


@pytest.mark.parametrize("kind", ["smtps", "starttls"])
def test_a_password_is_set_anew_by_mail(tmp_path, certificates, kind):
    with smtp_server(kind, certificates) as (mailbox, port), node_with(tmp_path, address_of(kind, port), **trusting(certificates)) as node:
        url = node.up().address()
        email = register(url)["email"]
        client = log_in(url, email)
        forgot(url, "no.one@example.org")
        forgot(url, email)
        (letter,) = eventually("a letter comes", lambda: mailbox.to(email))
        assert letter["from"] == "TradeFlow <trade@example.org>" and letter["subject"] == "TradeFlow: set your password anew"
        assert letter["date"] and letter["message-id"].endswith("@example.org>")
        assert "https://trade.example.org/api/v1/docs/" in letter.get_content()
        Client(url).ok("POST", "/api/v1/auth/reset", {"token": token_in(letter), "password": NEW})
        client.refused(401, "GET", "/api/v1/auth/me")
        log_in(url, email, NEW)
        assert len(mailbox.letters) == 1 and mailbox.log_ins == [(USER, SECRET)]
        eventually("it is logged as sent", lambda: "mail was sent" in node.text())
        for secret in (token_in(letter), SECRET, quote(SECRET, safe=""), "no.one@example.org"):
            assert secret not in node.text(), secret


def test_a_letter_is_tried_again_until_the_server_takes_it(tmp_path):
    with smtp_server("plain") as (mailbox, port):
        mailbox.answers = ["451 try again later", "421 too busy"]
        with node_with(tmp_path, address_of("plain", port)) as node:
            url = node.up().address()
            email = register(url)["email"]
            forgot(url, email)
            (letter,) = eventually("it comes", lambda: mailbox.to(email))
            assert mailbox.tries == 3 and node.text().count("not sent; the next attempt") == 2
            # One that is refused for good is given up.
            mailbox.answers = ["554 no"]
            forgot(url, email)
            eventually("it is given up", lambda: "given up" in node.text())
            forgot(url, email)
            newest = eventually("the next comes", lambda: mailbox.to(email)[1:])
            assert mailbox.tries == 5
            # Each letter voids the one before.
            Client(url).refused(422, "POST", "/api/v1/auth/reset", {"token": token_in(letter), "password": NEW})
            Client(url).ok("POST", "/api/v1/auth/reset", {"token": token_in(newest[0]), "password": NEW})


def test_no_answer_waits_for_a_server_that_is_away(tmp_path):
    with smtp_server("plain") as (_, port):
        pass
    with node_with(tmp_path, address_of("plain", port)) as node:
        url = node.up().address()
        email = register(url)["email"]
        assert forgot(url, email) < 5
        eventually("it notes the first attempt", lambda: "not sent; the next attempt" in node.text())
        with smtp_server("plain", port=port) as (mailbox, _):
            eventually("it comes when the server does", lambda: mailbox.to(email))


def test_a_server_that_is_not_trusted_learns_nothing(tmp_path, certificates):
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other", "mail.example.org")
    cases = {
        "unknown": ("smtps", certificates, {}),
        "other-name": ("smtps", other, trusting(other)),
        "starttls": ("starttls", certificates, {}),
        # It offers no STARTTLS: someone may stand between.
        "stripped": ("plain", None, {}),
    }
    for name, (kind, served, settings) in cases.items():
        with smtp_server(kind, served) as (mailbox, port):
            url = address_of("starttls" if kind == "plain" else kind, port)
            with node_with(tmp_path / name, url, **settings) as node:
                url = node.up().address()
                email = register(url)["email"]
                forgot(url, email)
                eventually(f"{name}: it is not sent", lambda: "not sent" in node.text())
                assert not mailbox.letters and not mailbox.log_ins, name


def test_no_ones_letter_box_is_flooded(tmp_path):
    with smtp_server("plain") as (mailbox, port), node_with(tmp_path, address_of("plain", port)) as node:
        url = node.up().address()
        admin, other = register(url)["email"], register(url)["email"]
        for _ in range(20):
            forgot(url, admin)
        log = log_in(url, admin)
        entries = lambda: [entry["outcome"] for entry in log.ok("GET", "/api/v1/logs/audit")["items"] if entry["action"] == "auth.forgot"]
        eventually("all are noted", lambda: len(entries()) == 20)
        assert entries().count("done") == 6 and entries().count("too many letters") == 14
        eventually("six come", lambda: len(mailbox.to(admin)) == 6)
        forgot(url, other)
        eventually("another user has his own", lambda: mailbox.to(other))
        assert len(mailbox.to(admin)) == 6
        Client(url).refused(401, "POST", "/api/v1/auth/login", {"email": admin, "password": "wrong"})
        log_in(url, admin, PASSWORD)


def test_a_configuration_that_can_not_work_is_told(tmp_path):
    file = tmp_path / "serve.toml"

    def told(text: str, *, ok: bool = False) -> str:
        file.write_text(text)
        done = tradeflow("serve", file, "--data", tmp_path / "data", "--print-config")
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    sender = 'from = "t@example.org"\n'
    said = told(f'[mail]\n{sender}url = "smtp://user:hush-hush@mail.example.org:587"\n')
    assert "mail.url" in said and "tls=required" in said and "serve.toml:3" in said and "hush-hush" not in said
    assert "mail.from" in told('[mail]\nurl = "smtps://mail.example.org"\n')
    assert "api.public_url" in told('[api]\npublic_url = "trade.example.org"\n')
    assert "hush-hush" not in told(f'[mail]\n{sender}url = "smtps://user:hush-hush@mail.example.org"\n', ok=True)
    with node_with(tmp_path, "smtps://mail.example.org", TRADEFLOW__MAIL__CA="no/such.pem") as node:
        assert node.process.wait(60) == 1 and "ca: file no/such.pem" in node.text()
