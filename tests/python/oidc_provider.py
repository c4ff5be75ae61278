"""A provider of log-ins that speaks OpenID Connect, on this machine: discovery, keys, tokens. Whoever is sent to it is the
user that the test says. It checks what it is asked (PKCE, secret, address, code), and can be told to answer wrongly."""

import base64
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "tradeflow", "Client-Secret-42"


class Provider:
    def __init__(self):
        self.user = {"sub": "1", "email": "ann@example.org", "email_verified": True, "name": "Ann"}
        # What a test changes: claims of the token, with which key it is signed, with which algorithm.
        self.claims, self.signer, self.codes, self.asked, self.alg = {}, None, {}, [], "RS256"
        self.keys = []
        self.rotate()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                provider.asked.append(self.path)
                url = urlsplit(self.path)
                answers = {"/.well-known/openid-configuration": provider.metadata, "/keys": lambda: KeySet(provider.keys[-1:]).as_dict(private=False)}
                if url.path not in answers:
                    return self.answer(404, {})
                self.answer(200, answers[url.path]())

            def do_POST(self):
                provider.asked.append(self.path)
                form = {name: values[0] for name, values in parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()).items()}
                try:
                    self.answer(200, provider.token(form, self.headers.get("authorization", "")))
                except AssertionError as error:
                    self.answer(400, {"error": "invalid_grant", "error_description": str(error)})

            def answer(self, status, body):
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def rotate(self):
        """Another key signs from now on, and the ones before are not shown any more."""
        self.keys.append(RSAKey.generate_key(2048, {"kid": secrets.token_hex(4), "use": "sig", "alg": "RS256"}))

    def metadata(self) -> dict:
        at = lambda path: f"{self.issuer}{path}"
        return {
            "issuer": self.issuer,
            "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def authorize(self, location: str, **changes) -> str:
        """The user says yes at the address that he was sent to: where he is sent back to."""
        url = urlsplit(location)
        assert location.startswith(f"{self.issuer}/authorize?")
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT and "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**asked, **changes}
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.issuer})}"

    def token(self, form: dict, authorization: str) -> dict:
        assert form["grant_type"] == "authorization_code"
        assert authorization == "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode(), "the client's secret"
        asked = self.codes.pop(form["code"], None)
        assert asked, "the code is none, or was used"
        assert form["redirect_uri"] == asked["redirect_uri"]
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        assert challenge == asked["code_challenge"], "PKCE"
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"], **self.user, **self.claims}
        key = self.signer or self.keys[-1]
        header = {"alg": self.alg, "kid": self.keys[-1].kid}
        token = jwt.encode(header, {name: value for name, value in claims.items() if value is not None}, key, algorithms=[self.alg])
        return {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "expires_in": 300, "id_token": token}
