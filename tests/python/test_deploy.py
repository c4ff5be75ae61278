"""The topology of docker-compose.yml as plain processes: Kafka, PostgreSQL and ClickHouse's engine with the settings that Compose
gives them, and the program with the very command, configuration and environment. Addresses alone are replaced, and Binance by a
local server that speaks its protocol."""

import json
import os
import re
import signal
import subprocess
import urllib.request
from contextlib import ExitStack
from types import SimpleNamespace

import promql_parser
import pytest
from confluent_kafka import Consumer

import clickhouse
import compose
import markets
from api_client import PASSWORD, Client, log_in, register
from conftest import BINARY
from kafka_server import broker
from local_vendors import vendor
from nodes import PATIENCE, Node, eventually, records
from postgres_server import postgres
from test_deploy_files import BOARDS, expressions
from test_metrics import families

DATABASES = {"tradeflow": "tradeflow", "demo": "tradeflow_demo"}
PREFIXES = {"tradeflow": "", "demo": "demo."}


def arguments_of(service: dict) -> list[str]:
    """The arguments of a node, its mounted files found here."""
    mounted = dict(volume.split(":")[1::-1] for volume in service["volumes"] if volume.startswith("./"))
    command, *arguments = service["command"]
    assert command == "serve"
    return [str(markets.REPO / mounted[argument]) if argument in mounted else argument for argument in arguments]


def kafka_settings(environment: dict, port: int, controller: int) -> dict[str, str]:
    """The settings of Kafka, on these ports of this machine."""
    settings = compose.kafka_properties(environment)
    del settings["log.dirs"]  # a folder of the test's
    assert settings["listeners"] == "BACKEND://:9092,CONTROLLER://:9093"
    settings["listeners"] = f"BACKEND://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"
    assert settings["advertised.listeners"] == "BACKEND://kafka:9092"
    settings["advertised.listeners"] = f"BACKEND://127.0.0.1:{port}"
    assert settings["controller.quorum.voters"] == "1@localhost:9093"
    settings["controller.quorum.voters"] = f"1@127.0.0.1:{controller}"
    return settings


