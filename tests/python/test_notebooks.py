"""The notebooks, executed from clean on what the real program makes: a run on sample data, jobs of a node, runs in ClickHouse, a
node on a real Kafka. Figures are looked at as pixels; numbers are compared with summary.json, and with what another reader
finds."""

import base64
import contextlib
import json
import os
import re
import shutil
import statistics
import struct
import time
from collections import defaultdict
from pathlib import Path

import nbformat
import polars
import pytest
from nbclient import NotebookClient

import clickhouse
import markets
from api_client import PASSWORD, users_of_each_role
from conftest import backtest, tradeflow_ok
from nodes import Node, eventually, records
from test_api import UNLIMITED

FOLDER = markets.REPO / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
REQUIREMENTS = (FOLDER / "requirements.txt", markets.REPO / "tests/python/requirements.txt")
# Of a run, relative: both sum the same floating-point numbers in another order, money is rounded to six decimals.
CLOSE = 1e-6


@contextlib.contextmanager
def variables(**values):
    """This process' environment with these in it, which kernels inherit."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def execute(name: str, wanted: str, **environment) -> tuple[list, dict]:
    """Runs a notebook from clean, where people run it: its outputs, and the JSON of an expression at its end."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"import json\nprint(json.dumps({wanted}, default=str))"))
    with variables(**environment):
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    # A cell that fails ends the run; a warning does not.
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"], outputs
    return outputs[:-1], json.loads(outputs[-1].text)


def figures(outputs: list) -> list[tuple[int, int]]:
    """Sizes of the pictures, none of them empty."""
    found = []
    for output in outputs:
        if "image/png" in output.get("data", {}):
            picture = base64.b64decode(output.data["image/png"])
            assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 10_000, "a picture of nothing"
            found.append(struct.unpack(">II", picture[16:24]))
    assert all(width > 900 and height > 300 for width, height in found), found
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
    assert path.name in (FOLDER / "README.md").read_text()


def test_what_the_notebooks_need_is_named_in_the_versions_that_are_tested():
    notebooks, tests = (dict(line.split("==") for line in path.read_text().split()) for path in REQUIREMENTS)
    assert {name: version for name, version in notebooks.items() if name != "jupyterlab"}.items() <= tests.items()
    text = "".join(path.read_text() for path in FOLDER.iterdir() if path.suffix in (".ipynb", ".py"))
    imported = set(re.findall(r'(?:^|[" ])(?:import|from) ([a-z_]+)', text)) & {name.replace("-", "_") for name in tests}
    assert imported <= {name.replace("-", "_") for name in notebooks} and "polars" in imported, imported


@pytest.fixture(scope="module")
def runs(sample_catalog, tmp_path_factory) -> dict[str, Path]:
    """Runs with two accounts, with one, in a market that closes, and one that closes no trade."""
    out = tmp_path_factory.mktemp("runs")
    place = ("--catalog", sample_catalog, "--out", out)

    def one(symbol: str, interval: str, strategy: str) -> Path:
        return Path(backtest("--symbol", symbol, "--interval", interval, "--strategy", strategy, *place)["results"])

    two = tradeflow_ok("backtest", markets.REPO / "examples" / "sma_cross.toml", *place, "--json")
    return {
        "two accounts": Path(json.loads(two)["results"]),
        "shares": one("SAMPLE-EQ", "1d", "sma_cross"),
        "no trade": one("SAMPLE-BTC", "1m", "buy_and_hold"),
    }


