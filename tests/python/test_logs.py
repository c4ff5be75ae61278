"""The logs of a real node: its system log, its audit log with what was sent to cells, and both as files."""

import csv
import io
import json
import re
from datetime import datetime

import pytest

from api_client import Client, log_in, register, users_of_each_role
from nodes import Node, eventually
from test_api import UNLIMITED
from test_socket import Socket, schemas  # noqa: F401

SYSTEM, AUDIT = "/api/v1/logs/system", "/api/v1/logs/audit"
ORDERS = "/api/v1/accounts/paper/orders"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    environment = {**UNLIMITED, "TRADEFLOW__NODE__NAME": "first"}
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=environment) as node:
        yield node.up()


@pytest.fixture(scope="module")
def users(node):
    return users_of_each_role(node.address())


@pytest.fixture(scope="module")
def admin(users):
    return users["administrator"]


def every(client: Client, path: str, **query) -> list:
    """All entries, page by page."""
    found, cursor = [], None
    while True:
        more = {**query, **({"cursor": cursor} if cursor else {})}
        page = client.ok("GET", f"{path}?" + "&".join(f"{key}={value}" for key, value in more.items()))
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            return found


def on_stderr(node: Node) -> list:
    """Time, level and the rest of each line that is of information or graver."""
    lines = re.findall(r"^(\S+Z) +(ERROR|WARN|INFO) (.*)$", node.err.read_text(), re.MULTILINE)
    return [(level.lower(), rest) for _, level, rest in lines]


def test_the_system_log_has_what_stands_on_standard_error(node, admin):
    expected = on_stderr(node)
    assert expected

    def written():
        found = every(admin, SYSTEM, limit=7)
        return len(found) >= len([line for line in expected if "actor=" not in line[1]]) and found

    found = eventually("the log is written", written)
    assert [entry["id"] for entry in found] == sorted({entry["id"] for entry in found}, reverse=True)
    assert {entry["node"] for entry in found} == {"first"}
    known = [(entry["level"], entry["message"]) for entry in reversed(found)]
    # Events of the audit log have a table of their own.
    for level, rest in expected:
        if "actor=" not in rest:
            assert any(level == kind and rest.startswith(message) for kind, message in known), rest
    assert any(entry["fields"].get("session") for entry in found if "session" in entry["message"])


def test_the_system_log_is_filtered(node, admin):
    # A line of each level is known to be there: a warning is made by someone who has forgotten his password.
    email = register(node.address())["email"]
    Client(node.address()).ok("POST", "/api/v1/auth/forgot", {"email": email})
    warning = eventually("it is there", lambda: admin.ok("GET", f"{SYSTEM}?level=warn&text={email.upper()}")["items"])
    assert [entry["level"] for entry in warning] == ["warn"] and warning[0]["target"] == "mail"
    assert admin.ok("GET", f"{SYSTEM}?level=error&text={email}")["items"] == []
    assert admin.ok("GET", f"{SYSTEM}?target=mail&text={email}")["items"] == warning
    assert admin.ok("GET", f"{SYSTEM}?target=tradeflow&text={email}")["items"] == []
    time = warning[0]["time"]
    assert admin.ok("GET", f"{SYSTEM}?target=mail&from={time}&text={email}")["items"] == warning
    assert admin.ok("GET", f"{SYSTEM}?target=mail&to={time}&text={email}")["items"] == []
    # The token with which the password is set stands on standard error alone.
    token = re.search(r"tfp_[0-9a-f]{64}", node.text())[0]
    text = json.dumps(every(admin, SYSTEM))
    assert token not in text and token[4:] not in text and "tfp_…" in json.dumps(warning, ensure_ascii=False)
    for wrong in ("level=fatal", "from=yesterday", "limit=0", "limit=many"):
        admin.refused(422, "GET", f"{SYSTEM}?{wrong}")


def test_administrators_follow_the_log(node, users, admin, schemas):  # noqa: F811
    with Socket(admin, schemas) as socket:
        for level in ("info", "warn", "error"):
            (begun,) = socket.follow("logs", level)
            assert begun["type"] == "snapshot" and begun["data"] == []
        email = register(node.address())["email"]
        Client(node.address()).ok("POST", "/api/v1/auth/forgot", {"email": email})
        for level in ("warn", "info"):
            told = socket.until(lambda m: m["type"] == "update" and m["key"] == level and email in json.dumps(m))["data"]
            assert told["level"] == "warn" and told["node"] == "first" and "tfp_…" in json.dumps(told, ensure_ascii=False)
        # It is told first, then written.
        written = eventually("it is written", lambda: admin.ok("GET", f"{SYSTEM}?level=warn&text={email}")["items"])
        assert [entry["id"] for entry in written] == [told["id"]]
        assert not any(message.get("key") == "error" for message in socket.updates("logs"))
        (refused,) = socket.follow("logs", "debug")
        assert refused["type"] == "error" and refused["code"] == "invalid"
    for role in ("viewer", "trader", "manager"):
        with Socket(users[role], schemas) as socket:
            (refused,) = socket.follow("logs", "info")
            assert refused["type"] == "error" and refused["code"] == "forbidden"


