"""Plain tools read the catalog: pandas, polars and DuckDB, each with its own Parquet reader, find the very decimals
and times of the source file, and the types that the design promises."""

from decimal import Decimal

import duckdb
import pandas as pd
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from markets import MINUTE_NS

PRICES = ["open", "high", "low", "close"]
DECIMALS = [*PRICES, "volume"]
TIMES = ["ts_open", "ts_event", "ts_init"]


def with_pandas(folder) -> dict[str, list]:
    """pandas reads a Hive folder as one table, its keys as columns."""
    frame = pd.read_parquet(folder, dtype_backend="pyarrow").sort_values("ts_event")
    for name in TIMES:
        assert str(frame[name].dtype) == "timestamp[ns, tz=UTC][pyarrow]"
    for name in DECIMALS:
        assert pa.types.is_decimal(frame[name].dtype.pyarrow_dtype), name
    times = {name: [t.value for t in frame[name]] for name in TIMES}
    return times | {name: list(frame[name]) for name in DECIMALS}


def with_polars(folder) -> dict[str, list]:
    frame = polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).sort("ts_event").collect()
    for name in TIMES:
        assert frame.schema[name] == polars.Datetime("ns", "UTC")
    for name in DECIMALS:
        assert isinstance(frame.schema[name], polars.Decimal), name
    times = {name: frame[name].to_physical().to_list() for name in TIMES}
    return times | {name: frame[name].to_list() for name in DECIMALS}


def with_duckdb(folder) -> dict[str, list]:
    times = ", ".join(f"epoch_ns({name}) AS {name}" for name in TIMES)
    source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    query = f"SELECT {times}, {', '.join(DECIMALS)} FROM {source} ORDER BY ts_event"
    types = {name: kind for name, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    for name in DECIMALS:
        assert types[name].startswith("DECIMAL(18"), types[name]
    for name in TIMES:
        assert types[name] == "TIMESTAMPTZ_NS"
    columns = duckdb.sql(query).fetchall()
    return dict(zip([*TIMES, *DECIMALS], map(list, zip(*columns))))


@pytest.mark.parametrize("read", [with_pandas, with_polars, with_duckdb])
def test_bars_are_those_of_the_file(imported, read):
    bars = imported.market.bars
    found = read(imported.folder())
    for name in DECIMALS:
        assert all(isinstance(value, Decimal) for value in found[name])
        assert found[name] == [getattr(bar, name) for bar in bars]
    if imported.market.interval == "1m":
        assert found["ts_open"] == [bar.ts_open for bar in bars]
        assert found["ts_event"] == [bar.ts_open + MINUTE_NS for bar in bars], "a bar is known at its close"
    else:
        # The file has dates; the program adds the exchange's hours, which all lie within the UTC day.
        assert [day(ns) for ns in found["ts_open"]] == [day(bar.ts_open) for bar in bars]
        assert all(opened < closed for opened, closed in zip(found["ts_open"], found["ts_event"]))
    assert all(event <= init for event, init in zip(found["ts_event"], found["ts_init"]))


def day(ns: int):
    return pd.Timestamp(ns, unit="ns").date()


def test_the_files_are_as_the_design_says(imported):
    """One scale for all prices, INT64 decimals, zstd, sorted, with statistics, in the folder of its month or year."""
    files = sorted(imported.folder().rglob("*.parquet"))
    assert files
    for path in files:
        file = pq.ParquetFile(path)
        scales = {file.schema_arrow.field(name).type.scale for name in PRICES}
        assert len(scales) == 1, "open, high, low and close have one scale"
        table = file.read(["ts_event"]).column(0).cast(pa.int64()).to_pylist()
        assert table == sorted(set(table)), "sorted, no time twice"
        key, value = path.parent.name.split("=")
        assert key == ("month" if imported.market.interval == "1m" else "year")
        opened = file.read(["ts_open"]).column(0).to_pandas()
        assert {str(t)[: len(value)] for t in opened} == {value}, "each bar lies in the folder of its open"
        for group in range(file.metadata.num_row_groups):
            for i in range(file.metadata.num_columns):
                column = file.metadata.row_group(group).column(i)
                if column.path_in_schema in [*TIMES, *DECIMALS]:
                    assert column.physical_type == "INT64"
                    assert column.compression == "ZSTD"
                    assert column.statistics and column.statistics.has_min_max


def test_the_sample_reads_the_same_in_every_tool(sample_catalog):
    """Bars and ticks of `tradeflow sample`: the three readers find the same rows, sums and times."""
    kinds = {path.name for path in sample_catalog.glob("kind=*")}
    assert "kind=bar" in kinds and len(kinds) > 1, f"bars and ticks, found {kinds}"
    # One symbol at a time: symbols differ in scale.
    for folder in sorted(sample_catalog.glob("kind=*/**/symbol=*")):
        files = f"{folder}/**/*.parquet"
        schema = pq.read_schema(next(folder.rglob("*.parquet")))
        decimals = [field.name for field in schema if pa.types.is_decimal(field.type)]
        assert decimals, f"no decimal column below {folder.name}"

        frame = pd.read_parquet(folder, dtype_backend="pyarrow")
        times = [frame.ts_event.min().value, frame.ts_event.max().value]
        by_pandas = [len(frame), *times, *(frame[name].sum() for name in decimals)]

        time = polars.col("ts_event").dt.epoch("ns")
        columns = [polars.len(), time.min().alias("first"), time.max().alias("last"), *map(polars.sum, decimals)]
        by_polars = list(polars.scan_parquet(files, hive_partitioning=True).select(columns).collect().row(0))

        sums = ", ".join(f"sum({name})" for name in decimals)
        query = f"SELECT count(*), min(epoch_ns(ts_event)), max(epoch_ns(ts_event)), {sums} FROM read_parquet('{files}')"
        by_duckdb = list(duckdb.sql(query).fetchall()[0])

        assert by_pandas[0] > 0
        assert by_pandas == by_polars == by_duckdb
