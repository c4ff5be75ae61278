"""A mail server on this machine, with TLS and passwords, that keeps what it is sent."""

import asyncio
import contextlib
import email
import email.policy
import ssl
import threading
from pathlib import Path

import trustme
from aiosmtpd.smtp import SMTP, AuthResult

USER, SECRET = "trade", "Mail!Secret@42"


class Certificates:
    """An authority of the tests' own, and a certificate of it for this machine."""

    def __init__(self, folder: Path, *names: str):
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.issued = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))

    def server(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.issued.configure_cert(context)
        return context


class Mailbox:
    """What a server took, and whom it let in; and what it is to answer first."""

    def __init__(self):
        self.letters, self.log_ins, self.tries, self.answers = [], [], 0, []

    async def handle_DATA(self, _server, _session, envelope):
        self.tries += 1
        if self.answers:
            return self.answers.pop(0)
        self.letters.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def authenticate(self, _server, _session, _envelope, _mechanism, data):
        self.log_ins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=self.log_ins[-1] == (USER, SECRET))

    def to(self, address: str) -> list:
        return [letter for letter in self.letters if letter["to"] == address]


@contextlib.contextmanager
def smtp_server(kind: str, certificates: Certificates | None = None, port: int = 0):
    """A server of `kind` `smtps`, `starttls` or `plain`: its mailbox and its port. All but `plain` ask for a password."""
    mailbox = Mailbox()
    secrets = {"authenticator": mailbox.authenticate, "auth_required": kind != "plain"}

    def session():
        if kind == "starttls":
            return SMTP(mailbox, tls_context=certificates.server(), require_starttls=True, **secrets)
        # It can't tell that TLS came first.
        return SMTP(mailbox, auth_require_tls=False, **secrets)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    run = lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(30)
    context = certificates.server() if kind == "smtps" else None
    server = run(loop.create_server(session, "127.0.0.1", port, ssl=context))
    try:
        yield mailbox, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
