"""Backtests as jobs of a real node: the same results as the command line's, however often the node is killed."""

import io
import json
import signal
import subprocess
import tomllib
import zipfile
from decimal import Decimal
from pathlib import Path

import polars
import pytest

from api_client import Client, users_of_each_role
from conftest import BINARY, tradeflow_ok
from nodes import Node, eventually
from test_api import UNLIMITED
from test_socket import Socket, schemas  # noqa: F401

ROOT = Path(__file__).parents[2]
JOBS = "/api/v1/backtests"
SMALL = {
    "data": {"symbols": ["SAMPLE-BTC"], "interval": "1h"},
    "execution": {"fee_bps": 7.5},
    "account": [{"id": "one", "strategy": [{"kind": "sma_cross", "params": {"fast": 5, "slow": 20}}]}],
}
LARGE = {
    "data": {"symbols": ["SAMPLE-BTC"], "interval": "1m"},
    "account": [
        {"id": f"a{n}", "strategy": [{"kind": "sma_cross", "params": {"fast": 2 + n, "slow": 3 + 2 * n}}]} for n in range(40)
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data of a node that has the sample data in its catalog."""
    folder = tmp_path_factory.mktemp("jobs")
    tradeflow_ok("sample", "--catalog", folder / "data" / "catalog")
    tradeflow_ok("catalog", "aggregate", "--symbol", "SAMPLE-BTC", "--into", "1h", "--catalog", folder / "data" / "catalog")
    return folder


def start(folder, **more) -> Node:
    return Node(folder / "logs", "--demo", "--data", folder / "data", environment={**UNLIMITED, **more})


@pytest.fixture(scope="module")
def node(folder):
    with start(folder) as node:
        yield node.up()


@pytest.fixture(scope="module")
def users(node):
    return users_of_each_role(node.address())


@pytest.fixture(scope="module")
def trader(users):
    return users["trader"]


def submit(client: Client, config: dict, name: str = "") -> str:
    job = client.ok("POST", JOBS, {"name": name, "config": config})
    assert job["status"] == "queued" and job["progress"] == 0
    return job["job_id"]


def ended(client: Client, job_id: str) -> dict:
    return eventually("the job has ended", lambda: (job := client.ok("GET", f"{JOBS}/{job_id}"))["status"] not in ("queued", "running") and job)


def by_hand(folder, config: dict) -> dict:
    """The summary of the same run, made by the command line from the example's form of a file."""
    lines = []
    for section in ("data", "execution"):
        if section in config:
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in config[section].items())]
    for account in config["account"]:
        lines += ["[[account]]", f"id = {json.dumps(account['id'])}"]
        for strategy in account["strategy"]:
            params = ", ".join(f"{key} = {value}" for key, value in strategy["params"].items())
            lines += ["[[account.strategy]]", f"kind = {json.dumps(strategy['kind'])}", f"params = {{ {params} }}"]
    file = folder / "by_hand.toml"
    file.write_text("\n".join(lines))
    assert tomllib.loads(file.read_text()) == config
    return json.loads(tradeflow_ok("backtest", file, "--catalog", folder / "data" / "catalog", "--out", folder / "by_hand", "--json"))


