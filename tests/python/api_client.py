"""A client of a node's API, and users of each role."""

import contextlib
import itertools
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field

PASSWORD = "correct horse battery 9"
_NUMBERS = itertools.count(1)


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Client:
    """Sends requests with a token, if it has one; answers of any status are answers."""

    url: str
    token: str | None = None
    headers: dict = field(default_factory=dict)

    def __call__(self, method: str, path: str, body=None, headers: dict | None = None, raw: bytes | None = None) -> Answer:
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        if self.token:
            request.add_header("authorization", f"Bearer {self.token}")
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            request.data = raw
            request.add_header("content-type", "application/json")
        for name, value in {**self.headers, **(headers or {})}.items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def ok(self, method: str, path: str, body=None, headers: dict | None = None):
        """The JSON of an answer that must be a success; nothing where there is none."""
        answer = self(method, path, body, headers)
        assert 200 <= answer.status < 300, f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')}"
        return answer.json if answer.body else None

    def refused(self, status: int, method: str, path: str, body=None, headers: dict | None = None, raw: bytes | None = None) -> dict:
        """The problem of an answer that must have this status."""
        answer = self(method, path, body, headers, raw)
        assert answer.status == status, f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')}"
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json
        assert problem["status"] == status and problem["code"] and problem["detail"]
        return problem


def register(url: str, email: str | None = None) -> dict:
    email = email or f"user{next(_NUMBERS)}@example.org"
    return Client(url).ok("POST", "/api/v1/auth/register", {"email": email, "password": PASSWORD})


def log_in(url: str, email: str, password: str = PASSWORD) -> Client:
    tokens = Client(url).ok("POST", "/api/v1/auth/login", {"email": email, "password": password})
    return Client(url, tokens["access_token"])


def users_of_each_role(url: str) -> dict:
    """A client of each role. The first user of a node must be made here: it is the administrator."""
    admin = register(url)
    assert admin["role"] == "administrator"
    clients = {"administrator": log_in(url, admin["email"])}
    for role in ("viewer", "trader", "manager"):
        user = register(url)
        assert user["role"] == "trader"
        clients["administrator"].ok("PATCH", f"/api/v1/users/{user['id']}", {"role": role})
        clients[role] = log_in(url, user["email"])
    return clients
