"""Log-ins by OpenID Connect on a real node, by a provider of our own that checks what it is asked."""

import http.client
import json
import time
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc.jwk import OctKey, RSAKey

from api_client import PASSWORD, Client, log_in, register
from nodes import Node
from oidc_provider import CLIENT, SECRET, Provider

PUBLIC = "https://trade.example.org"
PATH = "/api/v1/auth/oidc"


def environment(provider: Provider, **more) -> dict:
    name = "TRADEFLOW__OIDC__0__"
    return {
        "TRADEFLOW__API__PUBLIC_URL": PUBLIC,
        "TRADEFLOW__API__ATTEMPTS_PER_MINUTE": "1000000",
        f"{name}NAME": "own",
        f"{name}ISSUER": provider.issuer,
        f"{name}CLIENT_ID": CLIENT,
        f"{name}CLIENT_SECRET": SECRET,
        **{f"{name}{key}": value for key, value in more.items()},
    }


@pytest.fixture(scope="module")
def provider():
    with Provider() as provider:
        yield provider


@pytest.fixture(autouse=True)
def honest(provider):
    """Each test begins with a provider that answers as it should."""
    provider.claims, provider.signer, provider.alg = {}, None, "RS256"


@pytest.fixture(scope="module")
def node(provider, tmp_path_factory):
    folder = tmp_path_factory.mktemp("oidc")
    roles = {"CREATE_USERS": "true", "ROLE_CLAIM": "groups", "ROLES": '{ desk = "trader", lead = "manager", boss = "administrator" }'}
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=environment(provider, **roles)) as node:
        yield node.up()


@pytest.fixture(scope="module")
def admin(node):
    return log_in(node.address(), register(node.address(), "admin@example.org")["email"])


@pytest.fixture(scope="module")
def url(node, admin):
    return node.address()


class Browser:
    """Keeps cookies, and follows nothing by itself."""

    def __init__(self, url: str):
        self.host, self.cookies = urlsplit(url).netloc, {}

    def __call__(self, method: str, path: str, body=None, token: str | None = None):
        connection = http.client.HTTPConnection(self.host, timeout=60)
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if token:
            headers["authorization"] = f"Bearer {token}"
        if body is not None:
            headers["content-type"] = "application/json"
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        for line in answer.headers.get_all("set-cookie") or []:
            for name, cookie in SimpleCookie(line).items():
                self.cookies[name] = cookie.value
        connection.close()
        answer.json = json.loads(text) if text else None
        return answer

    def back(self, address: str):
        """To where the provider sends him: the server's public address, which stands for the one that is tested."""
        assert address.startswith(f"{PUBLIC}{PATH}/own/callback?")
        return self("GET", address.removeprefix(PUBLIC))


def log_in_by(url: str, provider: Provider, query: str = "", **changes):
    browser = Browser(url)
    sent = browser("GET", f"{PATH}/own{query}")
    assert sent.status == 302
    return browser.back(provider.authorize(sent.headers["location"], **changes)), browser


def as_user(provider: Provider, subject: str, **more):
    provider.user = {"sub": subject, "email": f"{subject}@example.org", "email_verified": True, "name": subject.title(), **more}


def test_a_new_user_comes_in_and_is_the_same_the_next_time(url, node, provider):
    assert Client(url).ok("GET", PATH) == {"providers": ["own"]}
    Client(url).refused(404, "GET", f"{PATH}/other")
    as_user(provider, "newcomer")
    answer, _ = log_in_by(url, provider)
    assert answer.status == 200 and answer.json["user"]["email"] == "newcomer@example.org"
    assert answer.json["user"]["role"] == "trader" and answer.json["user"]["name"] == "Newcomer"
    client = Client(url, answer.json["access_token"])
    assert client.ok("GET", "/api/v1/auth/me") == answer.json["user"]
    renewed = Client(url).ok("POST", "/api/v1/auth/refresh", {"refresh_token": answer.json["refresh_token"]})
    client = Client(url, renewed["access_token"])
    # By issuer and subject: another email is the same user, the same email another subject is not.
    provider.user["email"] = "other@example.org"
    again, _ = log_in_by(url, provider)
    assert again.json["user"]["id"] == answer.json["user"]["id"] and again.json["user"]["email"] == "newcomer@example.org"
    as_user(provider, "someone-else", email="newcomer@example.org")
    assert log_in_by(url, provider)[0].status == 403
    # He has no password that could be guessed.
    for password in ("", PASSWORD):
        assert Client(url)("POST", "/api/v1/auth/login", {"email": "newcomer@example.org", "password": password}).status == 401
    client.refused(422, "POST", "/api/v1/auth/password", {"current": "", "new": "wagon lantern teapot 42"})
    assert SECRET not in node.text()


