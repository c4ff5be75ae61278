"""`tradeflow runs` on the runs of a sweep: DuckDB computes the same answers from the files, and ClickHouse gives them too."""

import json
import os
import subprocess
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

import clickhouse
from conftest import BINARY, backtest, tradeflow, tradeflow_ok

# An address with a password that must not be shown.
SECRET = "hush-4711"
METRICS = {
    "sharpe": ("statistics.sharpe", "DESC"),
    "total_return": ("total_return", "DESC"),
    "max_drawdown": ("max_drawdown", "ASC"),
    "volatility": ("statistics.volatility", "ASC"),
}


@pytest.fixture(scope="module")
def sweep(sample_catalog, tmp_path_factory) -> Path:
    """Runs of two parameters on one market, and one run on another."""
    out = tmp_path_factory.mktemp("sweep")
    common = ["--catalog", sample_catalog, "--out", out, "--interval", "1m", "--from", "2024-01-03", "--to", "2024-01-20"]
    for fast in (5, 10, 20):
        for slow in (50, 100):
            backtest(*common, "--symbol", "SAMPLE-BTC", "--strategy", "sma_cross", "--set", f"fast={fast}", "--set", f"slow={slow}")
    backtest(*common, "--symbol", "SAMPLE-FUT", "--strategy", "rsi_reversion", "--set", "length=14")
    return out


@pytest.fixture(scope="module")
def database():
    if given := os.environ.get("TRADEFLOW_CLICKHOUSE", "").removesuffix("none"):
        yield clickhouse.database(given)
        return
    with clickhouse.server() as server:
        yield clickhouse.database(server.url)


@pytest.fixture(scope="module", params=["parquet", "clickhouse"])
def ask(request, sweep):
    """Asks one of the stores; gives JSON."""
    where = ["--out", sweep]
    if request.param == "clickhouse":
        url = request.getfixturevalue("database")
        synced = json.loads(tradeflow_ok("runs", "sync", "--out", sweep, "--clickhouse", url, "--json"))
        assert (synced["set_aside"], synced["waiting"]) == ([], [])
        where = ["--clickhouse", url]
    return lambda *arguments: json.loads(tradeflow_ok("runs", *arguments, *where, "--json"), parse_float=Decimal)


def duck(sweep: Path, question: str, **values):
    """The answer of DuckDB: `summaries` are the summaries, `run` the name of each."""
    text = question.replace("summaries", f"(SELECT *, split_part(filename, '/', -2) AS run FROM read_json('{sweep}/*/summary.json', filename = true))")
    return duckdb.execute(text, values or None).fetchall()


@pytest.mark.parametrize("metric", METRICS)
def test_the_best_runs_are_those_that_duckdb_finds(ask, sweep, metric):
    column, direction = METRICS[metric]
    expected = duck(sweep, f"SELECT run, {column} FROM summaries ORDER BY {column} {direction} NULLS LAST, run LIMIT 4")
    rows = ask("list", "--sort", metric, "--limit", 4)["rows"]
    assert [row["run"] for row in rows] == [run for run, _ in expected]
    for row, (_, value) in zip(rows, expected):
        assert float(row[metric]) == pytest.approx(value, rel=1e-14)


def test_filters_find_what_duckdb_finds(ask, sweep):
    by_symbol = duck(sweep, "SELECT run FROM summaries WHERE list_contains(symbols, 'SAMPLE-FUT')")
    assert [row["run"] for row in ask("list", "--symbol", "SAMPLE-FUT")["rows"]] == [run for (run,) in by_symbol]
    by_parameter = duck(
        sweep,
        "SELECT run FROM summaries WHERE CAST(json_extract(to_json(accounts), '$[0].strategies[0].params.fast') AS INT) = 10 ORDER BY run",
    )
    assert len(by_parameter) == 2
    found = ask("list", "--param", "fast=10.0", "--sort", "sharpe")["rows"]
    assert sorted(row["run"] for row in found) == [run for (run,) in by_parameter]


def test_statistics_by_parameter_are_those_of_duckdb(ask, sweep):
    expected = duck(
        sweep,
        "SELECT value, count(*), max(sharpe), quantile_disc(sharpe, 0.5), min(sharpe), arg_max(run, sharpe) FROM ("
        " SELECT run, statistics.sharpe AS sharpe,"
        " CAST(json_extract(to_json(accounts), '$[0].strategies[0].params.fast') AS INT) AS value FROM summaries"
        ") WHERE value IS NOT NULL GROUP BY value ORDER BY value",
    )
    assert [value for value, *_ in expected] == [5, 10, 20]
    told = ask("list", "--by", "fast", "--sort", "sharpe")
    assert [(int(g["value"]), g["runs"], g["best_run"]) for g in told] == [(v, n, run) for v, n, _, _, _, run in expected]
    for group, (_, _, best, median, worst, _) in zip(told, expected):
        for name, value in (("best", best), ("median", median), ("worst", worst)):
            assert float(group[name]) == pytest.approx(value, rel=1e-14), name


