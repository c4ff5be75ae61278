"""The metrics page, read by the parser that Prometheus' own Python client has. `api/tests/metrics.txt` is what the server gives
for a known node, byte for byte: a Rust test keeps it so."""

import math

from prometheus_client.openmetrics.parser import text_string_to_metric_families

import markets

KEPT = markets.REPO / "api/tests/metrics.txt"


def families(page: str) -> dict:
    parsed = {family.name: family for family in text_string_to_metric_families(page)}
    assert all(name.startswith("tradeflow_") for name in parsed), list(parsed)
    return parsed


def value(parsed: dict, family: str, sample: str | None = None, **labels) -> float:
    found = [s.value for s in parsed[family].samples if s.name == (sample or family) and s.labels == labels]
    assert len(found) == 1, (family, labels, parsed[family].samples)
    return found[0]


def test_a_stock_parser_reads_the_page():
    parsed = families(KEPT.read_text())
    types = {name.removeprefix("tradeflow_"): family.type for name, family in parsed.items()}
    assert types["feed_state"] == "gauge" and types["denials"] == "counter" and types["build"] == "info"
    assert {name for name, kind in types.items() if kind == "histogram"} == {
        "decision_latency_seconds",
        "fill_latency_seconds",
        "journal_write_seconds",
    }
    assert all(family.documentation for family in parsed.values())
    denials = value(parsed, "tradeflow_denials", "tradeflow_denials_total", account="alpha", reason="order_notional_max")
    assert denials == 2
    assert value(parsed, "tradeflow_feed_state", feed="binance", state="live") == 1
    assert value(parsed, "tradeflow_bus_lag_records", topic="md.trades.v1") == 12


def test_histograms_are_whole():
    for name, family in families(KEPT.read_text()).items():
        if family.type != "histogram":
            continue
        buckets = [(float(s.labels["le"]), s.value) for s in family.samples if s.name.endswith("_bucket")]
        count = value({name: family}, name, f"{name}_count")
        assert [le for le, _ in buckets] == sorted(le for le, _ in buckets) and buckets[-1] == (math.inf, count)
        assert [seen for _, seen in buckets] == sorted(seen for _, seen in buckets)
        assert count == 5 and 0 < value({name: family}, name, f"{name}_sum") < 1
        assert {0.0002, 0.002} <= {le for le, _ in buckets}, "the latencies that are promised are bounds"
