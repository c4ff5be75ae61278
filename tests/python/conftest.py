"""Runs the real program. TRADEFLOW_BIN names it; the default is the release build."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

import markets
from kafka_server import kafka

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", markets.REPO / "target"))
BINARY = Path(os.environ.get("TRADEFLOW_BIN", TARGET / "release" / "tradeflow"))


def tradeflow(*arguments, cwd=None, env=None) -> subprocess.CompletedProcess:
    """Runs the program to its end, with no terminal and no standard input."""
    assert BINARY.exists(), f"no program at {BINARY}: build it with `cargo build --release`, or set TRADEFLOW_BIN"
    command = [str(BINARY), *map(str, arguments)]
    return subprocess.run(command, check=False, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)


def tradeflow_ok(*arguments, cwd=None) -> str:
    """Runs the program, which must succeed, and gives its standard output."""
    done = tradeflow(*arguments, cwd=cwd)
    assert done.returncode == 0, f"tradeflow {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def backtest(*arguments, cwd=None) -> dict:
    """Runs a backtest and gives its JSON, numbers as `Decimal`."""
    return json.loads(tradeflow_ok("backtest", *arguments, "--json", cwd=cwd), parse_float=Decimal)


def import_arguments(market: markets.Market) -> list:
    return ["import", "--preset", market.preset, "--symbol", market.symbol, "--interval", market.interval, market.csv]


def sma_cross_arguments(market: markets.Market, fast=10, slow=20, fee_bps=0, direction="both", cash=100_000) -> list:
    """A run that leaves nothing to a default: fixed quantity, next open, no slippage, no share-of-volume cap."""
    return [
        *("--symbol", market.symbol, "--interval", market.interval, "--strategy", "sma_cross"),
        *("--set", f"fast={fast}", "--set", f"slow={slow}", "--set", f"direction={direction}"),
        *("--cash", cash, "--size", market.quantity, "--fill", "next-open"),
        *("--fee-bps", fee_bps, "--slippage", "none", *NO_VOLUME_CAP),
    ]


# Amounts in dollars are written with six decimals, rounded half to even from the exact ledger.
HALF_A_UNIT = Decimal("0.0000005")

# The cap on a fill's share of the bar's volume is on by default; the oracles fill the whole quantity at once.
NO_VOLUME_CAP = ()


@dataclass(frozen=True)
class Imported:
    """A market and the catalog that the program made of it."""

    market: markets.Market
    catalog: Path

    def folder(self) -> Path:
        return self.catalog / "kind=bar" / f"interval={self.market.interval}" / "price=last" / f"symbol={self.market.symbol}"


@pytest.fixture(scope="session")
def brokers():
    """The address of a broker that the tests share; each has a prefix of its own."""
    with kafka() as address:
        yield address


@pytest.fixture
def prefix(request) -> str:
    """For the topics of one test, also on a broker that has those of earlier runs."""
    return f"{request.node.originalname.replace('_', '-')}-{time.time_ns()}."


@pytest.fixture(scope="session", params=markets.MARKETS)
def market(request, tmp_path_factory) -> markets.Market:
    try:
        return markets.MARKETS[request.param](tmp_path_factory.mktemp("csv"))
    except markets.NoData as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="session")
def imported(market, tmp_path_factory) -> Imported:
    catalog = tmp_path_factory.mktemp("catalog")
    tradeflow_ok(*import_arguments(market), "--catalog", catalog)
    return Imported(market, catalog)


@pytest.fixture(scope="session")
def generated(tmp_path_factory) -> Imported:
    """The generated market alone, for tests that gain nothing from a second one."""
    walk = markets.generated_minutes(tmp_path_factory.mktemp("csv"))
    catalog = tmp_path_factory.mktemp("catalog")
    tradeflow_ok(*import_arguments(walk), "--catalog", catalog)
    return Imported(walk, catalog)


@pytest.fixture(scope="session")
def sample_catalog(tmp_path_factory) -> Path:
    """What `tradeflow sample` makes: seeded bars and ticks."""
    catalog = tmp_path_factory.mktemp("sample")
    tradeflow_ok("sample", "--catalog", catalog)
    return catalog