def test_a_page_goes_on_with_cookies(url, provider):
    as_user(provider, "page")
    answer, browser = log_in_by(url, provider, "?" + urlencode({"to": "/charts?symbol=BTCUSD"}))
    assert answer.status == 303 and answer.headers["location"] == "/charts?symbol=BTCUSD" and answer.json is None
    assert browser("GET", "/api/v1/auth/me").json["email"] == "page@example.org"
    for elsewhere in ("https://evil.example", "//evil.example", "/\\evil.example", "\\evil", "evil", "/a\tb", ""):
        assert Browser(url)("GET", f"{PATH}/own?" + urlencode({"to": elsewhere})).status == 422, elsewhere


def test_a_token_that_does_not_hold_lets_no_one_in(url, provider, admin):
    as_user(provider, "careful")
    assert log_in_by(url, provider)[0].status == 200
    past = int(time.time()) - 3600
    for claims in (
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": [CLIENT, "another"]},
        {"aud": None},
        {"exp": past, "iat": past - 300},
        {"exp": None},
        {"iss": "https://evil.example"},
        {"sub": None},
    ):
        provider.claims = claims
        answer, browser = log_in_by(url, provider)
        assert answer.status in (401, 503), f"{claims}: {answer.status}"
        assert "tradeflow_access" not in browser.cookies
    provider.claims = {}
    # Signed by another key under the same name, with the client's secret, or not at all.
    provider.signer = RSAKey.generate_key(2048)
    assert log_in_by(url, provider)[0].status == 401
    provider.signer, provider.alg = OctKey.import_key(SECRET), "HS256"
    assert log_in_by(url, provider)[0].status in (401, 503)
    provider.signer, provider.alg = None, "RS256"
    assert log_in_by(url, provider)[0].status == 200
    assert any(entry["action"] == "auth.oidc" for entry in admin.ok("GET", "/api/v1/logs/audit")["items"])


def test_who_comes_back_is_who_went(url, provider):
    as_user(provider, "careful")
    browser, other = Browser(url), Browser(url)
    address = provider.authorize(browser("GET", f"{PATH}/own").headers["location"])
    other("GET", f"{PATH}/own")
    assert other.back(address).status == 401, "another browser"
    assert Browser(url).back(address).status == 401, "without its cookie"
    state = parse_qs(urlsplit(address).query)["state"][0]
    for wrong in (address.replace(state, "x"), address.replace("state=", "other="), address.replace(state, "")):
        assert browser.back(wrong).status == 401
    assert browser.back(address).status == 200
    assert browser.back(address).status == 401, "it was used"
    # A code that the provider does not know; and its refusal.
    sent = browser("GET", f"{PATH}/own").headers["location"]
    state = parse_qs(urlsplit(sent).query)["state"][0]
    assert browser("GET", f"{PATH}/own/callback?" + urlencode({"state": state, "code": "none"})).status == 401
    state = parse_qs(urlsplit(browser("GET", f"{PATH}/own").headers["location"]).query)["state"][0]
    refused = browser("GET", f"{PATH}/own/callback?" + urlencode({"state": state, "error": "access_denied"}))
    assert refused.status == 401 and "access_denied" in refused.json["detail"]
    # The challenge is of one begun log-in: a code of another one is not taken.
    first = browser("GET", f"{PATH}/own").headers["location"]
    address = provider.authorize(first, code_challenge="A" * 43)
    assert browser.back(address).status == 401


