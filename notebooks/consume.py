"""Reads TradeFlow's bus from Kafka: a consumer to copy from, and what the notebooks share. The schemas are in docs/bus.md.

    pip install confluent-kafka msgpack polars
    python notebooks/consume.py --brokers 127.0.0.1:9092 --topic md.trades.v1 --frame
    python notebooks/consume.py --topic demo.md.quotes.v1 --follow --set security.protocol=SSL

In a notebook: `frame(read("127.0.0.1:9092", "md.trades.v1"))`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from decimal import Decimal

import msgpack
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

# Columns by the scale that they are integers at; all other columns are times in nanoseconds, or codes.
PRICES = ("price", "bid", "ask", "open", "high", "low", "close")
SIZES = ("qty", "bid_size", "ask_size", "volume")
AGGRESSORS = ("unknown", "buyer", "seller")
# What a record says once for all of its rows.
ONCE = ("symbol", "source", "interval", "price_type")
# Fields of the record as a whole that are not shown. Fields that this reader does not know are passed over.
COLUMNS = ("ts_open", "ts_event", "ts_init", *PRICES, *SIZES, "aggressor")
# What orders and fills have as text.
DECIMALS = ("qty", "price", "trigger", "filled", "fee", "position", "cash")
# After so long without an answer reading fails, where it has an end.
PATIENCE = 60.0


def rows(record: dict) -> list[dict]:
    """The rows of a record, with exact decimals: of trades, quotes or bars; the one of an order or a fill."""
    if "account" in record:
        taken = {name: value for name, value in record.items() if name != "v"}
        return [{name: Decimal(value) if name in DECIMALS and value is not None else value for name, value in taken.items()}]
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


def messages(
    brokers: str, topic: str, follow: bool = False, settings: dict | None = None, last: float | None = None
) -> Iterator[Message | None]:
    """Messages of all partitions: from the first that is kept, or of the last so many seconds; to the end as it is when
    reading begins, or for ever. None where nothing has come for a moment."""
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
        places = [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in found.partitions]
        if last is not None:
            since = int((time.time() - last) * 1000)
            places = consumer.offsets_for_times([TopicPartition(topic, place.partition, since) for place in places], timeout=10)
        # A topic that is written to all the time has no end of its own.
        ends = {} if follow else {place.partition: consumer.get_watermark_offsets(place, timeout=10)[1] for place in places}
        consumer.assign(places)
        left = set(found.partitions)
        heard = time.monotonic()
        while left:
            message = consumer.poll(0.2)
            if message is None:
                if not follow and time.monotonic() > heard + PATIENCE:
                    raise TimeoutError(f"{topic} at {brokers}: no answer for {PATIENCE:.0f} s")
                yield None
                continue
            heard = time.monotonic()
            error, partition = message.error(), message.partition()
            if error and error.code() == KafkaError._PARTITION_EOF:
                left.discard(partition)
            elif error:
                raise KafkaException(error)
            elif follow:
                yield message
            elif partition in left:
                if message.offset() < ends[partition]:
                    yield message
                if message.offset() + 1 >= ends[partition]:
                    left.discard(partition)
    finally:
        consumer.close()


def rows_of(message: Message) -> list[dict]:
    """The rows of a message; none of one that can't be read, which is said and blocks no one."""
    try:
        return rows(msgpack.unpackb(message.value()))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, msgpack.UnpackException) as reason:
        place = f"{message.topic()}/{message.partition()} offset {message.offset()}"
        print(f"{place}: not a record of this bus: {reason!r}", file=sys.stderr)
        return []


def read(brokers: str, topic: str, follow: bool = False, settings: dict | None = None, last: float | None = None) -> Iterator[dict]:
    """Rows of all partitions: from the first that is kept, or of the last so many seconds; to the end, or for ever."""
    for message in messages(brokers, topic, follow, settings, last):
        if message is not None:
            yield from rows_of(message)


def batches(
    brokers: str, topic: str, every: float = 1.0, settings: dict | None = None, last: float | None = None
) -> Iterator[list[dict]]:
    """The same for ever, gathered: what has come since the list before, every so many seconds."""
    gathered, due = [], time.monotonic() + every
    for message in messages(brokers, topic, True, settings, last):
        if message is not None:
            gathered += rows_of(message)
        if time.monotonic() >= due:
            yield gathered
            gathered, due = [], time.monotonic() + every


def frame(rows):
    """The rows as a polars frame, times as UTC timestamps."""
    import polars as pl

    rows = list(rows)
    names = list(rows[0]) if rows else []
    schema = {}
    for name in names:
        scales = [-row[name].as_tuple().exponent for row in rows if isinstance(row.get(name), Decimal)]
        schema[name] = pl.Decimal(38, max(0, *scales)) if scales else None
    table = pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)
    times = [name for name in names if name.startswith("ts_")]
    return table.with_columns(pl.col(times).cast(pl.Datetime("ns", "UTC"))).sort("ts_event", maintain_order=True) if rows else table


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
    except TimeoutError as error:
        sys.exit(f"consume: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