def downloaded(client: Client, job_id: str, results: Path):
    """The folder of a run comes as one file, byte for byte."""
    answer = client("GET", f"{JOBS}/{job_id}/download")
    assert answer.status == 200 and answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{results.name}.zip"'
    assert int(answer.headers["content-length"]) == len(answer.body)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as packed:
        assert packed.testzip() is None
        found = {name: packed.read(name) for name in packed.namelist()}
    files = {f"{results.name}/{path.relative_to(results)}": path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert found == files and len(files) >= 6
    for name in ("orders", "fills", "trades", "equity"):
        table = polars.read_parquet(found[f"{results.name}/{name}.parquet"])
        assert table.equals(polars.read_parquet(results / f"{name}.parquet")) and len(table) > 0, name


def test_a_job_gives_what_the_command_line_gives(folder, trader, users, schemas):
    with Socket(trader, schemas) as socket:
        job_id = submit(trader, SMALL, "a small one")
        socket.follow("jobs", job_id)
        seen = [m["data"][0] if m["type"] == "snapshot" else m["data"] for m in socket.seen if m.get("channel") == "jobs"]
        while seen[-1]["status"] != "done":
            seen.append(socket.hear()["data"])
        assert [job["progress"] for job in seen] == sorted(job["progress"] for job in seen) and seen[-1]["progress"] == 1
    job = ended(trader, job_id)
    assert (job["status"], job["name"], job["error"]) == ("done", "a small one", None)
    summary = trader.ok("GET", f"{JOBS}/{job_id}/summary")
    expected = by_hand(folder, SMALL)
    for name in ("digest", "config_digest", "data_digest", "orders", "trades", "final_equity"):
        assert summary[name] == expected[name], name
    assert summary["trades"] > 10
    results = Path(summary["results"])
    assert results.is_relative_to(folder / "data") and len(polars.read_parquet(results / "trades.parquet").filter(~polars.col("open"))) == summary["trades"]
    # Its tables over the API are those of its files.
    for name, key in (("orders", "order_id"), ("fills", "order_id"), ("trades", "trade_id")):
        found, cursor = [], ""
        while cursor is not None:
            page = trader.ok("GET", f"{JOBS}/{job_id}/{name}?limit=70{cursor and f'&cursor={cursor}'}")
            found += page["rows"]
            cursor = page["next"]
        assert [row[key] for row in found] == polars.read_parquet(results / f"{name}.parquet")[key].to_list(), name
    curve = trader.ok("GET", f"{JOBS}/{job_id}/equity?points=100")["rows"]
    heights = polars.read_parquet(results / "equity.parquet")["equity"]
    assert 50 < len(curve) <= 100
    assert {min(Decimal(p["equity"]) for p in curve), max(Decimal(p["equity"]) for p in curve)} == {heights.min(), heights.max()}
    downloaded(trader, job_id, results)
    users["viewer"].refused(404, "GET", f"{JOBS}/{job_id}/download")
    other = submit(trader, {**SMALL, "execution": {"fee_bps": 0}})
    ended(trader, other)
    manager = users["manager"]
    best = manager.ok("GET", "/api/v1/runs?sort=total_return&strategy=sma_cross&params=fast=5")["rows"]
    assert best == sorted(best, key=lambda run: -run["total_return"]) and summary["digest"] in [run["digest"] for run in best]
    (group,) = [group for group in manager.ok("GET", "/api/v1/runs/groups?by=fast&metric=total_return")["rows"] if group["value"] == "5"]
    assert group["best"] == best[0]["total_return"]
    manager.refused(422, "GET", "/api/v1/runs?sort=luck")
    trader.refused(403, "GET", "/api/v1/runs")
    compared = trader.ok("GET", f"{JOBS}/compare?ids={job_id},{other}")
    assert [entry["job"]["job_id"] for entry in compared] == [job_id, other]
    assert compared[0]["summary"]["final_equity"] < compared[1]["summary"]["final_equity"]


def test_what_is_wrong_is_told_at_once(trader, users):
    for config, part in [
        ({}, "symbols is missing"),
        ({**SMALL, "data": {"symbols": ["NONE"]}}, "NONE"),
        ({**SMALL, "data": {"symbols": ["SAMPLE-BTC"], "interval": "7x"}}, "7x"),
        ({**SMALL, "colour": "red"}, "colour"),
        ({**SMALL, "account": [{"strategy": [{"kind": "no_such"}]}]}, "no_such"),
        ({**SMALL, "account": [{"strategy": [{"kind": "sma_cross", "params": {"fast": 9, "slow": 3}}]}]}, "fast"),
        ({**SMALL, "from": "../../etc/passwd"}, "passwd"),
    ]:
        problem = trader.refused(422, "POST", JOBS, {"config": config})
        assert part in problem["detail"], (part, problem)
    for name in ("catalog", "out"):
        problem = trader.refused(422, "POST", JOBS, {"config": {**SMALL, name: "/etc"}})
        assert problem["errors"][0]["field"] == f"config.{name}"
    users["viewer"].refused(403, "POST", JOBS, {"config": SMALL})


def test_others_see_no_job_but_managers_do(trader, users):
    job_id = submit(trader, SMALL)
    for path in (f"{JOBS}/{job_id}", f"{JOBS}/{job_id}/summary", f"{JOBS}/compare?ids={job_id}"):
        users["viewer"].refused(404, "GET", path)
    assert users["manager"].ok("GET", f"{JOBS}/{job_id}")["job_id"] == job_id
    assert users["viewer"].ok("GET", JOBS)["items"] == []
    ended(trader, job_id)
    trader.refused(409, "DELETE", f"{JOBS}/{job_id}")
    assert job_id in [job["job_id"] for job in trader.ok("GET", f"{JOBS}?status=done&limit=500")["items"]]


def children(node: Node) -> list[str]:
    """The jobs' processes of a node."""
    found = subprocess.run(["ps", "-ww", "-o", "pid=,cls=,args=", "--ppid", str(node.process.pid)], capture_output=True, text=True, check=False)
    return [line for line in found.stdout.splitlines() if "--as-job" in line]


def test_a_job_is_cancelled(node, trader):
    running = submit(trader, LARGE)
    waiting = submit(trader, LARGE)
    eventually("it runs, at the lowest priority", lambda: [process for process in children(node) if process.split()[1] == "IDL"])
    assert trader.ok("GET", f"{JOBS}/{waiting}")["status"] == "queued", "one at once"
    for job_id in (waiting, running):
        assert trader.ok("DELETE", f"{JOBS}/{job_id}")["status"] == "cancelled"
    eventually("its process ends", lambda: not children(node))
    trader.refused(409, "GET", f"{JOBS}/{running}/summary")
    trader.refused(409, "GET", f"{JOBS}/{running}/download")


def test_jobs_survive_the_node(folder):
    """In a folder of its own: the node is killed in the middle of a job."""
    own = folder / "killed"
    own.mkdir()
    (own / "data").mkdir()
    (own / "data" / "catalog").symlink_to(folder / "data" / "catalog")
    with start(own) as first:
        first.up()
        client = users_of_each_role(first.address())["trader"]
        job_id = submit(client, LARGE)
        (process,) = eventually("it runs", lambda: children(first))
        first.kill()
        pid = int(process.split()[0])
        eventually("its process ends with the node", lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])
    with start(own) as second:
        second.up()
        client = Client(second.address(), client.token)
        # The node that had it is gone when it has not said otherwise for 15 seconds.
        job = ended(client, job_id)
        assert job["status"] == "done", job
        digest = client.ok("GET", f"{JOBS}/{job_id}/summary")["digest"]
        assert digest == by_hand(folder, LARGE)["digest"]
        second.stop()


def test_a_job_that_takes_too_much_memory_fails_alone(folder):
    own = folder / "small"
    own.mkdir()
    (own / "data").mkdir()
    (own / "data" / "catalog").symlink_to(folder / "data" / "catalog")
    with start(own, TRADEFLOW__API__JOB_MEMORY_MIB="64") as node:
        node.up()
        client = users_of_each_role(node.address())["trader"]
        job = ended(client, submit(client, LARGE))
        assert job["status"] == "failed" and job["error"], job
        assert node.status()["health"]["status"] == "ok"
        node.stop()


def test_a_process_whose_server_is_gone_ends(folder):
    file = folder / "alone.toml"
    file.write_text('[data]\nsymbols = ["SAMPLE-BTC"]\n[[account]]\n[[account.strategy]]\nkind = "sma_cross"\n')
    command = [BINARY, "backtest", file, "--catalog", folder / "data" / "catalog", "--out", folder / "alone", "--as-job"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    assert done.returncode in (130, -signal.SIGKILL)
    assert not [found for found in (folder / "alone").glob("*") if found.is_dir() and not found.name.startswith(".")]