@pytest.mark.parametrize("name", ["two accounts", "shares", "no trade"])
def test_the_results_of_a_run_agree_with_its_summary(runs, name):
    outputs, computed = execute("results.ipynb", "computed", TRADEFLOW_RUN=str(runs[name]))
    summary = json.loads((runs[name] / "summary.json").read_text())
    curve, trades = summary["statistics"], summary["trade_statistics"]
    for figure in ("max_drawdown", "cagr", "volatility", "sharpe", "sortino"):
        assert curve[figure] is not None
        assert computed[figure] == pytest.approx(curve[figure], rel=CLOSE, abs=1e-9), figure
    for figure in ("final_equity", "total_return"):
        assert computed[figure] == pytest.approx(summary[figure], rel=CLOSE), figure
    assert (computed["trades"], computed["wins"]) == (summary["trades"], trades["wins"])
    for figure in ("gross_profit", "gross_loss", *(("best", "worst") if summary["trades"] else ())):
        assert computed[figure] == pytest.approx(trades[figure], rel=CLOSE, abs=1e-4), figure
    assert len(figures(outputs)) == (4 if summary["trades"] else 3)
    assert (summary["trades"] == 0) == (name == "no trade"), "what this run is for"
    shown = "".join(output.data.get("text/plain", "") for output in outputs if "data" in output)
    for row in ("final_equity", "max_drawdown", "sharpe", "volatility"):
        assert row in shown


def test_the_newest_run_is_taken(runs, tmp_path, monkeypatch):
    """Without a variable: below data/results of the folder that the kernel runs in."""
    home = tmp_path / "home"  # above it is nothing of another test
    for number, name in enumerate(("no trade", "shares")):
        copy = home / "data" / "results" / runs[name].name
        copy.mkdir(parents=True)
        for file in runs[name].iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        os.utime(copy / "summary.json", (number, number))
    source = next(cell.source for cell in nbformat.read(FOLDER / "results.ipynb", as_version=4).cells if "def newest" in cell.source)
    monkeypatch.chdir(home)
    monkeypatch.delenv("TRADEFLOW_RUN", raising=False)
    found = {"Path": Path, "os": os, "json": json}
    exec(source, found)
    assert found["run"].name == runs["shares"].name
    monkeypatch.chdir(home / "data")
    assert found["newest"]().name == runs["shares"].name
    monkeypatch.chdir("/")
    with pytest.raises(FileNotFoundError, match="TRADEFLOW_RUN"):
        found["newest"]()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """The demonstration, which has history; its users by role; its results."""
    folder = tmp_path_factory.mktemp("jobs")
    with Node(folder / "logs", "--demo", "--data", folder / "data", environment=UNLIMITED) as node:
        users = users_of_each_role(node.address())
        config = {"data": {"symbols": ["SAMPLE-BTC"], "interval": "1m"}, "account": [{"strategy": [{"kind": "buy_and_hold"}]}]}
        submitted = lambda: users["trader"]("POST", "/api/v1/backtests", {"config": config}).status == 202  # noqa: E731
        eventually("the history is there", submitted)
        yield node.address(), users, folder / "data" / "results"
        node.stop()


