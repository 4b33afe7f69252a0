"""An issuer of tokens on this machine: it signs them, and serves its keys over HTTP."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.certificates import Certificate
from tests.service import PRODUCTION

TENANT = PRODUCTION["ENTRA_TENANT_ID"]
AUDIENCE = PRODUCTION["ENTRA_AUDIENCE"]


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    """A private key for each name; making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """Its state may be changed while it serves: `published` names, `broken`, and `fetches`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.published = ["first"]
        self.broken = False
        self.fetches = 0

    @property
    def variables(self) -> dict[str, str]:
        """Settings of a service that trusts this issuer."""
        return PRODUCTION | {"ENTRA_ISSUER": self.url, "ENTRA_JWKS_URL": f"{self.url}/keys"}

    def token(self, signed_by: str = "first", **claims: object) -> str:
        """A good token, but for `claims`; one that is None is left out."""
        return jwt.encode(
            self.claims(**claims), key(signed_by), algorithm="RS256", headers={"kid": signed_by}
        )

    def bearer(self, subject: str, *roles: str, **claims: object) -> dict[str, str]:
        """The header of a request by this user, whose token names these roles."""
        token = self.token("first", oid=subject, roles=list(roles), **claims)
        return {"authorization": f"Bearer {token}"}

    def claims(self, **claims: object) -> dict[str, Any]:
        """The claims of a good token, with these over them."""
        now = int(time.time())
        good: dict[str, Any] = {"iss": self.url, "aud": AUDIENCE, "tid": TENANT, "oid": "ada-oid"}
        good |= {"name": "Ada", "preferred_username": "ada@camp.example", "roles": ["USER"]}
        good |= {"scp": "openid access_as_user", "azp": "a-client"}
        merged = good | {"iat": now, "nbf": now, "exp": now + 600} | claims
        return {name: value for name, value in merged.items() if value is not None}

    def document(self) -> bytes:
        """The JWKS."""
        keys = [
            RSAAlgorithm.to_jwk(key(name).public_key(), as_dict=True) | {"kid": name, "use": "sig"}
            for name in self.published
        ]
        other = [{"kty": "EC", "kid": "curve"}, {"kty": "RSA", "kid": "cut"}, "nonsense"]
        return json.dumps({"keys": [*other, *keys]}).encode()


@contextmanager
def issuing(certificate: Certificate | None = None) -> Iterator[Issuer]:
    """An issuer that answers, with a certificate over TLS; gone at the end."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.fetches += 1
            body = issuer.document()
            self.send_response(503 if issuer.broken else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    host = certificate.address if certificate else "127.0.0.1"
    server = ThreadingHTTPServer((host, 0), Answers)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if certificate else "http"
    issuer = Issuer(f"{scheme}://{host}:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
