"""Reads image registries over HTTP, as the OCI distribution specification has it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from controlplane.domain.errors import ControlError, Unavailable
from controlplane.domain.follow import Follow
from controlplane.domain.image import DIGEST, Reference, parse, parse_version
from controlplane.ports.registry import PublishedImage

TIMEOUT_S = 10.0
MAX_BYTES = 4 << 20
MAX_PAGES = 1000
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPTED = ", ".join((*INDEXES, *MANIFESTS))
# Where a registry's API is, if not at the host that images are named by.
API_HOSTS = {"docker.io": "registry-1.docker.io"}
PARAMETER = re.compile(r'(\w+)="([^"]*)"')

# A registry's host -> (user, password), or None to ask without.
Credentials = Callable[[str], tuple[str, str] | None]


class RegistryUnavailable(Unavailable):
    """A registry did not answer, or not in time."""

    code = "registry_unavailable"


class RegistryDenied(ControlError):
    """A registry wants other credentials."""

    code = "registry_denied"


class ImageUnknown(ControlError):
    """A registry has no such repository, tag or digest; it may still be pushed."""

    code = "image_unknown"
    retry = True


class WrongPlatform(ControlError):
    """The image is not made for the hosts' platform."""

    code = "image_platform"


class RegistryBroken(ControlError):
    """What a registry answered is not what was asked for."""

    code = "registry_broken"


class Answer(NamedTuple):
    """What of an answer is looked at; `following` is where the next page is.

    `digest` is what the registry says of the content, unchecked.
    """

    status: int
    content: bytes
    challenge: str
    following: str
    digest: str


