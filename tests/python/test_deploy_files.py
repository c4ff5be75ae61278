"""The files of the deployment, as far as they can be judged without running them: Compose itself reads them, linters read
them, and what they say of each other holds."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import promql_parser
import pytest
import yaml

import compose
import markets
from conftest import tradeflow

REPO = markets.REPO
BACKEND = ("kafka", "postgres", "clickhouse", "prometheus")
KAFKA_ON_HOST = REPO / "deploy" / "kafka-on-host.yml"
BOARDS = sorted((REPO / "deploy" / "grafana" / "boards").glob("*.json"))


def linter(name: str, *arguments) -> subprocess.CompletedProcess:
    """A program of the Python environment of the tests."""
    command = [Path(sys.executable).parent / name, *map(str, arguments)]
    return subprocess.run(command, check=False, cwd=REPO, capture_output=True, text=True, timeout=120)


def tracked(*patterns: str) -> list[str]:
    """Files that git knows."""
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=REPO, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_compose_reads_it(tmp_path):
    services = compose.resolved(tmp_path)["services"]
    assert set(services) == {"tradeflow", "demo", *BACKEND, "grafana"}
    with_kafka = compose.resolved(tmp_path, KAFKA_ON_HOST)["services"]
    assert "ports" in with_kafka["kafka"] and "ports" not in services["kafka"]


@pytest.mark.parametrize("missing", compose.SECRETS)
def test_without_a_secret_nothing_starts(missing, tmp_path):
    done = compose.run(tmp_path, {**compose.SET, missing: ""})
    assert done.returncode != 0
    assert f"set {missing} in .env" in done.stderr


def test_the_example_of_the_environment_is_whole():
    text = compose.FILE.read_text()
    example = compose.example()
    assert set(example) == set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", text))
    # No secret has a default, here or there.
    assert {name for name, value in example.items() if not value} == {*compose.SECRETS, "TRADEFLOW_FINNHUB_KEY", "TRADEFLOW_CREDENTIALS_KEY"}
    for name, value in example.items():
        defaults = set(re.findall(rf"\$\{{{name}(:[-?])([^}}]*)\}}", text))
        assert defaults == {(":?", f"set {name} in .env")} if name in compose.SECRETS else defaults == {(":-", value)}, name
        # The line above says what it is.
        assert re.search(rf"^# .+\n{name}=", compose.EXAMPLE.read_text(), re.MULTILINE), name


def test_each_service_is_pinned_bounded_and_watched():
    for name, service in compose.written()["services"].items():
        own = service["image"] == "tradeflow:local"
        assert own == ("build" in service), name
        assert own or re.search(r":v?\d+(\.\d+)+$", service["image"]), f"{name}: {service['image']} is not pinned"
        for key in ("healthcheck", "mem_limit", "cpus", "volumes", "networks"):
            assert service[key], f"{name} has no {key}"
        assert service["restart"] == "unless-stopped", name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert service["healthcheck"]["test"][0] == "CMD" and service["healthcheck"]["start_period"], name


def test_nothing_is_published_beyond_this_machine_and_databases_not_at_all(tmp_path):
    file = compose.written()
    assert file["networks"]["backend"] == {"internal": True}
    for name, service in file["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)
        if name in BACKEND:
            assert "ports" not in service and service["networks"] == ["backend"], name
    kafka = yaml.safe_load(KAFKA_ON_HOST.read_text())["services"]["kafka"]
    assert all(port.startswith("127.0.0.1:") for port in kafka["ports"])
    # What it tells clients on this machine is where it is published.
    environment = compose.resolved(tmp_path, KAFKA_ON_HOST)["services"]["kafka"]["environment"]
    assert f"HOST://{kafka['ports'][0].rsplit(':', 1)[0]}" in environment["KAFKA_ADVERTISED_LISTENERS"]


def test_what_is_mounted_is_there():
    file = compose.written()
    named = set()
    for name, service in file["services"].items():
        for source, target, *mode in (volume.split(":") for volume in service["volumes"]):
            assert target.startswith("/"), (name, target)
            if source.startswith("./"):
                assert (REPO / source).exists() and mode == ["ro"], (name, source)
            else:
                named.add(source)
    assert named == set(file["volumes"])


def test_versions_are_those_of_the_project():
    services = compose.written()["services"]
    tested = re.search(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([\d.]+)<", (REPO / "tests/kafka/pom.xml").read_text())
    assert services["kafka"]["image"] == f"apache/kafka:{tested[1]}"
    rust = tomllib.loads((REPO / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert re.search(r"^FROM rust:([\d.]+)-", (REPO / "Dockerfile").read_text(), re.MULTILINE)[1] == rust


def test_java_takes_the_options_of_kafka(tmp_path):
    if not shutil.which("java"):
        pytest.skip("there is no java here: scripts/setup-kafka.sh installs it")
    environment = compose.resolved(tmp_path)["services"]["kafka"]["environment"]
    options = [*environment["KAFKA_HEAP_OPTS"].split(), *environment["KAFKA_JVM_PERFORMANCE_OPTS"].split()]
    done = subprocess.run(["java", *options, "-version"], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "warning" not in done.stderr.lower(), done.stderr


def test_the_configuration_is_one_of_a_node(tmp_path):
    done = tradeflow("serve", REPO / "deploy" / "serve.toml", "--print-config", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = tomllib.loads(done.stdout)
    assert {instrument["feed"] for instrument in config["instruments"]} == {"binance"}, "it takes no key as it stands"
    # With the lines that are commented out it asks for the key, and for nothing else.
    shares = tmp_path / "shares.toml"
    shares.write_text(re.sub(r"^# (?=\[\[|\w+ = )", "", (REPO / "deploy" / "serve.toml").read_text(), flags=re.MULTILINE))
    refused = tradeflow("serve", shares, "--print-config", cwd=tmp_path).stderr
    assert "SPY: Finnhub needs a key: set TRADEFLOW_FINNHUB_KEY" in refused and refused.count("shares.toml") == 1, refused


def test_linters_find_nothing():
    done = linter("hadolint", "Dockerfile")
    assert done.returncode == 0 and done.stdout == "", done.stdout
    done = linter("shellcheck", *tracked("*.sh", ".ci/run"))
    assert done.returncode == 0, done.stdout


def test_the_image_is_built_of_what_its_context_has(tmp_path):
    """Cargo finds all members and their files in what .dockerignore lets through."""
    patterns = (REPO / ".dockerignore").read_text().splitlines()
    assert "*" in patterns, "all is left out but what is named"
    for file in tracked(*(pattern[1:] for pattern in patterns if pattern.startswith("!"))):
        to = tmp_path / file
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPO / file, to)
    command = ["cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    targets = [target for package in json.loads(done.stdout)["packages"] for target in package["targets"]]
    assert any(target["name"] == "tradeflow" and target["kind"] == ["bin"] for target in targets)
    assert all(Path(target["src_path"]).is_file() for target in targets)
    for source in tmp_path.rglob("*.rs"):
        for included in re.findall(r"include_(?:str|bytes)!\(\"([^\"]+)\"\)", source.read_text()):
            assert (source.parent / included).is_file(), (source, included)


def test_prometheus_and_grafana_find_their_sources():
    services = compose.written()["services"]
    for scrape in yaml.safe_load((REPO / "deploy/prometheus.yml").read_text())["scrape_configs"]:
        for group in scrape["static_configs"]:
            assert group["labels"]["node"] in services
            assert group["targets"] == [f"{group['labels']['node']}:8080"]
    assert compose.image_environment()["TRADEFLOW__NODE__LISTEN"] == "0.0.0.0:8080"
    source = yaml.safe_load((REPO / "deploy/grafana/datasources.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in services
    path = yaml.safe_load((REPO / "deploy/grafana/dashboards.yml").read_text())["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/boards:{path}:ro" in services["grafana"]["volumes"]
    home = Path(services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == path and home.name in [board.name for board in BOARDS]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_board_is_sane(path):
    board = json.loads(path.read_text())
    source = yaml.safe_load((REPO / "deploy/grafana/datasources.yml").read_text())["datasources"][0]
    assert board["uid"] and board["title"]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        at = panel["gridPos"]
        taken = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells and max(x for x, _ in taken) < 24, f"{panel['title']} lies over another panel"
        cells |= taken
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["description"]
        assert panel["targets"] and len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
            assert '{node="$node"' in target["expr"], "of the node that is chosen"
            promql_parser.parse(expression(target))
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", json.dumps(panels))) <= {*variables, "__rate_interval"}


def expression(target: dict) -> str:
    """A target's expression as Grafana sends it."""
    return target["expr"].replace("$__rate_interval", "40s").replace("$node", "tradeflow")


def expressions(path: Path) -> list[str]:
    """All expressions of a board."""
    return [expression(target) for panel in json.loads(path.read_text())["panels"] for target in panel.get("targets", [])]
