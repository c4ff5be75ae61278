"""Runs over several threads and processes: the same results, a stop that keeps what is done, and a loss that is told."""

import json
import os
import signal
import socket
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from conftest import BINARY, backtest, sma_cross_arguments, tradeflow, tradeflow_ok
from kafka_server import free_ports
from running import PATIENCE, Running, wait_for_end

ACCOUNTS = 30  # of the long run
TABLES = ("equity", "fills", "orders", "positions", "trades")


def accounts(symbols: str, count: int) -> str:
    """A run of so many accounts, each with another crossing."""
    lines = ["[data]", f"symbols = [{symbols}]", 'interval = "1m"', "[execution]", "fee_bps = 5"]
    for number in range(count):
        lines += ["[[account]]", f'id = "account-{number}"', "[[account.strategy]]", 'kind = "sma_cross"']
        lines += [f"params = {{ fast = {5 + number % 20}, slow = {60 + number} }}"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def long_run(sample_catalog, tmp_path_factory) -> list:
    """A run of several seconds: long enough to be stopped on its way."""
    file = tmp_path_factory.mktemp("long") / "long.toml"
    # Small batches: a stop takes effect between two of them.
    file.write_text("batch_rows = 1024\n" + accounts('"SAMPLE-BTC"', ACCOUNTS))
    return ["backtest", file, "--catalog", sample_catalog]


@pytest.fixture(scope="module")
def whole(long_run, tmp_path_factory) -> Path:
    """The results of the long run, not stopped."""
    out = tmp_path_factory.mktemp("whole")
    return Path(json.loads(tradeflow_ok(*long_run, "--out", out, "--json"))["results"])


def hosts() -> str:
    return ",".join(f"127.0.0.1:{port}" for port in free_ports(2))


def by_hand(*members: list) -> list[subprocess.CompletedProcess]:
    """Starts each process of a cluster with its own command line, and waits for all of them."""
    started = [
        subprocess.Popen([str(BINARY), *map(str, member)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for member in members
    ]
    try:
        ended = []
        for process in started:
            out, err = process.communicate(timeout=PATIENCE)
            ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        return ended
    finally:
        for process in started:
            process.kill()


def only_folder(out: Path) -> Path:
    """The one thing under `out`, hidden ones counted."""
    (folder,) = out.iterdir()
    return folder


def test_two_processes_give_what_one_gives_and_write_it_once(sample_catalog, tmp_path):
    run = tmp_path / "run.toml"
    run.write_text('from = "2024-03-15"\n' + accounts('"SAMPLE-BTC"', 7))
    one = backtest(run, "--catalog", sample_catalog, "--out", tmp_path / "one")
    two = backtest(run, "--catalog", sample_catalog, "--out", tmp_path / "two", "--processes", 2, "--workers", 2)
    assert two["digest"] == one["digest"]
    assert two["trades"] == one["trades"] > 0
    first, second = only_folder(tmp_path / "one"), only_folder(tmp_path / "two")
    assert second.name == first.name
    for table in TABLES:
        left, right = (pd.read_parquet(folder / f"{table}.parquet") for folder in (first, second))
        pd.testing.assert_frame_equal(left, right)


def test_processes_started_by_hand(sample_catalog, tmp_path):
    run = tmp_path / "run.toml"
    run.write_text('from = "2024-03-15"\n' + accounts('"SAMPLE-BTC"', 5))
    common = ["backtest", run, "--catalog", sample_catalog, "--hosts", hosts(), "--json"]
    first, second = by_hand(*([*common, "--process", n, "--out", tmp_path / f"out{n}"] for n in (0, 1)))
    assert (first.returncode, second.returncode) == (0, 0), (first.stderr, second.stderr)
    alone = backtest(run, "--catalog", sample_catalog, "--out", tmp_path / "alone")
    assert json.loads(first.stdout)["digest"] == alone["digest"]
    assert second.stdout == ""
    assert not (tmp_path / "out1").exists(), "process 0 alone writes results"


DIFFERENT = [
    (["--set", "fast=10"], ["--set", "fast=11"], ["account main", "fast"]),
    (["--from", "2020-02-28"], ["--from", "2020-02-29"], ["from", "2020-02-28", "2020-02-29"]),
    (["--workers", 1], ["--workers", 2], ["workers", "1", "2"]),
    (["--seed", 1], ["--seed", 2], ["seed", "1", "2"]),
]


@pytest.mark.parametrize("here, there, words", DIFFERENT, ids=[str(here[0]) for here, _, _ in DIFFERENT])
def test_different_flags_are_told_on_both_sides(generated, tmp_path, here, there, words):
    data = ["--symbol", generated.market.symbol, "--interval", "1m", "--strategy", "sma_cross"]
    common = ["backtest", "--catalog", generated.catalog, *data, "--hosts", hosts(), "--out", tmp_path / "out"]
    for ended in by_hand([*common, "--process", 0, *here], [*common, "--process", 1, *there]):
        assert ended.returncode == 1
        assert ended.stderr.count("error:") == 1
        for word in words:
            assert word in ended.stderr, f"{word!r} is not in: {ended.stderr}"
    assert not list((tmp_path / "out").glob("*")), "nothing half-written stays"


def test_a_process_that_never_comes_is_named(generated, tmp_path):
    """The port of process 0 is taken by something that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addresses = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{free_ports(1)[0]}"
        arguments = sma_cross_arguments(generated.market)
        (ended,) = by_hand(
            ["backtest", "--catalog", generated.catalog, *arguments, "--hosts", addresses, "--process", 0, "--out", tmp_path]
        )
    assert ended.returncode == 1
    assert "cannot listen" in ended.stderr and addresses.split(",")[0] in ended.stderr


@pytest.mark.parametrize("lost", ["child", "parent"])
def test_a_killed_process_of_local_ones_ends_the_run(long_run, tmp_path, lost):
    with Running(*long_run, "--out", tmp_path, "--processes", 2) as run:
        run.until_progress()
        (child,) = run.children()
        pidfd = os.pidfd_open(child)
        os.kill(child if lost == "child" else run.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        status, out, shown = run.end()
        wait_for_end(child, pidfd)
        took = time.monotonic() - killed
    assert took < 15, "silence for 10 s is a loss, and a closed connection is one at once"
    assert "process 1" in shown if lost == "child" else "process 0" in shown
    assert "error:" in shown and out == ""
    if lost == "child":
        assert status == 1
        assert list(tmp_path.iterdir()) == [], "nothing half-written stays"
    else:
        assert status == -signal.SIGKILL
        # Nobody was left to clear up; what lies there is hidden, and goes with the next run of the same folder.
        assert all(path.name.startswith(".") for path in tmp_path.iterdir())


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_of_those_by_hand_ends_the_others(long_run, tmp_path, lost):
    common = [*long_run, "--hosts", hosts(), "--out", tmp_path]
    with Running(*common, "--process", 0) as first, Running(*common, "--process", 1) as second:
        first.until_progress()
        killed, other = (first, second) if lost == 0 else (second, first)
        killed.process.kill()
        start = time.monotonic()
        status, out, shown = other.end()
        assert time.monotonic() - start < 15
    assert status == 1 and out == ""
    assert f"process {lost} (127.0.0.1:" in shown and "lost" in shown, shown
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    assert lost == 0 or not list(tmp_path.iterdir())


def test_what_a_killed_run_left_goes_with_the_next_run(long_run, generated, tmp_path):
    with Running(*long_run, "--out", tmp_path) as run:
        run.until_progress()
        run.process.kill()
        run.process.wait(PATIENCE)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".")
    arguments = sma_cross_arguments(generated.market)
    results = Path(backtest("--catalog", generated.catalog, "--out", tmp_path, *arguments)["results"])
    assert only_folder(tmp_path) == results


def test_a_run_that_is_under_way_is_left_alone_by_another(long_run, generated, tmp_path):
    with Running(*long_run, "--out", tmp_path, "--json") as run:
        run.until_progress()
        arguments = sma_cross_arguments(generated.market)
        backtest("--catalog", generated.catalog, "--out", tmp_path, *arguments)
        status, out, _ = run.end()
    assert status == 0
    assert len(list(tmp_path.iterdir())) == 2
    for table in TABLES:
        assert (Path(json.loads(out)["results"]) / f"{table}.parquet").exists()


def one(run):
    run.process.send_signal(signal.SIGINT)


def group(run):
    os.killpg(run.process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C


def terminate(run):
    run.process.send_signal(signal.SIGTERM)


STOPS = [("one", one, []), ("threads", one, ["--workers", 3]), ("group", group, ["--processes", 2]), ("term", terminate, [])]


@pytest.mark.parametrize("stop, flags", [s[1:] for s in STOPS], ids=[s[0] for s in STOPS])
def test_a_stop_keeps_what_is_done(long_run, whole, tmp_path, stop, flags):
    with Running(*long_run, *flags, "--out", tmp_path, "--json") as run:
        run.until_progress()
        stop(run)
        status, out, shown = run.end()
    assert status == 130
    summary = json.loads(out, parse_float=Decimal)
    folder = only_folder(tmp_path)
    assert Path(summary["results"]) == folder
    assert summary["completed"] is False and summary["stopped_at"]
    assert "stopped at" in shown and str(folder) in shown.replace("\r\n", ""), shown
    assert json.loads((folder / "summary.json").read_text(), parse_float=Decimal) == summary

    stopped_at = pd.Timestamp(summary["stopped_at"])
    stopped, full = (pd.read_parquet(f / "equity.parquet") for f in (folder, whole))
    assert 0 < len(stopped) < len(full)
    assert stopped.ts.max() <= stopped_at < full.ts.max()
    accounts_seen = set()
    full_by_account = dict(list(full.groupby("account", sort=False, observed=True)))
    for account, curve in stopped.groupby("account", sort=False, observed=True):
        accounts_seen.add(account)
        prefix = full_by_account[account].head(len(curve))
        pd.testing.assert_frame_equal(curve.reset_index(drop=True), prefix.reset_index(drop=True))
    assert len(accounts_seen) == ACCOUNTS
    # What the next bar's open filled has the time at which this one closed, and belongs to the next one.
    fills, all_fills = (pd.read_parquet(f / "fills.parquet") for f in (folder, whole))
    for account, of_whole in all_fills.groupby("account", sort=False, observed=True):
        kept = fills[fills.account == account].reset_index(drop=True)
        pd.testing.assert_frame_equal(kept, of_whole.head(len(kept)).reset_index(drop=True))
        assert (of_whole.ts < stopped_at).sum() <= len(kept) <= (of_whole.ts <= stopped_at).sum()
    assert len(fills) > 0


def test_a_stopped_digest_is_no_digest(long_run):
    with Running(*long_run, "--digest-only", "--workers", 2) as run:
        # There is no bar to wait for; that the replay has begun is seen by the thread that reads the data.
        while "replay:source" not in run.threads():
            assert run.process.poll() is None
        one(run)
        status, out, shown = run.end()
    assert status == 130 and out == "", (status, out, shown)


def test_the_progress_bar_is_for_terminals(long_run, tmp_path):
    with Running(*long_run, "--out", tmp_path) as run:
        status, _, shown = run.end()
    assert status == 0
    assert "%" in shown and "/s" in shown and "left" in shown and " of " in shown, shown[-300:]
    done = tradeflow(*long_run, "--out", tmp_path, "--json")
    assert (done.returncode, done.stderr) == (0, "")


FIVE = """
from = "2024-01-10"
to = "2024-01-24"

[data]
symbols = ["SAMPLE-BTC", "SAMPLE-FUT"]
interval = "1m"

[execution]
fee_bps = 2
slippage = "1bps"

[[account]]
id = "crossing"
[[account.strategy]]
kind = "sma_cross"
symbols = "SAMPLE-BTC"
params = { fast = 20, slow = 90 }

[[account]]
id = "two-at-once"
leverage = 2
[[account.strategy]]
id = "coin"
kind = "ema_cross"
symbols = "SAMPLE-BTC"
size = "40%"
[[account.strategy]]
id = "future"
kind = "sma_cross"
symbols = "SAMPLE-FUT"
size = "1"
params = { fast = 5, slow = 30 }

[[account]]
id = "reversion"
[[account.strategy]]
kind = "rsi_reversion"
symbols = "SAMPLE-BTC"
size = "5000 USD"

[[account]]
id = "holder"
kind = "cash"
[[account.strategy]]
kind = "buy_and_hold"
symbols = "SAMPLE-BTC"

[[account]]
id = "careful"
[[account.strategy]]
kind = "ema_cross"
symbols = "SAMPLE-FUT"
size = "1"
[account.risk]
daily_loss_max_pct = 1
"""


def test_verify_is_equal_for_five_accounts(sample_catalog, tmp_path):
    run = tmp_path / "five.toml"
    run.write_text(FIVE)
    verdict = json.loads(tradeflow_ok("backtest", run, "--catalog", sample_catalog, "--verify", "--json"))
    assert verdict["equal"] is True
    assert len(verdict["drivers"]) == 6
    assert {row["digest"] for row in verdict["drivers"]} == {backtest(run, "--catalog", sample_catalog, "--out", tmp_path)["digest"]}


MISTAKES = """\
from = "2024-13-01"
colour = "red"

[data]
symbols = ["SAMPLE-BTC", "SAMPLE-BTC"]
interval = "7 weeks"

[execution]
slippage = "a lot"
volume_cap = 2

[[account]]
id = "a"
balance = -1
[[account.strategy]]
kind = "sma_cross"
size = "many"
"""


def test_every_mistake_of_a_file_is_told_with_its_line(sample_catalog, tmp_path):
    run = tmp_path / "mistakes.toml"
    run.write_text(MISTAKES)
    done = tradeflow("backtest", run, "--catalog", sample_catalog, "--out", tmp_path / "out")
    assert done.returncode != 0 and done.stdout == ""
    for line in (1, 2, 6, 9, 10, 14, 17):
        assert f"mistakes.toml:{line}:" in done.stderr, f"line {line} is not in: {done.stderr}"
    assert not (tmp_path / "out").exists()


# These can be seen only against the catalog and the strategies.
PLANNED = """\
[data]
symbols = ["SAMPLE-BTC", "NOSUCH"]
interval = "1m"

[[account]]
id = "a"
[[account.strategy]]
kind = "sma_cross"
symbols = "SAMPLE-BTC"
params = { fast = 0, slow = "x", nosuch = 1 }

[[account]]
id = "a"
[[account.strategy]]
kind = "sma_crss"
symbols = "ELSEWHERE"
"""


def test_mistakes_against_catalog_and_strategies_are_told_at_once(sample_catalog, tmp_path):
    run = tmp_path / "planned.toml"
    run.write_text(PLANNED)
    done = tradeflow("backtest", run, "--catalog", sample_catalog, "--out", tmp_path / "out")
    assert done.returncode != 0 and done.stdout == ""
    for line in (2, 10, 13, 15):
        assert f"planned.toml:{line}:" in done.stderr, f"line {line} is not in: {done.stderr}"
    for word in ("NOSUCH", "fast", "slow", "nosuch", "sma_crss", "more than one account a"):
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"


def test_missing_data_is_told_with_what_there_is(sample_catalog, tmp_path):
    common = ["backtest", "--strategy", "buy_and_hold", "--catalog", sample_catalog, "--out", tmp_path / "out"]
    for flags, words in [
        (["--symbol", "SAMPLE-BTC", "--interval", "5m"], ["SAMPLE-BTC", "5m", "1m"]),
        (["--symbol", "SAMPLE-BTC", "--interval", "trades"], ["SAMPLE-BTC", "trade"]),
        (["--symbol", "SAMPLE-BTC", "--from", "2030-01-01", "--to", "2030-02-01"], ["SAMPLE-BTC", "2024-03-30"]),
        (["--symbol", "SAMPLE-FX", "--interval", "1m"], ["SAMPLE-FX", "bid", "ask"]),
    ]:
        done = tradeflow(*common, *flags)
        assert done.returncode == 1 and done.stderr.count("error:") == 1, done.stderr
        for word in words:
            assert word in done.stderr, f"{word!r} is not in: {done.stderr}"
    assert not (tmp_path / "out").exists()


def test_strategies_on_bars_refuse_ticks(sample_catalog, tmp_path):
    """They would wait for bars for ever."""
    common = ["backtest", "--symbol", "SAMPLE-FX", "--interval", "quotes", "--catalog", sample_catalog, "--out", tmp_path / "out"]
    done = tradeflow(*common, "--strategy", "sma_cross")
    assert done.returncode == 1 and "--interval: sma_cross decides on bars" in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()
    # Of the 130,211 quotes, each is an event of the run.
    summary = backtest(*common[1:], "--strategy", "buy_and_hold", "--size", 1000, "--fee-bps", 0)
    assert summary["ticks"] == 130_211 and len(pd.read_parquet(Path(summary["results"]) / "fills.parquet")) == 1
