from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from camp.auth import jwks
from camp.auth.entra import EntraTokens
from camp.auth.identity import Identity
from camp.auth.jwks import KeySet
from camp.errors import SignInUnavailable, TokenExpired, TokenInvalid
from tests.issuers import AUDIENCE, TENANT, Issuer, issuing, key
from tests.service import NO_DATABASE, client_of, settings
from tests.waiting import eventually


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


def verifier(issuer: Issuer, clock: Clock | None = None, /, **variables: str) -> EntraTokens:
    made = settings(NO_DATABASE, **(issuer.variables | variables))
    return EntraTokens(made, KeySet(f"{issuer.url}/keys", clock or Clock()))


async def test_good_token_says_who_its_bearer_is(issuer: Issuer) -> None:
    identity = await verifier(issuer).identity(issuer.token())
    assert identity == Identity("ada-oid", "ada@camp.example", "Ada", frozenset({"USER"}))


async def test_names_are_made_fit_for_the_database(issuer: Issuer) -> None:
    token = issuer.token(name="A\0d\ud800a" + "x" * 500, preferred_username=None)
    identity = await verifier(issuer).identity(token)
    assert (identity.display_name[:4], identity.email) == ("Ad?a", "")
    assert len(identity.display_name) == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "api://another"},
        {"iss": "https://evil.example"},
        {"tid": "99999999-2222-3333-4444-555555555555"},
        {"tid": None},
        {"nbf": 9_999_999_999},
        {"exp": None},
        {"aud": None},
        {"iss": None},
        {"exp": "soon"},
        {"exp": 1e400},
        {"oid": None},
        {"oid": 7},
    ],
    ids=str,
)
async def test_token_with_a_wrong_claim_is_refused(issuer: Issuer, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        await verifier(issuer).identity(issuer.token(**claims))


ROLES = {"ENTRA_REQUIRED_ROLES": "Camp.Use, Camp.Run"}


@pytest.mark.parametrize(
    ("settings", "claims"),
    [
        ({}, {"scp": None}),
        ({}, {"scp": ""}),
        ({}, {"scp": "User.Read"}),
        ({}, {"scp": "access_as_user_of_another"}),
        ({}, {"scp": ["access_as_user"]}),
        ({}, {"scp": None, "roles": ["access_as_user"]}),
        ({"ENTRA_REQUIRED_SCOPE": "Camp.Read"}, {"scp": "access_as_user"}),
        (ROLES, {"scp": None, "roles": ["USER"]}),
        (ROLES, {"scp": "Camp.Use", "roles": None}),
    ],
    ids=str,
)
async def test_token_without_the_scope_or_an_app_role_is_refused(
    issuer: Issuer, settings: dict[str, str], claims: dict[str, Any]
) -> None:
    with pytest.raises(TokenInvalid, match="scope"):
        await verifier(issuer, **settings).identity(issuer.token(**claims))


@pytest.mark.parametrize(
    ("settings", "claims"),
    [
        ({"ENTRA_REQUIRED_SCOPE": "Camp.Read"}, {"scp": "User.Read Camp.Read"}),
        (ROLES, {"scp": None, "roles": ["Camp.Run"]}),
        (ROLES, {"scp": "access_as_user", "roles": None}),
    ],
    ids=str,
)
async def test_scope_or_one_of_the_app_roles_is_enough(
    issuer: Issuer, settings: dict[str, str], claims: dict[str, Any]
) -> None:
    identity = await verifier(issuer, **settings).identity(issuer.token(**claims))
    assert identity.subject == "ada-oid"


@pytest.mark.parametrize(
    "claims",
    [
        {"azp": None},
        {"nonce": "n-1"},
        {"at_hash": "h"},
        {"c_hash": "h"},
        # An app role is in both kinds of tokens.
        {"azp": None, "scp": None, "roles": ["Camp.Use"]},
    ],
    ids=str,
)
async def test_id_token_is_refused_whatever_it_lists(
    issuer: Issuer, claims: dict[str, Any]
) -> None:
    with pytest.raises(TokenInvalid, match="ID token"):
        await verifier(issuer, **ROLES).identity(issuer.token(**claims))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": f"https://sts.windows.net/{TENANT}/", "ver": "1.0", "azp": None, "appid": "a"},
        {"iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "ver": "2.0"},
        {"aud": "22222222-2222-3333-4444-555555555555"},
    ],
    ids=str,
)
async def test_both_versions_of_the_tenants_access_tokens_are_taken(
    issuer: Issuer, claims: dict[str, Any]
) -> None:
    both = {"ENTRA_ISSUER": "", "ENTRA_AUDIENCE": f"{AUDIENCE}, {claims.get('aud', 'x')}"}
    token = issuer.token(**({"iss": f"https://sts.windows.net/{TENANT}/"} | claims))
    identity = await verifier(issuer, **both).identity(token)
    assert identity.subject == "ada-oid"


@pytest.mark.parametrize("other", ["99999999-2222-3333-4444-555555555555", "common"])
@pytest.mark.parametrize(
    "issued", ["https://sts.windows.net/{}/", "https://login.microsoftonline.com/{}/v2.0"]
)
async def test_issuer_of_another_tenant_is_refused(issuer: Issuer, issued: str, other: str) -> None:
    with pytest.raises(TokenInvalid, match="issuer"):
        await verifier(issuer, ENTRA_ISSUER="").identity(issuer.token(iss=issued.format(other)))


