"""The command line as a user meets it: two lines that work as written, repeatable results, errors that help."""

import hashlib
import json
import os
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

import markets
from conftest import BINARY, Imported, backtest, import_arguments, sma_cross_arguments, tradeflow, tradeflow_ok

KEYS = {"digest", "bars", "trades", "final_equity", "total_return", "max_drawdown", "fees", "seconds", "results"}


def test_two_lines_import_and_backtest_the_real_minutes(tmp_path):
    """Both lines as a user writes them, in an empty folder, with the default places for catalog and results."""
    try:
        files = [markets.real_file("bars", f"btcusd_bitfinex_1m_{year}.csv.gz") for year in (2015, 2016, 2017, 2018)]
    except markets.NoData as absent:
        pytest.skip(str(absent))
    tradeflow_ok(*"import --preset ohlcv-ms --symbol BTCUSD --interval 1m".split(), *files, cwd=tmp_path)
    out = tradeflow_ok(
        *"backtest --symbol BTCUSD --interval 1m --from 2017-01-01 --to 2019-01-01 --strategy sma_cross".split(),
        *"--set fast=10 --set slow=50 --set direction=long".split(),
        *"--cash 1000000 --size 100% --fee-bps 10 --fill next-open --json".split(),
        cwd=tmp_path,
    )
    summary = json.loads(out, parse_float=Decimal)
    assert summary.keys() >= KEYS
    assert summary["bars"] == 1_025_708
    # There are 14,123 crosses up that a cross down follows. How many become trades, and what they cost, depends on the
    # default cap on a fill's share of the volume; that fees eat the account does not.
    assert 1_000 < summary["trades"] < 14_200
    final, fees = Decimal(summary["final_equity"]), Decimal(summary["fees"])
    assert 0 <= final < 1_000_000 and fees > 0
    assert Decimal(summary["total_return"]) == pytest.approx(final / 1_000_000 - 1, rel=Decimal("1e-9"))
    assert 1 - final / 1_000_000 <= abs(Decimal(summary["max_drawdown"])) + Decimal("1e-9") <= 1 + Decimal("1e-8")
    assert (tmp_path / summary["results"] / "trades.parquet").exists()
    assert (tmp_path / "data").is_dir(), "the defaults are under ./data"


def test_the_same_two_lines_on_generated_minutes(generated, tmp_path):
    tradeflow_ok(*import_arguments(generated.market), cwd=tmp_path)
    summary = backtest(
        *f"--symbol {generated.market.symbol} --interval 1m --from 2020-02-28 --to 2020-03-02 --strategy sma_cross".split(),
        *"--set fast=10 --set slow=50 --set direction=long".split(),
        *"--cash 1000000 --size 100% --fee-bps 10 --fill next-open".split(),
        cwd=tmp_path,
    )
    assert summary.keys() >= KEYS
    first_second_of_march_2 = 1_583_107_200 * 10**9
    assert summary["bars"] == sum(bar.ts_open < first_second_of_march_2 for bar in generated.market.bars)
    assert summary["trades"] > 10
    assert (tmp_path / summary["results"] / "summary.json").exists()


def test_two_runs_have_one_digest_and_another_run_has_another(generated, tmp_path):
    def digest(folder: str, **changes):
        arguments = sma_cross_arguments(generated.market, **changes)
        return backtest("--catalog", generated.catalog, "--out", tmp_path / folder, *arguments)["digest"]

    assert digest("first") == digest("second")
    assert digest("first") != digest("third", fee_bps=1)


def test_verify_runs_every_driver(generated, tmp_path):
    arguments = sma_cross_arguments(generated.market)
    tradeflow_ok("backtest", "--catalog", generated.catalog, "--out", tmp_path, *arguments, "--verify")


def test_importing_twice_changes_nothing(market, tmp_path):
    tradeflow_ok(*import_arguments(market), "--catalog", tmp_path)
    first = contents(tmp_path)
    assert any(name.endswith(".parquet") for name in first)
    tradeflow_ok(*import_arguments(market), "--catalog", tmp_path)
    assert contents(tmp_path) == first


def test_a_damaged_file_is_named_and_leaves_the_catalog_as_it_was(generated, tmp_path):
    catalog = tmp_path / "catalog"
    shutil.copytree(generated.catalog, catalog)
    before = contents(catalog)
    whole = generated.market.csv.read_bytes()
    damaged = tmp_path / "damaged.csv.gz"
    damaged.write_bytes(whole[: len(whole) // 2])
    done = tradeflow("import", "--preset", "ohlcv-ms", "--symbol", "WALK", "--interval", "1m", damaged, "--catalog", catalog)
    assert_error(done, "damaged.csv.gz")
    assert contents(catalog) == before


WRONG = [
    (["--strategy", "sma_crss"], ["sma_crss", "sma_cross"]),
    (["--set", "fast=0"], ["fast", "0"]),
    (["--set", "fast=20", "--set", "slow=10"], ["fast", "slow"]),
    (["--set", "nosuch=1", "--set", "fast=0"], ["nosuch", "fast"]),  # all that is wrong at once
    (["--set", "direction=sideways"], ["direction", "sideways"]),
    (["--symbol", "NOSUCH"], ["NOSUCH"]),
    (["--interval", "1x"], ["1x"]),
    (["--from", "2020-02-30"], ["2020-02-30"]),
    (["--from", "2020-03-02", "--to", "2020-03-01"], ["2020-03-02", "2020-03-01"]),
    (["--from", "2031-01-01"], ["WALK"]),
    (["--cash", "nan"], ["nan"]),
    (["--cash", "-5"], ["-5"]),
    (["--size", "lots"], ["lots"]),
    (["--fee-bps", "-1"], ["-1"]),
    (["--fill", "yesterday"], ["yesterday", "next-open"]),
    (["--no-such-flag"], ["--no-such-flag"]),
]


@pytest.mark.parametrize("change, words", WRONG, ids=[" ".join(change) for change, _ in WRONG])
def test_a_wrong_flag_gives_one_error_that_names_it(generated, tmp_path, change, words):
    done = tradeflow("backtest", *changed(generated, change), "--catalog", generated.catalog, "--out", tmp_path / "out")
    assert_error(done, *words)
    assert not list((tmp_path / "out").rglob("*")), "nothing is written for a run that never began"


def changed(generated: Imported, change: list[str]) -> list:
    """The usual flags, with those of `change` in place of their own; `--set` goes by its key."""

    def pairs(flags):
        flags = [str(flag) for flag in flags]
        if len(flags) == 1:
            return {flags[0]: flags}
        keyed = {}
        for name, value in zip(flags[::2], flags[1::2]):
            # `--cash=-5` reaches the program's own check, where `--cash -5` might be taken for an unknown flag.
            keyed[f"{name} {value.split('=')[0]}" if name == "--set" else name] = [f"{name}={value}"]
        return keyed

    return [flag for flags in (pairs(sma_cross_arguments(generated.market)) | pairs(change)).values() for flag in flags]


def assert_error(done, *words):
    assert done.returncode != 0
    assert done.stdout == "", "an error is no result"
    assert done.stderr.lower().count("error:") == 1, done.stderr
    assert "panicked" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_output_that_is_not_read_to_its_end_is_no_error():
    """As with `| head`, here with a reader that is gone before the program starts."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [str(BINARY), "strategies", "--json"]
    try:
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
