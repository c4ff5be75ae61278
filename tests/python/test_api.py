"""The API of a real node: users, roles, orders, errors. The node is the demonstration; its accounts trade on paper."""

import json
import os
import random
import re
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from api_client import PASSWORD, Client, log_in, register, users_of_each_role
from nodes import Node, eventually

ROLES = ["viewer", "trader", "manager", "administrator"]
SCOPES = {"viewer": "read", "trader": "trade", "manager": "manage", "administrator": "admin"}
# As many requests as the tests like: what the limits do has a test of its own.
UNLIMITED = {
    "TRADEFLOW__API__ATTEMPTS_PER_MINUTE": "1000000",
    "TRADEFLOW__API__REQUESTS_PER_SECOND": "1000000",
    "TRADEFLOW__API__ANONYMOUS_PER_SECOND": "1000000",
}
ACCOUNT = "/api/v1/accounts/paper"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED) as node:
        yield node.up()


@pytest.fixture(scope="module")
def users(node):
    return users_of_each_role(node.address())


@pytest.fixture(scope="module")
def url(node, users):
    """Of the node, which has its first user: the one who becomes administrator."""
    return node.address()


@pytest.fixture(scope="module")
def document(url):
    return Client(url).ok("GET", "/api/v1/openapi.json")


@pytest.fixture(scope="module")
def price(users):
    """The last price of BTCUSD, once there is one."""
    client = users["administrator"]
    quote = eventually("there is a quote", lambda: (answer := client("GET", "/api/v1/quotes/BTCUSD")).status == 200 and answer.json)
    return float(quote["last"] or quote["bid"])


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete", "patch"):
                yield method.upper(), path, operation


def role_of(operation) -> str | None:
    """The role that an operation takes by the document; nothing where it is open."""
    assert "security" in operation, "an operation says whom it takes"
    requirements = [roles for entry in operation["security"] for roles in entry.values()]
    assert len(requirements) <= 1
    if not requirements:
        return None
    (role,) = requirements[0]
    return role


# A body for each operation that takes one; that it does not fit must not matter: who may not, may not.
BODIES = {
    "/api/v1/auth/password": {"current": "not it", "new": PASSWORD},
    "/api/v1/api-keys": {"name": "a key"},
    "/api/v1/users/{user_id}": {"name": "someone"},
    "/api/v1/watchlists": {"name": "mine", "symbols": ["BTCUSD"]},
    "/api/v1/watchlists/{watchlist_id}": {"name": "other"},
    "/api/v1/accounts/{account}/orders": {"symbol": "BTCUSD", "side": "buy", "type": "limit", "qty": "0.01", "price": "1.00"},
    "/api/v1/accounts/{account}/orders/preview": {"symbol": "BTCUSD", "side": "buy", "type": "limit", "qty": "0.01", "price": "1.00"},
    "/api/v1/accounts": {"account": "…"},
    "/api/v1/accounts/{account}": {"label": "x"},
    "/api/v1/accounts/{account}/limits": {},
    "/api/v1/accounts/{account}/strategies": {"id": "x", "kind": "no_such_kind", "symbols": ["BTCUSD"], "data": "trades", "size": "1"},
    "/api/v1/accounts/{account}/strategies/run-once": {"id": "x", "kind": "no_such_kind", "symbols": ["BTCUSD"], "data": "trades", "size": "1"},
    "/api/v1/accounts/{account}/orders/{order_id}": {"symbol": "BTCUSD", "qty": "0.02"},
    "/api/v1/accounts/{account}/trades/{trade_id}": {"tags": ["a"], "note": "b"},
    "/api/v1/accounts/{account}/signals": {"symbol": "BTCUSD", "side": "buy", "size": "0.01"},
    "/api/v1/backtests": {"config": {"data": {"symbols": ["NONE"]}, "account": []}},
    "/api/v1/sessions/live/{session_id}/fork": {"at": "2026-02-03T15:30:00Z", "set": {"fast": 5}},
    "/api/v1/auth/second-factor": {"password": PASSWORD},
    "/api/v1/auth/second-factor/confirm": {"code": "000000"},
    "/api/v1/auth/second-factor/recovery-codes": {"password": PASSWORD, "code": "000000"},
    "/api/v1/auth/second-factor/remove": {"password": PASSWORD, "code": "000000"},
    "/api/v1/auth/oidc/{provider}/link": {"password": PASSWORD},
    "/api/v1/accounts/{account}/credentials/{broker}/{name}": {"secret": "hush"},
    "/api/v1/webhook-keys": {"name": "k", "account": "paper"},
    "/api/v1/alerts": {"name": "a", "rule": {"kind": "price", "symbol": "BTCUSD", "condition": "below", "level": "0.01"}},
    "/api/v1/alerts/{alert_id}": {"name": "b"},
    "/api/v1/settings": {"theme": "dark"},
    "/api/v1/settings/global": {"theme": "dark"},
    "/api/v1/webhooks/test": {"sender": "tradingview", "account": "paper", "body": {"ticker": "BTCUSD", "action": "buy"}},
}
NO_ONES = {"session_id", "key_id", "user_id", "watchlist_id", "signal_id", "webhook_key_id", "job_id", "alert_id"}