async def test_expiry_has_a_small_leeway(issuer: Issuer) -> None:
    tokens = verifier(issuer)
    await tokens.identity(issuer.token(exp=time.time() - 10))
    with pytest.raises(TokenExpired):
        await tokens.identity(issuer.token(exp=time.time() - 60))


async def test_key_of_the_issuer_opens_nothing_as_a_shared_secret(issuer: Issuer) -> None:
    public = key("first").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = jwt.api_jws.PyJWS().encode(
        json.dumps(issuer.claims()).encode(), b"k" * 32, "HS256", headers={"kid": "first"}
    )
    # PyJWT itself refuses to sign with a public key, so the signature is made here.
    signed = forged.rpartition(".")[0]
    seal = base64.urlsafe_b64encode(hmac.new(public, signed.encode(), hashlib.sha256).digest())
    with pytest.raises(TokenInvalid):
        await verifier(issuer).identity(f"{signed}.{seal.decode().rstrip('=')}")


async def test_token_without_a_signature_is_refused(issuer: Issuer) -> None:
    unsigned = jwt.encode(issuer.claims(), "", algorithm="none", headers={"kid": "first"})
    with pytest.raises(TokenInvalid):
        await verifier(issuer).identity(unsigned)


async def test_token_signed_by_somebody_else_under_a_known_id_is_refused(issuer: Issuer) -> None:
    forged = jwt.encode(issuer.claims(), key("evil"), algorithm="RS256", headers={"kid": "first"})
    with pytest.raises(TokenInvalid):
        await verifier(issuer).identity(forged)


@pytest.mark.parametrize("header", [b"[" * 40_000, b"null", b'{"alg":"RS256","kid":7}', b"\xff"])
async def test_garbage_is_refused_without_asking_the_issuer(issuer: Issuer, header: bytes) -> None:
    garbage = base64.urlsafe_b64encode(header).decode().rstrip("=")
    for token in (f"{garbage}.e30.AAAA", "garbage", "a.b.c", "..", "é.é.é"):
        with pytest.raises(TokenInvalid):
            await verifier(issuer).identity(token)
    assert issuer.fetches == 0


async def test_rotated_key_is_fetched_when_it_is_first_seen(issuer: Issuer) -> None:
    clock = Clock()
    tokens = verifier(issuer, clock)
    await tokens.identity(issuer.token())
    issuer.published = ["second"]
    clock.now += jwks.REFETCH_MIN_S
    await tokens.identity(issuer.token("second"))
    with pytest.raises(TokenInvalid):
        await tokens.identity(issuer.token("first"))


async def test_unknown_keys_cannot_hammer_the_issuer(issuer: Issuer) -> None:
    tokens = verifier(issuer)
    for name in range(20):
        unknown = jwt.encode({}, key("evil"), algorithm="RS256", headers={"kid": str(name)})
        with pytest.raises(TokenInvalid):
            await tokens.identity(unknown)
    assert issuer.fetches == 1


async def test_stale_keys_serve_while_the_issuer_is_down_but_not_for_ever(issuer: Issuer) -> None:
    clock = Clock()
    tokens = verifier(issuer, clock)
    await tokens.identity(issuer.token())
    issuer.broken = True
    clock.now += jwks.FRESH_S
    await tokens.identity(issuer.token())
    await tokens.close()
    clock.now += jwks.STALE_MAX_S
    with pytest.raises(SignInUnavailable):
        await tokens.identity(issuer.token())


async def test_keys_are_fetched_anew_in_the_background_when_they_are_old(issuer: Issuer) -> None:
    clock = Clock()
    tokens = verifier(issuer, clock)
    await tokens.identity(issuer.token())
    clock.now += jwks.FRESH_S
    await tokens.identity(issuer.token())
    assert await eventually(lambda: issuer.fetches == 2)
    await tokens.close()


async def test_service_says_503_without_keys_and_recovers(issuer: Issuer) -> None:
    clock = Clock()
    tokens = verifier(issuer, clock)
    issuer.broken = True
    with pytest.raises(SignInUnavailable):
        await tokens.identity(issuer.token())
    issuer.broken = False
    clock.now += jwks.FIRST_FETCH_MIN_S
    await tokens.identity(issuer.token())


async def test_problems_say_what_is_wrong_with_a_token(issuer: Issuer) -> None:
    async with client_of(settings(**issuer.variables)) as client:
        expired = {"authorization": f"Bearer {issuer.token(exp=time.time() - 60)}"}
        response = await client.get("/api/v1/users/me", headers=expired)
        assert (response.status_code, response.json()["code"]) == (401, "token_expired")
        assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        mock = await client.get("/api/v1/users/me")
        assert (mock.status_code, mock.json()["code"]) == (401, "token_invalid")


async def test_service_without_keys_answers_503(issuer: Issuer) -> None:
    issuer.broken = True
    async with client_of(settings(**issuer.variables)) as client:
        token = {"authorization": f"Bearer {issuer.token()}"}
        response = await client.get("/api/v1/users/me", headers=token)
        assert (response.status_code, response.json()["code"]) == (503, "sign_in_unavailable")
        assert response.json()["retryable"] is True
