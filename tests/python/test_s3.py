"""The catalog in a bucket: import, list and backtest over the S3 protocol, against a server that moto plays here.

TRADEFLOW_CLOUD_BIN names a program that was built with `cargo build --release --features cloud`."""

import json
import os
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from conftest import import_arguments, sma_cross_arguments, tradeflow

BUCKET = "prices"


@pytest.fixture(scope="module")
def cloud_program() -> Path:
    name = os.environ.get("TRADEFLOW_CLOUD_BIN")
    if not name:
        pytest.skip("TRADEFLOW_CLOUD_BIN names no program built with `cargo build --release --features cloud`")
    assert Path(name).exists(), f"TRADEFLOW_CLOUD_BIN: there is no {name}"
    return Path(name)


@pytest.fixture(scope="module")
def server():
    """An S3 server on a free port, and a client of it that is not the program's."""
    import boto3
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        # Nothing of a machine's own cloud configuration may play a part, and no proxy either.
        for name in [name for name in os.environ if name.upper().startswith("AWS_") or name.upper().endswith("_PROXY")]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "us-east-1")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            patch.setenv("AWS_ALLOW_HTTP", "true")
            client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
            client.create_bucket(Bucket=BUCKET)
            yield client
        finally:
            server.stop()


@pytest.fixture
def cloud(cloud_program, server):
    def run(*arguments) -> subprocess.CompletedProcess:
        command = [str(cloud_program), *map(str, arguments)]
        return subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)

    return run


def contents(client) -> dict[str, str]:
    listed = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {entry["Key"]: entry["ETag"] for entry in listed}


def test_a_catalog_in_a_bucket_is_as_one_in_a_folder(cloud, server, generated, tmp_path):
    url = f"s3://{BUCKET}/catalog"
    imported = cloud(*import_arguments(generated.market), "--catalog", url)
    assert imported.returncode == 0, imported.stderr
    objects = contents(server)
    assert any(key.startswith("catalog/kind=bar/interval=1m/") and key.endswith(".parquet") for key in objects), objects

    listed = cloud("catalog", "ls", "--json", "--catalog", url)
    locally = cloud("catalog", "ls", "--json", "--catalog", generated.catalog)
    assert (listed.returncode, locally.returncode) == (0, 0), listed.stderr
    remote, local = (json.loads(done.stdout)["series"] for done in (listed, locally))
    assert len(remote) == len(local) == 1
    assert remote[0]["rows"] == local[0]["rows"] == len(generated.market.bars)

    digests = []
    for number, catalog in enumerate((url, generated.catalog)):
        arguments = sma_cross_arguments(generated.market, fee_bps=5)
        done = cloud("backtest", *arguments, "--catalog", catalog, "--out", tmp_path / str(number), "--json")
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout, parse_float=Decimal)
        assert summary["trades"] > 0
        digests.append((summary["digest"], summary["data_digest"]))
    assert digests[0] == digests[1]

    verified = cloud("catalog", "verify", "--catalog", url)
    assert verified.returncode == 0, verified.stdout + verified.stderr

    again = cloud(*import_arguments(generated.market), "--catalog", url)
    assert again.returncode == 0, again.stderr
    assert contents(server) == objects, "importing twice changes nothing"


def test_a_bucket_that_is_not_there_is_told(cloud, generated):
    done = cloud("catalog", "ls", "--catalog", "s3://no-such-bucket/catalog")
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "no-such-bucket" in done.stderr, done.stderr
    assert done.stderr.count("NoSuchBucket") == 1, "told once"
    assert "panicked" not in done.stderr


@pytest.mark.parametrize("url", ["s3://prices/catalog", "gs://prices/catalog", "az://prices/catalog"])
def test_without_the_feature_the_error_says_how_to_build_it(url):
    """The usual program, without clients of object stores."""
    done = tradeflow("catalog", "ls", "--catalog", url)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("error:") == 1
    for word in (url, "cargo build --release --features cloud"):
        assert word in done.stderr, done.stderr