def test_tables_hold_what_duckdb_reads(ask, sweep):
    for folder in sorted(path for path in sweep.iterdir() if (path / "summary.json").exists()):
        trades = duckdb.execute(f"SELECT symbol, entry_price, exit_price, pnl_net, fees, open FROM '{folder}/trades.parquet'").fetchall()
        rows, cursor = [], []
        while True:
            page = ask("show", folder.name, "--table", "trades", "--limit", 50, *cursor)
            rows += page["rows"]
            if page["next"] is None:
                break
            cursor = ["--cursor", page["next"]]
        number = lambda text: None if text is None else Decimal(text)  # noqa: E731
        told = [(r["symbol"], number(r["entry_price"]), number(r["exit_price"]), number(r["pnl_net"]), number(r["fees"]), r["open"]) for r in rows]
        assert told == trades
        lowest, highest, first, last, count = duckdb.execute(
            f"SELECT min(equity), max(equity), arg_min(equity, file_row_number), arg_max(equity, file_row_number), count(*)"
            f" FROM read_parquet('{folder}/equity.parquet', file_row_number = true)"
        ).fetchone()
        curve = [Decimal(point["equity"]) for point in ask("show", folder.name, "--table", "equity", "--points", 200)["rows"]]
        assert (min(curve), max(curve), curve[0], curve[-1]) == (lowest, highest, first, last)
        assert len(curve) <= 200 < count


def test_a_comparison_names_what_differs(ask, sweep):
    first, second, *_ = [row["run"] for row in ask("list", "--symbol", "SAMPLE-BTC", "--param", "fast=5")["rows"]]
    told = ask("compare", first, second)
    assert [difference["setting"] for difference in told["differences"]] == ["sma_cross: slow"]
    assert sorted(told["differences"][0]["values"]) == ["100", "50"]


def test_what_people_see_is_a_table(sweep):
    listed = tradeflow_ok("runs", "list", "--out", sweep, "--sort", "sharpe", "--limit", 2)
    assert "Sharpe" in listed and "--cursor" in listed
    run = listed.splitlines()[1].split()[0]
    assert "Sharpe ratio" in tradeflow_ok("runs", "show", run, "--out", sweep)
    assert "entry_price" in tradeflow_ok("runs", "show", run, "--out", sweep, "--table", "trades")
    wrong = tradeflow("runs", "show", "no-such-run", "--out", sweep)
    assert wrong.returncode == 1 and "no-such-run" in wrong.stderr
    assert tradeflow("runs", "list", "--out", sweep, "--sort", "luck").returncode == 1


def test_a_backtest_goes_to_clickhouse_and_an_outage_is_a_warning(sample_catalog, tmp_path):
    common = ["--catalog", sample_catalog, "--out", tmp_path / "out", "--symbol", "SAMPLE-BTC", "--interval", "1m"]
    common += ["--from", "2024-01-03", "--to", "2024-01-10", "--strategy", "sma_cross"]

    def run(fast: int, url: str) -> subprocess.CompletedProcess:
        command = [BINARY, "backtest", *common, "--set", f"fast={fast}", "--json"]
        environment = {**os.environ, "TRADEFLOW_CLICKHOUSE": url}
        return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=300, check=False)

    with clickhouse.server() as server:
        plain = clickhouse.database(server.url)
        url = plain.replace("http://", f"http://default:{SECRET}@")
        there = run(5, url)
        assert (there.returncode, there.stderr) == (0, "")
        server.stop()
        for fast in (6, 7):
            done = run(fast, url)
            assert done.returncode == 0
            assert json.loads(done.stdout)["completed"]
            assert "warning" in done.stderr and "runs sync" in done.stderr
            assert SECRET not in done.stderr + done.stdout
        server.start()
        # The next run takes those with it that wait.
        caught_up = run(8, url)
        assert (caught_up.returncode, caught_up.stderr) == (0, "")
        rows = json.loads(tradeflow_ok("runs", "list", "--clickhouse", plain, "--json"))["rows"]
        assert sorted(row["strategies"][0]["params"]["fast"] for row in rows) == [5, 6, 7, 8]
        assert tradeflow_ok("runs", "sync", "--out", tmp_path / "out", "--clickhouse", plain).startswith("0 uploaded")
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