class OciRegistry:
    """The registry port over one HTTP client; `async with` it.

    TLS always, except on loopback and for the hosts in `insecure`, as with Docker.
    """

    def __init__(
        self,
        credentials: Credentials = lambda _: None,
        *,
        platform: str = "linux/amd64",
        insecure: frozenset[str] = frozenset(),
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._credentials = credentials
        self._platform = platform
        self._insecure = insecure
        self._timeout_s = timeout_s
        # One header for each repository: a bearer token is good for one only.
        self._headers: dict[str, str] = {}
        # Blobs may lie elsewhere; httpx takes our credentials off on the way to another host.
        self._client = httpx.AsyncClient(timeout=timeout_s, follow_redirects=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def resolve(self, reference: str) -> PublishedImage:
        wanted = parse_version(reference)
        body, digest = await self._manifest(wanted, wanted.wanted)
        manifest, entries = body, body.get("manifests")
        if entries is not None:
            manifest, _ = await self._manifest(wanted, self._chosen(wanted, entries))
        config = await self._config(wanted, manifest)
        platform = f"{config.get('os')}/{config.get('architecture')}"
        if platform != self._platform:
            raise _not_for(wanted, self._platform, [platform])
        labels = (config.get("config") or {}).get("Labels") or {}
        return PublishedImage(wanted.repository, digest, platform, labels)

    async def digest(self, reference: str) -> str:
        wanted = parse_version(reference)
        url = f"{self._root(wanted)}/manifests/{wanted.wanted}"
        # Registries that count pulls do not count HEAD.
        said = (await self._get(wanted, url, "HEAD")).digest
        if DIGEST.fullmatch(said):
            return said
        return _digest((await self._get(wanted, url)).content)

    async def tags(self, repository: str) -> tuple[str, ...]:
        wanted = parse(repository)
        url, found = f"{self._root(wanted)}/tags/list", list[str]()
        for _ in range(MAX_PAGES):
            answer = await self._get(wanted, url)
            found += _decoded(wanted, answer.content).get("tags") or []
            if not answer.following:
                break
            url = urljoin(url, answer.following)
            if urlsplit(url).netloc != urlsplit(self._root(wanted)).netloc:
                raise RegistryBroken(
                    f"{wanted.host} sends us to {url} for more tags; ask its owner."
                )
        return tuple(sorted(found))

    async def _manifest(self, wanted: Reference, which: str) -> tuple[dict[str, Any], str]:
        """(manifest or index, its digest), its bytes verified when a digest was asked for."""
        answer = await self._get(wanted, f"{self._root(wanted)}/manifests/{which}")
        # Of the bytes, not of the header: only what was checked is pinned.
        digest = _digest(answer.content)
        if which.startswith("sha256:") and digest != which:
            raise _other_bytes(wanted, which)
        return _decoded(wanted, answer.content), digest

    async def _config(self, wanted: Reference, manifest: dict[str, Any]) -> dict[str, Any]:
        digest = (manifest.get("config") or {}).get("digest")
        if not isinstance(digest, str):
            raise RegistryBroken(f"{wanted} is no image that can be run; push one built by Docker.")
        answer = await self._get(wanted, f"{self._root(wanted)}/blobs/{digest}")
        if _digest(answer.content) != digest:
            raise _other_bytes(wanted, digest)
        return _decoded(wanted, answer.content)

    def _chosen(self, wanted: Reference, entries: list[dict[str, Any]]) -> str:
        made: dict[str, str] = {}
        for entry in entries:
            of = entry.get("platform") or {}
            made.setdefault(f"{of.get('os')}/{of.get('architecture')}", str(entry.get("digest")))
        if self._platform not in made:
            raise _not_for(wanted, self._platform, [name for name in made if "unknown" not in name])
        return made[self._platform]

    async def _get(self, wanted: Reference, url: str, method: str = "GET") -> Answer:
        known = self._headers.get(wanted.repository, "")
        answer = await self._asked(wanted, url, known, method=method)
        if answer.status == httpx.codes.UNAUTHORIZED:
            header = await self._authorised(wanted, answer.challenge)
            self._headers[wanted.repository] = header
            answer = await self._asked(wanted, url, header, method=method)
        match answer.status:
            case httpx.codes.OK:
                return answer
            case httpx.codes.UNAUTHORIZED | httpx.codes.FORBIDDEN:
                raise _denied(wanted)
            case httpx.codes.NOT_FOUND:
                raise ImageUnknown(
                    f"{wanted} is not in the registry; push it, or correct the name or the tag."
                )
            case status if status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS:
                raise RegistryUnavailable(
                    f"{wanted.host} answers {status}; it is overloaded or broken, try again later."
                )
            case status:
                raise RegistryBroken(
                    f"{wanted.host} answers {status} to {urlsplit(url).path}; is it a registry?"
                )

    async def _authorised(self, wanted: Reference, challenge: str) -> str:
        """The header that this challenge asks for. Raises RegistryDenied without credentials."""
        scheme, _, rest = challenge.partition(" ")
        pair = self._credentials(wanted.host)
        if scheme.lower() == "basic" and pair:
            return f"Basic {base64.b64encode(':'.join(pair).encode()).decode()}"
        if scheme.lower() != "bearer":
            raise _denied(wanted)
        asked = dict(PARAMETER.findall(rest))
        realm = asked.pop("realm", "")
        if not self._may_know(realm):
            raise RegistryBroken(
                f"{wanted.host} wants its token fetched from {realm or 'nowhere'}, without TLS;"
                " ask its owner to use https."
            )
        asked["scope"] = f"repository:{wanted.name}:pull"
        answer = await self._asked(wanted, realm, "", asked, pair)
        if answer.status != httpx.codes.OK:
            raise _denied(wanted)
        body = _decoded(wanted, answer.content)
        return f"Bearer {body.get('token') or body.get('access_token') or ''}"

    async def _asked(
        self,
        wanted: Reference,
        url: str,
        header: str,
        parameters: dict[str, str] | None = None,
        pair: tuple[str, str] | None = None,
        *,
        method: str = "GET",
    ) -> Answer:
        """One request, bounded in time and in bytes."""
        headers = {"Accept": f"{ACCEPTED}, */*"} | ({"Authorization": header} if header else {})
        request = self._client.build_request(method, url, headers=headers, params=parameters)
        auth = httpx.BasicAuth(*pair) if pair else None
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.send(request, auth=auth, stream=True)
                try:
                    return await _read(wanted, answer)
                finally:
                    await answer.aclose()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise RegistryUnavailable(
                f"{wanted.host} does not answer within {self._timeout_s:g} s; try again later."
            ) from error
        except httpx.HTTPError as error:
            raise RegistryUnavailable(
                f"{wanted.host} cannot be reached ({error}); is its name right, and is it up?"
            ) from error

    def _root(self, wanted: Reference) -> str:
        scheme = "http" if self._plain(wanted.host) else "https"
        return f"{scheme}://{API_HOSTS.get(wanted.host, wanted.host)}/v2/{wanted.name}"

    def _plain(self, host: str) -> bool:
        return host in self._insecure or _loopback(urlsplit(f"//{host}").hostname or "")

    def _may_know(self, realm: str) -> bool:
        """Whether credentials may be sent there: never in the clear over a network."""
        parts = urlsplit(realm)
        return parts.scheme == "https" or (parts.scheme == "http" and self._plain(parts.netloc))


def stored_credentials(host: str) -> tuple[str, str] | None:
    """What `docker login` left for a registry, from its credential store as well."""
    from docker import auth

    known = auth.load_config()
    found = auth.resolve_authconfig(known, registry=host)
    user, password = (found or {}).get("Username"), (found or {}).get("Password")
    return (user, password) if user and password else None


@asynccontextmanager
async def registry_of(rule: Follow) -> AsyncIterator[OciRegistry]:
    """The registry that a rule names, with what `docker login` left on this machine for it.

    Raises RegistryDenied when the credential store does not work.
    """
    host = parse(rule.image).host
    insecure = frozenset({host} if rule.insecure else ())
    pair = await asyncio.to_thread(_stored, host)
    # Made in a thread as well: reading the machine's certificates takes a while.
    made = await asyncio.to_thread(
        OciRegistry, lambda _: pair, platform=rule.platform, insecure=insecure
    )
    async with made:
        yield made


def _stored(host: str) -> tuple[str, str] | None:
    from docker.errors import DockerException

    try:
        return stored_credentials(host)
    except (DockerException, OSError, ValueError) as error:
        raise RegistryDenied(
            f"The credentials for {host} cannot be read ({error}); repair ~/.docker/config.json or"
            " its credential helper."
        ) from error


async def _read(wanted: Reference, answer: httpx.Response) -> Answer:
    """The whole answer, unless it is larger than any manifest."""
    content = bytearray()
    async for part in answer.aiter_bytes():
        content += part
        if len(content) > MAX_BYTES:
            raise RegistryBroken(
                f"{wanted.host} sends over {MAX_BYTES >> 20} MiB; is it a registry?"
            )
    challenge = answer.headers.get("WWW-Authenticate", "")
    following = answer.links.get("next", {}).get("url", "")
    digest = answer.headers.get("Docker-Content-Digest", "")
    return Answer(answer.status_code, bytes(content), challenge, following, digest)


def _decoded(wanted: Reference, body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RegistryBroken(
            f"What {wanted.host} answers is not JSON; is it a registry?"
        ) from error


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _denied(wanted: Reference) -> RegistryDenied:
    return RegistryDenied(
        f"{wanted.host} does not let us read {wanted.name}; `docker login {wanted.host}` as someone"
        " who may, or correct the name."
    )


def _other_bytes(wanted: Reference, digest: str) -> RegistryBroken:
    return RegistryBroken(
        f"{wanted.host} answers with other bytes than {digest}; push {wanted.repository} again."
    )


def _not_for(wanted: Reference, platform: str, made: list[str]) -> WrongPlatform:
    return WrongPlatform(
        f"{wanted} is made for {', '.join(made) or 'no platform'}, not for {platform}; build it for"
        " that, or say --platform if the hosts are of the other kind."
    )
