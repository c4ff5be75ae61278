"""Credentials of brokers on a real node: given, listed, taken away, sealed anew; their secrets are nowhere to be seen.
`cryptography` opens what the node sealed."""

import base64
import os
import sqlite3
import stat
from contextlib import closing

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from api_client import log_in, register
from conftest import tradeflow
from nodes import Node

PATH = "/api/v1/accounts/paper/credentials"
SECRET = "hush-hush-Geheimnis-42"


def rows(data, where: str = "1") -> list:
    with closing(sqlite3.connect(data / "state.db")) as database:
        return database.execute(f"SELECT account, broker, name, key_id, ciphertext FROM broker_credentials WHERE {where}").fetchall()


def keys(path) -> dict:
    entries = [line.split(":") for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {name: base64.b64decode(key, validate=True) for name, key in entries}


def opened(row, ring: dict, account: str | None = None) -> str:
    """What a row holds, by the format that docs/operation.md states."""
    own, broker, name, key, text = row
    parts = [key, "broker_credentials", account or own, broker, name]
    bound = b"".join(len(part.encode()).to_bytes(8, "little") + part.encode() for part in parts)
    sealed = base64.b64decode(text, validate=True)
    return AESGCM(ring[key]).decrypt(sealed[:12], sealed[12:], bound).decode()


def test_a_credential_is_given_and_never_shown(tmp_path):
    data = tmp_path / "data"
    with Node(tmp_path / "logs", "--demo", "--data", data) as node:
        url = node.up().address()
        client = log_in(url, register(url)["email"])
        answers = []

        def ask(method, path, body=None, status=204):
            answer = client(method, path, body)
            answers.append(answer.body + str(answer.headers).encode())
            assert answer.status == status, f"{method} {path}: {answer.status} {answer.body}"
            return answer.json if answer.body else None

        assert ask("GET", PATH, status=200) == []
        ask("PUT", f"{PATH}/alpaca/secret", {"secret": "the first"})
        ask("PUT", f"{PATH}/alpaca/secret", {"secret": SECRET})
        ask("PUT", f"{PATH}/alpaca/key_id", {"secret": "-----BEGIN KEY-----\nline\n"})
        one, two = ask("GET", PATH, status=200)
        assert (one["broker"], one["name"], two["name"]) == ("alpaca", "key_id", "secret")
        assert set(two) == {"broker", "name", "created", "rotated"} and two["created"] < two["rotated"]
        for path, body in {"/Alpaca/x": SECRET, "/alpaca/a%20b": SECRET, f"/{'a' * 65}/x": SECRET, "/alpaca/x": "", "/alpaca/y": "x" * 4097}.items():
            ask("PUT", f"{PATH}{path}", {"secret": body}, status=422)
        ask("PUT", f"{PATH}/alpaca/x", {"secret": SECRET, "more": SECRET}, status=422)
        ask("PUT", "/api/v1/accounts/none/credentials/alpaca/x", {"secret": SECRET}, status=404)
        ask("DELETE", f"{PATH}/alpaca/x", status=404)
        ask("DELETE", f"{PATH}/alpaca/key_id")
        audit = [(entry["action"], entry["outcome"]) for entry in client.ok("GET", "/api/v1/logs/audit")["items"]]
        assert audit[0] == ("credentials.remove", "alpaca/key_id") and audit.count(("credentials.put", "alpaca/secret")) == 2
        ring = keys(data / "credentials.key")
        assert opened(rows(data)[0], ring) == SECRET
        with pytest.raises(InvalidTag):
            opened(rows(data)[0], ring, "other")
        said = node.stop()
    assert stat.S_IMODE((data / "credentials.key").stat().st_mode) == 0o600
    assert SECRET not in said and not any(SECRET.encode() in answer for answer in answers)
    for file in data.rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes(), file


def test_keys_take_over_from_each_other(tmp_path):
    data = tmp_path / "data"
    file = data / "credentials.key"
    with Node(tmp_path / "logs", "--demo", "--data", data) as node:
        url = node.up().address()
        client = log_in(url, register(url)["email"])
        for number in range(5):
            client.ok("PUT", f"{PATH}/alpaca/n{number}", {"secret": f"{SECRET}-{number}"})
        node.stop()
    before, (old,) = rows(data), keys(file)
    said = tradeflow("state", "rotate-key", "--new", "--data", data)
    assert said.returncode == 0 and "sealed 5 secrets anew" in said.stdout and old in said.stdout
    new = list(keys(file))[0]
    assert list(keys(file)) == [new, old] and new != old and stat.S_IMODE(file.stat().st_mode) == 0o600
    after = rows(data)
    assert {row[3] for row in after} == {new} and not {row[4] for row in before} & {row[4] for row in after}
    # The old key is no longer needed.
    alone = f"{new}:{base64.b64encode(keys(file)[new]).decode()}"
    file.write_text(alone + "\n")
    assert sorted(opened(row, keys(file)) for row in after) == [f"{SECRET}-{number}" for number in range(5)]
    assert "sealed 0 secrets" in tradeflow("state", "rotate-key", "--data", data).stdout
    # Keys by the environment; one of them is not the right one: nothing is changed.
    other = f"other:{base64.b64encode(os.urandom(32)).decode()}"
    run = lambda ring: tradeflow("state", "rotate-key", "--data", data, env={**os.environ, "TRADEFLOW_CREDENTIALS_KEY": ring})
    failed = run(other)
    assert failed.returncode != 0 and new in failed.stderr and rows(data) == after
    same_name = run(f"{other},{new}:{base64.b64encode(os.urandom(32)).decode()}")
    assert same_name.returncode != 0 and "does not open" in same_name.stderr and rows(data) == after
    assert run(f"{other},{alone}").returncode == 0 and {row[3] for row in rows(data)} == {"other"}
    for wrong in ("x", "a:AAAA", f"{other},{other}"):
        failed = run(wrong)
        assert failed.returncode != 0 and "TRADEFLOW_CREDENTIALS_KEY" in failed.stderr and other.split(":")[1] not in failed.stderr
    missing = tradeflow("state", "rotate-key", "--data", data, env={**os.environ, "TRADEFLOW__STATE__KEY_FILE": str(tmp_path / "none.key")})
    assert missing.returncode != 0 and "none.key" in missing.stderr and not (tmp_path / "none.key").exists()