def target(path: str, account: str) -> str:
    """The path with something for each of its parameters; a parameter that is not known here is an error."""

    def value(match):
        name = match[1]
        if name in NO_ONES:
            return str(uuid.UUID(int=0))
        return {"account": account, "symbol": "BTCUSD", "order_id": "4096", "trade_id": "1", "strategy_id": "none", "kind": "sma_cross", "broker": "alpaca", "name": "secret", "provider": "none"}[name]

    return re.sub(r"\{(\w+)\}", value, path)


def call(client: Client, method: str, path: str, operation, account: str = "paper"):
    body = BODIES[path] if "requestBody" in operation and method != "GET" else None
    for end, name in (("/watchlists", "name"), ("/api/v1/accounts", "account")):
        if path.endswith(end) and body:
            body = {**body, name: uuid.uuid4().hex}
    return client(method, target(path, account), body)


def test_every_route_takes_the_role_that_the_document_says(url, users, document):
    found = 0
    for method, path, operation in operations(document):
        wanted = role_of(operation)
        if wanted is None:
            assert path.startswith(("/api/v1/auth/", "/api/v1/webhooks/")), f"{path} is open to everyone"
            continue
        found += 1
        assert call(Client(url), method, path, operation).status == 401, f"{method} {path} without a token"
        assert call(Client(url, "tfa_" + "0" * 64), method, path, operation).status == 401, f"{method} {path} with a token of no one"
        for role in ROLES:
            client = users[role]
            if path == "/api/v1/auth/logout":
                client = log_in(url, client.ok("GET", "/api/v1/auth/me")["email"])
            answer = call(client, method, path, operation)
            said = f"{method} {path} as {role}: {answer.status} {answer.body[:200]}"
            if ROLES.index(role) < ROLES.index(wanted):
                assert answer.status == 403, said
            else:
                assert answer.status not in (401, 403) and answer.status < 500, said
    assert found > 25
    users["administrator"].ok("POST", f"{ACCOUNT}/resume")


def test_a_key_may_do_what_its_scopes_say_and_not_what_its_user_may_not(url, users, document):
    def key_of(client, scopes):
        return Client(url, client.ok("POST", "/api/v1/api-keys", {"name": "k", "scopes": scopes})["secret"])

    admin = users["administrator"]
    with_scope = {scope: key_of(admin, [scope]) for scope in SCOPES.values()}
    viewers = key_of(users["viewer"], list(SCOPES.values()))
    for method, path, operation in operations(document):
        wanted = role_of(operation)
        # What takes a log-in: a key is no user at a page.
        of_log_ins = ("/api/v1/auth/logout", "/api/v1/auth/password", "/api/v1/api-keys")
        if wanted is None or path in of_log_ins or (method != "GET" and path.startswith(("/api/v1/auth/second-factor", "/api/v1/auth/oidc"))):
            continue
        for scope, key in with_scope.items():
            answer = call(key, method, path, operation)
            said = f"{method} {path} with scope {scope}: {answer.status} {answer.body[:200]}"
            if scope == SCOPES[wanted]:
                assert answer.status not in (401, 403) and answer.status < 500, said
            else:
                assert answer.status == 403, said
        if wanted != "viewer":
            assert call(viewers, method, path, operation).status == 403, f"{method} {path}: its user is a viewer"
    admin.ok("POST", f"{ACCOUNT}/resume")
    # A key makes no keys and changes no password.
    every = key_of(admin, list(SCOPES.values()))
    every.refused(403, "POST", "/api/v1/api-keys", {"name": "another"})
    every.refused(403, "POST", "/api/v1/auth/password", {"current": PASSWORD, "new": "staple wagon lantern 4"})


