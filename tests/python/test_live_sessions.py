"""Sessions over the API: a proof and a fork of one say what the commands say of it, byte for byte."""

import filecmp
import json
import shutil
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import polars
import pytest

from api_client import Client, log_in, register, users_of_each_role
from conftest import tradeflow_ok
from nodes import Node, eventually, json_of
from test_api import UNLIMITED
from test_jobs import JOBS, LARGE, ended
from test_socket import Socket, schemas  # noqa: F401

LIVE = "/api/v1/sessions/live"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data of a demonstration whose first session has ended, with fills."""
    folder = tmp_path_factory.mktemp("live")
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED) as node:
        eventually("it has traded", lambda: node.status()["cells"][0]["fills"] > 10)
        folder.joinpath("session").write_text(node.session())
        node.stop()
    return folder


@pytest.fixture(scope="module")
def second(folder):
    """The node of the second session, with its users. What was asked of it is compared when it has ended."""
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED) as node:
        node.up()
        users = users_of_each_role(node.address())
        trader = users["trader"].ok("GET", "/api/v1/auth/me")["id"]
        users["administrator"].ok("PUT", f"/api/v1/accounts/paper/users/{trader}")
        yield SimpleNamespace(node=node, users=users, session=folder.joinpath("session").read_text())


@pytest.fixture(scope="module")
def node(second):
    """As the schemas of the socket's messages take it."""
    return second.node


def done(client: Client, job: dict) -> dict:
    """What came of a job, which must succeed."""
    assert job["status"] == "queued"
    job = ended(client, job["job_id"])
    assert (job["status"], job["progress"]) == ("done", 1), job
    return client.ok("GET", f"{JOBS}/{job['job_id']}/summary")


def test_who_sees_which_sessions(second):
    users, first = second.users, second.session
    sessions = users["manager"].ok("GET", LIVE)
    assert [session["session"] for session in sessions] == [second.node.session(), first]
    assert [session["state"] for session in sessions] == ["open", "closed"]
    assert users["trader"].ok("GET", LIVE) == sessions
    assert users["viewer"].ok("GET", LIVE) == []


def test_what_is_wrong_is_told_at_once(second):
    trader, path = second.users["trader"], f"{LIVE}/{second.session}/fork"
    (session,) = [session for session in trader.ok("GET", LIVE) if session["session"] == second.session]
    right = {"at": session["started"], "account": "paper", "strategy": "momentum", "set": {"lookback": 3}}
    for change, field in [
        ({"at": "noon"}, "at"),
        ({"at": "2199-01-01T00:00:00Z"}, "at"),
        ({"strategy": "none"}, "strategy"),
        ({"strategy": None}, "strategy"),
        ({"kind": "no_such"}, "kind"),
        ({"set": {}}, "set"),
        ({"set": {"lookback": -1}}, "set"),
        ({"set": {"colour": "red"}}, "set"),
    ]:
        problem = trader.refused(422, "POST", path, {**right, **change})
        assert [error["field"] for error in problem["errors"]] == [field], (change, problem)
    trader.refused(404, "POST", path, {**right, "account": "other"})
    trader.refused(404, "POST", f"{LIVE}/none/fork", right)
    second.users["viewer"].refused(403, "POST", path, right)
    # Of an account that is another's nothing is told, not even whether its strategies fit.
    stranger = log_in(trader.url, register(trader.url)["email"])
    stranger.refused(404, "POST", path, right)
    stranger.refused(404, "POST", path, {**right, "account": None})
    trader.refused(403, "POST", f"{LIVE}/{second.session}/verify")
    second.users["manager"].refused(404, "POST", f"{LIVE}/none/verify")


def test_a_session_that_goes_on_is_proven_as_far_as_it_is(second):
    verdict = done(second.users["manager"], second.users["manager"].ok("POST", f"{LIVE}/last/verify"))
    assert (verdict["session"], verdict["equal"], verdict["closed"]) == (second.node.session(), True, False)


