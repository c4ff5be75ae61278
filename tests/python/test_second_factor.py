"""The second factor of a log-in on a real node, with pyotp as the authenticator."""

import re
import sqlite3
import time
from contextlib import closing

import pyotp
import pytest

from api_client import PASSWORD, Client, log_in, register
from nodes import Node, eventually

FACTOR = "/api/v1/auth/second-factor"
UNLIMITED = {"TRADEFLOW__API__ATTEMPTS_PER_MINUTE": "1000000"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("second-factor")


@pytest.fixture(scope="module")
def node(folder):
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED) as node:
        yield node.up()


@pytest.fixture(scope="module")
def admin(node):
    return log_in(node.address(), register(node.address())["email"])


@pytest.fixture(scope="module")
def url(node, admin):
    return node.address()


class Authenticator:
    """Shows codes, each once; a code of the next 30 seconds is taken too, and then it must be waited for."""

    def __init__(self, secret: str):
        self.totp, self.step = pyotp.TOTP(secret), 0

    def code(self) -> str:
        now = lambda: int(time.time()) // 30
        self.step = max(self.step + 1, now() - 1)
        # At the end of its 30 seconds it would be too old when it arrives.
        if self.step == now() - 1 and time.time() % 30 > 20:
            self.step += 1
        eventually("the code is taken", lambda: self.step <= now() + 1)
        return self.totp.at(self.step * 30)


def enrolled(url: str):
    """A user with a second factor: his email, client, authenticator and recovery codes."""
    email = register(url)["email"]
    client = log_in(url, email)
    made = client.ok("POST", FACTOR, {"password": PASSWORD})
    device = Authenticator(made["secret"])
    codes = client.ok("POST", f"{FACTOR}/confirm", {"code": device.code()})["recovery_codes"]
    return email, client, device, codes


def try_log_in(url: str, email: str, code: str | None = None, password: str = PASSWORD, **more):
    body = {"email": email, "password": password, **more} | ({} if code is None else {"code": code})
    return Client(url)("POST", "/api/v1/auth/login", body)


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def test_a_second_factor_is_begun_and_confirmed(url):
    email = register(url)["email"]
    client = log_in(url, email)
    assert client.ok("GET", FACTOR) == {"enabled": False, "created": None, "recovery_codes_left": 0}
    assert client.refused(404, "POST", f"{FACTOR}/confirm", {"code": "123456"})["code"] == "not-found"
    assert client.refused(422, "POST", FACTOR, {"password": "not it"})["errors"][0]["field"] == "password"
    made = client.ok("POST", FACTOR, {"password": PASSWORD})
    parsed = pyotp.parse_uri(made["url"])
    assert (parsed.secret, parsed.issuer, parsed.name) == (made["secret"], "TradeFlow", email)
    assert (parsed.digits, parsed.interval) == (6, 30) and len(made["secret"]) == 32
    # Nothing is asked for until he has shown that his authenticator works.
    assert try_log_in(url, email).status == 200
    device = Authenticator(made["secret"])
    assert client.refused(422, "POST", f"{FACTOR}/confirm", {"code": wrong(device.code())})["errors"][0]["field"] == "code"
    codes = client.ok("POST", f"{FACTOR}/confirm", {"code": device.code()})["recovery_codes"]
    assert len(set(codes)) == 10 and all(re.fullmatch(r"([a-z2-7]{4}-){3}[a-z2-7]{4}", code) for code in codes)
    client.refused(409, "POST", FACTOR, {"password": PASSWORD})
    client.refused(409, "POST", f"{FACTOR}/confirm", {"code": device.code()})
    stands = client.ok("GET", FACTOR)
    assert stands["enabled"] is True and stands["recovery_codes_left"] == 10