def test_keys_of_the_provider_change(url, provider):
    as_user(provider, "careful")
    assert log_in_by(url, provider)[0].status == 200
    provider.asked.clear()
    assert log_in_by(url, provider)[0].status == 200
    assert "/keys" not in provider.asked, "what is known is not asked for again"
    provider.rotate()
    assert log_in_by(url, provider)[0].status == 200
    assert provider.asked.count("/keys") == 1
    # One that is not shown any more is not taken.
    provider.signer = provider.keys[0]
    assert log_in_by(url, provider)[0].status == 401


def test_a_user_of_that_email_is_not_taken_over_and_may_link(url, provider):
    email = register(url, "linked@example.org")["email"]
    client = log_in(url, email)
    as_user(provider, "linked")
    answer, _ = log_in_by(url, provider)
    assert answer.status == 403 and "link it" in answer.json["detail"]
    browser = Browser(url)
    assert browser("POST", f"{PATH}/own/link", {"password": "wrong"}, client.token).status == 422
    begun = browser("POST", f"{PATH}/own/link", {"password": PASSWORD}, client.token)
    assert browser.back(provider.authorize(begun.json["url"])).status == 204
    answer, _ = log_in_by(url, provider)
    assert answer.status == 200 and answer.json["user"]["email"] == email
    # A subject is one user's.
    other = log_in(url, register(url)["email"])
    begun = browser("POST", f"{PATH}/own/link", {"password": PASSWORD}, other.token)
    assert browser.back(provider.authorize(begun.json["url"])).status == 409
    client.ok("DELETE", f"{PATH}/own/link")
    client.refused(404, "DELETE", f"{PATH}/own/link")
    assert log_in_by(url, provider)[0].status == 403
    as_user(provider, "page")
    by_provider = Client(url, log_in_by(url, provider)[0].json["access_token"])
    assert by_provider.refused(409, "DELETE", f"{PATH}/own/link")["code"] == "invalid-state"


def test_the_provider_says_what_a_user_may_do(url, provider, admin):
    as_user(provider, "colleague", groups=["desk", "lead", "unknown"])
    first, _ = log_in_by(url, provider)
    assert first.json["user"]["role"] == "manager"
    as_user(provider, "colleague", groups="desk")
    assert log_in_by(url, provider)[0].json["user"]["role"] == "trader"
    assert Client(url, first.json["access_token"])("GET", "/api/v1/users").status == 403
    as_user(provider, "colleague", groups=["unknown"])
    assert log_in_by(url, provider)[0].json["user"]["role"] == "trader"
    admin.ok("PATCH", f"/api/v1/users/{first.json['user']['id']}", {"disabled": True})
    assert log_in_by(url, provider)[0].status == 401
    for unverified in ({"email_verified": False}, {"email_verified": None}, {"email": None}):
        as_user(provider, "unverified", **unverified)
        assert log_in_by(url, provider)[0].status == 403


def test_strangers_stay_outside_by_default_and_a_provider_may_be_away(tmp_path):
    with Provider() as provider:
        with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=environment(provider)) as node:
            url = node.up().address()
            register(url)
            assert log_in_by(url, provider)[0].status == 403
            node.stop()
        with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "other", environment=environment(provider, CREATE_USERS="true")) as node:
            url = node.up().address()
            answer, _ = log_in_by(url, provider)
            assert answer.status == 403 and "administrator" in answer.json["detail"], "the first user is not the provider's"
            gone = provider
            node.stop()
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=environment(gone)) as node:
        Client(node.up().address()).refused(503, "GET", f"{PATH}/own")
        node.stop()
    for key, wrong in {"ISSUER": "http://login.example.org", "NAME": "A b", "ROLES": '{ a = "king" }', "CA": "no/such.pem"}.items():
        with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=environment(gone, **{key: wrong})) as node:
            assert node.process.wait(60) == 1 and (key.lower() in node.text() or wrong in node.text())