def test_a_job_that_waits_is_cancelled(second):
    manager = second.users["manager"]
    eventually("the sample data is there", lambda: manager("POST", JOBS, {"config": LARGE}).status == 202)
    job = manager.ok("POST", f"{LIVE}/{second.session}/verify")["job_id"]
    assert manager.ok("DELETE", f"{JOBS}/{job}")["status"] == "cancelled"
    assert manager.ok("GET", f"{JOBS}/{job}")["kind"] == "verify"
    for other in manager.ok("GET", f"{JOBS}?status=running")["items"] + manager.ok("GET", f"{JOBS}?status=queued")["items"]:
        manager("DELETE", f"{JOBS}/{other['job_id']}")


def test_proof_and_fork_are_those_of_the_commands(folder, second, schemas, tmp_path):  # noqa: F811
    """The last test: it ends the node, whose log the commands open then."""
    manager, trader = second.users["manager"], second.users["trader"]
    with Socket(manager, schemas) as socket:
        job = manager.ok("POST", f"{LIVE}/{second.session}/verify")
        socket.follow("jobs", job["job_id"])
        seen = [m["data"][0] if m["type"] == "snapshot" else m["data"] for m in socket.seen if m.get("channel") == "jobs"]
        while seen[-1]["status"] not in ("done", "failed"):
            seen.append(socket.hear()["data"])
        assert seen[-1]["status"] == "done" and seen[-1]["progress"] == 1
        assert [job["progress"] for job in seen] == sorted(job["progress"] for job in seen)
    verdict = manager.ok("GET", f"{JOBS}/{job['job_id']}/summary")
    assert verdict["equal"] is True and verdict["fills"] > 10 and verdict["digest_live"]
    assert manager.refused(409, "GET", f"{JOBS}/{job['job_id']}/orders")["code"] == "no-tables"

    (session,) = [session for session in trader.ok("GET", LIVE) if session["session"] == second.session]
    wanted = {"at": session["started"], "strategy": "momentum", "set": {"lookback": 3}, "account": "paper", "name": "what if"}
    job = trader.ok("POST", f"{LIVE}/{second.session}/fork", wanted)
    assert (job["kind"], job["name"]) == ("fork", "what if")
    report = done(trader, job)
    assert report["after"]["params"] == {**report["before"]["params"], "lookback": 3}
    assert report["forked"]["orders"] > 0
    made = Path(report["forked"]["results"])
    assert made.parent == folder / "data" / "results"
    # Its tables over the API are those of its files.
    rows = trader.ok("GET", f"{JOBS}/{job['job_id']}/orders?limit=500")["rows"]
    assert [row["order_id"] for row in rows] == polars.read_parquet(made / "orders.parquet")["order_id"].to_list()[:500]
    assert report["forked"]["digest"] in [run["digest"] for run in manager.ok("GET", "/api/v1/runs")["rows"]]
    kept = tmp_path / "over-the-api"
    shutil.copytree(made, kept)

    second.node.stop()
    place = ("--data", folder / "data")
    assert verdict == json.loads(json.dumps(json_of("verify", second.session, *place), default=str))
    assert session == next(one for one in json_of("sessions", *place) if one["session"] == second.session)
    told = tradeflow_ok(
        "fork", second.session, "--at", session["started"], "--strategy", "momentum", "--set", "lookback=3",
        "--json", "--out", tmp_path / "by-command", *place,
    )
    by_command = json.loads(told, parse_float=Decimal)
    for name in ("session", "account", "strategy", "at", "before", "after", "happened"):
        assert report[name] == by_command[name], name
    again = Path(by_command["forked"]["results"])
    assert again.name == made.name and by_command["forked"]["digest"] == report["forked"]["digest"]
    for file in sorted(kept.glob("*.parquet")):
        assert filecmp.cmp(file, again / file.name, shallow=False), file.name
    assert len(list(kept.glob("*.parquet"))) == len(list(again.glob("*.parquet"))) > 3
