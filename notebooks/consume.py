"""Reads TradeFlow's market data from Kafka: a consumer to copy from. The schemas are in docs/bus.md.

    pip install confluent-kafka msgpack polars
    python notebooks/consume.py --brokers 127.0.0.1:9092 --topic md.trades.v1 --frame
    python notebooks/consume.py --topic demo.md.quotes.v1 --follow --set security.protocol=SSL

In a notebook: `frame(read("127.0.0.1:9092", "md.trades.v1"))`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from decimal import Decimal

import msgpack
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

# Columns by the scale that they are integers at; all other columns are times in nanoseconds, or codes.
PRICES = ("price", "bid", "ask", "open", "high", "low", "close")
SIZES = ("qty", "bid_size", "ask_size", "volume")
AGGRESSORS = ("unknown", "buyer", "seller")
# What a record says once for all of its rows.
ONCE = ("symbol", "source", "interval", "price_type")
# Fields of the record as a whole that are not shown. Fields that this reader does not know are passed over.
COLUMNS = ("ts_open", "ts_event", "ts_init", *PRICES, *SIZES, "aggressor")


def rows(record: dict) -> list[dict]:
    """The rows of a record of trades, quotes or bars; prices and quantities as exact decimals."""
    price_scale, size_scale = -record["price_scale"], -record["size_scale"]
    once = {name: record[name] for name in ONCE if name in record}
    result = []
    for i in range(len(record["ts_event"])):
        row = dict(once)
        for name in COLUMNS:
            if name not in record:
                continue
            value = record[name][i]
            if name in PRICES:
                value = Decimal(value).scaleb(price_scale)
            elif name in SIZES:
                value = Decimal(value).scaleb(size_scale)
            elif name == "aggressor":
                value = AGGRESSORS[value]
            row[name] = value
        result.append(row)
    return result


def read(brokers: str, topic: str, follow: bool = False, settings: dict | None = None) -> Iterator[dict]:
    """Rows of all partitions, from the first that is kept to the end, or for ever."""
    config = {
        "bootstrap.servers": brokers,
        "group.id": "tradeflow-notebook",  # a name alone: it joins no group and commits nothing
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "enable.partition.eof": not follow,
        **(settings or {}),
    }
    consumer = Consumer(config)
    try:
        found = consumer.list_topics(topic, timeout=10).topics[topic]
        if found.error:
            raise KafkaException(found.error)
        left = set(found.partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        while left:
            message = consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error and error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
            elif error:
                raise KafkaException(error)
            else:
                place = f"{topic}/{message.partition()} offset {message.offset()}"
                try:
                    yield from rows(msgpack.unpackb(message.value()))
                except (ValueError, TypeError, KeyError, IndexError, AttributeError, msgpack.UnpackException) as reason:
                    # One record that can't be read blocks no one.
                    print(f"{place}: not a record of market data: {reason!r}", file=sys.stderr)
    finally:
        consumer.close()


def frame(rows):
    """The rows as a polars frame, times as UTC timestamps."""
    import polars as pl

    rows = list(rows)
    names = list(rows[0]) if rows else []
    scales = {}
    for name in (*PRICES, *SIZES):
        if name in names:
            scales[name] = max(-row[name].as_tuple().exponent for row in rows)
    schema = {name: pl.Decimal(38, scales[name]) if name in scales else None for name in names}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    times = [name for name in names if name.startswith("ts_")]
    return table.with_columns(pl.col(times).cast(pl.Datetime("ns", "UTC"))).sort("ts_event") if rows else table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", default="127.0.0.1:9092")
    parser.add_argument("--topic", required=True, help="with its prefix, for example demo.md.trades.v1")
    parser.add_argument("--follow", action="store_true", help="wait for more at the end")
    parser.add_argument("--frame", action="store_true", help="print a polars frame instead of a line of JSON a row")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of librdkafka")
    arguments = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in arguments.set)
    found = read(arguments.brokers, arguments.topic, arguments.follow, settings)
    try:
        if arguments.frame:
            print(frame(found))
            return
        for row in found:
            print(json.dumps(row, default=str), flush=True)
    except KafkaException as error:
        sys.exit(f"consume: {arguments.topic} at {arguments.brokers}: {error.args[0]}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
