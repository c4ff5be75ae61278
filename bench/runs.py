"""Questions over many runs: of the folders through the index, and of ClickHouse (bench/run-results.sh).

Makes so many runs out of one real one (their summaries differ, their tables are small), and times the program from its
start to its answer. Figures are ratios within one run: the machine cancels out. ClickHouse here is its engine in one
process (chdb), as in the tests.
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "python"))
import clickhouse  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--repeat", type=int, default=7)
    given = parser.parse_args()

    def tradeflow(*arguments) -> float:
        started = time.perf_counter()
        subprocess.run([given.binary, *map(str, arguments)], check=True, capture_output=True)
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory(prefix="tradeflow-bench-") as folder, clickhouse.server() as server:
        root, url = Path(folder) / "out", clickhouse.database(server.url)
        make(given.binary, Path(folder), root, given.runs)
        upload = tradeflow("runs", "sync", "--out", root, "--clickhouse", url)
        where = {"folders": ["--out", root], "ClickHouse": ["--clickhouse", url]}
        print(f"{given.runs} runs; median of {given.repeat} questions, milliseconds from the program's start to its end")
        first = tradeflow("runs", "list", "--sort", "sharpe", *where["folders"])
        print(f"{'the first question of the folders (every summary is read)':60} {first * 1e3:8.0f}")
        questions = {
            "the 20 best by Sharpe ratio": ["list", "--sort", "sharpe"],
            "of one symbol, by drawdown": ["list", "--symbol", "SAMPLE-BTC", "--sort", "max_drawdown"],
            "of one value of a parameter": ["list", "--param", "fast=7", "--sort", "sharpe"],
            "statistics by parameter": ["list", "--by", "fast", "--sort", "sharpe"],
        }
        print(f"{'':60} {'folders':>8} {'ClickHouse':>10} {'ratio':>7}")
        for name, question in questions.items():
            times = {store: statistics.median(tradeflow("runs", *question, *place) for _ in range(given.repeat)) for store, place in where.items()}
            files, server_side = times["folders"], times["ClickHouse"]
            print(f"{name:60} {files * 1e3:8.0f} {server_side * 1e3:10.0f} {files / server_side:7.2f}")
        print(f"upload: {given.runs / upload:.0f} runs a second")


def make(binary: Path, folder: Path, root: Path, count: int):
    """One real run, and many that are like it."""
    run = lambda *arguments: subprocess.run([binary, *map(str, arguments)], check=True, capture_output=True)  # noqa: E731
    catalog, seed = folder / "catalog", folder / "seed"
    run("sample", "--catalog", catalog, "--symbols", "SAMPLE-BTC", "--from", "2024-01-01", "--to", "2024-01-08")
    what = ["--symbol", "SAMPLE-BTC", "--strategy", "sma_cross", "--from", "2024-01-02", "--to", "2024-01-03"]
    run("backtest", "--catalog", catalog, "--out", seed, *what)
    (real,) = [path for path in seed.iterdir() if path.is_dir()]
    summary = json.loads((real / "summary.json").read_text())
    values = random.Random(1)
    for number in range(count):
        place = root / f"run_{number:06}"
        place.mkdir(parents=True)
        for table in real.glob("*.parquet"):
            shutil.copyfile(table, place / table.name)
        fast = number % 50
        summary["config_digest"] = f"{number:064x}"
        summary["statistics"]["sharpe"] = values.gauss(0, 1)
        summary["max_drawdown"] = values.random()
        summary["accounts"][0]["strategies"][0]["params"]["fast"] = fast
        (place / "summary.json").write_text(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