def test_the_audit_log_says_what_was_sent_to_cells_and_what_came_of_it(users, admin):
    manager = users["manager"]
    eventually("there is a quote", lambda: manager("GET", "/api/v1/quotes/BTCUSD").status == 200)
    me = manager.ok("GET", "/api/v1/auth/me")["id"]
    order = {"symbol": "BTCUSD", "side": "buy", "type": "limit", "qty": "0.01", "price": "1.00"}
    done = manager.ok("POST", ORDERS, order)
    manager.ok("DELETE", f"{ORDERS}/{done['order_ids'][0]}")
    manager("POST", ORDERS, {**order, "symbol": "NOTHING"})
    refused, cancelled, placed = admin.ok("GET", f"{AUDIT}?user_id={me}&action=orders.&object=paper")["items"]
    assert [entry["action"] for entry in (placed, cancelled, refused)] == ["orders.place", "orders.cancel", "orders.place"]
    detail = placed["detail"]
    assert (placed["outcome"], detail["command_id"], detail["order_ids"]) == ("done", done["command_id"], done["order_ids"])
    sent = json.dumps(detail["command"])
    assert "BTCUSD" in sent and "0.01" in sent and "buy" in sent
    assert done["order_ids"][0] in json.dumps(cancelled["detail"]["command"])
    assert refused["outcome"] != "done" and "order_ids" not in refused["detail"] and "NOTHING" in json.dumps(refused["detail"])
    assert admin.ok("GET", f"{AUDIT}?user_id={me}&object=other")["items"] == []
    between = admin.ok("GET", f"{AUDIT}?user_id={me}&action=orders.&from={placed['time']}&to={refused['time']}")["items"]
    assert between == [cancelled, placed]


def test_logs_as_files(node, users, admin):
    # An action by someone whose name a spreadsheet would take for a formula, and more entries than a page has.
    odd = "=1+2@example.org"
    for _ in range(520):
        assert Client(node.address())("POST", "/api/v1/auth/login", {"email": odd, "password": "x"}).status in (401, 422, 429)
    query = "?action=auth.login"
    expected = every(admin, AUDIT, action="auth.login", limit=500)
    assert len(expected) > 500
    answer = admin("GET", f"{AUDIT}/export{query}&format=json")
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert 'filename="audit-log.json"' in answer.headers["content-disposition"]
    assert answer.json == expected
    answer = admin("GET", f"{AUDIT}/export{query}")
    assert answer.headers["content-type"].startswith("text/csv") and 'filename="audit-log.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert [row["id"] for row in rows] == [entry["id"] for entry in expected]
    for row, entry in zip(rows, expected, strict=True):
        actor = entry["actor"]
        assert row["actor"] == (f"'{actor}" if actor[0] in "=+-@" else actor)
    assert any(row["actor"].startswith("'=") for row in rows)
    found = every(admin, SYSTEM)
    until = f"?to={found[0]['time']}"
    expected = [entry for entry in found if entry["time"] < found[0]["time"]]
    assert admin("GET", f"{SYSTEM}/export{until}&format=json").json == expected
    rows = list(csv.DictReader(io.StringIO(admin("GET", f"{SYSTEM}/export{until}").body.decode())))
    assert [(row["id"], json.loads(row["fields"])) for row in rows] == [(entry["id"], entry["fields"]) for entry in expected]
    assert all(datetime.fromisoformat(row["time"]) for row in rows)
    assert admin("GET", f"{SYSTEM}/export?text=no-such-text&format=json").json == []
    admin.refused(422, "GET", f"{SYSTEM}/export?format=xml")
    admin.refused(422, "GET", f"{AUDIT}/export?from=yesterday")


def test_what_was_said_is_there_after_a_restart_and_the_end_is_written(tmp_path):
    start = lambda: Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", environment=UNLIMITED)
    with start() as node:
        email = register(node.address())["email"]
        session = node.session()
        node.stop()
    with start() as node:
        admin = log_in(node.address(), email)
        messages = [entry["message"] for entry in every(admin, SYSTEM)]
        assert "stopping" in messages
        assert any(session == entry["fields"].get("session") for entry in every(admin, SYSTEM))