@pytest.mark.parametrize("role", ["trader", "manager"])
def test_jobs_of_the_api_agree_with_their_files(node, role):
    address, users, results = node
    if role == "manager":
        key = users[role].ok("POST", "/api/v1/api-keys", {"name": "notebook", "scopes": ["read", "trade", "manage"]})["secret"]
        who = {"TRADEFLOW_API_KEY": key}
    else:
        who = {"TRADEFLOW_EMAIL": users[role].ok("GET", "/api/v1/auth/me")["email"], "TRADEFLOW_PASSWORD": PASSWORD}
    wanted = """{
        "table": table.to_dicts(), "known": known, "groups": groups if groups is None else groups.to_dicts(),
        "curves": {job: [its["equity"][0], its["equity"].min(), its["equity"].max(), its["equity"][-1]] for job, its in curves.items()},
        "trades": [trades.height, trades["pnl_net"].sum()],
    }"""
    outputs, seen = execute("jobs.ipynb", wanted, TRADEFLOW_URL=address, **who)
    assert [job["status"] for job in seen["known"].values()] == ["done"] * 16
    # What the files of each hold.
    files = {}
    for job in seen["known"]:
        name = Path(users[role].ok("GET", f"/api/v1/backtests/{job}/summary")["results"]).name
        files[job] = {table: polars.read_parquet(results / name / f"{table}.parquet") for table in ("equity", "trades")}
        files[job]["summary"] = json.loads((results / name / "summary.json").read_text())
    sharpe = {job: found["summary"]["statistics"]["sharpe"] for job, found in files.items()}
    assert [row["job_id"] for row in seen["table"]] == sorted(sharpe, key=sharpe.get, reverse=True)
    for row in seen["table"]:
        found = files[row["job_id"]]
        (strategy,) = found["summary"]["accounts"][0]["strategies"]
        assert (row["fast"], row["slow"]) == (strategy["params"]["fast"], strategy["params"]["slow"])
        curve, trades = found["equity"]["equity"].cast(polars.Float64), found["trades"].filter(~polars.col("open"))
        assert row["total_return"] == pytest.approx(curve[-1] / found["summary"]["initial_equity"] - 1, rel=CLOSE)
        assert row["trades"] == trades.height > 10
        assert seen["curves"][row["job_id"]] == [curve[0], curve.min(), curve.max(), curve[-1]]
    best = files[seen["table"][0]["job_id"]]["trades"].filter(~polars.col("open"))["pnl_net"]
    assert seen["trades"] == [best.len(), pytest.approx(float(best.sum()))]
    # Progress, both squares, curves, trades of the best.
    assert len(figures(outputs)) == 4
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    if role == "trader":
        assert seen["groups"] is None and "/runs/groups: " in printed
        return
    by_slow = defaultdict(list)
    for run in (json.loads(path.read_text()) for path in results.glob("*/summary.json")):
        if "slow" in (params := run["accounts"][0]["strategies"][0]["params"]):
            by_slow[str(params["slow"])].append(run["statistics"]["sharpe"])
    told = {group["value"]: (group["runs"], group["best"], group["worst"]) for group in seen["groups"]}
    assert told == {slow: (len(all_of), max(all_of), min(all_of)) for slow, all_of in by_slow.items()}


def test_questions_to_clickhouse_agree_with_the_summaries(sample_catalog, tmp_path):
    out = tmp_path / "out"

    def run(symbol: str, interval: str, strategy: str, **parameters):
        chosen = [flag for name, value in parameters.items() for flag in ("--set", f"{name}={value}")]
        place = ("--catalog", sample_catalog, "--out", out)
        return backtest("--symbol", symbol, "--interval", interval, "--strategy", strategy, *chosen, *place)

    runs = [run("SAMPLE-BTC", "1m", "sma_cross", fast=fast, slow=slow) for fast in (60, 120, 240) for slow in (480, 960)]
    runs += [run("SAMPLE-EQ", "1d", "ema_cross", fast=fast, slow=50) for fast in (5, 10)]
    for one in runs:
        one["run"], one["sharpe"] = Path(one["results"]).name, float(one["statistics"]["sharpe"])
    with clickhouse.server() as server:
        url = clickhouse.database(server.url)
        for _ in range(2):  # what comes twice counts once
            synced = json.loads(tradeflow_ok("runs", "sync", "--out", out, "--clickhouse", url, "--json"))
            assert (synced["uploaded"], synced["set_aside"], synced["waiting"]) == (len(runs), [], [])
            shutil.rmtree(out / ".clickhouse")
        wanted = """{
            "best": best["run"].to_list(), "by_symbol": by_symbol.to_dicts(), "medians": medians.to_dicts(),
            "hours": hours.group_by("symbol").agg(pl.col("trades").sum()).to_dicts(), "curves": curves.height,
            "falls": curves.group_by("symbol").agg(pl.col("run").first(), pl.col("fall").min(), pl.col("gain").last()).to_dicts(),
        }"""
        outputs, seen = execute("clickhouse.ipynb", wanted, TRADEFLOW_CLICKHOUSE=url)
    assert seen["best"] == [one["run"] for one in sorted(runs, key=lambda one: -one["sharpe"])]
    of_symbol = defaultdict(list)
    for one in runs:
        of_symbol[one["symbols"][0]].append(one)
    assert [group["symbol"] for group in seen["by_symbol"]] == sorted(of_symbol)
    for group in seen["by_symbol"]:
        ratios = [one["sharpe"] for one in of_symbol[group["symbol"]]]
        assert (group["runs"], group["best"], group["worst"]) == (len(ratios), max(ratios), min(ratios))
        assert group["median"] == statistics.median_low(ratios)
    of_value = defaultdict(list)
    for one in runs:
        for name in ("fast", "slow"):
            value = one["accounts"][0]["strategies"][0]["params"][name]
            of_value[one["strategies"][0], name, float(value)].append(one["sharpe"])
    del of_value["ema_cross", "slow", 50]  # it does not differ
    told = {(group["kind"], group["name"], group["value"]): (group["runs"], group["best"], group["median"], group["worst"]) for group in seen["medians"]}
    assert told == {of: (len(all_of), max(all_of), statistics.median_low(all_of), min(all_of)) for of, all_of in of_value.items()}
    assert len(seen["falls"]) == len(of_symbol) and seen["curves"] <= 2000 * len(of_symbol)
    for curve in seen["falls"]:
        best = max(of_symbol[curve["symbol"]], key=lambda one: one["sharpe"])
        assert curve["run"] == best["run"]
        assert -curve["fall"] / 100 == pytest.approx(float(best["max_drawdown"]), rel=CLOSE)
        assert curve["gain"] / 100 == pytest.approx(float(best["total_return"]), rel=CLOSE)
    assert {of["symbol"]: of["trades"] for of in seen["hours"]} == {symbol: sum(one["trades"] for one in its) for symbol, its in of_symbol.items()}
    # By parameter, return and risk, curves, hours.
    assert len(figures(outputs)) == 4