def test_what_is_someone_elses_is_not_there(url, users, document):
    """Objects of one user, asked for by all others, administrators too; and an account that was not given."""
    owner = log_in(url, register(url)["email"])
    ids = {
        "watchlist_id": owner.ok("POST", "/api/v1/watchlists", {"name": "w", "symbols": []})["id"],
        "key_id": owner.ok("POST", "/api/v1/api-keys", {"name": "k"})["id"],
        "alert_id": owner.ok("POST", "/api/v1/alerts", BODIES["/api/v1/alerts"])["id"],
        "session_id": owner.ok("GET", "/api/v1/sessions")[0]["id"],
    }
    me = f"{ACCOUNT}/users/{owner.ok('GET', '/api/v1/auth/me')['id']}"
    users["administrator"].ok("PUT", me)
    ids["webhook_key_id"] = owner.ok("POST", "/api/v1/webhook-keys", {"name": "k", "account": "paper"})["key"]["id"]
    ids["signal_id"] = owner.ok("POST", f"{ACCOUNT}/signals", {"symbol": "BTCUSD", "side": "close"})["signal_id"]
    # Managers have all accounts.
    of_accounts = {"signal_id"}
    seen = set()
    for method, path, operation in operations(document):
        names = re.findall(r"\{(\w+)\}", path)
        own = [name for name in names if name in ids]
        for name in own:
            seen.add(name)
            for role in ROLES[:2] if name in of_accounts else ROLES:
                answer = users[role](method, path.replace(f"{{{name}}}", ids[name]), BODIES.get(path))
                least = 404 if ROLES.index(role) >= ROLES.index(role_of(operation)) else 403
                assert answer.status == least, f"{method} {path} as {role}: {answer.status}"
        if "account" in names and role_of(operation) != "manager":
            who = "viewer" if role_of(operation) == "viewer" else "trader"
            for account in ("paper", "no-such-account"):
                answer = call(users[who], method, path, operation, account)
                assert answer.status == 404, f"{method} {path} as {who}: {answer.status}"
    assert seen == set(ids), "each kind has a route"
    # And it is all still there.
    assert owner.ok("GET", f"/api/v1/watchlists/{ids['watchlist_id']}")["name"] == "w"
    assert owner.ok("GET", f"/api/v1/alerts/{ids['alert_id']}")["name"] == "a"
    assert [key["id"] for key in owner.ok("GET", "/api/v1/api-keys")] == [ids["key_id"]]
    assert [key["id"] for key in owner.ok("GET", "/api/v1/webhook-keys")] == [ids["webhook_key_id"]]
    assert owner.ok("GET", f"/api/v1/signals/{ids['signal_id']}")["status"] == "new"
    users["administrator"].ok("DELETE", me)


def test_an_account_is_given_and_taken(url, users):
    admin, trader = users["administrator"], log_in(url, register(url)["email"])
    me = trader.ok("GET", "/api/v1/auth/me")["id"]
    assert trader.ok("GET", "/api/v1/accounts") == []
    trader.refused(404, "GET", ACCOUNT)
    admin.ok("PUT", f"{ACCOUNT}/users/{me}")
    assert [one["id"] for one in admin.ok("GET", f"{ACCOUNT}/users")] == [me]
    (account,) = trader.ok("GET", "/api/v1/accounts")
    assert account == {**trader.ok("GET", ACCOUNT), "balance": account["balance"], "strategies": account["strategies"]}
    assert account["account"] == "paper" and float(account["balance"]["equity"]) > 0
    assert "BTCUSD" in account["symbols"]
    done = trader.ok("POST", f"{ACCOUNT}/orders", BODIES["/api/v1/accounts/{account}/orders"])
    trader.ok("DELETE", f"{ACCOUNT}/orders/{done['order_ids'][0]}")
    admin.ok("DELETE", f"{ACCOUNT}/users/{me}")
    trader.refused(404, "GET", ACCOUNT)
    trader.refused(404, "POST", f"{ACCOUNT}/orders", BODIES["/api/v1/accounts/{account}/orders"])


