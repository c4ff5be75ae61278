"""Speed and memory of a backtest, as ratios within one run, because machines differ and are busy in different ways.

1. One SMA 10/50 cross with fees on BTCUSD minutes of 2017-18 (1,025,708 bars): the whole process, from the catalog to
   the results on disk, beside the time in which the arrow `parquet` crate decodes the same columns on one thread: into
   the 128-bit decimals that it gives, and into 64-bit ones, the cheapest form that can be asked for. All take turns, so that a busy moment hits both. Targets: at most 3 times the decoding, a peak below 200 MiB.
2. Bars per second with 1,000, 10,000 and 100,000 orders behind a cell. Target: less than 10 % between them.
3. With --peers, vectorbt and backtesting.py on the same bars: the whole process, and the engine alone at its best, with
   the bars in memory and compiled code warm. They reckon in floats and write no results.

Where the real data is absent (TRADEFLOW_DATA names its folder), a seeded walk of as many bars stands in.
Tables go to the terminal; they and the plot of 2. also to data/bench/."""

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TRADEFLOW_DATA", REPO.parent / "shared" / "data"))
OUT = REPO / "data" / "bench"
SYMBOL, INTERVAL, FROM, TO = "BTCUSD", "1m", "2017-01-01", "2019-01-01"
BARS = 1_025_708
RATIO_MAX, PEAK_MIB_MAX, SPREAD_PERCENT_MAX = 3.0, 200.0, 10.0


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--release", type=Path, required=True, help="folder of the release build")
    options.add_argument("--runs", type=int, default=7, help="times that each thing is measured")
    options.add_argument("--peers", action="store_true", help="measure vectorbt and backtesting.py too")
    chosen = options.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tradeflow-bench-") as folder:
        report = backtest_and_decode(chosen, Path(folder))
        if chosen.peers:
            report["peers"] = peers(Path(folder) / "catalog")
    report["linear"] = linear(chosen)
    (OUT / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nall figures: {OUT / 'bench.json'}")


def measured(command: list) -> tuple[float, float, str]:
    """Runs a command: seconds of wall time, peak of resident memory in MiB, standard output."""
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench: exit status {process.returncode} from {' '.join(map(str, command))}")
    return seconds, usage.ru_maxrss / 1024, output


def history(folder: Path) -> list[Path]:
    files = [DATA / "bars" / f"btcusd_bitfinex_1m_{year}.csv.gz" for year in (2017, 2018)]
    if all(path.exists() for path in files):
        return files
    print(f"bench: no {files[0]}; a seeded walk of as many bars stands in")
    rng, close, path = random.Random(2017), 100_000, folder / "walk.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("ts_ms,open,high,low,close,volume\n")
        for minute in range(BARS):
            open_, close = close, max(10_000, close + round(rng.gauss(0, 80)))
            cells = (open_, max(open_, close) + rng.randrange(20), min(open_, close) - rng.randrange(20), close)
            text = ",".join(f"{cell / 100:.2f}" for cell in cells)
            file.write(f"{1_483_228_800_000 + minute * 60_000},{text},{rng.expovariate(0.1):.8f}\n")
    return [path]


def backtest_and_decode(chosen, folder: Path) -> dict:
    tradeflow, catalog = chosen.release / "tradeflow", folder / "catalog"
    files = history(folder)
    importing, *_ = measured(
        [tradeflow, "import", "--preset", "ohlcv-ms", "--symbol", SYMBOL, "--interval", INTERVAL, *files, "--catalog", catalog]
    )
    run = [tradeflow, "backtest", "--catalog", catalog, "--symbol", SYMBOL, "--interval", INTERVAL, "--from", FROM, "--to", TO]
    run += "--strategy sma_cross --set fast=10 --set slow=50 --set direction=long".split()
    run += "--cash 1000000 --size 100% --fee-bps 10 --fill next-open --json".split()
    decode = [chosen.release / "examples" / "decode", catalog, SYMBOL, INTERVAL, FROM, TO]

    ours, peaks, decoding, cheapest = [], [], [], []
    for i in range(chosen.runs + 1):
        seconds, peak, output = measured([*run, "--out", folder / f"out{i}"])
        summary = json.loads(output)
        decoded = json.loads(measured([*decode, "--as-is"])[2])
        narrow = json.loads(measured(decode)[2])
        if summary["bars"] != decoded["rows"]:
            sys.exit(f"bench: the backtest saw {summary['bars']} bars, the decoder {decoded['rows']} rows: not the same work")
        if i > 0:  # the first turn fills the page cache
            ours.append(seconds)
            peaks.append(peak)
            decoding.append(decoded["seconds"])
            cheapest.append(narrow["seconds"])

    print(f"\nSMA 10/50 with fees, {summary['bars']:,} bars, {summary['trades']:,} trades, {chosen.runs} runs (import: {importing:.2f} s)")
    print(f"{'':40}{'best':>10}{'median':>10}")
    print(f"{'whole process':40}{min(ours):>8.3f} s{statistics.median(ours):>8.3f} s")
    ratios = {}
    forms = {"128-bit decimals, as the crate gives them": decoding, "64-bit decimals, its cheapest form": cheapest}
    for form, seconds in forms.items():
        print(f"{'decoding to ' + form.split(',')[0]:40}{min(seconds):>8.3f} s{statistics.median(seconds):>8.3f} s")
        ratios[form] = ratio = {"best": min(ours) / min(seconds), "median": statistics.median(ours) / statistics.median(seconds)}
        target = f"   target at most {RATIO_MAX:g}: {verdict(ratio['median'] <= RATIO_MAX)}"
        print(f"{'  ratio (' + form.split(', ')[1] + ')':40}{ratio['best']:>10.2f}{ratio['median']:>10.2f}{target}")
    print(
        f"{'peak memory, worst run':32}{max(peaks):>6.1f} MiB{'':10}   target below {PEAK_MIB_MAX:g}: {verdict(max(peaks) < PEAK_MIB_MAX)}"
    )
    return {
        "data": [path.name for path in files],
        "bars": summary["bars"],
        "trades": summary["trades"],
        "import_seconds": importing,
        "backtest_seconds": ours,
        "decode_seconds": decoding,
        "decode_cheapest_seconds": cheapest,
        "ratio": ratios,
        "peak_mib": peaks,
    }


def peers(catalog: Path) -> dict:
    print(f"\n{'peer, same bars':32}{'warm engine':>12}{'process':>10}{'peak':>12}{'trades':>10}")
    results = {}
    for name in ("vectorbt", "backtesting.py"):
        seconds, peak, output = measured([sys.executable, REPO / "bench" / "peers.py", name, catalog])
        result = json.loads(output.splitlines()[-1]) | {"process_seconds": seconds, "peak_mib": peak}
        print(f"{name:32}{result['seconds']:>10.2f} s{seconds:>8.2f} s{peak:>8.0f} MiB{result['trades']:>10,}")
        results[name] = result
    return results


def linear(chosen) -> dict:
    """The example prints a JSON line for each number of orders; the best of several runs is the least disturbed."""
    rates: dict[int, list[float]] = {}
    for _ in range(3):
        for line in measured([chosen.release / "examples" / "linear"])[2].splitlines():
            point = json.loads(line)
            rates.setdefault(point["orders_behind"], []).append(point["bars_per_second"])
    best = {orders: max(found) for orders, found in sorted(rates.items())}
    spread = 100 * (1 - min(best.values()) / max(best.values()))
    print(f"\n{'orders behind the cell':32}{'bars/s':>14}{'below the fastest':>20}")
    for orders, rate in best.items():
        print(f"{orders:<32,}{rate:>14,.0f}{100 * (1 - rate / max(best.values())):>18.1f} %")
    print(
        f"{'greatest difference':32}{'':14}{spread:>18.1f} %   target below {SPREAD_PERCENT_MAX:g} %: {verdict(spread < SPREAD_PERCENT_MAX)}"
    )
    plot(best)
    return {"bars_per_second": rates, "difference_percent": spread}


def plot(best: dict[int, float]):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(list(best), [rate / 1e6 for rate in best.values()], "o-")
    axes.set(xscale="log", xlabel="orders behind the cell", ylabel="million bars per second")
    axes.set_ylim(0, 1.15 * max(best.values()) / 1e6)  # from 0: a small difference shall look small
    axes.set_title("Speed by the number of orders behind a cell")
    axes.grid(alpha=0.3)
    figure.savefig(OUT / "linear.png", dpi=150)
    print(f"plot: {OUT / 'linear.png'}")


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    main()