def test_a_topic_grows_in_a_live_frame(brokers, tmp_path):
    prefix = f"notebook-{time.time_ns()}."
    with Node(tmp_path / "logs", "--demo", "--data", tmp_path / "data", "--kafka", brokers, "--prefix", prefix) as node:
        node.up()
        eventually("a fill", lambda: records(brokers, f"{prefix}fills.v1"))
        wanted = """{
            "growth": growth, "recent": recent.height, "symbols": sorted(live["symbol"].unique()),
            "fills": fills.select("seq", "price", "qty", "cash", "position").rows(),
            "prices": str(live.schema["price"]), "times": str(live.schema["ts_event"]),
        }"""
        settings = {"TRADEFLOW_BROKERS": brokers, "TRADEFLOW_PREFIX": prefix, "TRADEFLOW_SECONDS": "4"}
        outputs, seen = execute("live_topic.ipynb", wanted, **settings)
        node.stop()
    growth = seen["growth"]
    assert len(growth) == 4 and growth == sorted(growth) and growth[-1] > growth[0], "it grows"
    assert seen["recent"] > 0
    trades = records(brokers, f"{prefix}md.trades.v1")
    assert growth[-1] <= sum(len(record["price"]) for record in trades)
    assert set(seen["symbols"]) <= {record["symbol"] for record in trades} and "BTCUSD" in seen["symbols"]
    assert seen["prices"].startswith("Decimal(") and seen["times"] == "Datetime(time_unit='ns', time_zone='UTC')"
    # Each fill as the bus has it, to the last decimal.
    there = records(brokers, f"{prefix}fills.v1")
    assert len(seen["fills"]) > 0
    by_number = {fill["seq"]: fill for fill in there}
    for number, *values in seen["fills"]:
        kept = [by_number[number][name] for name in ("price", "qty", "cash", "position")]
        assert [trimmed(value) for value in values] == [trimmed(value) for value in kept]
    # The one that was drawn again and again, and the fills.
    assert len(figures(outputs)) == 2


def trimmed(decimal: str) -> str:
    """Without zeros that say nothing."""
    return decimal.rstrip("0").rstrip(".") if "." in decimal else decimal