def test_a_log_in_from_its_beginning_to_its_end(url):
    email = "Login.Test@Example.org"
    user = register(url, email)
    assert user["email"] == email.lower()
    anyone = Client(url)
    assert anyone.refused(409, "POST", "/api/v1/auth/register", {"email": email, "password": PASSWORD})["code"] == "exists"
    wrong = anyone.refused(401, "POST", "/api/v1/auth/login", {"email": email, "password": "wrong"})
    unknown = anyone.refused(401, "POST", "/api/v1/auth/login", {"email": "no@example.org", "password": "wrong"})
    assert wrong == unknown, "who is registered is not told"

    first = anyone.ok("POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD})
    assert first["token_type"] == "Bearer" and first["expires_in"] == 900 and "csrf_token" not in first
    client = Client(url, first["access_token"])
    assert client.ok("GET", "/api/v1/auth/me")["id"] == user["id"]
    second = anyone.ok("POST", "/api/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    client.refused(401, "GET", "/api/v1/auth/me")
    again = anyone.refused(409, "POST", "/api/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert again["code"] == "just-spent"
    client = Client(url, second["access_token"])

    other = log_in(url, email)
    sessions = client.ok("GET", "/api/v1/sessions")
    assert [session["current"] for session in sessions] == [False, True]
    client.ok("DELETE", f"/api/v1/sessions/{sessions[0]['id']}")
    other.refused(401, "GET", "/api/v1/auth/me")

    other = log_in(url, email)
    new = "wagon lantern teapot 42"
    problem = client.refused(422, "POST", "/api/v1/auth/password", {"current": "wrong", "new": new})
    assert problem["errors"][0]["field"] == "current"
    problem = client.refused(422, "POST", "/api/v1/auth/password", {"current": PASSWORD, "new": "aaaaaaaaaaaaaa"})
    assert problem["errors"][0]["field"] == "new"
    client.ok("POST", "/api/v1/auth/password", {"current": PASSWORD, "new": new})
    other.refused(401, "GET", "/api/v1/auth/me")
    client.ok("GET", "/api/v1/auth/me")
    client.ok("POST", "/api/v1/auth/logout")
    client.refused(401, "GET", "/api/v1/auth/me")
    anyone.refused(401, "POST", "/api/v1/auth/refresh", {"refresh_token": second["refresh_token"]})
    log_in(url, email, new)


def test_a_forgotten_password(node, url):
    email = register(url)["email"]
    client, anyone = log_in(url, email), Client(url)
    for address in (email, "no.one@example.org"):
        assert anyone("POST", "/api/v1/auth/forgot", {"email": address}).status == 202
    # No mail is configured: it stands in the log.
    token = eventually("the log holds the token", lambda: re.search(rf"{re.escape(email)}.*(tfp_[0-9a-f]+)|(tfp_[0-9a-f]+).*{re.escape(email)}", node.text()))
    token = token[1] or token[2]
    assert "no.one@example.org" not in node.text()
    new = "wagon lantern teapot 42"
    assert anyone.refused(422, "POST", "/api/v1/auth/reset", {"token": token, "password": "short"})["errors"][0]["field"] == "password"
    anyone.ok("POST", "/api/v1/auth/reset", {"token": token, "password": new})
    assert anyone.refused(422, "POST", "/api/v1/auth/reset", {"token": token, "password": new})["errors"][0]["field"] == "token"
    client.refused(401, "GET", "/api/v1/auth/me")
    log_in(url, email, new)


def test_a_page_has_cookies_and_shows_that_it_asks_itself(url):
    email = register(url)["email"]
    answer = Client(url)("POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD, "cookies": True})
    assert answer.status == 200 and "access_token" not in answer.json and "refresh_token" not in answer.json
    cookies = SimpleCookie()
    # urllib joins headers of one name away; the test needs each of them.
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("POST", "/api/v1/auth/login", json.dumps({"email": email, "password": PASSWORD, "cookies": True}), {"content-type": "application/json"})
    response = connection.getresponse()
    csrf = json.loads(response.read())["csrf_token"]
    for line in response.headers.get_all("set-cookie"):
        cookies.load(line)
        assert "HttpOnly" in line and "SameSite=Strict" in line
    access, refresh = cookies["tradeflow_access"], cookies["tradeflow_refresh"]
    assert refresh["path"] == "/api/v1/auth"
    page = Client(url, headers={"cookie": f"tradeflow_access={access.value}"})
    page.ok("GET", "/api/v1/auth/me")
    for token in (None, "", "tfc_00", access.value):
        headers = {} if token is None else {"x-csrf-token": token}
        page.refused(403, "POST", "/api/v1/watchlists", {"name": "w"}, headers)
    page.ok("POST", "/api/v1/watchlists", {"name": "w"}, {"x-csrf-token": csrf})
    renewed = Client(url, headers={"cookie": f"tradeflow_refresh={refresh.value}"})("POST", "/api/v1/auth/refresh", {})
    assert renewed.status == 200 and "set-cookie" in renewed.headers and renewed.json["csrf_token"] != csrf


def test_who_guesses_must_wait(url):
    email = register(url)["email"]
    log_in_with = lambda password: Client(url)("POST", "/api/v1/auth/login", {"email": email, "password": password})
    assert [log_in_with(f"guess {n}").status for n in range(5)] == [401] * 5
    # Who goes on waits longer each time: long enough here to see that the right password must wait too.
    guess = lambda: (answer := log_in_with("guess")).status == 429 and answer.json["retry_after"] >= 4
    eventually("he must wait for seconds", guess)
    assert Client(url).refused(429, "POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD})["retry_after"] >= 1
    eventually("he may again", lambda: log_in_with(PASSWORD).status == 200)


def test_watchlists(url):
    client = log_in(url, register(url)["email"])
    made = client.ok("POST", "/api/v1/watchlists", {"name": "coins", "symbols": ["ETHUSD", "BTCUSD", "ETHUSD"]})
    assert made["symbols"] == ["ETHUSD", "BTCUSD"]
    client.refused(409, "POST", "/api/v1/watchlists", {"name": "coins"})
    problem = client.refused(422, "POST", "/api/v1/watchlists", {"name": "", "symbols": ["BTCUSD", "NOTHING"]})
    assert [error["field"] for error in problem["errors"]] == ["name", "symbols[1]"]
    changed = client.ok("PATCH", f"/api/v1/watchlists/{made['id']}", {"symbols": ["AAPL"]})
    assert changed == {**made, "symbols": ["AAPL"]}
    assert client.ok("GET", "/api/v1/watchlists") == [changed]
    client.ok("DELETE", f"/api/v1/watchlists/{made['id']}")
    client.refused(404, "GET", f"/api/v1/watchlists/{made['id']}")


def test_quotes_and_instruments(users, price):
    client = users["viewer"]
    known = {one["symbol"]: one for one in client.ok("GET", "/api/v1/instruments")}
    assert client.ok("GET", "/api/v1/instruments/BTCUSD") == known["BTCUSD"]
    assert known["BTCUSD"]["class"] == "crypto-spot" and float(known["BTCUSD"]["tick"]) > 0
    assert {quote["symbol"] for quote in client.ok("GET", "/api/v1/quotes")} <= set(known)
    first = client.ok("GET", "/api/v1/quotes/BTCUSD")
    assert first["source"] == "binance" and first["age_ms"] >= 0 and first["stale"] is False
    eventually("the quote moves", lambda: client.ok("GET", "/api/v1/quotes/BTCUSD")["ts_event"] != first["ts_event"])
    for path in ("/api/v1/quotes/NOTHING", "/api/v1/instruments/NOTHING", "/api/v1/quotes/..%2F..%2Fetc", "/api/v1/quotes/%00"):
        client.refused(404, "GET", path)


def test_orders_by_hand(users, price):
    client = users["manager"]
    place = lambda **order: client("POST", f"{ACCOUNT}/orders", {"symbol": "BTCUSD", "side": "buy", "qty": "0.01", **order})
    low, high = f"{price * 0.5:.2f}", f"{price * 1.5:.2f}"
    orders = {
        "market": {"type": "market"},
        "limit": {"type": "limit", "price": low},
        "limit for a day": {"type": "limit", "price": low, "time_in_force": "day"},
        "limit until": {"type": "limit", "price": low, "time_in_force": "gtd", "expires": "2199-01-01T00:00:00Z"},
        "immediate": {"type": "limit", "price": low, "time_in_force": "ioc"},
        "stop": {"type": "stop", "trigger": high},
        "stop-limit": {"type": "stop-limit", "trigger": high, "price": high},
        "trailing": {"type": "trailing-stop", "trail_bps": 5000},
        "bracket": {"type": "limit", "price": low, "stop_loss": f"{price * 0.4:.2f}", "take_profit": high},
        "post-only": {"type": "limit", "price": low, "post_only": True},
        "a number": {"type": "limit", "price": float(low), "qty": 0.01},
    }
    made = {}
    for name, order in orders.items():
        answer = place(**order)
        assert answer.status == 200, f"{name}: {answer.body}"
        made[name] = answer.json["order_ids"]
        assert len(made[name]) == (3 if name == "bracket" else 1), name
    assert len({order for ids in made.values() for order in ids}) == 13, "ids are unique"

    order = made["limit"][0]
    client.ok("PATCH", f"{ACCOUNT}/orders/{order}", {"symbol": "BTCUSD", "qty": "0.02"})
    client.ok("DELETE", f"{ACCOUNT}/orders/{order}")
    assert client.refused(404, "DELETE", f"{ACCOUNT}/orders/{order}")["code"] == "unknown-order"
    client.ok("DELETE", f"{ACCOUNT}/orders")
    eventually("none stands", lambda: client.ok("GET", ACCOUNT)["balance"]["open_orders"] == 0)

    for field, wrong in {
        "price": {"type": "limit"},
        "trigger": {"type": "stop"},
        "trail_price": {"type": "trailing-stop"},
        "expires": {"type": "limit", "price": low, "time_in_force": "gtd"},
        "qty": {"type": "market", "qty": "many"},
        "side": {"type": "market", "side": "hold"},
        "type": {"type": "best"},
    }.items():
        answer = place(**wrong)
        assert answer.status == 422, f"{field}: {answer.body}"
        assert answer.json["errors"][0]["field"] == field
    for wrong in ({"type": "market", "qty": "0"}, {"type": "market", "qty": "-1"}, {"type": "limit", "price": "-5"}):
        assert place(**wrong).status == 422, wrong
    assert place(type="market", symbol="NOTHING").json["code"] == "unknown-instrument"


def test_a_position_is_opened_and_closed(users, price):
    client = users["manager"]

    def held():
        return {one["symbol"]: float(one["qty"]) for one in client.ok("GET", f"{ACCOUNT}/positions")}

    # The demonstration's own strategy trades in the same instrument.
    strategies = {one["id"]: one for one in client.ok("GET", ACCOUNT)["strategies"]}
    assert strategies["momentum"]["running"]
    client.ok("DELETE", f"{ACCOUNT}/strategies/momentum?close=true")
    eventually("nothing is held", lambda: "ETHUSD" not in held())
    client.ok("POST", f"{ACCOUNT}/orders", {"symbol": "ETHUSD", "side": "buy", "type": "market", "qty": "0.5"})
    eventually("it is held", lambda: held().get("ETHUSD") == 0.5)
    client.ok("DELETE", f"{ACCOUNT}/positions/ETHUSD")
    eventually("it is closed", lambda: "ETHUSD" not in held())
    assert client.refused(404, "DELETE", f"{ACCOUNT}/positions/ETHUSD")["code"] == "no-position"

    assert client.refused(404, "DELETE", f"{ACCOUNT}/strategies/momentum")["code"] == "unknown-strategy"
    wanted = {"id": "momentum", "kind": "tick_momentum", "params": {"lookback": 100, "threshold_bps": 0}, "symbols": ["ETHUSD"]}
    problem = client.refused(422, "POST", f"{ACCOUNT}/strategies", {**wanted, "params": {"lookback": 0}, "data": "trades", "size": "20%"})
    assert "lookback" in problem["detail"]
    client.ok("POST", f"{ACCOUNT}/strategies", {**wanted, "data": "trades", "size": "20%"})
    eventually("it runs", lambda: any(one["id"] == "momentum" and one["running"] for one in client.ok("GET", ACCOUNT)["strategies"]))
    # One that is warmed up from the catalog and the bus, and one whose bars the session does not make.
    cross = {"id": "minutes", "kind": "sma_cross", "params": {"fast": 2, "slow": 5}, "symbols": ["BTCUSD"], "size": "1%"}
    client.ok("POST", f"{ACCOUNT}/strategies", {**cross, "data": "1m"})
    client.ok("DELETE", f"{ACCOUNT}/strategies/minutes")
    client.refused(422, "POST", f"{ACCOUNT}/strategies", {**cross, "data": "7m"})
    kinds = {one["kind"]: one for one in client.ok("GET", "/api/v1/strategies")}
    assert client.ok("GET", "/api/v1/strategies/tick_momentum") == kinds["tick_momentum"]
    assert "lookback" in kinds["tick_momentum"]["params"]["properties"]


def test_the_kill_switch(users, price):
    client = users["manager"]
    order = {"symbol": "BTCUSD", "side": "buy", "type": "limit", "qty": "0.01", "price": f"{price * 0.5:.2f}"}
    client.ok("POST", f"{ACCOUNT}/orders", order)
    client.ok("POST", f"{ACCOUNT}/kill")
    eventually("all is closed", lambda: client.ok("GET", ACCOUNT)["balance"]["mode"] == "killed")
    eventually("nothing is held", lambda: client.ok("GET", f"{ACCOUNT}/positions") == [])
    assert client.refused(422, "POST", f"{ACCOUNT}/orders", order)["code"] == "denied"
    client.ok("POST", f"{ACCOUNT}/resume")
    done = client.ok("POST", f"{ACCOUNT}/orders", order)
    client.ok("DELETE", f"{ACCOUNT}/orders/{done['order_ids'][0]}")


def test_a_write_with_a_key_is_done_once(users, price):
    client = users["manager"]
    order = {"symbol": "BTCUSD", "side": "buy", "type": "limit", "qty": "0.01", "price": f"{price * 0.5:.2f}"}
    header = {"idempotency-key": uuid.uuid4().hex}
    first = client.ok("POST", f"{ACCOUNT}/orders", order, header)
    assert client.ok("POST", f"{ACCOUNT}/orders", order, header) == first
    problem = client.refused(409, "POST", f"{ACCOUNT}/orders", {**order, "qty": "0.02"}, header)
    assert problem["code"] == "key-reused"
    # All at once, too.
    for _ in range(5):
        header = {"idempotency-key": uuid.uuid4().hex}
        with ThreadPoolExecutor(8) as pool:
            at_once = list(pool.map(lambda _: client("POST", f"{ACCOUNT}/orders", order, header), range(8)))
        assert {(answer.status, answer.body) for answer in at_once} == {(200, at_once[0].body)}
    another = client.ok("POST", f"{ACCOUNT}/orders", order, {"idempotency-key": uuid.uuid4().hex})
    assert another["order_ids"] != first["order_ids"]
    refused = {**order, "qty": "0.0000000000001"}
    header = {"idempotency-key": uuid.uuid4().hex}
    said = client("POST", f"{ACCOUNT}/orders", refused, header)
    assert said.status == 422 and client("POST", f"{ACCOUNT}/orders", refused, header).body == said.body
    for wrong in ("", "x" * 101, "two words"):
        client.refused(422, "POST", f"{ACCOUNT}/orders", order, {"idempotency-key": wrong})
    client.ok("DELETE", f"{ACCOUNT}/orders")


@pytest.mark.parametrize(
    ("raw", "status", "field"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"\xff\xfe", 400, None),
        (b'{"name": "w"} trailing', 400, None),
        (b"[]", 422, "body"),
        (b'["w", []]', 422, "body"),
        (b"null", 422, "body"),
        (b"{}", 422, "body"),
        (b'{"name": 7}', 422, "name"),
        (b'{"name": "w", "symbols": ["BTCUSD", 7]}', 422, "symbols[1]"),
        (b'{"name": "w", "colour": "red"}', 422, "colour"),
        (b'{"name": "w", "name": "x"}', 422, "body"),
        (b'{"name": "' + b"x" * 101 + b'"}', 422, "name"),
        (b'{"name": "a\\u0000b"}', 422, "name"),
        (b'{"name": "w", "symbols": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", 422, "symbols[0]"),
        (b'{"name": "' + b"x" * 70_000 + b'"}', 413, None),
    ],
)
def test_a_body_that_does_not_fit_is_refused_by_its_field(users, raw, status, field):
    problem = users["viewer"].refused(status, "POST", "/api/v1/watchlists", raw=raw)
    assert [error["field"] for error in problem.get("errors", [])] == ([field] if field else []), problem


def test_a_body_that_is_no_json_is_refused(users):
    users["viewer"].refused(415, "POST", "/api/v1/watchlists", {"name": "w"}, {"content-type": "text/plain"})


def test_the_audit_log_tells_who_did_what(url, users):
    admin, trader = users["administrator"], log_in(url, register(url)["email"])
    me = trader.ok("GET", "/api/v1/auth/me")
    admin.ok("PUT", f"{ACCOUNT}/users/{me['id']}")
    trader("DELETE", f"{ACCOUNT}/orders/4096")
    page = admin.ok("GET", f"/api/v1/logs/audit?user_id={me['id']}")
    assert [entry["action"] for entry in page["items"]] == ["orders.cancel", "auth.login", "auth.register"]
    assert page["items"][0]["object"] == "paper" and page["items"][0]["actor"] == me["email"]
    assert all(entry["address"] == "127.0.0.1" for entry in page["items"])
    first = admin.ok("GET", f"/api/v1/logs/audit?user_id={me['id']}&limit=2")
    rest = admin.ok("GET", f"/api/v1/logs/audit?user_id={me['id']}&limit=2&cursor={first['next']}")
    assert first["items"] + rest["items"] == page["items"] and rest["next"] is None
    admin.refused(422, "GET", "/api/v1/logs/audit?limit=0")
    admin.refused(422, "GET", "/api/v1/logs/audit?limit=many")


def test_answers_are_guarded(url):
    answer = Client(url)("GET", "/api/v1/auth/me")
    assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer"
    for name in ("x-content-type-options", "x-frame-options", "referrer-policy", "content-security-policy"):
        assert answer.headers[name]
    assert answer.headers["cache-control"] == "no-store"
    assert int(answer.headers["x-ratelimit-remaining"]) < int(answer.headers["x-ratelimit-limit"])
    Client(url).refused(404, "GET", "/api/v1/nothing")
    # What a machine shows to whoever sits at it, it does not show to a page that took its name.
    assert Client(url)("GET", "/api/v1/status").status == 200
    Client(url).refused(401, "GET", "/api/v1/status", headers={"host": "evil.example"})
    Client(url).refused(401, "GET", "/api/v1/status", headers={"origin": "http://evil.example"})
    docs = Client(url)("GET", "/api/v1/docs/")
    assert docs.status == 200 and b"swagger" in docs.body.lower()


def test_limits_and_a_closed_registration(tmp_path):
    settings = {
        "TRADEFLOW__API__REGISTRATION": "false",
        "TRADEFLOW__API__REQUESTS_PER_SECOND": "1",
        "TRADEFLOW__API__ATTEMPTS_PER_MINUTE": "6",
    }
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=settings) as node:
        url = node.address()
        email = register(url)["email"]
        Client(url).refused(403, "POST", "/api/v1/auth/register", {"email": "second@example.org", "password": PASSWORD})
        client = log_in(url, email)
        answers = [client("GET", "/api/v1/auth/me") for _ in range(4)]
        limited = [answer for answer in answers if answer.status == 429]
        assert limited and int(limited[0].headers["retry-after"]) >= 1
        assert limited[0].headers["x-content-type-options"] == "nosniff" and limited[0].headers["cache-control"] == "no-store"
        attempts = [Client(url)("POST", "/api/v1/auth/login", {"email": "x@example.org", "password": "x"}).status for _ in range(6)]
        assert attempts[-1] == 429
        # What they are is there after the next start.
        node.stop()
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data") as node:
        again = Client(node.address(), client.token)
        assert again.ok("GET", "/api/v1/auth/me")["email"] == email


# The last one of this file: it does what it likes with users and keys.
def test_every_answer_is_one_that_the_document_describes(url, users, tmp_path):
    """schemathesis makes requests from the document, fitting and not: no 5xx, no answer of another shape, none without a
    token. A stranger's view of the document. TRADEFLOW_SEED is another seed than each run's, or `random`."""
    key = users["administrator"].ok("POST", "/api/v1/api-keys", {"name": "fuzz", "scopes": list(SCOPES.values())})["secret"]
    seed = os.environ.get("TRADEFLOW_SEED", "20261122")
    seed = str(random.randrange(1 << 32)) if seed == "random" else seed
    print(f"TRADEFLOW_SEED={seed}")
    # 413 rejects too: a body may break the schema and the limit of bytes at once, and the limit is looked at first.
    rejections = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429"]
    (tmp_path / "schemathesis.toml").write_text(f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(rejections)}\n")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth,negative_data_rejection"
    done = subprocess.run(
        [Path(sys.executable).parent / "schemathesis", "run", f"{url}/api/v1/openapi.json", "-H", f"Authorization: Bearer {key}"]
        + ["--phases", "coverage,fuzzing", "--max-examples", "20", "--checks", checks, "--seed", seed, "--no-color"]
        # Each mail that is asked for is a line in the log; a log-out has no sense with a key.
        + ["--exclude-path-regex", "auth/(logout|forgot)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    # Bodies that it makes are long.
    assert done.returncode == 0, "\n".join(line[:400] for line in (done.stdout + done.stderr).splitlines())
    # It may have ended every log-in and taken every key; the account lives.
    paper = lambda: next(cell for cell in Client(url).ok("GET", "/api/v1/status")["cells"] if cell["account"] == "paper")
    before = paper()
    assert before["halted"] is None
    eventually("the account takes market data", lambda: paper()["events"] > before["events"])
