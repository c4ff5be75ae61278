"""A node with ClickHouse: it answers about runs as one without it does, says so when it is away, and catches up by itself."""

import json
import os
import urllib.request

import polars
import pytest

import clickhouse
from api_client import Client, users_of_each_role
from conftest import tradeflow_ok
from nodes import Node, eventually
from test_api import UNLIMITED
from test_jobs import JOBS, SMALL, ended, submit
from test_metrics import families

# A password that must not be shown.
SECRET = "hush-4711"
TABLES = ("equity", "orders", "fills", "trades")


@pytest.fixture(scope="module")
def server():
    if os.environ.get("TRADEFLOW_CLICKHOUSE") == "none":
        pytest.skip("TRADEFLOW_CLICKHOUSE=none")
    with clickhouse.server({"CLICKHOUSE_USER": "ann", "CLICKHOUSE_PASSWORD": SECRET}) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data of a node that has the sample data in its catalog."""
    folder = tmp_path_factory.mktemp("results")
    tradeflow_ok("sample", "--catalog", folder / "data" / "catalog")
    tradeflow_ok("catalog", "aggregate", "--symbol", "SAMPLE-BTC", "--into", "1h", "--catalog", folder / "data" / "catalog")
    return folder


@pytest.fixture(scope="module")
def url(server):
    """A database of the server, with user and password."""
    return clickhouse.database(server.url).replace("http://", f"http://ann:{SECRET}@")


def start(folder, url: str) -> Node:
    environment = {**UNLIMITED, "TRADEFLOW__RESULTS__CLICKHOUSE": url}
    return Node(folder / "logs", "--demo", "--data", folder / "data", environment=environment)


def with_cross(fast: int) -> dict:
    strategy = {"kind": "sma_cross", "params": {"fast": fast, "slow": 20}}
    return {**SMALL, "account": [{"id": "one", "strategy": [strategy]}]}


def health(node: Node) -> dict:
    with urllib.request.urlopen(f"{node.address()}/health") as page:
        return json.load(page)


def waiting(node: Node) -> float:
    with urllib.request.urlopen(f"{node.address()}/metrics") as page:
        (sample,) = families(page.read().decode())["tradeflow_results_waiting"].samples
        return sample.value


def pages(client: Client, path: str) -> list:
    """All rows of a list, a few at a time."""
    rows, cursor = [], ""
    while cursor is not None:
        page = client.ok("GET", f"{path}{'&' if '?' in path else '?'}limit=7{cursor and f'&cursor={cursor}'}")
        rows += page["rows"]
        cursor = page["next"]
    return rows


def told(manager: Client, jobs: list[str]) -> dict:
    """What is answered to every question about runs."""
    asked = ["/runs", "/runs?sort=sharpe", "/runs?sort=max_drawdown&symbol=SAMPLE-BTC", "/runs?params=fast=5", "/runs?strategy=none"]
    answers = {path: pages(manager, f"/api/v1{path}") for path in asked}
    for path in ("/runs/groups?by=fast", "/runs/groups?by=symbol&metric=total_return", "/runs/groups?by=nothing"):
        answers[path] = manager.ok("GET", f"/api/v1{path}")["rows"]
    for job in jobs:
        answers[f"{job} equity"] = manager.ok("GET", f"{JOBS}/{job}/equity?points=50")["rows"]
        for table in TABLES[1:]:
            answers[f"{job} {table}"] = pages(manager, f"{JOBS}/{job}/{table}?symbol=SAMPLE-BTC")
    return answers


def test_it_answers_alike_with_clickhouse_and_without(folder, url):
    # A run that was there before the node had ClickHouse goes there too.
    early = json.loads(tradeflow_ok(
        "backtest", "--symbol", "SAMPLE-BTC", "--interval", "1h", "--strategy", "buy_and_hold", "--json",
        "--catalog", folder / "data" / "catalog", "--out", folder / "data" / "results",
    ))
    with start(folder, url) as node:
        node.up()
        clients = users_of_each_role(node.address())
        trader, token = clients["trader"], clients["manager"].token
        manager = Client(node.address(), token)
        jobs = [submit(trader, with_cross(fast)) for fast in (3, 5, 8)]
        assert [ended(trader, job)["status"] for job in jobs] == ["done"] * 3
        # What is done is there.
        assert len(trader.ok("GET", f"{JOBS}/{jobs[0]}/trades")["rows"]) > 5
        eventually("the early run is there", lambda: len(pages(manager, "/api/v1/runs")) == 4)
        there = told(manager, jobs)
        assert early["digest"] in [run["digest"] for run in there["/runs"]]
        assert [group["value"] for group in there["/runs/groups?by=fast"]] == ["3", "5", "8"]
        eventually("nothing waits", lambda: waiting(node) == 0)
        eventually("it is well", lambda: health(node)["status"] == "ok")
        assert SECRET not in node.stop()
    with start(folder, "none") as node:
        node.up()
        without = told(Client(node.address(), token), jobs)
        node.stop()
    assert without == there
    assert all(there[f"{jobs[0]} {table}"] for table in TABLES)


def test_an_outage_is_told_and_made_up_for(folder, server):
    own = folder / "outage"
    (own / "data").mkdir(parents=True)
    (own / "data" / "catalog").symlink_to(folder / "data" / "catalog")
    url = clickhouse.database(server.url).replace("http://", f"http://ann:{SECRET}@")
    with start(own, url) as node:
        node.up()
        admin = users_of_each_role(node.address())["administrator"]
        ended(admin, submit(admin, with_cross(5)))
        before = pages(admin, "/api/v1/runs")
        assert len(before) == 1
        eventually("it is well", lambda: health(node)["status"] == "ok")
        server.stop()
        # The job is done all the same: its run is on disk, and its summary in the state.
        job = submit(admin, with_cross(11))
        assert ended(admin, job)["status"] == "done"
        summary = admin.ok("GET", f"{JOBS}/{job}/summary")
        for path in ("/api/v1/runs", "/api/v1/runs/groups?by=fast", *(f"{JOBS}/{job}/{table}" for table in TABLES)):
            problem = admin.refused(503, "GET", path)
            assert problem["code"] == "unavailable" and "ClickHouse" in problem["detail"], problem
            assert problem["retry_after"] and SECRET not in json.dumps(problem)

        def degraded():
            told = health(node)
            reasons = [reason for reason in told["reasons"] if reason.startswith("results are not in ClickHouse, 1 runs wait")]
            return told["status"] == "degraded" and reasons

        (reason,) = eventually("it says that it is degraded", degraded)
        assert SECRET not in reason
        assert waiting(node) == 1
        with urllib.request.urlopen(f"{node.address()}/ready") as page:
            assert page.status == 200, "it trades on"
        server.start()
        runs = eventually("it has caught up", lambda: len(rows := pages(admin, "/api/v1/runs")) == len(before) + 1 and rows)
        assert summary["digest"] in [run["digest"] for run in runs]
        found = [row["order_id"] for row in pages(admin, f"{JOBS}/{job}/orders")]
        assert found == polars.read_parquet(f"{summary['results']}/orders.parquet")["order_id"].to_list()
        eventually("it is well again", lambda: health(node)["status"] == "ok" and waiting(node) == 0)
        assert SECRET not in node.stop()
    for file in (own / "data").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
