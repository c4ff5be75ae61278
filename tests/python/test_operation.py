"""What a running node shows: health, readiness, metrics, status; and what `tradeflow status` makes of it."""

import json
import re
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from conftest import tradeflow
from nodes import Node, eventually
from test_metrics import families


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def address(node: Node) -> str:
    return re.search(r"^look +(http://[\d.]+:\d+)/", node.up().text(), re.MULTILINE).group(1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demonstration, running, and past its first fills."""
    data = tmp_path_factory.mktemp("demo")
    with Node(tmp_path_factory.mktemp("logs"), "--demo", "--data", data) as node:
        url = address(node)

        def traded():
            status = json.loads(get(f"{url}/api/v1/status")[1])
            return sum(cell["fills"] for cell in status["cells"]) > 0

        eventually("a strategy trades", traded, every=0.2)
        yield SimpleNamespace(node=node, url=url, data=data)
        node.stop()


def test_health_and_readiness(demo):
    code, body = get(f"{demo.url}/health")
    assert (code, json.loads(body)) == (200, {"status": "ok", "reasons": []})
    assert get(f"{demo.url}/ready") == (200, "ready\n")


def test_metrics_of_a_node_that_trades(demo):
    def total(parsed, family, suffix="_total") -> float:
        return sum(s.value for s in parsed[f"tradeflow_{family}"].samples if s.name.endswith(suffix))

    first = families(get(f"{demo.url}/metrics")[1])
    for family in ["feed_messages", "feed_published", "bus_records_read", "events", "orders", "fills"]:
        assert total(first, family) > 0, family
    for family in ["decision_latency_seconds", "fill_latency_seconds", "journal_write_seconds"]:
        assert total(first, family, "_count") > 0, family
    topics = {s.labels["topic"] for s in first["tradeflow_bus_lag_records"].samples}
    assert any(topic.endswith("md.trades.v1") for topic in topics), topics

    def later():
        second = families(get(f"{demo.url}/metrics")[1])
        return total(second, "decision_latency_seconds", "_count") > total(first, "decision_latency_seconds", "_count") and second

    second = eventually("more is decided", later, every=0.2)
    for name, family in first.items():
        if family.type == "counter":
            before = {(s.name, tuple(s.labels.items())): s.value for s in family.samples}
            after = {(s.name, tuple(s.labels.items())): s.value for s in second[name].samples}
            assert all(after[key] >= value for key, value in before.items()), f"{name} went back"


def test_the_status_in_the_terminal_and_as_json(demo):
    done = tradeflow("status", "--url", demo.url, "--once")
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert re.match(r"ok +session \d", done.stdout)
    assert re.search(r"^paper +open +[\d,]+\.\d\d USD ", done.stdout, re.MULTILINE)
    assert re.search(r"^BTCUSD .* live$", done.stdout, re.MULTILINE)
    status = json.loads(tradeflow("status", "--url", demo.url, "--json").stdout)
    assert status["session"] in done.stdout and status["ready"] is True
    assert all(feed["state"] == "live" for feed in status["feeds"]), status["feeds"]


def test_a_port_that_is_taken_is_named(demo, tmp_path):
    port = demo.url.removeprefix("http://")
    done = tradeflow("serve", "--demo", "--data", tmp_path, "--listen", port, "--for", "1s")
    assert done.returncode == 1 and f"can't listen on {port}" in done.stderr, done.stderr
    assert get(f"{demo.url}/ready")[0] == 200