def set_up(database, environment: dict):
    """What PostgreSQL's image does when its volume is made."""
    user, password, name = (environment[f"POSTGRES_{what}"] for what in ("USER", "PASSWORD", "DB"))
    database.sql(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'")
    database.sql(f"CREATE DATABASE {name} OWNER {user}")
    database.ask_for_password(user)
    for script in sorted((markets.REPO / "deploy" / "postgres").glob("*.sql")):
        database.sql(script.read_text(), user, name, password)


@pytest.fixture(scope="module")
def topology(tmp_path_factory):
    folder = tmp_path_factory.mktemp("topology")
    services, written = compose.resolved(folder)["services"], compose.written()["services"]
    with ExitStack() as stack:
        database = stack.enter_context(postgres())
        settings = services["kafka"]["environment"]
        kafka = stack.enter_context(broker(lambda port, controller: kafka_settings(settings, port, controller)))
        # With the user that its image makes, who asks for the password.
        made = {name: services["clickhouse"]["environment"][name] for name in ("CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD")}
        results = stack.enter_context(clickhouse.server(made))
        binance = stack.enter_context(vendor("binance", "--rate", "200"))
        set_up(database, services["postgres"]["environment"])

        def environment(name: str) -> dict[str, str]:
            given = {**compose.image_environment(), **services[name]["environment"]}
            assert given["TRADEFLOW__BUS__KAFKA"] == "kafka:9092" and given["TRADEFLOW__NODE__LISTEN"] == "0.0.0.0:8080"
            state = re.fullmatch(r"postgres://(\w+):(\w+)@postgres:5432/(\w+)", given["TRADEFLOW__STATE__URL"])
            user, secret, inside = state.groups()
            assert (secret, inside) == (compose.SET["POSTGRES_PASSWORD"], DATABASES[name])
            known = re.fullmatch(r"http://(\w+:\w+)@clickhouse:8123/(\w+)", given["TRADEFLOW_CLICKHOUSE"])
            assert known[2] == DATABASES[name]
            return {
                **given,
                "TRADEFLOW_CLICKHOUSE": results.url.replace("http://", f"http://{known[1]}@") + f"/{known[2]}",
                "TRADEFLOW__NODE__LISTEN": "127.0.0.1:0",
                "TRADEFLOW__BUS__KAFKA": kafka.address,
                "TRADEFLOW__STATE__URL": database.url(user, inside, secret),
                "TRADEFLOW__FEEDS__BINANCE__URL": binance.ws,
                "TRADEFLOW__FEEDS__BINANCE__REST_URL": binance.http,
            }

        def node(name: str) -> Node:
            home = folder / name
            home.mkdir()
            return Node(folder / f"logs-{name}", *arguments_of(written[name]), environment=environment(name), cwd=home)

        nodes = {name: stack.enter_context(node(name)) for name in DATABASES}
        addresses = {name: node.address() for name, node in nodes.items()}
        yield SimpleNamespace(
            folder=folder, results=results.url, written=written, kafka=kafka.address, database=database, addresses=addresses, environment=environment
        )
        for running in nodes.values():
            running.send(signal.SIGTERM)
        for running in nodes.values():
            running.end()


@pytest.mark.parametrize("name", DATABASES)
def test_it_becomes_healthy_as_compose_asks(topology, name):
    asked = topology.written[name]["healthcheck"]["test"][-1]
    assert asked.startswith("http://127.0.0.1:8080/")
    url = asked.replace("http://127.0.0.1:8080", topology.addresses[name])

    def healthy():
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return json.load(answer) == {"status": "ok", "reasons": []}

    eventually("the node is healthy", healthy)


@pytest.mark.parametrize("name", DATABASES)
def test_someone_registers_logs_in_and_sees_a_quote(topology, name):
    url = topology.addresses[name]
    # Not open to whoever comes from this machine: in a container all may seem to.
    assert Client(url)("GET", "/api/v1/status").status == 401
    user = register(url, f"{name}@example.org")
    assert user["role"] == "administrator", "the first in its database"
    client = log_in(url, user["email"])

    def live():
        quote = client.ok("GET", "/api/v1/quotes/BTCUSD")
        return quote if quote["freshness"] == "live" else None

    assert eventually("BTCUSD has a live quote", live)["symbol"] == "BTCUSD"
    assert [account["account"] for account in client.ok("GET", "/api/v1/accounts")] == ["paper"]
    # In the database of this node, and in no other.
    secret = compose.SET["POSTGRES_PASSWORD"]
    for other, inside in DATABASES.items():
        found = topology.database.sql("SELECT email FROM users", "tradeflow", inside, secret)
        assert (user["email"] in found) == (other == name), (inside, found)
    assert PASSWORD not in "".join(topology.database.sql("SELECT * FROM users", "tradeflow", DATABASES[name], secret))


@pytest.mark.parametrize("name", PREFIXES)
def test_its_topics_are_on_the_bus(topology, name):
    consumer = Consumer({"bootstrap.servers": topology.kafka, "group.id": "tradeflow-tests"})
    topics = consumer.list_topics(timeout=PATIENCE).topics
    consumer.close()
    for kind in ("md.trades", "md.quotes", "md.bars", "commands", "orders", "fills", "journal", "snapshots", "sessions"):
        topic = f"{PREFIXES[name]}{kind}.v1"
        assert topic in topics and len(topics[topic].partitions) == 1, topic
    found = eventually(f"trades of {name}", lambda: records(topology.kafka, f"{PREFIXES[name]}md.trades.v1"))
    assert "BTCUSD" in {record["symbol"] for record in found}


@pytest.mark.parametrize("name", DATABASES)
def test_its_data_is_where_the_volume_is_mounted(topology, name):
    """`data` below the working folder; ClickHouse reads the same volume."""
    assert "WORKDIR /var/lib/tradeflow\n" in (markets.REPO / "Dockerfile").read_text()
    volume = next(volume for volume in topology.written[name]["volumes"] if volume.endswith(":/var/lib/tradeflow/data"))
    clickhouse = topology.written["clickhouse"]
    assert f"{volume.split(':')[0]}:/var/lib/clickhouse/user_files/{name}:ro" in clickhouse["volumes"]
    assert clickhouse["environment"]["CLICKHOUSE_DO_NOT_CHOWN"] == "1", "a change of owner fails on what is read only"
    assert (topology.folder / name / "data" / "catalog").is_dir()
    # All else is read only there.
    assert [path.name for path in (topology.folder / name).iterdir()] == ["data"]


def test_a_job_of_the_demonstration_goes_to_its_clickhouse(topology):
    url = topology.addresses["demo"]
    trader = log_in(url, register(url)["email"])
    config = {"data": {"symbols": ["SAMPLE-BTC"], "interval": "1m"}, "account": [{"strategy": [{"kind": "buy_and_hold"}]}]}
    # The sample data comes a moment after the node.
    asked = eventually("the job is taken", lambda: (answer := trader("POST", "/api/v1/backtests", {"config": config})).status == 202 and answer)
    path = f"/api/v1/backtests/{asked.json['job_id']}"
    assert eventually("it has ended", lambda: (job := trader.ok("GET", path))["ended"] and job)["status"] == "done"
    digest = trader.ok("GET", f"{path}/summary")["digest"]
    # What it answers is there.
    assert trader.ok("GET", f"{path}/fills")["rows"][0]["symbol"] == "SAMPLE-BTC"
    question = urllib.request.Request(topology.results, data=b"SELECT digest FROM tradeflow_demo.runs FINAL")
    question.add_header("X-ClickHouse-User", "tradeflow")
    question.add_header("X-ClickHouse-Key", compose.SET["CLICKHOUSE_PASSWORD"])
    with urllib.request.urlopen(question, timeout=PATIENCE) as answer:
        assert answer.read().decode().split() == [digest]


@pytest.mark.parametrize("command", ["sessions", "verify last"])
def test_the_commands_of_the_documentation(topology, command):
    """They find bus and data by the environment and the working folder of the container alone."""
    assert f"    docker compose exec tradeflow tradeflow {command}\n" in (markets.REPO / "docs" / "deployment.md").read_text()
    environment = {**os.environ, **topology.environment("tradeflow")}
    here = topology.folder / "tradeflow"
    done = subprocess.run([BINARY, *command.split()], check=False, cwd=here, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert {"sessions": "paper", "verify last": "equal"}[command] in done.stdout, done.stdout


def test_with_another_password_it_does_not_start(topology):
    environment, secret = topology.environment("demo"), compose.SET["POSTGRES_PASSWORD"]
    wrong = {**environment, "TRADEFLOW__STATE__URL": environment["TRADEFLOW__STATE__URL"].replace(secret, "wrong")}
    home = topology.folder / "wrong"
    home.mkdir()
    with Node(topology.folder / "logs-wrong", "--demo", environment=wrong, cwd=home) as node:
        assert node.process.wait(PATIENCE) != 0
        assert "password authentication failed" in node.text()


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_all_that_a_board_shows_is_there(topology, path):
    with urllib.request.urlopen(f"{topology.addresses['demo']}/metrics", timeout=PATIENCE) as answer:
        parsed = families(answer.read().decode())
    series = {}
    for family in parsed.values():
        # A counter that has not counted yet has a name and no labels to compare with.
        names = {sample.name for sample in family.samples} or {f"{family.name}_total" if family.type == "counter" else family.name}
        labels = {label for sample in family.samples for label in sample.labels}
        series.update({name: labels for name in names})
    found = [selector for text in expressions(path) for selector in selectors(promql_parser.parse(text))]
    assert len(found) > 30
    for name, labels in found:
        assert name in series, f"the program has no {name}"
        if series[name]:
            # Prometheus adds the node, as prometheus.yml says.
            assert labels - {"node"} <= series[name], f"{name} has no {labels - series[name]}"


def selectors(expression, by=frozenset()) -> list[tuple[str, set[str]]]:
    """The metrics of an expression, each with the labels that it is chosen or summed by."""
    kind = type(expression).__name__
    if kind == "VectorSelector":
        return [(expression.name, {matcher.name for matcher in expression.matchers.matchers} | by)]
    if kind == "MatrixSelector":
        return selectors(expression.vector_selector, by)
    if kind == "AggregateExpr":
        return selectors(expression.expr, frozenset(expression.modifier.labels if expression.modifier else ()))
    if kind == "Call":
        return [found for argument in expression.args for found in selectors(argument, by)]
    if kind == "BinaryExpr":
        return selectors(expression.lhs, by) + selectors(expression.rhs, by)
    if kind == "ParenExpr":
        return selectors(expression.expr, by)
    assert kind in ("NumberLiteral", "StringLiteral"), kind
    return []
