"""A registry on loopback that asks for credentials, is slow or lies, as its fields say."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LABELS = {
    "org.opencontainers.image.version": "1.4.0",
    "org.opencontainers.image.revision": "abc",
    "camp.schema.head": "0002",
    "camp.schema.min": "0001",
}


@dataclass
class FakeRegistry:
    """What it holds by `repository:tag` and by digest, and how it behaves.

    `auth` is "", "basic" or "bearer"; `asked` are the paths of all requests; while `held` is set,
    nothing is answered.
    """

    address: str = ""
    auth: str = ""
    user: str = "ann"
    password: str = "open sesame"
    status: HTTPStatus | None = None
    asked: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    content: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    page: int = 100
    realm: str = ""

    def keep(self, kind: str, document: Any) -> str:
        body = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.content[digest] = (kind, body)
        return digest

    def image(
        self, labels: dict[str, str] | None = None, platform: str = "linux/amd64"
    ) -> dict[str, Any]:
        """Keep an image without layers; what an index would say of it."""
        system, machine = platform.split("/")
        of = {"os": system, "architecture": machine}
        config = self.keep(CONFIG, {**of, "config": {"Labels": labels or {}}})
        config_entry = {"mediaType": CONFIG, "digest": config, "size": 1}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config_entry, "layers": []}
        return {"mediaType": MANIFEST, "digest": self.keep(MANIFEST, manifest), "platform": of}

    def tag(self, repository: str, tag: str, digest: str) -> None:
        self.tags.setdefault(repository, {})[tag] = digest

    def index(self, *entries: dict[str, Any]) -> str:
        return self.keep(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})

    def allowed(self, header: str) -> bool:
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        wanted = {"": header, "basic": f"Basic {pair}", "bearer": "Bearer good"}
        return header == wanted[self.auth]

    def challenge(self) -> str:
        if self.auth == "basic":
            return 'Basic realm="camp"'
        realm = self.realm or f"http://{self.address}/token"
        return f'Bearer realm="{realm}",service="camp",scope="repository:r:pull"'


class Answers(BaseHTTPRequestHandler):
    registry: FakeRegistry

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        held, path = self.registry, urlsplit(self.path)
        held.asked.append(self.path)
        if held.held.is_set():
            # Nothing for longer than any client of a test waits, and not after the test.
            threading.Event().wait(3.0)
            return
        if path.path == "/token":
            self.token(parse_qs(path.query))
        elif held.status is not None:
            self.say(held.status, b"{}")
        elif not held.allowed(self.headers.get("Authorization", "")):
            self.say(HTTPStatus.UNAUTHORIZED, b"{}", ("WWW-Authenticate", held.challenge()))
        else:
            self.give(path.path.removeprefix("/v2/"), parse_qs(path.query))

    def token(self, query: dict[str, list[str]]) -> None:
        held = self.registry
        pair = base64.b64encode(f"{held.user}:{held.password}".encode()).decode()
        good = self.headers.get("Authorization") == f"Basic {pair}" and "scope" in query
        body = json.dumps({"token": "good" if good else "anonymous", "expires_in": 60})
        self.say(HTTPStatus.OK, body.encode())

    def give(self, path: str, query: dict[str, list[str]]) -> None:
        repository, _, reference = path.rpartition("/manifests/")
        if repository:
            digest = self.registry.tags.get(repository, {}).get(reference, reference)
            self.document(digest)
        elif path.endswith("/tags/list"):
            self.names(path.removesuffix("/tags/list"), query)
        else:
            self.document(path.rpartition("/blobs/")[2])

    def document(self, digest: str) -> None:
        kind, body = self.registry.content.get(digest, ("", b""))
        if not kind:
            self.say(HTTPStatus.NOT_FOUND, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
            return
        self.say(HTTPStatus.OK, body, ("Content-Type", kind), ("Docker-Content-Digest", digest))

    def names(self, repository: str, query: dict[str, list[str]]) -> None:
        """One page of tags, and where the next one is."""
        last = query.get("last", [""])[0]
        names = sorted(tag for tag in self.registry.tags.get(repository, {}) if tag > last)
        page = names[: self.registry.page]
        more = [("Link", f'</v2/{repository}/tags/list?last={page[-1]}>; rel="next"')]
        body = json.dumps({"name": repository, "tags": page}).encode()
        self.say(HTTPStatus.OK, body, *(more if names != page else []))

    def say(self, status: HTTPStatus, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    registry = FakeRegistry()
    handler = type("Bound", (Answers,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    registry.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
