"""docker-compose.yml as it stands, and as Compose reads it. No container engine is needed."""

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

import markets

FILE = markets.REPO / "docker-compose.yml"
EXAMPLE = markets.REPO / ".env.example"
SECRETS = ("POSTGRES_PASSWORD", "CLICKHOUSE_PASSWORD", "GRAFANA_PASSWORD")
# A value for each, told apart.
SET = {name: f"{name.lower().replace('_', '')}For1Test" for name in SECRETS}


def written() -> dict:
    """The file as it stands, its anchors resolved."""
    return yaml.safe_load(FILE.read_text())


def example() -> dict[str, str]:
    """The variables of .env.example."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@cache
def program() -> tuple[str, ...]:
    """Compose, of whichever generation."""
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    plugin = ("docker", "compose")
    if shutil.which("docker") and subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
        return plugin
    pytest.skip("there is no docker-compose here: scripts/setup.sh --test installs it")


def run(folder: Path, variables: dict[str, str], *files) -> subprocess.CompletedProcess:
    """`docker-compose config` with .env.example and these variables over it, and nothing of this process' environment."""
    env = folder / "env"
    env.write_text("".join(f"{name}={value}\n" for name, value in {**example(), **variables}.items()))
    chosen = [part for file in (FILE, *files) for part in ("-f", str(file))]
    command = [*program(), "--env-file", str(env), *chosen, "--profile", "demo", "config"]
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    return subprocess.run(command, check=False, cwd=markets.REPO, env=environment, capture_output=True, text=True, timeout=60)


def resolved(folder: Path, *files) -> dict:
    """The file as Compose reads it, secrets set."""
    done = run(folder, SET, *files)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def image_environment() -> dict[str, str]:
    """What the Dockerfile puts into the environment of the program."""
    return dict(re.findall(r"^ENV (\w+)=(\S+)$", (markets.REPO / "Dockerfile").read_text(), re.MULTILINE))


def kafka_properties(environment: dict[str, str]) -> dict[str, str]:
    """The settings that Kafka's image makes of its environment."""
    java = ("KAFKA_HEAP_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS")
    settings = {name: value for name, value in environment.items() if name.startswith("KAFKA_") and name not in java}
    return {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in settings.items()}