def test_a_log_in_asks_for_a_code_that_is_good_once(url):
    email, client, device, codes = enrolled(url)
    asked = Client(url).refused(401, "POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD})
    assert asked["code"] == "second-factor"
    code = device.code()
    # Which of the two was wrong is not told, nor whether there is such a user.
    answers = [
        try_log_in(url, email, wrong(code)),
        try_log_in(url, email, code, "wrong"),
        try_log_in(url, email, None, "wrong"),
        try_log_in(url, "no.one@example.org", code),
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(401, answers[0].body)}
    assert answers[0].json["code"] == "unauthorized"
    good = try_log_in(url, email, code)
    assert good.status == 200
    Client(url, good.json["access_token"]).ok("GET", "/api/v1/auth/me")
    assert try_log_in(url, email, code).status == 401, "it was used"
    with_cookies = try_log_in(url, email, device.code(), cookies=True)
    assert with_cookies.status == 200 and "set-cookie" in with_cookies.headers
    # Recovery codes, as people type them; each once.
    assert try_log_in(url, email, codes[0].upper().replace("-", " ")).status == 200
    assert try_log_in(url, email, codes[0]).status == 401
    assert client.ok("GET", FACTOR)["recovery_codes_left"] == 9
    renewed = client.ok("POST", f"{FACTOR}/recovery-codes", {"password": PASSWORD, "code": codes[1]})["recovery_codes"]
    assert try_log_in(url, email, codes[2]).status == 401 and try_log_in(url, email, renewed[2]).status == 200


def test_who_guesses_codes_must_wait(url):
    email, _, device, codes = enrolled(url)
    code = device.code()
    guesses = [wrong(code)] + [f"{n:04}-{n:04}-{n:04}-{n:04}" for n in range(4)]
    assert [try_log_in(url, email, guess).status for guess in guesses] == [401] * 5
    # That the password is right does not begin the count anew.
    assert try_log_in(url, email).status in (401, 429)
    eventually("he must wait for seconds", lambda: (answer := try_log_in(url, email, "000000")).status == 429 and answer.json["retry_after"] >= 4)
    assert try_log_in(url, email, codes[0]).status == 429, "the right one waits too"
    eventually("he may again", lambda: try_log_in(url, email, codes[0]).status == 200)


def test_it_is_taken_away_by_both_factors_or_by_an_administrator(url, admin):
    email, client, device, codes = enrolled(url)
    for field, body in {"password": {"password": "wrong", "code": codes[0]}, "code": {"password": PASSWORD, "code": "000000"}}.items():
        assert client.refused(422, "POST", f"{FACTOR}/remove", body)["errors"][0]["field"] == field
    key = Client(url, client.ok("POST", "/api/v1/api-keys", {"name": "k"})["secret"])
    key.refused(403, "POST", f"{FACTOR}/remove", {"password": PASSWORD, "code": codes[0]})
    client.ok("POST", f"{FACTOR}/remove", {"password": PASSWORD, "code": codes[0]})
    assert try_log_in(url, email).status == 200
    email, client, _, _ = enrolled(url)
    user = client.ok("GET", "/api/v1/auth/me")["id"]
    admin.ok("DELETE", f"/api/v1/users/{user}/second-factor")
    admin.refused(404, "DELETE", f"/api/v1/users/{user}/second-factor")
    assert try_log_in(url, email).status == 200


def test_a_new_password_does_not_go_round_it(node, url):
    email, _, _, codes = enrolled(url)
    assert Client(url)("POST", "/api/v1/auth/forgot", {"email": email}).status == 202
    line = eventually("the log has the letter", lambda: [line for line in node.text().splitlines() if email in line and "tfp_" in line])[-1]
    new = "wagon lantern teapot 42"
    Client(url).ok("POST", "/api/v1/auth/reset", {"token": re.search(r"tfp_[0-9a-f]{64}", line)[0], "password": new})
    assert try_log_in(url, email, None, new).json["code"] == "second-factor"
    assert try_log_in(url, email, codes[0], new).status == 200


def test_its_secrets_are_in_no_log_and_not_in_the_clear_on_disk(node, url, folder):
    email = register(url)["email"]
    client = log_in(url, email)
    secret = client.ok("POST", FACTOR, {"password": PASSWORD})["secret"]
    codes = client.ok("POST", f"{FACTOR}/confirm", {"code": Authenticator(secret).code()})["recovery_codes"]
    kept = b"".join(file.read_bytes() for file in (folder / "data").glob("state.db*"))
    raw = pyotp.TOTP(secret).byte_secret()
    for text in (secret, *codes):
        assert text not in node.text() and text.encode() not in kept
    assert raw not in kept and raw.hex().encode() not in kept
    with closing(sqlite3.connect(folder / "data" / "state.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM second_factors WHERE confirmed = 1").fetchone()[0] > 0


def test_it_is_asked_for_after_a_restart_and_with_its_key_alone(tmp_path):
    place = ("--demo", "--data", tmp_path / "data")
    with Node(tmp_path / "logs", *place, environment=UNLIMITED) as node:
        email, _, _, codes = enrolled(node.up().address())
        node.stop()
    with Node(tmp_path / "logs", *place, environment=UNLIMITED) as node:
        url = node.up().address()
        assert try_log_in(url, email).json["code"] == "second-factor"
        assert try_log_in(url, email, codes[0]).status == 200
        node.stop()
    (tmp_path / "data" / "credentials.key").rename(tmp_path / "old.key")
    with Node(tmp_path / "logs", *place, environment=UNLIMITED) as node:
        url = node.up().address()
        assert "sealed with a key that this node does not have" in node.text()
        assert try_log_in(url, email).json["code"] == "second-factor"
        assert try_log_in(url, email, "123456").status == 500, "what can't be checked lets no one in"
